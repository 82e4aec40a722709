//! What a connector sees of an instance that calls it, and what follows from that alone: when the next call may start.
//!
//! It knows the policy, the calls that have started and how they have ended. It does not ask the gates, which it is to judge.

use std::collections::BTreeMap;

use tidegate::engine::breaker::{BreakerState, Override, SlidingWindow};
use tidegate::engine::gate::Barrier;

use super::control::Wish;
use super::gates::HOLD_MS;
use super::pace::Pace;
use super::policies::Policy;

/// What an answer says of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It works, whatever it has answered.
    Works,
    /// It does not.
    IsDown,
    /// It does not take the instance's credentials.
    Refuses,
}

/// One connector, as one instance has called it in one of its lives.
pub struct Seen {
    policy: Policy,
    pace: Option<Pace>,
    /// Rises with every change of the circuit breaker.
    era: u32,
    breaker: Breaker,
    under_way: BTreeMap<u64, Began>,
    /// What `Retry-After` asked for.
    alone_until_ms: i64,
    /// Calls of this era that may be under way while the connector comes back.
    ramp: Option<u32>,
}

/// In which era a call began, and whether it was to decide.
#[derive(Clone, Copy)]
struct Began {
    era: u32,
    is_probe: bool,
}

enum Breaker {
    /// The calls that began in this era and have ended: when, and whether each has failed.
    Closed(Vec<(i64, bool)>),
    Open {
        until_ms: i64,
    },
    /// Those that decide, and whether each has failed.
    HalfOpen(Vec<bool>),
    /// An operator wants it.
    Forced {
        wish: Override,
        until_ms: i64,
    },
}

impl Seen {
    /// One that was not called so far.
    pub fn new(policy: Policy) -> Seen {
        let (breaker, pace) = (Breaker::Closed(Vec::new()), policy.per_second.map(Pace::new));
        Seen { policy, pace, era: 0, breaker, under_way: BTreeMap::new(), alone_until_ms: 0, ramp: None }
    }

    /// The same for an instance that starts again: of what was before it knows at most that the breaker is open, and for no longer than
    /// if it had opened now. Of one whose time is over it is still to be seen whether the connector works.
    pub fn start_again(&self, remembers: bool, now_ms: i64) -> Seen {
        let longest_ms = now_ms + self.policy.gate.breaker.wait_duration_in_open_state_ms as i64;
        let mut seen = Seen::new(self.policy);
        let is_asking = matches!(self.breaker, Breaker::HalfOpen(_)).then_some(0);
        if let Some(until_ms) = self.open_until_ms().or(is_asking).filter(|_| remembers) {
            seen.open(until_ms.min(longest_ms));
        }
        seen
    }

    fn open_until_ms(&self) -> Option<i64> {
        if let Breaker::Open { until_ms } = self.breaker { Some(until_ms) } else { None }
    }

    /// The instance has read what an operator wants. Whoever wants calls to be made knows more than what the connector asked for before.
    pub fn forced(&mut self, wish: Wish, now_ms: i64) {
        self.lapse(now_ms);
        match wish.filter(|(_, until_ms)| now_ms < *until_ms) {
            Some((wish, until_ms)) => {
                if wish == Override::Close {
                    self.alone_until_ms = 0;
                }
                self.go(Breaker::Forced { wish, until_ms });
            }
            None if matches!(self.breaker, Breaker::Forced { .. }) => self.go(Breaker::HalfOpen(Vec::new())),
            None => {}
        }
    }

    /// What an operator wants may have ended: then it is to be seen whether the connector works.
    pub fn lapse(&mut self, now_ms: i64) {
        if matches!(self.breaker, Breaker::Forced { until_ms, .. } if now_ms >= until_ms) {
            self.go(Breaker::HalfOpen(Vec::new()));
        }
    }

    /// A call is asked for, and kept waiting by a part of the gate if by any. What is wrong with that: of its breaker the gate knows no more than is
    /// known here.
    pub fn asked(&mut self, barrier: Option<Barrier>, now_ms: i64) -> Option<String> {
        self.lapse(now_ms);
        let Some(Barrier::Breaker(state)) = barrier else { return None };
        match (&self.breaker, state) {
            (Breaker::Forced { wish: Override::Close, until_ms }, _) => {
                Some(format!("it waits for its breaker, and an operator holds it closed until {until_ms}"))
            }
            (Breaker::Forced { wish: Override::Open, .. }, BreakerState::ForcedOpen)
            | (Breaker::HalfOpen(_), BreakerState::HalfOpen) => None,
            (_, BreakerState::ForcedOpen) => Some("it waits for an operator, and nobody holds it open".to_owned()),
            (Breaker::Open { until_ms }, BreakerState::Open) if now_ms < *until_ms => None,
            _ => Some(format!("it waits for its breaker, which is not {}", state.name())),
        }
    }

