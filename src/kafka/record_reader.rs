//! Reads single records of one topic, by their offsets.
//!
//! Assigned by hand, outside any group, and only what is committed. A client that is made for it is sparing with what it fetches ahead: what
//! lies behind a record is rarely wanted. It reads from one partition at a time; what is wanted of one is best asked for in order.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{ClientError, ClientSettings};
use super::log_reader::{LogRecord, ReadError};
use super::topic_reader::{Quiet, passes, record};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);
/// Offsets that are rather read and thrown away than jumped over, which costs a question to the broker.
const SKIP_MOST: i64 = 500;

/// A reader of single records.
pub struct RecordReader {
    topic: String,
    consumer: BaseConsumer<Quiet>,
}

/// What a reader came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// To all that was asked for, or nothing more is wanted.
    ToItsEnd,
    /// To so many of them; then nothing came for a while.
    ToSoMany(usize),
    /// To so many of them; the next one is not there.
    ToOneThatIsGone(usize),
}

impl RecordReader {
    /// A reader of a topic.
    pub fn open(settings: &ClientSettings, topic: &str) -> Result<RecordReader, ReadError> {
        let mut client = settings.reader();
        // A question that is open holds up the next one, which is for another place.
        client.set("fetch.wait.max.ms", "10");
        client.set("fetch.message.max.bytes", "262144");
        client.set("queued.min.messages", "500");
        client.set("queued.max.messages.kbytes", "1024");
        let consumer: BaseConsumer<Quiet> = client.create_with_context(Quiet).map_err(ClientError::from)?;
        Ok(RecordReader { topic: topic.to_owned(), consumer })
    }

    /// Hands over the records at these offsets of a partition, which must rise. Ends early if nothing comes for as long as `patience`, if one
    /// of them is not there, or if `take` says so.
    pub fn read(
        &self,
        number: i32,
        offsets: &[i64],
        patience: Duration,
        mut take: impl FnMut(LogRecord) -> bool,
    ) -> Result<Came, ReadError> {
        // What comes next, if anything is read; None before that.
        let mut next: Option<i64> = None;
        let mut came = Ok(Came::ToItsEnd);
        for (count, wanted) in offsets.iter().enumerate() {
            if next.is_none_or(|next| *wanted - next > SKIP_MOST) {
                self.jump(number, *wanted)?;
            }
            match self.find(number, *wanted, patience) {
                Ok(Some(record)) if record.offset == *wanted => {
                    next = Some(wanted + 1);
                    if !take(record) {
                        break;
                    }
                    continue;
                }
                Ok(Some(_)) => came = Ok(Came::ToOneThatIsGone(count)),
                Ok(None) => came = Ok(Came::ToSoMany(count)),
                Err(error) => came = Err(error),
            }
            break;
        }
        // Nothing is fetched ahead while nothing is wanted.
        self.consumer.unassign().map_err(|error| self.broker(&error))?;
        came
    }

    /// Goes on from another place.
    fn jump(&self, number: i32, offset: i64) -> Result<(), ReadError> {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, number, Offset::Offset(offset));
        added.and_then(|()| self.consumer.assign(&list)).map_err(|error| self.broker(&error))
    }

    /// The first record that is not before an offset; None if nothing comes in time.
    fn find(&self, number: i32, offset: i64, patience: Duration) -> Result<Option<LogRecord>, ReadError> {
        let mut until = Instant::now() + patience;
        while Instant::now() < until {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    let record = record(&message);
                    if record.partition == number && record.offset >= offset {
                        return Ok(Some(record));
                    }
                    until = Instant::now() + patience;
                }
                Some(Err(error)) if passes(&error) => {
                    tracing::debug!(topic = self.topic, cause = %error, "reading goes on when the brokers are back");
                }
                Some(Err(error)) => return Err(self.broker(&error)),
            }
        }
        Ok(None)
    }

    fn broker(&self, error: &KafkaError) -> ReadError {
        ReadError::Broker { topic: self.topic.clone(), cause: error.to_string() }
    }
}
