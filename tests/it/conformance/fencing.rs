//! Fencing: of two producers with one transactional id, the older one can do nothing more, and leaves nothing behind.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::broker;
use crate::support::clients::{CALL, deliver, send, unique, values};
use crate::support::wait;

#[test]
fn the_older_producer_cannot_commit() {
    let broker = broker!();
    let (topic, id) = (broker.topic("fenced", 1), unique("fenced"));
    let older = broker.transactional(&id, &[]);
    older.begin_transaction().expect("begins");
    send(&older, &topic, 0, "k", "older");
    deliver(&older);
    let newer = broker.transactional(&id, &[]);
    let error = older.commit_transaction(CALL).expect_err("it is fenced");
    let KafkaError::Transaction(error) = error else { panic!("{error:?}") };
    assert!(error.is_fatal(), "{error:?}");
    assert_eq!(error.code(), RDKafkaErrorCode::Fenced, "{error:?}");
    newer.begin_transaction().expect("begins");
    send(&newer, &topic, 0, "k", "newer");
    newer.commit_transaction(CALL).expect("commits");
    wait::until("the newer's alone", || (values(&broker.committed(&topic)) == ["newer"]).then_some(()));
}

#[test]
fn the_older_producer_cannot_write() {
    let broker = broker!();
    let (topic, id) = (broker.topic("fenced-write", 1), unique("fenced-write"));
    let older = broker.transactional(&id, &[]);
    older.begin_transaction().expect("begins");
    send(&older, &topic, 0, "k", "before");
    deliver(&older);
    let newer = broker.transactional(&id, &[]);
    older.send(BaseRecord::to(&topic).partition(0).key("k").payload("after")).map_err(|it| it.0).expect("room");
    let code = wait::until("the older one is told", || {
        older.poll(Duration::from_millis(10));
        older.client().fatal_error().map(|(code, _)| code)
    });
    assert!(matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch), "{code:?}");
    newer.begin_transaction().expect("begins");
    newer.commit_transaction(CALL).expect("commits");
    assert_eq!(values(&broker.committed(&topic)), [""; 0]);
    assert_eq!(values(&broker.uncommitted(&topic)), ["before"]);
}

#[test]
fn a_producer_that_comes_back_frees_readers_at_once() {
    let broker = broker!();
    let (topic, id) = (broker.topic("freed", 1), unique("freed"));
    // Far longer than the test takes: it is not the time-out that frees them.
    let timeout = [("transaction.timeout.ms", "600000")];
    let gone = broker.transactional(&id, &timeout);
    gone.begin_transaction().expect("begins");
    send(&gone, &topic, 0, "k", "gone");
    deliver(&gone);
    let plain = broker.producer(&[]);
    send(&plain, &topic, 0, "k", "plain");
    deliver(&plain);
    assert_eq!(values(&broker.committed(&topic)), [""; 0]);
    let started = Instant::now();
    let _back = broker.transactional(&id, &timeout);
    wait::until("readers are free", || (values(&broker.committed(&topic)) == ["plain"]).then_some(()));
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
}

#[test]
fn producers_with_different_ids_do_not_fence_each_other() {
    let broker = broker!();
    let topic = broker.topic("unfenced", 1);
    let producers = ["one", "two"].map(|id| broker.transactional(&unique(id), &[]));
    for producer in &producers {
        producer.begin_transaction().expect("begins");
        send(producer, &topic, 0, "k", "v");
    }
    for producer in &producers {
        producer.commit_transaction(CALL).expect("commits");
    }
    wait::until("both", || (broker.committed(&topic).len() == 2).then_some(()));
}
