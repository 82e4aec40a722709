//! What executions leave, to the byte.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegate::engine::event::Event;
use tidegate::engine::expression::StepStatus;
use tidegate::engine::record::{ExecutionStatus, FinishedStep, Output, Produced};
use tidegate::engine::run::ProducedRecord;
use tidegate::engine::value::Value;
use tidegate::engine::wire::WireRecord;

use super::samples::{self, END_MS, Header, PARENT, START_MS, batch_bytes, header, show};

const MAX_BYTES: usize = 64 * 1024;

fn event(headers: &[Header<'_>]) -> Arc<Event> {
    Arc::new(samples::event(Some(b"account-1"), Some(b"{\"n\":1}"), headers))
}

fn encode(event: &Arc<Event>, outputs: Vec<Output>) -> Vec<WireRecord> {
    samples::encode(&samples::encoder(MAX_BYTES), event, outputs)
}

fn value(record: &WireRecord) -> serde_json::Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

#[test]
fn a_step_result_to_the_byte() {
    let event = event(&[(b"traceparent", Some(PARENT)), (b"tracestate", Some(b"a=1"))]);
    let output = Value::map(vec![("gross".into(), Value::Float(14.5)), ("data".into(), event.data.clone())]);
    let records = encode(&event, vec![samples::step_result(&event, samples::step("shape", output))]);
    let expected = r#"tidegate.step-results 1 0016-a074b0612f0f43d69031c66883d76382
{"executionId":"0016-a074b0612f0f43d69031c66883d76382","run":1,"workflowId":"order-paid","workflowVersion":"1.2.0","stepId":"shape","status":"completed","startTime":"2026-11-24T08:00:00.125Z","endTime":"2026-11-24T08:00:00.128Z","duration":3,"attempts":1,"output":{"gross":14.5,"data":{"n":1}},"error":null}
content-type: application/json
ce_specversion: 1.0
ce_id: 0016-a074b0612f0f43d69031c66883d76382/1/shape
ce_source: /tidegate/prod/order-paid
ce_type: tidegate.step.completed
ce_time: 2026-11-24T08:00:00.128Z
ce_subject: 0016-a074b0612f0f43d69031c66883d76382
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
tracestate: a=1
"#;
    assert_eq!(show(&records[0]), expected);
}

#[test]
fn an_execution_to_the_byte() {
    let event = event(&[]);
    let mut execution = samples::execution(&event, ExecutionStatus::Failed);
    execution.results = vec![samples::failed_step("charge", "no \"XYZ\"")];
    execution.errors = vec![samples::failure("charge", "no \"XYZ\"")];
    let records = encode(&event, vec![Output::Execution(Box::new(execution))]);
    let expected = r#"tidegate.executions 1 0016-a074b0612f0f43d69031c66883d76382
{"id":"0016-a074b0612f0f43d69031c66883d76382","run":1,"workflowId":"order-paid","workflowVersion":"1.2.0","status":"failed","trigger":"event","event":{"id":"e-1","type":"orders.paid","source":"https://shop.example.com","topic":"webhooks","partition":3,"offset":42,"key":"account-1"},"startTime":"2026-11-24T08:00:00.125Z","endTime":"2026-11-24T08:00:00.128Z","duration":3,"results":[{"stepId":"charge","status":"failed","startTime":"2026-11-24T08:00:00.125Z","endTime":"2026-11-24T08:00:00.128Z","duration":3,"attempts":1,"output":null,"error":{"stepId":"charge","class":"permanent","message":"no \"XYZ\""}}],"errors":[{"stepId":"charge","class":"permanent","message":"no \"XYZ\""}],"retryCount":0}
content-type: application/json
ce_specversion: 1.0
ce_id: 0016-a074b0612f0f43d69031c66883d76382/1/failed
ce_source: /tidegate/prod/order-paid
ce_type: tidegate.execution.failed
ce_time: 2026-11-24T08:00:00.128Z
ce_subject: 0016-a074b0612f0f43d69031c66883d76382
"#;
    assert_eq!(show(&records[0]), expected);
}

#[test]
fn records_of_one_execution_come_in_order_and_do_not_mix() {
    let event = event(&[]);
    let skipped = FinishedStep { status: StepStatus::Skipped, attempts: 0, ..samples::step("b", Value::Null) };
    let later = FinishedStep { ended_ms: END_MS + 1, ..samples::step("c", Value::Int(7)) };
    let mut outputs: Vec<Output> =
        [samples::step("a", Value::Int(1)), skipped, later].map(|it| samples::step_result(&event, it)).into();
    outputs.push(Output::DeadLetter(Box::new(samples::dead_letter(event.record.clone(), Vec::new()))));
    outputs.push(Output::Execution(Box::new(samples::execution(&event, ExecutionStatus::Completed))));
    let records = encode(&event, outputs);
    let text = |record, name| String::from_utf8(header(record, name).unwrap_or_default().to_vec()).unwrap();
    let kinds: Vec<String> = records.iter().map(|it| text(it, "ce_type")).collect();
    let completed = "tidegate.step.completed";
    let expected = [completed, "tidegate.step.skipped", completed, "orders.paid", "tidegate.execution.completed"];
    assert_eq!(kinds, expected, "a dead letter keeps the attributes of its event");
    assert_eq!(value(&records[2])["stepId"], "c");
    assert_eq!(value(&records[2])["executionId"], value(&records[4])["id"]);
    assert_eq!(text(&records[2], "ce_time"), "2026-11-24T08:00:00.129Z");
    assert!(records[..3].iter().all(|it| it.partition == Some(1)), "the source's partition, modulo");
}

#[test]
fn an_output_larger_than_the_topic_takes_becomes_its_size_and_digest() {
    let event = event(&[]);
    let output = |bytes: usize| samples::step_result(&event, samples::step("big", Value::text("x".repeat(bytes))));
    let records = encode(&event, vec![output(MAX_BYTES - 4096), output(MAX_BYTES), output(MAX_BYTES - 2048)]);
    assert!(value(&records[0]).get("truncated").is_none());
    let truncated = value(&records[1]);
    assert_eq!((&truncated["output"], &truncated["truncated"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!(truncated["outputBytes"], MAX_BYTES + 2);
    let digest = Sha256::digest(format!("\"{}\"", "x".repeat(MAX_BYTES)));
    assert_eq!(truncated["outputSha256"], format!("{digest:x}"));
    assert!(records.iter().all(|it| batch_bytes(it) <= MAX_BYTES));
}

#[test]
fn whatever_an_execution_is_its_record_fits_and_says_what_is_missing() {
    let long = "\u{1}".repeat(4096);
    let state = vec![b'a'; 4096];
    let headers: [Header<'_>; 5] = [
        (b"ce_id", Some(long.as_bytes())),
        (b"ce_source", Some(long.as_bytes())),
        (b"ce_type", Some(long.as_bytes())),
        (b"traceparent", Some(PARENT)),
        (b"tracestate", Some(&state)),
    ];
    let key = vec![b'k'; MAX_BYTES];
    for (key, headers) in [(&key[..], &headers[..]), (b"k", &[])] {
        let event = Arc::new(samples::event(Some(key), None, headers));
        let mut execution = samples::execution(&event, ExecutionStatus::Failed);
        let message = "\u{1}".repeat(1024);
        execution.errors = vec![samples::failure("charge", &message); 256];
        execution.results = vec![samples::failed_step("charge", &message); 256];
        let records = encode(&event, vec![Output::Execution(Box::new(execution))]);
        assert!(batch_bytes(&records[0]) <= MAX_BYTES, "{}", batch_bytes(&records[0]));
        let value = value(&records[0]);
        assert_eq!((&value["truncated"], &value["status"]), (&true.into(), &"failed".into()));
        assert_eq!(value["errors"].as_array().map(Vec::len), Some(8));
    }
}

#[test]
fn small_outputs_stay_whole_beside_a_large_one() {
    let event = event(&[]);
    let mut execution = samples::execution(&event, ExecutionStatus::Completed);
    execution.results = vec![samples::step("a", Value::Int(7)), samples::step("b", Value::text("x".repeat(MAX_BYTES)))];
    let records = encode(&event, vec![Output::Execution(Box::new(execution))]);
    let results = &value(&records[0])["results"];
    assert_eq!((&results[0]["output"], &results[1]["truncated"]), (&7.into(), &true.into()));
    assert!(value(&records[0]).get("truncated").is_none());
}

#[track_caller]
fn check_produced(headers: Vec<(&str, Value)>, value: Value, expected: &str) {
    let event = event(&[(b"ce_traceparent", Some(PARENT))]);
    let headers = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
    let record = ProducedRecord {
        topic: "fulfilment".into(),
        partition: Some(5),
        key: Value::Int(7),
        value,
        is_avro: false,
        headers,
    };
    let records = encode(&event, vec![Output::Produced(Produced { record, event: event.clone() })]);
    assert_eq!(show(&records[0]), expected);
}

#[test]
fn produced_records_are_what_the_step_says_and_carry_the_trace() {
    let object = || Value::map(vec![("a".into(), Value::Bool(true))]);
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n";
    let expected = format!("fulfilment 5 7\n{{\"a\":true}}\ncontent-type: application/json\n{trace}");
    check_produced(vec![], object(), &expected);
    check_produced(vec![], Value::text("plain"), &format!("fulfilment 5 7\nplain\n{trace}"));
    check_produced(vec![], Value::Bytes("raw".into()), &format!("fulfilment 5 7\nraw\n{trace}"));
    check_produced(vec![], Value::Null, &format!("fulfilment 5 7\nnull\n{trace}"));
    let own = vec![("Content-Type", Value::text("a/b")), ("traceparent", Value::Null), ("n", Value::Int(1))];
    check_produced(own, object(), "fulfilment 5 7\n{\"a\":true}\nContent-Type: a/b\ntraceparent: null\nn: 1\n");
}

#[test]
fn a_duration_is_whole_even_if_a_clock_went_back() {
    let event = event(&[]);
    let step = FinishedStep { ended_ms: START_MS - 5, ..samples::step("a", Value::Null) };
    assert_eq!(value(&encode(&event, vec![samples::step_result(&event, step)])[0])["duration"], -5);
    let step = FinishedStep { started_ms: i64::MAX, ended_ms: i64::MIN, ..samples::step("a", Value::Null) };
    assert_eq!(value(&encode(&event, vec![samples::step_result(&event, step)])[0])["duration"], i64::MIN);
}
