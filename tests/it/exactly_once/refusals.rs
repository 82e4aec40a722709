//! What the broker refuses to take: a dead letter of the execution that wrote it, and everything else goes on.

use rdkafka::message::{Headers as _, Message as _, OwnedMessage};

use super::records::{execution_name, send_data, send_events};
use super::verdict::Verdict;
use super::workflow;
use super::world::World;
use crate::support::broker::TestBroker;
use crate::support::clients::{admin_options, block_on};

/// What the log says of a lane that starts again.
const RESTARTED: &str = "the lane starts again";

/// A workflow `bad` whose `produce` step writes this value, under the event's key or none.
fn bad(topic: &str, key: Option<&str>, value: &str) -> String {
    let key = key.map_or_else(|| "partition: 0".into(), |key| format!("key: \"{key}\""));
    workflow("bad", "a.x", topic)
        .replace("key: \"${{ event.key }}\"", &key)
        .replace("\"${{ event.data }}\"", &format!("\"{value}\""))
}

/// Executions of `good` and `bad` for every event, where `bad` fails from a number on.
fn expected(events: usize, bad_from: usize) -> Vec<String> {
    let of = |number: usize| {
        let status = if number < bad_from { "completed" } else { "failed" };
        [format!("{number} good completed"), format!("{number} bad {status}")]
    };
    (0..events).flat_map(of).collect()
}

/// Waits for all executions and checks them, and that each failed one has its dead letter, with its cause and the event as it was.
#[track_caller]
fn check(world: &World<'_>, out: &str, events: usize, bad_from: usize, cause: &str) {
    world.wait_for(&world.topic("executions"), events * 2);
    let executions = world.check(&world.topic("executions"), &expected(events, bad_from), execution_name);
    assert_eq!(executions, Verdict::default());
    assert_eq!(world.broker.committed(out).len(), events, "what good workflows write");
    let letters = world.broker.committed(&world.topic("dead-letters"));
    let failed: Vec<String> = (bad_from..events).map(|number| number.to_string()).collect();
    let ids: Vec<String> = letters.iter().map(|letter| header(letter, "ce_id")).collect();
    assert_eq!(Verdict::of(&ids, &failed), Verdict::default());
    for letter in &letters {
        assert_eq!(
            ["reason", "error-class", "workflow", "step"].map(|it| dlq(letter, it)),
            ["refused", "config", "bad", "ship"]
        );
        assert!(dlq(letter, "error-message").contains(cause), "{}", dlq(letter, "error-message"));
        let data: serde_json::Value = serde_json::from_slice(letter.payload().unwrap()).unwrap();
        assert_eq!(data["n"].to_string(), header(letter, "ce_id"), "the event as it was");
    }
}

