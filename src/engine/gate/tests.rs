//! Tests of the gate: its parts one by one, and that it keeps its limits whatever happens.

use proptest::prelude::*;

use super::*;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);

fn gate(concurrency: u32, rate: Option<f64>) -> Gate {
    let breaker = BreakerPolicy::simple(2, 1_000);
    let rate = rate.map(|rate| Rate::per_second(rate).expect("it is within the limits"));
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
    let mut gate = gate(1_000, Some(20.0));
    let started = (0..10_000_u64).filter(|now| gate.ask(A, *now).0.is_ok()).count();
    // Ten seconds of them, and what may come at once.
    assert!((200..=202).contains(&started), "{started}");
    granted(&mut gate, A, 10_000);
    parked(&mut gate, A, 10_000, Barrier::Rate, Some(10_050));
}

#[test]
fn a_rate_may_be_below_one_a_second_and_is_shared_in_turn() {
    let mut slow = gate(10, Some(0.5));
    granted(&mut slow, A, 0);
    // What is asked later comes later: a share is kept for each lane that waits already.
    for (lane, until_ms) in [(A, 2_000), (B, 4_000)] {
        parked(&mut slow, lane, 0, Barrier::Rate, Some(until_ms));
    }
    parked(&mut slow, B, 2_000, Barrier::Rate, Some(4_000));
    granted(&mut slow, A, 2_000);
    parked(&mut slow, A, 2_000, Barrier::Rate, Some(6_000));
    // The one before it has nothing to ask for any more.
    assert_eq!(slow.pass(B).wake, [A]);
    parked(&mut slow, A, 2_000, Barrier::Rate, Some(4_000));
    granted(&mut slow, A, 4_000);
    for refused in [0.0, -1.0, 0.000_1, 100_001.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Rate::per_second(refused), None, "{refused}");
    }
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
fn calls_from_before_an_outage_do_not_count_for_the_ramp() {
    let mut gate = gate(4, None);
    let old = [granted(&mut gate, A, 0), granted(&mut gate, A, 0)];
    for call in [granted(&mut gate, A, 0), granted(&mut gate, A, 0)] {
        gate.finish(call, CallOutcome::Failure, 0);
    }
    let probe = granted(&mut gate, A, 1_000);
    gate.finish(probe, CallOutcome::Success, 1_000);
    // Two calls take long and are still under way: the target is back all the same.
    let call = granted(&mut gate, A, 1_000);
    parked(&mut gate, A, 1_000, Barrier::Ramp, None);
    for late in old {
        gate.finish(late, CallOutcome::Success, 1_000);
        parked(&mut gate, A, 1_000, Barrier::Ramp, None);
    }
    gate.finish(call, CallOutcome::Success, 1_000);
    granted(&mut gate, A, 1_000);
    granted(&mut gate, A, 1_000);
    parked(&mut gate, A, 1_000, Barrier::Ramp, None);
}

fn went(news: News) -> Option<BreakerState> {
    news.transition.map(|it| it.to)
}

#[test]
fn an_operator_and_refused_credentials_open_it() {
    let mut gate = gate(4, None);
    assert!(gate.hold(700, 0).transition.is_some());
    parked(&mut gate, A, 0, Barrier::Breaker(BreakerState::Open), Some(700));
    assert_eq!(gate.force(Some((Override::Close, 5_000)), 0).wake, [A], "what is parked goes on at once");
    granted(&mut gate, A, 0);
    assert!(gate.force(Some((Override::Open, 5_000)), 0).transition.is_some());
    parked(&mut gate, A, 0, Barrier::Breaker(BreakerState::ForcedOpen), Some(5_000));
    assert_eq!(gate.force(None, 0), News { transition: gate_opened(), wake: vec![A] });
    granted(&mut gate, A, 0);
}

fn gate_opened() -> Option<Transition> {
    Some(Transition { from: BreakerState::ForcedOpen, to: BreakerState::HalfOpen })
}

#[test]
fn a_wish_lapses_whether_somebody_asks_or_not() {
    for asks in [true, false] {
        let mut gate = gate(4, None);
        gate.force(Some((Override::Open, 1_000)), 0);
        parked(&mut gate, A, 999, Barrier::Breaker(BreakerState::ForcedOpen), Some(1_000));
        assert_eq!(gate.lapse(999), News::default());
        if asks {
            let (asked, transition) = gate.ask(A, 1_000);
            assert!(asked.is_ok() && transition == gate_opened());
        } else {
            assert_eq!(gate.lapse(1_000), News { transition: gate_opened(), wake: vec![A] });
        }
        assert_eq!(gate.lapse(2_000), News::default(), "it is over once");
    }
}

#[test]
fn a_wish_that_is_over_when_it_comes_does_nothing_but_end_the_one_before() {
    let mut gate = gate(4, None);
    assert_eq!(went(gate.force(Some((Override::Open, 500)), 500)), None);
    granted(&mut gate, A, 500);
    gate.force(Some((Override::Open, 9_000)), 500);
    assert_eq!(went(gate.force(Some((Override::Close, 400)), 500)), Some(BreakerState::HalfOpen));
}

#[test]
fn a_breaker_that_is_held_closed_minds_no_failures() {
    let mut gate = gate(4, None);
    gate.retry_after(50_000, 0);
    assert_eq!(went(gate.force(Some((Override::Close, 90_000)), 0)), Some(BreakerState::Disabled));
    for _ in 0..20 {
        let call = granted(&mut gate, A, 0);
        assert_eq!(went(gate.finish(call, CallOutcome::Failure, 0)), None);
    }
    // A target that refuses our credentials is left alone all the same, until the operator says it again.
    assert_eq!(went(gate.hold(60_000, 0)), None);
    parked(&mut gate, A, 0, Barrier::RetryAfter, Some(60_000));
    assert_eq!(gate.force(Some((Override::Close, 91_000)), 1).wake, [A]);
    granted(&mut gate, A, 1);
}

proptest! {
    /// Whatever happens: no more calls are under way than may be, none starts before it may, and when all have ended somebody who
    /// waits is told.
    #[test]
    fn a_gate_keeps_its_limits(
        concurrency in 1_u32..6, rate in prop::option::of(0.5_f64..50.0),
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
                prop_assert!(within <= (rate * 1.1).ceil() as usize + 1, "{within} within a second");
            }
        }
    }
}
