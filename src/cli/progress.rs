//! Progress of what takes long: one line on stderr that is written over, only on a terminal, and only after a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes less is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// How often the line changes: faster than this nobody reads.
const EVERY: Duration = Duration::from_millis(100);

/// Tells how far something is. The line is gone when this is dropped.
pub(super) struct Progress {
    doing: String,
    next: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Begins to do something, said as "reading executions".
    pub fn new(doing: impl Into<String>) -> Progress {
        let next = std::io::stderr().is_terminal().then(|| Instant::now() + QUIET);
        Progress { doing: doing.into(), next, is_shown: false }
    }

    /// So many are done.
    pub fn at(&mut self, done: usize) {
        let now = Instant::now();
        let Some(next) = self.next.filter(|next| now >= *next) else { return };
        self.next = Some(next.max(now) + EVERY);
        self.is_shown = true;
        // A terminal that is gone is nobody's trouble.
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K{}: {done}", self.doing);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
