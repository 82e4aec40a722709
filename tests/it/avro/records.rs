//! What becomes of records.

use rdkafka::message::{Headers as _, Message as _, OwnedMessage};

use super::{FORMAT, PAID, PAID_2, datum, framed, order, send};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::registry::Registry;

/// A workflow that writes what it sees of an order of 10 and more.
fn copies(out: &str) -> String {
    format!(
        r#"id: copies
version: 1.0.0
status: active
triggers:
  - event: com.example.OrderPaid
    match: {{ data: {{ amount: [{{ numeric: [">=", 10] }}] }} }}
steps:
  - id: out
    type: produce
    config:
      topic: {out}
      key: "${{{{ event.id }}}}"
      value: {{ amount: "${{{{ event.data.amount }}}}", at: "${{{{ event.data.at }}}}", tier: "${{{{ has(event.data.tier) ? event.data.tier : 'none' }}}}" }}
"#
    )
}

/// Why a record became a dead letter.
fn why(letter: &OwnedMessage) -> String {
    let headers = letter.headers().into_iter().flat_map(|it| it.iter());
    let message = headers.filter(|it| it.key == "tidegate-dlq-error-message").last().and_then(|it| it.value);
    String::from_utf8_lossy(message.unwrap_or_default()).into_owned()
}

#[test]
fn records_of_several_schemas_become_events_and_what_is_none_a_dead_letter_that_says_why() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    registry.knows("ids/1", PAID, "AVRO");
    registry.knows("ids/2", PAID_2, "AVRO");
    registry.knows("guids/00000000-0000-0000-0000-0000000000ff", PAID_2, "AVRO");
    registry.knows("ids/3", "{\"type\":\"object\"}", "JSON");
    registry.knows("ids/4", r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#, "AVRO");
    let out = broker.topic("out", 1);
    let mut world = World::with(&broker, &[copies(&out)], &registry.settings());
    world.format = FORMAT.into();
    let producer = broker.producer(&[]);
    let first = |id, cents| framed(1, &datum(PAID, order(id, cents, None)));
    let second = |tier| datum(PAID_2, order(2, 2_050, Some(tier)));
    send(&producer, &world.source, &[(0, first(0, 1_000)), (1, first(1, 999)), (2, framed(2, &second(Some(1))))], None);
    let guid = [vec![1], 255_u128.to_be_bytes().to_vec()].concat();
    let mut prefixed = guid.clone();
    prefixed.extend(second(None));
    send(&producer, &world.source, &[(3, prefixed)], None);
    send(&producer, &world.source, &[(4, second(Some(0)))], Some(&guid));
    let bad = [
        (5, b"{}".to_vec()),
        (6, framed(1, b"\x02")),
        (7, framed(77, b"")),
        (8, framed(3, b"{}")),
        (9, framed(4, b"")),
        (11, framed(u32::MAX, b"")),
        (10, [first(10, 1_000), vec![0]].concat()),
    ];
    send(&producer, &world.source, &bad, None);
    let _instance = world.instance("alone");
    let letters = world.topic("dead-letters");
    world.wait_for(&letters, bad.len());
    world.wait_for(&out, 4);
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let mut written: Vec<String> = broker.committed(&out).iter().map(|it| text(it.payload())).collect();
    written.sort();
    let at = "\"at\":\"2023-11-14T22:13:20.000Z\"";
    let mut expected = vec![
        format!("{{\"amount\":10.0,{at},\"tier\":\"none\"}}"),
        format!("{{\"amount\":20.5,{at},\"tier\":\"SILVER\"}}"),
        format!("{{\"amount\":20.5,{at},\"tier\":null}}"),
        format!("{{\"amount\":20.5,{at},\"tier\":\"GOLD\"}}"),
    ];
    expected.sort();
    assert_eq!(written, expected);
    let messages: Vec<String> = broker.committed(&letters).iter().map(why).collect();
    for words in [
        "begins with the byte 0x7b",
        "the datum ends too early",
        "its schema has the id 77",
        "its schema is of a type that has no name",
        "contains itself in any case",
        "1 bytes are behind it",
        "no registry gives such an id",
    ] {
        assert!(messages.iter().any(|message| message.contains(words)), "{words}: {messages:#?}");
    }
    assert_eq!(world.log_lines_with("alone", "starts again"), 0, "the lane had to start again");
}
