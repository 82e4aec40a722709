//! How a circuit breaker decides: resilience4j's parameters, and the simple form of two numbers.

/// Calls that a count window may look at; each takes a bit of memory and one look when it leaves.
pub const SLIDING_WINDOW_CALLS: u32 = 10_000;
/// Seconds that a time window may look at; each is one count.
pub const SLIDING_WINDOW_SECONDS: u32 = 3_600;

/// What a breaker looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlidingWindow {
    /// The last so many calls.
    Count(u32),
    /// The calls of the last so many seconds.
    Seconds(u32),
}

/// How a breaker decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// From which share of failed calls on it opens, in percent, 1 to 100.
    pub failure_rate_threshold: u8,
    /// What it looks at.
    pub sliding_window: SlidingWindow,
    /// Below so many calls in the window it never opens.
    pub minimum_number_of_calls: u32,
    /// How long it stays open, in milliseconds.
    pub wait_duration_in_open_state_ms: u64,
    /// How many calls decide whether it closes again.
    pub permitted_number_of_calls_in_half_open_state: u32,
}

/// Why a policy cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// See [`BreakerPolicy::failure_rate_threshold`].
    #[error("failureRateThreshold must be from 1 to 100 percent")]
    Threshold,
    /// See [`SLIDING_WINDOW_CALLS`] and [`SLIDING_WINDOW_SECONDS`].
    #[error(
        "slidingWindowSize must be from 1 to {SLIDING_WINDOW_CALLS} calls, or from 1 to {SLIDING_WINDOW_SECONDS} seconds"
    )]
    Window,
    /// More than a count window ever holds, so that it would never open; or none.
    #[error("minimumNumberOfCalls must be from 1 to slidingWindowSize")]
    Minimum,
    /// None would never close it again.
    #[error("permittedNumberOfCallsInHalfOpenState must be from 1 to {SLIDING_WINDOW_CALLS}")]
    HalfOpen,
}

impl BreakerPolicy {
    /// The simple form: so many failures in a row open it, for so many milliseconds, and one call decides.
    pub fn simple(failure_threshold: u32, recovery_timeout_ms: u64) -> BreakerPolicy {
        BreakerPolicy {
            failure_rate_threshold: 100,
            sliding_window: SlidingWindow::Count(failure_threshold),
            minimum_number_of_calls: failure_threshold,
            wait_duration_in_open_state_ms: recovery_timeout_ms,
            permitted_number_of_calls_in_half_open_state: 1,
        }
    }

    /// Itself, if it can be.
    pub fn checked(self) -> Result<BreakerPolicy, BadPolicy> {
        let (size, size_max, minimum_max) = match self.sliding_window {
            SlidingWindow::Count(calls) => (calls, SLIDING_WINDOW_CALLS, calls),
            SlidingWindow::Seconds(seconds) => (seconds, SLIDING_WINDOW_SECONDS, u32::MAX),
        };
        if !(1..=100).contains(&self.failure_rate_threshold) {
            Err(BadPolicy::Threshold)
        } else if !(1..=size_max).contains(&size) {
            Err(BadPolicy::Window)
        } else if !(1..=minimum_max).contains(&self.minimum_number_of_calls) {
            Err(BadPolicy::Minimum)
        } else if !(1..=SLIDING_WINDOW_CALLS).contains(&self.permitted_number_of_calls_in_half_open_state) {
            Err(BadPolicy::HalfOpen)
        } else {
            Ok(self)
        }
    }
}

impl BreakerPolicy {
    /// Whether so many failures of so many calls open it.
    pub(super) fn is_too_much(&self, failures: u32, calls: u32) -> bool {
        u64::from(failures) * 100 >= u64::from(self.failure_rate_threshold) * u64::from(calls)
    }
}
