//! Values that produce steps write with the newest schema of a subject.

use std::time::Duration;

use rdkafka::message::{Headers as _, Message as _};

use crate::exactly_once::records::send_data;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::registry::{Mode, Registry};
use crate::support::wait;

const PAID: &str = r#"{"type":"record","name":"Paid","namespace":"com.example","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"channel","type":"string","default":"web"}]}"#;

fn workflow(topic: &str, subject: &str, version: &str) -> String {
    format!(
        "id: paid\nversion: {version}\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: out\n    type: produce\n    config: {{ topic: \
         {topic}, key: \"${{{{ event.id }}}}\", format: avro, {subject} value: {{ id: \"${{{{ event.id }}}}\", amount: \"${{{{ event.data.amount \
         }}}}\" }} }}\n"
    )
}

/// How long a registry is away when an instance starts.
const AWAY: Duration = Duration::from_secs(6);

/// The id and the amount of a record: a decimal with two digits behind the point, of one or two bytes.
fn paid(value: &[u8], schema: u32) -> (String, i16) {
    assert_eq!(value[..5], [&[0][..], &schema.to_be_bytes()].concat());
    let id_length = usize::from(value[5] / 2);
    let id = String::from_utf8(value[6..6 + id_length].to_vec()).unwrap();
    let rest = &value[6 + id_length..];
    let amount = match rest[0] / 2 {
        1 => i16::from(rest[1].cast_signed()),
        2 => i16::from_be_bytes([rest[1], rest[2]]),
        other => panic!("{other} bytes"),
    };
    assert_eq!(&rest[1 + usize::from(rest[0] / 2)..], b"\x06web", "the default");
    (id, amount)
}

#[test]
fn a_value_is_written_with_the_schema_of_its_topic_and_one_that_does_not_fit_is_a_dead_letter() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let out = broker.topic("out", 1);
    let schema = registry.has(&format!("{out}-value"), PAID);
    let world = World::with(&broker, &[workflow(&out, "", "1.0.0")], &registry.settings());
    let _instance = world.instance("alone");
    let data =
        |number| format!("{{\"amount\":{}}}", if number == 3 { "1.005".to_owned() } else { format!("{number}.25") });
    send_data(&broker.producer(&[]), &world.source, 0..10, data);
    world.wait_for(&out, 9);
    world.wait_for(&world.topic("dead-letters"), 1);
    let records = broker.committed(&out);
    let mut written: Vec<(String, i16)> = records.iter().map(|it| paid(it.payload().unwrap(), schema)).collect();
    written.sort_by_key(|(id, _)| id.parse::<i16>().unwrap());
    let expected = (0..10_i16).filter(|number| *number != 3).map(|number| (number.to_string(), number * 100 + 25));
    assert_eq!(written, expected.collect::<Vec<_>>());
    let types = records.iter().map(|record| record.headers().unwrap().iter().find(|it| it.key == "content-type"));
    assert!(types.into_iter().all(|it| it.unwrap().value == Some(b"application/avro")));
    let letter = &broker.committed(&world.topic("dead-letters"))[0];
    let header = |name: &str| {
        let found = letter.headers().unwrap().iter().find(|it| it.key == name).and_then(|it| it.value);
        String::from_utf8(found.unwrap().to_vec()).unwrap()
    };
    assert_eq!(header("tidegate-dlq-error-class"), "permanent");
    let message = header("tidegate-dlq-error-message");
    assert!(message.contains("1.005 has more than the 2 digits behind the point of its type, in /amount"), "{message}");
    assert!(message.contains(&format!("{out}-value with id {schema}")), "{message}");
}

