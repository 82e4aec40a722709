//! A lane that must let partitions go while its commits are late.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use tidegate::dev_broker::ApiKey;

use super::records::send_events;
use super::world::World;
use super::{MATCHING, assert_exactly_once, five_workflows, is_full};
use crate::support::clients::LOOK;
use crate::support::late_broker::LateBroker;
use crate::support::wait;

/// How late a commit is: a rebalance that begins within a second of it waits for it for 3 s, and in vain.
const LATE: Duration = Duration::from_millis(4_500);
/// How long the visitor stays, and how long it stays away.
const VISIT: Duration = Duration::from_secs(2);
/// How long they come and go if no revoke has timed out by then: whether one does is a matter of when it begins.
const LONGEST: Duration = Duration::from_secs(60);
/// What the log says of a lane that could not let partitions go in time.
const TIMED_OUT: &str = "revoke_timeout";
/// Events before each visit and after it.
const EVENTS: usize = 150;

/// How long visitors come and go.
fn fault_lasts() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 14 })
}

/// A member that takes partitions, commits nothing, and leaves.
fn visit(world: &World<'_>) {
    let visitor = world.broker.consumer(&world.group, &[("partition.assignment.strategy", "cooperative-sticky")]);
    visitor.subscribe(&[&world.source, &world.topic("journal")]).expect("subscribes");
    let joined = Instant::now();
    while joined.elapsed() < VISIT {
        drop(visitor.poll(LOOK));
    }
}

#[test]
fn members_that_come_and_go_while_commits_are_late_lose_and_repeat_nothing() {
    let Some(broker) = LateBroker::start() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(&broker, &five_workflows(&out));
    let names = ["one", "two"];
    let mut instances = names.map(|name| world.instance(name));
    let producer = broker.producer(&[]);
    let mut sent = 0;
    let mut send = || {
        send_events(&producer, &world.source, sent..sent + EVENTS, |_| Some("a.x"));
        sent += EVENTS;
        sent
    };
    send();
    world.wait_for_more_than(0);
    let mut frontiers = Vec::new();
    let started = Instant::now();
    for late in [ApiKey::EndTxn, ApiKey::TxnOffsetCommit].into_iter().cycle() {
        names.iter().for_each(|_| broker.delay_next(late, LATE));
        send();
        visit(&world);
        frontiers.push(world.frontier());
        let has_hit = names.iter().any(|name| world.log_lines_with(name, TIMED_OUT) > 0);
        if started.elapsed() >= if has_hit { fault_lasts() } else { LONGEST } {
            break;
        }
        send();
        wait::pass(VISIT);
    }
    broker.heal();
    assert_exactly_once(&world, &out, 0..sent);
    world.assert_no_gaps(&frontiers, &MATCHING.map(str::to_owned));
    let time_outs = names.map(|name| world.log_lines_with(name, TIMED_OUT));
    println!("{} visits, revokes that timed out: {time_outs:?}", frontiers.len());
    assert!(time_outs.iter().sum::<usize>() > 0);
    assert!(instances.iter_mut().all(|it| it.is_alive()));
}
