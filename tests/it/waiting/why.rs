//! Operators who ask why an execution does not run.

use serde_json::Value as Json;

use super::{connector, two_calls};
use crate::exactly_once::records::{send_events, send_keyed_events};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Ledger, Reply};
use crate::support::wait;

/// A workflow of one step, for events of a type.
fn one_step(id: &str, event: &str, step: &str, config: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n  - id: hold\n    type: {step}\n    config: {config}\n"
    )
}

fn json(world: &World<'_>, arguments: &[&str]) -> Json {
    let output = world.output("operator", &[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// The execution of a workflow and a status, as it is described once `is_right` says so.
#[track_caller]
fn described(world: &World<'_>, workflow: &str, status: &str, is_right: impl Fn(&Json) -> bool) -> Json {
    let mut last = Json::Null;
    wait::until(&format!("{workflow} is described as {status}"), || {
        let listed = json(world, &["get", "executions"]);
        let found = listed.as_array()?.iter().find(|it| it["workflowId"] == workflow && it["status"] == status)?;
        last = json(world, &["describe", "execution", found["id"].as_str()?]);
        is_right(&last).then(|| last.clone())
    })
}

/// What the only thing that it waits for is.
fn waits(told: &Json) -> &Json {
    assert_eq!(told["waiting"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!((&told["journal"]["state"], told.get("mail")), (&"live".into(), None), "{told}");
    &told["waiting"][0]
}

/// Waits until the instance counts so many executions that wait for these.
#[track_caller]
fn counts(world: &World<'_>, expected: [(&str, u64); 7]) {
    let series = expected.map(|(reason, count)| format!("tidegate_executions_waiting{{reason=\"{reason}\"}} {count}"));
    wait::until("the metric says what they wait for", || {
        let metrics = world.metrics("alone");
        series.iter().all(|series| metrics.lines().any(|line| line == series)).then_some(())
    });
}

#[test]
fn an_execution_says_which_gate_it_waits_at() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(503));
    let pays = two_calls("pays", "target", &broker.topic("out", 1))
        .replace("config:\n  retry", "config:\n  ordering: key\n  retry");
    let workflows = [
        pays,
        one_step("later", "a.later", "delay", "{ for: 1h }"),
        one_step("asks", "a.asks", "approval", "{ timeout: 1h, message: \"ship ${{ event.id }}?\" }"),
        one_step("parent", "a.parent", "workflow", "{ id: later }"),
    ];
    let breaker = "breaker = { failureThreshold = 1, recoveryTimeoutMs = 600000 }";
    let world = World::with(&broker, &workflows, &connector("target", &ledger, breaker));
    let mut instance = world.instance("alone");
    let producer = broker.producer(&[]);
    send_keyed_events(&producer, &world.source, 0..2, 1);
    let kinds = ["a.later", "a.asks", "a.parent"];
    send_events(&producer, &world.source, 2..5, |number| Some(kinds[number - 2]));

    counts(
        &world,
        [
            ("timer", 2),
            ("connector", 1),
            ("approval", 1),
            ("workflow", 1),
            ("turn", 1),
            ("calling", 0),
            ("definition", 0),
        ],
    );

    // The alert is written beside the transactions.
    let is_open = |told: &Json| told["waiting"][0]["why"].as_str().is_some_and(|why| why.contains("is open until "));
    let parked = described(&world, "pays", "running", is_open);
    let told = waits(&parked);
    assert_eq!(
        (&told["step"], &told["type"], &told["reason"]),
        (&"charge".into(), &"http".into(), &"connector".into())
    );
    assert_eq!((&told["connector"], &told["attempts"]), (&"target".into(), &1.into()), "{told}");
    assert_eq!(told["breaker"]["instances"][0]["instance"], "alone");
    assert_eq!(told["lastFailure"]["class"], "retryable", "{told}");
    let queues = described(&world, "pays", "pending", |_| true);
    let told = waits(&queues);
    assert_eq!((&told["reason"], &told["before"]["running"]), (&"turn".into(), &1.into()), "{told}");
    let delayed = described(&world, "later", "running", |_| true);
    let told = waits(&delayed);
    assert!(told["why"].as_str().unwrap().starts_with("delay until 2") && told["until"].is_string(), "{told}");
    let asks = described(&world, "asks", "running", |_| true);
    let told = waits(&asks);
    assert_eq!((&told["reason"], &told["message"]), (&"approval".into(), &"ship 3?".into()), "{told}");
    let parent = described(&world, "parent", "running", |_| true);
    let child = waits(&parent)["execution"].as_str().unwrap().to_owned();
    assert_eq!(json(&world, &["describe", "execution", &child])["workflowId"], "later");

    world.command("operator", &["breaker", "open", "target", "--reason", "it moves", "--by", "ada"]);
    let held = described(&world, "pays", "running", |_| true);
    assert!(waits(&held)["why"].as_str().unwrap().contains("ada holds open until"), "{held}");
    world.command("operator", &["signal", asks["id"].as_str().unwrap(), "hold", "--decision", "approve"]);
    let ended = described(&world, "asks", "completed", |_| true);
    assert_eq!((&ended["journal"]["state"], ended.get("waiting")), (&"ended".into(), None), "{ended}");

    // It is told from the topics, whoever runs.
    instance.kill();
    let told = json(&world, &["describe", "execution", queues["id"].as_str().unwrap()]);
    assert_eq!(waits(&told)["why"], waits(&queues)["why"]);
    let nobody = world.output("operator", &["describe", "execution", "0001-00112233445566778899aabbccddeeff"]);
    assert!(nobody.status.code() == Some(1), "{}", String::from_utf8_lossy(&nobody.stderr));
}