    /// A call starts. What is wrong with that.
    pub fn started(&mut self, number: u64, now_ms: i64) -> Option<String> {
        let mut wrong = None;
        self.lapse(now_ms);
        if let Breaker::Forced { wish: Override::Open, until_ms } = self.breaker {
            wrong = Some(format!("an operator holds it open until {until_ms}"));
        }
        if let Breaker::Open { until_ms } = self.breaker {
            wrong = (now_ms < until_ms).then(|| format!("its breaker is open until {until_ms}"));
            self.go(Breaker::HalfOpen(Vec::new()));
        }
        let is_probe = matches!(self.breaker, Breaker::HalfOpen(_));
        if let Breaker::HalfOpen(ended) = &self.breaker {
            let asked = ended.len() + self.under_way.values().filter(|it| it.era == self.era).count();
            let most = self.policy.gate.breaker.permitted_number_of_calls_in_half_open_state as usize;
            wrong = wrong.or_else(|| (asked >= most).then(|| format!("{asked} calls were to decide, of {most}")));
        }
        if now_ms < self.alone_until_ms {
            wrong = wrong.or_else(|| Some(format!("it was to be left alone until {}", self.alone_until_ms)));
        }
        let (all, most) = (self.under_way.len(), self.policy.gate.concurrency as usize);
        if all >= most {
            wrong = wrong.or_else(|| Some(format!("{all} calls are under way, of {most}")));
        }
        let since = self.under_way.values().filter(|it| it.era == self.era).count();
        if let Some(most) = self.ramp.filter(|most| since >= *most as usize) {
            wrong = wrong.or_else(|| Some(format!("{since} calls are under way since it is back, of {most}")));
        }
        let too_fast = self.pace.as_mut().and_then(|pace| pace.started(now_ms));
        self.under_way.insert(number, Began { era: self.era, is_probe });
        wrong.or(too_fast)
    }

    /// A call was broken off, which says nothing.
    pub fn broken_off(&mut self, number: u64) {
        self.under_way.remove(&number);
    }

    /// The answer to a call has come. Whether the call was to decide if the connector works again.
    pub fn answered(&mut self, number: u64, said: Said, retry_after_ms: Option<u64>, now_ms: i64) -> bool {
        let Some(began) = self.under_way.remove(&number) else { return false };
        if said == Said::Refuses {
            let until_ms = now_ms + HOLD_MS as i64;
            match self.breaker {
                // As long as an operator wants it, what it costs is that nobody calls.
                Breaker::Forced { wish: Override::Close, .. } => {
                    self.alone_until_ms = self.alone_until_ms.max(until_ms)
                }
                Breaker::Forced { wish: Override::Open, .. } => {}
                _ => self.open(self.open_until_ms().map_or(until_ms, |known| known.max(until_ms))),
            }
            return began.is_probe;
        }
        if let Some(wait_ms) = retry_after_ms {
            self.alone_until_ms = self.alone_until_ms.max(now_ms + wait_ms as i64);
        }
        if said == Said::Works && began.era == self.era {
            self.ramp = self.ramp.map(|most| most + 1).filter(|most| *most < self.policy.gate.concurrency);
        }
        // A call of an earlier era decides nothing.
        if began.era == self.era {
            self.count(said == Said::IsDown, now_ms);
        }
        began.is_probe
    }

    fn count(&mut self, has_failed: bool, now_ms: i64) {
        let policy = self.policy.gate.breaker;
        let is_too_much = |ended: &[bool]| {
            let failed = ended.iter().filter(|failed| **failed).count();
            failed * 100 >= ended.len() * usize::from(policy.failure_rate_threshold)
        };
        let probes = policy.permitted_number_of_calls_in_half_open_state;
        let reopen_ms = now_ms + policy.wait_duration_in_open_state_ms as i64;
        match &mut self.breaker {
            Breaker::Closed(ended) => {
                ended.push((now_ms, has_failed));
                let last = last(ended, policy.sliding_window, now_ms);
                if last.len() >= policy.minimum_number_of_calls as usize && is_too_much(&last) {
                    self.open(reopen_ms);
                }
            }
            Breaker::HalfOpen(ended) => {
                ended.push(has_failed);
                if ended.len() < probes as usize {
                    return;
                }
                if is_too_much(ended) {
                    return self.open(reopen_ms);
                }
                self.go(Breaker::Closed(Vec::new()));
                self.ramp = (probes < self.policy.gate.concurrency).then_some(probes);
            }
            Breaker::Open { .. } | Breaker::Forced { .. } => {}
        }
    }

    fn open(&mut self, until_ms: i64) {
        self.go(Breaker::Open { until_ms });
    }

    fn go(&mut self, to: Breaker) {
        (self.breaker, self.ramp) = (to, None);
        self.era += 1;
    }
}

/// Whether those have failed that a breaker looks at: the last so many, or those of the last so many seconds, the present one included.
fn last(ended: &[(i64, bool)], window: SlidingWindow, now_ms: i64) -> Vec<bool> {
    let ended = ended.iter();
    match window {
        SlidingWindow::Count(calls) => ended.rev().take(calls as usize).map(|(_, failed)| *failed).collect(),
        SlidingWindow::Seconds(seconds) => {
            let since_ms = (now_ms / 1_000 + 1 - i64::from(seconds)) * 1_000;
            ended.filter(|(at_ms, _)| *at_ms >= since_ms).map(|(_, failed)| *failed).collect()
        }
    }
}
