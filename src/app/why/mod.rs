//! Why an execution does not run: which gate it waits at, since when and until when. Told from what its partition of the journal holds
//! and what is known around it; nobody who runs it is asked.

mod partition;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

pub use partition::{Ahead, Letter, Partition, Standing};

use super::breakers::Breaker;
use crate::engine::checkpoint::{Failed, StepWait};
use crate::engine::owner::WaitReason;
use crate::engine::plan::{Action, Plan, Turns, Wait};
use crate::engine::signal::Told;
use crate::engine::value::milliseconds_text;
use crate::engine::workflow::WorkflowId;

/// What is known around an execution.
pub struct Around<'a> {
    /// The plan of the version that it runs: None if that is not installed, an error if it cannot be run.
    pub plan: Option<Result<Arc<Plan>, String>>,
    /// Whether a workflow is installed, in this version or in any.
    pub is_installed: &'a dyn Fn(&WorkflowId, Option<&str>) -> bool,
    /// What is known of the circuit breaker of a connector.
    pub breaker: &'a dyn Fn(&str) -> Breaker,
    /// What an approval has asked.
    pub asked: &'a dyn Fn(&str) -> Option<Value>,
    /// Now, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What something waits for.
struct Why {
    /// As the metric of executions that wait names it; None where that is not known from outside, or never for long.
    reason: Option<WaitReason>,
    says: String,
    until_ms: Option<i64>,
    /// What belongs to this kind of wait alone.
    more: Vec<(&'static str, Value)>,
}

impl Why {
    fn new(reason: WaitReason, says: String) -> Why {
        Why { reason: Some(reason), says, until_ms: None, more: Vec::new() }
    }

    fn until(self, until_ms: Option<i64>) -> Why {
        Why { until_ms, ..self }
    }

    fn with(mut self, name: &'static str, value: Value) -> Why {
        self.more.push((name, value));
        self
    }

    fn document(self, since_ms: i64) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("reason".into(), self.reason.map(WaitReason::name).into());
        fields.insert("why".into(), self.says.into());
        fields.insert("since".into(), time(since_ms));
        if let Some(until_ms) = self.until_ms {
            fields.insert("until".into(), time(until_ms));
        }
        fields.extend(self.more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        fields
    }
}

/// The connectors that steps of it wait for.
pub fn connectors(standing: &Standing, plan: &Plan) -> BTreeSet<Arc<str>> {
    let waits = standing.checkpoint.waits.iter();
    waits.filter_map(|wait| action(plan, wait)?.connector().cloned()).collect()
}

/// What each step that waits waits for; and before that what the execution does, if it has not begun.
pub fn waiting(standing: &Standing, around: &Around<'_>) -> Vec<Value> {
    let checkpoint = &standing.checkpoint;
    let its_turn = (!standing.has_begun).then(|| {
        let why = unless_unknown(standing, around).unwrap_or_else(|plan| its_turn(standing, plan.turns));
        why.document(checkpoint.started_ms).into()
    });
    its_turn.into_iter().chain(checkpoint.waits.iter().map(|wait| of_step(standing, wait, around).into())).collect()
}

/// Mail that nobody has heeded so far.
pub fn mail(standing: &Standing) -> Vec<Value> {
    let letter = |letter: &Letter| match letter {
        Letter::Cancel { sent_ms } => json!({ "kind": "cancel", "sent": time(*sent_ms) }),
        Letter::Signal { sent_ms, signal } => {
            let says = match &signal.told {
                Told::Decision { decision, by, .. } if by.is_empty() => decision.name().to_owned(),
                Told::Decision { decision, by, .. } => format!("{} by {by}", decision.name()),
                Told::Child { execution, status, .. } => {
                    format!("the sub-workflow {execution} has ended: {}", status.name())
                }
            };
            json!({ "kind": "signal", "step": &*signal.step, "says": says, "sent": time(*sent_ms) })
        }
    };
    standing.mail.iter().map(letter).collect()
}

fn of_step(standing: &Standing, wait: &StepWait, around: &Around<'_>) -> Map<String, Value> {
    let (action, why) = match unless_unknown(standing, around) {
        Err(plan) => {
            let action = action(&plan, wait);
            (action.map(Action::name), at_step(wait, action, around))
        }
        Ok(why) => (None, why),
    };
    let mut fields = why.document(wait.since_ms);
    fields.insert("step".into(), (&*wait.step).into());
    fields.insert("type".into(), action.into());
    // Other steps are tried once.
    if action == Some("http") {
        fields.insert("attempts".into(), wait.attempts.into());
    }
    if let Some(Failed { first_ms, last_ms, failure }) = &wait.failed {
        let told = json!({ "class": failure.class.name(), "message": failure.message, "time": time(*last_ms),
            "firstTime": time(*first_ms) });
        fields.insert("lastFailure".into(), told);
    }
    fields
}

/// The plan, as the error; or that there is none.
fn unless_unknown(standing: &Standing, around: &Around<'_>) -> Result<Why, Arc<Plan>> {
    let (workflow, version) = (standing.checkpoint.workflow.as_str(), &standing.checkpoint.version);
    let says = match &around.plan {
        Some(Ok(plan)) => return Err(plan.clone()),
        Some(Err(message)) => format!("version {version} of {workflow} cannot be run: {message}"),
        None => format!("version {version} of {workflow} is not installed; apply it"),
    };
    Ok(Why::new(WaitReason::Definition, says))
}

fn action<'p>(plan: &'p Plan, wait: &StepWait) -> Option<&'p Action> {
    plan.steps().iter().find(|step| step.id == wait.step).map(|step| &step.action)
}

