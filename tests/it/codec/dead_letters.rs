//! Dead letters: nothing of the original is lost, and other tools can read them.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate::codec::dead_letter::{self, ReadLetter};
use tidegate::engine::checkpoint::History;
use tidegate::engine::event::{Origin, SourceRecord, Topic};
use tidegate::engine::record::{DeadLetter, FinishedStep, Output, Reason};
use tidegate::engine::value::Value;
use tidegate::engine::wire::WireRecord;

use super::samples::{self, Header, PARENT, batch_bytes, header, record, show};

const MAX_BYTES: usize = 1_000_000;

fn encode(letter: DeadLetter, max_bytes: usize) -> WireRecord {
    let event = Arc::new(samples::event(None, None, &[]));
    let outputs = vec![Output::DeadLetter(Box::new(letter))];
    samples::encode(&samples::encoder(max_bytes), &event, outputs).remove(0)
}

fn text(record: &WireRecord, name: &str) -> Option<String> {
    header(record, name).map(|it| it.escape_ascii().to_string())
}

#[test]
fn a_dead_letter_to_the_byte() {
    let headers: [Header<'_>; 5] = [
        (b"a", Some(b"1")),
        (b"traceparent", Some(PARENT)),
        (b"\xff", Some(b"\xfe")),
        (b"a", None),
        (b"a", Some(b"2")),
    ];
    let source = record(Some(b"account-1"), Some(b"not json\xff"), &headers);
    let letter = encode(samples::dead_letter(source, vec![samples::step("shape", Value::Int(7))]), MAX_BYTES);
    assert_eq!(letter.value.as_deref(), Some(&b"not json\xff"[..]));
    let expected = r#"a: 1
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
\xff: \xfe
a: null
a: 2
tidegate-dlq-id: 6ae045cceab6bf380448abc6d0ba6841
tidegate-dlq-reason: step
tidegate-dlq-error-class: permanent
tidegate-dlq-error-message: no such currency: XYZ
tidegate-dlq-workflow: order-paid
tidegate-dlq-workflow-version: 1.2.0
tidegate-dlq-execution: 0016-a074b0612f0f43d69031c66883d76382
tidegate-dlq-run: 1
tidegate-dlq-step: charge
tidegate-dlq-attempts: 1
tidegate-dlq-first-failure: 2026-11-24T08:00:00.128Z
tidegate-dlq-last-failure: 2026-11-24T08:00:00.128Z
tidegate-dlq-topic: webhooks
tidegate-dlq-topic-id: 07070707070707070707070707070707
tidegate-dlq-partition: 3
tidegate-dlq-offset: 42
tidegate-dlq-timestamp: 1795507200125
tidegate-dlq-key: YWNjb3VudC0x
tidegate-dlq-trace: 0af7651916cd43dd8448eb211c80319c
kafka_dlt-original-topic: webhooks
kafka_dlt-original-partition: \x00\x00\x00\x03
kafka_dlt-original-offset: \x00\x00\x00\x00\x00\x00\x00*
kafka_dlt-original-timestamp: \x00\x00\x01\xa2\x0c\x91\xa0}
kafka_dlt-exception-fqcn: tidegate.step
kafka_dlt-exception-message: no such currency: XYZ
__streams.errors.topic: webhooks
__streams.errors.partition: 3
__streams.errors.offset: 42
__streams.errors.exception: tidegate.step
__streams.errors.message: no such currency: XYZ
tidegate-dlq-state: {\"steps\":[{\"stepId\":\"shape\",\"status\":\"completed\",\"startTime\":\"2026-11-24T08:00:00.125Z\",\"endTime\":\"2026-11-24T08:00:00.128Z\",\"duration\":3,\"attempts\":1,\"output\":7,\"error\":null}]}
"#;
    let shown = show(&letter);
    let (head, headers) = shown.split_once("not json\u{fffd}\n").unwrap();
    assert_eq!(head, "tidegate.dead-letters by key 6ae045cceab6bf380448abc6d0ba6841\n");
    assert_eq!(headers, expected);
}

