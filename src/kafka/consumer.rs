//! A lane's consumer: one member of the group, polled by one thread.
//!
//! Rebalances arrive inside [`Consumer::poll`], as calls to a [`Rebalance`] handler on the same thread. The handler may wait
//! for a bounded time, for the committer say, and must never wait for anything that needs this thread. Partitions start at
//! positions that we ask for and give explicitly; the client never chooses one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaRespErr;

use super::client::{ClientError, ClientSettings};
use super::log;
use super::native::{self, GroupMetadata, TopicDescription};
use crate::engine::batch::SourcePartition;
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::engine::position::{BadPosition, Position};

/// How long one question to the broker may take inside a rebalance.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a consumer may take to close before it is left behind. A static member has nothing to say when it goes, so it takes
/// milliseconds.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What happens to partitions. Called on the thread that polls, inside the poll.
pub trait Rebalance: Send + Sync {
    /// Partitions come. Returns the position at which each starts, in the same order; None for one that is held and not read. An
    /// error ends the consumer.
    fn assigned(&self, partitions: &[SourcePartition], member: &Member<'_>) -> Result<Vec<Option<Position>>, String>;

    /// The membership that holds the partitions is this one from now on. Comes after every assignment, with none too.
    fn joined(&self, metadata: GroupMetadata);

    /// Partitions must be let go. `lost` says that others may have them already: nothing can be committed for them any more.
    fn revoked(&self, partitions: &[SourcePartition], member: &Member<'_>, lost: bool);
}

/// A member of the group.
pub struct Consumer<H: Rebalance> {
    pub(super) inner: BaseConsumer<Context<H>>,
}

/// What a poll came back with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// A broker does not answer; the client goes on trying, and says so again every 30 s at the latest.
    #[error("{0}")]
    Away(String),
    /// The client has other trouble and goes on by itself.
    #[error("{0}")]
    Trouble(String),
    /// A right is missing: it goes on as soon as it is granted.
    #[error("{0}")]
    NotAuthorized(String),
    /// The position that was asked for does not exist (any more).
    #[error("the position of some partition is gone from its log")]
    OffsetOutOfRange,
    /// Another process is this member now.
    #[error("{0}")]
    Fenced(String),
    /// This consumer can do nothing more.
    #[error("{0}")]
    Fatal(String),
}

impl<H: Rebalance> Consumer<H> {
    /// Joins the group, as the static member `instance` if there is one. Topics are names, or regular expressions that start with `^`.
    /// `on_news` is called from threads of the client when there is something to poll; it must not block.
    pub fn join(
        settings: &ClientSettings,
        group: &str,
        instance: Option<&str>,
        topics: &[String],
        handler: Arc<H>,
        on_news: impl Fn() + Send + Sync + 'static,
    ) -> Result<Consumer<H>, ClientError> {
        let context = Context {
            handler,
            topics: Mutex::default(),
            withheld: Mutex::default(),
            failed: Mutex::default(),
            cooperative: OnceLock::new(),
            closing: AtomicBool::new(false),
        };
        let config = settings.group_consumer(group, instance);
        let mut inner: BaseConsumer<Context<H>> = config.create_with_context(context).map_err(ClientError::from)?;
        inner.set_nonempty_callback(on_news);
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        inner.subscribe(&topics).map_err(ClientError::from)?;
        Ok(Consumer { inner })
    }

    /// Leaves the group, which gives what is held to others at once: it is revoked inside the next polls. A static member that is only closed
    /// is waited for, until its session times out.
    pub fn leave(&self) {
        self.inner.unsubscribe();
    }

    /// Ends the client. What is still held is revoked as lost, on another thread.
    ///
    /// If the group's part of librdkafka ends while a rebalance is answered, it throws the answer away and the question waits
    /// for ever: whoever closes must not. A client that does not close in time is left behind with its memory; the next one of
    /// the same instance takes its place in the group.
    pub fn close(self)
    where
        H: 'static,
    {
        self.inner.context().closing.store(true, Ordering::Relaxed);
        let (done, closed) = mpsc::channel();
        let inner = self.inner;
        let close = move || {
            drop(inner);
            // Nobody listens any more if it took too long.
            let _ = done.send(());
        };
        if let Err(error) = std::thread::Builder::new().name("consumer-close".into()).spawn(close) {
            // The client was closed on this thread, with what was to be run on the other.
            tracing::debug!(cause = %error, "no thread to close a Kafka client on");
        } else if closed.recv_timeout(CLOSE_WITHIN).is_err() {
            tracing::warn!(seconds = CLOSE_WITHIN.as_secs(), "a Kafka client does not close and is left behind");
        }
    }

