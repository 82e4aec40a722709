//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous, since only a failing test waits so long.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Lets time pass: where that is what a test is about.
pub fn pass(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks until there is a value.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, PAUSE, || what, look)
}

/// Looks until there is a value, for no longer than so long, with this pause between two looks. `what` is asked if there is none.
#[track_caller]
pub fn within<T, W: Display>(
    deadline: Duration,
    pause: Duration,
    what: impl FnOnce() -> W,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        if started.elapsed() >= deadline {
            panic!("waited {deadline:?} in vain: {}", what());
        }
        pass(pause);
    }
}
