//! Records that Confluent's client has written, with the schemas in a real registry. On a real Kafka, where one was chosen.

use std::time::{Duration, Instant};

use rdkafka::message::Message as _;

use super::FORMAT;
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::{Kind, TestBroker};
use crate::support::real_registry::RealRegistry;
use crate::support::registry::{Mode, Registry};
use crate::support::{is_full, skip, wait};

/// How long the registry says nothing.
const AWAY: Duration = Duration::from_secs(10);
/// By when what waited goes on after it is back.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Kafka, a registry and Confluent's client. None if this run is not for real parts, which have to be fetched, or they cannot be had.
#[track_caller]
fn parts() -> Option<(TestBroker, RealRegistry)> {
    if Kind::chosen() != Kind::Kafka {
        return None;
    }
    let (broker, registry) = (TestBroker::own()?, RealRegistry::start()?);
    skip::part("confluent-python.sh", &["install"]).map_err(|why| skip::skipped(&why)).ok()?;
    Some((broker, registry))
}

/// Confluent's client writes so many orders, of a type of this name.
#[track_caller]
fn write(broker: &TestBroker, registry: &RealRegistry, topic: &str, count: usize, name: &str) {
    let url = registry.url();
    let arguments = ["confluent_avro.py", broker.bootstrap(), &url, topic, &count.to_string(), name];
    skip::part("confluent-python.sh", &arguments).expect("the records are written");
}

/// What Confluent's client reads.
#[track_caller]
fn read(broker: &TestBroker, registry: &RealRegistry, topic: &str, count: usize) -> Vec<serde_json::Value> {
    let url = registry.url();
    let arguments = ["confluent_avro_read.py", broker.bootstrap(), &url, topic, &count.to_string()];
    let lines = skip::part("confluent-python.sh", &arguments).expect("the records are read");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// In the order of their numbers.
fn by_number(mut records: Vec<serde_json::Value>) -> Vec<serde_json::Value> {
    records.sort_by_key(|value| value["id"].as_str().unwrap().parse::<usize>().unwrap());
    records
}

fn copies(out: &str) -> String {
    format!(
        "id: copies\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: com.example.OrderPaid\n    match: {{ data: {{ customer: {{ tier: \
         [GOLD] }}, amount: [{{ numeric: [\">\", 0] }}] }} }}\nsteps:\n  - id: out\n    type: produce\n    config: {{ topic: {out}, key: \"${{{{ \
         event.id }}}}\", value: \"${{{{ event.data }}}}\" }}\n"
    )
}

/// What becomes of a record, field by field.
fn expected(number: usize, count: usize) -> serde_json::Value {
    let mut value = serde_json::json!({
        "id": number.to_string(),
        "customer": {"name": "Zoë", "tier": "GOLD", "friends": [{"name": "Bob", "tier": "SILVER", "friends": []}]},
        "amount": number as f64 + 0.25,
        "exact": "-123456789012345678901234.567",
        "day": "2024-02-29",
        "clock": "23:59:58.123",
        "at": "2024-02-29T12:00:00.123456Z",
        "token": "936da01f-9abd-4d9d-80c7-02af85c822a8",
        "blob": "AP8=",
        "counts": {"a": 1, "b": -2},
        "ratio": if number % 2 == 1 { None } else { Some(0.5) },
    });
    if number >= count / 2 {
        value["channel"] = "store".into();
    }
    value
}

#[test]
fn values_that_steps_write_are_read_by_confluents_client_as_it_wrote_them() {
    let Some((broker, registry)) = parts() else { return };
    let (out, count) = (broker.topic("out", 1), 100);
    // The subject has the source's name, which is known once there is a world.
    let mut world = World::with(&broker, &[copies(&out)], &registry.settings());
    world.format = FORMAT.into();
    write(&broker, &registry, &world.source, count, "OrderPaid");
    let avro = format!("topic: {out}, format: avro, subject: com.example.OrderPaid");
    let copied = copies(&out).replace(&format!("topic: {out}"), &avro).replace("version: 1.0.0", "version: 1.1.0");
    world.apply(&copied);
    let _instance = world.instance("alone");
    world.wait_for(&out, count);
    let read = |topic: &str| by_number(read(&broker, &registry, topic, count));
    let (mut written, copied) = (read(&world.source), read(&out));
    for record in &mut written[..count / 2] {
        // They were written with the first version, which has no such field; it has a default in the newest.
        record["channel"] = "web".into();
    }
    assert_eq!(copied, written);
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
}

/// What is left of a record that Confluent's client has read, where ours leave out what says nothing.
fn without_defaults(mut record: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = record.as_object_mut() {
        let says_nothing = |value: &serde_json::Value| value.is_null() || *value == false;
        fields.retain(|_, value| !says_nothing(value));
        fields.values_mut().for_each(|value| *value = without_defaults(value.take()));
    }
    if let Some(items) = record.as_array_mut() {
        items.iter_mut().for_each(|item| *item = without_defaults(item.take()));
    }
    record
}

#[test]
fn our_records_are_read_by_confluents_client_from_a_registry_with_the_schemas_of_before() {
    let Some((broker, registry)) = parts() else { return };
    let settings = format!("{}[records]\nencoding = \"avro\"\n", registry.settings());
    let steps = "id: paid\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: shape\n    type: transform\n    \
                 config: { output: { price: 1.5, text: \"Zoë\" } }\n  - id: refuse\n    type: fail\n    config: { message: no }\n";
    let world = World::with(&broker, &[steps.to_owned()], &settings);
    let mut instance = world.instance("alone");
    let events = 50;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), events);
    let read = |topic: &str, count: usize| read(&broker, &registry, topic, count);
    let by_id = |mut records: Vec<serde_json::Value>| {
        records.sort_by_key(|it| it["id"].as_str().unwrap().to_owned());
        records.into_iter().map(without_defaults).collect::<Vec<_>>()
    };
    let listed = world.output("setup", &["get", "executions", "-o", "json"]);
    let ours: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let theirs = read(&world.topic("executions"), events);
    assert_eq!((theirs[0]["status"].as_str(), theirs[0]["workflowId"].as_str()), (Some("failed"), Some("paid")));
    assert_eq!(by_id(theirs), by_id(ours), "every field of every record");
    let steps = read(&world.topic("step-results"), 2 * events);
    let outputs = steps.iter().filter_map(|it| it["output"].as_str());
    assert_eq!(outputs.collect::<Vec<_>>(), vec![r#"{"price":1.5,"text":"Zoë"}"#; events]);
    // The next process finds what the first one has registered, and goes on.
    instance.kill();
    let next = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, events..2 * events, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 2 * events);
    assert_eq!(world.log_lines_with("alone", "records cannot be written as Avro"), 0);
    world.command("setup", &["schemas", "check"]);
    drop(next);
}

