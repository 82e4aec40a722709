//! Tests of the circuit breaker: its rules one by one, and against a plain list of all calls.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1000;

fn policy(window: SlidingWindow, minimum: u32, half_open: u32) -> BreakerPolicy {
    BreakerPolicy {
        failure_rate_threshold: 50,
        sliding_window: window,
        minimum_number_of_calls: minimum,
        wait_duration_in_open_state_ms: 10 * SECOND,
        permitted_number_of_calls_in_half_open_state: half_open,
    }
    .checked()
    .unwrap()
}

/// What each sign does to a breaker: `.` a success, `x` a failure, `o` an outcome that is ignored, `?` asks without an end, `_` a
/// second passes. Returns the state after each.
fn play(breaker: &mut Breaker, now_ms: &mut u64, signs: &str) -> String {
    let one = |sign| {
        let outcome = match sign {
            '_' => {
                *now_ms += SECOND;
                None
            }
            '?' => {
                let _ = breaker.acquire(*now_ms);
                None
            }
            '.' => Some(CallOutcome::Success),
            'x' => Some(CallOutcome::Failure),
            _ => Some(CallOutcome::Ignored),
        };
        if let Some(outcome) = outcome
            && let Ok(permit) = breaker.acquire(*now_ms).0
        {
            let _ = breaker.finish(permit, outcome, *now_ms);
        }
        match breaker.state() {
            BreakerState::Closed => 'C',
            BreakerState::Open => 'O',
            BreakerState::HalfOpen => 'H',
            BreakerState::ForcedOpen => 'F',
            BreakerState::Disabled => 'D',
        }
    };
    signs.chars().map(one).collect()
}

#[track_caller]
fn check(policy: BreakerPolicy, signs: &str, states: &str) {
    assert_eq!(play(&mut Breaker::new(policy), &mut 0, signs), states, "{signs}");
}

#[test]
fn the_simple_form_counts_failures_in_a_row() {
    let simple = BreakerPolicy::simple(3, 2 * SECOND).checked().unwrap();
    check(simple, "xx.xx.xxx", "CCCCCCCCO");
    check(simple, "xxx_x__.", "CCOOOOOC");
    check(simple, "xxx__x__.", "CCOOOOOOC");
}

#[test]
fn a_count_window_decides_by_the_share_of_its_last_calls() {
    let four = policy(SlidingWindow::Count(4), 4, 1);
    check(four, "xxx", "CCC");
    check(four, "xxxx", "CCCO");
    check(four, "x..x", "CCCO");
    check(four, "x...x...x...xx", "CCCCCCCCCCCCCO");
    check(four, "xoooox.o.", "CCCCCCCCO");
}

#[test]
fn a_time_window_forgets() {
    let three_seconds = policy(SlidingWindow::Seconds(3), 2, 1);
    check(three_seconds, "x___x", "CCCCC");
    check(three_seconds, "x__x", "CCCO");
    check(three_seconds, "..__x_x", "CCCCCCO");
}

#[test]
fn half_open_lets_so_many_calls_through_and_decides_by_them() {
    let two = policy(SlidingWindow::Count(1), 1, 2);
    check(two, "x__________..", "OOOOOOOOOOOHC");
    check(two, "x__________.x", "OOOOOOOOOOOHO");
    check(two, "x__________oo..", "OOOOOOOOOOOHHHC");
    let mut breaker = Breaker::new(two);
    let mut now = 0;
    play(&mut breaker, &mut now, "x__________??");
    assert_eq!(breaker.acquire(now), (Err(Denied { until_ms: None }), None));
}

