//! Compacted topics keep the last record of every key.

use rdkafka::message::{Message as _, OwnedMessage};

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
