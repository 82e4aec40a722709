//! The replay tool: dead letters, and their way back.
//!
//! ```text
//!  dead-letters ─▶ letters (what is there) ─ filter ─▶ plan (a file to read and to review) ─▶ apply ─▶ journal · tombstones
//!                                                                                              ▲
//!                                               executions · journal ─▶ outcomes ──────────────┘ canary, concurrency, error rate
//! ```
//!
//! One tool at a time works on an environment: its transactional id is fixed, so that whoever comes later fences whoever is not done. It
//! reads the topic to its end after it has taken over, and writes what brings a letter back and what resolves it in one transaction. So
//! nothing comes back twice, whoever else does the same, and whenever it is killed.

pub mod apply;
pub mod filter;
pub mod letters;
mod mail;
mod outcomes;
mod pace;
pub mod plan;
pub mod status;

use std::cell::RefCell;

use crate::codec::record::SystemTopic;
use crate::kafka::client::{ClientError, ClientSettings};
use crate::kafka::log_reader::{LogRecord, ReadError};

pub use filter::Filter;
pub use pace::Pace;
pub use plan::Plan;

/// Where the tool works.
pub struct Desk {
    /// The Kafka clients' settings.
    pub clients: ClientSettings,
    /// The environment's name.
    pub environment: String,
    /// Where dead letters are.
    pub dead_letters: SystemTopic,
    /// Where it is said what becomes of executions.
    pub executions: SystemTopic,
    /// Where mail goes.
    pub journal: SystemTopic,
    /// How many partitions that has.
    pub journal_partitions: u16,
    /// The clock: now, milliseconds since the Unix epoch.
    pub now_ms: fn() -> i64,
    /// Makes records readable that were written as Avro.
    pub translate: RefCell<Box<Translate>>,
}

/// Makes JSON of a record of ours in Avro; every other record stays as it is. The error says why it cannot.
pub type Translate = dyn FnMut(&mut LogRecord) -> Result<(), String>;

/// Why the tool cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Somebody else has begun to replay.
    #[error(
        "somebody else began to replay in this environment and goes first; what was brought back stays so, the rest is as it was: look with \
         `tidegate replay status`, then apply the plan again"
    )]
    Fenced,
    /// The brokers refuse what is to be written.
    #[error("{0}; what was brought back before stays so, the rest is as it was")]
    NotWritten(String),
    /// What becomes of executions is told in Avro, and cannot be read.
    #[error("{0}; what was brought back before stays so, the rest is as it was")]
    Unreadable(String),
    /// There is more than the tool keeps in memory.
    #[error("there are more than {0} dead letters; take a part of them with filters")]
    TooMany(usize),
    /// The plan is for something else.
    #[error("{0}")]
    OtherPlace(String),
}
