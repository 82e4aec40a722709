//! What the engine leaves, as records on topics.
//!
//! JSON, camelCase, times in RFC 3339 UTC with milliseconds; step results and executions also as Avro in Confluent's wire format, the
//! same fields in the same order. Both carry `content-type`, the event's trace context, and CloudEvents attributes as headers (binary mode), so that any CloudEvents router can use them. Dead letters are
//! the event's own record and keep its headers; what `produce` steps write is the user's.
//!
//! This runs for every step of every execution. All records of an execution are written into one block of memory, of which
//! keys, values and headers are slices; what they have in common is written once.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::avro::Datum;
use super::execution::{Detail, write_execution};
use super::fields::Fields;
use super::object::{self, Object};
use super::step::write_step;
use super::{dead_letter, journal, produced, trace};
use crate::engine::event::SourceRecord;
use crate::engine::execution::{Left, Subject};
use crate::engine::expression::StepStatus;
use crate::engine::ids::ExecutionId;
use crate::engine::record::{ExecutionRecord, ExecutionStatus, Output, StepResult};
use crate::engine::wire::{Headers, WireRecord};
use crate::engine::workflow::Workflow;

/// What a system record takes beside its value and its trace context: names and fixed values of headers, key, ids, framing of
/// the record and of its batch. All of these are bounded; together they are less than half of this.
const OVERHEAD_BYTES: usize = 2 * 1024;
/// A first guess at the size of a system record.
const RECORD_BYTES: usize = 640;
/// How much of a block may be empty without being given back: batches count bytes that are written, not bytes that are held.
const SPARE_BYTES: usize = 4 * 1024;

/// A system topic, as far as writing to it needs it.
#[derive(Clone, Debug)]
pub struct SystemTopic {
    /// Its name, prefix included.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: i32,
    /// Its `max.message.bytes`; at least 64 KiB, or records of ours may not fit.
    pub max_message_bytes: usize,
}

/// How step results, executions and alerts are written. Nobody changes it while records are written: readers look at each record, not
/// at the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As JSON.
    #[default]
    Json,
    /// As Avro, with schemas that are registered under these ids.
    Avro(SchemaIds),
}

/// The ids under which a registry has the schemas of records of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of step results.
    pub step_results: u32,
    /// Of executions.
    pub executions: u32,
    /// Of alerts.
    pub alerts: u32,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    /// JSON.
    Json,
    /// Avro behind the id of its schema; there is no registered type for that.
    Avro,
}

impl ContentType {
    /// As the header says it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Avro => "application/avro",
        }
    }
}

impl Encoding {
    /// What records are that are written so.
    pub(super) fn content_type(self) -> ContentType {
        match self {
            Encoding::Json => ContentType::Json,
            Encoding::Avro(_) => ContentType::Avro,
        }
    }
}

/// Writes records of one environment.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// The environment's name.
    pub environment: Arc<str>,
    /// Where step results go.
    pub step_results: SystemTopic,
    /// Where executions go.
    pub executions: SystemTopic,
    /// Where dead letters go.
    pub dead_letters: SystemTopic,
    /// Where executions wait.
    pub journal: SystemTopic,
    /// How step results and executions are written.
    pub encoding: Encoding,
}

impl Encoder {
    /// The records of what a subject leaves, in order.
    pub fn encode(&self, subject: &Subject, left: Left) -> Vec<WireRecord> {
        let mut sheet = self.sheet(subject, left.outputs.len());
        let draft = |(step, output): &(Option<usize>, Output)| match output {
            Output::Produced(produced) => Draft::Produced(produced::Draft::write(produced, *step, &mut sheet.bytes)),
            Output::DeadLetter(letter) => Draft::Ready(dead_letter::encode(letter, &self.dead_letters)),
            Output::Journal(record) => Draft::Ready(journal::encode(&self.journal.name, record)),
            Output::StepResult(result) => Draft::System(sheet.step_result(result, &self.step_results)),
            Output::Execution(record) => Draft::System(sheet.execution(record, &self.executions)),
        };
        let drafts: Vec<Draft> = left.outputs.iter().map(draft).collect();
        let finished = sheet.finish();
        let finish = |draft| match draft {
            Draft::Ready(record) => record,
            Draft::Produced(draft) => draft.finish(&finished.bytes, &finished.shared),
            Draft::System(draft) => finished.record(draft),
        };
        drafts.into_iter().map(finish).collect()
    }

