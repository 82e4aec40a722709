//! The pipeline between a lane's two threads: the reader fills it, the committer empties it.
//!
//! It is bounded by bytes. What is in it, and what the committer took but has not committed, counts against the bound, so a
//! broker that is slow stops the reader and nothing else. It also carries the few words the threads have for each other:
//! the source is idle, commit now, stop, this lane has failed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::commit::RestartReason;

/// Shared by a lane's reader and committer. `C` is what goes through it.
#[derive(Debug)]
pub struct Pipeline<C> {
    state: Mutex<State<C>>,
    changed: Condvar,
    limit_bytes: usize,
}

#[derive(Debug)]
struct State<C> {
    queue: VecDeque<C>,
    /// The oldest record's timestamp of every chunk in flight, those that were taken first.
    oldest: VecDeque<Option<i64>>,
    /// How many of them were taken.
    taken: usize,
    /// Queued, or taken and not yet committed.
    in_flight_bytes: usize,
    in_flight_since: Option<Instant>,
    /// What was committed last and is of no use any more. The reader frees it: an allocator takes back at little cost what the same
    /// thread took, and at the price of a message between threads what another did. One batch at most, beside the bound.
    spent: Option<C>,
    idle: bool,
    flush_wanted: bool,
    stopping: bool,
    failed: Option<RestartReason>,
}

/// What the committer is to do next.
#[derive(Debug)]
pub enum Next<C> {
    /// Write this.
    Write(C),
    /// Nothing more is coming now: commit what was written.
    Commit,
    /// Nothing came in time.
    Nothing,
    /// Commit what was written and end.
    Stop,
}

/// Why what was offered could not be taken, or what was asked did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not in time.
    TimedOut,
    /// The committer failed.
    Failed(RestartReason),
}

