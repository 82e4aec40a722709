//! How many parts of executions go on in a lane, lately.

use std::time::{Duration, Instant};

/// Over how long they are counted: as long as a batch may become old.
const WINDOW: Duration = Duration::from_millis(100);
/// So many within a window are many: 2 000 a second cost the broker little even if each few of them are committed by themselves.
const MANY: usize = 200;

/// Counts them in windows one after the other.
pub struct Pace {
    since: Instant,
    count: usize,
    /// That of the window before.
    before: usize,
}

impl Pace {
    /// Nothing went on so far.
    pub fn new(now: Instant) -> Pace {
        Pace { since: now, count: 0, before: 0 }
    }

    /// So many went on.
    pub fn count(&mut self, parts: usize, now: Instant) {
        let age = now.duration_since(self.since);
        if age >= WINDOW {
            self.before = if age < 2 * WINDOW { self.count } else { 0 };
            (self.since, self.count) = (now, 0);
        }
        self.count += parts;
    }

    /// Whether many did, in this window or in the one before.
    pub fn is_fast(&self, now: Instant) -> bool {
        now.duration_since(self.since) < 2 * WINDOW && self.count.max(self.before) >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fast_while_many_go_on_and_no_longer() {
        let start = Instant::now();
        let after = |windows: f64| start + WINDOW.mul_f64(windows);
        let mut pace = Pace::new(start);
        pace.count(MANY - 1, start);
        assert!(!pace.is_fast(start));
        pace.count(1, after(0.5));
        assert!(pace.is_fast(after(0.5)) && pace.is_fast(after(1.5)));
        assert!(!pace.is_fast(after(2.5)), "nobody has counted since, and nothing has gone on");
        pace.count(1, after(1.5));
        assert!(pace.is_fast(after(2.0)), "many did in the window before");
        pace.count(1, after(2.7));
        assert!(!pace.is_fast(after(2.7)));
        pace.count(MANY, after(3.0));
        pace.count(0, after(9.0));
        assert!(!pace.is_fast(after(9.0)), "that was long ago");
    }
}
