//! Records that Confluent's client has written, with the schemas in a real registry. On a real Kafka, where one was chosen.

use std::time::{Duration, Instant};

use rdkafka::message::Message as _;

use super::FORMAT;
use crate::exactly_once::world::World;
use crate::support::broker::{Kind, TestBroker};
use crate::support::real_registry::RealRegistry;
use crate::support::{skip, wait};

/// How long the registry says nothing.
const AWAY: Duration = Duration::from_secs(10);
/// By when what waited goes on after it is back.
const BACK_WITHIN: Duration = Duration::from_secs(10);

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
fn records_of_confluents_client_are_read_field_by_field_and_wait_for_a_registry_that_hangs() {
    // Parts that have to be fetched are for the run that wants real ones.
    if Kind::chosen() != Kind::Kafka {
        return;
    }
    let Some(broker) = TestBroker::own() else { return };
    let Some(registry) = RealRegistry::start() else { return };
    if let Err(why) = skip::part("confluent-python.sh", &["install"]) {
        return skip::skipped(&why);
    }
    let out = broker.topic("out", 1);
    let mut world = World::with(&broker, &[copies(&out)], &registry.settings());
    world.format = FORMAT.into();
    let count = 400;
    let write = ["confluent_avro.py", broker.bootstrap(), &registry.url(), &world.source, &count.to_string()];
    skip::part("confluent-python.sh", &write).expect("the records are written");
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
    let mut written: Vec<serde_json::Value> = broker
        .committed(&out)
        .iter()
        .map(|record| serde_json::from_slice(record.payload().unwrap()).unwrap())
        .collect();
    written.sort_by_key(|value| value["id"].as_str().unwrap().parse::<usize>().unwrap());
    for (number, value) in written.iter().enumerate() {
        assert_eq!(*value, expected(number, count), "record {number}");
    }
    assert_eq!(written.len(), count);
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
    assert!(instance.is_alive());
}
