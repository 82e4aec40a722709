//! Events as they are sent, and names for what they lead to.

use std::ops::Range;
use std::time::Duration;

use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::world::PARTITIONS;
use crate::support::clients::deliver;

/// Sends events in binary mode: `kind` of each, its number as id and key. None is a record that is no event. Offsets follow numbers: event
/// n is at n / [`PARTITIONS`] of its partition, if all are sent in order.
pub fn send_events(
    producer: &BaseProducer,
    topic: &str,
    numbers: Range<usize>,
    kind: impl Fn(usize) -> Option<&'static str>,
) {
    let data = |number| format!("{{\"n\":{number}}}");
    numbers.for_each(|number| send(producer, topic, partition_of(number), number, kind(number), &data(number)));
    wait_for_delivery(producer);
}

/// Sends events of the type `a.x`, each with its number modulo so many as its key, and those of one key to one partition.
pub fn send_keyed_events(producer: &BaseProducer, topic: &str, numbers: Range<usize>, keys: usize) {
    for number in numbers {
        let (id, key) = (number.to_string(), (number % keys).to_string());
        let data = format!("{{\"n\":{number}}}");
        let headers = [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", "/test"), ("ce_type", "a.x")];
        let headers = headers
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let record =
            BaseRecord::to(topic).partition(partition_of(number % keys)).key(&key).payload(&data).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    wait_for_delivery(producer);
}

/// Sends one event of the type `a.x` to a partition that its number does not choose.
pub fn send_to(producer: &BaseProducer, topic: &str, partition: i32, number: usize) {
    send(producer, topic, partition, number, Some("a.x"), "{}");
    wait_for_delivery(producer);
}

/// Sends events of the type `a.x` whose data weighs so much.
pub fn send_heavy_events(producer: &BaseProducer, topic: &str, numbers: Range<usize>, bytes: usize) {
    let padding = "x".repeat(bytes);
    send_data(producer, topic, numbers, |number| format!("{{\"n\":{number},\"padding\":\"{padding}\"}}"));
}

/// Sends events of the type `a.x` with this data.
pub fn send_data(producer: &BaseProducer, topic: &str, numbers: Range<usize>, mut data: impl FnMut(usize) -> String) {
    numbers.for_each(|number| hand_over(producer, topic, number, &data(number)));
    wait_for_delivery(producer);
}

/// Hands one event of the type `a.x` to the producer, which sends it meanwhile.
pub fn hand_over(producer: &BaseProducer, topic: &str, number: usize, data: &str) {
    send(producer, topic, partition_of(number), number, Some("a.x"), data);
}

fn partition_of(number: usize) -> i32 {
    number as i32 % PARTITIONS
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, number: usize, kind: Option<&str>, data: &str) {
    let id = number.to_string();
    let headers = kind.map(|kind| {
        [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", "/test"), ("ce_type", kind)]
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
    });
    let mut record: BaseRecord<'_, str, str> =
        BaseRecord::to(topic).partition(partition).key(id.as_str()).payload(data);
    record.headers = headers;
    while let Err((_, again)) = producer.send(record) {
        producer.poll(Duration::from_millis(1));
        record = again;
    }
}

/// Waits until the broker has everything.
pub fn wait_for_delivery(producer: &BaseProducer) {
    deliver(producer);
    assert_eq!(producer.in_flight_count(), 0);
}

/// The event's id, the workflow and the status of an execution record.
pub fn execution_name(message: &OwnedMessage) -> String {
    let record: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
    format!(
        "{} {} {}",
        record["event"]["id"].as_str().unwrap(),
        record["workflowId"].as_str().unwrap(),
        record["status"].as_str().unwrap()
    )
}

/// The key of a record that a workflow produced, and the workflow, which is in a header.
pub fn produced_name(message: &OwnedMessage) -> String {
    let header = message.headers().and_then(|headers| headers.iter().find(|it| it.key == "workflow"));
    let workflow = header.and_then(|it| it.value).unwrap_or_default();
    format!("{} {}", String::from_utf8_lossy(message.key().unwrap_or_default()), String::from_utf8_lossy(workflow))
}
