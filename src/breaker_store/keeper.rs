//! Keeps the copy what the truth is, as far as the disk allows, and tells when it does not. It never touches the disk itself.

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
            writer: None,
            truth: Snapshot::new(),
            is_behind: false,
            wrong: None,
        }
    }

    /// Opens the store, says what it knows, and keeps what comes until it is closed.
    pub(super) fn run(mut self, opened: &Sender<Snapshot>) {
        self.open();
        // Only if whoever opened it is gone.
        let _ = opened.send(self.truth.clone());
        while let Some(changes) = self.shared.next() {
            self.keep(changes);
        }
        if let Some(writer) = self.writer {
            writer.end(self.disk.write_within);
        }
    }

    fn open(&mut self) {
        let writer = match Writer::start(self.disk.clone(), &self.data_dir) {
            Ok(writer) => writer,
            Err(error) => return self.degrade(&format!("there is no thread for it: {error}")),
        };
        let report = writer.report(self.disk.open_within);
        if report.is_ok() {
            self.writer = Some(writer);
        }
        match report {
            Ok(Report::Opened(known, lost)) => {
                self.truth = known;
                if let Some(lost) = lost {
                    self.degrade(&lost);
                }
            }
            Ok(Report::Failed(cause)) => {
                self.is_behind = true;
                self.degrade(&cause);
            }
            Ok(Report::Written) => {}
            Err(Silent::Busy) => {
                self.degrade(&format!("it does not open within {:?}", self.disk.open_within));
            }
            Err(Silent::Gone) => self.degrade(PANICKED),
        }
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
                Ok(Report::Written | Report::Opened(..)) => {
                    self.is_behind = false;
                    return self.mend();
                }
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
