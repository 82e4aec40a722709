//! The gates of one simulated instance, shared by its lanes: the real machine, with the clock of the simulation.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate::engine::breaker::{Breaker, BreakerState, CallOutcome, OVERRIDE_MS, Override, Permit};
use tidegate::engine::gate::{Barrier, Gate, GatePolicy, LaneId, News, Parked};

use super::broken::Broken;
use super::control::Wish;
use super::policies::Policies;

/// How long a connector is held open whose credentials are refused, in milliseconds.
pub const HOLD_MS: u64 = 90;

/// An instance: what its lanes share, and loses when it is killed.
pub struct Instance {
    /// Names it among those of the cluster.
    pub number: usize,
    broken: Broken,
    policies: BTreeMap<Arc<str>, GatePolicy>,
    gates: RefCell<BTreeMap<Arc<str>, Gate>>,
    /// Lanes that may ask again.
    woken: RefCell<BTreeSet<LaneId>>,
}

impl Instance {
    /// One that has started for the first time.
    pub fn new(number: usize, policies: &Policies, broken: Broken) -> Instance {
        let policies = policies.iter().map(|(name, policy)| (name.clone(), policy.kept(broken)));
        let policies: BTreeMap<Arc<str>, GatePolicy> = policies.collect();
        let gate = |policy: &GatePolicy| Gate::new(*policy, Breaker::new(policy.breaker));
        let gates = policies.iter().map(|(name, policy)| (name.clone(), gate(policy))).collect();
        Instance { number, broken, policies, gates: RefCell::new(gates), woken: RefCell::default() }
    }

    /// It was killed and starts again. The copy that it keeps of open breakers is there, or was lost.
    pub fn start_again(&self, remembers: bool, now_ms: i64) {
        for (name, gate) in &mut *self.gates.borrow_mut() {
            let policy = self.policies[name];
            let now_ms = now_ms as u64;
            let open_until_ms = gate.breaker().open_until_ms();
            let breaker = match open_until_ms.filter(|_| remembers) {
                Some(until_ms) => Breaker::restored(policy.breaker, until_ms, now_ms),
                None => Breaker::new(policy.breaker),
            };
            *gate = Gate::new(policy, breaker);
        }
        self.woken.borrow_mut().clear();
    }

    /// Asks for a call.
    pub fn ask(&self, connector: &Arc<str>, lane: LaneId, now_ms: i64) -> Result<Permit, Parked> {
        let mut gates = self.gates.borrow_mut();
        let gate = gates.get_mut(connector).expect("a connector that is known");
        let asked = gate.ask(lane, now_ms as u64).0;
        match asked {
            Err(Parked { barrier: Barrier::Breaker(BreakerState::Open), until_ms: Some(until_ms) })
                if self.broken == Broken::NoRecovery =>
            {
                gate.ask(lane, until_ms).0
            }
            asked => asked,
        }
    }

    /// A lane has no call of a connector to ask for.
    pub fn pass(&self, connector: &Arc<str>, lane: LaneId) {
        if self.broken != Broken::SlotIsKept {
            self.change(connector, |gate| gate.pass(lane));
        }
    }

    /// A lane has ended.
    pub fn leave(&self, lane: LaneId) {
        self.policies.keys().for_each(|connector| self.change(connector, |gate| gate.pass(lane)));
    }

    /// A call has ended, with how long the target wants to be left alone.
    pub fn finish(
        &self,
        connector: &Arc<str>,
        permit: Permit,
        (outcome, retry_after_ms): (CallOutcome, Option<u64>),
        now_ms: i64,
    ) {
        let now_ms = now_ms as u64;
        self.change(connector, |gate| {
            if let Some(wait_ms) = retry_after_ms.filter(|_| self.broken != Broken::NoRetryAfter) {
                gate.retry_after(now_ms + wait_ms, now_ms);
            }
            gate.finish(permit, outcome, now_ms)
        });
    }

    /// A call has ended with the answer that the credentials are refused.
    pub fn hold(&self, connector: &Arc<str>, permit: Permit, now_ms: i64) {
        let now_ms = now_ms as u64;
        self.change(connector, |gate| {
            gate.finish(permit, CallOutcome::Ignored, now_ms);
            gate.hold(now_ms + HOLD_MS, now_ms)
        });
    }

    /// What an operator wants of a connector.
    pub fn force(&self, connector: &Arc<str>, wish: Wish, now_ms: i64) {
        let is_ignored = |wish: &(Override, i64)| match wish.0 {
            Override::Open => self.broken == Broken::NotForcedOpen,
            Override::Close => self.broken == Broken::NotForcedClosed,
        };
        let until_ms = |until_ms: i64| if self.broken == Broken::NoLapse { u64::MAX } else { until_ms as u64 };
        let wish = wish.filter(|wish| !is_ignored(wish)).map(|(wish, it)| (wish, until_ms(it)));
        self.change(connector, |gate| gate.force(wish, now_ms as u64));
    }

    /// Time passes, also where nobody asks.
    pub fn lapse(&self, now_ms: i64) {
        self.policies.keys().for_each(|connector| self.change(connector, |gate| gate.lapse(now_ms as u64)));
    }

    /// Whether a lane that is parked may ask again.
    pub fn is_woken(&self, lane: LaneId) -> bool {
        self.woken.borrow_mut().remove(&lane)
    }

    /// What is wrong with the gates once nothing is to be called any more: permits and places that nobody has given back.
    pub fn leaks(&self, now_ms: i64) -> Vec<String> {
        let mut leaks = Vec::new();
        for (connector, gate) in &mut *self.gates.borrow_mut() {
            let place = format!("connector {connector} of instance {}", self.number);
            if gate.in_flight() > 0 {
                leaks.push(format!("{place}: {} permits were never given back", gate.in_flight()));
            }
            // Whatever it waits for is over then.
            let later_ms = now_ms as u64 + OVERRIDE_MS + 1_000_000;
            match gate.ask(LaneId(u32::MAX), later_ms).0 {
                Ok(permit) => drop(gate.finish(permit, CallOutcome::Ignored, later_ms)),
                Err(parked) => leaks.push(format!("{place}: nothing is under way, and a call is parked: {parked:?}")),
            }
        }
        leaks
    }

    fn change(&self, connector: &Arc<str>, change: impl FnOnce(&mut Gate) -> News) {
        let mut gates = self.gates.borrow_mut();
        let news = change(gates.get_mut(connector).expect("a connector that is known"));
        if self.broken != Broken::NobodyIsWoken {
            self.woken.borrow_mut().extend(news.wake);
        }
    }
}
