//! What a decision of a connector's gate takes while the lanes of an instance ask it all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::engine::breaker::{BreakerPolicy, CallOutcome};
use tidegate::engine::gate::{GatePolicy, LaneId};
use tidegate::lane::{Gates, Steady};

use super::Promise;

/// The 99th percentile of a decision.
const DECISION: Promise = Promise { release: Duration::from_micros(100), debug: Duration::from_millis(1) };
const LANES: u32 = 4;
const DECISIONS: usize = 100_000;

#[test]
fn a_decision_takes_no_time_while_lanes_ask() {
    let breaker = BreakerPolicy::simple(5, 30_000);
    let policy = GatePolicy { concurrency: 64, rate: None, breaker };
    let connector: Arc<str> = "billing".into();
    let policies = BTreeMap::from([(connector.clone(), (policy, None))]);
    let gates = Gates::new(policies, Steady::default(), Box::new(|_, _| ()));
    let lane = |number: u32| {
        let mut took = Vec::with_capacity(DECISIONS);
        for call in 0..DECISIONS {
            let started = Instant::now();
            let asked = gates.ask(&connector, LaneId(number));
            took.push(started.elapsed());
            // One in three fails, so that the breaker has something to count and never opens for good.
            let outcome = if call % 3 == 0 { CallOutcome::Failure } else { CallOutcome::Success };
            if let Ok(permit) = asked {
                gates.finish(&connector, permit, outcome, None);
            }
        }
        took
    };
    let mut took: Vec<Duration> = std::thread::scope(|threads| {
        let lanes: Vec<_> = (0..LANES).map(|number| threads.spawn(move || lane(number))).collect();
        lanes.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    took.sort_unstable();
    let [median, p99] = [50, 99].map(|percent| took[took.len() * percent / 100]);
    println!("{} decisions of {LANES} lanes at once: median {median:?}, p99 {p99:?}", took.len());
    assert!(p99 < DECISION.bound(), "{p99:?}");
}
