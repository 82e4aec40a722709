//! How the disk is reached: opening a store, or another one where it is damaged.

use std::path::Path;
use std::time::Duration;

use super::{Snapshot, VALUES, now_ms, place, value};

/// How long a start waits for the lock, and then for what the store knows. A damaged one can take for ever.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// How long a write may take. After the disk was full it can take for ever.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// What the store may keep in memory, in bytes; its entries are few and small.
const CACHE_BYTES: u64 = 1024 * 1024;

type Open = Box<dyn Fn(&Path) -> sled::Result<sled::Db> + Send + Sync>;
type Flush = Box<dyn Fn(&sled::Db) -> sled::Result<usize> + Send + Sync>;

/// What of a disk can take for ever or fail, and how long it may take. Tests have disks of their own.
pub(super) struct Disk {
    pub(super) open: Open,
    pub(super) flush: Flush,
    pub(super) lock_within: Duration,
    pub(super) open_within: Duration,
    pub(super) write_within: Duration,
}

impl Default for Disk {
    fn default() -> Disk {
        let flush = |store: &sled::Db| store.flush();
        Disk {
            open: Box::new(open),
            flush: Box::new(flush),
            lock_within: LOCK_WITHIN,
            open_within: OPEN_WITHIN,
            write_within: WRITE_WITHIN,
        }
    }
}

/// A store that is open.
pub(super) struct Opened {
    pub(super) store: sled::Db,
    /// What it knows.
    pub(super) known: Snapshot,
    /// What it should know and does not, and why.
    pub(super) lost: Option<String>,
}

impl Disk {
    /// Opens the store; one that is damaged is set aside, and another begun.
    pub(super) fn open_or_set_aside(&self, data_dir: &Path, folder: &Path) -> Result<Opened, String> {
        let error = match self.open_and_read(folder) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if !is_damage(&error) {
            return Err(format!("the store {} cannot be used: {error}", folder.display()));
        }
        let aside = place::set_aside(data_dir, folder)?;
        let lost =
            format!("the store was damaged ({error}) and is set aside as {}; another one is begun", aside.display());
        tracing::warn!(folder = %folder.display(), aside = %aside.display(), cause = %error, "the store of circuit breakers is damaged and set aside");
        let opened = self.open_and_read(folder).map_err(|error| format!("{lost}, which fails: {error}"))?;
        Ok(Opened { lost: Some(lost), ..opened })
    }

    fn open_and_read(&self, folder: &Path) -> sled::Result<Opened> {
        place::wait_until_closed(folder);
        let store = (self.open)(folder)?;
        let (known, lost) = read(&store)?;
        Ok(Opened { store, known, lost })
    }
}

fn open(folder: &Path) -> sled::Result<sled::Db> {
    // It is flushed after every write, and never on a thread of its own, which ends the process where the disk is full.
    sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
}

/// Whether the store is bad, rather than the disk, or held by another process.
fn is_damage(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_))
}

/// What is stored and can be used, and what is to be said of what cannot.
fn read(store: &sled::Db) -> sled::Result<(Snapshot, Option<String>)> {
    let now_ms = now_ms();
    let (mut known, mut left_out, mut why) = (Snapshot::new(), 0_usize, None);
    for entry in store.iter() {
        // What cannot be read is not asked for twice: it could go on for ever.
        let (key, bytes) = entry?;
        match value::read(&key, &bytes, now_ms) {
            Ok((connector, open_until_ms)) if known.len() < VALUES => {
                known.insert(connector.to_owned(), open_until_ms);
            }
            Ok(_) => {}
            Err(unusable) => {
                left_out += 1;
                why = why.or(Some(unusable));
            }
        }
    }
    let lost = why.map(|why| {
        tracing::warn!(left_out, cause = %why, "circuit breakers that the store cannot tell of begin closed");
        format!("the store cannot tell of {left_out} breakers, which began closed: {why}")
    });
    Ok((known, lost))
}
