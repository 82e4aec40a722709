//! Disks on which nothing more can be written. What is kept of circuit breakers there is a copy, and nobody waits for it.

use rdkafka::Message;

use super::{connector, two_calls};
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::world::World;
use crate::support::admin;
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
    // Told on a topic, since an instance whose disk is full from the start cannot log where its metrics are.
    wait::until("the copy is missed", || (told(&world) == ["raised"]).then_some(()));
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

/// What alerts say of the copy of breakers, one after the other.
fn told(world: &World<'_>) -> Vec<String> {
    let alerts = world.broker.committed(&world.topic("alerts"));
    let alerts = alerts.iter().map(|it| serde_json::from_slice(it.payload().expect("a value")).expect("JSON"));
    let of_the_copy = alerts.filter(|it: &serde_json::Value| it["alert"] == "breaker-store");
    of_the_copy.filter_map(|it| it["state"].as_str().map(str::to_owned)).collect()
}

/// Whether the instance shows that breakers are kept on its disk, or that they are not.
fn shows_copy(world: &World<'_>, is_kept: bool) -> bool {
    let series = format!("tidegate_breaker_store_degraded {}", u8::from(!is_kept));
    world.metrics("alone").lines().any(|line| line == series)
}

#[test]
fn a_disk_that_has_room_again_has_the_copy_again() {
    let Some(broker) = TestBroker::own() else { return };
    let down = Ledger::start(|_, _| Reply::now(503));
    let out = broker.topic("out", 6);
    // It changes all the time, and each time is written.
    let breaker = "breaker = { failureThreshold = 3, recoveryTimeoutMs = 100 }";
    let world = World::with(&broker, &[two_calls("parked", "down", &out)], &connector("down", &down, breaker));
    let instance = world.instance_as("alone", |command| EMPTY.prepare(command));
    wait::until("the copy is there", || shows_copy(&world, true).then_some(()));
    FULL.of(instance.id());
    send_events(&broker.producer(&[]), &world.source, 0..20, |_| Some("a.x"));
    for is_kept in [false, true, false, true] {
        (if is_kept { EMPTY } else { FULL }).of(instance.id());
        wait::until("the copy is missed, or there again", || shows_copy(&world, is_kept).then_some(()));
        let ready = admin::get(&world.log("alone"), "/readyz");
        assert!(ready.contains("\"ready\":true") && ready.contains("\"breaker-store\"") != is_kept, "{ready}");
    }
    wait::until("all is told", || (told(&world) == ["raised", "cleared", "raised", "cleared"]).then_some(()));
}

#[test]
fn a_disk_that_is_full_at_the_start_costs_the_copy_of_breakers_alone() {
    check(FULL);
}

#[test]
fn a_disk_that_becomes_full_costs_the_copy_of_breakers_alone() {
    check(EMPTY);
}
