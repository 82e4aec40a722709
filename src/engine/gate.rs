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

use std::collections::VecDeque;

use super::breaker::{Breaker, BreakerPolicy, BreakerState, CallOutcome, Override, Permit, Transition};

/// Calls under way at once of one connector and instance, at most: each holds a connection and its answer.
pub const CONCURRENCY: u32 = 10_000;
/// Calls a second of one connector and instance, at most.
pub const RATE: u32 = 100_000;
/// How far ahead a target may put off its callers with `Retry-After`, in milliseconds: an hour.
pub const RETRY_AFTER_MS: u64 = 60 * 60 * 1000;

/// What a connector is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// Calls under way at once, 1 to [`CONCURRENCY`].
    pub concurrency: u32,
    /// Calls that may start within a second, 1 to [`RATE`]; None is any number.
    pub rate: Option<u32>,
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

/// How many calls may be under way after an outage: one more for every call that succeeds, so twice as many each round.
#[derive(Debug)]
struct Ramp {
    limit: u32,
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
        let (limit, barrier) = match &self.ramp {
            Some(ramp) => (ramp.limit, Barrier::Ramp),
            None => (self.policy.concurrency, Barrier::Concurrency),
        };
        if self.in_flight.saturating_add(before_it) >= limit {
            return Some(Parked { barrier, until_ms: None });
        }
        let until_ms = self.rate.full_until_ms(self.policy.rate, now_ms)?;
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
        if outcome == CallOutcome::Success
            && let Some(ramp) = &mut self.ramp
        {
            ramp.limit += 1;
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

    /// Opens the breaker until a moment: the target refuses our credentials.
    pub fn hold(&mut self, until_ms: u64, now_ms: u64) -> News {
        let transition = self.breaker.trip(until_ms, now_ms);
        self.news(transition)
    }

    /// An operator's wish until a moment, or its end.
    pub fn force(&mut self, wish: Option<(Override, u64)>, now_ms: u64) -> News {
        let transition = match wish {
            Some((wish, until_ms)) => self.breaker.force(wish, until_ms, now_ms),
            None => self.breaker.release(),
        };
        self.news(transition)
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
                self.ramp = (limit < self.policy.concurrency).then_some(Ramp { limit });
            }
            Some(_) => self.ramp = None,
            None => {}
        }
        News { transition, wake: self.waiting.iter().copied().collect() }
    }
}

/// Calls that have started, spread over time: one takes a place for the length of its share of a second (the generic cell rate algorithm,
/// ITU-T I.371, with a burst of a tenth of a second).
#[derive(Debug, Default)]
struct Bucket {
    /// When everything that was taken is paid for, in microseconds.
    paid_us: u64,
}

/// How much may be taken at once, in microseconds of the rate.
const BURST_US: u64 = 100_000;

impl Bucket {
    /// When there is room again, in milliseconds, rounded up; None if there is.
    fn full_until_ms(&self, rate: Option<u32>, now_ms: u64) -> Option<u64> {
        let share_us = 1_000_000 / u64::from(rate?.max(1));
        let room_us = (self.paid_us + share_us).saturating_sub(BURST_US.max(share_us));
        (room_us > now_ms.saturating_mul(1000)).then(|| room_us.div_ceil(1000))
    }

