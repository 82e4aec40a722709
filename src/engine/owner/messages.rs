//! What an owner is told and asked, and what it says.

use std::sync::Arc;

use crate::engine::batch::{AssignmentId, Dependency, SourcePartition};
use crate::engine::call::Request;
use crate::engine::checkpoint::Checkpoint;
use crate::engine::event::{Event, SourceRecord, Undecodable};
use crate::engine::execution::{Left, Subject};
use crate::engine::fan_out::Found;
use crate::engine::ids::ExecutionId;
use crate::engine::plan::Plan;
use crate::engine::position::Position;
use crate::engine::record::JournalRecord;
use crate::engine::workflow::{Workflow, WorkflowId};

/// Finds a version of a workflow, and the one in use if the version is empty: None if it is not known here (yet), an error if it cannot be run.
pub type FindDefinition<'a> = &'a dyn Fn(&WorkflowId, &str) -> Option<Result<Definition, String>>;
/// Understands an event's record.
pub type DecodeEvent<'a> = &'a dyn Fn(SourceRecord) -> Result<Event, (SourceRecord, Undecodable)>;
/// The first match of an event behind the workflow that is done for it last; see [`fan_out::next_match`](super::super::fan_out::next_match).
pub type NextMatch<'a> = &'a dyn Fn(Arc<Event>, Option<&WorkflowId>, i64) -> Found;

/// What an owner asks while it works.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The version of a workflow that runs.
    pub definition: FindDefinition<'a>,
    /// Whether a version that is not there is installed, and what it needs was not found so far: it will be there, however long that takes.
    pub is_on_its_way: &'a dyn Fn(&WorkflowId, &str) -> bool,
    /// Understands an event's record again.
    pub decode: DecodeEvent<'a>,
    /// Whether all is there that a record is understood with. What is not is on its way, or its source is out of reach for a while.
    /// The second value says whether it was understood before.
    pub is_ready: &'a dyn Fn(&SourceRecord, bool) -> bool,
    /// Whether a workflow was stopped, which ends its executions.
    pub is_stopped: &'a dyn Fn(&WorkflowId) -> bool,
    /// Matches an event that was not understood before.
    pub next_match: NextMatch<'a>,
    /// Whether the journal takes a record; the error says why not.
    pub fits: &'a dyn Fn(&JournalRecord) -> Result<(), String>,
    /// Now, milliseconds since the Unix epoch: what is due, and what is written, goes by the time of day.
    pub now_ms: i64,
    /// Now, in milliseconds of a clock that never goes back and never jumps: leases go by that.
    pub steady_ms: i64,
}

/// A version of a workflow, ready to run.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What it does.
    pub plan: Arc<Plan>,
}

/// A call, as its owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Names it to [`super::Owner::handle_answer`].
    pub id: CallId,
    /// The connector.
    pub connector: Arc<str>,
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: Arc<str>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The same for every attempt of the step, wherever it is made.
    pub idempotency_key: String,
    /// The event's record, for its trace context.
    pub record: SourceRecord,
    /// What to send.
    pub request: Request,
}

/// What an execution leaves that goes on.
#[derive(Debug)]
pub struct Emitted {
    /// The journal's partition.
    pub partition: SourcePartition,
    /// The assignment under which it is held.
    pub assignment: AssignmentId,
    /// The partition's position once this is written.
    pub position: Position,
    /// What it is about.
    pub subject: Subject,
    /// What is to be written.
    pub left: Left,
    /// Rises with every one of them; see [`Commit::sequence`].
    pub sequence: u64,
}

/// What a commit makes certain.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The last of the owner's [`Emitted`] that it holds; all before it are committed too.
    pub sequence: u64,
    /// The moment before it was sent, in milliseconds of the clock of leases.
    pub sent_ms: i64,
    /// The partitions whose positions it moved.
    pub named: &'a [Dependency],
    /// The executions that were written otherwise than they were emitted, because the broker refused something.
    pub replaced: &'a [Replaced],
}

/// An execution that was written otherwise than it was emitted.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The execution.
    pub execution: ExecutionId,
    /// Where it stands now; None if it has ended.
    pub checkpoint: Option<Arc<Checkpoint>>,
}

/// What is known of a call that has ended, beside its answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// It asked whether its connector works again; see [`Permit::is_probe`](crate::engine::breaker::Permit::is_probe).
    pub is_probe: bool,
    /// A number from 0 to 1 that spreads retries.
    pub chance: f64,
}

/// What an answer means beyond its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// The connector works, whatever the status says: it is one that the step expects.
    Works,
    /// The connector's credentials are refused: it is to be held open.
    Hold,
}
