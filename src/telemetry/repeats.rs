//! A limit on messages that repeat: the first few of an interval are written, the rest is counted and told in one line. Pure: the time
//! is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::Level;

/// How many times one message is written within an interval.
pub(super) const WRITTEN_PER_INTERVAL: u64 = 10;
/// The interval.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Messages that are watched at once. There are fewer places in the code that log; past it messages are written unwatched.
const WATCHED: usize = 1024;

/// What a message is known by: where it is logged and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MessageKey {
    pub(super) callsite: tracing::callsite::Identifier,
    pub(super) message: String,
}

/// A message that was held back, to be told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) times: u64,
}

#[derive(Debug)]
struct Watch {
    started: Instant,
    seen: u64,
    level: Level,
    target: String,
}

/// The messages of the last interval.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    watched: HashMap<MessageKey, Watch>,
    next_end: Option<Instant>,
}

impl Repeats {
    /// Whether this message is to be written now.
    pub(super) fn admits(&mut self, key: MessageKey, level: Level, target: &str, now: Instant) -> bool {
        if let Some(watch) = self.watched.get_mut(&key) {
            watch.seen += 1;
            return watch.seen <= WRITTEN_PER_INTERVAL;
        }
        if self.watched.len() < WATCHED {
            self.watched.insert(key, Watch { started: now, seen: 1, level, target: target.to_owned() });
            self.next_end.get_or_insert(now + INTERVAL);
        }
        true
    }

    /// Ends the intervals that are over; what was held back in them comes out. Costs nothing before the first one ends.
    pub(super) fn end_intervals(&mut self, now: Instant) -> Vec<Repeated> {
        if self.next_end.is_none_or(|end| now < end) {
            return Vec::new();
        }
        self.take(|watch| now.saturating_duration_since(watch.started) >= INTERVAL)
    }

    /// Ends all intervals.
    pub(super) fn end_all(&mut self) -> Vec<Repeated> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Watch) -> bool) -> Vec<Repeated> {
        let mut repeated: Vec<Repeated> = self
            .watched
            .extract_if(|_, watch| is_over(watch))
            .filter(|(_, watch)| watch.seen > WRITTEN_PER_INTERVAL)
            .map(|(key, watch)| Repeated {
                level: watch.level,
                target: watch.target,
                message: key.message,
                times: watch.seen - WRITTEN_PER_INTERVAL,
            })
            .collect();
        repeated.sort_by(|one, other| one.message.cmp(&other.message));
        self.next_end = self.watched.values().map(|watch| watch.started + INTERVAL).min();
        repeated
    }
}
