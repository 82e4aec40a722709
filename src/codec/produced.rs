//! What `produce` steps write, as records.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::trace;
use crate::engine::record::Produced;
use crate::engine::value::{Value, write_json};
use crate::engine::wire::WireRecord;

/// A record whose parts lie on the block that all records of an execution share.
pub(super) struct Draft {
    topic: Arc<str>,
    partition: Option<i32>,
    key: Content,
    value: Content,
    headers: Vec<(Range<usize>, Content)>,
    /// Whether it gets a content type of ours.
    is_json: bool,
    /// Whether it gets the event's trace context.
    passes_trace_on: bool,
    step: Option<usize>,
}

/// The content of a record, or of a header.
enum Content {
    Null,
    Written(Range<usize>),
    /// Bytes that are there already.
    Shared(Bytes),
}

impl Draft {
    /// Writes the record's parts: as the step says, with the event's trace context and, for JSON, a content type, unless the step
    /// sets its own.
    pub(super) fn write(produced: &Produced, step: Option<usize>, into: &mut Vec<u8>) -> Draft {
        let record = &produced.record;
        let mut headers = Vec::with_capacity(record.headers.len() + 3);
        for (name, value) in &record.headers {
            let start = into.len();
            into.extend_from_slice(name.as_bytes());
            headers.push((start..into.len(), Content::write(value, into)));
        }
        let sets = |name: &str| record.headers.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
        Draft {
            topic: record.topic.clone(),
            partition: record.partition,
            key: Content::write(&record.key, into),
            value: Content::write(&record.value, into),
            headers,
            is_json: is_json(&record.value) && !sets("content-type"),
            passes_trace_on: !sets("traceparent") && !sets("tracestate"),
            step,
        }
    }

    /// The record, now that the block is complete.
    pub(super) fn finish(self, block: &Bytes, trace: Option<&trace::Context>) -> WireRecord {
        let mut headers = Vec::with_capacity(self.headers.len() + 3);
        headers.extend(self.headers.into_iter().map(|(name, value)| (block.slice(name), value.finish(block))));
        if self.is_json {
            headers.push((Bytes::from_static(b"content-type"), Some(Bytes::from_static(b"application/json"))));
        }
        trace::pass_on(trace.filter(|_| self.passes_trace_on), &mut headers);
        let (key, value) = (self.key.finish(block), self.value.finish(block));
        WireRecord { topic: self.topic, partition: self.partition, key, value, headers, step: self.step }
    }
}

impl Content {
    /// A value as the content of a record: null is null, text and bytes are as they are, anything else is JSON.
    fn write(value: &Value, into: &mut Vec<u8>) -> Content {
        let start = into.len();
        match value {
            Value::Null => return Content::Null,
            Value::Bytes(bytes) => return Content::Shared(bytes.clone()),
            other => {
                if let Some(source) = other.source() {
                    return Content::Shared(source);
                }
                match other.as_str() {
                    Some(text) => into.extend_from_slice(text.as_bytes()),
                    None => write_json(other, into),
                }
            }
        }
        Content::Written(start..into.len())
    }

    fn finish(self, block: &Bytes) -> Option<Bytes> {
        match self {
            Content::Null => None,
            Content::Written(range) => Some(block.slice(range)),
            Content::Shared(bytes) => Some(bytes),
        }
    }
}

fn is_json(value: &Value) -> bool {
    value.as_str().is_none() && !matches!(value, Value::Null | Value::Bytes(_))
}
