//! Where an execution that waits stands: all that is needed to go on with it, on any instance.

use std::sync::Arc;

use super::event::{Event, SourceRecord, Undecodable};
use super::expression::StepView;
use super::ids::ExecutionId;
use super::plan::Plan;
use super::record::{Failure, FinishedStep};
use super::run::EndedStep;
use super::signal::Signal;
use super::value::Value;
use super::workflow::WorkflowId;

/// What a record of the journal holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing: a cancel, an end.
    None,
    /// Where the execution stands: a start, a resume, a state.
    Checkpoint(Arc<Checkpoint>),
    /// What a step is told.
    Signal(Arc<Signal>),
    /// A record that could not be understood and is to be read again.
    Redrive(Arc<Redrive>),
}

/// An execution between two parts of its run.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The version of it that runs.
    pub version: Arc<str>,
    /// The event's record, which is understood again when the run goes on.
    pub record: SourceRecord,
    /// When the execution started, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// The steps that have ended.
    pub ended: Vec<FinishedStep>,
    /// The steps that wait.
    pub waits: Vec<StepWait>,
    /// What the outputs weigh; see [`super::run::RunInput::output_bytes`].
    pub output_bytes: usize,
    /// What earlier runs came to.
    pub history: History,
    /// What has started it, if that was no event.
    pub parent: Option<Arc<Parent>>,
    /// Whether the run has not begun though steps of it wait: it queues for its turn, and they wait for sub-workflows that have come back with it.
    pub queues: bool,
}

/// The step that has started a sub-workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// Its execution.
    pub execution: ExecutionId,
    /// The run of that.
    pub run: u32,
    /// The step.
    pub step: Arc<str>,
    /// What it gives: the `event.data` of the sub-workflow, whose event is that of the parent else.
    pub input: Value,
    /// How deep the sub-workflow is, from 1.
    pub depth: u32,
}

/// What earlier runs of an execution came to, as far as later ones need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The edition of the idempotency keys of its calls, from 1: the same as before, unless a replay changed the version or the inputs.
    pub edition: u32,
    /// When it failed for the first time, milliseconds since the Unix epoch.
    pub first_failure_ms: Option<i64>,
    /// Why the runs before failed, the last one first, a line each; at most [`super::limits::ERROR_MESSAGE_BYTES`].
    pub causes: Arc<str>,
}

impl Default for History {
    /// That of a first run.
    fn default() -> History {
        History { edition: 1, first_failure_ms: None, causes: "".into() }
    }
}

/// A record that could not be understood when it was read, on its way through the journal to be read again.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// The record.
    pub record: SourceRecord,
    /// The last workflow that is done for it, once it was understood; they come in order of their ids.
    pub after: Option<WorkflowId>,
    /// When it could not be understood for the first time, milliseconds since the Unix epoch.
    pub first_failure_ms: i64,
}

/// A step that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepWait {
    /// The step's id.
    pub step: Arc<str>,
    /// When its turn came, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// It is due at this time and not before, milliseconds since the Unix epoch; None = as soon as it may.
    pub due_ms: Option<i64>,
    /// How often it was tried.
    pub attempts: u32,
    /// How it failed, if it did.
    pub failed: Option<Failed>,
    /// The sub-workflow that it waits for.
    pub child: Option<ExecutionId>,
}

/// How a step failed that is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When it did first, milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// When it did last, milliseconds since the Unix epoch.
    pub last_ms: i64,
    /// Why it did last.
    pub failure: Failure,
}

/// A checkpoint in the words of a plan, for [`super::run::run`].
#[derive(Clone, Debug)]
pub struct Progress {
    /// The steps that have ended.
    pub ended: Vec<EndedStep>,
    /// The steps that wait, as indices in the plan.
    pub waiting: Vec<usize>,
}

/// The plan lacks a step that has run: it is another version's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the step `{0}` has run, but this version of the workflow has none of that name")]
pub struct UnknownStep(pub Arc<str>);

