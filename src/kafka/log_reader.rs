//! Reads topics from their beginning: up to where they end now, and then on.
//!
//! Outside any group, and only what is committed; see [`TopicReader`].

use std::time::{Duration, Instant};

use super::client::{ClientError, ClientSettings};
use super::topic_reader::TopicReader;

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);

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
    /// At this offset, or at the first record behind it that is still there.
    Offset(i64),
}

/// A reader of whole topics.
pub struct LogReader {
    topics: Vec<TopicReader>,
    /// Whose turn it is.
    turn: usize,
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
        let topics = topics.iter().map(|topic| {
            let mut reader = TopicReader::open(settings, topic)?;
            let partitions = reader.all_partitions()?;
            if partitions.is_empty() {
                return Err(ReadError::NoTopic((*topic).to_owned()));
            }
            reader.add_all(&partitions, from)?;
            Ok(reader)
        });
        Ok(LogReader { topics: topics.collect::<Result<_, _>>()?, turn: 0 })
    }

    /// A reader of one partition.
    pub fn open_partition(
        settings: &ClientSettings,
        topic: &str,
        number: i32,
        from: From,
    ) -> Result<LogReader, ReadError> {
        let mut reader = TopicReader::open(settings, topic)?;
        reader.add(number, from)?;
        Ok(LogReader { topics: vec![reader], turn: 0 })
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
        self.topics.iter().all(TopicReader::has_caught_up)
    }

    /// Hands every record up to where the topics ended when the reader was made to `take`.
    pub fn read_to_end(&mut self, timeout: Duration, mut take: impl FnMut(LogRecord)) -> Result<(), ReadError> {
        let deadline = Instant::now() + timeout;
        while !self.has_caught_up() {
            if let Some(record) = self.poll(POLL)? {
                take(record);
            } else if Instant::now() >= deadline {
                let late = self.topics.iter().find(|topic| !topic.has_caught_up());
                return Err(ReadError::TooSlow(late.map(|topic| topic.name().to_owned()).unwrap_or_default()));
            }
        }
        Ok(())
    }
}
