//! The circuit breaker of a connector: a pure state machine with the rules and names of resilience4j 2 (CircuitBreaker).
//!
//! ```text
//!            failure rate ≥ failureRateThreshold               waitDurationInOpenState is over
//!  closed ────────────────────────────────────────▶ open ───────────────────────────────────▶ half-open
//!    ▲                                                ▲                                           │
//!    └───────────── rate below the threshold ─────────┴──────── rate at or above it ──────────────┘
//! ```
//!
//! A call that may be made gets a [`Permit`], which names the breaker's generation. Every change of state begins another one, and the
//! outcome of a call of an older generation decides nothing: a call that was started before an outage says nothing of the time after it.
//! Times are milliseconds of any clock that never goes back.

mod policy;
#[cfg(test)]
mod tests;
mod window;

pub use policy::{BadPolicy, BreakerPolicy, SLIDING_WINDOW_CALLS, SLIDING_WINDOW_SECONDS, SlidingWindow};

use window::Window;

/// How far ahead an override may end: a year.
pub const OVERRIDE_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls are made, and counted.
    Closed,
    /// No call is made.
    Open,
    /// A few calls are made, which decide.
    HalfOpen,
    /// An operator wants no call to be made.
    ForcedOpen,
    /// An operator wants calls to be made whatever becomes of them (resilience4j's `DISABLED`).
    Disabled,
}

impl BreakerState {
    /// Every state, for metrics.
    pub const ALL: [BreakerState; 5] = [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
        BreakerState::ForcedOpen,
        BreakerState::Disabled,
    ];

    /// The name in metrics, records and commands.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half-open",
            BreakerState::ForcedOpen => "forced-open",
            BreakerState::Disabled => "disabled",
        }
    }
}

/// The right to make one call. It comes back with the outcome, or without one.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    generation: u64,
    is_probe: bool,
}

impl Permit {
    /// Whether its call asks if the connector works again. That it does not is no news, and says nothing of whoever makes the call.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }
}

/// How a call ended, as far as its connector is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The connector works, whatever it answered.
    Success,
    /// It does not.
    Failure,
    /// It says nothing of the connector: the call was cancelled, or was never made.
    Ignored,
}

