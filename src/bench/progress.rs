//! How far a run is: told by the threads that do the work, waited for by the one that measures.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::BenchError;
use super::cpu::CpuTime;

/// How long a run may make no progress.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Of one run.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    wanted: u64,
    broker_pid: Option<u32>,
}

#[derive(Debug, Default)]
struct State {
    started: Option<Moment>,
    finished: Option<Moment>,
    done: u64,
    restarts: u64,
    trouble: Option<String>,
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    cpu: CpuTime,
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// From the first assignment to the last commit.
    pub time: Duration,
    /// CPU time meanwhile.
    pub cpu: CpuTime,
    /// How often the lane started again; a run with restarts says little about speed.
    pub restarts: u64,
}

impl Progress {
    /// Of a run that commits so many events.
    pub fn new(wanted: u64, broker_pid: Option<u32>) -> Progress {
        Progress { state: Mutex::default(), changed: Condvar::new(), wanted, broker_pid }
    }

    /// Partitions are held: from here on time counts.
    pub fn start(&self) {
        let now = self.now();
        self.lock().started.get_or_insert(now);
        self.changed.notify_all();
    }

    /// So many more events are committed.
    pub fn commit(&self, events: u64) {
        let mut state = self.lock();
        state.done += events;
        if state.done >= self.wanted && state.finished.is_none() {
            state.finished = Some(self.now());
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Something is wrong, and it goes on all the same.
    pub fn trouble(&self, message: &str) {
        self.lock().trouble = Some(message.to_owned());
    }

    /// The lane starts again.
    pub fn restart(&self, reason: &str) {
        let mut state = self.lock();
        state.restarts += 1;
        state.trouble.get_or_insert_with(|| format!("the lane started again: {reason}"));
    }

    /// It cannot go on.
    pub fn fail(&self, message: &str) {
        let mut state = self.lock();
        state.trouble = Some(message.to_owned());
        state.failed = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until partitions are held.
    pub fn wait_for_start(&self, job: &str) -> Result<(), BenchError> {
        self.wait(job, |state| state.started.is_some())
    }

    /// Waits until every event is committed. Fails if there is no progress for [`STANDSTILL`].
    pub fn wait_for_end(&self, job: &str) -> Result<Taken, BenchError> {
        self.wait(job, |state| state.finished.is_some())?;
        let state = self.lock();
        let (Some(started), Some(finished)) = (state.started, state.finished) else {
            return Err(self.stalled(job, &state));
        };
        let time = finished.at.saturating_duration_since(started.at);
        Ok(Taken { time, cpu: finished.cpu.since(started.cpu), restarts: state.restarts })
    }

    fn wait(&self, job: &str, reached: impl Fn(&State) -> bool) -> Result<(), BenchError> {
        let mut state = self.lock();
        let (mut seen, mut since) = (state.done, Instant::now());
        while !reached(&state) {
            if state.failed || since.elapsed() > STANDSTILL {
                return Err(self.stalled(job, &state));
            }
            state =
                self.changed.wait_timeout(state, Duration::from_millis(500)).unwrap_or_else(PoisonError::into_inner).0;
            if state.done != seen {
                (seen, since) = (state.done, Instant::now());
            }
        }
        Ok(())
    }

    fn stalled(&self, job: &str, state: &State) -> BenchError {
        BenchError::Stalled { job: job.into(), done: state.done, wanted: self.wanted, cause: state.trouble.clone() }
    }

    fn now(&self) -> Moment {
        Moment { at: Instant::now(), cpu: CpuTime::now(self.broker_pid) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_its_last_event() {
        let progress = Progress::new(10, None);
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| progress.wait_for_end("R1"));
            progress.start();
            progress.commit(4);
            progress.restart("fenced");
            progress.commit(6);
            assert_eq!(waiting.join().unwrap().unwrap().restarts, 1);
        });
    }

    #[test]
    fn a_run_that_fails_says_how_far_it_came_and_why() {
        let progress = Progress::new(10, None);
        progress.start();
        progress.commit(4);
        progress.fail("the broker is gone");
        let error = progress.wait_for_end("R1-full").unwrap_err().to_string();
        assert_eq!(error, "R1-full stopped after 4 of 10 events: the broker is gone");
    }
}
