//! Circuit breakers over which an operator decides.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::{assert_completed, connector, two_calls};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, send};
use crate::support::ledger::{Ledger, Reply};
use crate::support::wait;

/// SIGTERM.
const TERM: i32 = 15;
/// What an override writes, as any tool could, that has ended long ago or cannot be read.
const EXPIRED: &str = r#"{"state":"open","reason":"a test","by":"ada","time":"2020-01-01T00:00:00.000Z","expires":"2020-01-01T01:00:00.000Z"}"#;
/// Long enough for a call that is not to be made to be seen.
const CALM: Duration = Duration::from_secs(1);

#[track_caller]
fn stands(world: &World<'_>, instances: &[&str], state: &str) {
    let series = format!("tidegate_circuit_breaker_state{{connector=\"target\",state=\"{state}\"}} 1");
    for name in instances {
        let what = format!("{name} shows that the breaker is {state}");
        wait::until(&what, || world.metrics(name).lines().any(|line| line == series).then_some(()));
    }
}

fn listed(world: &World<'_>) -> Json {
    let output = world.output("operator", &["breaker", "ls", "-o", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn an_operator_opens_a_breaker_and_closes_it_on_every_instance() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(200));
    let out = broker.topic("out", 6);
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &connector("target", &ledger, ""));
    let (control, executions, producer) = (world.topic("control"), world.topic("executions"), broker.producer(&[]));
    for (key, value) in [("breaker/target", EXPIRED), ("breaker/target", "{}"), ("breaker/nobody", EXPIRED)] {
        send(&producer, &control, 0, key, value);
    }
    deliver(&producer);

    // One that has ended, one that cannot be read, and one of somebody else's connector do nothing.
    let _one = world.instance("one");
    send_events(&producer, &world.source, 0..20, |_| Some("a.x"));
    world.wait_for(&executions, 40);
    assert_eq!(ledger.len(), 40);

    // One instance is there when the breaker is opened, the other one comes later.
    world.command("operator", &["breaker", "open", "target", "--reason", "it moves", "--by", "ada", "--for", "10m"]);
    stands(&world, &["one"], "forced-open");
    let two = world.instance("two");
    stands(&world, &["two"], "forced-open");
    send_events(&producer, &world.source, 20..60, |_| Some("a.x"));
    world.wait_for(&executions, 80);
    wait::pass(CALM);
    assert_eq!(ledger.len(), 40, "a target was called whose breaker is held open");
    let told = wait::until("both instances have said so", || {
        let told = listed(&world);
        (told[0]["instances"].as_array().map(Vec::len) == Some(2)).then_some(told)
    });
    let wanted = &told[0]["override"];
    assert_eq!((&told[0]["connector"], &wanted["state"]), (&"target".into(), &"open".into()), "{told}");
    assert_eq!((&wanted["reason"], &wanted["by"]), (&"it moves".into(), &"ada".into()), "{told}");
    assert!(wanted["until"].as_str() > wanted["since"].as_str(), "{told}");
    assert!(told[0]["instances"].as_array().unwrap().iter().all(|it| it["state"] == "open"), "{told}");

    // Failures do not open one that is held closed: more of them in a row than it takes otherwise.
    ledger.behave(|_, before| Reply::now(if before < 60 { 503 } else { 200 }));
    let released = Instant::now();
    world.command("operator", &["breaker", "close", "target", "--reason", "it has moved"]);
    wait::until("what was parked is called", || (ledger.len() > 40).then_some(()));
    assert!(released.elapsed() < Duration::from_secs(5), "it took {:?}", released.elapsed());
    world.wait_for(&executions, 120);
    stands(&world, &["one", "two"], "disabled");
    let went = |state: &str| ["one", "two"].map(|name| world.log_lines_with(name, &format!("\"to\":\"{state}\"")));
    assert_eq!((went("forced-open"), went("disabled"), went("open")), ([1, 1], [1, 1], [0, 0]));

    // One that ends by itself, and one that is ended: a call decides.
    world.command("operator", &["breaker", "open", "target", "--reason", "a moment", "--for", "3s"]);
    stands(&world, &["one", "two"], "half-open");
    send_events(&producer, &world.source, 60..65, |_| Some("a.x"));
    assert_completed(&world, "pays", 65);
    world.command("operator", &["breaker", "open", "target", "--reason", "for long"]);
    stands(&world, &["one", "two"], "forced-open");
    world.command("operator", &["breaker", "reset", "target"]);
    stands(&world, &["one", "two"], "half-open");
    assert!(listed(&world)[0]["override"].is_null());

    // One that has gone for good has no say any more.
    assert_eq!(listed(&world)[0]["instances"].as_array().map(Vec::len), Some(2));
    two.signal(TERM);
    wait::until("the one that has gone is not shown", || {
        let told = listed(&world);
        let left: Vec<_> = told[0]["instances"].as_array().unwrap().iter().map(|it| &it["instance"]).collect();
        (left == ["one"]).then_some(())
    });
}

#[test]
fn an_operator_is_told_what_would_be_right() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(200));
    let world = World::with(&broker, &[two_calls("pays", "target", "out")], &connector("target", &ledger, ""));
    let complains = |arguments: &[&str], code: i32, what: &str| {
        let output = world.output("operator", arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && told.contains(what), "{arguments:?}: {told}");
    };
    complains(&["breaker", "open", "billing", "--reason", "x"], 1, "has no [connectors.billing]; it has target");
    complains(&["breaker", "reset", "billing"], 1, "has no [connectors.billing]");
    complains(&["breaker", "open", "target"], 2, "--reason");
    complains(&["breaker", "open", "target", "--reason", " "], 2, "write 1 to 1024 bytes");
    complains(&["breaker", "close", "target", "--reason", "x", "--for", "366d"], 2, "up to 365d");
    complains(&["breaker", "close", "target", "--reason", "x", "--for", "0s"], 2, "above 0");
    let output = world.output("operator", &["breaker", "ls"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2, "{output:?}");
}
