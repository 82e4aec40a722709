//! What waits goes on elsewhere when its instance is gone: soon after it is stopped, and within the time-outs after it is killed. An
//! instance that stood still and was replaced does nothing more, and goes on by itself.

use std::time::{Duration, Instant};

use super::{by_key, connector, is_full, two_calls};
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Ledger, Reply};
use crate::support::wait;

/// SIGTERM, SIGSTOP and SIGCONT.
const TERM: i32 = 15;
const STOP: i32 = 19;
const CONT: i32 = 18;
/// How many executions wait.
const EVENTS: usize = 60;

/// Calls of an instance that are under way at once.
const AT_ONCE: usize = 4;

/// A breaker that opens while the target answers nobody for long, so that what waits does not use up its attempts.
const OPENS: u32 = 100;
/// One that does not before somebody stops the target's failing: whoever is measured is not to wait for it.
const STAYS_CLOSED: u32 = 10_000;

/// Executions that wait for a target which answers nobody yet, behind a breaker that opens after so many failures.
fn waiting<'a>(broker: &'a TestBroker, ledger: &Ledger, failures: u32) -> World<'a> {
    let out = broker.topic("out", 6);
    let limits = format!("concurrency = {AT_ONCE}\nbreaker = {{ failureThreshold = {failures} }}");
    let settings = connector("target", ledger, &limits);
    let workflow = two_calls("pays", "target", &out)
        .replace("baseDelayMs: 20, maxDelayMs: 500", "maxRetries: 100, baseDelayMs: 100, maxDelayMs: 200");
    World::with(broker, &[workflow], &settings)
}

fn completed(world: &World<'_>) -> usize {
    let executions = world.broker.committed(&world.topic("executions"));
    executions.iter().filter(|record| execution_name(record).ends_with("completed")).count()
}

/// Both instances hold partitions of the journal: each has called.
fn both_work(world: &World<'_>) {
    wait::until("both have called", || {
        let has_called = |name| world.metrics(name).contains("tidegate_step_attempts_total");
        let joined = |name| world.metrics(name).contains("tidegate_commits_total");
        ["one", "two"].into_iter().all(|name| joined(name) || has_called(name)).then_some(())
    });
}

#[track_caller]
fn check_takeover(end: impl FnOnce(&mut crate::exactly_once::world::Instance), within: Duration) {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(503));
    let world = waiting(&broker, &ledger, STAYS_CLOSED);
    let mut instances = ["one", "two"].map(|name| world.instance(name));
    send_events(&broker.producer(&[]), &world.source, 0..EVENTS, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), EVENTS);
    both_work(&world);
    ledger.behave(|_, _| Reply::now(503));
    let started = Instant::now();
    end(&mut instances[0]);
    ledger.behave(|_, _| Reply::now(200));
    wait::within(
        within + Duration::from_secs(60),
        Duration::from_millis(50),
        || "all complete",
        || (completed(&world) >= EVENTS).then_some(()),
    );
    let took = started.elapsed();
    println!("all had completed after {took:?}");
    assert!(took < within, "after {took:?}");
    assert_eq!(completed(&world), EVENTS);
    for (key, calls) in by_key(&ledger.entries()) {
        let first = &calls[0];
        assert!(calls.iter().all(|call| call.body == first.body && call.trace == first.trace), "{key}");
    }
}

#[test]
fn what_waits_goes_on_soon_after_its_instance_was_stopped() {
    // Beside other tests less than the session time-out, after which it would go on anyway.
    check_takeover(|instance| instance.signal(TERM), Duration::from_secs(if is_full() { 2 } else { 13 }));
}

#[test]
fn what_waits_goes_on_within_the_time_outs_after_its_instance_was_killed() {
    // The session time-out, which begins with the last heartbeat, is longer than those of its transactions. Other tests may hold it up.
    check_takeover(|instance| instance.kill(), Duration::from_secs(if is_full() { 15 + 10 + 5 } else { 15 + 10 + 15 }));
}

#[test]
fn an_instance_that_stood_still_and_was_replaced_calls_nobody_and_goes_on_by_itself() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(503));
    let world = waiting(&broker, &ledger, OPENS);
    let instances = ["one", "two"].map(|name| world.instance(name));
    send_events(&broker.producer(&[]), &world.source, 0..EVENTS, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), EVENTS);
    both_work(&world);
    instances[0].signal(STOP);
    // Beyond the session time-out, in which the other takes over.
    wait::pass(Duration::from_secs(22));
    ledger.behave(|_, _| Reply::now(200));
    wait::within(
        Duration::from_secs(60),
        Duration::from_millis(50),
        || "the other completes all",
        || (completed(&world) >= EVENTS).then_some(()),
    );
    let calls = ledger.len();
    instances[0].signal(CONT);
    wait::pass(Duration::from_secs(6));
    // What it had under way when it was stopped may still arrive; nothing is started.
    let late = ledger.len() - calls;
    assert!(late <= AT_ONCE, "{late} calls of an instance that was replaced");
    assert_eq!(completed(&world), EVENTS, "it committed something");
    let restarts = |name| world.log_lines_with(name, "the lane starts again from its committed offsets");
    wait::until("it starts again by itself", || (restarts("one") > 0).then_some(()));
    send_events(&broker.producer(&[]), &world.source, EVENTS..2 * EVENTS, |_| Some("a.x"));
    wait::within(
        Duration::from_secs(60),
        Duration::from_millis(100),
        || "all complete",
        || (completed(&world) >= 2 * EVENTS).then_some(()),
    );
}
