//! The machine of one lane: events in, what they cause out.
//!
//! ```text
//!  handle_assigned · handle_revoked           partitions come with their positions and go
//!  handle_record(event or undecodable)        one record of a partition that is held
//!  poll(now) ─▶ Emitted                       one execution, one dead letter or one event done; call until None
//! ```
//!
//! An event's matches run in order of workflow id, one per `poll`, each with the position that holds once it is written. So
//! whoever drives the machine may end a batch between any two of them, and a fan-out of any size fits into bounded batches.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::batch::{AssignmentId, SourcePartition};
use super::event::{Event, SourceRecord, Undecodable};
use super::execution::{Execution, Identity, Subject};
use super::expression::{Budget, EvaluationError, Scope};
use super::limits;
use super::plan::Plan;
use super::position::Position;
use super::registry::{Compile, Entry, MatchScratch, Registry};
use super::workflow::{Workflow, WorkflowId};

/// The pure part of a lane.
#[derive(Debug)]
pub struct Machine {
    identity: Arc<Identity>,
    held: FxHashMap<SourcePartition, Held>,
    next_assignment: u64,
    fan_out: Option<FanOut>,
    scratch: MatchScratch,
}

#[derive(Debug)]
struct Held {
    assignment: AssignmentId,
    position: Position,
}

/// A record whose work is under way.
#[derive(Debug)]
struct FanOut {
    partition: SourcePartition,
    assignment: AssignmentId,
    offset: i64,
    work: Work,
    matched: u32,
}

#[derive(Debug)]
enum Work {
    /// The matches that are left, last one first.
    Event(Arc<Event>, Vec<Candidate>),
    /// A record that could not be understood; None once it is dealt with.
    Undecodable(Option<Box<(SourceRecord, Undecodable)>>),
}

#[derive(Debug)]
struct Candidate {
    installed: Arc<Entry>,
    triggers: Vec<u16>,
}

/// What became of a record that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Its work comes from [`Machine::poll`].
    Accepted {
        /// Workflows that match by their triggers but are not active.
        inactive: u32,
    },
    /// Its partition is not held, or the position is past it: it is somebody else's, or done.
    Stale,
}

/// One piece of what a record causes.
#[derive(Debug)]
pub struct Emitted {
    /// The record's partition.
    pub partition: SourcePartition,
    /// The assignment under which it was read.
    pub assignment: AssignmentId,
    /// The partition's position once this is written.
    pub position: Position,
    /// What is to be run and written; None if the record causes nothing (more).
    pub subject: Option<Subject>,
    /// Set on the last piece of a record: how many workflows it was run for.
    pub done: Option<u32>,
    /// A `where` that has no value for this event: no match, but worth a word.
    pub condition_error: Option<ConditionError>,
}

/// A trigger's `where` that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// The workflow whose trigger it is.
    pub workflow: WorkflowId,
    /// Why.
    pub message: String,
}

impl Machine {
    /// A machine that holds nothing yet.
    pub fn new(identity: Arc<Identity>) -> Machine {
        Machine {
            identity,
            held: FxHashMap::default(),
            next_assignment: 0,
            fan_out: None,
            scratch: MatchScratch::default(),
        }
    }

    /// Another assignment: of a partition that this machine takes up, or of one of the journal's.
    pub fn next_assignment(&mut self) -> AssignmentId {
        self.next_assignment += 1;
        AssignmentId(self.next_assignment)
    }

    /// Takes up a partition at its committed position.
    pub fn handle_assigned(&mut self, partition: SourcePartition, position: Position) -> AssignmentId {
        let assignment = self.next_assignment();
        self.held.insert(partition, Held { assignment, position });
        assignment
    }

    /// Lets a partition go, and the record of it that is under way.
    pub fn handle_revoked(&mut self, partition: &SourcePartition) {
        self.held.remove(partition);
        if self.fan_out.as_ref().is_some_and(|it| it.partition == *partition) {
            self.fan_out = None;
        }
    }

