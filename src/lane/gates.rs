//! The gates of an instance's connectors, shared by its lanes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::clock::Steady;
use super::inbox::{Event, Inbox};
use crate::engine::breaker::{
    Breaker, BreakerPolicy, BreakerState, CallOutcome, Override, Permit, SLIDING_WINDOW_CALLS, Transition,
};
use crate::engine::gate::{Gate, GatePolicy, LaneId, News, Parked};

/// Who is told when a circuit breaker changes. Called from any thread; must not block.
pub type OnTransition = dyn Fn(&str, Turned) + Send + Sync;

/// How a circuit breaker has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The change.
    pub transition: Transition,
    /// Until when it is open now, in milliseconds of the gates' clock, if it is.
    pub open_until_ms: Option<u64>,
    /// The target refuses our credentials.
    pub is_refused: bool,
}

/// Who is told that a target asked to be left alone until a moment of the gates' clock, for longer than a moment; None: that is over. Called
/// from any thread; must not block.
pub type OnWait = dyn Fn(&str, Option<u64>) + Send + Sync;

/// What a target asks for is told if it is longer, in milliseconds: who is told of shorter waits learns nothing.
const WAIT_TOLD_MS: u64 = 5_000;
/// How long a connector is held open whose credentials are refused, in milliseconds; then one call tries again.
const HOLD_MS: u64 = 60_000;
/// Calls at once of a connector that the instance does not know: they end at once.
const UNKNOWN_CONCURRENCY: u32 = 64;

/// The gates.
pub struct Gates {
    state: Mutex<State>,
    clock: Steady,
    on_transition: Box<OnTransition>,
    on_wait: Option<Box<OnWait>>,
}

struct State {
    gates: BTreeMap<Arc<str>, Gate>,
    /// Those whose targets asked to be left alone, and until when, as far as that was told.
    told: BTreeMap<Arc<str>, u64>,
    /// The inboxes of the lanes that live.
    lanes: BTreeMap<LaneId, Weak<Inbox>>,
}

impl Gates {
    /// Gates with these policies, and until when breakers were open when the instance ended before, if they were.
    pub fn new(
        policies: BTreeMap<Arc<str>, (GatePolicy, Option<u64>)>,
        clock: Steady,
        on_transition: Box<OnTransition>,
    ) -> Gates {
        let now_ms = clock.now_ms().unsigned_abs();
        let gate = |policy: GatePolicy, open_until_ms: Option<u64>| match open_until_ms {
            Some(until_ms) => Gate::new(policy, Breaker::restored(policy.breaker, until_ms, now_ms)),
            None => Gate::new(policy, Breaker::new(policy.breaker)),
        };
        let gates = policies.into_iter().map(|(name, (policy, open))| (name, gate(policy, open))).collect();
        let state = State { gates, told: BTreeMap::new(), lanes: BTreeMap::new() };
        Gates { state: Mutex::new(state), clock, on_transition, on_wait: None }
    }

    /// The same, that also tell what targets ask for.
    pub fn telling_waits(self, on_wait: Box<OnWait>) -> Gates {
        Gates { on_wait: Some(on_wait), ..self }
    }

