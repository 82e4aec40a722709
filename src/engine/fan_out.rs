//! An event's matches, one after the other: the workflows whose triggers match it, in order of their ids, with their `where`.

use std::sync::Arc;

use super::event::Event;
use super::execution::{Execution, Identity, Subject};
use super::expression::{Budget, EvaluationError, Scope};
use super::limits;
use super::plan::Plan;
use super::registry::{Compile, Entry, MatchScratch, Registry};
use super::workflow::{Workflow, WorkflowId};

/// The matches of an event that are left.
#[derive(Debug)]
pub struct FanOut {
    event: Arc<Event>,
    /// Last one first.
    left: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    installed: Arc<Entry>,
    triggers: Vec<u16>,
}

/// A trigger's `where` that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// The workflow whose trigger it is.
    pub workflow: WorkflowId,
    /// Why.
    pub message: String,
}

/// A match of an event, by itself.
#[derive(Debug)]
pub struct Found {
    /// What is to be run; None if no workflow matches (any more).
    pub subject: Option<Subject>,
    /// Whether there may be more behind it.
    pub has_more: bool,
}

/// The first match of an event behind the workflow that is done for it last. Whoever has many events keeps a [`FanOut`].
pub fn next_match(
    identity: &Identity,
    registry: &Registry,
    compile: Compile<'_>,
    (event, after): (Arc<Event>, Option<&WorkflowId>),
    now_ms: i64,
) -> Found {
    let mut fan_out = FanOut::of(registry, &mut MatchScratch::default(), event, after);
    let subject = fan_out.next(identity, compile, now_ms, &mut None);
    Found { subject, has_more: fan_out.has_more() }
}

impl FanOut {
    /// The active workflows that match by their triggers, without those that are done. `scratch` then says which are not active.
    pub fn of(
        registry: &Registry,
        scratch: &mut MatchScratch,
        event: Arc<Event>,
        after: Option<&WorkflowId>,
    ) -> FanOut {
        registry.matching(&event, scratch);
        let left =
            scratch.matches().iter().rev().filter(|it| after.is_none_or(|done| it.entry().workflow().id > *done));
        let left = left.map(|it| Candidate { installed: it.entry().clone(), triggers: scratch.triggers(it).to_vec() });
        FanOut { event, left: left.collect() }
    }

    /// Whether any is left that may match with its `where` too.
    pub fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    /// The next workflow that matches with its `where` too, and what is to be run. Taking one off is done with it, whatever comes of it.
    pub fn next(
        &mut self,
        identity: &Identity,
        compile: Compile<'_>,
        now_ms: i64,
        condition_error: &mut Option<ConditionError>,
    ) -> Option<Subject> {
        let event = &self.event;
        while let Some(Candidate { installed, triggers }) = self.left.pop() {
            let plan = match installed.plan(compile) {
                Ok(plan) => plan,
                Err(message) => {
                    let workflow = installed.workflow().clone();
                    return Some(Subject::unrunnable(identity, workflow, event.clone(), &message, now_ms));
                }
            };
            let workflow = installed.workflow();
            match holds(workflow, &plan, &triggers, event) {
                Ok(true) => {
                    let execution = Execution::new(identity, workflow.clone(), plan, event.clone(), now_ms);
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
