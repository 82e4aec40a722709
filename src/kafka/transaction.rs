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
/// How long to wait before an abort that failed is asked for again.
const ABORT_PAUSE: Duration = Duration::from_millis(50);

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
        self.producer.begin()?;
        let mut each = records.iter().enumerate();
        let sent = each.try_for_each(|(token, record)| self.producer.send(record, token, deadline));
        let sent = sent.and_then(|()| self.producer.wait_for_deliveries(deadline));
        if let Err(failure) = sent {
            return Err(match self.give_up() {
                Err(error) if error.failure == Failure::Fenced => WriteError::Fenced,
                // It is left to the broker to abort: what was not committed will never be.
                Ok(()) | Err(_) => failure.into(),
            });
        }
        repeat(deadline, || self.producer.commit()).map_err(|failure| match failure.failure {
            Failure::Fenced => WriteError::Fenced,
            // No error of a commit says that nothing was written; an abort that goes through does.
            Failure::Abortable | Failure::RefusedRecords | Failure::RefusedUnknown => match self.give_up() {
                Ok(()) => failure.into(),
                Err(error) if error.failure == Failure::Fenced => WriteError::Fenced,
                Err(error) => WriteError::Uncertain { message: error.message },
            },
            Failure::Retriable
            | Failure::SystemTopicRefused
            | Failure::StaleGeneration
            | Failure::NotTheOwner
            | Failure::Uncertain
            | Failure::Fatal => WriteError::Uncertain { message: failure.message },
        })
    }

    /// Aborts: readers wait for a transaction that is open, so it is not left to time out. Who was replaced hears it now at the latest:
    /// what failed before need not say so. Records are thrown away without a reason, and Kafka's coordinator answers
    /// `UNKNOWN_SERVER_ERROR` to a commit that comes while it replaces the producer.
    fn give_up(&self) -> Result<(), ProducerFailure> {
        let deadline = Instant::now() + ABORT_TIMEOUT;
        loop {
            match self.producer.abort(deadline) {
                // This producer does nothing more, so a late repetition harms nobody.
                Ok(_repeated) => return Ok(()),
                Err(error) if error.failure == Failure::Abortable && Instant::now() < deadline => {
                    std::thread::park_timeout(ABORT_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
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
