//! Snapshots of circuit breakers on the local disk, so that an instance that starts again does not call a dead target at once.
//!
//! Truth is in memory; this is a copy that may be lost. The store ([sled](https://docs.rs/sled)) lives on a thread of its own, which is
//! never waited for but for a moment at the start and at the end: a disk that is full, slow or broken, a store that is damaged or held by
//! another process cost the copy and nothing else. A second thread watches the first, and tells when there is no copy.
//!
//! ```text
//!  put(connector, open until) ─▶ what is newest, by connector ─▶ keeper ─▶ writer ─▶ sled
//!                                                                │  ▲        │
//!                                          degraded, mended ◀────┘  └────────┘ within 3 s to open, 2 s to write
//! ```

mod disk;
mod keeper;
mod place;
mod value;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use disk::Disk;
use keeper::Keeper;

/// The folder of the store, in the instance's data directory, and what the names of others begin with.
const FOLDER: &str = "breakers";
/// How long an end waits for what was put last.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Values that are kept: one of the breaker and one of what its target asked for, for each connector that settings have at most.
const VALUES: usize = 2_000;

/// Until when breakers stay open, and targets are left alone that asked for it, by [`asked`] or the connector, milliseconds since the Unix
/// epoch.
pub type Snapshot = BTreeMap<String, u64>;

/// The name under which it is kept until when the target of a connector asked to be left alone; no connector has a name with a space.
pub fn asked(connector: &str) -> String {
    format!("retry-after {connector}")
}

/// What is to be written: until when a breaker is open, or that it is not.
type Changes = BTreeMap<String, Option<u64>>;

/// Who is told that there is no copy on disk, and why, or that there is one again.
type Told = Box<dyn Fn(Option<&str>) + Send>;

/// The store. Dropping it leaves its threads to end by themselves.
pub struct BreakerStore {
    shared: Arc<Shared>,
    closed: Mutex<Receiver<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Changes,
    is_closing: bool,
}

impl BreakerStore {
    /// Opens the store of an instance, and says what it knows; nothing if it cannot be used. `told` hears why the copy is not what it
    /// should be, whenever that begins or has another cause, and None once all is written again; it must not block.
    pub fn open(data_dir: &Path, told: impl Fn(Option<&str>) + Send + 'static) -> (BreakerStore, Snapshot) {
        BreakerStore::open_on(Disk::default(), data_dir, Box::new(told))
    }

    fn open_on(disk: Disk, data_dir: &Path, told: Told) -> (BreakerStore, Snapshot) {
        let shared = Arc::new(Shared::default());
        let (opened, known) = channel();
        let (ended, closed) = channel();
        let keeper = Keeper::new(shared.clone(), Arc::new(disk), data_dir, told);
        let thread = std::thread::Builder::new().name("breaker-keeper".into()).spawn(move || {
            keeper.run(&opened);
            // Nobody waits for it unless the store is closed.
            let _ = ended.send(());
        });
        if let Err(error) = thread {
            tracing::warn!(cause = %error, "there is no thread for circuit breakers, which are kept in memory only");
        }
        // The keeper itself waits for the disk, and not for long.
        let known = known.recv().unwrap_or_default();
        (BreakerStore { shared, closed: Mutex::new(closed) }, known)
    }

    /// A breaker is open until a moment, or is not open any more; or a target that [`asked`] is left alone. Never blocks for longer than a
    /// copy takes.
    pub fn put(&self, name: &str, until_ms: Option<u64>) {
        let mut state = self.shared.lock();
        if state.pending.len() < VALUES || state.pending.contains_key(name) {
            state.pending.insert(name.to_owned(), until_ms);
            self.shared.changed.notify_all();
        }
    }

    /// Waits a moment for what was put to be written.
    pub fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
        // A store that does not answer is left to the end of the process.
        let _ = self.closed.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(CLOSE_WITHIN);
    }
}

impl Drop for BreakerStore {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write; None once the store is closed and nothing is left.
    fn next(&self) -> Option<Changes> {
        let mut state = self.lock();
        while state.pending.is_empty() {
            if state.is_closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut state.pending))
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
