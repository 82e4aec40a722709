//! The gate of a connector: whether a call may start now. A pure machine, one per connector and instance, shared by the lanes.
//!
//! ```text
//!  ask ─▶ breaker ─▶ Retry-After ─▶ concurrency and ramp ─▶ rate ─▶ granted
//!            └───────────┴───────────────┴──────────────────┴─────▶ parked: why, and when to ask again
//! ```
//!
//! A lane whose call is parked asks again when the moment has come that it was told, or when it is among the lanes that
//! [`Gate::finish`] names; one that has nothing to ask for any more says so ([`Gate::pass`]). Nothing here queues calls: each lane has
//! its own, and a gate costs the same whatever waits before it. Lanes that wait are served in turn: a slot is kept for each before one
//! that came later gets it.

mod rate;
#[cfg(test)]
mod tests;

pub use rate::{RATE, Rate};

use std::collections::VecDeque;

use rate::Bucket;

use super::breaker::{Breaker, BreakerPolicy, BreakerState, CallOutcome, Override, Permit, Transition};

/// Calls under way at once of one connector and instance, at most: each holds a connection and its answer.
pub const CONCURRENCY: u32 = 10_000;
/// How far ahead a target may put off its callers with `Retry-After`, in milliseconds: an hour.
pub const RETRY_AFTER_MS: u64 = 60 * 60 * 1000;

/// What a connector is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// Calls under way at once, 1 to [`CONCURRENCY`].
    pub concurrency: u32,
    /// How fast calls may start, one after the other; None is any number at once.
    pub rate: Option<Rate>,
    /// Its circuit breaker.
    pub breaker: BreakerPolicy,
}

/// A lane, as gates know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u32);

/// Which part of a gate keeps a call waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Barrier {
    /// The circuit breaker.
    Breaker(BreakerState),
    /// The target asked to be left alone for a while.
    RetryAfter,
    /// As many calls are under way as may be.
    Concurrency,
    /// The connector is back, and calls come back to it step by step.
    Ramp,
    /// As many calls were started within a second as may be.
    Rate,
}

/// A call that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked {
    /// What it waits for.
    pub barrier: Barrier,
    /// When to ask again; None: when a call of the connector has ended.
    pub until_ms: Option<u64>,
}

/// What came of an ended call, or of an operator's wish.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// A change of the circuit breaker.
    pub transition: Option<Transition>,
    /// The lanes that may ask again.
    pub wake: Vec<LaneId>,
}

/// The gate of one connector.
#[derive(Debug)]
pub struct Gate {
    policy: GatePolicy,
    breaker: Breaker,
    /// Lanes that wait, those that came first before the others; each once.
    waiting: VecDeque<LaneId>,
    in_flight: u32,
    not_before_ms: u64,
    ramp: Option<Ramp>,
    rate: Bucket,
}

/// How many calls may be under way after an outage: one more for every call that succeeds, so twice as many each round. Calls that were under
/// way before it, and may take long, count for nothing here.
#[derive(Debug)]
struct Ramp {
    limit: u32,
    in_flight: u32,
}

impl Gate {
    /// A gate with a breaker that may come from a snapshot.
    pub fn new(policy: GatePolicy, breaker: Breaker) -> Gate {
        Gate {
            policy,
            breaker,
            waiting: VecDeque::new(),
            in_flight: 0,
            not_before_ms: 0,
            ramp: None,
            rate: Bucket::default(),
        }
    }

    /// Asks for a call; its permit goes back to [`Gate::finish`]. The second value is a change of the breaker that came with the question.
    pub fn ask(&mut self, lane: LaneId, now_ms: u64) -> (Result<Permit, Parked>, Option<Transition>) {
        let transition = self.breaker.tick(now_ms);
        let granted = match self.parked(lane, now_ms) {
            // A breaker that does not deny a call grants it.
            None => self.breaker.acquire(now_ms).0.map_err(|denied| self.by_breaker(denied.until_ms)),
            Some(parked) => Err(parked),
        };
        if granted.is_ok() {
            self.waiting.retain(|it| *it != lane);
            self.in_flight += 1;
            self.ramp.iter_mut().for_each(|ramp| ramp.in_flight += 1);
            self.rate.take(self.policy.rate, now_ms);
        } else if !self.waiting.contains(&lane) {
            self.waiting.push_back(lane);
        }
        (granted, transition)
    }