    fn take(&mut self, rate: Option<u32>, now_ms: u64) {
        if let Some(rate) = rate {
            let share_us = 1_000_000 / u64::from(rate.max(1));
            self.paid_us = self.paid_us.max(now_ms.saturating_mul(1000)).saturating_add(share_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);

    fn gate(concurrency: u32, rate: Option<u32>) -> Gate {
        let breaker = BreakerPolicy::simple(2, 1_000);
        Gate::new(GatePolicy { concurrency, rate, breaker }, Breaker::new(breaker))
    }

    #[track_caller]
    fn granted(gate: &mut Gate, lane: LaneId, now_ms: u64) -> Permit {
        gate.ask(lane, now_ms).0.expect("it is granted")
    }

    #[track_caller]
    fn parked(gate: &mut Gate, lane: LaneId, now_ms: u64, barrier: Barrier, until_ms: Option<u64>) {
        assert_eq!(gate.ask(lane, now_ms).0.expect_err("it is parked"), Parked { barrier, until_ms });
    }

    #[test]
    fn lanes_that_wait_are_served_in_turn() {
        let mut gate = gate(1, None);
        let mut call = granted(&mut gate, A, 0);
        parked(&mut gate, B, 0, Barrier::Concurrency, None);
        parked(&mut gate, A, 0, Barrier::Concurrency, None);
        for lane in [B, A, B, A] {
            let other = if lane == A { B } else { A };
            assert_eq!(gate.finish(call, CallOutcome::Success, 0).wake, [lane, other]);
            parked(&mut gate, other, 0, Barrier::Concurrency, None);
            call = granted(&mut gate, lane, 0);
            parked(&mut gate, lane, 0, Barrier::Concurrency, None);
        }
        assert_eq!(gate.finish(call, CallOutcome::Success, 0).wake, [B, A]);
        assert_eq!(gate.pass(B).wake, [A]);
        granted(&mut gate, A, 0);
    }

    #[test]
    fn a_rate_spreads_calls_over_time() {
        let mut gate = gate(1_000, Some(20));
        let started = (0..10_000_u64).filter(|now| gate.ask(A, *now).0.is_ok()).count();
        // Ten seconds of them, and what may come at once.
        assert!((200..=202).contains(&started), "{started}");
        granted(&mut gate, A, 10_000);
        parked(&mut gate, A, 10_000, Barrier::Rate, Some(10_050));
    }

    #[test]
    fn retry_after_delays_the_whole_connector() {
        let mut gate = gate(10, None);
        gate.retry_after(500, 0);
        gate.retry_after(300, 0);
        for lane in [A, B] {
            parked(&mut gate, lane, 499, Barrier::RetryAfter, Some(500));
        }
        granted(&mut gate, B, 500);
        gate.retry_after(u64::MAX, 500);
        parked(&mut gate, A, 600, Barrier::RetryAfter, Some(500 + RETRY_AFTER_MS));
    }

    #[test]
    fn calls_come_back_at_a_ramp_after_an_outage() {
        let mut gate = gate(4, None);
        for call in [granted(&mut gate, A, 0), granted(&mut gate, A, 0)] {
            gate.finish(call, CallOutcome::Failure, 0);
        }
        parked(&mut gate, A, 0, Barrier::Breaker(BreakerState::Open), Some(1_000));
        let probe = granted(&mut gate, A, 1_000);
        parked(&mut gate, A, 1_000, Barrier::Breaker(BreakerState::HalfOpen), None);
        let news = gate.finish(probe, CallOutcome::Success, 1_000);
        assert_eq!((news.transition.map(|it| it.to), news.wake), (Some(BreakerState::Closed), vec![A]));
        let mut most = Vec::new();
        for _ in 0..4 {
            let mut calls = Vec::new();
            while let Ok(call) = gate.ask(A, 1_000).0 {
                calls.push(call);
            }
            most.push(calls.len());
            calls.into_iter().for_each(|call| drop(gate.finish(call, CallOutcome::Success, 1_000)));
        }
        assert_eq!(most, [1, 2, 4, 4]);
    }

    #[test]
    fn an_operator_and_refused_credentials_open_it() {
        let mut gate = gate(4, None);
        assert!(gate.hold(700, 0).transition.is_some());
        parked(&mut gate, A, 0, Barrier::Breaker(BreakerState::Open), Some(700));
        assert!(gate.force(Some((Override::Close, 5_000)), 0).transition.is_some());
        granted(&mut gate, A, 0);
        assert!(gate.force(Some((Override::Open, 5_000)), 0).transition.is_some());
        parked(&mut gate, A, 0, Barrier::Breaker(BreakerState::ForcedOpen), Some(5_000));
        assert!(gate.force(None, 0).transition.is_some());
        granted(&mut gate, A, 0);
    }

    proptest! {
        /// Whatever happens: no more calls are under way than may be, none starts before it may, and when all have ended somebody who
        /// waits is told.
        #[test]
        fn a_gate_keeps_its_limits(
            concurrency in 1_u32..6, rate in prop::option::of(1_u32..50),
            events in prop::collection::vec((0_u8..8, 0_u32..4, 0_u64..400), 1..300),
        ) {
            let mut gate = gate(concurrency, rate);
            let (mut now, mut calls, mut not_before, mut starts) = (0, Vec::new(), 0, Vec::new());
            for (what, lane, passes) in events {
                now += passes;
                match what {
                    0..4 => match gate.ask(LaneId(lane), now).0 {
                        Ok(call) => {
                            prop_assert!(now >= not_before);
                            calls.push(call);
                            starts.push(now);
                        }
                        Err(parked) => {
                            prop_assert!(parked.until_ms.is_none_or(|until| until > now), "{parked:?} at {now}");
                            prop_assert!(parked.until_ms.is_some() || !calls.is_empty() || gate.waiting.len() > 1);
                        }
                    },
                    4..7 if !calls.is_empty() => {
                        let call = calls.swap_remove(passes as usize % calls.len());
                        let outcome = [CallOutcome::Success, CallOutcome::Failure, CallOutcome::Ignored];
                        let waiting = gate.waiting.len();
                        let news = gate.finish(call, outcome[usize::from(what - 4)], now);
                        prop_assert_eq!(news.wake.len(), waiting);
                    }
                    7 if passes < 40 => {
                        gate.retry_after(now + passes, now);
                        not_before = not_before.max(now + passes);
                    }
                    _ => drop(gate.pass(LaneId(lane))),
                }
                prop_assert_eq!(calls.len(), gate.in_flight() as usize);
                prop_assert!(calls.len() <= concurrency as usize);
            }
            if let Some(rate) = rate {
                for (at, start) in starts.iter().enumerate() {
                    let within = starts[at..].iter().take_while(|it| **it < start + 1_000).count();
                    prop_assert!(within <= rate as usize + rate.div_ceil(10) as usize + 1, "{within} within a second");
                }
            }
        }
    }
}
