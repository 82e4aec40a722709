//! How what comes back ends: whoever waits for that hears it, however it is written, and nobody takes what is cancelled for a success.

use serde_json::{Value, json};

use super::project::{Failing, header, unresolved, workflow};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::Reply;
use crate::support::registry::Registry;
use crate::support::wait;

/// How long a call takes that is to be broken off.
const HANGS: std::time::Duration = std::time::Duration::from_secs(200);

#[test]
fn ends_that_are_told_in_avro_are_heard() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let settings = format!("{}[records]\nencoding = \"avro\"\n", registry.settings());
    let (failing, _instance) = Failing::with(&broker, 12, &settings);
    let plan = failing.plan(&[]);
    let (said, code) = failing.ask(&["replay", "apply", &plan, "--canary", "3"]);
    assert_eq!((said["broughtBack"].as_u64(), said["failedAgain"].as_u64(), code), (Some(3), Some(3), 1), "{said}");
    failing.notes(200);
    let plan = failing.plan(&[]);
    let (said, code) = failing.ask(&["replay", "apply", &plan, "--canary", "3", "--concurrency", "5"]);
    assert_eq!((said["broughtBack"].as_u64(), said["completed"].as_u64(), code), (Some(12), Some(12), 0), "{said}");
    let (said, _) = failing.ask(&["replay", "status", &plan]);
    assert_eq!((said["completed"].as_u64(), said["underWay"].as_u64()), (Some(12), Some(0)), "{said}");
}

#[test]
fn what_is_cancelled_has_not_come_back_well() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 12);
    let plan = failing.plan(&[]);
    failing.ledger.behave(|_, _| Reply { after: HANGS, ..Reply::now(200) });
    let before = failing.ledger.len();
    let mut applying = failing.world.start("applying", &["replay", "apply", &plan, "--canary", "3"]);
    wait::until("three are called again", || (failing.ledger.len() >= before + 3).then_some(()));
    let stopped = workflow("1.0.0", "/notes", &failing.out).replace("status: active", "status: stopped");
    failing.world.apply(&stopped);
    wait::until("the canary has ended", || (!applying.is_alive()).then_some(()));
    // The others would be cancelled without a call.
    let of_run = |run: &str| failing.letters().iter().filter(|letter| header(letter, "run") == run).count();
    assert_eq!((failing.ledger.len(), of_run("1"), of_run("2")), (before + 3, 9, 3), "nothing more comes back");
    // Whoever looks at it now is told why nothing would come of it.
    let out = failing.world.path("later.json");
    let (said, _) = failing.ask(&["replay", "plan", "--out", out.to_str().unwrap()]);
    assert_eq!(said["counts"]["planned"], 0);
    assert!(said["leftOut"][0]["reason"].as_str().unwrap().starts_with("pays is stopped, which cancels"), "{said}");
}

const PARENT: &str = "id: parent\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: call\n    type: workflow\n    config: { id: child, input: 1 }\n";

fn child(version: &str, output: &str) -> String {
    format!(
        "id: child\nversion: {version}\nstatus: active\ntriggers:\n  - event: never\nsteps:\n  - id: pause\n    type: delay\n    config: {{ for: 10ms }}\n\
         \x20 - id: more\n    type: transform\n    dependencies: [pause]\n    config: {{ output: \"${{{{ {output} }}}}\" }}\n"
    )
}

#[test]
fn what_is_left_of_a_sub_workflow_goes_when_its_parent_comes_back() {
    let Some(broker) = TestBroker::own() else { return };
    let world = World::with(&broker, &[PARENT.into(), child("1.0.0", "1 / 0")], "");
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..4, |_| Some("a.x"));
    world.wait_for(&world.topic("dead-letters"), 8);
    world.apply(&child("1.0.1", "2"));
    let applied = world.output("operator", &["replay", "apply", "--yes", "-o", "json"]);
    let said: Value = serde_json::from_slice(&applied.stdout).unwrap();
    assert_eq!((&said["broughtBack"], &said["completed"]), (&json!(4), &json!(4)), "{said}");
    assert!(unresolved(&world).is_empty(), "the parents' and the sub-workflows' are resolved");
}
