//! The promise: every (event, workflow) is recorded once, whatever is killed, stopped or refused. On the embedded broker, and on real
//! Kafka with `TIDEGATE_TEST_BROKER=kafka`; `TIDEGATE_TEST_FULL=1` for the full sizes.

mod broker_kills;
mod fan_out;
mod frontier;
mod gap;
mod kills;
mod late_requests;
mod poison;
mod put_out;
pub mod records;
mod refusals;
mod revoked;
pub mod verdict;
pub mod world;

use std::ops::Range;

use crate::support::is_full;
use records::{execution_name, produced_name};
use verdict::Verdict;
use world::World;

/// Workflows of [`five_workflows`] that match `a.x`: one all, one exactly, one by segment.
const MATCHING: [&str; 3] = ["all", "exact", "segment"];

/// A workflow that writes what it got to a topic.
fn workflow(id: &str, event: &str, topic: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n  - id: ship\n    type: produce\n    config:\n\
         \x20     topic: {topic}\n      key: \"${{{{ event.key }}}}\"\n      value: \"${{{{ event.data }}}}\"\n      headers: {{ workflow: {id} }}\n"
    )
}

/// Five workflows of which three match `a.x`.
fn five_workflows(out: &str) -> Vec<String> {
    let events = [("exact", "a.x"), ("segment", "a.*"), ("all", "'*'"), ("other", "b.x"), ("others", "c.**")];
    events.map(|(id, event)| workflow(id, event, out)).to_vec()
}

/// How many events a test of many takes.
fn events() -> usize {
    if is_full() { 60_000 } else { 6_000 }
}

/// The executions and produced records of events with these numbers, each once, with [`five_workflows`].
#[track_caller]
fn assert_exactly_once(world: &World<'_>, out: &str, events: Range<usize>) {
    world.wait_for(&world.topic("executions"), events.len() * MATCHING.len());
    let pairs = |end: &str| -> Vec<String> {
        let of = |number: usize| MATCHING.map(|id| format!("{number} {id}{end}"));
        events.clone().flat_map(of).collect()
    };
    assert_eq!(world.check(&world.topic("executions"), &pairs(" completed"), execution_name), Verdict::default());
    assert_eq!(world.check(out, &pairs(""), produced_name), Verdict::default());
    let steps = world.broker.committed(&world.topic("step-results")).len();
    assert_eq!((steps, world.broker.committed(&world.topic("dead-letters")).len()), (events.len() * MATCHING.len(), 0));
}
