//! What connectors are held to.
//!
//! In a part of the seeds calls may start only so fast, in another part breakers look at the calls of so many seconds. That is drawn from generators
//! of its own, so that the other seeds are the runs that they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::breaker::{BreakerPolicy, SLIDING_WINDOW_SECONDS, SlidingWindow};
use tidegate::engine::gate::{GatePolicy, Rate};

use super::broken::Broken;
use super::outages::NAMES;

/// One seed of so many is one with rates, and one is one with windows of time, and which.
const ONE_OF: u64 = 5;
const WITH_RATES: u64 = 3;
const WITH_WINDOWS: u64 = 4;

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
    let mut random = Random::new(seed ^ 0x9FB2_1C65_1E98_DF25);
    match seed % ONE_OF {
        WITH_RATES => policies.values_mut().for_each(|policy| policy.hold_to_rate(&mut random)),
        WITH_WINDOWS => policies.values_mut().for_each(|policy| policy.look_at_seconds(&mut random)),
        _ => {}
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

    /// So short that failures are forgotten while others happen, and with so few calls that a breaker opens now and then.
    fn look_at_seconds(&mut self, random: &mut Random) {
        self.gate.breaker.sliding_window = SlidingWindow::Seconds(1 + random.below(3) as u32);
        self.gate.breaker.minimum_number_of_calls = 3 + random.below(4) as u32;
        self.gate.breaker.failure_rate_threshold = [30, 50, 70][random.below(3)];
    }

    /// The same as gates keep it, which may break a rule.
    pub fn kept(&self, broken: Broken) -> GatePolicy {
        match broken {
            Broken::NoRate => GatePolicy { rate: None, ..self.gate },
            Broken::WindowForgets => self.looking_at(1),
            Broken::WindowKeeps => self.looking_at(SLIDING_WINDOW_SECONDS),
            _ => self.gate,
        }
    }

    fn looking_at(&self, seconds: u32) -> GatePolicy {
        let window = match self.gate.breaker.sliding_window {
            SlidingWindow::Seconds(_) => SlidingWindow::Seconds(seconds),
            SlidingWindow::Count(calls) => SlidingWindow::Count(calls),
        };
        GatePolicy { breaker: BreakerPolicy { sliding_window: window, ..self.gate.breaker }, ..self.gate }
    }
}