    fn sheet(&self, subject: &Subject, records: usize) -> Sheet {
        let workflow = subject.workflow().map_or("", |it| it.id.as_str());
        let record = subject.record();
        let mut bytes = Vec::with_capacity((records + 1) * RECORD_BYTES);
        bytes.extend_from_slice(b"/tidegate/");
        bytes.extend_from_slice(self.environment.as_bytes());
        bytes.push(b'/');
        bytes.extend_from_slice(workflow.as_bytes());
        let source = 0..bytes.len();
        let shared = Shared::write(source, trace::context(record), &mut bytes);
        Sheet { bytes, shared, encoding: self.encoding, times: Vec::new(), step_head: None }
    }
}

/// A record that is ready, or one whose parts still lie on the sheet.
enum Draft {
    Ready(WireRecord),
    Produced(produced::Draft),
    System(SystemDraft),
}

/// A system record whose parts are on the sheet.
struct SystemDraft {
    topic: Arc<str>,
    partition: i32,
    key: Range<usize>,
    id: Range<usize>,
    time: Range<usize>,
    kind: Range<usize>,
    value: Range<usize>,
}

/// What all records of a subject are written on.
struct Sheet {
    bytes: Vec<u8>,
    shared: Shared,
    encoding: Encoding,
    /// Times that are already there, with their milliseconds.
    times: Vec<(i64, Range<usize>)>,
    /// The beginning that all its step results share.
    step_head: Option<Range<usize>>,
}

/// A sheet that is full: shared by its records.
struct Finished {
    bytes: Bytes,
    shared: Shared,
    /// Of system records.
    content_type: ContentType,
}

/// The places of what the headers of all records of a subject have in common.
pub(super) struct Shared {
    content_type: Range<usize>,
    json: Range<usize>,
    avro: Range<usize>,
    version: (Range<usize>, Range<usize>),
    source: (Range<usize>, Range<usize>),
    id: Range<usize>,
    kind: Range<usize>,
    time: Range<usize>,
    subject: Range<usize>,
    trace_parent: Option<(Range<usize>, Range<usize>)>,
    trace_state: Option<(Range<usize>, Range<usize>)>,
}

impl Shared {
    fn write(source: Range<usize>, trace: Option<trace::Context<'_>>, into: &mut Vec<u8>) -> Shared {
        let mut put = |bytes: &[u8]| {
            into.extend_from_slice(bytes);
            into.len() - bytes.len()..into.len()
        };
        let (parent, state) = trace.map_or((None, None), |(parent, state)| (Some(parent), state));
        Shared {
            content_type: put(b"content-type"),
            json: put(ContentType::Json.name().as_bytes()),
            avro: put(ContentType::Avro.name().as_bytes()),
            version: (put(b"ce_specversion"), put(b"1.0")),
            source: (put(b"ce_source"), source),
            id: put(b"ce_id"),
            kind: put(b"ce_type"),
            time: put(b"ce_time"),
            subject: put(b"ce_subject"),
            trace_parent: parent.map(|parent| (put(b"traceparent"), put(parent))),
            trace_state: state.map(|state| (put(b"tracestate"), put(state))),
        }
    }

    /// What the value is.
    pub(super) fn add_content_type(&self, content_type: ContentType, headers: &mut Headers) {
        let value = match content_type {
            ContentType::Json => &self.json,
            ContentType::Avro => &self.avro,
        };
        headers.add(self.content_type.clone(), Some(value.clone()));
    }

