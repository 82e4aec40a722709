//! The thread that alone touches the disk. Whoever asks it for something decides how long to wait; it may hang for ever.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::disk::Disk;
use super::{Changes, Snapshot, now_ms, value};

/// What is to be written.
pub(super) enum Job {
    /// What has changed since.
    Changes(Changes),
    /// All there is; whatever else is stored is not so any more.
    All(Snapshot),
}

/// What a writer says of the start, and then of each job.
pub(super) enum Report {
    /// The store is open: what it knows, and what it should know and does not, and why.
    Opened(Snapshot, Option<String>),
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
    /// Begins to open the store.
    pub(super) fn start(disk: Arc<Disk>, data_dir: &Path) -> io::Result<Writer> {
        let (jobs, to_do) = channel();
        let (says, reports) = channel();
        let data_dir = data_dir.to_owned();
        let thread = std::thread::Builder::new().name("breaker-store".into());
        thread.spawn(move || Work { disk, data_dir, store: None }.run(&to_do, &says))?;
        Ok(Writer { jobs, reports })
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
        // Nothing more is said: what is waited for is that nobody is there to say it.
        let _ = self.reports.recv_timeout(within);
    }
}

/// What the thread has.
struct Work {
    disk: Arc<Disk>,
    data_dir: PathBuf,
    /// None if it could not be opened, or a write has failed.
    store: Option<sled::Db>,
}

impl Work {
    fn run(mut self, jobs: &Receiver<Job>, reports: &Sender<Report>) {
        let mut report = self.open().map_or_else(Report::Failed, |(known, lost)| Report::Opened(known, lost));
        // Whoever waited may have given up.
        while reports.send(report).is_ok() {
            let Ok(job) = jobs.recv() else { return };
            report = self.write(job).map_or_else(Report::Failed, |()| Report::Written);
        }
    }

    fn open(&mut self) -> Result<(Snapshot, Option<String>), String> {
        let opened = self.disk.open_or_set_aside(&self.data_dir)?;
        self.store = Some(opened.store);
        Ok((opened.known, opened.lost))
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
