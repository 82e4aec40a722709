//! What `produce` steps write, as records.

use bytes::Bytes;

use super::trace;
use crate::engine::record::Produced;
use crate::engine::value::{Value, write_json};
use crate::engine::wire::WireRecord;

/// The record: as the step says, with the event's trace context and, for JSON, a content type, unless the step sets its own.
pub(super) fn encode(produced: &Produced, step: Option<usize>) -> WireRecord {
    let record = &produced.record;
    let mut headers = Vec::with_capacity(record.headers.len() + 3);
    for (name, value) in &record.headers {
        headers.push((Bytes::copy_from_slice(name.as_bytes()), content(value)));
    }
    let sets = |name: &str| record.headers.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
    if is_json(&record.value) && !sets("content-type") {
        headers.push((Bytes::from_static(b"content-type"), Some(Bytes::from_static(b"application/json"))));
    }
    if !sets("traceparent") && !sets("tracestate") {
        trace::pass_on(trace::context(&produced.event.record).as_ref(), &mut headers);
    }
    let (key, value) = (content(&record.key), content(&record.value));
    WireRecord { topic: record.topic.clone(), partition: record.partition, key, value, headers, step }
}

fn is_json(value: &Value) -> bool {
    value.as_str().is_none() && !matches!(value, Value::Null | Value::Bytes(_))
}

/// A value as the content of a record: null is null, text and bytes are as they are, anything else is JSON.
fn content(value: &Value) -> Option<Bytes> {
    match value {
        Value::Null => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        other => Some(match other.as_str() {
            Some(text) => Bytes::copy_from_slice(text.as_bytes()),
            None => {
                let mut into = Vec::with_capacity(other.weight());
                write_json(other, &mut into);
                into.into()
            }
        }),
    }
}
