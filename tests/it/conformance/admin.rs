//! What an administrator does: create, describe, alter, grow and delete topics, delete records and groups.

use rdkafka::admin::{AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

use super::broker;
use super::groups::await_shares;
use crate::support::broker::TestBroker;
use crate::support::clients::{CALL, Settings, admin_options, block_on, deliver, position, send, unique, values};
use crate::support::{topic_id, wait};

/// The value of a topic's setting as the broker describes it.
fn setting(broker: &TestBroker, topic: &str, key: &str) -> Option<String> {
    let described = broker.admin();
    let answer = block_on(described.describe_configs(&[ResourceSpecifier::Topic(topic)], &admin_options()));
    let resource = answer.expect("an answer").remove(0).expect("a topic");
    resource.get(key).and_then(|entry| entry.value.clone())
}

/// How many partitions a topic has.
fn partitions(broker: &TestBroker, topic: &str) -> usize {
    let admin = broker.admin();
    let metadata = admin.inner().fetch_metadata(Some(topic), CALL).expect("metadata");
    metadata.topics()[0].partitions().len()
}

#[test]
fn a_topic_is_created_as_asked() {
    let broker = broker!();
    let topic = broker.topic_with("created", 3, &[("cleanup.policy", "compact"), ("retention.ms", "1000")]);
    assert_eq!(partitions(broker, &topic), 3);
    assert_eq!(setting(broker, &topic, "cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(setting(broker, &topic, "retention.ms").as_deref(), Some("1000"));
}

#[test]
fn settings_that_were_not_given_are_described_with_their_defaults() {
    let broker = broker!();
    let topic = broker.topic("defaults", 1);
    for (key, value) in [("cleanup.policy", "delete"), ("max.message.bytes", "1048588"), ("retention.ms", "604800000")]
    {
        assert_eq!(setting(broker, &topic, key).as_deref(), Some(value), "{key}");
    }
}

#[track_caller]
fn check_refused(name: &str, copies: i32, settings: Settings, expected: RDKafkaErrorCode) {
    let Some(broker) = TestBroker::shared() else { return };
    assert_eq!(broker.create_topic(name, 1, copies, settings), Err(expected), "of {name:?} with {settings:?}");
}

#[test]
fn a_topic_is_created_once() {
    let broker = broker!();
    check_refused(&broker.topic("twice", 1), 1, &[], RDKafkaErrorCode::TopicAlreadyExists);
}

#[test]
fn illegal_names_are_refused() {
    for name in ["a b", "ü", "..", "a/b", &"x".repeat(250)] {
        check_refused(name, 1, &[], RDKafkaErrorCode::InvalidTopic);
    }
}

#[test]
fn unknown_settings_and_bad_values_are_refused() {
    let bad = RDKafkaErrorCode::InvalidConfig;
    check_refused(&unique("settings"), 1, &[("no.such.setting", "1")], bad);
    check_refused(&unique("settings"), 1, &[("retention.ms", "soon")], bad);
    check_refused(&unique("settings"), 1, &[("cleanup.policy", "burn")], bad);
}

#[test]
fn more_copies_than_brokers_are_refused() {
    check_refused(&unique("copies"), 3, &[], RDKafkaErrorCode::InvalidReplicationFactor);
}

#[test]
fn a_topic_that_is_only_validated_is_not_created() {
    let broker = broker!();
    let name = unique("validated");
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    let options = admin_options().validate_only(true);
    let answers = block_on(broker.admin().create_topics(&[topic], &options)).expect("an answer");
    assert_eq!(answers, [Ok(name.clone())]);
    assert!(!is_listed(broker, &name));
}

/// Whether all metadata, which create nothing, name a topic.
fn is_listed(broker: &TestBroker, topic: &str) -> bool {
    let admin = broker.admin();
    let metadata = admin.inner().fetch_metadata(None, CALL).expect("metadata");
    metadata.topics().iter().any(|it| it.name() == topic)
}

#[test]
fn settings_of_a_topic_can_be_altered() {
    let broker = broker!();
    let topic = broker.topic("altered", 1);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "12345");
    let answer = block_on(broker.admin().alter_configs(&[change], &admin_options())).expect("an answer");
    assert!(answer[0].is_ok(), "{answer:?}");
    wait::until("the new value", || (setting(broker, &topic, "retention.ms")? == "12345").then_some(()));
}

#[test]
fn a_topic_can_get_more_partitions_and_no_fewer() {
    let broker = broker!();
    let topic = broker.topic("grown", 2);
    let grow = |count: usize| {
        let change = NewPartitions::new(&topic, count);
        let answer = block_on(broker.admin().create_partitions(&[change], &admin_options())).expect("an answer");
        answer.into_iter().next().expect("one answer per topic").map(drop).map_err(|(_, code)| code)
    };
    assert_eq!(grow(4), Ok(()));
    wait::until("four partitions", || (partitions(broker, &topic) == 4).then_some(()));
    let producer = broker.producer(&[]);
    send(&producer, &topic, 3, "k", "v");
    deliver(&producer);
    assert_eq!(broker.committed(&topic).iter().map(OwnedMessage::partition).collect::<Vec<_>>(), [3]);
    assert_eq!(grow(3), Err(RDKafkaErrorCode::InvalidPartitions));
}

#[test]
fn partitions_that_are_added_are_found_by_a_group() {
    let broker = broker!();
    let topic = broker.topic("grown-group", 1);
    let consumer = broker.consumer(&unique("grown"), &[("topic.metadata.refresh.interval.ms", "200")]);
    consumer.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&consumer], &[1]);
    let change = NewPartitions::new(&topic, 3);
    block_on(broker.admin().create_partitions(&[change], &admin_options())).expect("an answer");
    await_shares(&[&consumer], &[3]);
}

