//! Consumer groups: who joins gets a share, who leaves or dies gives it back, and who comes later goes on from what was committed.

use std::process::{Command, Stdio};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};

use super::broker;
use crate::support::broker::TestBroker;
use crate::support::clients::{CALL, LOOK, deliver, read, send, unique, values};
use crate::support::{process, wait};

/// How many partitions a consumer has, after it was polled.
pub fn share(consumer: &BaseConsumer) -> usize {
    // Records and errors are of no interest here; polling drives the group.
    drop(consumer.poll(LOOK));
    consumer.assignment().expect("an assignment").count()
}

/// Polls consumers until each has its expected number of partitions.
#[track_caller]
pub fn await_shares(consumers: &[&BaseConsumer], expected: &[usize]) {
    wait::until(&format!("shares of {expected:?}"), || {
        let shares: Vec<_> = consumers.iter().map(|consumer| share(consumer)).collect();
        (shares == expected).then_some(())
    });
}

/// A member joins, a second one joins, that one leaves; then records flow, and a later member goes on behind what was committed.
#[track_caller]
fn check_life_of_a_group(strategy: &str) {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("group", 6);
    let group = unique(strategy);
    let join = || {
        let consumer = broker.consumer(&group, &[("partition.assignment.strategy", strategy)]);
        consumer.subscribe(&[&topic]).expect("subscribes");
        consumer
    };
    let first = join();
    await_shares(&[&first], &[6]);
    let second = join();
    await_shares(&[&first, &second], &[3, 3]);
    drop(second);
    await_shares(&[&first], &[6]);

    let producer = broker.producer(&[]);
    (0..60).for_each(|number| send(&producer, &topic, number % 6, "k", &number.to_string()));
    deliver(&producer);
    assert_eq!(read(&first, 60).len(), 60);
    first.commit_consumer_state(CommitMode::Sync).expect("commits");
    drop(first);
    (0..6).for_each(|partition| send(&producer, &topic, partition, "k", "new"));
    deliver(&producer);
    let later = join();
    assert_eq!(values(&read(&later, 6)), ["new"; 6]);
}

#[test]
fn a_group_of_the_range_strategy_lives() {
    check_life_of_a_group("range");
}

#[test]
fn a_group_of_the_cooperative_sticky_strategy_lives() {
    check_life_of_a_group("cooperative-sticky");
}

#[test]
fn partitions_that_a_cooperative_member_keeps_are_read_on_while_another_joins() {
    let broker = broker!();
    let topic = broker.topic("cooperative", 4);
    let group = unique("cooperative");
    let strategy = [("partition.assignment.strategy", "cooperative-sticky")];
    let first = broker.consumer(&group, &strategy);
    first.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&first], &[4]);
    let second = broker.consumer(&group, &strategy);
    second.subscribe(&[&topic]).expect("subscribes");
    wait::until("two partitions each, never fewer for the first", || {
        let kept = share(&first);
        assert!(kept >= 2, "the first member was left with {kept}");
        (kept == 2 && share(&second) == 2).then_some(())
    });
}

#[test]
fn a_group_reads_topics_that_come_later() {
    let broker = broker!();
    let prefix = unique("later");
    let consumer = broker.consumer(&prefix, &[("topic.metadata.refresh.interval.ms", "200")]);
    consumer.subscribe(&[&format!("^{prefix}.*")]).expect("subscribes to a pattern");
    let topic = broker.topic(&prefix, 3);
    await_shares(&[&consumer], &[3]);
    let producer = broker.producer(&[]);
    send(&producer, &topic, 2, "k", "v");
    deliver(&producer);
    assert_eq!(read(&consumer, 1)[0].topic(), topic);
}

/// Tells a child that it is a member: of which group, on which broker and topic.
const GROUP: &str = "TIDEGATE_TEST_MEMBER_GROUP";
const BOOTSTRAP: &str = "TIDEGATE_TEST_MEMBER_BOOTSTRAP";
const TOPIC: &str = "TIDEGATE_TEST_MEMBER_TOPIC";
const CHILD_TEST: &str = "conformance::groups::is_a_member_until_killed";

#[test]
fn a_member_that_was_killed_is_put_out_after_its_session_time_out() {
    let broker = broker!();
    let topic = broker.topic("killed-member", 2);
    let group = unique("killed-member");
    let survivor = broker.consumer(&group, &[]);
    survivor.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&survivor], &[2]);
    let mut command = Command::new(std::env::current_exe().expect("tests know themselves"));
    command.args([CHILD_TEST, "--exact", "--nocapture"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.env(GROUP, &group).env(TOPIC, &topic).env(BOOTSTRAP, broker.bootstrap());
    let mut member = process::spawn_tied(command).expect("the member starts");
    await_shares(&[&survivor], &[1]);
    process::kill(&mut member);
    await_shares(&[&survivor], &[2]);
}

/// Is the member that is killed; passes at once where there is none to be.
#[test]
fn is_a_member_until_killed() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(group), Some(topic), Some(bootstrap)) = (variable(GROUP), variable(TOPIC), variable(BOOTSTRAP)) else {
        return;
    };
    let mut config = crate::support::clients::config(&bootstrap);
    config.set("group.id", group).set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "200");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[&topic]).expect("subscribes");
    loop {
        drop(consumer.poll(LOOK));
    }
}

#[test]
fn groups_are_listed_and_described() {
    let broker = broker!();
    let topic = broker.topic("listed", 1);
    let group = unique("listed");
    let consumer = broker.consumer(&group, &[("client.id", "listed-client")]);
    consumer.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&consumer], &[1]);
    let list = consumer.fetch_group_list(None, CALL).expect("all groups");
    assert!(list.groups().iter().any(|it| it.name() == group), "{group} is among all groups");
    let list = consumer.fetch_group_list(Some(&group), CALL).expect("one group");
    let described = &list.groups()[0];
    assert_eq!((described.state(), described.protocol_type(), described.protocol()), ("Stable", "consumer", "range"));
    assert_eq!(described.members().len(), 1);
    assert_eq!(described.members()[0].client_id(), "listed-client");
}
