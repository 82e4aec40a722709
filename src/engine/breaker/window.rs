//! What a closed circuit breaker looks at: the last calls, by count or by time.

use std::collections::VecDeque;

use super::SlidingWindow;

/// What happened to the last calls.
#[derive(Debug)]
pub(super) struct Window {
    size: SlidingWindow,
    /// By call, or by second: which second, calls, failures. The newest last.
    slots: VecDeque<(u64, u32, u32)>,
    calls: u32,
    failures: u32,
}

impl Window {
    pub(super) fn new(size: SlidingWindow) -> Window {
        Window { size, slots: VecDeque::new(), calls: 0, failures: 0 }
    }

    pub(super) fn push(&mut self, failed: bool, now_ms: u64) {
        let second = now_ms / 1000;
        match (self.size, self.slots.back_mut()) {
            (SlidingWindow::Seconds(_), Some(last)) if last.0 == second => {
                last.1 = last.1.saturating_add(1);
                last.2 = last.2.saturating_add(u32::from(failed));
            }
            _ => self.slots.push_back((second, 1, u32::from(failed))),
        }
        self.calls = self.calls.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
        self.forget(now_ms);
    }

    pub(super) fn counts(&mut self, now_ms: u64) -> (u32, u32) {
        self.forget(now_ms);
        (self.calls, self.failures)
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((second, calls, failures)) = self.slots.front().copied() {
            let is_old = match self.size {
                SlidingWindow::Count(size) => self.slots.len() > size as usize,
                SlidingWindow::Seconds(size) => second + u64::from(size) <= now_ms / 1000,
            };
            if !is_old {
                break;
            }
            self.slots.pop_front();
            self.calls -= calls;
            self.failures -= failures;
        }
    }
}