#[test]
fn a_trace_is_told_that_calls_have_carried() {
    let check = |letter: DeadLetter, expected: Option<&str>| {
        assert_eq!(text(&encode(letter, MAX_BYTES), "tidegate-dlq-trace").as_deref(), expected);
    };
    let letter = |headers: &[Header<'_>]| samples::dead_letter(record(None, Some(b"{}"), headers), Vec::new());
    check(letter(&[(b"traceparent", Some(PARENT))]), Some("0af7651916cd43dd8448eb211c80319c"));
    check(letter(&[]), Some("a074b0612f0f43d69031c66883d76382"));
    check(letter(&[(b"traceparent", Some(b"wrong"))]), Some("a074b0612f0f43d69031c66883d76382"));
    // What was never an execution has called nobody.
    check(DeadLetter { execution: None, ..letter(&[]) }, None);
}

#[test]
fn extremes_of_place_and_time_are_kept() {
    let topic = Arc::new(Topic { name: "t".into(), id: [0; 16] });
    let origin = Origin { topic, partition: i32::MAX, offset: i64::MAX };
    let year_9999 = 253_402_300_799_999;
    for timestamp_ms in [-1, year_9999, i64::MAX, i64::MIN] {
        let source = SourceRecord::new(origin.clone(), timestamp_ms, None, Some(b"x"), []);
        let letter = encode(samples::dead_letter(source, Vec::new()), MAX_BYTES);
        assert_eq!(text(&letter, "tidegate-dlq-timestamp").unwrap(), timestamp_ms.to_string());
        assert_eq!(header(&letter, "kafka_dlt-original-timestamp").unwrap(), timestamp_ms.to_be_bytes());
        assert_eq!(header(&letter, "kafka_dlt-original-partition").unwrap(), i32::MAX.to_be_bytes());
        assert_eq!(text(&letter, "tidegate-dlq-key"), None, "a null key has no header");
    }
}

#[test]
fn a_null_value_does_not_become_a_tombstone() {
    let letter = encode(samples::dead_letter(record(Some(b""), None, &[]), Vec::new()), MAX_BYTES);
    assert_eq!(letter.value.as_deref(), Some(&b""[..]), "a tombstone would mean that it is resolved");
    assert_eq!(text(&letter, "tidegate-dlq-value").as_deref(), Some("null"));
    assert_eq!(text(&letter, "tidegate-dlq-key").as_deref(), Some(""), "an empty key is no null key");
    let empty = encode(samples::dead_letter(record(None, Some(b""), &[]), Vec::new()), MAX_BYTES);
    assert_eq!((empty.value.as_deref(), text(&empty, "tidegate-dlq-value")), (Some(&b""[..]), None));
}

#[test]
fn what_comes_around_again_keeps_where_it_came_from_and_says_why_it_failed_last() {
    let first = encode(samples::dead_letter(record(Some(b"k"), Some(b"v"), &[(b"a", None)]), Vec::new()), MAX_BYTES);
    let headers: Vec<Header<'_>> = first.headers.iter().collect();
    let topic = Arc::new(Topic { name: "again".into(), id: [8; 16] });
    let origin = Origin { topic, partition: 0, offset: 9 };
    let source = SourceRecord::new(origin, 5, Some(b"k"), Some(b"v"), headers);
    let mut letter = samples::dead_letter(source, Vec::new());
    letter.reason = Reason::Timeout;
    letter.failure.message = "too slow".into();
    (letter.first_failure_ms, letter.last_failure_ms) = (samples::END_MS + 1000, samples::END_MS + 1000);
    let second = encode(letter, MAX_BYTES);
    let expect = |name, expected: &str| assert_eq!(text(&second, name).as_deref(), Some(expected), "{name}");
    expect("tidegate-dlq-first-failure", "2026-11-24T08:00:00.128Z");
    expect("tidegate-dlq-last-failure", "2026-11-24T08:00:01.128Z");
    expect("tidegate-dlq-topic", "again");
    expect("kafka_dlt-original-topic", "webhooks");
    expect("kafka_dlt-original-offset", r"\x00\x00\x00\x00\x00\x00\x00*");
    expect("kafka_dlt-exception-message", "too slow");
    expect("__streams.errors.topic", "webhooks");
    expect("__streams.errors.exception", "tidegate.timeout");
    assert_eq!(second.headers.iter().next(), first.headers.iter().next());
    let mut names: Vec<_> = second.headers.iter().map(|(name, _)| name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "no header is there twice, so they do not grow");
}

#[test]
fn a_first_failure_that_is_no_time_does_not_count() {
    for forged in [&b"yesterday"[..], b"\xff", b"", &[b'9'; 10_000], b"2026-13-24T08:00:00.128Z"] {
        let source = record(None, None, &[(b"tidegate-dlq-first-failure", Some(forged))]);
        let letter = encode(samples::dead_letter(source, Vec::new()), MAX_BYTES);
        assert_eq!(text(&letter, "tidegate-dlq-first-failure").as_deref(), Some("2026-11-24T08:00:00.128Z"));
    }
}

#[track_caller]
fn check_size(key: usize, value: usize, in_headers: usize, output: usize, left_out: Option<&str>) {
    let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
    let in_headers = vec![b'h'; in_headers];
    let source = record(Some(&key), Some(&value), &[(b"h", Some(&in_headers))]);
    let finished = vec![samples::step("shape", Value::text("o".repeat(output)))];
    let letter = encode(samples::dead_letter(source, finished), MAX_BYTES);
    assert_eq!(text(&letter, "tidegate-dlq-truncated").as_deref(), left_out);
    assert!(batch_bytes(&letter) <= MAX_BYTES, "{} bytes", batch_bytes(&letter));
    assert_eq!(text(&letter, "tidegate-dlq-offset").as_deref(), Some("42"), "it still says where the original lies");
}

#[test]
fn a_dead_letter_always_fits_its_topic() {
    check_size(10, 900_000, 10, 10, None);
    check_size(10, 600_000, 10, 600_000, Some("state"));
    check_size(10, 1_000_000, 10, 10, Some("state,value"));
    check_size(10, 500_000, 1_000_000, 10, Some("state,value,headers"));
    check_size(1_000_000, 10, 10, 10, Some("state,value,headers,key"));
    let many: Vec<Header<'_>> = vec![(b"", None); 200_000];
    let letter = encode(samples::dead_letter(record(None, Some(b"v"), &many), Vec::new()), MAX_BYTES);
    assert!(batch_bytes(&letter) <= MAX_BYTES);
}

proptest! {
    #[test]
    fn every_original_byte_is_there(
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        headers in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..9), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9))),
            0..20,
        ),
    ) {
        let borrowed: Vec<Header<'_>> = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        let source = record(key.as_deref(), value.as_deref(), &borrowed);
        let letter = encode(samples::dead_letter(source, Vec::new()), MAX_BYTES);
        let start: Vec<Header<'_>> = letter.headers.iter().take(headers.len()).collect();
        prop_assert_eq!(start, borrowed);
        prop_assert_eq!(letter.value.as_deref(), Some(value.as_deref().unwrap_or_default()));
        prop_assert_eq!(header(&letter, "tidegate-dlq-value").is_some(), value.is_none());
        prop_assert_eq!(header(&letter, "tidegate-dlq-key").is_some(), key.is_some());
    }
}