    /// What keeps a lane's next call waiting. What lasts longest comes first: it is what an operator wants to read.
    fn parked(&self, lane: LaneId, now_ms: u64) -> Option<Parked> {
        if let Some(denied) = self.breaker.denial() {
            return Some(self.by_breaker(denied.until_ms));
        }
        if now_ms < self.not_before_ms {
            return Some(Parked { barrier: Barrier::RetryAfter, until_ms: Some(self.not_before_ms) });
        }
        let before_it = self.waiting.iter().take_while(|it| **it != lane).count() as u32;
        if self.ramp.as_ref().is_some_and(|ramp| ramp.in_flight.saturating_add(before_it) >= ramp.limit) {
            return Some(Parked { barrier: Barrier::Ramp, until_ms: None });
        }
        if self.in_flight.saturating_add(before_it) >= self.policy.concurrency {
            return Some(Parked { barrier: Barrier::Concurrency, until_ms: None });
        }
        let until_ms = self.rate.full_until_ms(self.policy.rate, before_it, now_ms)?;
        Some(Parked { barrier: Barrier::Rate, until_ms: Some(until_ms) })
    }

    fn by_breaker(&self, until_ms: Option<u64>) -> Parked {
        Parked { barrier: Barrier::Breaker(self.breaker.state()), until_ms }
    }

    /// A lane has no call to ask for any more. Returns the lanes that may ask again in its place.
    pub fn pass(&mut self, lane: LaneId) -> News {
        self.waiting.retain(|it| *it != lane);
        self.news(None)
    }

    /// A call has ended; one whose lane is gone has the outcome [`CallOutcome::Ignored`].
    pub fn finish(&mut self, permit: Permit, outcome: CallOutcome, now_ms: u64) -> News {
        self.in_flight = self.in_flight.saturating_sub(1);
        // The late answer of a call from before decides nothing.
        if self.breaker.is_of_now(&permit)
            && let Some(ramp) = &mut self.ramp
        {
            ramp.in_flight = ramp.in_flight.saturating_sub(1);
            ramp.limit += u32::from(outcome == CallOutcome::Success);
            if ramp.limit >= self.policy.concurrency {
                self.ramp = None;
            }
        }
        let transition = self.breaker.finish(permit, outcome, now_ms);
        self.news(transition)
    }

    /// The target asks to be left alone until a moment, at most [`RETRY_AFTER_MS`] ahead: no call of the connector starts before.
    pub fn retry_after(&mut self, until_ms: u64, now_ms: u64) {
        let until_ms = until_ms.min(now_ms.saturating_add(RETRY_AFTER_MS));
        self.not_before_ms = self.not_before_ms.max(until_ms);
    }

    /// Until when the target asked to be left alone last; 0 if it never did, or an operator knows better.
    pub fn asked_until_ms(&self) -> u64 {
        self.not_before_ms
    }

    /// Opens the breaker until a moment: the target refuses our credentials. One that an operator holds closed stays so, but the target
    /// is left alone until then: calls that it refuses cost no attempts, and would be made again at once and without an end.
    pub fn hold(&mut self, until_ms: u64, now_ms: u64) -> News {
        if self.breaker.state() == BreakerState::Disabled {
            self.retry_after(until_ms, now_ms);
        }
        let transition = self.breaker.trip(until_ms, now_ms);
        self.news(transition)
    }

    /// An operator's wish until a moment, or its end. One whose moment has passed already is none, and ends the one before.
    pub fn force(&mut self, wish: Option<(Override, u64)>, now_ms: u64) -> News {
        let transition = match wish.filter(|(_, until_ms)| now_ms < *until_ms) {
            Some((wish, until_ms)) => {
                if wish == Override::Close {
                    // Whoever says that calls are to be made knows more than what the target asked for before.
                    self.not_before_ms = 0;
                }
                self.breaker.force(wish, until_ms, now_ms)
            }
            None => self.breaker.release(),
        };
        self.news(transition)
    }

    /// Time passes: a wish that has ended is over, also while nobody asks.
    pub fn lapse(&mut self, now_ms: u64) -> News {
        match self.breaker.lapse(now_ms) {
            Some(transition) => self.news(Some(transition)),
            None => News::default(),
        }
    }

    /// The circuit breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Calls under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn news(&mut self, transition: Option<Transition>) -> News {
        match transition.map(|it| it.to) {
            Some(BreakerState::Closed) => {
                let limit = self.breaker.policy().permitted_number_of_calls_in_half_open_state;
                self.ramp = (limit < self.policy.concurrency).then_some(Ramp { limit, in_flight: 0 });
            }
            Some(_) => self.ramp = None,
            None => {}
        }
        News { transition, wake: self.waiting.iter().copied().collect() }
    }
}