fn at_step(wait: &StepWait, action: Option<&Action>, around: &Around<'_>) -> Why {
    let Some(Action::Wait(kind)) = action else {
        let says = format!("this version of the workflow has no step {} that waits", wait.step);
        return Why::new(WaitReason::Definition, says);
    };
    match kind {
        Wait::Delay(_) | Wait::Until(_) => {
            let says =
                wait.due_ms.map_or("delay".to_owned(), |due_ms| format!("delay until {}", milliseconds_text(due_ms)));
            Why::new(WaitReason::Timer, says).until(wait.due_ms)
        }
        Wait::Approval(_) => {
            let by_when = wait
                .due_ms
                .map_or("without an end".to_owned(), |due_ms| format!("until {}", milliseconds_text(due_ms)));
            let why = Why::new(WaitReason::Approval, format!("approval {by_when}")).until(wait.due_ms);
            match (around.asked)(&wait.step) {
                Some(message) => why.with("message", message),
                None => why,
            }
        }
        Wait::Workflow(call) => match wait.child {
            Some(child) => Why::new(WaitReason::Workflow, format!("sub-workflow {child}"))
                .until(wait.due_ms)
                .with("execution", child.to_string().into()),
            None => unopened(&call.workflow, call.version.as_deref(), around),
        },
        Wait::Http(call) => match wait.due_ms.filter(|due_ms| *due_ms > around.now_ms) {
            Some(due_ms) => {
                Why::new(WaitReason::Timer, format!("retry at {}", milliseconds_text(due_ms))).until(Some(due_ms))
            }
            None => at_connector(&call.connector, &(around.breaker)(&call.connector), around.now_ms),
        },
    }
}

/// A sub-workflow that was not started.
fn unopened(workflow: &WorkflowId, version: Option<&str>, around: &Around<'_>) -> Why {
    let name = workflow.as_str();
    if (around.is_installed)(workflow, version) {
        let says = format!("sub-workflow {name}, which is being started");
        return Why { reason: None, ..Why::new(WaitReason::Workflow, says) };
    }
    let of = version.map_or(String::new(), |version| format!("version {version} of "));
    Why::new(WaitReason::Definition, format!("sub-workflow: {of}{name} is not installed; apply it"))
}

fn at_connector(connector: &str, breaker: &Breaker, now_ms: i64) -> Why {
    let wanted = breaker.wanted.as_ref().filter(|wanted| wanted.holds(now_ms));
    let open: Vec<_> = breaker.said.iter().filter(|(_, said)| said.state != "closed").collect();
    let (says, until_ms) = match (wanted, open.first()) {
        (None, None) if !breaker.asked.is_empty() => {
            let asked: Vec<String> =
                breaker.asked.iter().map(|(instance, asked)| format!("{asked} (said by {instance})")).collect();
            (asked.join("; "), None)
        }
        (Some(wanted), _) => {
            let until =
                wanted.expires_ms.map_or(String::new(), |until_ms| format!(" until {}", milliseconds_text(until_ms)));
            let says =
                format!("whose circuit breaker {} holds {}{until}: {}", wanted.by, wanted.state(), wanted.reason);
            (says, wanted.expires_ms)
        }
        (None, Some((instance, said))) => {
            let others = if open.len() > 1 { format!(" and {} more", open.len() - 1) } else { String::new() };
            (format!("{} (said by {instance}{others}, since {})", said.message, said.since), None)
        }
        (None, None) => {
            ("whose circuit breaker is closed: it is called, or comes as soon as its limits let it".into(), None)
        }
    };
    let why = Why::new(WaitReason::Connector, format!("connector {connector}, {says}")).until(until_ms);
    why.with("connector", connector.into()).with("breaker", breaker.document(now_ms))
}

/// It has not begun to run.
fn its_turn(standing: &Standing, turns: Turns) -> Why {
    let key = standing.checkpoint.record.key();
    if !turns.hold_back(key) {
        let partition = standing.execution.journal_partition;
        let says = format!("it begins when an instance that holds partition {partition} of the journal comes to it");
        return Why { reason: None, ..Why::new(WaitReason::Turn, says) };
    }
    let Ahead { running, queued } = standing.of_workflow;
    let workflow = standing.checkpoint.workflow.as_str();
    let mut lines = Vec::new();
    if turns.by_key && key.is_some() {
        let Ahead { running, queued } = standing.of_key;
        lines.push(format!("of its key {running} run and {queued} queue before it"));
    }
    if turns.concurrency > 0 {
        let most = turns.concurrency;
        lines.push(format!("of {workflow} {running} run, of at most {most}, and {queued} queue before it"));
    }
    let Ahead { running, queued } = if turns.concurrency > 0 { standing.of_workflow } else { standing.of_key };
    let wait_max_ms = turns.wait_max.map(|most| i64::try_from(most.as_millis()).unwrap_or(i64::MAX));
    let until_ms = wait_max_ms.map(|most| standing.checkpoint.started_ms.saturating_add(most));
    let why = Why::new(WaitReason::Turn, format!("its turn: {}", lines.join("; "))).until(until_ms);
    why.with("before", json!({ "running": running, "queued": queued }))
}

fn time(ms: i64) -> Value {
    milliseconds_text(ms).into()
}
