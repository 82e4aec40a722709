//! One transaction of a tool: taken over, written, committed, with what may be concluded from each failure.

use std::time::{Duration, Instant};

use super::client::{ClientError, ClientSettings};
use super::producer::{ProducerFailure, TransactionalProducer};
use crate::engine::commit::Failure;
use crate::engine::wire::WireRecord;

/// How long taking over the transactional id may take: an older transaction may have to be ended first.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an abort may take; what takes longer is aborted by the broker.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a transaction did not go through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Somebody else has taken over the transactional id.
    #[error("somebody else has taken over")]
    Fenced,
    /// Nothing of it is visible.
    #[error("nothing was written: {message}")]
    NotWritten {
        /// Why, in Kafka's words.
        message: String,
        /// Whether the broker refused some record for what it is: the same again is refused again.
        is_refused: bool,
    },
    /// The commit was not answered: all of it is visible, or nothing.
    #[error("whether it was written is not known: {message}")]
    Uncertain {
        /// Why, in Kafka's words.
        message: String,
    },
}

impl From<ProducerFailure> for WriteError {
    fn from(failure: ProducerFailure) -> WriteError {
        let is_refused = matches!(failure.failure, Failure::RefusedRecords | Failure::RefusedUnknown);
        let message = failure.refused.first().map_or(failure.message, |refused| refused.message.clone());
        match failure.failure {
            Failure::Fenced => WriteError::Fenced,
            _ => WriteError::NotWritten { message, is_refused },
        }
    }
}

/// A tool that writes in transactions under one fixed id: whoever comes later fences whoever is not done.
pub struct Writer {
    producer: TransactionalProducer,
    /// How long a transaction may be open: the broker aborts one that takes longer; a second is left for the answer to the commit.
    open: Duration,
}

impl Writer {
    /// Takes over the id. What an earlier tool had open is decided once this returns.
    pub fn take_over(clients: &ClientSettings, id: &str) -> Result<Result<Writer, WriteError>, ClientError> {
        let producer = TransactionalProducer::new(clients, id)?;
        let taken = repeat(Instant::now() + INIT_TIMEOUT, || producer.init());
        let open = Duration::from_millis(clients.transaction_timeout_ms().saturating_sub(1_000));
        Ok(taken.map(|()| Writer { producer, open }).map_err(WriteError::from))
    }

    /// Writes records, all of them or none. After an error the writer is of no use any more.
    pub fn write(&mut self, records: &[WireRecord]) -> Result<(), WriteError> {
        let deadline = Instant::now() + self.open;
        let producer = &mut self.producer;
        producer.begin()?;
        let mut sent =
            records.iter().enumerate().try_for_each(|(token, record)| producer.send(record, token, deadline));
        sent = sent.and_then(|()| producer.wait_for_deliveries(deadline));
        if let Err(failure) = sent {
            // Readers wait for a transaction that is open: it is not left to time out. Records of a producer that was replaced are thrown
            // away with no other reason than that; aborting says why.
            match producer.abort(Instant::now() + ABORT_TIMEOUT) {
                Err(error) if error.failure == Failure::Fenced => return Err(WriteError::Fenced),
                Err(error) => tracing::debug!(cause = %error, "the transaction is left to the broker to abort"),
                // This producer does nothing more, so a late repetition harms nobody.
                Ok(_repeated) => {}
            }
            return Err(failure.into());
        }
        repeat(deadline, || producer.commit()).map_err(|failure| match failure.failure {
            Failure::Fenced | Failure::Abortable | Failure::RefusedRecords | Failure::RefusedUnknown => failure.into(),
            Failure::Retriable
            | Failure::SystemTopicRefused
            | Failure::StaleGeneration
            | Failure::NotTheOwner
            | Failure::Uncertain
            | Failure::Fatal => WriteError::Uncertain { message: failure.message },
        })
    }
}

fn repeat(deadline: Instant, mut call: impl FnMut() -> Result<(), ProducerFailure>) -> Result<(), ProducerFailure> {
    loop {
        match call() {
            Err(failure) if failure.failure == Failure::Retriable && Instant::now() < deadline => {}
            done => return done,
        }
    }
}
