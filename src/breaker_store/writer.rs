//! The thread that alone touches the disk. Whoever asks it for something decides how long to wait; it may hang for ever.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::disk::Disk;
use super::{Changes, Snapshot, now_ms, place, value};

/// What is to be written.
pub(super) enum Job {
    /// What has changed since.
    Changes(Changes),
    /// All there is; whatever else is stored is not so any more.
    All(Snapshot),
}

/// What a writer says: of the start that it is open or not, and then of each job that it is written or has failed.
pub(super) enum Report {
    /// It begins to open this folder. The stores are this process's as long as the file is open.
    Begun(File, PathBuf),
    /// The store is open: what it knows, and what it should know and does not, and why.
    Opened(Snapshot, Option<String>),
    /// The store could not be opened, and why. Each job tries again.
    NotOpened(String),
    /// The job is done, and will be found after a restart.
    Written,
    /// It could not be done, and why.
    Failed(String),
}

/// Why a writer says nothing.
pub(super) enum Silent {
    /// It is not done yet.
    Busy,
    /// It panicked.
    Gone,
}

/// The thread. Once nobody holds it any more it ends, as soon as it can.
pub(super) struct Writer {
    jobs: Sender<Job>,
    reports: Receiver<Report>,
}

impl Writer {
    /// Begins to open the store in use, or another one instead of one that hangs, if the stores are this process's already.
    pub(super) fn start(disk: Arc<Disk>, data_dir: &Path, instead_of: Option<PathBuf>) -> io::Result<Writer> {
        let (jobs, to_do) = channel();
        let (reports, said) = channel();
        let data_dir = data_dir.to_owned();
        let thread = std::thread::Builder::new().name("breaker-store".into());
        thread.spawn(move || Work { disk, data_dir, reports, instead_of, folder: None, store: None }.run(&to_do))?;
        Ok(Writer { jobs, reports: said })
    }

    /// Hands a job over. Of one that nobody takes the report tells.
    pub(super) fn begin(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// What it says within a time.
    pub(super) fn report(&self, within: Duration) -> Result<Report, Silent> {
        self.reports.recv_timeout(within).map_err(|silent| match silent {
            RecvTimeoutError::Timeout => Silent::Busy,
            RecvTimeoutError::Disconnected => Silent::Gone,
        })
    }

    /// Waits for the store to be closed, so that another can open it; a writer that is busy for longer is left to itself.
    pub(super) fn end(self, within: Duration) {
        drop(self.jobs);
        // What is waited for is that nobody is there any more to say anything.
        while self.reports.recv_timeout(within).is_ok() {}
    }
}

/// What the thread has.
struct Work {
    disk: Arc<Disk>,
    data_dir: PathBuf,
    reports: Sender<Report>,
    /// The folder of a store that hangs, until it is set aside.
    instead_of: Option<PathBuf>,
    /// None until the stores are this process's.
    folder: Option<PathBuf>,
    /// None if it could not be opened, or a write has failed.
    store: Option<sled::Db>,
}

impl Work {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut report = self.open().map_or_else(Report::NotOpened, |(known, lost)| Report::Opened(known, lost));
        // Whoever waited may have given up.
        while self.reports.send(report).is_ok() {
            let Ok(job) = jobs.recv() else { break };
            report = self.write(job).map_or_else(Report::Failed, |()| Report::Written);
        }
        // Closed before it is known that the thread says nothing more.
        drop(self.store);
    }

    fn open(&mut self) -> Result<(Snapshot, Option<String>), String> {
        let folder = self.folder()?;
        let opened = self.disk.open_or_set_aside(&self.data_dir, &folder)?;
        self.store = Some(opened.store);
        Ok((opened.known, opened.lost))
    }

    /// The folder of the store, which nobody else has.
    fn folder(&mut self) -> Result<PathBuf, String> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let folder = match &self.instead_of {
            Some(hangs) => {
                let aside = place::set_aside(&self.data_dir, hangs)?;
                tracing::warn!(
                    folder = %hangs.display(), aside = %aside.display(),
                    "the store of circuit breakers did not open in time and is set aside, although the disk may only be slow; a connector \
                     whose breaker was open gets at most `failureThreshold` calls for it"
                );
                place::after(&self.data_dir, hangs)
            }
            None => {
                let lock = place::lock(&self.data_dir)?;
                let folder = place::in_use(&self.data_dir);
                // Whoever has given up would not set it aside either.
                let begun = self.reports.send(Report::Begun(lock, folder.clone()));
                begun.map_err(|_| "nobody waits for it".to_owned())?;
                folder
            }
        };
        self.instead_of = None;
        self.folder = Some(folder.clone());
        Ok(folder)
    }

    /// A store in which a write has failed refuses all others, so it is opened again for the next.
    fn write(&mut self, job: Job) -> Result<(), String> {
        if self.store.is_none() {
            self.open()?;
        }
        let Some(store) = self.store.take() else { return Ok(()) };
        let written = apply(&store, job).and_then(|()| (self.disk.flush)(&store));
        written.map_err(|error| format!("it cannot be written: {error}"))?;
        self.store = Some(store);
        Ok(())
    }
}

fn apply(store: &sled::Db, job: Job) -> sled::Result<()> {
    let changes = match job {
        Job::Changes(changes) => changes,
        Job::All(all) => {
            store.clear()?;
            all.into_iter().map(|(connector, until_ms)| (connector, Some(until_ms))).collect()
        }
    };
    for (connector, open_until_ms) in changes {
        match open_until_ms {
            Some(until_ms) => store.insert(&connector, value::write(&connector, until_ms, now_ms()))?,
            None => store.remove(connector)?,
        };
    }
    Ok(())
}
