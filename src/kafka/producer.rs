//! The transactional producer of a lane's committer.
//!
//! Calls are short and come back with what to make of them ([`Failure`]); deciding is the caller's. It never uses
//! rust-rdkafka's `flush`, which waits 100 ms at a time, and a commit with anything in flight flushes. So: send, flush by
//! librdkafka itself, which also ends the linger, add the offsets, commit.
//!
//! librdkafka 2.12 does not have KIP-890: a commit whose answer is late can end the *next* transaction, and offsets that come
//! late are committed with it. After any request that was given up or asked for twice the producer must be dropped and a new
//! one made; [`TransactionalProducer::init`] of the same id then makes the broker end whatever is still open, and refuse
//! what comes late.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, PurgeConfig};
use rdkafka::util::Timeout;

use super::client::{ClientError, ClientSettings};
use super::log;
use super::native::{self, GroupMetadata, Message, TopicHandles, TransactionError};
use crate::engine::batch::SourcePartition;
use crate::engine::commit::Failure;
use crate::engine::position::Position;
use crate::engine::wire::WireRecord;

/// Topics whose handles are kept; a workflow may compute topic names, and librdkafka keeps what is in use by itself.
pub(super) const TOPIC_HANDLES: usize = 10_000;
/// How long one call may take before it comes back to be decided upon.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `init_transactions` may take in one call: the coordinator may have to be found and an old transaction ended.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a wait for deliveries lasts before what was refused is taken note of: until then it counts as in flight.
const DELIVERY_WAIT: Duration = Duration::from_millis(20);
/// How long to wait for room in the client's queue before trying again.
const ROOM_PAUSE: Duration = Duration::from_millis(1);
/// How many refused records are remembered by name; more say nothing new.
const REFUSALS_KEPT: usize = 10_000;
/// How many refused topics are remembered by name, for the same reason.
const TOPICS_KEPT: usize = 1_000;

/// A producer with one transactional id. Not to be shared: one transaction at a time.
pub struct TransactionalProducer {
    inner: BaseProducer<Deliveries>,
    topics: TopicHandles,
}

/// A record that the broker, or the client on its behalf, refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// What the record was sent with.
    pub token: usize,
    /// Why, in Kafka's words.
    pub message: String,
}

/// Why a transaction did not go through, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProducerFailure {
    /// What to make of it.
    pub failure: Failure,
    /// What happened, in Kafka's words.
    pub message: String,
    /// The records that were refused, where that is the failure.
    pub refused: Vec<RefusedRecord>,
    /// The topics that were refused as a whole, where that is the failure.
    pub refused_topics: Vec<RefusedTopic>,
}

/// A topic that a transaction may not write to, or that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedTopic {
    /// Its name.
    pub name: String,
    /// Why, in Kafka's words.
    pub message: String,
}

impl TransactionalProducer {
    /// A producer with a transactional id; call [`TransactionalProducer::init`] before anything else.
    pub fn new(settings: &ClientSettings, transactional_id: &str) -> Result<TransactionalProducer, ClientError> {
        let config = settings.transactional_producer(transactional_id);
        let inner = config.create_with_context(Deliveries::default()).map_err(ClientError::from)?;
        Ok(TransactionalProducer { inner, topics: TopicHandles::default() })
    }

    /// Takes over the id: whoever had it is fenced, and what it left open is aborted. May be called again if it failed with
    /// [`Failure::Retriable`].
    pub fn init(&self) -> Result<(), ProducerFailure> {
        native::init_transactions(self.native(), INIT_TIMEOUT).map_err(ProducerFailure::from)
    }

    /// Opens a transaction.
    pub fn begin(&self) -> Result<(), ProducerFailure> {
        self.failed().clear();
        self.inner.context().refused_topics().clear();
        native::begin_transaction(self.native()).map_err(ProducerFailure::from)
    }

