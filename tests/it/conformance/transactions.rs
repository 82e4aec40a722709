//! Transactions: what is committed appears as one, what is aborted never does, and nobody reads past an open one.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::Producer as _;

use super::broker;
use super::groups::await_shares;
use crate::support::broker::TestBroker;
use crate::support::clients::{CALL, assign_from, committed_position, deliver, position, read, send, unique, values};
use crate::support::wait;

#[test]
fn committed_records_appear_and_aborted_ones_do_not() {
    let broker = broker!();
    let topic = broker.topic("isolation", 2);
    let producer = broker.transactional(&unique("isolation"), &[]);
    let write = |prefix: &str| {
        producer.begin_transaction().expect("begins");
        (0..10).for_each(|number| send(&producer, &topic, number % 2, "k", &format!("{prefix}{number}")));
        deliver(&producer);
    };
    write("a");
    producer.commit_transaction(CALL).expect("commits");
    write("b");
    assert_eq!(values(&broker.committed(&topic)).len(), 10, "an open transaction is hidden");
    producer.abort_transaction(CALL).expect("aborts");
    write("c");
    producer.commit_transaction(CALL).expect("commits");

    let expected = ["a0 a2 a4 a6 a8 c0 c2 c4 c6 c8", "a1 a3 a5 a7 a9 c1 c3 c5 c7 c9"].join(" ");
    assert_eq!(values(&broker.committed(&topic)).join(" "), expected);
    assert_eq!(broker.uncommitted(&topic).len(), 30);
    let consumer = broker.consumer(&unique("watermarks"), &[]);
    let watermarks = consumer.fetch_watermarks(&topic, 0, CALL).expect("watermarks");
    assert_eq!(watermarks, (0, 18), "15 records and 3 markers");
}

#[test]
fn readers_of_committed_records_wait_for_open_transactions_before_them() {
    let broker = broker!();
    let topic = broker.topic("stable", 1);
    let open = broker.transactional(&unique("open"), &[]);
    open.begin_transaction().expect("begins");
    send(&open, &topic, 0, "k", "open");
    deliver(&open);
    let plain = broker.producer(&[]);
    send(&plain, &topic, 0, "k", "plain");
    deliver(&plain);
    assert_eq!(values(&broker.committed(&topic)), [""; 0]);
    assert_eq!(values(&broker.uncommitted(&topic)), ["open", "plain"]);
    open.commit_transaction(CALL).expect("commits");
    wait::until("both", || (values(&broker.committed(&topic)) == ["open", "plain"]).then_some(()));
}

#[test]
fn transactions_of_several_producers_end_on_their_own() {
    let broker = broker!();
    let topic = broker.topic("mixed", 1);
    let [aborts, commits] = ["aborts", "commits"].map(|id| broker.transactional(&unique(id), &[]));
    aborts.begin_transaction().expect("begins");
    commits.begin_transaction().expect("begins");
    for number in 0..4 {
        send(&aborts, &topic, 0, "k", &format!("a{number}"));
        deliver(&aborts);
        send(&commits, &topic, 0, "k", &format!("c{number}"));
        deliver(&commits);
    }
    commits.commit_transaction(CALL).expect("commits");
    assert_eq!(values(&broker.committed(&topic)), [""; 0], "the other one is open, and began earlier");
    aborts.abort_transaction(CALL).expect("aborts");
    let expected = ["c0", "c1", "c2", "c3"];
    wait::until("the committed ones alone", || (values(&broker.committed(&topic)) == expected).then_some(()));
}

/// A group of one member that has read ten records.
fn group_that_read(broker: &TestBroker, topic: &str, group: &str) -> BaseConsumer {
    let producer = broker.producer(&[]);
    (0..10).for_each(|number| send(&producer, topic, 0, "k", &number.to_string()));
    deliver(&producer);
    let consumer = broker.consumer(group, &[("isolation.level", "read_committed")]);
    consumer.subscribe(&[topic]).expect("subscribes");
    assert_eq!(read(&consumer, 10).len(), 10);
    consumer
}

#[test]
fn offsets_are_committed_with_their_transaction_or_not_at_all() {
    let broker = broker!();
    let (input, output, group) = (broker.topic("input", 1), broker.topic("output", 1), unique("exactly-once"));
    let consumer = group_that_read(broker, &input, &group);
    let producer = broker.transactional(&unique("exactly-once"), &[]);
    let metadata = consumer.group_metadata().expect("a member");
    let reader = broker.consumer(&group, &[]);
    let committed = || committed_position(&reader, &input, 0);

    producer.begin_transaction().expect("begins");
    send(&producer, &output, 0, "k", "aborted");
    producer.send_offsets_to_transaction(&position(&input, 0, 5, "five"), &metadata, CALL).expect("takes offsets");
    deliver(&producer);
    producer.abort_transaction(CALL).expect("aborts");
    let after_abort = wait::until("a stable answer", || committed().ok());
    assert_eq!(after_abort, (Offset::Invalid, String::new()));

    producer.begin_transaction().expect("begins");
    send(&producer, &output, 0, "k", "committed");
    producer.send_offsets_to_transaction(&position(&input, 0, 10, "ten"), &metadata, CALL).expect("takes offsets");
    producer.commit_transaction(CALL).expect("commits");
    let after_commit = wait::until("a stable answer", || committed().ok());
    assert_eq!(after_commit, (Offset::Offset(10), "ten".to_owned()));
    wait::until("the output", || (values(&broker.committed(&output)) == ["committed"]).then_some(()));
}

