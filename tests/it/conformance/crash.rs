//! A broker that is killed in the middle of transactions keeps its word: what it said is committed stays, what is not committed never
//! appears, and producers that live on are told the truth.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::support::broker::{Kind, TestBroker};
use crate::support::clients::{CALL, committed_position, deliver, group_of_one, position, send, unique, values};
use crate::support::{topic_id, wait};

const PARTITIONS: i32 = 3;
/// After how many more transactions the broker is killed each time.
const TRANSACTIONS_BETWEEN_KILLS: usize = 25;

/// What became of a transaction, as its producer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Committed,
    Aborted,
    /// The producer was told that it cannot know.
    Unknown,
}

/// Writes transactions of one record per partition, every fourth of which it aborts itself, until it is told to stop.
struct Writer<'b> {
    broker: &'b TestBroker,
    topic: String,
    id: String,
    ended: AtomicUsize,
    stop: AtomicBool,
}

impl Writer<'_> {
    fn run(&self) -> Vec<End> {
        let mut producer = self.broker.transactional(&self.id, &[]);
        let mut ends = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let end = self.transaction(&producer, ends.len());
            if producer.client().fatal_error().is_some() || end == End::Unknown {
                // Its successor ends, by its mere coming, what the old one may have left open.
                producer = self.broker.transactional(&self.id, &[]);
            }
            ends.push(end);
            self.ended.store(ends.len(), Ordering::Relaxed);
        }
        ends
    }

    fn transaction(&self, producer: &BaseProducer, number: usize) -> End {
        producer.begin_transaction().expect("begins");
        (0..PARTITIONS).for_each(|partition| send(producer, &self.topic, partition, "k", &number.to_string()));
        deliver(producer);
        if number % 4 == 3 {
            return abort(producer);
        }
        loop {
            match producer.commit_transaction(CALL) {
                Ok(()) => return End::Committed,
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => return abort(producer),
                Err(_) => return End::Unknown,
            }
        }
    }
}

fn abort(producer: &BaseProducer) -> End {
    loop {
        match producer.abort_transaction(CALL) {
            Ok(()) => return End::Aborted,
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            // Nothing asked for a commit: whoever ends it later aborts it.
            Err(_) => return End::Aborted,
        }
    }
}

#[test]
fn a_killed_broker_loses_nothing_committed_and_shows_nothing_else() {
    let Some(broker) = TestBroker::own() else { return };
    let topic = broker.topic("ledger", PARTITIONS);
    // A Kafka takes ten times as long to come back.
    let kills = match broker.kind() {
        Kind::Embedded => 6,
        Kind::Kafka => 2,
    };
    let (ended, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let writer = Writer { broker: &broker, topic, id: unique("ledger"), ended, stop };
    let ends = std::thread::scope(|scope| {
        let ends = scope.spawn(|| writer.run());
        for kill in 1..=kills {
            wait::until("transactions end", || {
                assert!(!ends.is_finished(), "the writer gave up");
                (writer.ended.load(Ordering::Relaxed) >= kill * TRANSACTIONS_BETWEEN_KILLS).then_some(())
            });
            broker.take_away();
            broker.restart();
        }
        let before = writer.ended.load(Ordering::Relaxed);
        wait::until("transactions go on", || (writer.ended.load(Ordering::Relaxed) > before + 5).then_some(()));
        writer.stop.store(true, Ordering::Relaxed);
        ends.join().expect("the writer ends")
    });
    // An open rest is ended by a successor, so that the end of the topic can be read.
    drop(broker.transactional(&writer.id, &[]));
    check_ledger(&broker, &writer.topic, &ends);
}

/// Compares what readers see with what the producer was told.
#[track_caller]
fn check_ledger(broker: &TestBroker, topic: &str, ends: &[End]) {
    let committed = |number: usize| ends[number] == End::Committed;
    let last = (0..ends.len()).rev().find(|number| committed(*number)).expect("some are committed").to_string();
    let seen = wait::until("the last committed transaction", || {
        let messages = broker.committed(topic);
        let copies = values(&messages).iter().filter(|value| **value == last).count();
        (copies == PARTITIONS as usize).then_some(messages)
    });
    let mut copies = BTreeMap::<usize, usize>::new();
    let mut previous = (-1, 0);
    for (message, value) in seen.iter().zip(values(&seen)) {
        let number = value.parse().expect("a number");
        let place = (message.partition(), number);
        assert!(place > previous, "{place:?} comes after {previous:?}");
        previous = place;
        *copies.entry(number).or_default() += 1;
    }
    for (number, end) in ends.iter().enumerate() {
        let copies = copies.get(&number).copied().unwrap_or_default();
        let allowed: &[usize] = match end {
            End::Committed => &[PARTITIONS as usize],
            End::Aborted => &[0],
            End::Unknown => &[0, PARTITIONS as usize],
        };
        assert!(allowed.contains(&copies), "transaction {number} was {end:?}, but {copies} of its records are seen");
    }
}

#[test]
fn a_killed_broker_comes_back_with_what_it_had() {
    let Some(broker) = TestBroker::own() else { return };
    let (topic, input) =
        (broker.topic_with("kept", 2, &[("max.message.bytes", "70000")]), broker.topic("kept-input", 1));
    let topic_before = topic_id::of(&broker, &topic);
    let group = unique("kept");
    let member = group_of_one(&broker, &group, &input);
    member.commit(&position(&input, 0, 42, "plain"), CommitMode::Sync).expect("commits");
    let metadata = member.group_metadata().expect("a member");
    let [open, aborted] = ["open", "aborted"].map(|id| broker.transactional(&unique(id), &[]));
    for (producer, value) in [(&aborted, "aborted"), (&open, "open")] {
        producer.begin_transaction().expect("begins");
        send(producer, &topic, 0, "k", value);
        deliver(producer);
    }
    aborted.abort_transaction(CALL).expect("aborts");
    // The answer comes before the marker is written. Kafka 4.4 may forget a marker that is still to be written when it is killed and
    // loses its leadership while it starts; readers of committed records then wait for ever.
    wait::until("the marker of the abort", || (broker.stable_end(&topic, 0) == 1).then_some(()));
    open.send_offsets_to_transaction(&position(&input, 0, 43, "transaction"), &metadata, CALL).expect("takes offsets");

    broker.kill();
    broker.restart();
    assert_eq!(topic_id::of(&broker, &topic), topic_before);
    assert_eq!(values(&broker.committed(&topic)), [""; 0], "the transaction is still open");
    assert_eq!(values(&broker.uncommitted(&topic)), ["aborted", "open"]);
    open.commit_transaction(CALL).expect("an open transaction can be committed");
    wait::until("the committed record", || (values(&broker.committed(&topic)) == ["open"]).then_some(()));
    let reader = broker.consumer(&group, &[]);
    let answer = wait::until("a stable answer", || committed_position(&reader, &input, 0).ok());
    assert_eq!(answer, (Offset::Offset(43), "transaction".to_owned()));
}