/// No call may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// When to ask again, at the earliest; None if that depends on calls that are under way, or on an operator.
    pub until_ms: Option<u64>,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// No calls.
    Open,
    /// Calls, whatever becomes of them.
    Close,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: BreakerState,
    /// The state since.
    pub to: BreakerState,
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    generation: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open { until_ms: u64 },
    HalfOpen { asked: u32, answered: u32, failed: u32 },
    Forced { wish: Override, until_ms: u64 },
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    pub fn new(policy: BreakerPolicy) -> Breaker {
        Breaker { policy, generation: 1, phase: Phase::Closed(Window::new(policy.sliding_window)) }
    }

    /// One that was open until a moment when its process ended, so that a restart does not hammer a dead target. A moment further
    /// ahead than it ever stays open, as after a change of the clock, counts as that.
    pub fn restored(policy: BreakerPolicy, open_until_ms: u64, now_ms: u64) -> Breaker {
        let until_ms = open_until_ms.min(now_ms.saturating_add(policy.wait_duration_in_open_state_ms));
        Breaker { policy, generation: 1, phase: Phase::Open { until_ms } }
    }

    /// How it decides.
    pub fn policy(&self) -> &BreakerPolicy {
        &self.policy
    }

    /// Where it stands. An open one whose time is over stays open until somebody asks.
    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Forced { wish: Override::Open, .. } => BreakerState::ForcedOpen,
            Phase::Forced { wish: Override::Close, .. } => BreakerState::Disabled,
        }
    }

    /// Until when it stays open by itself; what [`Breaker::restored`] takes. One that is half-open was open until some moment that has passed:
    /// nobody knows yet that the target works, so whoever restores it asks as well.
    pub fn open_until_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { until_ms } => Some(until_ms),
            Phase::HalfOpen { .. } => Some(0),
            Phase::Closed(_) | Phase::Forced { .. } => None,
        }
    }

    /// Whether a call began since the last change of state.
    pub fn is_of_now(&self, permit: &Permit) -> bool {
        permit.generation == self.generation
    }

    /// Asks for a call. The second value is a change that came with the question.
    pub fn acquire(&mut self, now_ms: u64) -> (Result<Permit, Denied>, Option<Transition>) {
        let transition = self.tick(now_ms);
        if let Some(denied) = self.denial() {
            return (Err(denied), transition);
        }
        let is_probe = match &mut self.phase {
            Phase::HalfOpen { asked, .. } => {
                *asked += 1;
                true
            }
            Phase::Closed(_) | Phase::Open { .. } | Phase::Forced { .. } => false,
        };
        (Ok(Permit { generation: self.generation, is_probe }), transition)
    }

    /// Why no call may be made, as of the last [`Breaker::tick`]; None if one may.
    pub fn denial(&self) -> Option<Denied> {
        let probes = self.policy.permitted_number_of_calls_in_half_open_state;
        match self.phase {
            Phase::Closed(_) | Phase::Forced { wish: Override::Close, .. } => None,
            Phase::Open { until_ms } | Phase::Forced { wish: Override::Open, until_ms } => {
                Some(Denied { until_ms: Some(until_ms) })
            }
            Phase::HalfOpen { asked, .. } => (asked >= probes).then_some(Denied { until_ms: None }),
        }
    }

    /// A call has ended.
    pub fn finish(&mut self, permit: Permit, outcome: CallOutcome, now_ms: u64) -> Option<Transition> {
        if permit.generation != self.generation {
            return None;
        }
        let failed = outcome == CallOutcome::Failure;
        match &mut self.phase {
            Phase::Closed(window) if outcome != CallOutcome::Ignored => {
                window.push(failed, now_ms);
                let (calls, failures) = window.counts(now_ms);
                let decides = calls >= self.policy.minimum_number_of_calls && self.policy.is_too_much(failures, calls);
                if decides { Some(self.open(now_ms)) } else { None }
            }
            Phase::HalfOpen { asked, .. } if outcome == CallOutcome::Ignored => {
                *asked -= 1;
                None
            }
            Phase::HalfOpen { answered, failed: failures, .. } => {
                *answered += 1;
                *failures += u32::from(failed);
                let (answered, failures) = (*answered, *failures);
                if answered < self.policy.permitted_number_of_calls_in_half_open_state {
                    None
                } else if self.policy.is_too_much(failures, answered) {
                    Some(self.open(now_ms))
                } else {
                    Some(self.go(Phase::Closed(Window::new(self.policy.sliding_window))))
                }
            }
            Phase::Closed(_) | Phase::Open { .. } | Phase::Forced { .. } => None,
        }
    }

    /// Opens it now, whatever the calls say, until a moment: the target has said so itself, or refuses our credentials.
    pub fn trip(&mut self, until_ms: u64, now_ms: u64) -> Option<Transition> {
        match &mut self.phase {
            Phase::Forced { .. } => None,
            Phase::Open { until_ms: known } => {
                *known = (*known).max(until_ms);
                None
            }
            Phase::Closed(_) | Phase::HalfOpen { .. } => Some(self.go(Phase::Open { until_ms: until_ms.max(now_ms) })),
        }
    }

    /// An operator's wish, until a moment; at most [`OVERRIDE_MS`] ahead. After it the breaker asks the target: it is half-open.
    pub fn force(&mut self, wish: Override, until_ms: u64, now_ms: u64) -> Option<Transition> {
        let until_ms = until_ms.min(now_ms.saturating_add(OVERRIDE_MS));
        let from = self.state();
        let transition = self.go(Phase::Forced { wish, until_ms });
        (transition.to != from).then_some(transition)
    }

    /// The operator takes the wish back.
    pub fn release(&mut self) -> Option<Transition> {
        matches!(self.phase, Phase::Forced { .. }).then(|| self.go(HALF_OPEN))
    }

    /// Time passes, and nobody asks: only a wish that has ended is over. An open breaker stays open until somebody asks.
    pub fn lapse(&mut self, now_ms: u64) -> Option<Transition> {
        if matches!(self.phase, Phase::Forced { .. }) { self.tick(now_ms) } else { None }
    }

    /// Time has passed, and somebody asks.
    pub fn tick(&mut self, now_ms: u64) -> Option<Transition> {
        match self.phase {
            Phase::Open { until_ms } | Phase::Forced { until_ms, .. } if now_ms >= until_ms => Some(self.go(HALF_OPEN)),
            Phase::Closed(_) | Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Forced { .. } => None,
        }
    }

    fn open(&mut self, now_ms: u64) -> Transition {
        self.go(Phase::Open { until_ms: now_ms.saturating_add(self.policy.wait_duration_in_open_state_ms) })
    }

    fn go(&mut self, to: Phase) -> Transition {
        let from = self.state();
        self.phase = to;
        self.generation += 1;
        Transition { from, to: self.state() }
    }
}

const HALF_OPEN: Phase = Phase::HalfOpen { asked: 0, answered: 0, failed: 0 };