#[test]
fn records_of_confluents_client_are_read_field_by_field_and_wait_for_a_registry_that_hangs() {
    let Some((broker, registry)) = parts() else { return };
    let out = broker.topic("out", 1);
    let mut world = World::with(&broker, &[copies(&out)], &registry.settings());
    world.format = FORMAT.into();
    let count = 400;
    write(&broker, &registry, &world.source, count, "OrderPaid");
    registry.stops(true);
    let mut instance = world.instance("alone");
    wait::until("the registry is asked", || {
        world.metrics("alone").contains("tidegate_problem{kind=\"registry\"} 1").then_some(())
    });
    wait::pass(AWAY);
    assert_eq!(broker.committed(&out).len(), 0, "nothing is understood without its schema");
    registry.stops(false);
    let back = Instant::now();
    world.wait_for(&out, count);
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    let written = broker.committed(&out);
    let written = written.iter().map(|record| serde_json::from_slice(record.payload().unwrap()).unwrap());
    let written = by_number(written.collect());
    for (number, value) in written.iter().enumerate() {
        assert_eq!(*value, expected(number, count), "record {number}");
    }
    assert_eq!(written.len(), count);
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
    assert!(instance.is_alive());
}

#[test]
fn outages_of_a_real_registry_under_load_hold_up_what_needs_it_and_nothing_else() {
    let Some((broker, real)) = parts() else { return };
    let registry = Registry::before(&real.url());
    let (away, count, batch) = (Duration::from_secs(if is_full() { 60 } else { 4 }), 60, 50);
    let (out, other) = (broker.topic("out", 1), broker.topic("other", 6));
    let source = format!("[[sources]]\ntopic = \"{other}\"\nformat = \"cloudevents\"\nstart = \"earliest\"\n");
    let note = "id: other\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: note\n    type: log\n    config: { message: \
                seen, level: debug }\n";
    let any = copies(&out).replace("event: com.example.OrderPaid", "event: com.example.*");
    let mut world = World::with(&broker, &[any, note.to_owned()], &format!("{source}{}", registry.settings()));
    world.format = FORMAT.into();
    let mut instance = world.instance("alone");
    let (executions, producer) = (world.topic("executions"), broker.producer(&[]));
    let modes = [Mode::Status(500), Mode::Status(503), Mode::Status(429), Mode::Hangs, Mode::Nonsense, Mode::Refuses];
    let mut load = 0;
    for (number, mode) in modes.into_iter().enumerate() {
        registry.answers(mode);
        let began = Instant::now();
        let name = format!("Order{number}");
        write(&broker, &real, &world.source, count, &name);
        while began.elapsed() < away || load == 0 {
            send_events(&producer, &other, load..load + batch, |_| Some("a.x"));
            load += batch;
            world.wait_for(&executions, load + count * number);
        }
        assert_eq!(broker.committed(&out).len(), count * number, "{mode:?}: nothing is understood without its schema");
        registry.answers(Mode::Up);
        let back = Instant::now();
        world.wait_for(&out, count * (number + 1));
        println!("{mode:?}: {:?} away, back after {:?}, {load} others", began.elapsed(), back.elapsed());
        assert!(back.elapsed() < BACK_WITHIN, "{mode:?}: {:?}", back.elapsed());
    }
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
    assert_eq!(broker.committed(&executions).len(), load + count * modes.len(), "each once");
    assert_eq!(world.log_lines_with("alone", "starts again"), 0, "the lane had to start again");
    assert!(instance.is_alive());
}