    /// Puts a record into the open transaction. `token` names it in refusals. Waits while the queue is full, not beyond
    /// the deadline.
    pub fn send(&mut self, record: &WireRecord, token: usize, deadline: Instant) -> Result<(), ProducerFailure> {
        loop {
            let message = Message {
                topic: &record.topic,
                partition: record.partition,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: record.headers.iter(),
                timestamp_ms: None,
                token,
            };
            let native = self.inner.client().native_ptr();
            match self.topics.send(native, message) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) if Instant::now() < deadline => {
                    self.serve();
                    std::thread::park_timeout(ROOM_PAUSE);
                }
                Err(code) => {
                    self.inner.context().refuse(token, code);
                    return if is_refusal(code) { Ok(()) } else { Err(self.delivery_failure()) };
                }
            }
        }
    }

    /// Serves what librdkafka has to say, without waiting.
    pub fn serve(&self) {
        self.inner.poll(Timeout::After(Duration::ZERO));
    }

    /// Waits until every record was acknowledged or refused.
    pub fn wait_for_deliveries(&self, deadline: Instant) -> Result<(), ProducerFailure> {
        if !self.wait_until_none_in_flight(deadline) {
            return Err(ProducerFailure::new(Failure::Abortable, "records were not acknowledged in time".to_owned()));
        }
        if self.failed().is_empty() { Ok(()) } else { Err(self.delivery_failure()) }
    }

    /// Adds the group's offsets to the transaction. Only after [`TransactionalProducer::wait_for_deliveries`].
    pub fn send_offsets(
        &self,
        positions: &[(&SourcePartition, &Position)],
        group: &GroupMetadata,
    ) -> Result<(), ProducerFailure> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (SourcePartition { topic, partition }, position) in positions {
            let mut element = list.add_partition(&topic.name, *partition);
            let set = element.set_offset(rdkafka::Offset::Offset(position.next_offset));
            set.map_err(|error| ProducerFailure::fatal(error.to_string()))?;
            element.set_metadata(position.metadata(&topic.id));
        }
        native::send_offsets(self.native(), &list, group, CALL_TIMEOUT).map_err(|error| self.transaction_failure(error))
    }

    /// Commits. [`Failure::Retriable`] means: call it again; it goes on with the same commit.
    pub fn commit(&self) -> Result<(), ProducerFailure> {
        native::commit_transaction(self.native(), CALL_TIMEOUT).map_err(|error| self.transaction_failure(error))
    }

    /// Aborts: throws away what is queued and in flight, and ends the transaction. Returns whether the end had to be asked for
    /// more than once: then one such request may still be on its way.
    pub fn abort(&self, deadline: Instant) -> Result<bool, ProducerFailure> {
        self.inner.purge(PurgeConfig::default().queue().inflight());
        self.wait_until_none_in_flight(deadline);
        self.failed().clear();
        let mut repeated = false;
        loop {
            match native::abort_transaction(self.native(), CALL_TIMEOUT) {
                Ok(()) => return Ok(repeated),
                Err(error) if error.may_retry && Instant::now() < deadline => repeated = true,
                Err(error) => return Err(ProducerFailure::from(error)),
            }
        }
    }

    /// Whether nothing is in flight, at the deadline at the latest.
    fn wait_until_none_in_flight(&self, deadline: Instant) -> bool {
        while native::in_flight(self.native()) > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            self.serve();
            native::flush(self.native(), DELIVERY_WAIT);
        }
        // What was refused is reported by an event that may have come last.
        self.serve();
        true
    }

    fn native(&self) -> *mut rdkafka::types::RDKafka {
        self.inner.client().native_ptr()
    }

    fn failed(&self) -> MutexGuard<'_, Vec<(usize, RDKafkaErrorCode)>> {
        self.inner.context().failed()
    }

    /// What to make of the records that were not delivered. Refusals count only if nothing else went wrong: a record that was
    /// purged because another one failed is not to blame.
    fn delivery_failure(&self) -> ProducerFailure {
        let failed = self.failed();
        let (refusals, others): (Vec<_>, Vec<_>) = failed.iter().partition(|(_, code)| is_refusal(*code));
        let fenced = others.iter().find(|(_, code)| matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::Fatal));
        let first = fenced.or(refusals.first()).or(others.first()).map_or(RDKafkaErrorCode::Fail, |it| it.1);
        let failure = match (fenced, refusals.is_empty()) {
            (Some(_), _) => Failure::Fenced,
            (None, false) => Failure::RefusedRecords,
            // Records are purged when the transaction fails as a whole. It says why when it is told to begin, which it cannot.
            (None, true) => match native::begin_transaction(self.native()) {
                Err(error) if error.must_abort || error.is_fatal => return self.transaction_failure(error),
                Ok(()) | Err(_) => Failure::Abortable,
            },
        };
        let refused = refusals.iter().map(|(token, code)| RefusedRecord { token: *token, message: code.to_string() });
        ProducerFailure { refused: refused.collect(), ..ProducerFailure::new(failure, first.to_string()) }
    }

    /// What to make of a call that failed. A transaction that is refused for a topic of it names the topic in the log alone.
    fn transaction_failure(&self, error: TransactionError) -> ProducerFailure {
        let failure = ProducerFailure::from(error);
        let refused_topics = self.inner.context().refused_topics().clone();
        if failure.failure != Failure::RefusedUnknown || refused_topics.is_empty() {
            return failure;
        }
        ProducerFailure { failure: Failure::RefusedRecords, refused_topics, ..failure }
    }
}