/// Deletes a topic, and returns the broker's answer.
fn delete(broker: &TestBroker, topic: &str) -> Result<(), RDKafkaErrorCode> {
    let answers = block_on(broker.admin().delete_topics(&[topic], &admin_options())).expect("an answer");
    answers.into_iter().next().expect("one answer per topic").map(drop).map_err(|(_, code)| code)
}

#[test]
fn a_deleted_topic_is_gone_with_its_records() {
    let broker = broker!();
    let topic = broker.topic("deleted", 1);
    let producer = broker.producer(&[]);
    send(&producer, &topic, 0, "k", "old");
    deliver(&producer);
    drop(producer);
    assert_eq!(delete(broker, &topic), Ok(()));
    wait::until("the topic is gone", || (!is_listed(broker, &topic)).then_some(()));
    assert_eq!(delete(broker, &topic), Err(RDKafkaErrorCode::UnknownTopicOrPartition));
}

#[test]
fn a_topic_that_is_created_again_is_another_one() {
    let broker = broker!();
    let topic = broker.topic("again", 1);
    let before = topic_id::of(broker, &topic).expect("an id");
    let producer = broker.producer(&[]);
    send(&producer, &topic, 0, "k", "old");
    deliver(&producer);
    drop(producer);
    delete(broker, &topic).expect("deleted");
    wait::until("it can be created", || broker.create_topic(&topic, 1, 1, &[]).ok());
    let after = wait::until("its new id", || topic_id::of(broker, &topic));
    assert_ne!(before, after);
    let producer = broker.producer(&[]);
    send(&producer, &topic, 0, "k", "new");
    deliver(&producer);
    let messages = broker.committed(&topic);
    assert_eq!((values(&messages), messages[0].offset()), (vec!["new".to_owned()], 0));
}

#[test]
fn records_can_be_deleted_up_to_an_offset() {
    let broker = broker!();
    let topic = broker.topic("truncated", 1);
    let producer = broker.producer(&[]);
    (0..20).for_each(|number| send(&producer, &topic, 0, "k", &number.to_string()));
    deliver(&producer);
    let delete = |offset: i64| {
        let answer = block_on(broker.admin().delete_records(&position(&topic, 0, offset, ""), &admin_options()));
        let list: TopicPartitionList = answer.expect("an answer");
        let element = list.find_partition(&topic, 0).expect("the partition");
        element.error().map(|()| element.offset()).map_err(|error| error.rdkafka_error_code())
    };
    assert_eq!(delete(10), Ok(Offset::Offset(10)));
    let consumer: BaseConsumer = broker.consumer(&unique("truncated"), &[]);
    assert_eq!(consumer.fetch_watermarks(&topic, 0, CALL).expect("watermarks"), (10, 20));
    assert_eq!(values(&broker.committed(&topic)), (10..20).map(|it| it.to_string()).collect::<Vec<_>>());
    assert_eq!(delete(21), Err(Some(RDKafkaErrorCode::OffsetOutOfRange)));
}

#[test]
fn an_empty_group_can_be_deleted_and_no_other() {
    let broker = broker!();
    let topic = broker.topic("group-deleted", 1);
    let group = unique("group-deleted");
    let delete = || {
        let admin: rdkafka::admin::AdminClient<DefaultClientContext> = broker.admin();
        let options: AdminOptions = admin_options();
        let answer = block_on(admin.delete_groups(&[&group], &options)).expect("an answer");
        answer.into_iter().next().expect("one answer per group").map(drop).map_err(|(_, code)| code)
    };
    let consumer = broker.consumer(&group, &[]);
    consumer.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&consumer], &[1]);
    assert_eq!(delete(), Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(consumer);
    wait::until("the group is empty", || delete().ok());
    assert_eq!(delete(), Err(RDKafkaErrorCode::GroupIdNotFound));
}