    /// Takes one record of a partition that is held. Only when [`Machine::poll`] has nothing more for the one before.
    pub fn handle_record(
        &mut self,
        registry: &Registry,
        decoded: Result<Event, (SourceRecord, Undecodable)>,
    ) -> Handled {
        debug_assert!(self.fan_out.is_none(), "poll until there is nothing more before the next record");
        let record = match &decoded {
            Ok(event) => &event.record,
            Err((record, _)) => record,
        };
        let partition = SourcePartition { topic: record.origin.topic.clone(), partition: record.origin.partition };
        let offset = record.origin.offset;
        let Some(held) = self.held.get(&partition).filter(|held| held.position.next_offset <= offset) else {
            return Handled::Stale;
        };
        // The position names a workflow only of the event it stands at; an event that retention took is gone with it.
        let after = held.position.after.clone().filter(|_| held.position.next_offset == offset);
        let assignment = held.assignment;
        let mut inactive = 0;
        let work = match decoded {
            Err(undecodable) => Work::Undecodable(Some(Box::new(undecodable))),
            Ok(event) => {
                registry.matching(&event, &mut self.scratch);
                inactive = self.scratch.inactive().len() as u32;
                let left = candidates(&self.scratch, after.as_ref());
                Work::Event(Arc::new(event), left)
            }
        };
        self.fan_out = Some(FanOut { partition, assignment, offset, work, matched: 0 });
        Handled::Accepted { inactive }
    }

    /// The next piece of what the last record causes; None when there is nothing more.
    pub fn poll(&mut self, compile: Compile<'_>, now_ms: i64) -> Option<Emitted> {
        let mut fan_out = self.fan_out.take()?;
        let mut condition_error = None;
        let subject = match &mut fan_out.work {
            Work::Undecodable(left) => left.take().map(|it| Subject::undecodable(*it, now_ms)),
            Work::Event(event, left) => self.next_match(compile, event, left, now_ms, &mut condition_error),
        };
        fan_out.matched += u32::from(matches!(subject, Some(Subject::Execution(_))));
        let more = matches!(&fan_out.work, Work::Event(_, left) if !left.is_empty());
        let position = match subject.as_ref().and_then(Subject::workflow).filter(|_| more) {
            Some(workflow) => Position { next_offset: fan_out.offset, after: Some(workflow.id.clone()) },
            None => Position::at(fan_out.offset + 1),
        };
        if let Some(held) = self.held.get_mut(&fan_out.partition) {
            held.position = position.clone();
        }
        let emitted = Emitted {
            partition: fan_out.partition.clone(),
            assignment: fan_out.assignment,
            position,
            subject,
            done: (!more).then_some(fan_out.matched),
            condition_error,
        };
        if more {
            self.fan_out = Some(fan_out);
        }
        Some(emitted)
    }

    /// The next workflow that matches with its `where` too. Taking one off `left` is done with it, whatever comes of it.
    fn next_match(
        &self,
        compile: Compile<'_>,
        event: &Arc<Event>,
        left: &mut Vec<Candidate>,
        now_ms: i64,
        condition_error: &mut Option<ConditionError>,
    ) -> Option<Subject> {
        while let Some(Candidate { installed, triggers }) = left.pop() {
            let plan = match installed.plan(compile) {
                Ok(plan) => plan,
                Err(message) => {
                    let workflow = installed.workflow().clone();
                    return Some(Subject::unrunnable(&self.identity, workflow, event.clone(), &message, now_ms));
                }
            };
            let workflow = installed.workflow();
            match holds(workflow, &plan, &triggers, event) {
                Ok(true) => {
                    let execution = Execution::new(&self.identity, workflow.clone(), plan, event.clone(), now_ms);
                    return Some(Subject::Execution(Box::new(execution)));
                }
                Ok(false) => {}
                Err(error) => {
                    *condition_error = Some(ConditionError { workflow: workflow.id.clone(), message: error.message });
                }
            }
        }
        None
    }

    /// Where the partition stands, if it is held.
    pub fn position(&self, partition: &SourcePartition) -> Option<&Position> {
        self.held.get(partition).map(|held| &held.position)
    }
}

/// The active workflows that match, last one first, without those that are done.
fn candidates(scratch: &MatchScratch, done: Option<&WorkflowId>) -> Vec<Candidate> {
    let left = scratch.matches().iter().rev().filter(|it| done.is_none_or(|done| it.entry().workflow().id > *done));
    left.map(|it| Candidate { installed: it.entry().clone(), triggers: scratch.triggers(it).to_vec() }).collect()
}

/// Whether any of the triggers that match also holds with its `where`. A `where` without a value is no match.
fn holds(workflow: &Workflow, plan: &Plan, triggers: &[u16], event: &Event) -> Result<bool, EvaluationError> {
    let scope = Scope {
        event,
        steps: &[],
        execution_id: "",
        workflow_id: workflow.id.as_str(),
        workflow_version: &workflow.version,
        vars: &plan.vars,
    };
    let mut budget = Budget::new(limits::CONDITION_BUDGET);
    let mut first_error = None;
    for &trigger in triggers {
        match plan.conditions.get(usize::from(trigger)).and_then(Option::as_ref) {
            None => return Ok(true),
            Some(condition) => match condition.test(&scope, &mut budget) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            },
        }
    }
    first_error.map_or(Ok(false), Err)
}