/// The last header of a name, as text.
fn header(message: &OwnedMessage, name: &str) -> String {
    let headers = message.headers().into_iter().flat_map(|it| it.iter());
    let value = headers.filter(|it| it.key == name).last().and_then(|it| it.value);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

fn dlq(letter: &OwnedMessage, name: &str) -> String {
    header(letter, &format!("tidegate-dlq-{name}"))
}

#[test]
fn a_null_key_into_a_compacted_topic_is_a_dead_letter() {
    let Some(broker) = TestBroker::shared() else { return };
    let (out, compacted) =
        (broker.topic("out", 6), broker.topic_with("compacted", 1, &[("cleanup.policy", "compact")]));
    let world = World::new(broker, &[workflow("good", "a.x", &out), bad(&compacted, None, "${{ event.data }}")]);
    let mut instance = world.instance("alone");
    let events = 60;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    check(&world, &out, events, 0, "");
    assert_eq!(broker.committed(&compacted).len(), 0);
    assert_eq!(world.log_lines_with("alone", RESTARTED), 0);
    assert!(instance.is_alive());
}

#[test]
fn what_an_execution_writes_because_a_record_of_it_was_refused_may_be_refused_too() {
    let Some(broker) = TestBroker::shared() else { return };
    let (out, compacted) =
        (broker.topic("out", 6), broker.topic_with("compacted", 1, &[("cleanup.policy", "compact")]));
    let first = "steps:\n  - id: first\n    type: produce\n    onError: continue\n    config: { topic: TOPIC, partition: 0, value: 1 }\n  \
                 - id: ship\n    dependencies: [first]\n    when: always() && steps.first.status == \"failed\"\n"
        .replace("TOPIC", &compacted);
    let bad = bad(&compacted, None, "${{ event.data }}").replace("steps:\n  - id: ship\n", &first);
    let world = World::new(broker, &[workflow("good", "a.x", &out), bad]);
    let mut instance = world.instance("alone");
    let events = 40;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    check(&world, &out, events, 0, "");
    assert_eq!(broker.committed(&compacted).len(), 0);
    let results = broker.committed(&world.topic("step-results"));
    let results = results.iter().map(|it| serde_json::from_slice::<serde_json::Value>(it.payload().unwrap()).unwrap());
    let failed = results.filter(|it| it["status"] == "failed");
    let mut failed: Vec<_> = failed.map(|it| [it["stepId"].to_string(), it["executionId"].to_string()]).collect();
    failed.sort();
    assert!(failed.windows(2).all(|pair| pair[0] != pair[1]), "each once");
    let of_first = failed.iter().filter(|it| it[0] == "\"first\"").count();
    assert_eq!((of_first, failed.len()), (events, 2 * events), "both steps of every execution");
    assert_eq!(world.log_lines_with("alone", RESTARTED), 0);
    assert!(instance.is_alive());
}

#[test]
fn a_topic_that_was_deleted_makes_dead_letters_of_what_is_written_to_it() {
    let Some(broker) = TestBroker::strict(&[]) else { return };
    let (out, gone) = (broker.topic("out", 6), broker.topic("gone", 1));
    let world = World::new(
        &broker,
        &[workflow("good", "a.x", &out), bad(&gone, Some("${{ event.key }}"), "${{ event.data }}")],
    );
    let mut instance = world.instance("alone");
    let producer = broker.producer(&[]);
    send_events(&producer, &world.source, 0..20, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 40);
    block_on(broker.admin().delete_topics(&[&gone], &admin_options())).expect("an answer")[0]
        .as_ref()
        .expect("deleted");
    send_events(&producer, &world.source, 20..40, |_| Some("a.x"));
    check(&world, &out, 40, 20, "nknown topic");
    // The client that knew the topic waits for it until the transaction's time is over; the next one is told at once.
    assert!(world.log_lines_with("alone", RESTARTED) <= 1);
    assert!(instance.is_alive());
}

#[test]
fn a_topic_without_the_right_to_write_makes_dead_letters_of_what_is_written_to_it() {
    let forbidden = "forbidden";
    let Some(broker) = TestBroker::strict(&[forbidden]) else { return };
    broker.create_topic(forbidden, 1, 1, &[]).expect("a topic is created");
    let out = broker.topic("out", 6);
    let value = "${{ event.data }}";
    let world = World::new(&broker, &[workflow("good", "a.x", &out), bad(forbidden, Some("${{ event.key }}"), value)]);
    let mut instance = world.instance("alone");
    let events = 30;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    check(&world, &out, events, 0, "Topic authorization failed");
    assert_eq!(broker.committed(forbidden).len(), 0);
    assert_eq!(world.log_lines_with("alone", RESTARTED), 0);
    assert!(instance.is_alive());
}

#[test]
fn results_larger_than_their_topics_take_are_dead_letters_or_truncated() {
    let Some(broker) = TestBroker::shared() else { return };
    let (out, large) = (broker.topic("out", 6), broker.topic("large", 1));
    let four_times = "${{ event.data.x }}${{ event.data.x }}${{ event.data.x }}${{ event.data.x }}";
    let shape = format!(
        "steps:\n  - id: shape\n    type: transform\n    config: {{ output: \"{four_times}\" }}\n  - id: ship\n    dependencies: [shape]\n"
    );
    let bad =
        bad(&large, Some("${{ event.key }}"), "${{ steps.shape.output }}").replace("steps:\n  - id: ship\n", &shape);
    let world = World::new(broker, &[workflow("good", "a.x", &out), bad]);
    let mut instance = world.instance("alone");
    let events = 10;
    // Random digits, which no compression makes fit.
    let mut random = tidegate::bench::workload::Random::new(7);
    let data = |number: usize| {
        let digits: String = (0..17_500).map(|_| format!("{:016x}", random.next_u64())).collect();
        format!("{{\"n\":{number},\"x\":\"{digits}\"}}")
    };
    send_data(&broker.producer(&[]), &world.source, 0..events, data);
    check(&world, &out, events, 0, "too large");
    assert_eq!(broker.committed(&large).len(), 0);
    let results = broker.committed(&world.topic("step-results"));
    let results = results.iter().map(|it| serde_json::from_slice::<serde_json::Value>(it.payload().unwrap()).unwrap());
    let shaped: Vec<_> = results.filter(|it| it["stepId"] == "shape").collect();
    assert_eq!(shaped.len(), events);
    for result in shaped {
        assert_eq!((&result["truncated"], &result["output"]), (&true.into(), &serde_json::Value::Null));
        assert_eq!(result["outputBytes"], 4 * 17_500 * 16 + 2);
        assert_eq!(result["outputSha256"].as_str().map(str::len), Some(64));
    }
    assert_eq!(world.log_lines_with("alone", RESTARTED), 0);
    assert!(instance.is_alive());
}
