//! Snapshots of circuit breakers on the local disk, so that an instance that starts again does not call a dead target at once.
//!
//! Truth is in memory; this is a copy that may be lost. The store ([sled](https://docs.rs/sled)) lives on a thread of its own, which is
//! never waited for but for a moment at the start and at the end: a disk that is full, slow or broken, a store that is damaged or held by
//! another process cost the copy and nothing else.
//!
//! ```text
//!  put(connector, open until) ─▶ what is newest, by connector ─▶ thread ─▶ sled
//! ```

mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The folder of the store, in the instance's data directory.
const FOLDER: &str = "breakers";
/// How long a start waits for what the store knows. A damaged one can take for ever.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// How long an end waits for what was put last.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// What the store may keep in memory, in bytes; its entries are few and small.
const CACHE_BYTES: u64 = 1024 * 1024;
/// Connectors whose breakers are kept; settings have no more.
const CONNECTORS: usize = 1_000;

/// Until when breakers stay open, by connector, milliseconds since the Unix epoch.
pub type Snapshot = BTreeMap<String, u64>;

/// The store. Dropping it leaves its thread to end by itself.
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
    /// What is to be written: until when a breaker is open, or that it is not.
    pending: BTreeMap<String, Option<u64>>,
    is_closing: bool,
}

impl BreakerStore {
    /// Opens the store of an instance, and says what it knows; nothing if it cannot be used, which is logged.
    pub fn open(data_dir: &Path) -> (BreakerStore, Snapshot) {
        let shared = Arc::new(Shared::default());
        let (opened, known) = channel();
        let (ended, closed) = channel();
        let (running, folder) = (shared.clone(), data_dir.join(FOLDER));
        let thread = std::thread::Builder::new().name("breaker-store".into()).spawn(move || {
            keep(&folder, &running, &opened);
            // Nobody waits for it unless the store is closed.
            let _ = ended.send(());
        });
        let known = thread.ok().and_then(|_| known.recv_timeout(OPEN_WITHIN).ok()).unwrap_or_else(|| {
            tracing::warn!(
                "the store of circuit breakers does not open; they begin closed, and are kept in memory only"
            );
            Snapshot::new()
        });
        (BreakerStore { shared, closed: Mutex::new(closed) }, known)
    }

    /// A breaker is open until a moment, or is not open any more. Never blocks for longer than a copy takes.
    pub fn put(&self, connector: &str, open_until_ms: Option<u64>) {
        let mut state = self.shared.lock();
        if state.pending.len() < CONNECTORS || state.pending.contains_key(connector) {
            state.pending.insert(connector.to_owned(), open_until_ms);
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
    fn next(&self) -> Option<BTreeMap<String, Option<u64>>> {
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

/// Keeps what comes until the store is closed. Without a store, what comes is thrown away.
fn keep(folder: &Path, shared: &Shared, opened: &Sender<Snapshot>) {
    let store = open_or_set_aside(folder);
    let known = store.as_ref().map(read).unwrap_or_default();
    // Whoever opened it may have given up waiting.
    let _ = opened.send(known);
    let mut has_failed = false;
    while let Some(pending) = shared.next() {
        let Some(store) = &store else { continue };
        if let Err(error) = write(store, pending)
            && !std::mem::replace(&mut has_failed, true)
        {
            tracing::warn!(cause = %error, "circuit breakers cannot be written to disk; a restart begins with them closed");
        }
    }
}

/// Opens the store; one that is damaged is set aside, and another begun.
fn open_or_set_aside(folder: &Path) -> Option<sled::Db> {
    let error = match open(folder) {
        Ok(store) => return Some(store),
        Err(error) => error,
    };
    if !matches!(error, sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_)) {
        tracing::warn!(folder = %folder.display(), cause = %error, "the store of circuit breakers cannot be used");
        return None;
    }
    let aside = aside(folder);
    tracing::warn!(folder = %folder.display(), aside = %aside.display(), cause = %error, "the store of circuit breakers is damaged and set aside");
    std::fs::rename(folder, &aside).ok()?;
    open(folder).inspect_err(|error| tracing::warn!(cause = %error, "no other store could be begun")).ok()
}

fn open(folder: &Path) -> sled::Result<sled::Db> {
    // It is flushed after every write, and never on a thread of its own, which ends the process where the disk is full.
    sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
}

fn aside(folder: &Path) -> PathBuf {
    folder.with_extension(format!("damaged-{}", now_ms()))
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is stored and can be used. One line tells of what cannot be.
fn read(store: &sled::Db) -> Snapshot {
    let now_ms = now_ms();
    let (mut known, mut left_out, mut why) = (Snapshot::new(), 0_usize, None);
    for (key, bytes) in store.iter().filter_map(Result::ok) {
        match value::read(&key, &bytes, now_ms) {
            Ok((connector, open_until_ms)) if known.len() < CONNECTORS => {
                known.insert(connector.to_owned(), open_until_ms);
            }
            Ok(_) => {}
            Err(unusable) => {
                left_out += 1;
                why = why.or(Some(unusable));
            }
        }
    }
    if let Some(why) = why {
        tracing::warn!(left_out, cause = %why, "circuit breakers that the store cannot tell of begin closed");
    }
    known
}

fn write(store: &sled::Db, pending: BTreeMap<String, Option<u64>>) -> sled::Result<()> {
    for (connector, open_until_ms) in pending {
        match open_until_ms {
            Some(until_ms) => store.insert(&connector, value::write(&connector, until_ms, now_ms()))?,
            None => store.remove(connector)?,
        };
    }
    store.flush().map(drop)
}

#[cfg(test)]
mod tests;
