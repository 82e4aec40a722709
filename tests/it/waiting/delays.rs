//! Executions that wait for time.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::assert_completed;
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::clients::CALL;
use crate::support::wait;

const DELAY: Duration = Duration::from_secs(3);

#[test]
fn a_delay_outlives_the_instance_in_which_it_began() {
    let Some(broker) = TestBroker::own() else { return };
    let workflow = "id: later\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: pause\n    type: delay\n    \
                    config: { for: 3s }\n";
    let world = World::new(&broker, &[workflow.to_owned()]);
    let mut instance = world.instance("alone");
    let events = 200;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    let sent = Instant::now();
    world.wait_for(&world.topic("executions"), events);
    instance.kill();
    instance = world.instance("alone");
    assert_completed(&world, "later", events);
    assert!(sent.elapsed() >= DELAY, "the delay was cut short");
    assert!(instance.is_alive());
    // What is done is deleted: the journal is kept without a limit.
    let journal = world.topic("journal");
    wait::until("the journal is purged", || {
        let looked = broker.consumer("purged", &[]);
        let bounds = |number| looked.fetch_watermarks(&journal, number, CALL).expect("the partition has bounds");
        let (low, high): (Vec<i64>, Vec<i64>) =
            (0..broker.partitions(&journal) as i32).map(bounds).filter(|(_, high)| *high > 0).unzip();
        // The markers of the last transactions stay.
        low.iter().zip(&high).all(|(low, high)| high - low <= 4).then_some(())
    });
}

#[test]
fn executions_that_are_not_in_memory_end_once() {
    let Some(broker) = TestBroker::own() else { return };
    let workflow = "id: later\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nsteps:\n  - id: pause\n    type: delay\n    \
                    config: { for: 8s }\n";
    let world = World::with(&broker, &[workflow.to_owned()], "[limits]\nwaiting_memory_mib = 0\n");
    let mut instance = world.instance("alone");
    let events = if super::is_full() { 20_000 } else { 3_000 };
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    let executions = world.topic("executions");
    world.wait_for(&executions, events / 2);
    instance.kill();
    instance = world.instance("alone");
    world.wait_for(&executions, events);
    assert_completed(&world, "later", events);
    assert!(instance.is_alive());
    assert_eq!(world.log_lines_with("alone", "starts again"), 0, "the lane had to start again");
}
