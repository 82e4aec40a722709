//! Records of ours as Avro: when they are written, and that whoever reads them with our commands sees no difference.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use serde_json::Value as Json;

use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::registry::{Mode, Registry};
use crate::support::wait;

const AVRO: &str = "[records]\nencoding = \"avro\"\n";

fn workflow() -> String {
    "id: paid\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: shape\n    type: transform\n    config: { output: \
     { kind: \"${{ event.type }}\", price: 1.5, none: null } }\n  - id: pause\n    type: delay\n    config: { for: 100ms }\n"
        .to_owned()
}

/// A record, read with the schema that it names, which must be the only one of its subject.
#[track_caller]
fn read(registry: &Registry, record: &OwnedMessage, schema: &str) -> Vec<(String, Value)> {
    let ids = registry.ids(&format!("{}-value", record.topic()));
    assert_eq!(ids.len(), 1, "TopicNameStrategy, registered once");
    let value = record.payload().unwrap();
    assert_eq!(value[..5], [&[0][..], &ids[0].to_be_bytes()].concat());
    let types: Vec<_> = record.headers().unwrap().iter().filter(|it| it.key == "content-type").collect();
    assert_eq!(types.iter().map(|it| it.value.unwrap()).collect::<Vec<_>>(), [b"application/avro"]);
    let text = std::fs::read_to_string(format!("{}/schemas/{schema}/v1.avsc", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let schema = Schema::parse_str(&text).unwrap();
    match GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &value[5..]).unwrap() {
        Value::Record(fields) => fields,
        other => panic!("{other:?}"),
    }
}

fn field(fields: &[(String, Value)], name: &str) -> Value {
    fields.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone()).unwrap()
}

