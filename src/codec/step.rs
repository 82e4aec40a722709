//! Steps that ended, as fields of records: of step results, of executions and of the state in dead letters.

use super::fields::{Fields, hex};
use crate::engine::expression::StepStatus;
use crate::engine::limits;
use crate::engine::plan::ErrorClass;
use crate::engine::record::{Failure, FinishedStep};

/// The symbols of StepStatus in the schemas.
const STATUSES: [&str; 4] =
    [StepStatus::Pending.name(), StepStatus::Completed.name(), StepStatus::Failed.name(), StepStatus::Skipped.name()];
/// The symbols of ErrorClass in the schemas.
const CLASSES: [&str; 3] = [ErrorClass::Permanent.name(), ErrorClass::Retryable.name(), ErrorClass::Config.name()];

/// The fields of a step that ended. An output of more bytes than the limit becomes its size and digest.
pub(super) fn write_step(fields: &mut impl Fields, step: &FinishedStep, output_limit: usize) {
    fields.text("stepId", &step.id);
    fields.symbol("status", &STATUSES, step.status.name());
    fields.time("startTime", step.started_ms);
    fields.time("endTime", step.ended_ms);
    fields.number("duration", step.ended_ms.saturating_sub(step.started_ms));
    fields.number("attempts", i64::from(step.attempts));
    let left_out = fields.any("output", &step.output, output_limit);
    fields.added_truth("truncated", left_out.is_some());
    let bytes = left_out.as_ref().map(|it| i64::try_from(it.bytes).unwrap_or(i64::MAX));
    fields.added_number("outputBytes", bytes);
    let digits = left_out.map(|it| hex(&it.sha256));
    fields.added_plain("outputSha256", digits.as_deref());
    let write = |fields: &mut _, failure: &Failure| write_failure(fields, failure, limits::ERROR_MESSAGE_BYTES);
    fields.optional_record("error", step.failure.as_ref(), write);
}

/// The fields of a failure, its message cut to so many bytes.
pub(super) fn write_failure(fields: &mut impl Fields, failure: &Failure, message_bytes: usize) {
    fields.optional_text("stepId", failure.step.as_deref());
    fields.symbol("class", &CLASSES, failure.class.name());
    fields.text("message", cut(&failure.message, message_bytes));
}

/// The longest start of a text that has at most so many bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
