//! A broker that is killed under instances at work: the embedded one, whatever was chosen. A Kafka of one node that goes away with
//! transactions open may keep markers or pending offsets for good, and then says nothing of the instances.

use super::records::send_events;
use super::world::World;
use super::{MATCHING, assert_exactly_once, events, five_workflows, is_full};
use crate::support::broker::TestBroker;

#[test]
fn a_broker_that_is_killed_again_and_again_under_two_instances_loses_and_repeats_nothing() {
    let broker = TestBroker::embedded_child();
    let out = broker.topic("out", 6);
    let world = World::new(&broker, &five_workflows(&out));
    let (kills, events) = (if is_full() { 20 } else { 5 }, events());
    let mut instances = ["one", "two"].map(|name| world.instance(name));
    // A request that meets the connection which a kill broke is sent again, and must not come twice.
    let producer = broker.producer(&[("enable.idempotence", "true")]);
    let mut frontiers = Vec::new();
    let mut killed_at_work = 0;
    for round in 0..kills {
        let sent = events * (round + 1) / kills;
        let last = sent - events / kills / 2;
        let before = world.frontier().events();
        send_events(&producer, &world.source, events * round / kills..last, |_| Some("a.x"));
        world.wait_for_more_than(before);
        frontiers.push(world.frontier());
        // The kill follows on the heels of these, so that instances of any speed have some of them in hand.
        send_events(&producer, &world.source, last..sent, |_| Some("a.x"));
        broker.kill();
        broker.restart();
        let after = world.frontier();
        killed_at_work += usize::from(after.events() < sent);
        frontiers.push(after);
    }
    assert_exactly_once(&world, &out, 0..events);
    world.assert_no_gaps(&frontiers, &MATCHING.map(str::to_owned));
    println!("{kills} kills of the broker, {killed_at_work} of them with work left");
    assert!(killed_at_work > 0, "no kill came while events were in hand");
    assert!(instances.iter_mut().all(|it| it.is_alive()));
}