#[test]
fn a_definition_waits_for_the_schemas_of_its_subjects_and_what_ran_before_goes_on() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let (out, later) = (broker.topic("out", 1), broker.topic("later", 1));
    let schema = registry.has("com.example.Paid", PAID);
    let subject = "subject: com.example.Paid,";
    registry.answers(Mode::Status(503));
    let world = World::with(&broker, &[workflow(&out, subject, "1.0.0")], &registry.settings());
    let _instance = world.instance("alone");
    let producer = broker.producer(&[]);
    let data = |_| "{\"amount\":1}".to_owned();
    send_data(&producer, &world.source, 0..5, data);
    wait::until("it waits", || world.log("alone").contains("a definition waits for the schema registry").then_some(()));
    // Far longer than a lane takes to read what there is: whoever did not wait would have passed over the events.
    wait::pass(AWAY);
    assert_eq!(broker.committed(&world.topic("executions")).len(), 0, "nothing is matched before");
    registry.answers(Mode::Up);
    world.wait_for(&out, 5);

    registry.answers(Mode::Hangs);
    world.apply(&workflow(&later, "subject: other-value,", "2.0.0"));
    let waits = "a definition waits for the schema registry";
    wait::until("the next version waits", || (world.log_lines_with("alone", waits) == 2).then_some(()));
    send_data(&producer, &world.source, 5..10, data);
    world.wait_for(&out, 10);
    assert!(broker.committed(&out).iter().all(|it| paid(it.payload().unwrap(), schema).1 == 100));
    // What else is applied is taken up all the same.
    let note = "id: note\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: note\n    type: produce\n    config: { topic: \
                LATER, value: note }\n";
    world.apply(&note.replace("LATER", &later));
    let mut number = 10;
    let mut send_until = |what: &str, topic: &str| {
        wait::until(what, || {
            send_data(&producer, &world.source, number..number + 1, data);
            number += 1;
            broker.committed(topic).last().cloned()
        })
    };
    send_until("another workflow is in use", &later);
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);

    // Its subject is kept from us: that is an answer, and no reason to wait.
    registry.hides("other-value");
    registry.answers(Mode::Up);
    let letter = send_until("the next version is in use", &world.topic("dead-letters"));
    let header = |name: &str| {
        let found = letter.headers().unwrap().iter().find(|it| it.key == name).and_then(|it| it.value);
        String::from_utf8(found.unwrap().to_vec()).unwrap()
    };
    assert_eq!(header("tidegate-dlq-error-class"), "config");
    assert!(header("tidegate-dlq-error-message").contains("not for you"), "{}", header("tidegate-dlq-error-message"));
}

#[test]
fn the_newest_schema_is_used_once_it_is_registered_unless_it_is_none_to_write_with() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let out = broker.topic("out", 1);
    let subject = format!("{out}-value");
    let first = registry.has(&subject, PAID);
    let world = World::with(&broker, &[workflow(&out, "", "1.0.0")], &registry.settings());
    let _instance = world.instance("alone");
    let producer = broker.producer(&[]);
    let data = |_| "{\"amount\":1}".to_owned();
    let mut number = 0;
    let mut last = |what: &str, is_it: &dyn Fn(u32) -> bool| {
        wait::within(
            Duration::from_secs(100),
            Duration::from_millis(500),
            || what.to_owned(),
            || {
                send_data(&producer, &world.source, number..number + 1, data);
                number += 1;
                let records = broker.committed(&out);
                let value = records.last()?.payload().unwrap();
                is_it(u32::from_be_bytes(value[1..5].try_into().unwrap())).then_some(())
            },
        );
    };
    last("it is written with the first", &|id| id == first);
    // Nobody can write with this one: the one before stays.
    let endless = r#"{"type":"record","name":"Paid","namespace":"com.example","fields":[{"name":"a","type":"Paid"}]}"#;
    registry.has(&subject, endless);
    wait::within(
        Duration::from_secs(100),
        Duration::from_millis(500),
        || "it is told",
        || (world.log_lines_with("alone", "the newest schema of a subject cannot be used") > 0).then_some(()),
    );
    last("it is still written with the first", &|id| id == first);
    let third = registry.has(&subject, &PAID.replace("channel", "way"));
    last("it is written with the newest", &|id| id == third);
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
}

#[test]
fn doctor_tells_of_subjects_without_a_schema() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    registry.has("there-value", PAID);
    let there = workflow("out", "subject: there-value,", "1.0.0").replace("id: paid", "id: there");
    let world = World::with(&broker, &[workflow("out", "", "1.0.0"), there], &registry.settings());
    let findings = |output: std::process::Output| {
        let told: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let subjects = told.iter().map(|it| it["subject"].as_str().unwrap().to_owned());
        subjects.filter(|it| it.contains("value") || it == "registry").collect::<Vec<_>>()
    };
    assert_eq!(findings(world.output("setup", &["doctor", "-o", "json"])), ["out-value"]);
    registry.answers(Mode::Status(503));
    assert_eq!(findings(world.output("setup", &["doctor", "-o", "json"])), ["registry"]);
}

#[test]
fn subjects_need_a_registry() {
    let Some(broker) = TestBroker::own() else { return };
    let note = "id: note\nversion: 1.0.0\ntriggers:\n  - event: a.x\nsteps:\n  - id: note\n    type: log\n    config: { message: seen }\n";
    let world = World::new(&broker, &[note.to_owned()]);
    let path = world.path("paid.yaml");
    std::fs::write(&path, workflow("out", "", "1.0.0")).unwrap();
    let applied = world.output("setup", &["apply", path.to_str().unwrap()]);
    assert_eq!(applied.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert!(complaint.contains("the subject out-value needs a schema registry; add [registry]"), "{complaint}");
}
