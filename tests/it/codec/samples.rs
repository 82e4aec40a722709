//! Records, events and executions to encode.

use std::sync::Arc;

use tidegate::codec::event::Format;
use tidegate::codec::record::{Encoder, Encoding, SystemTopic};
use tidegate::engine::checkpoint::History;
use tidegate::engine::event::{Event, Origin, SourceRecord, Topic};
use tidegate::engine::execution::{Execution, Identity, Left, StepResults, Subject};
use tidegate::engine::expression::StepStatus;
use tidegate::engine::ids::{DeadLetterId, ExecutionId, ExecutionOrigin, MailboxKey};
use tidegate::engine::plan::{ErrorClass, Plan};
use tidegate::engine::record::{
    DeadLetter, ExecutionRecord, ExecutionStatus, FailedExecution, Failure, FinishedStep, Output, Reason, StepResult,
};
use tidegate::engine::value::Value;
use tidegate::engine::wire::WireRecord;
use tidegate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

/// 2026-11-24T08:00:00.125Z.
pub const START_MS: i64 = 1_795_507_200_125;
pub const END_MS: i64 = START_MS + 3;
pub const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The headers of a CloudEvent in binary mode.
pub const BINARY: [Header<'static>; 4] = [
    (b"ce_specversion", Some(b"1.0")),
    (b"ce_id", Some(b"e-1")),
    (b"ce_source", Some(b"https://shop.example.com")),
    (b"ce_type", Some(b"orders.paid")),
];

pub fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> SourceRecord {
    let topic = Arc::new(Topic { name: "webhooks".into(), id: [7; 16] });
    let origin = Origin { topic, partition: 3, offset: 42 };
    SourceRecord::new(origin, START_MS, key, value, headers.iter().copied())
}

pub fn event(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Event {
    let record = record(key, value, &[&BINARY[..], headers].concat());
    Format::CloudEvents.decode(record).map_err(|(_, why)| why).unwrap()
}

pub fn workflow() -> Arc<Workflow> {
    Arc::new(Workflow {
        id: WorkflowId::new("order-paid").unwrap(),
        version: "1.2.0".into(),
        status: Status::Active,
        content_hash: ContentHash([0; 32]),
        triggers: Vec::new(),
    })
}

pub fn execution_id(event: &Event) -> ExecutionId {
    let origin = ExecutionOrigin::Event(&event.record.origin);
    ExecutionId::new("prod", "order-paid", origin, MailboxKey::Hash, 48)
}

pub fn step(id: &str, output: Value) -> FinishedStep {
    FinishedStep {
        id: id.into(),
        status: StepStatus::Completed,
        started_ms: START_MS,
        ended_ms: END_MS,
        attempts: 1,
        output,
        failure: None,
    }
}

pub fn failed_step(id: &str, message: &str) -> FinishedStep {
    let failure = Some(failure(id, message));
    FinishedStep { status: StepStatus::Failed, failure, ..step(id, Value::Null) }
}

pub fn failure(step: &str, message: &str) -> Failure {
    Failure { step: Some(step.into()), class: ErrorClass::Permanent, message: message.into() }
}

pub fn step_result(event: &Arc<Event>, step: FinishedStep) -> Output {
    let (execution, workflow) = (execution_id(event), workflow());
    Output::StepResult(StepResult { execution, run: 1, workflow, event: event.clone(), step })
}

pub fn execution(event: &Arc<Event>, status: ExecutionStatus) -> ExecutionRecord {
    ExecutionRecord {
        execution: execution_id(event),
        run: 1,
        workflow: workflow(),
        event: event.clone(),
        status,
        started_ms: START_MS,
        ended_ms: Some(END_MS),
        results: Vec::new(),
        errors: Vec::new(),
        retry_count: 0,
    }
}

pub fn dead_letter(record: SourceRecord, finished: Vec<FinishedStep>) -> DeadLetter {
    let event = Arc::new(event(None, None, &[]));
    let id = execution_id(&event);
    DeadLetter {
        id: DeadLetterId::of_execution(id, 1, Some("charge")),
        reason: Reason::Step,
        failure: failure("charge", "no such currency: XYZ"),
        execution: Some(FailedExecution {
            id,
            run: 1,
            workflow: workflow(),
            finished,
            history: History::default(),
            parent: None,
        }),
        record,
        attempts: 1,
        first_failure_ms: END_MS,
        last_failure_ms: END_MS,
        returns: 0,
    }
}

pub fn encoder(max_message_bytes: usize) -> Encoder {
    let topic = |name: &str| SystemTopic { name: format!("tidegate.{name}").into(), partitions: 2, max_message_bytes };
    Encoder {
        environment: "prod".into(),
        step_results: topic("step-results"),
        executions: topic("executions"),
        dead_letters: topic("dead-letters"),
        journal: topic("journal"),
        encoding: Encoding::Json,
    }
}

pub fn encode(encoder: &Encoder, event: &Arc<Event>, outputs: Vec<Output>) -> Vec<WireRecord> {
    let identity = Identity { environment: "prod".into(), journal_partitions: 48, step_results: StepResults::All };
    let plan = Arc::new(Plan::new(Vec::new()).unwrap());
    let subject = Subject::Execution(Box::new(Execution::new(&identity, workflow(), plan, event.clone(), START_MS)));
    let outputs = outputs.into_iter().map(|output| (None, output)).collect();
    encoder.encode(&subject, Left { outputs, ..Left::default() })
}

/// The record as text: topic, partition, key, value and headers, a line each.
pub fn show(record: &WireRecord) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let optional = |bytes: Option<&[u8]>| bytes.map_or("null".into(), text);
    let partition = record.partition.map_or("by key".into(), |it| it.to_string());
    let (key, value) = (optional(record.key.as_deref()), record.value.as_deref());
    let value = value.map_or("null".into(), |it| String::from_utf8_lossy(it).into_owned());
    let mut lines = format!("{} {partition} {key}\n{value}\n", record.topic);
    for (name, value) in record.headers.iter() {
        lines += &format!("{}: {}\n", text(name), optional(value));
    }
    lines
}

pub fn header<'a>(record: &'a WireRecord, name: &str) -> Option<&'a [u8]> {
    record.headers.iter().rev().find(|(it, _)| *it == name.as_bytes()).and_then(|(_, value)| value)
}

/// What the record takes in a batch of its own, at most: Kafka's record format v2 with every varint at its longest.
pub fn batch_bytes(record: &WireRecord) -> usize {
    let length = |bytes: Option<&[u8]>| 5 + bytes.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(|(name, value)| length(Some(name)) + length(value)).sum();
    61 + 5 + 1 + 10 + 5 + length(record.key.as_deref()) + length(record.value.as_deref()) + 5 + headers
}
