//! Records of the journal that cannot be understood: each is a dead letter, whenever it is read, and the others go on.

use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;

use super::{connector, two_calls};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::admin;
use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, send};
use crate::support::ledger::{Ledger, Reply};
use crate::support::wait;

/// More than come in one go.
const MANY: usize = 3_000;

#[test]
fn however_many_there_are_none_is_lost() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(200));
    let out = broker.topic("out", 6);
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &connector("target", &ledger, ""));
    let (journal, letters, producer) = (world.topic("journal"), world.topic("dead-letters"), broker.producer(&[]));
    for number in 0..MANY {
        send(&producer, &journal, (number % 3) as i32, &number.to_string(), "not of this version");
    }
    deliver(&producer);
    assert_eq!(producer.in_flight_count(), 0);
    let mut instance = world.instance("alone");
    let put_aside = |count: usize| {
        let records = broker.committed(&letters);
        let mut keys: Vec<_> = records.iter().map(|letter| letter.key().map(<[u8]>::to_vec)).collect();
        keys.sort();
        keys.dedup();
        (records.len() >= count && keys.len() == MANY).then_some(records.len())
    };
    wait::until("all are put aside", || put_aside(MANY));
    send_events(&producer, &world.source, 0..5, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 10);
    let ready = admin::get(&world.log("alone"), "/readyz");
    assert!(ready.contains("journal-damaged") && ready.contains("does a newer version write"), "{ready}");
    // What was put aside once lies behind what was committed with it.
    instance.kill();
    let _next = world.instance("alone");
    send_events(&producer, &world.source, 5..10, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 20);
    assert_eq!(put_aside(0), Some(MANY), "each once");
    assert_eq!(ledger.len(), 20);
}
