//! Retries: which failures of a call are tried again, and when.
//!
//! The one table that decides is [`FailedCall::verdict`]. Delays are the clamped exponential with jitter on top:
//! `min(maxDelayMs, base · 2^(n−1) + jitter)`, where the jitter is a part of `jitterFactor · base · 2^(n−1)` that chance chooses.

use std::fmt;

/// Retries of one step, at most: with delays of half a minute almost an hour.
pub const RETRIES: u32 = 100;
/// The longest delay between two attempts, in milliseconds: a day.
pub const DELAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Entries of `retryableErrors`.
pub const RETRYABLE_ERRORS: usize = 64;

/// How a call that was made, or could not be, has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedCall {
    /// No answer in time.
    Timeout,
    /// No connection, or it broke before the answer was whole.
    Connection,
    /// An answer with this HTTP status, which the step does not expect.
    Http(u16),
    /// An answer that can never do: too large, no text, malformed, or a redirect that is not followed to its end.
    Unusable,
    /// The instance has no connector of that name.
    Unknown,
}

/// What is to be done about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made again, if attempts are left.
    Retry,
    /// The connector's credentials are refused: no call of anybody will do better. The connector is held open and nobody's attempts count.
    Hold,
    /// What the step or the connector says is wrong: the step fails, class `config`.
    Config,
    /// The same call will always fail so: the step fails, class `permanent`.
    Permanent,
}

/// What `retryableErrors` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// `timeout`.
    Timeout,
    /// `connection`.
    Connection,
    /// `4xx` or `5xx`, also written `http-4xx` and `http-5xx`: the first digit.
    Class(u8),
    /// One HTTP status.
    Status(u16),
    /// `breaker-open`, a class of the data model. It names no failure: what an open breaker holds back is parked, whatever a policy says,
    /// and no attempt is made that could fail.
    BreakerOpen,
}

impl Retryable {
    /// What a text names; None if it names nothing.
    pub fn parse(text: &str) -> Option<Retryable> {
        match text {
            "timeout" => return Some(Retryable::Timeout),
            "connection" => return Some(Retryable::Connection),
            "breaker-open" => return Some(Retryable::BreakerOpen),
            _ => {}
        }
        match text.strip_prefix("http-").unwrap_or(text) {
            "4xx" => Some(Retryable::Class(4)),
            "5xx" => Some(Retryable::Class(5)),
            number => {
                let status = number.parse().ok().filter(|_| number.len() == 3 && !number.starts_with('+'))?;
                (400..600).contains(&status).then_some(Retryable::Status(status))
            }
        }
    }

    fn names(self, failed: FailedCall) -> bool {
        match (self, failed) {
            (Retryable::Timeout, FailedCall::Timeout) | (Retryable::Connection, FailedCall::Connection) => true,
            (Retryable::Class(first), FailedCall::Http(status)) => u16::from(first) == status / 100,
            (Retryable::Status(wanted), FailedCall::Http(status)) => wanted == status,
            _ => false,
        }
    }
}

/// What is retried when nobody says otherwise: what passes by itself.
const PASSING: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];

impl FailedCall {
    /// What is to be done. A status that the policy names itself is always retried; by default it is what passes by itself, and a policy
    /// that names something replaces that. Refused credentials and what is not there are not retried because a class has them in it.
    pub fn verdict(self, policy: &RetryPolicy) -> Verdict {
        let named = |exactly: bool| {
            let counts = |it: &&Retryable| !exactly || matches!(it, Retryable::Status(_));
            policy.retryable_errors.iter().flatten().filter(counts).any(|it| it.names(self))
        };
        match self {
            _ if named(true) => Verdict::Retry,
            FailedCall::Unusable => Verdict::Permanent,
            FailedCall::Unknown => Verdict::Config,
            FailedCall::Http(401 | 403) => Verdict::Hold,
            FailedCall::Http(404 | 410) => Verdict::Config,
            _ if policy.retryable_errors.is_some() => {
                if named(false) {
                    Verdict::Retry
                } else {
                    Verdict::Permanent
                }
            }
            FailedCall::Timeout | FailedCall::Connection => Verdict::Retry,
            FailedCall::Http(status) if PASSING.contains(&status) => Verdict::Retry,
            FailedCall::Http(_) => Verdict::Permanent,
        }
    }