/// The record as a reader of the topic has it.
fn as_read(written: &WireRecord) -> SourceRecord {
    let topic = Arc::new(Topic { name: written.topic.clone(), id: [0; 16] });
    let origin = Origin { topic, partition: 0, offset: 0 };
    SourceRecord::new(origin, 0, written.key.as_deref(), written.value.as_deref(), written.headers.iter())
}

/// The same value, whether it lies in a document or not.
fn plain(value: &Value) -> Value {
    match (value.fields(), value.items()) {
        (Some(fields), _) => Value::map(fields.map(|(name, field)| (name, plain(&field))).collect()),
        (_, Some(items)) => Value::List(items.map(|item| plain(&item)).collect()),
        (None, None) => value.as_str().map_or_else(|| value.clone(), Value::text),
    }
}

/// Everything that a resume goes by, as text.
fn essence(letter: &DeadLetter) -> String {
    let DeadLetter { id, reason, failure, record, attempts, first_failure_ms, last_failure_ms, returns, .. } = letter;
    let execution = letter.execution.as_ref().map(|it| {
        let workflow = (it.workflow.id.as_str(), &it.workflow.version);
        let finished: Vec<_> =
            it.finished.iter().map(|step| FinishedStep { output: plain(&step.output), ..step.clone() }).collect();
        (it.id, it.run, workflow, finished, (it.history.edition, &it.history.causes))
    });
    let original = (&record.origin, record.timestamp_ms, record.key(), record.value());
    let headers: Vec<_> = record.headers().collect();
    let times = (attempts, first_failure_ms, last_failure_ms, returns);
    format!("{id} {reason:?} {failure:?} {execution:?} {original:?} {headers:?} {times:?}")
}

