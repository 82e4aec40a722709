//! Steps that begin to wait for something that must be said or computed first: a point in time, somebody's decision, a sub-workflow.
//!
//! What it comes to is part of the execution's next state, and what is mailed for it is written with that: so it happens once.

use std::sync::Arc;

use super::outcome::not_in_time;
use super::task::Task;
use super::{Around, Definition, UNKNOWN_DEFINITION_MS};
use crate::engine::checkpoint::{Checkpoint, Content, History, Parent, StepWait};
use crate::engine::execution::{FIRST_RUN, Identity};
use crate::engine::expression::{Budget, Scope, StepStatus};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Entry, Mail};
use crate::engine::limits;
use crate::engine::plan::{Action, Approval, ChildCall, ErrorClass, Wait};
use crate::engine::record::{FinishedStep, JournalRecord};
use crate::engine::run::{FailureCause, StepError};
use crate::engine::value::{Value, View, parse_milliseconds, whole_milliseconds};

/// Opened waits have been tried once; what is not open has not.
const OPENED: u32 = 1;

/// What opening a wait came to.
enum Opened {
    /// It waits so from now on; what is told of that, and what is mailed.
    Waits(Box<StepWait>, Option<FinishedStep>, Option<Box<JournalRecord>>),
    /// What it needs is not there yet.
    Later,
}

impl Task {
    /// Opens the waits that are not open yet. True if one of them cannot be opened yet.
    pub(super) fn open(
        &mut self,
        execution: ExecutionId,
        definition: &Definition,
        around: &Around<'_>,
        identity: &Identity,
    ) -> bool {
        let mut is_left = false;
        let checkpoint = self.checkpoint.clone();
        for wait in checkpoint.waits.iter().filter(|wait| wait.attempts < OPENED) {
            if self.has_news_of(&wait.step) {
                continue;
            }
            let step = definition.plan.steps().iter().find(|step| step.id == wait.step);
            let Some(Action::Wait(kind)) = step.map(|step| &step.action) else { continue };
            let opened = match kind {
                Wait::Delay(_) | Wait::Http(_) => continue,
                Wait::Until(time) => self.in_scope(execution, definition, around, |scope| {
                    let due_ms = milliseconds(&time.render(scope, &mut budget())?)?;
                    Ok(Opened::Waits(Box::new(StepWait { due_ms: Some(due_ms), ..opened(wait) }), None, None))
                }),
                Wait::Approval(approval) => {
                    self.in_scope(execution, definition, around, |scope| ask(approval, wait, scope, around.now_ms))
                }
                Wait::Workflow(call) => self.call_workflow((execution, wait), call, definition, around, identity),
            };
            match opened {
                Ok(Opened::Waits(wait, told, mail)) => {
                    let news = self.news();
                    news.changed.push(*wait);
                    news.told.extend(told);
                    news.mails.extend(mail.map(|mail| *mail));
                }
                Ok(Opened::Later) => is_left = true,
                Err(error) => self.fail(&wait.step, &error, around.now_ms),
            }
        }
        is_left
    }

