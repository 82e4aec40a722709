//! Static members: who comes back under its name gets its partitions without a rebalance, and the older process is fenced.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::broker;
use super::groups::await_shares;
use crate::support::broker::TestBroker;
use crate::support::clients::{LOOK, config, unique};
use crate::support::wait;

/// Counts how often a member was given partitions or lost them.
#[derive(Default)]
struct Rebalances(AtomicUsize);

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A member with a name. Its session outlives the test: only its name can bring its partitions back.
fn join(broker: &TestBroker, group: &str, instance: &str, topic: &str) -> BaseConsumer<Rebalances> {
    let mut config = config(broker.bootstrap());
    config.set("group.id", group).set("group.instance.id", instance).set("enable.auto.commit", "false");
    config.set("session.timeout.ms", "60000").set("heartbeat.interval.ms", "200").set("max.poll.interval.ms", "60000");
    let consumer: BaseConsumer<Rebalances> = config.create_with_context(Rebalances::default()).expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribes");
    consumer
}

/// The numbers of a consumer's partitions, after it was polled; an error if the broker put it out.
fn partitions(consumer: &BaseConsumer<Rebalances>) -> Result<Vec<i32>, KafkaError> {
    consumer.poll(LOOK).transpose()?;
    let mut numbers: Vec<_> = consumer.assignment()?.elements().iter().map(|it| it.partition()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[track_caller]
fn await_two_each(first: &BaseConsumer<Rebalances>, second: &BaseConsumer<Rebalances>) -> (Vec<i32>, Vec<i32>) {
    wait::until("two partitions each", || {
        let both = (partitions(first).expect("a member"), partitions(second).expect("a member"));
        (both.0.len() == 2 && both.1.len() == 2).then_some(both)
    })
}

#[test]
fn a_static_member_that_comes_back_gets_its_partitions_without_a_rebalance() {
    let broker = broker!();
    let topic = broker.topic("static", 4);
    let group = unique("static");
    let stays = join(broker, &group, "stays", &topic);
    let leaves = join(broker, &group, "leaves", &topic);
    let before = await_two_each(&stays, &leaves);
    let rebalances = stays.context().0.load(Ordering::Relaxed);
    // A static member does not say goodbye when it is closed.
    drop(leaves);
    let returns = join(broker, &group, "leaves", &topic);
    assert_eq!(await_two_each(&stays, &returns), before, "everybody has what they had");
    assert_eq!(stays.context().0.load(Ordering::Relaxed), rebalances, "nobody else noticed");
}

#[test]
fn the_older_of_two_processes_with_one_name_is_fenced() {
    let broker = broker!();
    let topic = broker.topic("static-fenced", 2);
    let group = unique("static-fenced");
    let older = join(broker, &group, "one", &topic);
    wait::until("the older one has all", || (partitions(&older).expect("a member").len() == 2).then_some(()));
    let newer = join(broker, &group, "one", &topic);
    wait::until("the newer one has all", || (partitions(&newer).expect("a member").len() == 2).then_some(()));
    wait::until("the older one is told", || {
        drop(older.poll(LOOK));
        let (code, _) = older.client().fatal_error()?;
        assert_eq!(code, RDKafkaErrorCode::FencedInstanceId);
        Some(())
    });
    assert_eq!(partitions(&newer).expect("the newer one stays").len(), 2);
}

#[test]
fn a_static_member_is_put_out_after_its_session_time_out() {
    let broker = broker!();
    let topic = broker.topic("static-gone", 2);
    let group = unique("static-gone");
    let short = [("group.instance.id", "gone"), ("session.timeout.ms", "6000")];
    let gone = broker.consumer(&group, &short);
    gone.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&gone], &[2]);
    let started = std::time::Instant::now();
    drop(gone);
    let heir = broker.consumer(&group, &[]);
    heir.subscribe(&[&topic]).expect("subscribes");
    await_shares(&[&heir], &[2]);
    assert!(started.elapsed() > Duration::from_secs(4), "its partitions were given away after {:?}", started.elapsed());
}
