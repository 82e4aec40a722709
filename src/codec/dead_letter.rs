//! Dead letters: the original bytes, all original headers, then ours.
//!
//! Ours come in the families that tools know: `tidegate-dlq-*` with everything, `kafka_dlt-*` as Spring Kafka writes them (numbers as
//! big-endian integers), `__streams.errors.*` as Kafka Streams does (numbers as text). What an earlier dead letter said first is
//! kept; what it said last is replaced. The topic is compacted and a null value means resolved, so an original that was null
//! becomes empty and says so in a header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::DateTime;

use super::object;
use super::record::SystemTopic;
use super::trace;
use crate::engine::event::SourceRecord;
use crate::engine::record::{DeadLetter, FailedExecution};
use crate::engine::wire::WireRecord;

mod read;
mod state;

pub use read::{ReadLetter, read};
pub use state::repaired;

/// A record of the dead-letters topic that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

pub(super) const OURS: &[u8] = b"tidegate-dlq-";
/// What the framing of a record in a batch of its own takes, at most; that of its headers is counted with them.
const FRAMING_BYTES: usize = 512;
/// What the framing of a header takes, at most.
const HEADER_FRAMING_BYTES: usize = 14;

/// A dead letter as a record. Never dropped: if it is larger than the topic takes, the outputs of finished steps are left out,
/// then the original value, the original headers and the original key; a header says which.
pub(super) fn encode(letter: &DeadLetter, topic: &SystemTopic) -> WireRecord {
    let mut headers = original_headers(&letter.record);
    let originals = headers.len();
    add_ours(&mut headers, letter);
    add_spring(&mut headers, letter);
    add_streams(&mut headers, letter);
    if letter.record.value().is_none() {
        put(&mut headers, "tidegate-dlq-value", "null");
    }
    let key = letter.id.to_string();
    let mut value = letter.record.value_bytes().unwrap_or_default();
    let fits = |headers: &Headers, value: &Bytes| {
        let length = |(name, value): &(Bytes, Option<Bytes>)| name.len() + value.as_ref().map_or(0, Bytes::len);
        let in_headers: usize = headers.iter().map(|header| length(header) + HEADER_FRAMING_BYTES).sum();
        FRAMING_BYTES + key.len() + value.len() + in_headers <= topic.max_message_bytes
    };
    let mut left_out = Vec::new();
    if let Some(execution) = &letter.execution {
        headers.push((
            Bytes::from_static(b"tidegate-dlq-state"),
            Some(state::write(&execution.finished, execution.parent.as_deref()).into()),
        ));
        if !fits(&headers, &value) {
            headers.pop();
            left_out.push("state");
        }
    }
    if !fits(&headers, &value) {
        // The record itself stays at its place in the source topic.
        value = Bytes::new();
        left_out.push("value");
    }
    if !fits(&headers, &value) {
        headers.drain(..originals);
        left_out.push("headers");
    }
    if !fits(&headers, &value) {
        headers.retain(|(name, _)| *name != "tidegate-dlq-key");
        left_out.push("key");
    }
    if !left_out.is_empty() {
        put(&mut headers, "tidegate-dlq-truncated", &left_out.join(","));
    }
    WireRecord {
        topic: topic.name.clone(),
        partition: None,
        key: Some(key.into()),
        value: Some(value),
        headers: headers.into_iter().collect(),
        step: None,
    }
}

type Headers = Vec<(Bytes, Option<Bytes>)>;

/// All original headers, without what an earlier dead letter said last: its reason is in the topic that it came from.
fn original_headers(record: &SourceRecord) -> Headers {
    /// Where a record came from first is kept, why it failed last is replaced.
    const REPLACED: [&[u8]; 5] = [
        OURS,
        b"kafka_dlt-exception-",
        b"__streams.errors.exception",
        b"__streams.errors.message",
        b"__streams.errors.stacktrace",
    ];
    let kept = |name: &Bytes| !REPLACED.iter().any(|it| name.starts_with(it));
    record.shared_headers().filter(|(name, _)| kept(name)).collect()
}