    /// Starts a sub-workflow.
    fn call_workflow(
        &mut self,
        (execution, wait): (ExecutionId, &StepWait),
        call: &ChildCall,
        definition: &Definition,
        around: &Around<'_>,
        identity: &Identity,
    ) -> Result<Opened, StepError> {
        let config = |message: String| StepError::new(ErrorClass::Config, message, FailureCause::Step);
        let depth = self.checkpoint.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        if depth > limits::CHILD_DEPTH {
            let message =
                format!("sub-workflows nest deeper than {} levels; does one start itself?", limits::CHILD_DEPTH);
            return Err(StepError::new(ErrorClass::Permanent, message, FailureCause::Step));
        }
        let version = call.version.as_deref().unwrap_or_default();
        let due_ms = call.timeout.map(|most| wait.since_ms.saturating_add(whole_milliseconds(most)));
        let Some(found) = (around.definition)(&call.workflow, version) else {
            if due_ms.is_some_and(|due_ms| around.now_ms >= due_ms) {
                let message = format!("{}, which was not there to be started", not_in_time(call));
                return Err(StepError::new(ErrorClass::Config, message, FailureCause::Step));
            }
            if around.now_ms - wait.since_ms < UNKNOWN_DEFINITION_MS {
                return Ok(Opened::Later);
            }
            let of = if version.is_empty() { String::new() } else { format!("version {version} of ") };
            return Err(config(format!("{of}{} is not installed; apply it", call.workflow.as_str())));
        };
        let child = found.map_err(|message| config(format!("{} cannot be run: {message}", call.workflow.as_str())))?;
        let input = self.in_scope(execution, definition, around, |scope| {
            call.input.as_ref().map_or(Ok(Value::Null), |input| Ok(input.render(scope, &mut budget())?))
        })?;
        if input.weight() > limits::EXECUTION_OUTPUT_BYTES {
            let message = format!("`input` is larger than {} bytes; pass less", limits::EXECUTION_OUTPUT_BYTES);
            return Err(StepError::new(ErrorClass::Permanent, message, FailureCause::TooLarge));
        }
        let key = self.checkpoint.record.key();
        let of = (execution, &*wait.step, self.run);
        let id = identity.child_id(&child.workflow.id, of, (child.plan.turns, key));
        let (run, step) = (self.run, wait.step.clone());
        let checkpoint = Checkpoint {
            workflow: child.workflow.id.clone(),
            version: child.workflow.version.clone(),
            record: self.checkpoint.record.clone(),
            started_ms: around.now_ms,
            ended: Vec::new(),
            waits: Vec::new(),
            output_bytes: 0,
            history: History::default(),
            parent: Some(Arc::new(Parent { execution, run, step, input, depth })),
            queues: false,
        };
        let content = Content::Checkpoint(Arc::new(checkpoint));
        let mail = JournalRecord { execution: id, run: FIRST_RUN, entry: Entry::Mail(Mail::Start), content };
        Ok(Opened::Waits(Box::new(StepWait { child: Some(id), due_ms, ..opened(wait) }), None, Some(Box::new(mail))))
    }
}

fn opened(wait: &StepWait) -> StepWait {
    StepWait { attempts: OPENED, ..wait.clone() }
}

fn budget() -> Budget {
    Budget::new(limits::EXECUTION_BUDGET)
}

/// Asks for a decision: that it is wanted is told as a step that is pending.
fn ask(approval: &Approval, wait: &StepWait, scope: &Scope<'_>, now_ms: i64) -> Result<Opened, StepError> {
    let message = approval.message.as_ref().map_or(Ok(Value::Null), |message| message.render(scope, &mut budget()))?;
    let due_ms = approval.timeout.map(|most| wait.since_ms.saturating_add(whole_milliseconds(most)));
    let until = due_ms.map_or(Value::Null, |due_ms| Value::Timestamp(due_ms.saturating_mul(1_000_000)));
    let told = FinishedStep {
        id: wait.step.clone(),
        status: StepStatus::Pending,
        started_ms: wait.since_ms,
        ended_ms: now_ms,
        attempts: 0,
        output: Value::map(vec![("message".into(), message), ("until".into(), until)]),
        failure: None,
    };
    Ok(Opened::Waits(Box::new(StepWait { due_ms, ..opened(wait) }), Some(told), None))
}

/// A point in time, as milliseconds since the Unix epoch: a timestamp, or text in RFC 3339.
fn milliseconds(time: &Value) -> Result<i64, StepError> {
    let parsed = match time.view() {
        View::Timestamp(nanos) => Some(nanos.div_euclid(1_000_000)),
        View::Text(text) => parse_milliseconds(text),
        _ => None,
    };
    let message = "`until` is no point in time; write a timestamp, or text in RFC 3339 such as 2026-05-04T12:00:00Z";
    parsed.ok_or_else(|| StepError::new(ErrorClass::Permanent, message.to_owned(), FailureCause::Step))
}
