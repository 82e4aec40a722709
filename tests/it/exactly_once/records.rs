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
    send(producer, topic, numbers, kind, |number| format!("{{\"n\":{number}}}"));
}

/// Sends events of the type `a.x` whose data weighs so much.
pub fn send_heavy_events(producer: &BaseProducer, topic: &str, numbers: Range<usize>, bytes: usize) {
    let padding = "x".repeat(bytes);
    send(producer, topic, numbers, |_| Some("a.x"), |number| format!("{{\"n\":{number},\"padding\":\"{padding}\"}}"));
}

fn send(
    producer: &BaseProducer,
    topic: &str,
    numbers: Range<usize>,
    kind: impl Fn(usize) -> Option<&'static str>,
    data: impl Fn(usize) -> String,
) {
    for number in numbers {
        let id = number.to_string();
        let headers = kind(number).map(|kind| {
            [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", "/test"), ("ce_type", kind)]
                .into_iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
        });
        let value = data(number);
        let mut record: BaseRecord<'_, str, str> =
            BaseRecord::to(topic).partition(number as i32 % PARTITIONS).key(id.as_str()).payload(value.as_str());
        record.headers = headers;
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(1));
            record = again;
        }
    }
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