#[test]
fn a_late_outcome_of_an_older_generation_decides_nothing() {
    let mut breaker = Breaker::new(policy(SlidingWindow::Count(1), 1, 1));
    let late = [(); 2].map(|()| breaker.acquire(0).0.unwrap());
    let (first, _) = breaker.acquire(0);
    assert!(!first.as_ref().is_ok_and(Permit::is_probe), "it works, as far as is known");
    let opened = breaker.finish(first.unwrap(), CallOutcome::Failure, 0).unwrap();
    assert_eq!(opened, Transition { from: BreakerState::Closed, to: BreakerState::Open });
    let [success, failure] = late;
    assert_eq!(breaker.finish(success, CallOutcome::Success, 1), None);
    let (probe, half_opened) = breaker.acquire(10 * SECOND);
    assert!(probe.as_ref().is_ok_and(Permit::is_probe), "it asks whether the connector works again");
    assert_eq!(half_opened, Some(Transition { from: BreakerState::Open, to: BreakerState::HalfOpen }));
    assert_eq!(breaker.finish(failure, CallOutcome::Failure, 10 * SECOND), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(breaker.finish(probe.unwrap(), CallOutcome::Success, 10 * SECOND).is_some());
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn an_operator_decides_until_the_wish_ends() {
    let mut breaker = Breaker::new(BreakerPolicy::simple(1, SECOND));
    assert!(breaker.force(Override::Open, 3 * SECOND, 0).is_some());
    assert_eq!(breaker.acquire(SECOND), (Err(Denied { until_ms: Some(3 * SECOND) }), None));
    assert_eq!(breaker.trip(99 * SECOND, SECOND), None);
    assert!(breaker.acquire(3 * SECOND).0.is_ok());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(breaker.force(Override::Close, u64::MAX, 3 * SECOND).is_some());
    let mut now = 3 * SECOND;
    assert_eq!(play(&mut breaker, &mut now, "xxx"), "DDD");
    assert_eq!(breaker.force(Override::Close, u64::MAX, now), None, "nothing changes");
    assert!(breaker.release().is_some() && breaker.release().is_none());
}

#[test]
fn a_wish_lapses_by_itself_and_an_open_breaker_does_not() {
    let mut breaker = Breaker::new(BreakerPolicy::simple(1, SECOND));
    breaker.force(Override::Close, 3 * SECOND, 0);
    assert_eq!(breaker.lapse(3 * SECOND - 1), None);
    let over = Transition { from: BreakerState::Disabled, to: BreakerState::HalfOpen };
    assert_eq!(breaker.lapse(3 * SECOND), Some(over));
    breaker.trip(4 * SECOND, 3 * SECOND);
    assert_eq!((breaker.lapse(9 * SECOND), breaker.state()), (None, BreakerState::Open));
}

#[test]
fn what_was_open_stays_open_after_a_restart_and_no_longer_than_it_would() {
    let simple = BreakerPolicy::simple(1, 10 * SECOND);
    let mut breaker = Breaker::restored(simple, 4 * SECOND, SECOND);
    assert_eq!(breaker.acquire(2 * SECOND).0, Err(Denied { until_ms: Some(4 * SECOND) }));
    assert!(breaker.acquire(4 * SECOND).0.is_ok());
    // Whoever was killed while it asked left nothing that says that the target works: the next one asks as well, with one call.
    let mut next = Breaker::restored(simple, breaker.open_until_ms().unwrap(), 5 * SECOND);
    assert!(next.acquire(5 * SECOND).0.is_ok());
    assert_eq!(next.acquire(5 * SECOND).0, Err(Denied { until_ms: None }));
    assert_eq!(Breaker::restored(simple, u64::MAX, SECOND).open_until_ms(), Some(11 * SECOND));
}

#[test]
fn policies_that_cannot_be_are_refused() {
    let good = policy(SlidingWindow::Count(10), 10, 1);
    let bad = |change: fn(&mut BreakerPolicy)| {
        let mut policy = good;
        change(&mut policy);
        policy.checked().unwrap_err()
    };
    assert_eq!(bad(|it| it.failure_rate_threshold = 0), BadPolicy::Threshold);
    assert_eq!(bad(|it| it.sliding_window = SlidingWindow::Seconds(0)), BadPolicy::Window);
    assert_eq!(bad(|it| it.minimum_number_of_calls = 11), BadPolicy::Minimum);
    assert_eq!(bad(|it| it.permitted_number_of_calls_in_half_open_state = 0), BadPolicy::HalfOpen);
}

proptest! {
    /// Whatever happens: it never lets a call through while it is open, it opens only with enough failures in its window, and never
    /// lets more probes through than it may.
    #[test]
    fn a_breaker_keeps_its_rules(
        threshold in 1_u8..=100, size in 1_u32..20, minimum in 1_u32..20, half_open in 1_u32..5,
        by_time: bool, events in prop::collection::vec((0_u8..6, 0_u64..3_000), 1..200),
    ) {
        let window = if by_time { SlidingWindow::Seconds(size) } else { SlidingWindow::Count(size) };
        let policy = BreakerPolicy {
            failure_rate_threshold: threshold,
            sliding_window: window,
            minimum_number_of_calls: minimum.min(size),
            wait_duration_in_open_state_ms: 5_000,
            permitted_number_of_calls_in_half_open_state: half_open,
        };
        let mut breaker = Breaker::new(policy.checked().unwrap());
        let (mut now, mut permits, mut probes) = (0_u64, Vec::new(), 0_u32);
        // Every call that ended while it was closed: when, and whether it failed.
        let mut ended: Vec<(u64, bool)> = Vec::new();
        let mut opened_at = None;
        for (what, passes) in events {
            now += passes;
            if what < 3 {
                let (asked, transition) = breaker.acquire(now);
                if let Some(transition) = transition {
                    prop_assert_eq!(transition.to, BreakerState::HalfOpen);
                    probes = 0;
                }
                match asked {
                    Ok(permit) => {
                        prop_assert_ne!(breaker.state(), BreakerState::Open);
                        probes += u32::from(breaker.state() == BreakerState::HalfOpen);
                        prop_assert!(breaker.state() == BreakerState::Closed || probes <= half_open);
                        permits.push(permit);
                    }
                    Err(_) => prop_assert_ne!(breaker.state(), BreakerState::Closed),
                }
                if let Some(at) = opened_at.take_if(|_| breaker.state() != BreakerState::Open) {
                    prop_assert!(now >= at + 5_000, "opened at {}, half-open at {}", at, now);
                }
            } else if !permits.is_empty() {
                let permit = permits.swap_remove(passes as usize % permits.len());
                let failed = what < 5;
                let counts = permit.generation == breaker.generation && breaker.state() == BreakerState::Closed;
                if counts {
                    ended.push((now, failed));
                }
                let outcome = if failed { CallOutcome::Failure } else { CallOutcome::Success };
                let transition = breaker.finish(permit, outcome, now);
                if counts {
                    let recent: Vec<bool> = match window {
                        SlidingWindow::Count(size) => ended.iter().rev().take(size as usize).map(|it| it.1).collect(),
                        SlidingWindow::Seconds(size) => {
                            let is_recent = |it: &&(u64, bool)| it.0 / 1000 + u64::from(size) > now / 1000;
                            ended.iter().filter(is_recent).map(|it| it.1).collect()
                        }
                    };
                    let failures = recent.iter().filter(|it| **it).count();
                    let opens = recent.len() >= policy.minimum_number_of_calls as usize
                        && failures * 100 >= usize::from(threshold) * recent.len();
                    prop_assert_eq!(transition.is_some(), opens, "{} of {}", failures, recent.len());
                }
                if let Some(transition) = transition {
                    ended.clear();
                    opened_at = (transition.to == BreakerState::Open).then_some(now);
                }
            }
        }
    }
}
