//! Steps that wait for somebody, or for another workflow.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::Message as _;
use serde_json::Value;

use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::wait;

const APPROVAL: &str = "id: asks\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: review\n    type: approval\n    config: { message: \"event ${{ event.id }}?\", timeout: 1h }\n\
    \x20 - id: ship\n    type: transform\n    dependencies: [review]\n    when: steps.review.output.decision == 'approved'\n    config: { output: 1 }\n";

const PARENT: &str = "id: parent\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: call\n    type: workflow\n    config: { id: child, input: { twice: \"${{ event.data.n * 2 }}\" } }\n\
    \x20 - id: done\n    type: transform\n    dependencies: [call]\n    config: { output: \"${{ steps.call.output }}\" }\n";

const CHILD: &str = "id: child\nversion: 2.0.0\nstatus: active\ntriggers:\n  - event: never\nsteps:\n  - id: pause\n    type: delay\n    config: { for: 50ms }\n\
    \x20 - id: more\n    type: transform\n    dependencies: [pause]\n    config: { output: \"${{ event.data.twice + 1 }}\" }\n";

fn told(world: &World<'_>, topic: &str) -> Vec<Value> {
    let records = world.broker.committed(&world.topic(topic));
    records.iter().map(|record| serde_json::from_slice(record.payload().unwrap()).unwrap()).collect()
}

#[test]
fn an_approval_waits_for_a_decision() {
    let Some(broker) = TestBroker::own() else { return };
    let world = World::with(&broker, &[APPROVAL.into()], "");
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..2, |_| Some("a.x"));
    world.wait_for(&world.topic("step-results"), 2);
    let mut asked = told(&world, "step-results");
    asked.sort_by_key(|it| it["output"]["message"].to_string());
    let messages: Vec<&Value> = asked.iter().map(|it| &it["output"]["message"]).collect();
    assert_eq!(messages, ["event 0?", "event 1?"]);
    assert!(asked.iter().all(|it| it["status"] == "pending" && it["output"]["until"].is_string()));
    let ids: Vec<&str> = asked.iter().map(|it| it["executionId"].as_str().unwrap()).collect();
    let decide = |id: &str, decision: &str| {
        world.command(
            "operator",
            &["signal", id, "review", "--decision", decision, "--by", "ops", "--comment", "so be it"],
        );
    };
    decide(ids[0], "approve");
    decide(ids[1], "reject");
    world.wait_for(&world.topic("executions"), 4);
    let results = told(&world, "step-results");
    let of = |id: &str, step: &str| results.iter().rfind(|it| it["executionId"] == id && it["stepId"] == step).unwrap();
    let expected = serde_json::json!({ "decision": "approved", "by": "ops", "comment": "so be it" });
    assert_eq!(of(ids[0], "review")["output"], expected);
    assert_eq!(
        (&of(ids[0], "ship")["status"], &of(ids[1], "ship")["status"]),
        (&"completed".into(), &"skipped".into())
    );
    assert!(told(&world, "executions").iter().filter(|it| it["status"] == "completed").count() == 2);
}

#[test]
fn a_decision_is_taken_where_nothing_is_said_of_steps() {
    let Some(broker) = TestBroker::own() else { return };
    let world = World::with(&broker, &[APPROVAL.into()], "[records]\nstep_results = \"none\"\n");
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..1, |_| Some("a.x"));
    world.wait_for(&world.topic("step-results"), 1);
    let id = told(&world, "step-results")[0]["executionId"].as_str().unwrap().to_owned();
    world.command("operator", &["signal", &id, "review", "--decision", "approve", "--by", "ops"]);
    world.wait_for(&world.topic("executions"), 2);
    let said = told(&world, "step-results");
    let said: Vec<&str> = said.iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(said, ["pending", "completed"], "of the approval, and of no other step");
}

#[test]
fn sub_workflows_run_once_each_whoever_is_killed() {
    let Some(broker) = TestBroker::own() else { return };
    let world = World::with(&broker, &[PARENT.into(), CHILD.into()], "");
    let mut instances = ["one", "two"].map(|name| world.instance(name));
    let events = 300;
    let producer = broker.producer(&[]);
    for part in 0..2 {
        send_events(&producer, &world.source, part * events / 2..(part + 1) * events / 2, |_| Some("a.x"));
        wait::pass(Duration::from_secs(2));
        instances[part].kill();
        instances[part] = world.instance(["one", "two"][part]);
    }
    world.wait_for(&world.topic("executions"), 4 * events);
    let mut said: HashMap<(String, String), Vec<String>> = HashMap::new();
    for it in told(&world, "executions") {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        said.entry((text(&it["workflowId"]), text(&it["event"]["id"]))).or_default().push(text(&it["status"]));
    }
    assert_eq!(said.len(), 2 * events);
    assert!(said.values().all(|said| *said == ["running", "completed"]), "{said:?}");
    let done: Vec<Value> = told(&world, "step-results").into_iter().filter(|it| it["stepId"] == "done").collect();
    assert_eq!(done.len(), events);
    let mut outputs: Vec<i64> = done.iter().map(|it| it["output"]["output"].as_i64().unwrap()).collect();
    outputs.sort_unstable();
    assert_eq!(outputs, (0..events as i64).map(|n| 2 * n + 1).collect::<Vec<_>>());
}
