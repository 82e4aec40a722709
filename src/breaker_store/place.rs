//! Where stores are in the data directory: the one in use, and those that were set aside.
//!
//! ```text
//!  breakers.lock           held by the process that may open, rename and remove the others
//!  breakers, breakers.1    the one in use has the greatest number
//!  breakers.damaged-17…    set aside at that time; the newest are kept, for whoever wants to know what happened to them
//! ```
//!
//! A store that did not open in time may still do so, and writes into the folder of its name then, even if that was renamed. So the one
//! that is begun instead of it has another name.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{FOLDER, now_ms};

/// The file that is locked.
const LOCK: &str = "lock";
/// What comes before the time at which a store was set aside.
const DAMAGED: &str = "damaged-";
/// How many of those are kept, so that a disk that damages a store at every start does not fill up.
const KEPT: usize = 3;
/// How long a store is waited for to be closed before it is opened, and how often that is looked at.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Locks the stores for as long as the file is open. Where another process has them, none is opened, and none renamed under it.
pub(super) fn lock(data_dir: &Path) -> Result<File, String> {
    let path = data_dir.join(format!("{FOLDER}.{LOCK}"));
    let made = std::fs::create_dir_all(data_dir);
    let opened = made.and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
    let file = opened.map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!("another process holds {}", path.display())),
        Err(TryLockError::Error(error)) => Err(format!("{} cannot be locked: {error}", path.display())),
    }
}

/// Waits a moment for whoever has a store open. Threads of sled let its file go only some time after it was closed, and the lock of that
/// file with it; a version of before may have it for long.
pub(super) fn wait_until_closed(store: &Path) {
    let started = Instant::now();
    while let Ok(file) = File::open(store.join("db")) {
        let is_locked = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        if !is_locked || started.elapsed() > CLOSED_WITHIN {
            return;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// The folder of the store in use. What is there of others was left by such as did not open in time, and is set aside.
pub(super) fn in_use(data_dir: &Path) -> PathBuf {
    let mut numbers: Vec<u64> = names(data_dir).iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    let newest = numbers.pop().unwrap_or_default();
    for left in numbers {
        if let Err(cause) = set_aside(data_dir, &folder(data_dir, left)) {
            tracing::warn!(cause, "what was left of a store of circuit breakers stays");
        }
    }
    folder(data_dir, newest)
}

/// The folder of the store that is begun instead of one.
pub(super) fn after(data_dir: &Path, other: &Path) -> PathBuf {
    let number = other.file_name().and_then(|name| number(name.to_str()?)).unwrap_or_default();
    folder(data_dir, number.saturating_add(1))
}

/// Renames a store, if it is there, and says to what. The oldest of those that were renamed before are removed.
pub(super) fn set_aside(data_dir: &Path, store: &Path) -> Result<PathBuf, String> {
    // Another one may have been set aside in this very millisecond.
    let mut names = (now_ms()..).map(|at_ms| data_dir.join(format!("{FOLDER}.{DAMAGED}{at_ms}")));
    let aside = names.find(|path| !path.exists()).ok_or("there is no name left")?;
    match std::fs::rename(store, &aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("the store {} cannot be set aside: {error}", store.display()));
        }
        _ => {}
    }
    remove_oldest(data_dir);
    Ok(aside)
}

fn remove_oldest(data_dir: &Path) {
    let at_ms = |name: &str| name.strip_prefix(FOLDER)?.strip_prefix('.')?.strip_prefix(DAMAGED)?.parse::<u64>().ok();
    let mut aside: Vec<(u64, String)> =
        names(data_dir).into_iter().filter_map(|name| Some((at_ms(&name)?, name))).collect();
    aside.sort_unstable();
    for (_, name) in aside.iter().rev().skip(KEPT) {
        if let Err(cause) = std::fs::remove_dir_all(data_dir.join(name)) {
            tracing::warn!(folder = name, %cause, "an old store of circuit breakers cannot be removed");
        }
    }
}

fn folder(data_dir: &Path, number: u64) -> PathBuf {
    match number {
        0 => data_dir.join(FOLDER),
        _ => data_dir.join(format!("{FOLDER}.{number}")),
    }
}

fn number(name: &str) -> Option<u64> {
    match name.strip_prefix(FOLDER)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

fn names(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