    /// Hands up to `limit` records to `take`: waits up to `timeout` for the first, and for no other. Returns how many.
    pub fn poll(
        &self,
        limit: usize,
        timeout: Duration,
        mut take: impl FnMut(SourceRecord),
    ) -> Result<usize, PollError> {
        let mut taken = 0;
        let mut wait = timeout;
        while taken < limit {
            let polled = self.inner.poll(wait);
            if let Some(message) = self.inner.context().take_failure() {
                return Err(PollError::Fatal(message));
            }
            match polled {
                None => break,
                Some(Ok(message)) => {
                    if let Some(record) = self.record(&message) {
                        take(record);
                        taken += 1;
                    }
                }
                // What was taken comes first; an error that lasts comes again.
                Some(Err(_)) if taken > 0 => break,
                Some(Err(error)) => return Err(self.classify(&error)),
            }
            wait = Duration::ZERO;
        }
        Ok(taken)
    }

    /// What an error means; the reason why the client gave up says more than that it did.
    fn classify(&self, error: &KafkaError) -> PollError {
        match (classify(error), self.inner.client().fatal_error()) {
            (PollError::Fatal(_), Some((RDKafkaErrorCode::FencedInstanceId, message))) => PollError::Fenced(message),
            (PollError::Fatal(_), Some((code, message))) => PollError::Fatal(format!("{message} ({code})")),
            (other, _) => other,
        }
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Option<SourceRecord> {
        let topic = self.inner.context().topic(message.topic())?;
        let origin = Origin { topic, partition: message.partition(), offset: message.offset() };
        let timestamp = message.timestamp().to_millis().unwrap_or(-1);
        Some(SourceRecord::new(origin, timestamp, message.key(), message.payload(), native::headers(message)))
    }

    /// What the consumer is in its group right now; None while it has no membership.
    pub fn membership(&self) -> Option<GroupMetadata> {
        GroupMetadata::current(self.inner.client().native_ptr())
    }

    /// Where a partition ends, as the last fetch said it; None while nothing was fetched.
    pub fn known_end(&self, partition: &SourcePartition) -> Option<i64> {
        native::cached_end(self.inner.client().native_ptr(), &partition.topic.name, partition.partition)
    }

    /// What the cluster says of topics.
    pub fn describe(&self, names: &[&str]) -> Result<Vec<TopicDescription>, PollError> {
        describe(&self.inner, names)
    }
}

/// The consumer, as rebalance handlers see it.
pub struct Member<'a> {
    pub(super) ask: &'a dyn Ask,
}

/// What can be asked inside a rebalance, whatever the consumer's handler is.
pub(super) trait Ask {
    fn committed(&self, list: TopicPartitionList) -> Result<TopicPartitionList, KafkaError>;
    fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError>;
    fn commit(&self, list: &TopicPartitionList) -> Result<(), KafkaError>;
    fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError>;
    fn native(&self) -> *mut rdkafka::types::RDKafka;
}

impl<H: Rebalance> Ask for BaseConsumer<Context<H>> {
    fn committed(&self, list: TopicPartitionList) -> Result<TopicPartitionList, KafkaError> {
        self.committed_offsets(list, ASK_TIMEOUT)
    }

    fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.fetch_watermarks(topic, partition, ASK_TIMEOUT)
    }

    fn commit(&self, list: &TopicPartitionList) -> Result<(), KafkaError> {
        rdkafka::consumer::Consumer::commit(self, list, CommitMode::Sync)
    }

    fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
        Ok(metadata.topics().iter().flat_map(|it| it.partitions()).map(|it| it.id()).collect())
    }

    fn native(&self) -> *mut rdkafka::types::RDKafka {
        self.client().native_ptr()
    }
}

