//! How soon a killed instance is back.

use std::time::{Duration, Instant};

use super::tail::Tail;
use super::{Promise, copying};
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::verdict::Verdict;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;

/// From the start of a process to the first transaction that it commits, where it follows one that was killed: a new instance of the same
/// name has its partitions back without waiting for the old one's session, and ends the transaction that the old one left open.
const BACK_WITHIN: Promise = Promise { release: Duration::from_secs(3), debug: Duration::from_secs(8) };
/// How long the topic of executions must be quiet after the kill until all that the killed instance committed has been seen.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn a_killed_instance_commits_again_soon_after_it_was_started() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(broker, &[copying("copy", "1.0.0", "a.x", &out)]);
    let producer = broker.producer(&[]);
    let executions = world.topic("executions");
    let tail = Tail::new(broker, &executions);
    let mut instance = world.instance("alone");
    send_events(&producer, &world.source, 0..600, |_| Some("a.x"));
    tail.until("the first instance works", Duration::from_secs(60), |_| true);
    instance.kill();
    tail.until_quiet(QUIET, |_| ());
    send_events(&producer, &world.source, 600..1_200, |_| Some("a.x"));
    let started = Instant::now();
    let _again = world.instance("alone");
    tail.until("the second instance works", Duration::from_secs(60), |_| true);
    let back = started.elapsed();
    println!("first new commit {back:?} after the start");
    assert!(back < BACK_WITHIN.bound(), "{back:?}: {}", world.log("alone"));
    world.wait_for(&executions, 1_200);
    let expected: Vec<String> = (0..1_200).map(|number| format!("{number} copy completed")).collect();
    assert_eq!(world.check(&executions, &expected, execution_name), Verdict::default());
}
