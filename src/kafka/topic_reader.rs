//! Reads partitions of one topic that come and go, from where each is wanted.
//!
//! Assigned by hand, outside any group, and only what is committed. Where a partition ends is asked with a client that also sees what is
//! not committed: behind another producer's open transaction there may be records that are. The client says that a partition was read to
//! its end without saying of which topic; so each topic has a reader of its own.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{ClientError, ClientSettings};
use super::log_reader::{From, LogRecord, ReadError};
use super::{log, native};

/// How long one question to the broker may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader of one topic.
pub struct TopicReader {
    name: String,
    consumer: BaseConsumer<Quiet>,
    /// Sees what is not committed.
    ends: BaseConsumer,
    /// Sees what is committed, and reads nothing: a broker answers a client's questions in order, and one that asks for records that are not
    /// there yet is answered late.
    stable: BaseConsumer,
    partitions: HashMap<i32, Progress>,
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug)]
struct Progress {
    next: i64,
    /// Where it ended when it was added.
    end: i64,
    /// Whether nothing before that end belongs to an open transaction any more.
    is_stable: bool,
    /// Whether it was read to that end.
    is_read: bool,
}

impl TopicReader {
    /// A reader that reads nothing yet.
    pub fn open(settings: &ClientSettings, topic: &str) -> Result<TopicReader, ReadError> {
        let mut uncommitted = settings.reader();
        uncommitted.set("isolation.level", "read_uncommitted");
        let ends: BaseConsumer = uncommitted.create().map_err(ClientError::from)?;
        let stable: BaseConsumer = settings.reader().create().map_err(ClientError::from)?;
        let mut committed = settings.reader();
        committed.set("enable.partition.eof", "true");
        // Records are answered at once; a partition that is added waits for the question that is open.
        committed.set("fetch.wait.max.ms", "250");
        let consumer: BaseConsumer<Quiet> = committed.create_with_context(Quiet).map_err(ClientError::from)?;
        Ok(TopicReader { name: topic.to_owned(), consumer, ends, stable, partitions: HashMap::new() })
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All partitions that the topic has; none if there is no such topic.
    pub fn all_partitions(&self) -> Result<Vec<i32>, ReadError> {
        let asked = self.ends.fetch_metadata(Some(&self.name), ASK_TIMEOUT);
        let metadata = asked.map_err(|error| self.broker(&error))?;
        Ok(metadata.topics().iter().flat_map(|it| it.partitions()).map(|it| it.id()).collect())
    }

    /// Begins to read a partition. Returns the offset at which that is.
    pub fn add(&mut self, number: i32, from: From) -> Result<i64, ReadError> {
        let progress = self.look(number, from)?;
        self.assign(vec![(number, progress)])?;
        Ok(progress.next)
    }

    /// Begins to read partitions. All are asked about before any is read: a broker answers a client's questions in order, and one that is
    /// asked for records that are not there yet takes its time.
    pub fn add_all(&mut self, numbers: &[i32], from: From) -> Result<(), ReadError> {
        let looked = numbers.iter().map(|number| Ok((*number, self.look(*number, from)?)));
        let looked = looked.collect::<Result<Vec<_>, ReadError>>()?;
        self.assign(looked)
    }

    /// Where a partition begins and ends.
    fn look(&self, number: i32, from: From) -> Result<Progress, ReadError> {
        let broker = |error: KafkaError| self.broker(&error);
        let (low, end) = self.ends.fetch_watermarks(&self.name, number, ASK_TIMEOUT).map_err(broker)?;
        let next = match from {
            From::Beginning => low,
            From::End => end,
            From::Tail(offsets) => (end - offsets).max(low),
            From::Offset(offset) => offset.max(low),
        };
        if next >= end {
            return Ok(Progress { next, end, is_stable: true, is_read: true });
        }
        // A client that reads what is committed is told the last stable offset.
        let (_, stable) = self.stable.fetch_watermarks(&self.name, number, ASK_TIMEOUT).map_err(broker)?;
        Ok(Progress { next, end, is_stable: stable >= end, is_read: false })
    }

    fn assign(&mut self, looked: Vec<(i32, Progress)>) -> Result<(), ReadError> {
        let broker = |error: KafkaError| self.broker(&error);
        let mut list = TopicPartitionList::with_capacity(looked.len());
        for (number, progress) in &looked {
            list.add_partition_offset(&self.name, *number, Offset::Offset(progress.next)).map_err(broker)?;
        }
        self.consumer.incremental_assign(&list).map_err(broker)?;
        self.partitions.extend(looked);
        Ok(())
    }

    /// Reads a partition no more. What was fetched of it and not handed over is thrown away.
    pub fn remove(&mut self, number: i32) -> Result<(), ReadError> {
        if self.partitions.remove(&number).is_none() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.name, number);
        self.consumer.incremental_unassign(&list).map_err(|error| self.broker(&error))
    }

