//! Events with a body of their own, and what became of them.

use std::time::Duration;

use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord};

use crate::exactly_once::world::PARTITIONS;

/// Sends an event in binary mode: its number is its id and key. Waits only while the queue is full.
pub fn send_event(producer: &BaseProducer, topic: &str, number: usize, kind: &str, body: &str) {
    let id = number.to_string();
    let headers = [("ce_specversion", "1.0"), ("ce_id", id.as_str()), ("ce_source", "/test"), ("ce_type", kind)];
    let headers = headers
        .into_iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
    let partition = i32::try_from(number).expect("fewer events than that") % PARTITIONS;
    let mut record: BaseRecord<'_, str, str> =
        BaseRecord::to(topic).partition(partition).key(id.as_str()).payload(body).headers(headers);
    while let Err((_, again)) = producer.send(record) {
        producer.poll(Duration::from_millis(1));
        record = again;
    }
    producer.poll(Duration::ZERO);
}

/// What an execution record says: the number of its event, and its workflow.
#[track_caller]
pub fn execution(message: &BorrowedMessage<'_>) -> (usize, String) {
    let record: serde_json::Value = serde_json::from_slice(message.payload().expect("a value")).expect("JSON");
    assert_eq!(record["status"], "completed", "{record}");
    let number = record["event"]["id"].as_str().and_then(|it| it.parse().ok()).expect("the id of an event of ours");
    (number, record["workflowId"].as_str().expect("a workflow").to_owned())
}

/// Which of the first so many events were done, each once.
pub struct Done {
    seen: Vec<bool>,
    count: usize,
}

impl Done {
    /// None of so many.
    pub fn none_of(events: usize) -> Done {
        Done { seen: vec![false; events], count: 0 }
    }

    /// Takes an event as done; fails if it was done before.
    #[track_caller]
    pub fn mark(&mut self, number: usize) {
        assert!(!std::mem::replace(&mut self.seen[number], true), "event {number} was done twice");
        self.count += 1;
    }

    /// How many were done.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether all were.
    pub fn is_complete(&self) -> bool {
        self.count == self.seen.len()
    }
}
