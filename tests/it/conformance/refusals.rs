//! What a broker refuses, since a workflow that was tried out on a broker that takes it would fail on one that does not.

use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::broker;
use crate::support::broker::TestBroker;
use crate::support::clients::{CALL, LOOK, Settings, config, deliver, position, send, unique, values};
use crate::support::wait;

/// How a record ended: how its value begins, and its error.
type Delivery = (String, Option<RDKafkaErrorCode>);

/// Keeps how each record ended.
#[derive(Default)]
struct Deliveries(Mutex<Vec<Delivery>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, error.rdkafka_error_code()),
        };
        let value: String = String::from_utf8_lossy(message.payload().unwrap_or_default()).chars().take(10).collect();
        self.0.lock().expect("nobody panics").push((value, error));
    }
}

/// A producer whose deliveries are kept.
fn producer(broker: &TestBroker, settings: Settings) -> BaseProducer<Deliveries> {
    let mut config = config(broker.bootstrap());
    config.set("message.timeout.ms", "20000");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create_with_context(Deliveries::default()).expect("a producer")
}

/// How everything ended that was sent.
#[track_caller]
fn deliveries(producer: &BaseProducer<Deliveries>) -> Vec<Delivery> {
    producer.flush(CALL).expect("everything ends");
    std::mem::take(&mut *producer.context().0.lock().expect("nobody panics"))
}

#[test]
fn a_compacted_topic_takes_no_records_without_keys() {
    let broker = broker!();
    let topic = broker.topic_with("keyless", 1, &[("cleanup.policy", "compact")]);
    let producer = producer(broker, &[]);
    producer.send(BaseRecord::<str, str>::to(&topic).payload("keyless")).map_err(|it| it.0).expect("room");
    assert_eq!(deliveries(&producer), [("keyless".to_owned(), Some(RDKafkaErrorCode::InvalidRecord))]);
    producer.send(BaseRecord::to(&topic).key("k").payload("keyed")).map_err(|it| it.0).expect("room");
    assert_eq!(deliveries(&producer), [("keyed".to_owned(), None)]);
    assert_eq!(values(&broker.committed(&topic)), ["keyed"]);
}

#[test]
fn a_batch_larger_than_its_topic_allows_is_refused() {
    let broker = broker!();
    let topic = broker.topic_with("large", 1, &[("max.message.bytes", "2000")]);
    let producer = producer(broker, &[]);
    let large = "x".repeat(3_000);
    producer.send(BaseRecord::to(&topic).key("k").payload(&large)).map_err(|it| it.0).expect("room");
    assert_eq!(deliveries(&producer), [("x".repeat(10), Some(RDKafkaErrorCode::MessageSizeTooLarge))]);
    producer.send(BaseRecord::to(&topic).key("k").payload("small")).map_err(|it| it.0).expect("room");
    assert_eq!(deliveries(&producer), [("small".to_owned(), None)]);
    assert_eq!(values(&broker.committed(&topic)), ["small"]);
}

#[test]
fn a_batch_larger_than_the_default_is_refused() {
    let broker = broker!();
    let topic = broker.topic("large-default", 1);
    let producer = producer(broker, &[("message.max.bytes", "5000000")]);
    let large = "x".repeat(1_200_000);
    producer.send(BaseRecord::to(&topic).key("k").payload(&large)).map_err(|it| it.0).expect("room");
    assert_eq!(deliveries(&producer), [("x".repeat(10), Some(RDKafkaErrorCode::MessageSizeTooLarge))]);
}

#[test]
fn a_refused_record_dooms_its_transaction() {
    let broker = broker!();
    let (topic, id) = (broker.topic_with("doomed", 1, &[("max.message.bytes", "2000")]), unique("doomed"));
    let producer = broker.transactional(&id, &[]);
    producer.begin_transaction().expect("begins");
    send(&producer, &topic, 0, "k", &"x".repeat(3_000));
    deliver(&producer);
    let error = producer.commit_transaction(CALL).expect_err("a record is missing");
    let KafkaError::Transaction(error) = error else { panic!("{error:?}") };
    assert!(error.txn_requires_abort() && !error.is_fatal(), "{error:?}");
    producer.abort_transaction(CALL).expect("aborts");
    drop(producer);
    // The refused record has used up a number in its partition's sequence: only a producer that begins anew goes on.
    let next = broker.transactional(&id, &[]);
    next.begin_transaction().expect("begins");
    send(&next, &topic, 0, "k", "small");
    next.commit_transaction(CALL).expect("commits");
    wait::until("the small one", || (values(&broker.committed(&topic)) == ["small"]).then_some(()));
}

#[test]
fn a_session_time_out_below_six_seconds_is_refused() {
    let broker = broker!();
    let topic = broker.topic("session", 1);
    let settings = [("session.timeout.ms", "5000"), ("heartbeat.interval.ms", "1000")];
    let consumer = broker.consumer(&unique("session"), &settings);
    consumer.subscribe(&[&topic]).expect("subscribes");
    let error = wait::until("a refusal", || consumer.poll(LOOK)?.err());
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::InvalidSessionTimeout), "{error}");
}

#[test]
fn a_transaction_time_out_over_fifteen_minutes_is_refused() {
    let broker = broker!();
    let id = unique("transaction-time-out");
    let producer = broker.producer(&[("transactional.id", &id), ("transaction.timeout.ms", "900001")]);
    let Err(KafkaError::Transaction(error)) = producer.init_transactions(CALL) else { panic!("it was taken") };
    assert_eq!(error.code(), RDKafkaErrorCode::InvalidTransactionTimeout);
    let longest = broker.producer(&[("transactional.id", &id), ("transaction.timeout.ms", "900000")]);
    longest.init_transactions(CALL).expect("15 minutes are taken");
}

#[test]
fn a_transaction_with_too_much_metadata_must_be_aborted() {
    let broker = broker!();
    let topic = broker.topic("transaction-metadata", 1);
    let consumer = broker.consumer(&unique("transaction-metadata"), &[]);
    consumer.subscribe(&[&topic]).expect("subscribes");
    super::groups::await_shares(&[&consumer], &[1]);
    let metadata = consumer.group_metadata().expect("a member");
    let producer = broker.transactional(&unique("transaction-metadata"), &[]);
    producer.begin_transaction().expect("begins");
    let largest = position(&topic, 0, 1, &"m".repeat(4_096));
    producer.send_offsets_to_transaction(&largest, &metadata, CALL).expect("4 096 bytes are taken");
    producer.commit_transaction(CALL).expect("commits");
    producer.begin_transaction().expect("begins");
    let larger = position(&topic, 0, 2, &"m".repeat(4_097));
    let refused = producer.send_offsets_to_transaction(&larger, &metadata, CALL);
    let Err(KafkaError::Transaction(error)) = refused else { panic!("it was taken: {refused:?}") };
    assert_eq!(error.code(), RDKafkaErrorCode::OffsetMetadataTooLarge);
    assert!(error.txn_requires_abort() && !error.is_fatal(), "{error:?}");
    producer.abort_transaction(CALL).expect("aborts");
}
