//! Calls are made once where nothing goes wrong, and again with the same key where something does.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::message::Message as _;

use super::{assert_completed, by_key, connector, is_full, two_calls};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Entry, Ledger, Reply};
use crate::support::wait;

/// How many calls an instance has under way at once, at most.
const CONCURRENCY: usize = 64;
/// Between two kills.
const KILL_EVERY: Duration = Duration::from_secs(2);

/// Checks that every step of every execution was called, each under a key of its own, and repeats with the same body. Returns how many
/// calls were repeats.
#[track_caller]
fn assert_called(ledger: &Ledger, steps: usize) -> usize {
    let entries = ledger.entries();
    let by_key = by_key(&entries);
    assert_eq!(by_key.len(), steps, "every step of every execution has a key of its own");
    for (key, calls) in &by_key {
        let first = &calls[0];
        let is_same = |it: &Entry| it.path == first.path && it.body == first.body && it.trace == first.trace;
        assert!(calls.iter().all(is_same), "{key}: {calls:?}");
    }
    entries.len() - steps
}

#[test]
fn without_faults_every_step_is_called_once() {
    let Some(broker) = TestBroker::own() else { return };
    let events = if is_full() { 20_000 } else { 1_000 };
    let ledger = Ledger::start(|_, _| Reply { after: Duration::from_millis(5), ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, &format!("concurrency = {CONCURRENCY}"));
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instances = ["one", "two"].map(|name| world.instance(name));
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    assert_completed(&world, "pays", events);
    assert_eq!(assert_called(&ledger, 2 * events), 0, "calls were repeated");
    assert_eq!(broker.committed(&out).len(), events);
    assert!(ledger.most_under_way() > 1, "calls wait for each other");
    // No event has a trace context: each call is a step of its own in a trace that is called as its execution is.
    let parents: BTreeSet<String> = ledger.entries().into_iter().map(|it| it.trace).collect();
    let traces: BTreeSet<&str> = parents.iter().map(|parent| &parent[3..35]).collect();
    let executions = broker.committed(&world.topic("executions"));
    let ids: BTreeSet<&str> = executions.iter().map(|it| str::from_utf8(&it.key().unwrap()[5..]).unwrap()).collect();
    assert_eq!((parents.len(), traces), (2 * events, ids));
}

#[test]
fn instances_that_are_killed_lose_nothing_and_repeat_only_what_was_under_way() {
    let Some(broker) = TestBroker::own() else { return };
    let kills = if is_full() { 30 } else { 4 };
    let events = kills * 600;
    let ledger = Ledger::start(|_, _| Reply { after: Duration::from_millis(20), ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, &format!("concurrency = {CONCURRENCY}"));
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let names = ["one", "two"];
    let mut instances = names.map(|name| world.instance(name));
    let producer = broker.producer(&[]);
    for kill in 0..kills {
        send_events(&producer, &world.source, kill * 600..(kill + 1) * 600, |_| Some("a.x"));
        wait::pass(KILL_EVERY);
        instances[kill % 2].kill();
        instances[kill % 2] = world.instance(names[kill % 2]);
    }
    assert_completed(&world, "pays", events);
    let repeats = assert_called(&ledger, 2 * events);
    println!("{kills} kills, {repeats} of {} calls were repeats", 2 * events);
    // Every kill moves partitions twice at most: to the other instance, and back.
    assert!(repeats <= 3 * kills * 2 * CONCURRENCY, "{repeats} repeats");
    assert_eq!(broker.committed(&out).len(), events);
}

#[test]
fn a_redirect_is_part_of_its_call_where_it_is_followed() {
    let Some(broker) = TestBroker::own() else { return };
    let events = 20;
    let ledger = Ledger::start(|entry, _| match &*entry.path {
        "/base/charges" => Reply { location: Some("/moved"), ..Reply::now(307) },
        _ => Reply::now(200),
    });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "redirects = 1");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    assert_completed(&world, "pays", events);
    for calls in by_key(&ledger.entries()).values() {
        let paths: Vec<&str> = calls.iter().map(|it| &*it.path).collect();
        assert!(matches!(paths[..], ["/base/charges", "/moved"] | ["/base/notes"]), "{paths:?}");
        assert!(calls.iter().all(|it| it.body == calls[0].body));
    }
}
