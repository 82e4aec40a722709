//! Compacted topics keep the last record of every key.

use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::BaseRecord;

use super::broker;
use crate::support::clients::{deliver, send};
use crate::support::wait;

/// Settings that make a topic be compacted as soon as the broker looks at it.
const EAGER: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "100"),
    ("max.compaction.lag.ms", "100"),
];

#[test]
fn only_the_last_records_of_a_key_stay() {
    let broker = broker!();
    let topic = broker.topic_with("compacted", 1, &EAGER);
    let producer = broker.producer(&[]);
    let mut number = 0;
    // Kafka compacts only what is behind the segment that is written to: each look writes a batch that may begin a new one.
    let remaining = wait::until("old records go", || {
        for _ in 0..100 {
            send(&producer, &topic, 0, &format!("k{}", number % 10), &number.to_string());
            number += 1;
        }
        deliver(&producer);
        let messages = broker.committed(&topic);
        (messages.len() < number / 2).then_some(messages)
    });
    let offsets: Vec<_> = remaining.iter().map(OwnedMessage::offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    let said = |message: &OwnedMessage| String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
    assert!(remaining.iter().all(|it| said(it) == it.offset().to_string()), "records keep their offsets");
    for key in 0..10 {
        let last = number - 10 + key;
        assert!(
            remaining.iter().any(|it| it.offset() == last as i64),
            "the last record of k{key}, number {last}, is there"
        );
    }
}

#[test]
fn what_stays_keeps_every_header() {
    let broker = broker!();
    let topic = broker.topic_with("compacted-headers", 1, &EAGER);
    let producer = broker.producer(&[]);
    let headers: [(&str, Option<&[u8]>); 4] = [("a", Some(b"1")), ("b", Some(b"")), ("a", None), ("a", Some(b"\xff"))];
    let given = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
    // In one batch with others, which go.
    send(&producer, &topic, 0, "other", "0");
    let kept = BaseRecord::to(&topic).partition(0).key("kept").payload("kept").headers(given);
    producer.send(kept).map_err(|it| it.0).expect("room");
    let mut number = 0;
    let kept = wait::until("old records go", || {
        for _ in 0..100 {
            send(&producer, &topic, 0, "other", &number.to_string());
            number += 1;
        }
        deliver(&producer);
        let messages = broker.committed(&topic);
        let kept = messages.iter().find(|it| it.key() == Some(b"kept")).expect("the newest of its key").clone();
        (messages.len() < number / 2).then_some(kept)
    });
    let found: Vec<_> = kept.headers().expect("headers").iter().map(|it| (it.key, it.value)).collect();
    assert_eq!(found, headers);
}
