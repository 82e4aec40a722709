//! Records that are no events, among others that are: each a dead letter with its reason and its bytes, and the others are none the worse.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord};
use tidegate::bench::workload::Random;

use super::records::{execution_name, wait_for_delivery};
use super::verdict::Verdict;
use super::world::{PARTITIONS, World};
use super::{five_workflows, is_full};
use crate::support::broker::TestBroker;

/// Names each record of the test, poison or not.
const NUMBER: &str = "n";
/// What the log says of a lane that starts again.
const RESTARTED: &str = "the lane starts again";

/// A record without its key.
#[derive(Clone)]
struct Shape {
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

/// A CloudEvent in binary mode.
fn binary(value: impl Into<Vec<u8>>) -> Shape {
    let headers = [("ce_specversion", "1.0"), ("ce_id", "e"), ("ce_source", "/test"), ("ce_type", "b.x")];
    let headers = headers.map(|(name, value)| (name, Some(value.into())));
    Shape { value: Some(value.into()), headers: headers.into() }
}

/// A CloudEvent in structured mode.
fn structured(value: &str) -> Shape {
    let headers = vec![("content-type", Some(b"application/cloudevents+json; charset=utf-8".to_vec()))];
    Shape { value: Some(value.into()), headers }
}

impl Shape {
    /// With a header behind the others; of several the last one counts.
    fn with(mut self, name: &'static str, value: impl Into<Option<&'static [u8]>>) -> Shape {
        self.headers.push((name, value.into().map(<[u8]>::to_vec)));
        self
    }

    fn without(mut self, name: &str) -> Shape {
        self.headers.retain(|(it, _)| *it != name);
        self
    }

    fn without_value(mut self) -> Shape {
        self.value = None;
        self
    }
}

/// Records that are no events, each with a part of the reason that is given.
fn poison() -> Vec<(Shape, &'static str)> {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    let many_headers = (0..10_000).fold(binary("{}"), |shape, _| shape.with("h", b"v".as_slice()));
    let long: &'static [u8] = Box::leak(vec![b's'; 5_000].into());
    vec![
        (binary("\0"), "no JSON document"),
        (binary("").with("content-type", b"application/json".as_slice()), "no JSON document"),
        (binary("{"), "no JSON document"),
        (binary("{} x"), "no JSON document"),
        (binary("{\"a\":NaN}"), "no JSON document"),
        (binary("{\"a\":\"\\ud800\"}"), "no JSON document"),
        (binary("{\"a\":1e999999}"), "number out of range"),
        (binary(b"{\"a\":\"\xc3\x28\"}".as_slice()), "not UTF-8"),
        (binary(nested(65)), "deeper than 64 levels"),
        (binary(nested(100_000)), "deeper than 64 levels"),
        (binary(b"[".repeat(900_000)), "deeper than 64 levels"),
        (binary("{}").without("ce_specversion"), "the header ce_specversion is missing"),
        (binary("{}").without("ce_id"), "the header ce_id is missing"),
        (binary("{}").without("ce_source"), "the header ce_source is missing"),
        (binary("{}").without("ce_type"), "the header ce_type is missing"),
        (binary("{}").with("ce_id", None), "the header ce_id is missing"),
        (binary("{}").with("ce_id", b"".as_slice()), "the header ce_id is empty"),
        (binary("{}").with("ce_type", b"\xff".as_slice()), "the header ce_type is not UTF-8"),
        (binary("{}").with("content-type", b"\xff".as_slice()), "the header content-type is not UTF-8"),
        (binary("{}").with("ce_specversion", b"0.3".as_slice()), "specversion is `0.3`"),
        (binary("{}").with("ce_source", long), "source has 5000 bytes"),
        (binary(b"\xff".as_slice()).with("content-type", b"text/plain".as_slice()), "not UTF-8"),
        (many_headers, "10005 headers"),
        (binary("{}").with("content-type", b"application/cloudevents-batch+json".as_slice()), "a batch of CloudEvents"),
        (binary("{}").with("content-type", b"application/cloudevents+avro".as_slice()), "cloudevents+avro"),
        (structured("[]"), "a JSON object"),
        (structured("{\"specversion\":\"1.0\""), "no JSON document"),
        (structured("{\"specversion\":\"1.0\",\"source\":\"/\",\"type\":\"b.x\"}"), "the attribute id is missing"),
        (structured("{\"specversion\":1,\"id\":\"e\",\"source\":\"/\",\"type\":\"b.x\"}"), "specversion is no string"),
        (
            structured(
                "{\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/\",\"type\":\"b.x\",\"data\":1,\"data_base64\":\"AA==\"}",
            ),
            "both data and data_base64",
        ),
        (
            structured(
                "{\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/\",\"type\":\"b.x\",\"data_base64\":\"?\"}",
            ),
            "no base64",
        ),
        (structured("").without_value(), "the value is null"),
        (Shape { value: Some(b"{}".to_vec()), headers: Vec::new() }, "the header ce_specversion is missing"),
        (Shape { value: None, headers: Vec::new() }, "the header ce_specversion is missing"),
    ]
}

/// Records that look odd and are events.
fn odd() -> Vec<Shape> {
    vec![
        binary("{\"a\":1}"),
        binary("").without_value(),
        binary(""),
        binary("{\"a\":1,\"a\":2}"),
        binary(b"\xff\x00".as_slice()).with("content-type", b"application/octet-stream".as_slice()),
        binary("plain").with("content-type", b"text/plain".as_slice()),
        binary("{}").with("ce_ext", b"\xff".as_slice()).with("ce_ext", None).with("", b"".as_slice()),
        binary([b"[".repeat(64), b"]".repeat(64)].concat()),
        structured("{\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/\",\"type\":\"b.x\",\"data\":{\"a\":1}}"),
        structured("{\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/\",\"type\":\"b.x\",\"data_base64\":\"AA==\"}"),
    ]
}

fn send(producer: &BaseProducer, topic: &str, number: usize, shape: &Shape) {
    let text = number.to_string();
    let mut headers = OwnedHeaders::new().insert(Header { key: NUMBER, value: Some(&text) });
    for (key, value) in &shape.headers {
        headers = headers.insert(Header { key, value: value.as_ref() });
    }
    let mut record: BaseRecord<'_, str, Vec<u8>> =
        BaseRecord::to(topic).partition(number as i32 % PARTITIONS).key(text.as_str()).headers(headers);
    record.payload = shape.value.as_ref();
    while let Err((_, again)) = producer.send(record) {
        producer.poll(Duration::from_millis(1));
        record = again;
    }
}

fn headers(message: &OwnedMessage) -> Vec<(String, Option<Vec<u8>>)> {
    let headers = message.headers().into_iter().flat_map(|it| it.iter());
    headers.map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec))).collect()
}