/// An offset that the group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// What was committed beside it.
    pub metadata: String,
}

impl Committed {
    /// The position that it stands for on the topic of that id.
    pub fn position(&self, topic_id: &[u8; 16]) -> Result<Position, BadPosition> {
        Position::from_committed(self.offset, &self.metadata, topic_id)
    }
}

impl Member<'_> {
    /// The group's committed offsets of partitions of one topic. Waits while an open transaction may still move one.
    pub fn committed(&self, topic: &str, partitions: &[i32]) -> Result<Vec<Option<Committed>>, String> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let found = self.ask.committed(list).map_err(|error| format!("asking for committed offsets: {error}"))?;
        let one = |partition: &i32| {
            let element = found.find_partition(topic, *partition)?;
            let offset = element.offset().to_raw().filter(|offset| *offset >= 0)?;
            Some(Committed { offset, metadata: element.metadata().to_owned() })
        };
        Ok(partitions.iter().map(one).collect())
    }

    /// The first offset of a partition's log and the one after its last record that is committed.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), String> {
        self.ask.watermarks(topic, partition).map_err(|error| format!("asking where {topic}-{partition} ends: {error}"))
    }

    /// All partitions of a topic.
    pub fn partitions(&self, topic: &str) -> Result<Vec<i32>, String> {
        self.ask.partitions(topic).map_err(|error| format!("asking for the partitions of {topic}: {error}"))
    }

    /// Commits positions by themselves, outside any transaction: only for positions from which nothing was read yet.
    pub fn commit(&self, positions: &[(SourcePartition, Position)]) -> Result<(), String> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (SourcePartition { topic, partition }, position) in positions {
            let mut element = list.add_partition(&topic.name, *partition);
            let set = element.set_offset(rdkafka::Offset::Offset(position.next_offset));
            set.map_err(|error| error.to_string())?;
            element.set_metadata(position.metadata(&topic.id));
        }
        self.ask.commit(&list).map_err(|error| format!("committing where to start: {error}"))
    }

    /// What the member is in its group right now.
    pub fn metadata(&self) -> Option<GroupMetadata> {
        GroupMetadata::current(self.ask.native())
    }
}

/// What the client calls back into.
pub(super) struct Context<H> {
    handler: Arc<H>,
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    /// Partitions that the group gave to this member and that it does not read: the client does not know them as assigned.
    withheld: Mutex<HashSet<(String, i32)>>,
    failed: Mutex<Option<String>>,
    /// Whether the group's protocol is cooperative; it stays what it is.
    cooperative: OnceLock<bool>,
    /// Set when the consumer closes: it takes nothing more and asks nothing.
    closing: AtomicBool,
}

impl<H: Rebalance> ClientContext for Context<H> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::client_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::client_error(&error, reason);
    }
}

impl<H: Rebalance> ConsumerContext for Context<H> {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let client = consumer.client().native_ptr();
        let cooperative = self.is_cooperative(consumer);
        let closing = self.closing.load(Ordering::Relaxed);
        let result = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if closing => {
                native::assign(client, &TopicPartitionList::new(), cooperative).map_err(|error| error.message)
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list, cooperative),
            _ => {
                let partitions = self.known(list);
                let lost = closing || native::assignment_lost(client);
                self.handler.revoked(&partitions, &Member { ask: consumer }, lost);
                // A pause outlives the assignment: what comes back to this client would never be read.
                if let Err(error) = consumer.resume(list) {
                    tracing::debug!(cause = %error, "partitions that are let go cannot be resumed");
                }
                native::unassign(client, &self.without_withheld(list), cooperative).map_err(|error| error.message)
            }
        };
        if let Err(message) = result {
            // The callback must answer, else the group waits for it: take nothing, and let the poll say why.
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
            if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
                let _ = native::assign(client, &TopicPartitionList::new(), cooperative);
            }
        }
    }
}