    /// Whether it speaks against the connector, for its circuit breaker: no answer, too many requests, or a failure of the target's own. A
    /// target that refuses one request as wrong works.
    pub fn blames_connector(self) -> bool {
        match self {
            FailedCall::Timeout | FailedCall::Connection => true,
            FailedCall::Http(status) => status == 429 || status >= 500,
            FailedCall::Unusable | FailedCall::Unknown => false,
        }
    }
}

impl fmt::Display for FailedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailedCall::Timeout => formatter.write_str("timeout"),
            FailedCall::Connection => formatter.write_str("connection"),
            FailedCall::Http(status) => write!(formatter, "http-{status}"),
            FailedCall::Unusable => formatter.write_str("unusable"),
            FailedCall::Unknown => formatter.write_str("unknown"),
        }
    }
}

/// When a failed call is made again. Names are those of the data model.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How often, at most, after the first attempt; 0 is never.
    pub max_retries: u32,
    /// The delay before the first retry, in milliseconds.
    pub base_delay_ms: u64,
    /// The longest delay, in milliseconds.
    pub max_delay_ms: u64,
    /// How much chance may add to a delay, as a part of it, 0 to 1.
    pub jitter_factor: f64,
    /// What is retried; None is what passes by itself.
    pub retryable_errors: Option<Vec<Retryable>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            max_retries: 5,
            base_delay_ms: 200,
            max_delay_ms: 30_000,
            jitter_factor: 0.2,
            retryable_errors: None,
        }
    }
}