fn json(output: std::process::Output) -> Json {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn records_in_avro_are_registered_written_and_read_by_our_commands() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let settings = format!("{}{AVRO}", registry.settings());
    let world = World::with(&broker, &[workflow()], &settings);
    let mut instance = world.instance("alone");
    let (executions, results, events) = (world.topic("executions"), world.topic("step-results"), 20);
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    world.wait_for(&executions, 2 * events);
    let mut statuses = Vec::new();
    for record in broker.committed(&executions) {
        let execution = read(&registry, &record, "execution");
        assert_eq!(field(&execution, "workflowId"), Value::String("paid".into()));
        let Value::Enum(_, status) = field(&execution, "status") else { panic!("{execution:?}") };
        statuses.push(status);
    }
    let count = |wanted: &str| statuses.iter().filter(|it| *it == wanted).count();
    assert_eq!((count("running"), count("completed")), (events, events));
    let steps: Vec<_> = broker.committed(&results).iter().map(|it| read(&registry, it, "step-result")).collect();
    assert_eq!(steps.len(), 2 * events);
    let shaped = steps.iter().find(|it| field(it, "stepId") == Value::String("shape".into())).unwrap();
    let output = Value::String(r#"{"kind":"a.x","none":null,"price":1.5}"#.into());
    assert_eq!(field(shaped, "output"), Value::Union(1, Box::new(output)));

    let listed = json(world.output("setup", &["get", "executions", "-o", "json"]));
    assert_eq!(listed.as_array().unwrap().len(), events);
    assert_eq!((&listed[0]["workflowId"], &listed[0]["status"]), (&"paid".into(), &"completed".into()));
    let told = json(world.output("setup", &["describe", "execution", listed[0]["id"].as_str().unwrap(), "-o", "json"]));
    let step = |number: usize| &told["steps"][number];
    assert_eq!((&step(0)["stepId"], &step(0)["output"]["price"]), (&"shape".into(), &1.5.into()), "{told}");
    assert_eq!((&step(1)["stepId"], &step(1)["truncated"]), (&"pause".into(), &Json::Null), "as in JSON: {told}");
    assert!(instance.is_alive());
}

#[test]
fn alerts_in_avro_are_read_by_commands_and_by_the_next_process() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let connector = "[connectors.gone]\nkind = \"http\"\nurl = \"http://127.0.0.1:1\"\nbreaker = { failureThreshold = 1, \
                     recoveryTimeoutMs = 86400000 }\n";
    let call = "id: call\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: call\n    type: http\n    config: { \
                connector: gone, path: / }\n";
    let settings = format!("{}{AVRO}{connector}", registry.settings());
    let world = World::with(&broker, &[call.to_owned()], &settings);
    let mut instance = world.instance("alone");
    let alerts = world.topic("alerts");
    send_events(&broker.producer(&[]), &world.source, 0..1, |_| Some("a.x"));
    let alert = wait::until("the breaker's alert", || {
        let all = broker.committed(&alerts);
        let mut read = all.iter().map(|it| read(&registry, it, "alert"));
        read.find(|it| field(it, "alert") == Value::String("breaker".into()))
    });
    assert_eq!(
        (field(&alert, "alert"), field(&alert, "state")),
        (Value::String("breaker".into()), Value::Enum(0, "raised".into()))
    );
    let told = json(world.output("setup", &["breaker", "ls", "-o", "json"]));
    assert_eq!(told[0]["instances"][0]["state"], "open", "{told}");
    // A registry that is away makes a command that cannot show everything say so.
    registry.answers(Mode::Status(503));
    let told = world.output("setup", &["breaker", "ls", "-o", "json"]);
    assert_eq!(told.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(complaint.contains("is Avro and cannot be read") && complaint.contains("answered 503"), "{complaint}");
    registry.answers(Mode::Up);
    // The next process takes back what the last one raised and took with it.
    instance.kill();
    let _next = world.instance("alone");
    wait::until("it is taken back", || {
        let states: Vec<_> =
            broker.committed(&alerts).iter().map(|it| field(&read(&registry, it, "alert"), "state")).collect();
        states.contains(&Value::Enum(1, "cleared".into())).then_some(())
    });
}

/// Waits until an instance says why it waits.
#[track_caller]
fn says(world: &World<'_>, instance: &str, text: &str) {
    wait::until(text, || world.log(instance).contains(text).then_some(()));
}

#[test]
fn who_may_not_register_waits_until_somebody_has() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let settings = format!("{}auto_register = false\n{AVRO}", registry.settings());
    let world = World::with(&broker, &[workflow()], &settings);
    registry.answers(Mode::Status(503));
    let _instance = world.instance("alone");
    says(&world, "alone", "503");
    registry.answers(Mode::Up);
    says(&world, "alone", "run `tidegate schemas register`");
    assert_eq!(registry.ids(&format!("{}-value", world.topic("executions"))), [0; 0]);

    let checked = world.output("setup", &["schemas", "check", "-o", "json"]);
    assert_eq!(checked.status.code(), Some(1));
    let told: Json = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((told.as_array().unwrap().len(), &told[0]["state"]), (3, &"missing".into()), "{told}");
    let told = json(world.output("setup", &["schemas", "register", "-o", "json"]));
    assert_eq!(told[1]["id"], registry.ids(&format!("{}-value", world.topic("executions")))[0], "{told}");
    json(world.output("setup", &["schemas", "register", "-o", "json"]));
    let told = json(world.output("setup", &["schemas", "check", "-o", "json"]));
    assert!(told.as_array().unwrap().iter().all(|it| it["state"] == "registered"), "{told}");

    send_events(&broker.producer(&[]), &world.source, 0..2, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 4);
}

#[test]
fn what_is_not_compatible_with_what_is_registered_is_refused() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let settings = format!("{}{AVRO}", registry.settings());
    let world = World::with(&broker, &[workflow()], &settings);
    let subject = format!("{}-value", world.topic("executions"));
    registry.keeps(&subject, r#""string""#);
    let _instance = world.instance("alone");
    says(&world, "alone", "the reader has other fields");
    let checked = world.output("setup", &["schemas", "check", "-o", "json"]);
    assert_eq!(checked.status.code(), Some(1));
    let told: Json = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&told[1]["subject"], &told[1]["state"]), (&subject.as_str().into(), &"incompatible".into()), "{told}");
    let registered = world.output("setup", &["schemas", "register"]);
    assert_eq!(registered.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&registered.stderr).into_owned();
    assert!(complaint.contains("1 of 3 schemas are registered") && complaint.contains("compatib"), "{complaint}");
    assert_eq!(registry.ids(&subject).len(), 1, "nothing was added");
}
