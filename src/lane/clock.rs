//! The only clock of a lane, so that everything else takes time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 if the clock stands before it.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that never goes back and never jumps: it starts at the time of day and counts on.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    started_ms: i64,
    started: Instant,
}

impl Default for Steady {
    fn default() -> Steady {
        Steady { started_ms: now_ms(), started: Instant::now() }
    }
}

impl Steady {
    /// Milliseconds since the Unix epoch, as counted from the start.
    pub fn now_ms(&self) -> i64 {
        self.started_ms.saturating_add(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// Waits: a backoff, never for something that could be asked.
pub fn pause(duration: Duration) {
    let started = Instant::now();
    // A channel that was waited on may have left the thread a wake-up, so one park may be over at once.
    while let Some(left) = duration.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_that_was_left_behind_ends_no_pause() {
        let (started, duration) = (Instant::now(), Duration::from_millis(20));
        std::thread::current().unpark();
        pause(duration);
        assert!(started.elapsed() >= duration);
    }
}
