//! Records that could not be understood, and can be after a fix.

use rdkafka::message::Message as _;
use serde_json::{Value, json};

use super::project::{header, unresolved};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;

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
    let back = world.output("operator", &["replay", "apply", "--yes", "-o", "json"]);
    assert_eq!(back.status.code(), Some(0), "{}", String::from_utf8_lossy(&back.stderr));
    world.wait_for(&letters, 21);
    let again = unresolved(&world);
    assert!(again.len() == 7 && again.iter().all(|letter| header(letter, "returns") == "1"));
    instance.kill();
    world.format = "format = \"json\"\ntype = \"const:a.x\"".into();
    let _instance = world.instance("after");
    let back = world.output("operator", &["replay", "apply", "--yes", "--reason", "decode", "-o", "json"]);
    let said: Value = serde_json::from_slice(&back.stdout).unwrap();
    assert_eq!((said["broughtBack"].as_u64(), back.status.code()), (Some(7), Some(0)), "{said}");
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
