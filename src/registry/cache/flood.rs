//! How many schemas were unknown of late.

use std::collections::VecDeque;
use std::time::Instant;

use super::{UNKNOWN_PER_WINDOW, UNKNOWN_WINDOW};

/// When schemas turned out to be unknown, within the last [`UNKNOWN_WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Flood {
    recent: VecDeque<Instant>,
}

impl Flood {
    /// A schema is unknown. Look-ups are started only while [`Flood::count`] and those under way have room, which bounds what is kept.
    pub fn add(&mut self, now: Instant) {
        self.recent.push_back(now);
    }

    /// How many were, in the window that ends now.
    pub fn count(&mut self, now: Instant) -> usize {
        while self.recent.front().is_some_and(|it| now.saturating_duration_since(*it) >= UNKNOWN_WINDOW) {
            self.recent.pop_front();
        }
        self.recent.len()
    }

    /// Until when there are too many.
    pub fn until(&self) -> Option<Instant> {
        let oldest = self.recent.front().filter(|_| self.recent.len() >= UNKNOWN_PER_WINDOW);
        oldest.map(|it| *it + UNKNOWN_WINDOW)
    }
}
