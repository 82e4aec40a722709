//! Steps that ended, as fields of JSON objects: of step results, of executions and of the state in dead letters.

use sha2::{Digest, Sha256};

use super::object::Object;
use crate::engine::limits;
use crate::engine::record::{Failure, FinishedStep};
use crate::engine::value::{Value, write_json};

/// The fields of a step that ended. An output of more bytes than the limit becomes its size and digest.
pub(super) fn write_step(object: &mut Object<'_>, step: &FinishedStep, output_limit: usize) {
    object.text("stepId", &step.id);
    object.plain("status", step.status.name());
    object.time("startTime", step.started_ms);
    object.time("endTime", step.ended_ms);
    object.number("duration", step.ended_ms.saturating_sub(step.started_ms));
    object.number("attempts", i64::from(step.attempts));
    write_output(object, &step.output, output_limit);
    match &step.failure {
        Some(failure) => write_failure(object.field("error"), failure, limits::ERROR_MESSAGE_BYTES),
        None => object.null("error"),
    }
}

fn write_output(object: &mut Object<'_>, output: &Value, limit: usize) {
    let into = object.field("output");
    let start = into.len();
    write_json(output, into);
    let written = into.len() - start;
    if written <= limit || matches!(output, Value::Null) {
        return;
    }
    let digest = Sha256::digest(&into[start..]);
    into.truncate(start);
    into.extend_from_slice(b"null");
    object.bool("truncated", true);
    object.number("outputBytes", i64::try_from(written).unwrap_or(i64::MAX));
    object.hex("outputSha256", &digest);
}

/// A failure as an object, its message cut to so many bytes.
pub(super) fn write_failure(into: &mut Vec<u8>, failure: &Failure, message_bytes: usize) {
    let mut object = Object::begin(into);
    object.optional_text("stepId", failure.step.as_deref());
    object.plain("class", failure.class.name());
    object.text("message", cut(&failure.message, message_bytes));
    object.end();
}

/// The longest start of a text that has at most so many bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