#[test]
fn offsets_of_an_open_transaction_are_not_answered() {
    let broker = broker!();
    let (input, group) = (broker.topic("unstable", 1), unique("unstable"));
    let consumer = group_that_read(broker, &input, &group);
    let producer = broker.transactional(&unique("unstable"), &[]);
    producer.begin_transaction().expect("begins");
    let metadata = consumer.group_metadata().expect("a member");
    producer.send_offsets_to_transaction(&position(&input, 0, 7, ""), &metadata, CALL).expect("takes offsets");
    // The client asks again and again until its time is up, since the answer is not known yet.
    let answer = committed_position(&broker.consumer(&group, &[]), &input, 0);
    assert!(answer.is_err(), "answered {answer:?}");
    producer.commit_transaction(CALL).expect("commits");
    let reader = broker.consumer(&group, &[]);
    let answer = wait::until("a stable answer", || committed_position(&reader, &input, 0).ok());
    assert_eq!(answer.0, Offset::Offset(7));
}

#[test]
fn offsets_of_an_older_generation_are_refused() {
    let broker = broker!();
    let topic = broker.topic("generation", 2);
    let group = unique("generation");
    let first = broker.consumer(&group, &[]);
    first.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&first], &[2]);
    let stale = first.group_metadata().expect("a member");
    let second = broker.consumer(&group, &[]);
    second.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&first, &second], &[1, 1]);
    let producer = broker.transactional(&unique("generation"), &[]);
    producer.begin_transaction().expect("begins");
    let refused = producer.send_offsets_to_transaction(&position(&topic, 0, 1, ""), &stale, CALL);
    let Err(KafkaError::Transaction(error)) = refused else { panic!("it was taken: {refused:?}") };
    assert_eq!(error.code(), RDKafkaErrorCode::IllegalGeneration);
    assert!(error.txn_requires_abort() && !error.is_fatal(), "the producer goes on after an abort: {error:?}");
    producer.abort_transaction(CALL).expect("aborts");
    producer.begin_transaction().expect("begins");
    let fresh = first.group_metadata().expect("a member");
    producer.send_offsets_to_transaction(&position(&topic, 0, 1, ""), &fresh, CALL).expect("takes offsets");
    producer.commit_transaction(CALL).expect("commits");
}

#[test]
fn a_transaction_over_its_time_is_aborted_by_the_broker() {
    let broker = broker!();
    let topic = broker.topic("late", 1);
    let late =
        broker.transactional(&unique("late"), &[("transaction.timeout.ms", "2000"), ("message.timeout.ms", "1900")]);
    late.begin_transaction().expect("begins");
    send(&late, &topic, 0, "k", "late");
    deliver(&late);
    let plain = broker.producer(&[]);
    send(&plain, &topic, 0, "k", "plain");
    deliver(&plain);
    let reader = broker.consumer(&unique("late"), &[("isolation.level", "read_committed")]);
    assign_from(&reader, &topic, &[Offset::Beginning]);
    let started = Instant::now();
    assert_eq!(values(&read(&reader, 1)), ["plain"]);
    assert!(started.elapsed() > Duration::from_millis(1_000), "it was aborted after {:?}", started.elapsed());
    let error = late.commit_transaction(CALL).expect_err("it was aborted");
    let KafkaError::Transaction(error) = error else { panic!("{error:?}") };
    assert!(error.is_fatal() || error.txn_requires_abort(), "{error:?}");
}

#[test]
fn transactions_follow_each_other_without_a_pause() {
    let broker = broker!();
    let topic = broker.topic("rapid", 3);
    let producer = broker.transactional(&unique("rapid"), &[("linger.ms", "0")]);
    for number in 0..60 {
        producer.begin_transaction().expect("begins");
        (0..3).for_each(|partition| send(&producer, &topic, partition, "k", &number.to_string()));
        deliver(&producer);
        if number % 3 == 2 {
            producer.abort_transaction(CALL).expect("aborts");
        } else {
            producer.commit_transaction(CALL).expect("commits");
        }
    }
    let messages = wait::until("all of them", || Some(broker.committed(&topic)).filter(|it| it.len() == 120));
    let expected: Vec<_> = (0..60).filter(|it| it % 3 != 2).map(|it| it.to_string()).collect();
    for partition in 0..3 {
        let of_partition = |message: &&OwnedMessage| rdkafka::Message::partition(*message) == partition;
        let kept: Vec<_> = messages.iter().filter(of_partition).cloned().collect();
        assert_eq!(values(&kept), expected, "of partition {partition}");
    }
}
