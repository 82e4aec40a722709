//! What connectors are held to.
//!
//! In a part of the seeds calls may start only so fast. That is drawn from a generator of its own, so that the other seeds are the runs that they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::breaker::{BreakerPolicy, SlidingWindow};
use tidegate::engine::gate::{GatePolicy, Rate};

use super::broken::Broken;
use super::outages::NAMES;

/// One seed of so many is one with rates, and which.
const RATES: u64 = 5;
const WITH_RATES: u64 = 3;

/// What one connector is held to.
#[derive(Clone, Copy)]
pub struct Policy {
    /// As its gate knows it.
    pub gate: GatePolicy,
    /// Calls that may start in a second.
    pub per_second: Option<f64>,
}

/// The same of all connectors, by name.
pub type Policies = BTreeMap<Arc<str>, Policy>;

/// What connectors are held to in a seed: in the simple form, or by more calls than one.
pub fn policies(seed: u64, random: &mut Random) -> Policies {
    let mut policy = || {
        let wait_ms = 20 + random.below(150) as u64;
        let breaker = match random.below(2) {
            0 => BreakerPolicy::simple(2 + random.below(3) as u32, wait_ms),
            _ => BreakerPolicy {
                failure_rate_threshold: 50,
                sliding_window: SlidingWindow::Count(4),
                minimum_number_of_calls: 3,
                wait_duration_in_open_state_ms: wait_ms,
                permitted_number_of_calls_in_half_open_state: 1 + random.below(2) as u32,
            },
        };
        let gate = GatePolicy { concurrency: 1 + random.below(3) as u32, rate: None, breaker };
        Policy { gate, per_second: None }
    };
    let mut policies: Policies = NAMES.map(|name| (name.into(), policy())).into();
    if seed % RATES == WITH_RATES {
        let mut random = Random::new(seed ^ 0x9FB2_1C65_1E98_DF25);
        policies.values_mut().for_each(|policy| policy.hold_to_rate(&mut random));
    }
    policies
}

impl Policy {
    /// So slow that one call waits for the one before, or so fast that a few may start at once.
    fn hold_to_rate(&mut self, random: &mut Random) {
        let per_second = [6.0, 20.0, 60.0][random.below(3)] * (1.0 + random.next_unit());
        self.per_second = Some(per_second);
        self.gate.rate = Rate::per_second(per_second);
    }

    /// The same as gates keep it, which may break a rule.
    pub fn kept(&self, broken: Broken) -> GatePolicy {
        match broken {
            Broken::NoRate => GatePolicy { rate: None, ..self.gate },
            _ => self.gate,
        }
    }
}
