//! What `produce` steps write, as records.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{ContentType, Shared};
use crate::engine::record::Produced;
use crate::engine::run::ProducedRecord;
use crate::engine::value::{Value, write_json};
use crate::engine::wire::{Headers, WireRecord};

/// A record whose parts lie on the block that all records of an execution share.
pub(super) struct Draft {
    topic: Arc<str>,
    partition: Option<i32>,
    key: Content,
    value: Content,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    /// The content type that it gets.
    content_type: Option<ContentType>,
    /// Whether it gets the event's trace context.
    passes_trace_on: bool,
    step: Option<usize>,
}

/// The content of a record.
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
        let mut headers = Vec::with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            let start = into.len();
            into.extend_from_slice(name.as_bytes());
            headers.push((start..into.len(), write(value, into)));
        }
        let sets = |name: &str| record.headers.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
        Draft {
            topic: record.topic.clone(),
            partition: record.partition,
            key: Content::write(&record.key, into),
            value: Content::write(&record.value, into),
            headers,
            content_type: content_type(record).filter(|_| !sets("content-type")),
            passes_trace_on: !sets("traceparent") && !sets("tracestate"),
            step,
        }
    }

    /// The record, now that the block is complete.
    pub(super) fn finish(self, block: &Bytes, shared: &Shared) -> WireRecord {
        let mut headers = Headers::over(block.clone(), self.headers.len() + 3);
        self.headers.into_iter().for_each(|(name, value)| headers.add(name, value));
        if let Some(content_type) = self.content_type {
            shared.add_content_type(content_type, &mut headers);
        }
        if self.passes_trace_on {
            shared.add_trace(&mut headers);
        }
        let (key, value) = (self.key.finish(block), self.value.finish(block));
        WireRecord { topic: self.topic, partition: self.partition, key, value, headers, step: self.step }
    }
}

impl Content {
    fn write(value: &Value, into: &mut Vec<u8>) -> Content {
        let there = match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            other => other.source(),
        };
        there.map_or_else(|| write(value, into).map_or(Content::Null, Content::Written), Content::Shared)
    }

    fn finish(self, block: &Bytes) -> Option<Bytes> {
        match self {
            Content::Null => None,
            Content::Written(range) => Some(block.slice(range)),
            Content::Shared(bytes) => Some(bytes),
        }
    }
}

/// Writes a value as the content of a record or of a header: null is null, text and bytes are as they are, anything else is JSON.
fn write(value: &Value, into: &mut Vec<u8>) -> Option<Range<usize>> {
    let start = into.len();
    match value {
        Value::Null => return None,
        Value::Bytes(bytes) => into.extend_from_slice(bytes),
        other => match other.as_str() {
            Some(text) => into.extend_from_slice(text.as_bytes()),
            None => write_json(other, into),
        },
    }
    Some(start..into.len())
}

/// What it is, where we know.
fn content_type(record: &ProducedRecord) -> Option<ContentType> {
    match &record.value {
        Value::Bytes(_) if record.is_avro => Some(ContentType::Avro),
        Value::Null | Value::Bytes(_) => None,
        value => value.as_str().is_none().then_some(ContentType::Json),
    }
}
