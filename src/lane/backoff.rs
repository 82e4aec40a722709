//! Pauses between the lives of a lane.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);
/// A life that lasted so long was no failed start: the pauses begin anew.
const GOOD_LIFE_MS: i64 = 30_000;

/// Pauses that double, with jitter, so that two lanes that fence each other do not do it in step for ever.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    name: String,
}

impl Backoff {
    pub(super) fn new(name: &str) -> Backoff {
        Backoff { next: FIRST, name: name.to_owned() }
    }

    /// The pause after a life of so many milliseconds: between half and all of the current step.
    pub(super) fn next(&mut self, lived_ms: i64) -> Duration {
        if lived_ms > GOOD_LIFE_MS {
            self.next = FIRST;
        }
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        let mut hasher = RandomState::new().build_hasher();
        hasher.write(self.name.as_bytes());
        let share = (hasher.finish() % 1000) as f64 / 1000.0;
        step.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_good_life() {
        let mut backoff = Backoff::new("host-0");
        for step in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let pause = backoff.next(10).as_millis();
            assert!((step / 2..=step).contains(&pause), "{pause} of {step}");
        }
        assert!(backoff.next(GOOD_LIFE_MS + 1) <= FIRST);
    }
}