/// Checks that a dead letter is the record as it was, with the reason.
#[track_caller]
fn check_letter(letter: &OwnedMessage, number: usize, (shape, says): &(Shape, &str)) {
    let found = headers(letter);
    let number = Some(number.to_string().into_bytes());
    let original = shape.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let original: Vec<_> = std::iter::once((NUMBER.to_owned(), number)).chain(original).collect();
    assert_eq!(found.get(..original.len()), Some(&original[..]), "{says}: the headers as they were");
    let ours: BTreeMap<&str, String> = found[original.len()..]
        .iter()
        .map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
        })
        .collect();
    assert_eq!(ours["tidegate-dlq-reason"], "decode");
    let message = &ours["tidegate-dlq-error-message"];
    assert!(message.contains(says), "`{message}` does not say `{says}`");
    // Null is what a resolved dead letter becomes, so a null value is told by a header.
    let value = letter.payload().filter(|_| !ours.contains_key("tidegate-dlq-value"));
    assert_eq!(value, shape.value.as_deref(), "{says}: the bytes as they were");
}

#[test]
fn poison_among_events_is_put_aside_once_each_and_harms_nothing_else() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World::new(broker, &five_workflows(&broker.topic("out", 6)));
    let mut instance = world.instance("alone");
    let (poisoned, events) = if is_full() { (1_000, 20_000) } else { (200, 2_000) };
    let seed = std::env::var("TIDEGATE_TEST_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    println!("TIDEGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let mut is_poison: Vec<bool> = (0..events + poisoned).map(|number| number < poisoned).collect();
    (1..is_poison.len()).rev().for_each(|at| is_poison.swap(at, random.below(at + 1)));
    let (cases, odd) = (poison(), odd());
    let case_of = |number: usize| &cases[number % cases.len()];
    let producer = broker.producer(&[]);
    for (number, poison) in is_poison.iter().enumerate() {
        send(&producer, &world.source, number, if *poison { &case_of(number).0 } else { &odd[number % odd.len()] });
    }
    wait_for_delivery(&producer);
    world.wait_for(&world.topic("executions"), events * 2);
    world.wait_for(&world.topic("dead-letters"), poisoned);
    let is_poison = &is_poison;
    let numbers = |wanted: bool| (0..is_poison.len()).filter(move |number| is_poison[*number] == wanted);
    let expected: Vec<String> =
        numbers(false).flat_map(|number| ["all", "other"].map(|id| format!("{number} {id} completed"))).collect();
    let by_key = |message: &OwnedMessage| {
        let record: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let rest = execution_name(message);
        let rest = rest.split_once(' ').unwrap().1;
        format!("{} {rest}", record["event"]["key"].as_str().unwrap())
    };
    assert_eq!(world.check(&world.topic("executions"), &expected, by_key), Verdict::default());
    let letters = broker.committed(&world.topic("dead-letters"));
    let number_of =
        |letter: &OwnedMessage| headers(letter)[0].1.as_deref().map(String::from_utf8_lossy).unwrap().into_owned();
    let found: Vec<String> = letters.iter().map(number_of).collect();
    let expected: Vec<String> = numbers(true).map(|number| number.to_string()).collect();
    assert_eq!(Verdict::of(&found, &expected), Verdict::default());
    for letter in &letters {
        let number = number_of(letter).parse().unwrap();
        check_letter(letter, number, case_of(number));
    }
    assert_eq!(world.log_lines_with("alone", RESTARTED), 0);
    assert!(instance.is_alive());
}