    /// A target asked to be left alone until a moment of the gates' clock, as was known before the instance ended.
    pub fn leave_alone(&self, connector: &str, until_ms: u64) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let State { gates, told, .. } = &mut *state;
        let Some((name, gate)) =
            gates.get_key_value(connector).map(|(name, _)| name.clone()).zip(gates.get_mut(connector))
        else {
            return;
        };
        gate.retry_after(until_ms, now_ms);
        let asked_until_ms = gate.asked_until_ms();
        if asked_until_ms > now_ms {
            told.insert(name, asked_until_ms);
            drop(state);
            self.on_wait.iter().for_each(|told| told(connector, Some(asked_until_ms)));
        }
    }

    /// A lane lives: it is told in this inbox that it may ask again.
    pub fn enter(&self, lane: LaneId, inbox: &Arc<Inbox>) {
        self.lock().lanes.insert(lane, Arc::downgrade(inbox));
    }

    /// A lane has ended: nobody waits for it. One that has started again meanwhile, with another inbox, is left alone.
    pub fn leave(&self, lane: LaneId, inbox: &Arc<Inbox>) {
        let mut state = self.lock();
        let is_another = |known: &Weak<Inbox>| known.as_ptr() != Arc::as_ptr(inbox);
        if state.lanes.get(&lane).is_some_and(is_another) {
            return;
        }
        state.lanes.remove(&lane);
        let news: Vec<News> = state.gates.values_mut().map(|gate| gate.pass(lane)).collect();
        news.iter().for_each(|news| state.wake(news));
    }

    /// Asks for a call.
    pub fn ask(&self, connector: &Arc<str>, lane: LaneId) -> Result<Permit, Parked> {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let gate = state.gate(connector);
        let (asked, transition) = gate.ask(lane, now_ms);
        let open_until_ms = gate.breaker().open_until_ms();
        drop(state);
        self.tell(connector, transition, open_until_ms);
        asked
    }

    /// A lane has no call of a connector to ask for.
    pub fn pass(&self, connector: &Arc<str>, lane: LaneId) {
        let mut state = self.lock();
        let news = state.gate(connector).pass(lane);
        state.wake(&news);
    }

    /// A call has ended; what the target asked for counts for the whole connector.
    pub fn finish(&self, connector: &Arc<str>, permit: Permit, outcome: CallOutcome, retry_after_ms: Option<u64>) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let gate = state.gate(connector);
        if let Some(wait_ms) = retry_after_ms {
            gate.retry_after(now_ms.saturating_add(wait_ms), now_ms);
        }
        let asked_until_ms = gate.asked_until_ms();
        let news = gate.finish(permit, outcome, now_ms);
        let open_until_ms = gate.breaker().open_until_ms();
        state.wake(&news);
        let is_longer = asked_until_ms > now_ms.saturating_add(WAIT_TOLD_MS)
            && state.told.get(connector).is_none_or(|told| asked_until_ms > told + WAIT_TOLD_MS);
        if is_longer {
            state.told.insert(connector.clone(), asked_until_ms);
        }
        drop(state);
        self.tell(connector, news.transition, open_until_ms);
        if let Some(told) = self.on_wait.as_ref().filter(|_| is_longer) {
            told(connector, Some(asked_until_ms));
        }
    }

    /// A call has ended with the answer that our credentials are refused: nobody calls the target for a while.
    pub fn hold(&self, connector: &Arc<str>, permit: Permit) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let gate = state.gate(connector);
        // It says nothing of whether the target works, so it closes no breaker either.
        gate.finish(permit, CallOutcome::Ignored, now_ms);
        let news = gate.hold(now_ms.saturating_add(HOLD_MS), now_ms);
        let open_until_ms = gate.breaker().open_until_ms();
        state.wake(&news);
        drop(state);
        if let Some(transition) = news.transition {
            (self.on_transition)(connector, Turned { transition, open_until_ms, is_refused: true });
        }
    }

    /// What an operator wants of a connector until a moment of the gates' clock, or that nothing is wanted any more. False if there is no
    /// such connector, which makes none.
    pub fn force(&self, connector: &str, wish: Option<(Override, u64)>) -> bool {
        let now_ms = self.now_ms();
        self.change(connector, |gate| gate.force(wish, now_ms))
    }

    /// Whether there is a gate of this connector.
    pub fn has(&self, connector: &str) -> bool {
        self.lock().gates.contains_key(connector)
    }

    /// Time passes: wishes that have ended are over, and what targets asked for, also while nobody asks.
    pub fn lapse(&self) {
        let now_ms = self.now_ms();
        for (connector, _) in self.states() {
            self.change(&connector, |gate| gate.lapse(now_ms));
        }
        let mut state = self.lock();
        let State { gates, told, .. } = &mut *state;
        let is_over = |connector: &Arc<str>| gates.get(connector).is_none_or(|gate| gate.asked_until_ms() <= now_ms);
        let over: Vec<Arc<str>> = told.keys().filter(|connector| is_over(connector)).cloned().collect();
        told.retain(|connector, _| !over.contains(connector));
        drop(state);
        over.iter().for_each(|connector| self.on_wait.iter().for_each(|told| told(connector, None)));
    }

    fn change(&self, connector: &str, change: impl FnOnce(&mut Gate) -> News) -> bool {
        let mut state = self.lock();
        let Some(gate) = state.gates.get_mut(connector) else { return false };
        let news = change(gate);
        let open_until_ms = gate.breaker().open_until_ms();
        state.wake(&news);
        drop(state);
        self.tell(connector, news.transition, open_until_ms);
        true
    }

    /// Where each connector's circuit breaker stands.
    pub fn states(&self) -> Vec<(Arc<str>, BreakerState)> {
        let state = self.lock();
        state.gates.iter().map(|(name, gate)| (name.clone(), gate.breaker().state())).collect()
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms().unsigned_abs()
    }

    fn tell(&self, connector: &str, transition: Option<Transition>, open_until_ms: Option<u64>) {
        if let Some(transition) = transition {
            (self.on_transition)(connector, Turned { transition, open_until_ms, is_refused: false });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A gate is changed by calls that do not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn gate(&mut self, connector: &Arc<str>) -> &mut Gate {
        // The names come from definitions, of which an instance knows a bounded number.
        self.gates.entry(connector.clone()).or_insert_with(|| {
            let breaker = BreakerPolicy::simple(SLIDING_WINDOW_CALLS, 1);
            Gate::new(GatePolicy { concurrency: UNKNOWN_CONCURRENCY, rate: None, breaker }, Breaker::new(breaker))
        })
    }

    fn wake(&self, news: &News) {
        for lane in &news.wake {
            if let Some(inbox) = self.lanes.get(lane).and_then(Weak::upgrade) {
                inbox.push(Event::Wake);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTOR: &str = "billing";

    /// Gates of one connector, and where its breaker went.
    fn gates(concurrency: u32, failures: u32) -> (Gates, Arc<Mutex<Vec<BreakerState>>>) {
        let policy = GatePolicy { concurrency, rate: None, breaker: BreakerPolicy::simple(failures, 1) };
        let went = Arc::new(Mutex::new(Vec::new()));
        let told = went.clone();
        let told = move |_: &str, turned: Turned| told.lock().unwrap().push(turned.transition.to);
        (Gates::new(BTreeMap::from([(CONNECTOR.into(), (policy, None))]), Steady::default(), Box::new(told)), went)
    }

    fn is_woken(inbox: &Inbox) -> bool {
        inbox.take().iter().any(|event| matches!(event, Event::Wake))
    }

    #[test]
    fn the_late_end_of_a_lane_leaves_the_one_that_started_again_alone() {
        let (gates, _) = gates(1, 5);
        let (connector, lane): (Arc<str>, _) = (CONNECTOR.into(), LaneId(0));
        let (before, now) = (Arc::new(Inbox::default()), Arc::new(Inbox::default()));
        gates.enter(lane, &before);
        gates.enter(lane, &now);
        let other = gates.ask(&connector, LaneId(1)).expect("there is room");
        assert!(gates.ask(&connector, lane).is_err());
        gates.leave(lane, &before);
        gates.finish(&connector, other, CallOutcome::Success, None);
        assert!(is_woken(&now) && !is_woken(&before));
        gates.leave(lane, &now);
        gates.ask(&connector, LaneId(1)).expect("no slot is kept for a lane that has ended");
    }

    #[test]
    fn a_wish_of_an_operator_wakes_who_is_parked_and_lapses_by_itself() {
        let (gates, went) = gates(4, 1);
        let (connector, lane): (Arc<str>, _) = (CONNECTOR.into(), LaneId(0));
        let inbox = Arc::new(Inbox::default());
        gates.enter(lane, &inbox);
        assert!(gates.force(CONNECTOR, Some((Override::Open, u64::MAX))));
        assert!(gates.ask(&connector, lane).is_err());
        gates.lapse();
        assert!(!is_woken(&inbox), "nothing has changed");
        assert!(gates.force(CONNECTOR, Some((Override::Close, gates.now_ms() + 1))));
        assert!(is_woken(&inbox));
        while gates.states()[0].1 != BreakerState::HalfOpen {
            gates.lapse();
        }
        let states = [BreakerState::ForcedOpen, BreakerState::Disabled, BreakerState::HalfOpen];
        assert_eq!(*went.lock().unwrap(), states);
        assert!(!gates.force("nobody", Some((Override::Open, u64::MAX))));
        assert_eq!(gates.states().len(), 1, "what a record names makes no gate");
    }

    #[test]
    fn refused_credentials_close_no_breaker_on_their_way() {
        let (gates, went) = gates(1, 1);
        let connector: Arc<str> = CONNECTOR.into();
        let call = gates.ask(&connector, LaneId(0)).expect("it is closed");
        gates.finish(&connector, call, CallOutcome::Failure, None);
        // It is open for a millisecond.
        let probe = loop {
            if let Ok(probe) = gates.ask(&connector, LaneId(0)) {
                break probe;
            }
        };
        gates.hold(&connector, probe);
        assert_eq!(*went.lock().unwrap(), [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Open]);
        assert!(gates.ask(&connector, LaneId(0)).is_err());
    }
}
