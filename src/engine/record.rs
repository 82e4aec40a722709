//! What the engine leaves to be written, as values: step results, executions, dead letters, and what `produce` steps write.
//! How they look as bytes is the codec's work.

use std::sync::Arc;

use super::checkpoint::{Content, History, Parent};
use super::event::{Event, SourceRecord};
use super::expression::StepStatus;
use super::ids::{DeadLetterId, ExecutionId};
use super::journal::Entry;
use super::plan::ErrorClass;
use super::run::ProducedRecord;
use super::value::Value;
use super::workflow::Workflow;

/// One record to be written.
#[derive(Debug)]
pub enum Output {
    /// What became of a step.
    StepResult(StepResult),
    /// What became of an execution.
    Execution(Box<ExecutionRecord>),
    /// Work that failed for good.
    DeadLetter(Box<DeadLetter>),
    /// What a `produce` step writes.
    Produced(Produced),
    /// Where an execution that waits stands, or that it has ended.
    Journal(Box<JournalRecord>),
}

/// A record of the journal.
#[derive(Clone, Debug)]
pub struct JournalRecord {
    /// The execution.
    pub execution: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// What it is.
    pub entry: Entry,
    /// What it holds.
    pub content: Content,
}

/// What a `produce` step writes, and the event for whose trace context it is.
#[derive(Debug)]
pub struct Produced {
    /// The record.
    pub record: ProducedRecord,
    /// The event.
    pub event: Arc<Event>,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The execution.
    pub execution: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// The workflow, in the version that ran.
    pub workflow: Arc<Workflow>,
    /// The event.
    pub event: Arc<Event>,
    /// What became of it.
    pub step: FinishedStep,
}

/// A step that ended.
#[derive(Clone, Debug)]
pub struct FinishedStep {
    /// The step's id.
    pub id: Arc<str>,
    /// How it ended.
    pub status: StepStatus,
    /// When it started, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// When it ended, milliseconds since the Unix epoch.
    pub ended_ms: i64,
    /// How often it was tried; 0 if it was skipped.
    pub attempts: u32,
    /// Its output; null unless it completed.
    pub output: Value,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step, if one is to blame.
    pub step: Option<Arc<str>>,
    /// What can be done about it.
    pub class: ErrorClass,
    /// What is wrong, at most [`super::limits::ERROR_MESSAGE_BYTES`].
    pub message: String,
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionStatus {
    /// It waits to be started.
    Pending,
    /// It is under way.
    Running,
    /// Every step ended and none failed for good.
    Completed,
    /// A step failed for good.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl ExecutionStatus {
    /// Every status, in the order of an execution's life.
    pub const ALL: [ExecutionStatus; 5] = [
        ExecutionStatus::Pending,
        ExecutionStatus::Running,
        ExecutionStatus::Completed,
        ExecutionStatus::Failed,
        ExecutionStatus::Cancelled,
    ];

    /// The name used in records.
    pub const fn name(self) -> &'static str {
        match self {
            ExecutionStatus::Pending => "pending",
            ExecutionStatus::Running => "running",
            ExecutionStatus::Completed => "completed",
            ExecutionStatus::Failed => "failed",
            ExecutionStatus::Cancelled => "cancelled",
        }
    }
}

/// What became of an execution.
#[derive(Clone, Debug)]
pub struct ExecutionRecord {
    /// Its id.
    pub execution: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// The workflow, in the version that ran.
    pub workflow: Arc<Workflow>,
    /// The event.
    pub event: Arc<Event>,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it started, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// When it ended, milliseconds since the Unix epoch; None while it goes on.
    pub ended_ms: Option<i64>,
    /// The steps that left no record of their own.
    pub results: Vec<FinishedStep>,
    /// Every failure, those that were let through too.
    pub errors: Vec<Failure>,
    /// How many attempts were repeats.
    pub retry_count: u32,
}

/// Why something is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The record could not be understood.
    Decode,
    /// A workflow matched and could not be started.
    Match,
    /// A step failed.
    Step,
    /// The broker refused a record of it.
    Refused,
    /// It took too long.
    Timeout,
    /// Somebody ended it.
    Cancelled,
    /// It became too large.
    TooLarge,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 7] = [
        Reason::Decode,
        Reason::Match,
        Reason::Step,
        Reason::Refused,
        Reason::Timeout,
        Reason::Cancelled,
        Reason::TooLarge,
    ];

    /// The name used in records.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Decode => "decode",
            Reason::Match => "match",
            Reason::Step => "step",
            Reason::Refused => "refused",
            Reason::Timeout => "timeout",
            Reason::Cancelled => "cancelled",
            Reason::TooLarge => "too-large",
        }
    }
}

/// Work that failed for good, with everything that bringing it back needs.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// Why it is one.
    pub reason: Reason,
    /// What went wrong.
    pub failure: Failure,
    /// The execution that failed; None for what was never one.
    pub execution: Option<FailedExecution>,
    /// The record, as it was read.
    pub record: SourceRecord,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first, milliseconds since the Unix epoch.
    pub first_failure_ms: i64,
    /// When it failed last, milliseconds since the Unix epoch.
    pub last_failure_ms: i64,
    /// How often it was brought back before.
    pub returns: u32,
}

/// The execution behind a dead letter.
#[derive(Clone, Debug)]
pub struct FailedExecution {
    /// Its id.
    pub id: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// The workflow, in the version that ran.
    pub workflow: Arc<Workflow>,
    /// Its steps that ended before the failure; a resume does not run them again.
    pub finished: Vec<FinishedStep>,
    /// What its runs before this one came to.
    pub history: History,
    /// What has started it, if that was no event.
    pub parent: Option<Arc<Parent>>,
}