impl<H: Rebalance> Context<H> {
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
        cooperative: bool,
    ) -> Result<(), String> {
        let client = consumer.client().native_ptr();
        self.learn_topics(consumer, list)?;
        let partitions = self.known(list);
        let mut starting = TopicPartitionList::with_capacity(partitions.len());
        if !partitions.is_empty() {
            let positions = self.handler.assigned(&partitions, &Member { ask: consumer })?;
            for (SourcePartition { topic, partition }, position) in partitions.iter().zip(&positions) {
                let Some(position) = position else {
                    self.withheld().insert((topic.name.to_string(), *partition));
                    continue;
                };
                let offset = rdkafka::Offset::Offset(position.next_offset);
                let added = starting.add_partition_offset(&topic.name, *partition, offset);
                added.map_err(|error| error.to_string())?;
            }
        }
        native::assign(client, &starting, cooperative).map_err(|error| error.message)?;
        let metadata = GroupMetadata::current(client).ok_or("the group let the member go during the rebalance")?;
        self.handler.joined(metadata);
        Ok(())
    }

    fn is_cooperative(&self, consumer: &BaseConsumer<Self>) -> bool {
        let known = self.cooperative.get().copied();
        known.unwrap_or_else(|| match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => *self.cooperative.get_or_init(|| true),
            RebalanceProtocol::Eager => *self.cooperative.get_or_init(|| false),
            RebalanceProtocol::None => false,
        })
    }

    /// Asks for the ids of topics that come for the first time, so that every record says which topic it is of.
    fn learn_topics(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<(), String> {
        let mut names: Vec<String> = list.elements_or_none().into_iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(());
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let described = describe(consumer, &asked).map_err(|error| error.to_string())?;
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for TopicDescription { name, id, .. } in described {
            let changed = topics.get(&name).is_none_or(|known| known.id != id);
            if changed {
                topics.insert(name.clone(), Arc::new(Topic { name: name.into(), id }));
            }
        }
        match names.iter().find(|name| !topics.contains_key(*name)) {
            Some(missing) => Err(format!("the topic {missing} cannot be described; is it there, and may it be read?")),
            None => Ok(()),
        }
    }

    /// The partitions of a list that were really assigned; those that were withheld are forgotten.
    fn without_withheld(&self, list: &TopicPartitionList) -> TopicPartitionList {
        let mut assigned = TopicPartitionList::with_capacity(list.count());
        let mut withheld = self.withheld();
        if list.count() > 0 {
            for element in list.elements() {
                if !withheld.remove(&(element.topic().to_owned(), element.partition())) {
                    assigned.add_partition(element.topic(), element.partition());
                }
            }
        }
        assigned
    }

    fn withheld(&self) -> MutexGuard<'_, HashSet<(String, i32)>> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn known(&self, list: &TopicPartitionList) -> Vec<SourcePartition> {
        if list.count() == 0 {
            return Vec::new();
        }
        let elements = list.elements();
        let known = elements.iter().filter_map(|it| Some((self.topic(it.topic())?, it.partition())));
        known.map(|(topic, partition)| SourcePartition { topic, partition }).collect()
    }

    fn take_failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Names of a list's topics; rust-rdkafka's own `elements` panics on an empty list.
trait TopicNames {
    fn elements_or_none(&self) -> Vec<String>;
}

impl TopicNames for TopicPartitionList {
    fn elements_or_none(&self) -> Vec<String> {
        if self.count() == 0 {
            return Vec::new();
        }
        self.elements().iter().map(|it| it.topic().to_owned()).collect()
    }
}

fn describe<H: Rebalance>(
    consumer: &BaseConsumer<Context<H>>,
    names: &[&str],
) -> Result<Vec<TopicDescription>, PollError> {
    native::describe_topics(consumer.client().native_ptr(), names, ASK_TIMEOUT)
        .map_err(|code| PollError::Trouble(format!("describing topics: {code}")))
}

pub(super) fn classify(error: &KafkaError) -> PollError {
    let code = error.rdkafka_error_code();
    match code {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => PollError::NotAuthorized(error.to_string()),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve,
        ) => PollError::Away(error.to_string()),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => PollError::OffsetOutOfRange,
        Some(RDKafkaErrorCode::FencedInstanceId) => PollError::Fenced(error.to_string()),
        Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::PollExceeded) => PollError::Fatal(error.to_string()),
        _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => PollError::Fatal(error.to_string()),
        _ => PollError::Trouble(error.to_string()),
    }
}
