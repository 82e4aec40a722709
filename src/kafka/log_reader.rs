//! Reads topics from their beginning: up to where they end now, and then on.
//!
//! Assigned by hand, outside any group, and only what is committed. Where a topic ends is asked with a client that also sees what is
//! not committed: behind another producer's open transaction there may be records that are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{ClientError, ClientSettings};
use super::{log, native};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);
/// How long one question to the broker may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch; −1 where there is none.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first record.
    Beginning,
    /// After the last record there is now.
    End,
    /// So many offsets before the end of each partition.
    Tail(i64),
}

/// A reader of whole topics.
pub struct LogReader {
    topics: Vec<TopicReader>,
    /// Whose turn it is.
    turn: usize,
}

/// A reader of one topic: the client says that a partition was read to its end without saying of which topic.
struct TopicReader {
    name: String,
    consumer: BaseConsumer<Quiet>,
    partitions: HashMap<i32, Progress>,
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug)]
struct Progress {
    next: i64,
    /// Where it ended when the reader was made.
    end: i64,
    /// Whether nothing before that end belongs to an open transaction any more.
    is_stable: bool,
    /// Whether it was read to that end.
    is_read: bool,
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topic is not there.
    #[error("the topic {0} does not exist; run `tidegate topics create`")]
    NoTopic(String),
    /// The brokers do not answer, or refuse.
    #[error("reading {topic}: {cause}")]
    Broker {
        /// The topic.
        topic: String,
        /// Why, in Kafka's words.
        cause: String,
    },
    /// The end did not come in time.
    #[error("{0} was not read to its end in time; try again")]
    TooSlow(String),
}

impl LogReader {
    /// A reader of all partitions of the topics.
    pub fn open(settings: &ClientSettings, topics: &[&str], from: From) -> Result<LogReader, ReadError> {
        let topics = topics.iter().map(|topic| TopicReader::open(settings, topic, from));
        Ok(LogReader { topics: topics.collect::<Result<_, _>>()?, turn: 0 })
    }

    /// The next record, if one comes in time.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<LogRecord>, ReadError> {
        let each = timeout / self.topics.len().max(1) as u32;
        for _ in 0..self.topics.len() {
            let found = self.topics[self.turn].poll(each)?;
            if found.is_some() {
                return Ok(found);
            }
            self.turn = (self.turn + 1) % self.topics.len();
        }
        Ok(None)
    }

    /// Whether every partition was read to where it ended when the reader was made. Markers and aborted records count as read.
    pub fn has_caught_up(&self) -> bool {
        self.topics.iter().all(|topic| topic.partitions.values().all(|it| it.is_read))
    }

    /// Hands every record up to where the topics ended when the reader was made to `take`.
    pub fn read_to_end(&mut self, timeout: Duration, mut take: impl FnMut(LogRecord)) -> Result<(), ReadError> {
        let deadline = Instant::now() + timeout;
        while !self.has_caught_up() {
            if let Some(record) = self.poll(POLL)? {
                take(record);
            } else if Instant::now() >= deadline {
                let late = self.topics.iter().find(|topic| topic.partitions.values().any(|it| !it.is_read));
                return Err(ReadError::TooSlow(late.map(|topic| topic.name.clone()).unwrap_or_default()));
            }
        }
        Ok(())
    }
}

impl TopicReader {
    fn open(settings: &ClientSettings, topic: &str, from: From) -> Result<TopicReader, ReadError> {
        let broker = |error: KafkaError| ReadError::Broker { topic: topic.into(), cause: error.to_string() };
        let mut uncommitted = settings.reader();
        uncommitted.set("isolation.level", "read_uncommitted");
        let ends: BaseConsumer = uncommitted.create().map_err(ClientError::from)?;
        let mut committed = settings.reader();
        committed.set("enable.partition.eof", "true");
        let consumer: BaseConsumer<Quiet> = committed.create_with_context(Quiet).map_err(ClientError::from)?;
        let metadata = ends.fetch_metadata(Some(topic), ASK_TIMEOUT).map_err(broker)?;
        let numbers: Vec<i32> = metadata.topics().iter().flat_map(|it| it.partitions()).map(|it| it.id()).collect();
        if numbers.is_empty() {
            return Err(ReadError::NoTopic(topic.into()));
        }
        let mut list = TopicPartitionList::new();
        let mut partitions = HashMap::new();
        for number in numbers {
            let (low, end) = ends.fetch_watermarks(topic, number, ASK_TIMEOUT).map_err(broker)?;
            let next = match from {
                From::Beginning => low,
                From::End => end,
                From::Tail(offsets) => (end - offsets).max(low),
            };
            list.add_partition_offset(topic, number, Offset::Offset(next)).map_err(broker)?;
            // A client that reads what is committed is told the last stable offset.
            let (_, stable) = consumer.fetch_watermarks(topic, number, ASK_TIMEOUT).map_err(broker)?;
            partitions.insert(number, Progress { next, end, is_stable: stable >= end, is_read: next >= end });
        }
        consumer.assign(&list).map_err(broker)?;
        Ok(TopicReader { name: topic.to_owned(), consumer, partitions })
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<LogRecord>, ReadError> {
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
            let asked = self.consumer.fetch_watermarks(&name, number, ASK_TIMEOUT);
            let (_, stable) = asked.map_err(|error| self.broker(&error))?;
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
struct Quiet;

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
fn passes(error: &KafkaError) -> bool {
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

fn record(message: &BorrowedMessage<'_>) -> LogRecord {
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
