//! What the broker refuses, and what is no event: dead letters, and everything else goes on.

use rdkafka::Message as _;

use super::records::{execution_name, send_events};
use super::verdict::Verdict;
use super::world::World;
use super::{five_workflows, workflow};
use crate::support::broker::TestBroker;

#[test]
fn what_the_broker_refuses_is_a_dead_letter_and_the_others_go_on() {
    let Some(broker) = TestBroker::shared() else { return };
    let (out, compacted) =
        (broker.topic("out", 6), broker.topic_with("compacted", 1, &[("cleanup.policy", "compact")]));
    let null_key = workflow("null-key", "a.x", &compacted).replace("key: \"${{ event.key }}\"\n", "partition: 0\n");
    let world = World::new(broker, &[workflow("good", "a.x", &out), null_key]);
    let mut instance = world.instance("alone");
    let events = 60;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), events * 2);
    let expected: Vec<String> = (0..events)
        .flat_map(|number| [format!("{number} good completed"), format!("{number} null-key failed")])
        .collect();
    assert_eq!(world.check(&world.topic("executions"), &expected, execution_name), Verdict::default());
    assert_eq!(world.broker.committed(&world.topic("dead-letters")).len(), events);
    assert_eq!((broker.committed(&out).len(), broker.committed(&compacted).len()), (events, 0));
    assert!(instance.is_alive());
}

#[test]
fn records_that_are_no_events_are_dead_letters_and_the_instance_goes_on() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(broker, &five_workflows(&out));
    let mut instance = world.instance("alone");
    let events = 2_000;
    let is_poison = |number: usize| number % 10 == 3;
    send_events(&broker.producer(&[]), &world.source, 0..events, |number| (!is_poison(number)).then_some("b.x"));
    let good: Vec<usize> = (0..events).filter(|number| !is_poison(*number)).collect();
    let expected: Vec<String> =
        good.iter().flat_map(|number| ["all", "other"].map(|id| format!("{number} {id} completed"))).collect();
    world.wait_for(&world.topic("executions"), expected.len());
    world.wait_for(&world.topic("dead-letters"), events - good.len());
    assert_eq!(world.check(&world.topic("executions"), &expected, execution_name), Verdict::default());
    let bytes: Vec<String> =
        (0..events).filter(|number| is_poison(*number)).map(|number| format!("{{\"n\":{number}}}")).collect();
    let letters = world.check(&world.topic("dead-letters"), &bytes, |letter| {
        String::from_utf8_lossy(letter.payload().unwrap_or_default()).into_owned()
    });
    assert_eq!(letters, Verdict::default());
    assert!(instance.is_alive());
}