fn add_ours(headers: &mut Headers, letter: &DeadLetter) {
    let DeadLetter { record, failure, .. } = letter;
    put(headers, "tidegate-dlq-id", &letter.id.to_string());
    put(headers, "tidegate-dlq-reason", letter.reason.name());
    put(headers, "tidegate-dlq-error-class", failure.class.name());
    put(headers, "tidegate-dlq-error-message", &failure.message);
    if let Some(FailedExecution { id, run, workflow, history, .. }) = &letter.execution {
        put(headers, "tidegate-dlq-workflow", workflow.id.as_str());
        put(headers, "tidegate-dlq-workflow-version", &workflow.version);
        put(headers, "tidegate-dlq-execution", id.to_text().as_str());
        put(headers, "tidegate-dlq-run", &run.to_string());
        if history.edition > 1 {
            put(headers, "tidegate-dlq-edition", &history.edition.to_string());
        }
        if !history.causes.is_empty() {
            put(headers, "tidegate-dlq-causes", &history.causes);
        }
    }
    if let Some(step) = &failure.step {
        put(headers, "tidegate-dlq-step", step);
    }
    put(headers, "tidegate-dlq-attempts", &letter.attempts.to_string());
    if letter.returns > 0 {
        put(headers, "tidegate-dlq-returns", &letter.returns.to_string());
    }
    match first_failure(record) {
        Some(first) => put(headers, "tidegate-dlq-first-failure", first),
        None => put(headers, "tidegate-dlq-first-failure", &time(letter.first_failure_ms)),
    }
    put(headers, "tidegate-dlq-last-failure", &time(letter.last_failure_ms));
    put(headers, "tidegate-dlq-topic", &record.origin.topic.name);
    put(headers, "tidegate-dlq-topic-id", &format!("{:032x}", u128::from_be_bytes(record.origin.topic.id)));
    put(headers, "tidegate-dlq-partition", &record.origin.partition.to_string());
    put(headers, "tidegate-dlq-offset", &record.origin.offset.to_string());
    put(headers, "tidegate-dlq-timestamp", &record.timestamp_ms.to_string());
    if let Some(key) = record.key() {
        put(headers, "tidegate-dlq-key", &STANDARD.encode(key));
    }
    if let Some(trace) = trace::trace_id(record, letter.execution.as_ref().map(|it| it.id)) {
        headers.push((Bytes::from_static(b"tidegate-dlq-trace"), Some(trace)));
    }
}

/// When the record failed for the first time, if it was a dead letter before. Anyone can write headers: what is no time does not
/// count.
fn first_failure(record: &SourceRecord) -> Option<&str> {
    /// A time with milliseconds in UTC.
    const LENGTH: usize = "2000-01-01T00:00:00.000Z".len();
    let text = std::str::from_utf8(record.header("tidegate-dlq-first-failure")?).ok()?;
    (text.len() == LENGTH && text.ends_with('Z') && DateTime::parse_from_rfc3339(text).is_ok()).then_some(text)
}

/// As Spring Kafka's `DeadLetterPublishingRecoverer` writes them: numbers as big-endian integers.
fn add_spring(headers: &mut Headers, letter: &DeadLetter) {
    let DeadLetter { record, failure, .. } = letter;
    let origin = &record.origin;
    put_first(headers, record, "kafka_dlt-original-topic", origin.topic.name.as_bytes());
    put_first(headers, record, "kafka_dlt-original-partition", &origin.partition.to_be_bytes());
    put_first(headers, record, "kafka_dlt-original-offset", &origin.offset.to_be_bytes());
    put_first(headers, record, "kafka_dlt-original-timestamp", &record.timestamp_ms.to_be_bytes());
    put(headers, "kafka_dlt-exception-fqcn", &exception(letter));
    put(headers, "kafka_dlt-exception-message", &failure.message);
}

/// As Kafka Streams (KIP-1034) writes them: numbers as text.
fn add_streams(headers: &mut Headers, letter: &DeadLetter) {
    let DeadLetter { record, failure, .. } = letter;
    let origin = &record.origin;
    put_first(headers, record, "__streams.errors.topic", origin.topic.name.as_bytes());
    put_first(headers, record, "__streams.errors.partition", origin.partition.to_string().as_bytes());
    put_first(headers, record, "__streams.errors.offset", origin.offset.to_string().as_bytes());
    put(headers, "__streams.errors.exception", &exception(letter));
    put(headers, "__streams.errors.message", &failure.message);
}

/// What stands where Java has the name of an exception's class.
fn exception(letter: &DeadLetter) -> String {
    format!("tidegate.{}", letter.reason.name())
}

fn time(ms: i64) -> String {
    let mut into = Vec::with_capacity(24);
    object::time(&mut into, ms);
    String::from_utf8(into).unwrap_or_default()
}

fn put(headers: &mut Headers, name: &'static str, value: &str) {
    headers.push((Bytes::from_static(name.as_bytes()), Some(Bytes::copy_from_slice(value.as_bytes()))));
}

/// Adds a header, unless the record already has it: where a record came from first is kept.
fn put_first(headers: &mut Headers, record: &SourceRecord, name: &'static str, value: &[u8]) {
    if record.header(name).is_none() {
        headers.push((Bytes::from_static(name.as_bytes()), Some(Bytes::copy_from_slice(value))));
    }
}