impl Parent {
    /// The event of a sub-workflow.
    pub fn event(&self, event: Event) -> Event {
        Event { data: self.input.clone(), ..event }
    }
}

/// What an execution that waits takes beside its event's record and its outputs, about, in bytes.
const FIXED_BYTES: usize = 2 * 1024;
/// What a step takes beside its output, about, in bytes.
const STEP_BYTES: usize = 256;

impl Checkpoint {
    /// Whether the run has begun: whatever goes on waits for something, and what waits before it has begun says so.
    pub fn has_begun(&self) -> bool {
        !self.queues && !self.waits.is_empty()
    }

    /// What it takes in memory with all that its owner knows of it, about, in bytes.
    pub fn weight(&self) -> usize {
        let input = self.parent.as_ref().map_or(0, |parent| parent.input.weight());
        let steps = (self.ended.len() + self.waits.len()) * STEP_BYTES;
        FIXED_BYTES + self.record.size_bytes() + self.output_bytes + input + steps
    }

    /// Its event, understood by `decode`.
    pub fn event(
        &self,
        decode: &dyn Fn(SourceRecord) -> Result<Event, (SourceRecord, Undecodable)>,
    ) -> Result<Event, (SourceRecord, Undecodable)> {
        let event = decode(self.record.clone())?;
        Ok(match &self.parent {
            None => event,
            Some(parent) => parent.event(event),
        })
    }

    /// How far the run has come in a plan.
    pub fn progress(&self, plan: &Plan) -> Result<Progress, UnknownStep> {
        let index =
            |id: &Arc<str>| plan.steps().iter().position(|it| it.id == *id).ok_or_else(|| UnknownStep(id.clone()));
        let ended = self.ended.iter().map(|step| {
            let view = StepView { status: step.status, output: step.output.clone() };
            Ok(EndedStep { step: index(&step.id)?, view })
        });
        let waiting = self.waits.iter().map(|wait| index(&wait.step));
        Ok(Progress { ended: ended.collect::<Result<_, _>>()?, waiting: waiting.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Origin, Topic};
    use crate::engine::expression::{StepStatus, Template};
    use crate::engine::plan::{Action, OnError, Step};
    use crate::engine::value::Value;

    fn plan(steps: &[&str]) -> Plan {
        let step = |id: &&str| Step {
            id: Arc::from(*id),
            action: Action::Transform { output: Template::Literal(Value::Null) },
            dependencies: Vec::new(),
            when: None,
            on_error: OnError::Fail,
            order: 0,
        };
        Plan::new(steps.iter().map(step).collect()).unwrap()
    }

    #[test]
    fn steps_are_found_by_their_names_in_the_plan_of_another_version() {
        let topic = Arc::new(Topic { name: "t".into(), id: [0; 16] });
        let origin = Origin { topic, partition: 0, offset: 0 };
        let (status, output) = (StepStatus::Completed, Value::Int(1));
        let ended =
            FinishedStep { id: "shape".into(), status, started_ms: 0, ended_ms: 0, attempts: 1, output, failure: None };
        let wait =
            StepWait { step: "charge".into(), since_ms: 0, due_ms: None, attempts: 0, failed: None, child: None };
        let checkpoint = Checkpoint {
            workflow: WorkflowId::new("w").unwrap(),
            version: "1.0.0".into(),
            record: SourceRecord::new(origin, 0, None, None, std::iter::empty()),
            started_ms: 0,
            ended: vec![ended],
            waits: vec![wait],
            output_bytes: 12,
            history: History::default(),
            parent: None,
            queues: false,
        };
        let progress = checkpoint.progress(&plan(&["new", "charge", "shape"])).unwrap();
        let found: Vec<_> = progress.ended.iter().map(|it| (it.step, it.view.output.clone())).collect();
        assert_eq!((found, progress.waiting), (vec![(2, Value::Int(1))], vec![1]));
        let unknown = checkpoint.progress(&plan(&["shape"])).unwrap_err();
        assert_eq!(unknown, UnknownStep("charge".into()));
    }
}
