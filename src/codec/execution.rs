//! Execution records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::Fields;
use super::step::{cut, write_failure, write_step};
use crate::engine::event::{Event, SourceRecord};
use crate::engine::limits;
use crate::engine::record::{ExecutionRecord, ExecutionStatus, Failure, FinishedStep};

/// How much of an execution its record tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detail {
    /// All of it.
    Whole,
    /// Outputs of more than so many bytes become their size and digest.
    Outputs(usize),
    /// No results, a few errors, the starts of long texts; the record says that it is truncated. Fits any topic.
    Brief,
}

/// What a brief record keeps of a text, in bytes.
const BRIEF_TEXT_BYTES: usize = 256;
/// How many errors a brief record keeps.
const BRIEF_ERRORS: usize = 8;

/// The symbols of ExecutionStatus in the schema.
const STATUSES: [&str; 5] = [
    ExecutionStatus::Pending.name(),
    ExecutionStatus::Running.name(),
    ExecutionStatus::Completed.name(),
    ExecutionStatus::Failed.name(),
    ExecutionStatus::Cancelled.name(),
];

/// The fields of an execution behind those that it shares with its step results.
pub(super) fn write_execution(fields: &mut impl Fields, execution: &ExecutionRecord, detail: Detail) {
    let (text_bytes, errors, message_bytes) = match detail {
        Detail::Whole | Detail::Outputs(_) => (usize::MAX, usize::MAX, limits::ERROR_MESSAGE_BYTES),
        Detail::Brief => (BRIEF_TEXT_BYTES, BRIEF_ERRORS, BRIEF_TEXT_BYTES),
    };
    fields.symbol("status", &STATUSES, execution.status.name());
    fields.plain("trigger", "event");
    fields.record("event", |fields| write_event(fields, &execution.event, text_bytes));
    fields.time("startTime", execution.started_ms);
    fields.optional_time("endTime", execution.ended_ms);
    let duration = execution.ended_ms.map(|ended_ms| ended_ms.saturating_sub(execution.started_ms));
    fields.optional_number("duration", duration);
    let (results, output_limit) = match detail {
        Detail::Whole => (&execution.results[..], usize::MAX),
        Detail::Outputs(limit) => (&execution.results[..], limit),
        Detail::Brief => (&[][..], 0),
    };
    let write = |fields: &mut _, step: &FinishedStep| write_step(fields, step, output_limit);
    fields.records("results", results.iter(), write);
    let write = |fields: &mut _, failure: &Failure| write_failure(fields, failure, message_bytes);
    fields.records("errors", execution.errors.iter().take(errors), write);
    fields.number("retryCount", i64::from(execution.retry_count));
    fields.added_truth("truncated", matches!(detail, Detail::Brief));
}

fn write_event(fields: &mut impl Fields, event: &Event, text_bytes: usize) {
    let origin = &event.record.origin;
    fields.text("id", cut(&event.id, text_bytes));
    fields.text("type", cut(&event.kind, text_bytes));
    fields.text("source", cut(&event.source, text_bytes));
    fields.text("topic", &origin.topic.name);
    fields.number("partition", i64::from(origin.partition));
    fields.number("offset", origin.offset);
    write_key(fields, &event.record, text_bytes);
}

/// The event's key: as text where it is UTF-8, else as base64 under another name; null if it is longer than the limit, because a
/// part of a key is another key.
fn write_key(fields: &mut impl Fields, record: &SourceRecord, limit: usize) {
    let key = record.key().filter(|key| key.len() <= limit);
    let text = key.and_then(|key| std::str::from_utf8(key).ok());
    fields.optional_text("key", text);
    let base64 = key.filter(|_| text.is_none()).map(|key| STANDARD.encode(key));
    fields.added_plain("keyBase64", base64.as_deref());
}
