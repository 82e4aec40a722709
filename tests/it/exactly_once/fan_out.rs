//! An event that so many workflows match that it takes several transactions: each of them once, wherever it is cut.

use super::records::{execution_name, send_heavy_events};
use super::verdict::Verdict;
use super::world::World;
use super::{is_full, workflow};
use crate::support::broker::TestBroker;
use crate::support::wait;

/// How many workflows match, and how heavy an event's data is: what they write is several times what goes into one transaction.
fn sizes() -> (usize, usize) {
    if is_full() { (3_000, 4_000) } else { (400, 16_000) }
}

#[test]
fn an_event_that_many_workflows_match_is_done_once_for_each_though_its_instance_is_killed_inside_it() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let (many, bytes) = sizes();
    let ids: Vec<String> = (0..many).map(|number| format!("w-{number}")).collect();
    let workflows: Vec<String> = ids.iter().map(|id| workflow(id, "a.x", &out)).collect();
    let world = World::new(broker, &workflows);
    let (events, kills) = (12, if is_full() { 8 } else { 4 });
    send_heavy_events(&broker.producer(&[]), &world.source, 0..events, bytes);
    let mut instance = world.instance("alone");
    let mut frontiers = Vec::new();
    for _ in 0..kills {
        let before = frontiers.last().cloned();
        wait::until("an event is done in part", || {
            let now = world.frontier();
            assert!(now.events() < events, "all are done before the last kill");
            (now.is_inside_an_event() && before.as_ref() != Some(&now)).then_some(())
        });
        instance.kill();
        frontiers.push(world.frontier());
        instance = world.instance("alone");
    }
    world.wait_for(&world.topic("executions"), events * many);
    let expected: Vec<String> =
        (0..events).flat_map(|event| ids.iter().map(move |id| format!("{event} {id} completed"))).collect();
    assert_eq!(world.check(&world.topic("executions"), &expected, execution_name), Verdict::default());
    world.assert_no_gaps(&frontiers, &ids);
    let inside = frontiers.iter().filter(|it| it.is_inside_an_event()).count();
    println!("{kills} kills, {inside} of them inside an event");
    assert!(inside > 0);
    assert!(instance.is_alive());
}