    /// The event's trace context, if it has one.
    pub(super) fn add_trace(&self, headers: &mut Headers) {
        [&self.trace_parent, &self.trace_state].into_iter().flatten().for_each(|header| add(headers, header));
    }

    /// Bytes that these headers may take in a record of ours, their fixed names excluded.
    fn variable_bytes(&self) -> usize {
        let traces = [&self.trace_parent, &self.trace_state].into_iter().flatten();
        self.source.1.len() + traces.map(|(_, value)| value.len()).sum::<usize>()
    }
}

fn add(headers: &mut Headers, (name, value): &(Range<usize>, Range<usize>)) {
    headers.add(name.clone(), Some(value.clone()));
}

impl Sheet {
    fn step_result(&mut self, result: &StepResult, topic: &SystemTopic) -> SystemDraft {
        let room = self.room(topic);
        let (head, encoding) = (self.step_head(result), self.encoding);
        let value = self.value(room, |into, attempt| {
            into.extend_from_within(head.clone());
            let output_limit = if attempt == 0 { usize::MAX } else { 0 };
            match encoding {
                Encoding::Json => {
                    let mut object = Object::resume(into);
                    write_step(&mut object, &result.step, output_limit);
                    object.end();
                }
                Encoding::Avro(_) => write_step(&mut Datum::resume(into), &result.step, output_limit),
            }
            attempt == 0
        });
        let kind = match result.step.status {
            StepStatus::Completed => "tidegate.step.completed",
            StepStatus::Failed => "tidegate.step.failed",
            StepStatus::Skipped => "tidegate.step.skipped",
            StepStatus::Pending => "tidegate.step.pending",
        };
        let (key, id) = self.ids(result.execution, result.run, &result.step.id);
        let (time, kind) = (self.time(result.step.ended_ms), self.text(kind));
        let partition = partition(&result.event.record, topic);
        SystemDraft { topic: topic.name.clone(), partition, key, id, time, kind, value }
    }

    /// How all its step results begin.
    fn step_head(&mut self, result: &StepResult) -> Range<usize> {
        if let Some(head) = &self.step_head {
            return head.clone();
        }
        let start = self.bytes.len();
        let run = ("executionId", result.execution, result.run);
        match self.encoding {
            Encoding::Json => write_run(&mut Object::begin(&mut self.bytes), run, &result.workflow),
            Encoding::Avro(ids) => {
                write_run(&mut Datum::begin(&mut self.bytes, ids.step_results), run, &result.workflow);
            }
        }
        self.step_head.insert(start..self.bytes.len()).clone()
    }

    fn execution(&mut self, execution: &ExecutionRecord, topic: &SystemTopic) -> SystemDraft {
        let room = self.room(topic);
        let details = [Detail::Whole, Detail::Outputs(room / 2 / execution.results.len().max(1)), Detail::Brief];
        let (encoding, run) = (self.encoding, ("id", execution.execution, execution.run));
        let value = self.value(room, |into, attempt| {
            match encoding {
                Encoding::Json => {
                    let mut object = Object::begin(into);
                    write_run(&mut object, run, &execution.workflow);
                    write_execution(&mut object, execution, details[attempt]);
                    object.end();
                }
                Encoding::Avro(ids) => {
                    let mut datum = Datum::begin(into, ids.executions);
                    write_run(&mut datum, run, &execution.workflow);
                    write_execution(&mut datum, execution, details[attempt]);
                }
            }
            attempt + 1 < details.len()
        });
        let kind = match execution.status {
            ExecutionStatus::Pending => "tidegate.execution.pending",
            ExecutionStatus::Running => "tidegate.execution.running",
            ExecutionStatus::Completed => "tidegate.execution.completed",
            ExecutionStatus::Failed => "tidegate.execution.failed",
            ExecutionStatus::Cancelled => "tidegate.execution.cancelled",
        };
        let (key, id) = self.ids(execution.execution, execution.run, execution.status.name());
        let (time, kind) = (self.time(execution.ended_ms.unwrap_or(execution.started_ms)), self.text(kind));
        let partition = partition(&execution.event.record, topic);
        SystemDraft { topic: topic.name.clone(), partition, key, id, time, kind, value }
    }

