//! Records that could not be understood, and can be after a fix.

use rdkafka::message::Message as _;
use serde_json::{Value, json};

use super::project::{header, unresolved};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, send};

fn simple(id: &str, event: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n  - id: shape\n    type: transform\n    config: {{ output: 1 }}\n  - id: pause\n    type: delay\n    dependencies: [shape]\n    config: {{ for: 10ms }}\n"
    )
}

#[test]
fn a_record_that_is_understood_after_a_fix_runs_every_workflow_that_matches() {
    let Some(broker) = TestBroker::own() else { return };
    let workflows = ["one", "two", "three"].map(|id| simple(id, if id == "three" { "b.y" } else { "a.x" }));
    let mut world = World::with(&broker, &workflows, "");
    let mut instance = world.instance("before");
    // They lack what makes them CloudEvents.
    send_events(&broker.producer(&[]), &world.source, 0..7, |_| None);
    let letters = world.topic("dead-letters");
    world.wait_for(&letters, 7);
    // Nothing has changed: they come back as dead letters that remember it.
    let apply = |world: &World<'_>, more: &[&str]| -> (Value, Option<i32>) {
        let back = world.output("operator", &[&["replay", "apply", "--yes", "-o", "json"], more].concat());
        let why = || panic!("{}", String::from_utf8_lossy(&back.stderr));
        (serde_json::from_slice(&back.stdout).unwrap_or_else(|_| why()), back.status.code())
    };
    let (said, code) = apply(&world, &["--canary", "2"]);
    assert_eq!(
        (said["broughtBack"].as_u64(), said["failedAgain"].as_u64(), code),
        (Some(2), Some(2), Some(1)),
        "{said}"
    );
    let (said, code) = apply(&world, &["--stop-above", "1"]);
    assert_eq!(
        (said["broughtBack"].as_u64(), said["failedAgain"].as_u64(), code),
        (Some(7), Some(7), Some(1)),
        "{said}"
    );
    let again = unresolved(&world);
    let came_back = |times: &str| again.iter().filter(|letter| header(letter, "returns") == times).count();
    assert_eq!((again.len(), came_back("1"), came_back("2")), (7, 5, 2));
    instance.kill();
    world.format = "format = \"json\"\ntype = \"const:a.x\"".into();
    let _instance = world.instance("after");
    let (said, code) = apply(&world, &["--reason", "decode", "--canary", "2", "--concurrency", "3"]);
    assert_eq!((said["broughtBack"].as_u64(), said["completed"].as_u64(), code), (Some(7), Some(7), Some(0)), "{said}");
    let executions = world.topic("executions");
    world.wait_for(&executions, 4 * 7);
    let mut said: Vec<String> = broker
        .committed(&executions)
        .iter()
        .map(|record| {
            let told: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            format!(
                "{} {} {}",
                told["event"]["offset"].as_i64().unwrap() * 6 + told["event"]["partition"].as_i64().unwrap(),
                told["workflowId"].as_str().unwrap(),
                told["status"].as_str().unwrap()
            )
        })
        .collect();
    said.sort();
    let mut expected: Vec<String> = (0..7)
        .flat_map(|number| {
            ["one completed", "one running", "two completed", "two running"].map(|it| format!("{number} {it}"))
        })
        .collect();
    expected.sort();
    assert_eq!(said, expected);
    let unresolved = world.output("operator", &["dlq", "ls", "-o", "json"]);
    assert_eq!(serde_json::from_slice::<Value>(&unresolved.stdout).unwrap(), json!([]));
}

#[test]
fn a_record_of_the_journal_that_is_put_aside_is_left_out_of_plans() {
    let Some(broker) = TestBroker::own() else { return };
    let world = World::with(&broker, &[simple("one", "a.x")], "");
    let _instance = world.instance("alone");
    let producer = broker.producer(&[]);
    send(&producer, &world.topic("journal"), 0, "no id", "no state");
    deliver(&producer);
    world.wait_for(&world.topic("dead-letters"), 1);
    let out = world.path("plan.json");
    let made = world.output("operator", &["replay", "plan", "-o", "json", "--out", out.to_str().unwrap()]);
    let plan: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!((&plan["counts"]["planned"], &plan["counts"]["leftOut"]), (&json!(0), &json!(1)), "{plan}");
    let why = plan["leftOut"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("it is a record of the journal that could not be understood"), "{plan}");
}
