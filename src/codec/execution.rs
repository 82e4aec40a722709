//! Execution records as JSON.

use bytes::Bytes;

use super::object::Object;
use super::step::{cut, write_failure, write_step};
use crate::engine::event::{Event, SourceRecord};
use crate::engine::limits;
use crate::engine::record::{ExecutionRecord, Failure};
use crate::engine::value::Value;

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

/// Writes an execution. `head` are its first fields, which it shares with its step results.
pub(super) fn write_execution(
    into: &mut Vec<u8>,
    execution: &ExecutionRecord,
    write_head: impl FnOnce(&mut Object<'_>),
    detail: Detail,
) {
    let (text_bytes, errors, message_bytes) = match detail {
        Detail::Whole | Detail::Outputs(_) => (usize::MAX, usize::MAX, limits::ERROR_MESSAGE_BYTES),
        Detail::Brief => (BRIEF_TEXT_BYTES, BRIEF_ERRORS, BRIEF_TEXT_BYTES),
    };
    let mut object = Object::begin(into);
    write_head(&mut object);
    object.plain("status", execution.status.name());
    object.plain("trigger", "event");
    write_event(object.field("event"), &execution.event, text_bytes);
    object.time("startTime", execution.started_ms);
    match execution.ended_ms {
        Some(ended_ms) => {
            object.time("endTime", ended_ms);
            object.number("duration", ended_ms.saturating_sub(execution.started_ms));
        }
        None => {
            object.null("endTime");
            object.null("duration");
        }
    }
    let (results, output_limit) = match detail {
        Detail::Whole => (&execution.results[..], usize::MAX),
        Detail::Outputs(limit) => (&execution.results[..], limit),
        Detail::Brief => (&[][..], 0),
    };
    object.list("results", results.iter(), |into, step| {
        let mut object = Object::begin(into);
        write_step(&mut object, step, output_limit);
        object.end();
    });
    let write = |into: &mut Vec<u8>, failure: &Failure| write_failure(into, failure, message_bytes);
    object.list("errors", execution.errors.iter().take(errors), write);
    object.number("retryCount", i64::from(execution.retry_count));
    if matches!(detail, Detail::Brief) {
        object.bool("truncated", true);
    }
    object.end();
}

fn write_event(into: &mut Vec<u8>, event: &Event, text_bytes: usize) {
    let origin = &event.record.origin;
    let mut object = Object::begin(into);
    object.text("id", cut(&event.id, text_bytes));
    object.text("type", cut(&event.kind, text_bytes));
    object.text("source", cut(&event.source, text_bytes));
    object.text("topic", &origin.topic.name);
    object.number("partition", i64::from(origin.partition));
    object.number("offset", origin.offset);
    write_key(&mut object, &event.record, text_bytes);
    object.end();
}

/// The event's key: as text where it is UTF-8, else as base64 under another name; null if it is longer than the limit, because a
/// part of a key is another key.
fn write_key(object: &mut Object<'_>, record: &SourceRecord, limit: usize) {
    match record.key().filter(|key| key.len() <= limit).map(|key| (std::str::from_utf8(key), key)) {
        None => object.null("key"),
        Some((Ok(text), _)) => object.text("key", text),
        Some((Err(_), bytes)) => {
            object.null("key");
            object.value("keyBase64", &Value::Bytes(Bytes::copy_from_slice(bytes)));
        }
    }
}