/// The topic in librdkafka's words for a partition that the coordinator did not add: `… Failed to add partition "NAME" [0] to
/// transaction: REASON`. None for a partition that was left out because of another one.
fn refused_topic(line: &str) -> Option<RefusedTopic> {
    let (_, rest) = line.split_once("Failed to add partition \"")?;
    let (name, rest) = rest.split_once('"')?;
    let (_, reason) = rest.split_once("to transaction: ")?;
    if reason.contains("Operation not attempted") {
        return None;
    }
    Some(RefusedTopic { name: name.to_owned(), message: reason.to_owned() })
}

/// Whether the record itself, or where it goes, is what the broker does not take.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::UnsupportedForMessageFormat
    )
}

impl ProducerFailure {
    /// A failure for which no record is to blame, or none that is known.
    pub fn new(failure: Failure, message: String) -> ProducerFailure {
        ProducerFailure { failure, message, refused: Vec::new(), refused_topics: Vec::new() }
    }

    fn fatal(message: String) -> ProducerFailure {
        ProducerFailure::new(Failure::Fatal, message)
    }
}

impl From<TransactionError> for ProducerFailure {
    /// The order of the questions matters: who was replaced must not retry, what must be aborted must not be repeated.
    fn from(error: TransactionError) -> ProducerFailure {
        let TransactionError { code, message, must_abort, may_retry, is_fatal } = error;
        let failure = match code {
            RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::InvalidProducerIdMapping
            | RDKafkaErrorCode::UnknownProducerId => Failure::Fenced,
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::StaleMemberEpoch => Failure::StaleGeneration,
            RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::FencedMemberEpoch => Failure::NotTheOwner,
            _ if is_fatal => Failure::Fatal,
            code if must_abort && is_refusal(code) => Failure::RefusedUnknown,
            _ if must_abort => Failure::Abortable,
            _ if may_retry => Failure::Retriable,
            // A call that timed out may be repeated: librdkafka goes on with it in the background.
            RDKafkaErrorCode::OperationTimedOut => Failure::Retriable,
            _ => Failure::Fatal,
        };
        ProducerFailure::new(failure, format!("{message} ({code})"))
    }
}

/// Remembers what was not delivered. Deliveries that went well are not reported at all.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    failed: Mutex<Vec<(usize, RDKafkaErrorCode)>>,
    refused_topics: Mutex<Vec<RefusedTopic>>,
}

impl Deliveries {
    pub(super) fn failed(&self) -> MutexGuard<'_, Vec<(usize, RDKafkaErrorCode)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused_topics(&self) -> MutexGuard<'_, Vec<RefusedTopic>> {
        self.refused_topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a topic that could not become part of the transaction, each once. The others of the same request are not attempted.
    fn note_refused_topic(&self, line: &str) {
        let Some(refused) = refused_topic(line) else { return };
        let mut refused_topics = self.refused_topics();
        if refused_topics.len() < TOPICS_KEPT && !refused_topics.contains(&refused) {
            refused_topics.push(refused);
        }
    }

    fn refuse(&self, token: usize, code: RDKafkaErrorCode) {
        let mut failed = self.failed();
        if failed.len() < REFUSALS_KEPT {
            failed.push((token, code));
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "ADDPARTS" {
            self.note_refused_topic(message);
        }
        log::client_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::client_error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        if let Err((error, _)) = result {
            self.refuse(token, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(&str, &str)>) {
        let found = refused_topic(line);
        assert_eq!(found.as_ref().map(|it| (&it.name[..], &it.message[..])), expected);
    }

    #[test]
    fn refused_topics_are_read_from_the_clients_words() {
        let line = "[thrd:main]: TxnCoordinator/1: Failed to add partition \"out\" [4] to transaction: Broker: Topic authorization failed";
        check(line, Some(("out", "Broker: Topic authorization failed")));
        check(&line.replace("Topic authorization failed", "Operation not attempted"), None);
        check("something else", None);
        check("Failed to add partition \"out", None);
    }
}