impl RetryPolicy {
    /// The delay before retry number `retry` (the first is 1) in milliseconds, never more than [`DELAY_MS`]. `chance` is from 0 to 1.
    pub fn delay_ms(&self, retry: u32, chance: f64) -> u64 {
        let doubled = 2_u64.checked_pow(retry.saturating_sub(1)).unwrap_or(u64::MAX);
        let plain = self.base_delay_ms.saturating_mul(doubled);
        let jitter = plain as f64 * self.jitter_factor.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0);
        plain.saturating_add(jitter as u64).min(self.max_delay_ms).min(DELAY_MS)
    }

    /// When to make a call again that has failed for the `failures`th time; None if it is not made again. `retry_after_ms` is what the
    /// target asked for, which is never undercut and at most [`DELAY_MS`].
    pub fn next_delay_ms(&self, failures: u32, retry_after_ms: Option<u64>, chance: f64) -> Option<u64> {
        let delay = self.delay_ms(failures, chance).max(retry_after_ms.unwrap_or(0).min(DELAY_MS));
        (failures <= self.max_retries.min(RETRIES)).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(retryable: Option<&[&str]>, failed: FailedCall, expected: Verdict) {
        let parse = |names: &[&str]| names.iter().map(|it| Retryable::parse(it).unwrap()).collect();
        let policy = RetryPolicy { retryable_errors: retryable.map(parse), ..RetryPolicy::default() };
        assert_eq!(failed.verdict(&policy), expected, "{failed} of {retryable:?}");
    }

    #[test]
    fn by_default_what_passes_by_itself_is_retried() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            check(None, FailedCall::Http(status), Verdict::Retry);
        }
        for failed in [FailedCall::Timeout, FailedCall::Connection] {
            check(None, failed, Verdict::Retry);
        }
        for (status, verdict) in
            [(401, Verdict::Hold), (403, Verdict::Hold), (404, Verdict::Config), (410, Verdict::Config)]
        {
            check(None, FailedCall::Http(status), verdict);
        }
        for failed in [
            FailedCall::Http(400),
            FailedCall::Http(422),
            FailedCall::Http(501),
            FailedCall::Http(302),
            FailedCall::Unusable,
        ] {
            check(None, failed, Verdict::Permanent);
        }
    }

    #[test]
    fn what_is_named_replaces_the_default() {
        let named: &[&str] = &["timeout", "429", "http-5xx"];
        check(Some(named), FailedCall::Timeout, Verdict::Retry);
        check(Some(named), FailedCall::Connection, Verdict::Permanent);
        check(Some(named), FailedCall::Http(429), Verdict::Retry);
        check(Some(named), FailedCall::Http(501), Verdict::Retry);
        check(Some(named), FailedCall::Http(408), Verdict::Permanent);
        check(Some(&["4xx"]), FailedCall::Http(422), Verdict::Retry);
        check(Some(&["4xx"]), FailedCall::Http(401), Verdict::Hold);
        check(Some(&["4xx"]), FailedCall::Http(404), Verdict::Config);
        check(Some(&["404", "401"]), FailedCall::Http(404), Verdict::Retry);
        check(Some(&["404", "401"]), FailedCall::Http(401), Verdict::Retry);
        check(Some(&[]), FailedCall::Http(503), Verdict::Permanent);
        check(Some(&["5xx"]), FailedCall::Unusable, Verdict::Permanent);
        check(Some(&["5xx"]), FailedCall::Unknown, Verdict::Config);
    }

    #[test]
    fn to_name_an_open_breaker_changes_nothing() {
        let calls = [FailedCall::Timeout, FailedCall::Connection, FailedCall::Unusable, FailedCall::Unknown];
        let calls: Vec<_> = calls.into_iter().chain((100..600).map(FailedCall::Http)).collect();
        let pairs: [(&[&str], &[&str]); 3] = [
            (&["breaker-open"], &[]),
            (&["timeout", "breaker-open", "5xx"], &["timeout", "5xx"]),
            (&["breaker-open", "401", "4xx"], &["401", "4xx"]),
        ];
        let verdict = |names: &[&str], failed: FailedCall| {
            let errors = names.iter().map(|it| Retryable::parse(it).unwrap()).collect();
            failed.verdict(&RetryPolicy { retryable_errors: Some(errors), ..RetryPolicy::default() })
        };
        for (with, without) in pairs {
            calls.iter().for_each(|it| assert_eq!(verdict(with, *it), verdict(without, *it), "{it} of {with:?}"));
        }
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for name in [
            "",
            "timeouts",
            "200",
            "99",
            "600",
            "+50",
            "0429",
            "6xx",
            "3xx",
            "http-",
            "5XX",
            "breaker",
            "http-breaker-open",
        ] {
            assert_eq!(Retryable::parse(name), None, "{name}");
        }
        assert_eq!(Retryable::parse("http-503"), Some(Retryable::Status(503)));
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        let delays: Vec<u64> = (1..=9).map(|retry| policy.delay_ms(retry, 0.0)).collect();
        assert_eq!(delays, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
        assert_eq!((policy.delay_ms(1, 1.0), policy.delay_ms(2, 0.5)), (240, 440));
        assert_eq!(policy.next_delay_ms(5, None, 0.0), Some(3_200));
        assert_eq!(policy.next_delay_ms(6, None, 0.0), None);
        assert_eq!(policy.next_delay_ms(1, Some(7_000), 0.0), Some(7_000));
        assert_eq!(policy.next_delay_ms(1, Some(u64::MAX), 0.0), Some(DELAY_MS));
    }

    proptest! {
        #[test]
        fn delays_never_shrink_and_stay_within_their_bounds(
            base in 0_u64..=u64::MAX, max in 0_u64..=u64::MAX, factor in 0.0_f64..=1.0, chance in 0.0_f64..=1.0, retry in 1_u32..5_000,
        ) {
            let policy = RetryPolicy { base_delay_ms: base, max_delay_ms: max, jitter_factor: factor, ..RetryPolicy::default() };
            let delay = policy.delay_ms(retry, chance);
            prop_assert!(delay <= max && delay <= DELAY_MS);
            prop_assert!(delay >= policy.delay_ms(retry, 0.0));
            prop_assert!(policy.delay_ms(retry + 1, chance) >= delay);
        }
    }
}