impl<C> Pipeline<C> {
    /// A pipeline that holds at most about `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            oldest: VecDeque::new(),
            taken: 0,
            in_flight_bytes: 0,
            in_flight_since: None,
            spent: None,
            idle: true,
            flush_wanted: false,
            stopping: false,
            failed: None,
        };
        Pipeline { state: Mutex::new(state), changed: Condvar::new(), limit_bytes }
    }

    /// Hands a chunk to the committer, with its weight and the timestamp of its oldest record, milliseconds since the Unix epoch, if
    /// it has one. The reader asks for room first, so one chunk may exceed the bound, no more.
    pub fn offer(&self, chunk: C, bytes: usize, oldest_ms: Option<i64>) {
        let mut state = self.lock();
        state.queue.push_back(chunk);
        state.oldest.push_back(oldest_ms);
        state.in_flight_bytes += bytes;
        state.in_flight_since.get_or_insert_with(Instant::now);
        state.idle = false;
        self.changed.notify_all();
    }

    /// Says that the source has nothing more right now, so that the committer need not wait for a fuller batch.
    pub fn source_is_idle(&self) {
        let mut state = self.lock();
        if !state.idle {
            state.idle = true;
            self.changed.notify_all();
        }
    }

    /// Waits until less than `fraction` (0 to 1) of the bound is in flight.
    pub fn wait_for_room(&self, fraction: f64, timeout: Duration) -> Result<(), Refused> {
        let limit = (self.limit_bytes as f64 * fraction) as usize;
        self.wait(timeout, |state| state.in_flight_bytes < limit.max(1))
    }

    /// Has everything offered so far committed, and waits for it.
    pub fn flush(&self, timeout: Duration) -> Result<(), Refused> {
        self.lock().flush_wanted = true;
        self.changed.notify_all();
        let done = self.wait(timeout, |state| state.in_flight_since.is_none());
        self.lock().flush_wanted = false;
        done
    }

    fn wait(&self, timeout: Duration, done: impl Fn(&State<C>) -> bool) -> Result<(), Refused> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(reason) = state.failed {
                return Err(Refused::Failed(reason));
            }
            if done(&state) {
                return Ok(());
            }
            let left = deadline.checked_duration_since(Instant::now()).ok_or(Refused::TimedOut)?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the committer is to do next; waits at most `timeout` for it. `open` says whether something is written and not
    /// committed.
    pub fn next(&self, open: bool, timeout: Duration) -> Next<C> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(chunk) = state.queue.pop_front() {
                state.taken += 1;
                return Next::Write(chunk);
            }
            if state.stopping {
                return Next::Stop;
            }
            if open && (state.idle || state.flush_wanted) {
                return Next::Commit;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Next::Nothing;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that was taken is committed, and what it was is left for the reader to free. What the reader has not fetched since
    /// the commit before is freed here.
    pub fn committed(&self, bytes: usize, spent: C) {
        let mut state = self.lock();
        let unfetched = state.spent.replace(spent);
        state.in_flight_bytes = state.in_flight_bytes.saturating_sub(bytes);
        let taken = std::mem::take(&mut state.taken).min(state.oldest.len());
        state.oldest.drain(..taken);
        state.in_flight_since = (!state.queue.is_empty()).then(Instant::now);
        self.changed.notify_all();
        drop(state);
        drop(unfetched);
    }

    /// What was committed last, to be freed by whoever made it.
    pub fn take_spent(&self) -> Option<C> {
        self.lock().spent.take()
    }

    /// The committer cannot go on: the reader will see it and end.
    pub fn fail(&self, reason: RestartReason) {
        self.lock().failed.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Why the lane has failed, if it has.
    pub fn failure(&self) -> Option<RestartReason> {
        self.lock().failed
    }

    /// Nothing more will be offered.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// How long something has been in flight without a commit; zero if nothing is.
    pub fn commit_age(&self) -> Duration {
        self.lock().in_flight_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Bytes queued, or taken and not yet committed.
    pub fn in_flight_bytes(&self) -> usize {
        self.lock().in_flight_bytes
    }

    /// The timestamp of the oldest record that is queued, or taken and not yet committed, milliseconds since the Unix epoch.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.lock().oldest.iter().copied().flatten().min()
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Every change is complete before the lock is let go, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);

    #[test]
    fn chunks_come_in_order_and_commit_follows_when_the_source_is_idle() {
        let pipeline = Pipeline::new(100);
        pipeline.offer("a", 10, None);
        pipeline.offer("b", 10, None);
        assert!(matches!(pipeline.next(false, SOON), Next::Write("a")));
        assert!(matches!(pipeline.next(true, SOON), Next::Write("b")));
        assert!(matches!(pipeline.next(true, SOON), Next::Nothing));
        pipeline.source_is_idle();
        assert!(matches!(pipeline.next(true, SOON), Next::Commit));
        assert!(matches!(pipeline.next(false, SOON), Next::Nothing));
    }

    #[test]
    fn room_comes_back_with_the_commit() {
        let pipeline = Pipeline::new(100);
        pipeline.offer("a", 100, None);
        assert_eq!(pipeline.wait_for_room(1.0, SOON), Err(Refused::TimedOut));
        assert!(matches!(pipeline.next(false, SOON), Next::Write("a")));
        assert_eq!(pipeline.wait_for_room(1.0, SOON), Err(Refused::TimedOut));
        pipeline.committed(100, "a");
        assert_eq!(pipeline.wait_for_room(1.0, SOON), Ok(()));
        assert_eq!((pipeline.in_flight_bytes(), pipeline.commit_age()), (0, Duration::ZERO));
    }

    #[test]
    fn the_oldest_record_is_known_until_it_is_committed() {
        let pipeline = Pipeline::new(100);
        assert_eq!(pipeline.oldest_ms(), None);
        pipeline.offer("a", 10, Some(2_000));
        pipeline.offer("b", 10, None);
        pipeline.offer("c", 10, Some(3_000));
        assert!(matches!(pipeline.next(false, SOON), Next::Write("a")));
        assert!(matches!(pipeline.next(true, SOON), Next::Write("b")));
        assert_eq!(pipeline.oldest_ms(), Some(2_000));
        pipeline.committed(20, "b");
        assert_eq!(pipeline.oldest_ms(), Some(3_000));
        assert!(matches!(pipeline.next(false, SOON), Next::Write("c")));
        pipeline.committed(10, "c");
        assert_eq!(pipeline.oldest_ms(), None);
    }

    #[test]
    fn what_is_committed_is_left_to_the_reader_once() {
        let pipeline = Pipeline::new(100);
        assert_eq!(pipeline.take_spent(), None);
        pipeline.offer("a", 10, None);
        assert!(matches!(pipeline.next(false, SOON), Next::Write("a")));
        pipeline.committed(10, "a");
        pipeline.committed(0, "b");
        assert_eq!((pipeline.take_spent(), pipeline.take_spent()), (Some("b"), None));
    }

    #[test]
    fn a_flush_waits_for_the_commit_or_says_why_not() {
        let pipeline = Pipeline::new(100);
        assert_eq!(pipeline.flush(SOON), Ok(()));
        pipeline.offer("a", 10, None);
        assert_eq!(pipeline.flush(SOON), Err(Refused::TimedOut));
        std::thread::scope(|threads| {
            let flushing = threads.spawn(|| pipeline.flush(Duration::from_secs(10)));
            assert!(matches!(pipeline.next(false, Duration::from_secs(10)), Next::Write("a")));
            assert!(matches!(pipeline.next(true, Duration::from_secs(10)), Next::Commit));
            pipeline.committed(10, "a");
            assert_eq!(flushing.join().unwrap(), Ok(()));
        });
        pipeline.offer("b", 10, None);
        pipeline.fail(RestartReason::Fenced);
        assert_eq!(pipeline.flush(SOON), Err(Refused::Failed(RestartReason::Fenced)));
    }

    #[test]
    fn what_was_offered_before_the_stop_is_still_written() {
        let pipeline = Pipeline::new(100);
        pipeline.offer("a", 10, None);
        pipeline.stop();
        assert!(matches!(pipeline.next(false, SOON), Next::Write("a")));
        assert!(matches!(pipeline.next(true, SOON), Next::Stop));
    }
}