    /// How many bytes a value may have.
    fn room(&self, topic: &SystemTopic) -> usize {
        topic.max_message_bytes.saturating_sub(OVERHEAD_BYTES + self.shared.variable_bytes())
    }

    /// Writes a value; as long as it does not fit, again with the number of the next attempt, which writes less. `write` says
    /// whether there is another attempt.
    fn value(&mut self, room: usize, mut write: impl FnMut(&mut Vec<u8>, usize) -> bool) -> Range<usize> {
        let start = self.bytes.len();
        let mut attempt = 0;
        while write(&mut self.bytes, attempt) && self.bytes.len() - start > room {
            self.bytes.truncate(start);
            attempt += 1;
        }
        start..self.bytes.len()
    }

    /// The record's key, which is the execution's id, and the id of the record as an event: `<execution>/<run>/<last>`.
    fn ids(&mut self, execution: ExecutionId, run: u32, last: &str) -> (Range<usize>, Range<usize>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(execution.to_text().as_str().as_bytes());
        let key = start..self.bytes.len();
        self.bytes.push(b'/');
        self.bytes.extend_from_slice(itoa::Buffer::new().format(run).as_bytes());
        self.bytes.push(b'/');
        self.bytes.extend_from_slice(last.as_bytes());
        (key, start..self.bytes.len())
    }

    fn text(&mut self, text: &str) -> Range<usize> {
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.len() - text.len()..self.bytes.len()
    }

    fn time(&mut self, ms: i64) -> Range<usize> {
        if let Some((_, written)) = self.times.iter().rev().find(|(it, _)| *it == ms) {
            return written.clone();
        }
        let start = self.bytes.len();
        object::time(&mut self.bytes, ms);
        self.times.push((ms, start..self.bytes.len()));
        start..self.bytes.len()
    }

    fn finish(mut self) -> Finished {
        if self.bytes.capacity() - self.bytes.len() > SPARE_BYTES {
            self.bytes.shrink_to_fit();
        }
        Finished { content_type: self.encoding.content_type(), bytes: self.bytes.into(), shared: self.shared }
    }
}

impl Finished {
    fn record(&self, draft: SystemDraft) -> WireRecord {
        let Finished { bytes, shared, .. } = self;
        let mut headers = Headers::over(bytes.clone(), 9);
        shared.add_content_type(self.content_type, &mut headers);
        add(&mut headers, &shared.version);
        headers.add(shared.id.clone(), Some(draft.id));
        add(&mut headers, &shared.source);
        headers.add(shared.kind.clone(), Some(draft.kind));
        headers.add(shared.time.clone(), Some(draft.time));
        headers.add(shared.subject.clone(), Some(draft.key.clone()));
        shared.add_trace(&mut headers);
        WireRecord {
            topic: draft.topic,
            partition: Some(draft.partition),
            key: Some(bytes.slice(draft.key)),
            value: Some(bytes.slice(draft.value)),
            headers,
            step: None,
        }
    }
}

/// The first fields of step results and executions: the execution under its name there, its run, its workflow.
fn write_run(fields: &mut impl Fields, (name, id, run): (&str, ExecutionId, u32), workflow: &Workflow) {
    fields.plain(name, id.to_text().as_str());
    fields.number("run", i64::from(run));
    fields.plain("workflowId", workflow.id.as_str());
    fields.text("workflowVersion", &workflow.version);
}

/// What one lane writes stays in few partitions: those of the events that it reads.
fn partition(event: &SourceRecord, topic: &SystemTopic) -> i32 {
    event.origin.partition.rem_euclid(topic.partitions.max(1))
}
