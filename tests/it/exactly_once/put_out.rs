//! A member that its group puts out while it joins again. librdkafka learns of it from the answer to its join, and with cooperative
//! assignment goes on as the owner of what it had, under a new member id that the broker takes offsets from.

use std::time::Duration;

use bytes::BufMut as _;
use rdkafka::consumer::{CommitMode, Consumer as _};
use tidegate::dev_broker::ApiKey;

use super::records::{execution_name, send_to};
use super::world::{PARTITIONS, World};
use super::{MATCHING, five_workflows};
use crate::support::clients::{LOOK, position};
use crate::support::late_broker::LateBroker;
use crate::support::wait;
use crate::support::wire::ask;

/// How long the instance's batch stays open: until it has joined again. The client library would give the request up after 5 s.
const OPEN: Duration = Duration::from_millis(4_500);
/// For how long it does not hear that it was put out.
const UNHEARD: Duration = Duration::from_millis(1_500);
const LEAVE_GROUP: i16 = 13;

/// Puts a static member out of a group, as an administrator can (KIP-345).
#[track_caller]
fn put_out(broker: &LateBroker, group: &str, instance: &str) {
    let mut body = Vec::new();
    let mut put = |text: &str| {
        body.put_i16(i16::try_from(text.len()).expect("a short text"));
        body.put_slice(text.as_bytes());
    };
    put(group);
    let (members, member_id) = ([0, 0, 0, 1], [0, 0]);
    let instance = [&[0, u8::try_from(instance.len()).expect("a short name")], instance.as_bytes()].concat();
    body.extend([&members[..], &member_id, &instance].concat());
    let answer = ask(broker, LEAVE_GROUP, 3, &body);
    assert_eq!(answer.get(4..6), Some(&[0, 0][..]), "{answer:?}");
}

#[test]
fn a_member_that_was_put_out_commits_nothing_of_what_it_had() {
    let Some(broker) = LateBroker::start() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(&broker, &five_workflows(&out));
    let mut instance = world.instance("alone");
    let producer = broker.producer(&[]);
    send_to(&producer, &world.source, 0, 0);
    world.wait_for(&world.topic("executions"), MATCHING.len());

    broker.delay_next(ApiKey::AddPartitionsToTxn, OPEN);
    send_to(&producer, &world.source, 0, 1);
    broker.wait_until_late();
    // A member that is not static joins twice: the first time to be given an id. The third is the instance, which hears of it.
    [Duration::ZERO, Duration::ZERO, UNHEARD].into_iter().for_each(|late| broker.delay_next(ApiKey::JoinGroup, late));
    // It takes part in all that the instance has, so that both get half of it.
    let all = PARTITIONS as usize + world.broker.partitions(&world.topic("journal"));
    let visitor = world.broker.consumer(&world.group, &[("partition.assignment.strategy", "cooperative-sticky")]);
    visitor.subscribe(&[&world.source, &world.topic("journal")]).expect("subscribes");
    wait::until("the instance joins again", || {
        drop(visitor.poll(LOOK));
        (broker.late_left() == 0).then_some(())
    });
    put_out(&broker, &world.group, "alone-0");
    wait::until("the visitor has all partitions", || {
        drop(visitor.poll(LOOK));
        (visitor.assignment().expect("an assignment").count() == all).then_some(())
    });
    // As one that has done the second event.
    visitor.commit(&position(&world.source, 0, 2, ""), CommitMode::Sync).expect("commits");
    wait::until("the instance has its share again", || {
        drop(visitor.poll(LOOK));
        (visitor.assignment().expect("an assignment").count() == all / 2).then_some(())
    });
    drop(visitor);
    send_to(&producer, &world.source, 0, 2);
    let executions = world.topic("executions");
    world.wait_for(&executions, 2 * MATCHING.len());
    let done = [0, 2].map(|number| MATCHING.map(|id| format!("{number} {id} completed"))).concat();
    assert_eq!(world.check(&executions, &done, execution_name), Default::default());
    assert!(instance.is_alive());
}
