//! The only clock of a lane, so that everything else takes time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 if the clock stands before it.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits: a backoff, never for something that could be asked.
pub fn pause(duration: Duration) {
    std::thread::park_timeout(duration);
}
