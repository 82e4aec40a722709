//! The reference jobs, and the limit loops beside which they are measured.
//!
//! A job runs as it would in production: a real lane, a real registry, definitions compiled from text, a real broker. Beside it
//! runs a *limit loop*, which consumes the same events and produces the same number and sizes of records with the same
//! client settings and does nothing else. Jobs take turns, another one first each round, so that a noisy machine disturbs all
//! alike, and what counts is the ratio to the limit loop of the same round.
//!
//! ```text
//!  run ─▶ inputs are filled ─▶ round: each job ─▶ output topics ─▶ lane or limit loop ─▶ outputs are verified ─▶ report
//!                                                                     └─ calls ─▶ target ─ counted ──┘
//! ```
//!
//! A job that calls (R2) runs with a journal and with what else a real instance has for executions that wait, and is done with an event
//! when its execution has ended. Its limit is a *request loop* (L2), which asks the same target as often at once. The target is part of this
//! process, and so is what it costs; both pay it. What is measured is all of a run, from the first partition held to the last commit: the
//! time in which a new owner starts no call yet is in it, and the events that are read meanwhile are too.
//!
//! What memory an execution takes that waits (R3) is measured in a process of its own, after the rounds: this one has had its own before.

mod avro;
mod broker;
mod contract;
mod cpu;
mod folder;
mod input;
mod instance;
mod job;
mod latency;
mod limit;
mod memory;
mod process;
mod progress;
mod report;
mod requests;
mod round;
mod running;
mod statistics;
mod target;
mod topics;
mod verify;
mod waiting;
mod workflows;
pub mod workload;

use std::path::PathBuf;

use crate::kafka::client::ClientError;

pub use job::Job;
pub use report::{JobReport, LatencyReport, MemoryReport, Report};
pub use round::run;
pub use statistics::{Quantiles, Spread};

/// Rounds of one benchmark, at most: more say nothing new.
pub const ROUNDS_MAX: u32 = 1_000;
/// Events of one run, at most: the broker must keep what they lead to, and verification the ids of that.
pub const EVENTS_MAX: u64 = 10_000_000;
/// Events of one run, at least: fewer measure nothing but the start.
pub const EVENTS_MIN: u64 = 1_000;
/// Events a second of the open loop, at most: one thread sends them.
pub const LATENCY_RATE_MAX: u32 = 200_000;

/// Runs of each job before the first round, which do not count. A Kafka that has just started spends a quarter of its time on compiling
/// itself, and less with every run: jobs that ran later would look better.
pub const WARM_UP_RUNS: u32 = 3;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker as HOST:PORT; None is the embedded one.
    pub bootstrap: Option<String>,
    /// The jobs, in the order in which they take turns.
    pub jobs: Vec<Job>,
    /// How often each job runs before it counts, as a rule [`WARM_UP_RUNS`].
    pub warm_ups: u32,
    /// How often each job runs.
    pub rounds: u32,
    /// Events of one run; jobs with many matches an event take as many fewer.
    pub events: u64,
    /// Also measure latency at so many events a second.
    pub latency_at: Option<u32>,
    /// The broker's process, for its CPU time.
    pub broker_pid: Option<u32>,
}

/// Why nothing was measured, or what was measured does not count.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An option that cannot be: to be changed by whoever typed it.
    #[error("{0}")]
    Option(String),
    /// The embedded broker cannot be had.
    #[error("{0}")]
    Embedded(String),
    /// A client could not be made.
    #[error("a Kafka client could not be made")]
    Client(#[from] ClientError),
    /// The broker did not do what it was asked.
    #[error("{doing}: {cause}")]
    Broker {
        /// What it was asked, with topics.
        doing: String,
        /// What it answered.
        cause: String,
    },
    /// A folder or a file could not be made.
    #[error("{path} cannot be written", path = path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The target of calls has no port.
    #[error("the target of calls cannot listen on loopback")]
    Target(#[source] std::io::Error),
    /// An instance in a process of its own could not be started.
    #[error("an instance could not be started in a process of its own")]
    Start(#[source] std::io::Error),
    /// An instance in a process of its own did not do its work.
    #[error("the instance of {job} {what}")]
    Process {
        /// The job.
        job: String,
        /// What is wrong with it.
        what: String,
    },
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A job stood still, or ran far too long.
    #[error("{job} stopped after {done} of {wanted} events{}", cause.as_ref().map(|it| format!(": {it}")).unwrap_or_default())]
    Stalled {
        /// The job.
        job: String,
        /// How many events were committed.
        done: u64,
        /// How many there are.
        wanted: u64,
        /// The last trouble that was heard of.
        cause: Option<String>,
    },
    /// The outputs of a run are not what its events must lead to.
    #[error("the outputs of {job} are wrong: {what}")]
    Wrong {
        /// The job.
        job: String,
        /// What is missing, too much, or twice.
        what: String,
    },
}

impl BenchError {
    fn broker(doing: impl Into<String>, cause: impl ToString) -> BenchError {
        BenchError::Broker { doing: doing.into(), cause: cause.to_string() }
    }
}