    /// Whether every partition was read to where it ended when it was added. Markers and aborted records count as read.
    pub fn has_caught_up(&self) -> bool {
        self.partitions.values().all(|it| it.is_read)
    }

    /// Whether a partition was; see [`TopicReader::has_caught_up`].
    pub fn is_read(&self, number: i32) -> bool {
        self.partitions.get(&number).is_some_and(|it| it.is_read)
    }

    /// The next record, if one comes in time.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<LogRecord>, ReadError> {
        match self.consumer.poll(timeout) {
            None => {
                self.look_for_stability()?;
                Ok(None)
            }
            Some(Ok(message)) => {
                let record = record(&message);
                if let Some(progress) = self.partitions.get_mut(&record.partition) {
                    progress.next = record.offset + 1;
                    progress.is_read |= progress.next >= progress.end;
                }
                Ok(Some(record))
            }
            Some(Err(KafkaError::PartitionEOF(number))) => {
                if let Some(progress) = self.partitions.get_mut(&number) {
                    progress.is_read |= progress.is_stable;
                }
                Ok(None)
            }
            Some(Err(error)) if passes(&error) => {
                tracing::debug!(topic = self.name, cause = %error, "reading goes on when the brokers are back");
                Ok(None)
            }
            Some(Err(error)) => Err(self.broker(&error)),
        }
    }

    /// Asks whether the transactions that were open have ended. The end must be seen once more after that: what they wrote may lie
    /// behind the end that was seen before.
    fn look_for_stability(&mut self) -> Result<(), ReadError> {
        let name = self.name.clone();
        let open: Vec<i32> =
            self.partitions.iter().filter(|(_, it)| !it.is_read && !it.is_stable).map(|it| *it.0).collect();
        for number in open {
            let asked = self.stable.fetch_watermarks(&name, number, ASK_TIMEOUT);
            let (_, stable) = match asked {
                Ok(asked) => asked,
                // It is asked again at the next look.
                Err(error) if passes(&error) => return Ok(()),
                Err(error) => return Err(self.broker(&error)),
            };
            let Some(progress) = self.partitions.get_mut(&number) else { continue };
            if stable >= progress.end {
                progress.is_stable = true;
                let next = Offset::Offset(progress.next);
                let sought = self.consumer.seek(&name, number, next, ASK_TIMEOUT);
                sought.map_err(|error| self.broker(&error))?;
            }
        }
        Ok(())
    }

    fn broker(&self, error: &KafkaError) -> ReadError {
        ReadError::Broker { topic: self.name.clone(), cause: error.to_string() }
    }
}

/// Says what the client says, but for the ends of partitions: here they are what is waited for.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::client_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            log::client_error(&error, reason);
        }
    }
}

impl ConsumerContext for Quiet {}

/// Whether the client goes on by itself: a broker that is away comes back, or another one takes over.
pub(super) fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

pub(super) fn record(message: &BorrowedMessage<'_>) -> LogRecord {
    let headers = native::headers(message);
    LogRecord {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.into_iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
    }
}
