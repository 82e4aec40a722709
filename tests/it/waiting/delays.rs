//! Executions that wait for time.

use std::time::{Duration, Instant};

use super::assert_completed;
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;

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
}
