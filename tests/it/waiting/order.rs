//! Executions that wait for their turn: those of a key one by one, in order, whatever fails and whoever is killed; and no more at once than
//! a workflow lets.

use std::collections::HashMap;
use std::time::Duration;

use super::{connector, is_full, two_calls};
use crate::exactly_once::records::{execution_name, send_events, send_keyed_events};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Entry, Ledger, Reply};
use crate::support::wait;

/// The number of the event that a call is for.
fn number(entry: &Entry) -> usize {
    let body: serde_json::Value = serde_json::from_slice(&entry.body).unwrap();
    body["n"].as_u64().unwrap() as usize
}

fn held_back(config: &str, out: &str) -> String {
    two_calls("pays", "target", out).replace("config:\n  retryPolicy", &format!("config:\n  {config}\n  retryPolicy"))
}

#[track_caller]
fn assert_completed(world: &World<'_>, events: usize) {
    let executions = world.topic("executions");
    world.wait_for(&executions, 3 * events);
    let mut said: Vec<String> = world.broker.committed(&executions).iter().map(execution_name).collect();
    let of = |number: usize| ["completed", "pending", "running"].map(|status| format!("{number} pays {status}"));
    let mut expected: Vec<String> = (0..events).flat_map(of).collect();
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
}

#[test]
fn those_of_a_key_are_called_one_by_one_in_order() {
    let Some(broker) = TestBroker::own() else { return };
    let (keys, events, kills) = if is_full() { (1_000, 6_000, 10) } else { (50, 500, 2) };
    // Every third call fails once or twice.
    let mut attempts: HashMap<String, usize> = HashMap::new();
    let ledger = Ledger::start(move |entry, _| {
        let attempt = attempts.entry(entry.key.clone()).or_default();
        *attempt += 1;
        let sum: usize = entry.key.bytes().map(usize::from).sum();
        let status = if *attempt > sum % 3 { 200 } else { 503 };
        Reply { after: Duration::from_millis(3), ..Reply::now(status) }
    });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "concurrency = 64\nbreaker = { failureThreshold = 100 }");
    let world = World::with(&broker, &[held_back("ordering: key", &out)], &settings);
    let names = ["one", "two"];
    let mut instances = names.map(|name| world.instance(name));
    let producer = broker.producer(&[]);
    for part in 0..kills {
        send_keyed_events(&producer, &world.source, part * events / kills..(part + 1) * events / kills, keys);
        wait::pass(Duration::from_secs(3));
        instances[part % 2].kill();
        instances[part % 2] = world.instance(names[part % 2]);
    }
    assert_completed(&world, events);
    let mut last: HashMap<usize, usize> = HashMap::new();
    for entry in ledger.entries() {
        let number = number(&entry);
        let before = last.insert(number % keys, number);
        assert!(before.is_none_or(|before| before <= number), "{number} was called before {before:?} had ended");
    }
    assert!(ledger.most_under_way() > 1, "keys wait for each other");
}

#[test]
fn no_more_executions_run_at_once_than_may() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply { after: Duration::from_millis(30), ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let workflow = held_back("concurrency: 3", &out);
    let world = World::with(&broker, &[workflow], &connector("target", &ledger, "concurrency = 64"));
    let _instances = ["one", "two"].map(|name| world.instance(name));
    send_events(&broker.producer(&[]), &world.source, 0..60, |_| Some("a.x"));
    assert_completed(&world, 60);
    assert_eq!((ledger.most_under_way(), ledger.len()), (3, 120));
}

#[test]
fn an_execution_whose_turn_does_not_come_fails_and_says_so() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply { after: Duration::from_secs(20), ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let workflow = held_back("concurrency: 1\n  queueTimeout: 5s", &out);
    let world = World::with(&broker, &[workflow], &connector("target", &ledger, ""));
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..3, |_| Some("a.x"));
    world.wait_for(&world.topic("dead-letters"), 2);
    let said: Vec<String> = broker.committed(&world.topic("executions")).iter().map(execution_name).collect();
    assert_eq!(said.iter().filter(|it| it.ends_with("failed")).count(), 2, "{said:?}");
}
