//! Disks on which nothing more can be written. What is kept of circuit breakers there is a copy, and nobody waits for it.

use super::{connector, two_calls};
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Ledger, Reply};
use crate::support::process::FileLimit;
use crate::support::wait;

const FULL: FileLimit = FileLimit(0);
const EMPTY: FileLimit = FileLimit(u64::MAX);
/// Failures after which the breaker opens.
const FAILURES: usize = 3;

/// A breaker opens, for ten minutes, on a disk that is full from the start or from when the instance runs, and nothing else is held up. The
/// instance that comes after it does not know of the breaker: so the disk was full.
#[track_caller]
fn check(at_start: FileLimit) {
    let Some(broker) = TestBroker::own() else { return };
    let (down, up) = (Ledger::start(|_, _| Reply::now(200)), Ledger::start(|_, _| Reply::now(200)));
    let out = broker.topic("out", 6);
    let breaker = format!("concurrency = 1\nbreaker = {{ failureThreshold = {FAILURES}, recoveryTimeoutMs = 600000 }}");
    let settings = connector("down", &down, &breaker) + &connector("up", &up, "");
    let workflows = [two_calls("parked", "down", &out), two_calls("pays", "up", &out)];
    let world = World::with(&broker, &workflows, &settings);
    let (events, executions) = (20, world.topic("executions"));
    let mut instance = world.instance_as("alone", |command| at_start.prepare(command));
    // It has all that it has of its disk before it takes up the first event.
    send_events(&broker.producer(&[]), &world.source, 0..1, |_| Some("a.x"));
    world.wait_for(&executions, 4);
    FULL.of(instance.id());
    down.behave(|_, _| Reply::now(503));
    send_events(&broker.producer(&[]), &world.source, 1..events, |_| Some("a.x"));
    world.wait_for(&executions, 3 * events + 1);
    wait::until("the breaker opens", || (down.len() == 2 + FAILURES).then_some(()));
    assert!(instance.is_alive());

    instance.kill();
    down.behave(|_, _| Reply::now(200));
    instance = world.instance("alone");
    world.wait_for(&executions, 4 * events);
    let ended =
        broker.committed(&executions).iter().map(execution_name).filter(|it| it.ends_with(" completed")).count();
    assert_eq!((ended, down.len(), up.len()), (2 * events, FAILURES + 2 * events, 2 * events));
    assert!(instance.is_alive());
}

#[test]
fn a_disk_that_is_full_at_the_start_costs_the_copy_of_breakers_alone() {
    check(FULL);
}

#[test]
fn a_disk_that_becomes_full_costs_the_copy_of_breakers_alone() {
    check(EMPTY);
}
