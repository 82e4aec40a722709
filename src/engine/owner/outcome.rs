//! What a step's wait came to.

use crate::engine::checkpoint::StepWait;
use crate::engine::execution::Over;
use crate::engine::expression::StepStatus;
use crate::engine::ids::ExecutionId;
use crate::engine::plan::{Approval, ChildCall, ErrorClass, OnError};
use crate::engine::record::{ExecutionStatus, Failure, FinishedStep, Reason};
use crate::engine::run::{FailureCause, StepError};
use crate::engine::value::Value;

pub(super) fn done(wait: &StepWait, attempts: u32, output: Value, now_ms: i64) -> Over {
    Over {
        step: FinishedStep {
            id: wait.step.clone(),
            status: StepStatus::Completed,
            started_ms: wait.since_ms,
            ended_ms: now_ms,
            attempts,
            output,
            failure: None,
        },
        first_failure_ms: now_ms,
        reason: Reason::Step,
    }
}

/// The output of an approval.
pub(super) fn decided(decision: Value, by: Value, comment: Value) -> Value {
    Value::map(vec![("decision".into(), decision), ("by".into(), by), ("comment".into(), comment)])
}

/// Nobody has decided in time.
pub(super) fn undecided(approval: &Approval, wait: &StepWait, now_ms: i64) -> Over {
    if approval.on_timeout == OnError::Continue {
        return done(wait, 1, decided(Value::text("timeout"), Value::Null, Value::Null), now_ms);
    }
    let most = approval.timeout.unwrap_or_default().as_secs_f64();
    let message = format!("nobody decided within {most} s");
    let error = StepError::new(ErrorClass::Permanent, message, FailureCause::Step);
    Over { reason: Reason::Timeout, ..failed(wait, 1, &error, now_ms) }
}

/// A sub-workflow has not ended in time.
pub(super) fn not_ended(call: &ChildCall, wait: &StepWait, now_ms: i64) -> Over {
    let message = format!("{}; it is cancelled", not_in_time(call));
    let error = StepError::new(ErrorClass::Retryable, message, FailureCause::Step);
    Over { reason: Reason::Timeout, ..failed(wait, 1, &error, now_ms) }
}

pub(super) fn not_in_time(call: &ChildCall) -> String {
    let most_ms = call.timeout.unwrap_or_default().as_millis();
    format!("the sub-workflow {} did not end within the step's `timeout` of {most_ms} ms", call.workflow.as_str())
}

/// A sub-workflow has ended.
pub(super) fn child_ended(
    wait: &StepWait,
    (execution, status): (ExecutionId, ExecutionStatus),
    output: &Value,
    failure: Option<&Failure>,
    now_ms: i64,
) -> Over {
    if status == ExecutionStatus::Completed {
        let fields = vec![("status".into(), Value::text(status.name())), ("output".into(), output.clone())];
        return done(wait, 1, Value::map(fields), now_ms);
    }
    let class = failure.map_or(ErrorClass::Permanent, |failure| failure.class);
    let why = failure.map_or(String::new(), |failure| format!(": {}", failure.message));
    let message = format!("the sub-workflow {execution} ended as {}{why}", status.name());
    failed(wait, 1, &StepError::new(class, message, FailureCause::Step), now_ms)
}

pub(super) fn failed(wait: &StepWait, attempts: u32, error: &StepError, now_ms: i64) -> Over {
    let mut over = done(wait, attempts, Value::Null, now_ms);
    over.step.status = StepStatus::Failed;
    over.step.failure = Some(failure(wait, error));
    over.first_failure_ms = wait.failed.as_ref().map_or(now_ms, |failed| failed.first_ms);
    over
}

pub(super) fn failure(wait: &StepWait, error: &StepError) -> Failure {
    Failure { step: Some(wait.step.clone()), class: error.class, message: error.message.clone() }
}
