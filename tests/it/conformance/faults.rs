//! Faults that the embedded broker makes on purpose, and what clients make of them: nothing is lost, nothing comes twice. A real Kafka
//! cannot be told to fail, so these run on the embedded broker whatever was chosen.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::Producer as _;
use tidegate::dev_broker::{ApiKey, Fault};

use crate::support::broker::TestBroker;
use crate::support::clients::{CALL, committed_position, deliver, group_of_one, position, send, unique, values};
use crate::support::wait;

fn inject(broker: &TestBroker, api: ApiKey, fault: Fault) {
    broker.with_embedded(|broker| broker.inject(api, fault)).expect("an embedded broker in this process");
}

/// Makes every kind of fault in a row hit one kind of request of a transaction with records and offsets, and checks that it is there once.
#[track_caller]
fn check_transaction_survives(api: ApiKey) {
    let broker = TestBroker::embedded(|_| ());
    let (input, output, group) = (broker.topic("input", 1), broker.topic("output", 1), unique("group"));
    let member = group_of_one(&broker, &group, &input);
    let metadata = member.group_metadata().expect("a member");
    for fault in [Fault::LoseAnswer, Fault::Disconnect, Fault::Delay(Duration::from_millis(100))] {
        inject(&broker, api, fault);
    }
    let producer = broker.transactional(&unique("id"), &[]);
    for number in 0..6 {
        producer.begin_transaction().expect("begins");
        send(&producer, &output, 0, "k", &number.to_string());
        deliver(&producer);
        let offsets = position(&input, 0, number + 1, "");
        producer.send_offsets_to_transaction(&offsets, &metadata, CALL).expect("takes offsets");
        producer.commit_transaction(CALL).expect("commits");
    }
    assert_eq!(values(&broker.committed(&output)), ["0", "1", "2", "3", "4", "5"]);
    let reader = broker.consumer(&group, &[]);
    let answer = wait::until("a stable answer", || committed_position(&reader, &input, 0).ok());
    assert_eq!(answer.0, Offset::Offset(6));
}

#[test]
fn a_transaction_survives_faults_of_its_beginning() {
    check_transaction_survives(ApiKey::InitProducerId);
    check_transaction_survives(ApiKey::AddPartitionsToTxn);
}

#[test]
fn a_transaction_survives_faults_of_its_records() {
    check_transaction_survives(ApiKey::Produce);
}

#[test]
fn a_transaction_survives_faults_of_its_offsets() {
    check_transaction_survives(ApiKey::AddOffsetsToTxn);
    check_transaction_survives(ApiKey::TxnOffsetCommit);
}

#[test]
fn a_transaction_survives_faults_of_its_end() {
    check_transaction_survives(ApiKey::EndTxn);
}

#[test]
fn an_idempotent_producer_repeats_what_was_not_answered_without_a_duplicate() {
    let broker = TestBroker::embedded(|_| ());
    let topic = broker.topic("repeated", 1);
    let producer = broker.producer(&[("enable.idempotence", "true"), ("linger.ms", "0")]);
    let numbers: Vec<_> = (0..100).map(|it| it.to_string()).collect();
    for (index, number) in numbers.iter().enumerate() {
        if index % 20 == 10 {
            inject(&broker, ApiKey::Produce, Fault::LoseAnswer);
        }
        send(&producer, &topic, 0, "k", number);
    }
    producer.flush(CALL).expect("delivered");
    assert_eq!(values(&broker.committed(&topic)), numbers);
}

#[test]
fn a_delayed_answer_comes_late() {
    let broker = TestBroker::embedded(|_| ());
    let topic = broker.topic("delayed", 1);
    let consumer = broker.consumer(&unique("delayed"), &[]);
    consumer.fetch_metadata(Some(&topic), CALL).expect("connected");
    inject(&broker, ApiKey::ListOffsets, Fault::Delay(Duration::from_millis(400)));
    let started = Instant::now();
    consumer.fetch_watermarks(&topic, 0, CALL).expect("an answer");
    assert!(started.elapsed() >= Duration::from_millis(400), "it came after {:?}", started.elapsed());
}

#[test]
fn a_broker_that_behaves_like_kafka_makes_transactions_wait_but_loses_none() {
    let broker = TestBroker::embedded(|options| options.behave_like_kafka = true);
    let topic = broker.topic("waiting", 1);
    let producer = broker.transactional(&unique("waiting"), &[("linger.ms", "0")]);
    let numbers: Vec<_> = (0..10).map(|it| it.to_string()).collect();
    for number in &numbers {
        producer.begin_transaction().expect("begins");
        send(&producer, &topic, 0, "k", number);
        producer.commit_transaction(CALL).expect("commits");
    }
    wait::until("all of them", || (values(&broker.committed(&topic)) == numbers).then_some(()));
}
