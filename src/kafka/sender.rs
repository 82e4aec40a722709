//! Sends events by hand: idempotent, without transactions, each delivery awaited.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::client::{ClientError, ClientSettings};
use super::native::{self, Message, TopicHandles};
use super::producer::Deliveries;
use crate::engine::wire::WireRecord;

/// How long a wait sleeps before it looks again.
const POLL: Duration = Duration::from_millis(1);

/// A producer without transactions.
pub struct Sender {
    inner: BaseProducer<Deliveries>,
    topics: TopicHandles,
}

/// Why events were not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A record was refused.
    #[error("record {place} was not delivered: {cause}")]
    Refused {
        /// Which, from 1.
        place: usize,
        /// Why, in Kafka's words.
        cause: String,
    },
    /// Not everything was acknowledged in time.
    #[error("{left} records were not acknowledged in time")]
    TimedOut {
        /// How many.
        left: usize,
    },
}

impl Sender {
    /// A sender with these settings.
    pub fn new(settings: &ClientSettings) -> Result<Sender, SendError> {
        let inner = settings.producer().create_with_context(Deliveries::default()).map_err(ClientError::from)?;
        Ok(Sender { inner, topics: TopicHandles::default() })
    }

    /// Queues a record; waits while the queue is full.
    pub fn send(&mut self, record: &WireRecord, place: usize, deadline: Instant) -> Result<(), SendError> {
        loop {
            let message = Message {
                topic: &record.topic,
                partition: record.partition,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: record.headers.iter(),
                timestamp_ms: None,
                token: place,
            };
            match self.topics.send(self.inner.client().native_ptr(), message) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) if Instant::now() < deadline => self.inner.poll(POLL),
                Err(code) => return Err(SendError::Refused { place, cause: code.to_string() }),
            }
        }
    }

    /// Waits until everything was acknowledged. `progress` is told how many are left.
    pub fn finish(&self, deadline: Instant, mut progress: impl FnMut(usize)) -> Result<(), SendError> {
        loop {
            let left = native::in_flight(self.inner.client().native_ptr());
            progress(left);
            if let Some((place, code)) = self.inner.context().failed().first() {
                return Err(SendError::Refused { place: *place, cause: code.to_string() });
            }
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(SendError::TimedOut { left });
            }
            self.inner.poll(POLL);
        }
    }
}