#[track_caller]
fn check_way_back(letter: DeadLetter) {
    let expected = essence(&letter);
    let ReadLetter { letter, left_out } = dead_letter::read(&as_read(&encode(letter, MAX_BYTES))).unwrap();
    assert_eq!(essence(&letter), expected);
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn a_dead_letter_is_read_as_it_was_written() {
    let full = record(Some(b"\xff"), Some(b"{}"), &[(b"a", Some(b"1")), (b"a", None), (b"", Some(b"\xfe"))]);
    let mut letter = samples::dead_letter(full, vec![samples::step("shape", Value::Int(7))]);
    let execution = letter.execution.as_mut().unwrap();
    execution.run = 3;
    execution.history = History { edition: 2, first_failure_ms: None, causes: "run 2: gone\nrun 1: gone".into() };
    letter.returns = 2;
    check_way_back(letter);
    check_way_back(samples::dead_letter(record(None, None, &[]), Vec::new()));
    let mut undecodable = samples::dead_letter(record(Some(b""), Some(b""), &[]), Vec::new());
    (undecodable.execution, undecodable.failure.step) = (None, None);
    check_way_back(undecodable);
}

#[test]
fn outputs_come_back_with_the_types_that_json_has_not() {
    let output = Value::map(vec![
        ("a/b~c".into(), Value::UInt(7)),
        ("large".into(), Value::UInt(u64::MAX)),
        ("bytes".into(), Value::Bytes(b"\x00\xff".to_vec().into())),
        ("list".into(), Value::List([Value::Timestamp(-1), Value::Int(1), Value::Duration(i64::MIN)].into())),
        ("".into(), Value::Float(5.0)),
        ("7".into(), Value::text("7")),
    ]);
    check_way_back(samples::dead_letter(record(None, None, &[]), vec![samples::step("shape", output)]));
    check_way_back(samples::dead_letter(record(None, None, &[]), vec![samples::step("shape", Value::UInt(1))]));
}

#[track_caller]
fn check_unreadable(change: impl FnOnce(&mut Vec<(Vec<u8>, Option<Vec<u8>>)>), part: &str) {
    let source = record(Some(b"k"), Some(b"v"), &[]);
    let letter = encode(samples::dead_letter(source, vec![samples::step("shape", Value::UInt(7))]), MAX_BYTES);
    let owned = |(name, value): (&[u8], Option<&[u8]>)| (name.to_vec(), value.map(<[u8]>::to_vec));
    let mut headers: Vec<_> = letter.headers.iter().map(owned).collect();
    change(&mut headers);
    let headers = headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
    let topic = Arc::new(Topic { name: "dead-letters".into(), id: [0; 16] });
    let origin = Origin { topic, partition: 0, offset: 0 };
    let changed = SourceRecord::new(origin, 0, letter.key.as_deref(), letter.value.as_deref(), headers);
    let message = dead_letter::read(&changed).map(|it| it.letter.id).unwrap_err().to_string();
    assert!(message.contains(part), "{message} does not contain {part}");
}

#[test]
fn what_is_no_dead_letter_of_ours_is_refused_with_its_reason() {
    let set = |name: &'static str, value: &'static [u8]| {
        move |headers: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>| {
            let header = headers.iter_mut().find(|(it, _)| it == name.as_bytes()).unwrap();
            header.1 = Some(value.to_vec());
        }
    };
    check_unreadable(|headers| headers.clear(), "`tidegate-dlq-reason` is missing");
    check_unreadable(set("tidegate-dlq-reason", b"bad luck"), "`tidegate-dlq-reason` is none of those");
    check_unreadable(set("tidegate-dlq-error-message", b"\xff"), "is not UTF-8");
    check_unreadable(set("tidegate-dlq-run", b"-1"), "`tidegate-dlq-run` must be a number");
    check_unreadable(set("tidegate-dlq-workflow", b"Not An Id"), "no id of a workflow");
    check_unreadable(set("tidegate-dlq-execution", b"7"), "no id of an execution");
    check_unreadable(set("tidegate-dlq-last-failure", b"yesterday"), "no time");
    check_unreadable(set("tidegate-dlq-key", b"~"), "no base64");
    check_unreadable(set("tidegate-dlq-topic-id", b"webhooks"), "no id of a topic");
    let state = |json: &'static [u8], part| check_unreadable(set("tidegate-dlq-state", json), part);
    state(b"{", "`tidegate-dlq-state` cannot be read");
    let step = r#"{"steps":[{"stepId":"a","status":"completed","startTime":"2026-01-01T00:00:00Z","endTime":"2026-01-01T00:00:00Z","attempts":1,"#;
    let with = |rest: &str| Vec::leak(format!("{step}{rest}}}]}}").into_bytes());
    state(with(r#""output":1,"outputTypes":[{"at":"","type":"bytes"}]"#), "is no bytes");
    state(with(r#""output":-1,"outputTypes":[{"at":"","type":"uint"}]"#), "is no uint");
    let deep = format!(r#""output":{}{}"#, "[".repeat(110), "]".repeat(110));
    state(with(&deep), "an output that cannot be read");
}

proptest! {
    #[test]
    fn whatever_lies_in_the_topic_is_read_to_some_end(
        name in prop::sample::select(vec!["reason", "run", "state", "key", "topic-id", "edition", "attempts", "partition"]),
        value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let source = record(Some(b"k"), Some(b"v"), &[]);
        let letter = encode(samples::dead_letter(source, vec![samples::step("shape", Value::UInt(7))]), MAX_BYTES);
        let name = format!("tidegate-dlq-{name}");
        let headers: Vec<Header<'_>> = letter
            .headers
            .iter()
            .map(|(known, kept)| (known, if known == name.as_bytes() { Some(&value[..]) } else { kept }))
            .collect();
        let topic = Arc::new(Topic { name: "dead-letters".into(), id: [0; 16] });
        let origin = Origin { topic, partition: 0, offset: 0 };
        let _ = dead_letter::read(&SourceRecord::new(origin, 0, letter.key.as_deref(), letter.value.as_deref(), headers));
    }
}
