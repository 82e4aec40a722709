//! Keeps the copy what the truth is, as far as the disk allows, and tells when it does not. It never touches the disk itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::disk::Disk;
use super::writer::{Job, Report, Silent, Writer};
use super::{Changes, Shared, Snapshot, Told};

/// What is said where a thread is no more.
const PANICKED: &str = "the thread that writes it panicked";

/// Keeps what is put into a store.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    disk: Arc<Disk>,
    data_dir: PathBuf,
    told: Told,
    /// Says that the stores are this process's. None if they are not, or not yet.
    lock: Option<File>,
    /// None if there is memory only.
    writer: Option<Writer>,
    /// What the copy has to be.
    truth: Snapshot,
    /// Whether the copy may lack more than what comes next.
    is_behind: bool,
    /// Why the copy is not what it should be, as it was told.
    wrong: Option<String>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, disk: Arc<Disk>, data_dir: &Path, told: Told) -> Keeper {
        Keeper {
            shared,
            disk,
            data_dir: data_dir.to_owned(),
            told,
            lock: None,
            writer: None,
            truth: Snapshot::new(),
            is_behind: false,
            wrong: None,
        }
    }

    /// Opens the store, says what it knows, and keeps what comes until it is closed.
    pub(super) fn run(mut self, opened: &Sender<Snapshot>) {
        let hangs = self.open();
        // Only if whoever opened it is gone.
        let _ = opened.send(self.truth.clone());
        if let Some(folder) = hangs {
            self.open_another(folder);
        }
        while let Some(changes) = self.shared.next() {
            self.keep(changes);
        }
        if let Some(writer) = self.writer {
            writer.end(self.disk.write_within);
        }
    }

    /// Opens the store. If it hangs, and is no other process's, this is its folder.
    fn open(&mut self) -> Option<PathBuf> {
        let writer = self.start(None)?;
        let (mut within, mut folder) = (self.disk.lock_within, None);
        loop {
            match writer.report(within) {
                Ok(Report::Begun(lock, of_the_store)) => {
                    self.lock = Some(lock);
                    (within, folder) = (self.disk.open_within, Some(of_the_store));
                    continue;
                }
                Ok(Report::Opened(known, lost)) => {
                    self.truth = known;
                    // What cannot be used is written over by the next that comes, so that it is not told of at every start.
                    self.is_behind = lost.is_some();
                    lost.iter().for_each(|lost| self.degrade(lost));
                }
                Ok(Report::NotOpened(cause) | Report::Failed(cause)) => {
                    self.is_behind = true;
                    self.degrade(&cause);
                }
                Ok(Report::Written) => {}
                Err(silent) => {
                    self.degrade(&match silent {
                        Silent::Busy => format!("the store does not open within {within:?}"),
                        Silent::Gone => PANICKED.to_owned(),
                    });
                    if folder.is_some() {
                        return folder;
                    }
                    // Whose it is is not known, so it is waited for, by what is put.
                    self.is_behind = true;
                }
            }
            self.writer = Some(writer);
            return None;
        }
    }

    /// Nobody waits for this one but what is put: the thread that opens the other is left to itself, and what it opens is closed again.
    fn open_another(&mut self, hangs: PathBuf) {
        self.is_behind = true;
        self.writer = self.start(Some(hangs));
    }

    fn start(&mut self, instead_of: Option<PathBuf>) -> Option<Writer> {
        let started = Writer::start(self.disk.clone(), &self.data_dir, instead_of);
        started.inspect_err(|error| self.degrade(&format!("there is no thread for it: {error}"))).ok()
    }

    fn keep(&mut self, changes: Changes) {
        for (connector, open_until_ms) in &changes {
            match open_until_ms {
                Some(until_ms) => drop(self.truth.insert(connector.clone(), *until_ms)),
                None => drop(self.truth.remove(connector)),
            }
        }
        if let Some(writer) = &self.writer {
            writer.begin(if self.is_behind { Job::All(self.truth.clone()) } else { Job::Changes(changes) });
            self.watch();
        }
    }

    /// Waits for what is written. What is put meanwhile waits too, the newest of each connector.
    fn watch(&mut self) {
        while let Some(writer) = &self.writer {
            match writer.report(self.disk.write_within) {
                Ok(Report::Failed(cause)) => {
                    self.is_behind = true;
                    return self.degrade(&cause);
                }
                Ok(Report::Written) => {
                    self.is_behind = false;
                    return self.mend();
                }
                // A store that was not open so far. What it lacks comes with the job.
                Ok(Report::Begun(lock, _)) => self.lock = Some(lock),
                Ok(Report::NotOpened(cause)) => self.degrade(&cause),
                Ok(Report::Opened(..)) => {}
                Err(Silent::Busy) => {
                    self.degrade(&format!("a write takes longer than {:?}", self.disk.write_within));
                    if self.shared.lock().is_closing {
                        self.writer = None;
                    }
                }
                Err(Silent::Gone) => {
                    self.writer = None;
                    self.degrade(PANICKED);
                }
            }
        }
    }

    fn degrade(&mut self, cause: &str) {
        if self.wrong.as_deref() != Some(cause) {
            self.wrong = Some(cause.to_owned());
            (self.told)(Some(cause));
        }
    }

    fn mend(&mut self) {
        if self.wrong.take().is_some() {
            (self.told)(None);
        }
    }
}
