//! A lane's inbox: what other threads have for its reader.
//!
//! Records of the journal are bounded by bytes, and whoever brings them waits; everything else is bounded by what the lane has begun.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::batch::{AssignmentId, Dependency};
use crate::engine::call::Answer;
use crate::engine::checkpoint::Content;
use crate::engine::event::SourceRecord;
use crate::engine::journal::Record;
use crate::engine::owner::{CallId, Replaced};

/// What of the journal may lie in the inbox, in bytes.
const JOURNAL_BYTES: usize = 16 * 1024 * 1024;
/// How long whoever brings records waits for room before it looks whether it is to stop.
const ROOM_EVERY: Duration = Duration::from_millis(100);

/// Something for a lane's reader.
#[derive(Debug)]
pub enum Event {
    /// A record of the journal, read under that assignment.
    Journal(AssignmentId, Box<Record<Content>>),
    /// A record of the journal that was wanted again, under that assignment.
    Fetched(AssignmentId, Box<Record<Content>>),
    /// What is wanted again of a partition cannot be read, and why.
    Unreadable(AssignmentId, i32, String),
    /// A record of the journal that cannot be understood, and why.
    Damaged(AssignmentId, Box<SourceRecord>, String),
    /// A partition of the journal was read to its end.
    Restored(AssignmentId, i32),
    /// A call has ended.
    Answer(CallId, Box<Answer>),
    /// A connector may have room.
    Wake,
    /// A commit is certain.
    Committed(Certain),
}

/// What a commit makes certain, for whoever owns partitions of the journal.
#[derive(Debug)]
pub struct Certain {
    /// The last part of an execution that it holds; 0 if none.
    pub sequence: u64,
    /// The moment before it was sent, milliseconds since the Unix epoch.
    pub sent_ms: i64,
    /// The partitions of the journal whose positions it moved, and where to.
    pub named: Vec<(Dependency, i64)>,
    /// The executions that were written otherwise than they were handed over.
    pub replaced: Vec<Replaced>,
}

/// Shared by a lane's reader and whoever has something for it.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    journal_bytes: usize,
    /// The consumer has something to poll.
    is_nudged: bool,
    is_closed: bool,
}

impl Inbox {
    /// Leaves something.
    pub fn push(&self, event: Event) {
        self.lock().events.push_back(event);
        self.changed.notify_all();
    }

    /// Leaves something of the journal once there is room for it. False if the lane has ended.
    pub fn push_journal(&self, event: Event, bytes: usize) -> bool {
        let mut state = self.lock();
        while state.journal_bytes > 0 && state.journal_bytes + bytes > JOURNAL_BYTES && !state.is_closed {
            state = self.changed.wait_timeout(state, ROOM_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_closed {
            return false;
        }
        state.journal_bytes += bytes;
        state.events.push_back(event);
        self.changed.notify_all();
        true
    }

    /// Takes everything out.
    pub fn take(&self) -> VecDeque<Event> {
        let mut state = self.lock();
        if state.events.is_empty() {
            return VecDeque::new();
        }
        state.journal_bytes = 0;
        self.changed.notify_all();
        std::mem::take(&mut state.events)
    }

    /// The consumer has something to poll.
    pub fn nudge(&self) {
        self.lock().is_nudged = true;
        self.changed.notify_all();
    }

    /// Waits until something is there, the consumer has something to poll, or the time is over.
    pub fn wait(&self, timeout: Duration) {
        let mut state = self.lock();
        if state.events.is_empty() && !state.is_nudged && !state.is_closed {
            state = self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_nudged = false;
    }

    /// Waits for a while, or until nobody reads any more.
    pub fn wait_for_end(&self, timeout: Duration) {
        let state = self.lock();
        if !state.is_closed {
            drop(self.changed.wait_timeout(state, timeout));
        }
    }

    /// Nobody reads any more: nobody waits for room.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.events.clear();
        self.changed.notify_all();
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
