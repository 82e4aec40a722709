//! Keys in Avro, triggers that name a schema, and types by subject.

use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use apache_avro::types::Value;

use super::{PAID, PAID_2, datum, framed, order, send};
use crate::exactly_once::records::wait_for_delivery;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::registry::{Mode, Registry};
use crate::support::wait;

const KEY: &str = r#"{"type":"record","name":"Account","namespace":"com.example","fields":[
    {"name":"country","type":"string"},{"name":"number","type":"int"}]}"#;

/// Type by a header, so that it does not say the schema.
const FORMAT: &str = "format = \"avro\"\nkey = \"avro\"\ntype = \"header:kind\"\nid = \"/id\"";

fn workflow(id: &str, trigger: &str, out: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - {trigger}\nsteps:\n  - id: out\n    type: produce\n    config: {{ topic: {out}, \
         key: \"${{{{ event.id }}}}\", value: \"{id} ${{{{ event.type }}}} ${{{{ event.schema }}}} ${{{{ event.key == null ? 'none' : \
         event.key.country }}}}\" }}\n"
    )
}

fn account(country: &str) -> Vec<u8> {
    let fields = vec![("country".to_owned(), Value::String(country.into())), ("number".to_owned(), Value::Int(7))];
    datum(KEY, Value::Record(fields))
}

#[test]
fn keys_are_read_with_their_schema_and_triggers_name_one() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let other = PAID_2.replace("OrderPaid", "OrderShipped");
    for (key, text) in [("ids/1", PAID), ("ids/2", &*other), ("guids/00000000-0000-0000-0000-0000000000aa", KEY)] {
        registry.knows(key, text, "AVRO");
    }
    let out = broker.topic("out", 1);
    let workflows = [
        workflow("paid", "schema: com.example.OrderPaid", &out),
        workflow(
            "german",
            "{ event: shop, match: { key: { country: [DE], number: [7] }, schema: [{ prefix: com.example. }] } }",
            &out,
        ),
        workflow("never", "schema: com.example.Order", &out),
    ];
    let mut world = World::with(&broker, &workflows, &registry.settings());
    world.format = FORMAT.into();
    registry.answers(Mode::Status(503));
    let producer = broker.producer(&[]);
    let guid = [vec![1], 0xaa_u128.to_be_bytes().to_vec()].concat();
    let prefixed = |country| [guid.clone(), account(country)].concat();
    let paid = |number| framed(1, &datum(PAID, order(number, 1_000, None)));
    let shipped = |number| framed(2, &datum(&other, order(number, 1_000, Some(None))));
    // The last key is no Avro; the one before names its schema in a header, which names none of the value.
    let records = [
        (paid(0), Some(prefixed("DE")), false),
        (shipped(1), Some(prefixed("DE")), false),
        (paid(2), Some(prefixed("FR")), false),
        (paid(3), None, false),
        (shipped(4), Some(account("DE")), true),
        (paid(5), Some(b"key-5".to_vec()), false),
    ];
    for (value, key, in_header) in &records {
        let mut headers = OwnedHeaders::new().insert(Header { key: "kind", value: Some("shop") });
        if *in_header {
            headers = headers.insert(Header { key: "__key_schema_id", value: Some(&guid) });
        }
        let record = BaseRecord::to(&world.source).partition(0).payload(value).headers(headers);
        let record = key.iter().fold(record, |record: BaseRecord<'_, Vec<u8>, Vec<u8>>, key| record.key(key));
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    wait_for_delivery(&producer);
    let instance = world.instance("alone");
    wait::until("the registry is asked", || (registry.asked().len() > 2).then_some(()));
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0, "nothing is decided before it answers");
    registry.answers(Mode::Up);
    world.wait_for(&out, 6);
    world.wait_for(&world.topic("dead-letters"), 1);
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let mut written: Vec<String> =
        broker.committed(&out).iter().map(|it| format!("{} {}", text(it.key()), text(it.payload()))).collect();
    written.sort();
    let expected = [
        "0 german shop com.example.OrderPaid DE",
        "0 paid shop com.example.OrderPaid DE",
        "1 german shop com.example.OrderShipped DE",
        "2 paid shop com.example.OrderPaid FR",
        "3 paid shop com.example.OrderPaid none",
        "4 german shop com.example.OrderShipped DE",
    ];
    assert_eq!(written, expected);
    let letters = broker.committed(&world.topic("dead-letters"));
    let why = letters[0].headers().unwrap().iter().find(|it| it.key == "tidegate-dlq-error-message").unwrap();
    let why = String::from_utf8_lossy(why.value.unwrap()).into_owned();
    assert!(why.contains("the key: the record begins with the byte 0x6b"), "{why}");
    drop(instance);
}

#[test]
fn the_type_of_an_event_may_be_the_subject_of_its_schema() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let (paid, shipped) = (registry.has("shop.paid", PAID), registry.has("shop.shipped", PAID_2));
    registry.knows("ids/1", PAID, "AVRO");
    let out = broker.topic("out", 1);
    let by_subject = workflow("by-subject", "event: shop.paid", &out);
    let workflows = [by_subject.replace("event.key == null ? 'none' : event.key.country", "event.key")];
    let mut world = World::with(&broker, &workflows, &registry.settings());
    world.format = "format = \"avro\"\ntype = \"schema:subject\"\nid = \"/id\"".into();
    let records = [
        (0, framed(paid, &datum(PAID, order(0, 1_000, None)))),
        (1, framed(shipped, &datum(PAID_2, order(1, 1_000, Some(None))))),
        (2, framed(1, &datum(PAID, order(2, 1_000, None)))),
    ];
    send(&broker.producer(&[]), &world.source, &records, None);
    let _instance = world.instance("alone");
    world.wait_for(&world.topic("dead-letters"), 1);
    world.wait_for(&out, 1);
    let written = broker.committed(&out);
    let text = String::from_utf8(written[0].payload().unwrap().to_vec()).unwrap();
    assert_eq!((written.len(), &*text), (1, "by-subject shop.paid com.example.OrderPaid 0"), "keys are bytes");
}
