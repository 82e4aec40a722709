//! How fast work comes back, and when to stop.

use std::time::Duration;

/// Executions that must have ended before an error rate says something, unless fewer are tried first.
const SAMPLE: usize = 10;

/// The longest pause between two writes.
const PAUSE_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// How fast work comes back, and when to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Dead letters a second; None = as fast as it goes.
    pub rate: Option<f64>,
    /// Executions that were brought back and have not ended, at most; None = any number.
    pub concurrency: Option<usize>,
    /// So many come first, and the others only once these have ended and did not fail too often.
    pub canary: Option<usize>,
    /// The part of the executions that have ended, from 0 to 1, that may have failed again or been cancelled; beyond, it stops.
    pub stop_above: f64,
    /// How long nothing may be heard of executions that were brought back, where it waits for them to end.
    pub patience: Duration,
    /// How long it waits at the end for executions that are still under way.
    pub wait: Duration,
}

impl Pace {
    /// Dead letters that come back in one transaction, at most.
    pub(super) fn batch(&self, most: usize) -> usize {
        // Ten transactions a second keep the rate smooth.
        let of_rate = self.rate.map_or(most, |rate| (rate / 10.0).ceil().max(1.0) as usize);
        of_rate.min(self.concurrency.unwrap_or(most)).clamp(1, most)
    }

    /// How long to pause after so many.
    pub(super) fn pause(&self, count: usize) -> Duration {
        let seconds = self.rate.map_or(0.0, |rate| count as f64 / rate);
        Duration::try_from_secs_f64(seconds).unwrap_or(PAUSE_MOST).min(PAUSE_MOST)
    }

    /// Whether so many of so many that have ended are too many, if they have not completed.
    pub(super) fn is_too_much(&self, incomplete: usize, ended: usize) -> bool {
        let sample = self.canary.map_or(SAMPLE, |canary| canary.min(SAMPLE));
        ended >= sample && incomplete as f64 > self.stop_above * ended as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: Option<f64>, concurrency: Option<usize>, canary: Option<usize>) -> Pace {
        Pace { rate, concurrency, canary, stop_above: 0.2, patience: Duration::ZERO, wait: Duration::ZERO }
    }

    #[test]
    fn batches_are_as_large_as_rate_and_concurrency_let_them() {
        assert_eq!(pace(None, None, None).batch(500), 500);
        assert_eq!(pace(Some(0.5), None, None).batch(500), 1);
        assert_eq!(pace(Some(95.0), None, None).batch(500), 10);
        assert_eq!(pace(Some(1e9), Some(7), None).batch(500), 7);
        assert_eq!(pace(None, Some(0), None).batch(500), 1);
    }

    #[test]
    fn pauses_keep_the_rate() {
        assert_eq!(pace(None, None, None).pause(500), Duration::ZERO);
        assert_eq!(pace(Some(0.5), None, None).pause(1), Duration::from_secs(2));
        assert_eq!(pace(Some(f64::MIN_POSITIVE), None, None).pause(1), PAUSE_MOST);
    }

    #[test]
    fn too_much_is_said_of_samples_that_say_something() {
        let check = |canary, failed, ended, expected| {
            assert_eq!(pace(None, None, canary).is_too_much(failed, ended), expected, "{failed} of {ended}");
        };
        check(None, 9, 9, false);
        check(None, 2, 10, false);
        check(None, 3, 10, true);
        check(Some(1), 1, 1, true);
        check(Some(1), 0, 1, false);
        check(Some(0), 0, 0, false);
    }
}
