//! What becomes of what was brought back, as their topics say it.
//!
//! Executions say themselves how they end. A record that is read again leaves an end in the journal, whatever it came to, and is a dead letter
//! once more if it is not understood still; both are written in one transaction.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::letters::{self, Letters};
use super::mail::Started;
use super::{Desk, ReplayError};
use crate::codec::journal;
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::engine::journal::Entry;
use crate::kafka::log_reader::{From, LogReader, LogRecord, ReadError};

/// So many records that were read again are worth a look at the dead letters, and later as many as were looked for so far.
const LOOKED_FOR: usize = 10;

/// Watches what was brought back.
pub(super) struct Outcomes<'a> {
    desk: &'a Desk,
    executions: LogReader,
    /// Read only where records are read again.
    journal: Option<LogReader>,
    /// The executions that have not ended, by the run that was started.
    pending: HashMap<ExecutionId, u32>,
    /// The records that are read again and were not read to their end, with the run that was started.
    read_again: HashMap<ExecutionId, (u32, DeadLetterId)>,
    /// Those that were; whether they were understood is in the dead letters.
    unsettled: HashSet<DeadLetterId>,
    settled: usize,
    /// How many have ended, and how.
    pub ended: Ended,
    /// When something was heard last, or expected first.
    heard: Instant,
}

/// How executions have ended. A record that is understood is completed, whatever becomes of the executions that it leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Completed.
    pub completed: usize,
    /// Failed again.
    pub failed: usize,
    /// Cancelled.
    pub cancelled: usize,
}

impl Ended {
    /// All of them.
    pub fn all(&self) -> usize {
        self.completed + self.incomplete()
    }

    /// Those that have not completed.
    pub fn incomplete(&self) -> usize {
        self.failed + self.cancelled
    }

    /// Takes note of one; false if it has not ended.
    pub(super) fn count(&mut self, status: &str) -> bool {
        match status {
            "completed" => self.completed += 1,
            "failed" => self.failed += 1,
            "cancelled" => self.cancelled += 1,
            _ => return false,
        }
        true
    }
}

/// What is read of an execution's record.
#[derive(Deserialize)]
pub(super) struct Told {
    pub run: u32,
    pub status: String,
}

impl Told {
    /// What a record says of one of the executions that are wanted.
    pub(super) fn of(
        desk: &Desk,
        record: &mut LogRecord,
        wanted: &HashMap<ExecutionId, u32>,
    ) -> Result<Option<(ExecutionId, Told)>, ReplayError> {
        let id = ExecutionId::of_key(record.key.as_deref()).filter(|id| wanted.contains_key(id));
        let Some(id) = id else { return Ok(None) };
        desk.translate.borrow_mut()(record).map_err(ReplayError::Unreadable)?;
        let told = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        Ok(told.map(|told| (id, told)))
    }
}

impl<'a> Outcomes<'a> {
    /// Watches from now on, and the journal too if records are read again.
    pub(super) fn open(desk: &'a Desk, reads_again: bool) -> Result<Outcomes<'a>, ReadError> {
        let open = |topic: &str| LogReader::open(&desk.clients, &[topic], From::End);
        Ok(Outcomes {
            desk,
            executions: open(&desk.executions.name)?,
            journal: if reads_again { Some(open(&desk.journal.name)?) } else { None },
            pending: HashMap::new(),
            read_again: HashMap::new(),
            unsettled: HashSet::new(),
            settled: 0,
            ended: Ended::default(),
            heard: Instant::now(),
        })
    }

    /// Something was started.
    pub(super) fn expect(&mut self, started: Started) {
        let Started { execution, run, read_again } = started;
        self.heard = Instant::now();
        match read_again {
            None => drop(self.pending.insert(execution, run)),
            Some(letter) => drop(self.read_again.insert(execution, (run, letter))),
        }
    }

    /// How many have not ended.
    pub(super) fn pending(&self) -> usize {
        self.pending.len() + self.read_again.len()
    }

    /// How long nothing was heard of those that have not ended.
    pub(super) fn silence(&self) -> Duration {
        if self.pending() == 0 { Duration::ZERO } else { self.heard.elapsed() }
    }

    /// Listens for so long; what comes at once is taken in one go.
    pub(super) fn listen(&mut self, timeout: Duration) -> Result<(), ReplayError> {
        let mut wait = if self.journal.is_some() { timeout / 2 } else { timeout };
        let of_journal = wait;
        while let Some(mut record) = self.executions.poll(wait)? {
            self.take(&mut record)?;
            wait = Duration::ZERO;
        }
        wait = of_journal;
        while let Some(record) = self.journal.as_mut().map_or(Ok(None), |journal| journal.poll(wait))? {
            self.take_end(&record);
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn take(&mut self, record: &mut LogRecord) -> Result<(), ReplayError> {
        let Some((id, told)) = Told::of(self.desk, record, &self.pending)? else { return Ok(()) };
        if self.pending.get(&id).is_none_or(|run| told.run < *run) {
            return Ok(());
        }
        self.heard = Instant::now();
        if self.ended.count(&told.status) {
            self.pending.remove(&id);
        }
        Ok(())
    }

    fn take_end(&mut self, record: &LogRecord) {
        let id = ExecutionId::of_key(record.key.as_deref());
        let Some((run, letter)) = id.and_then(|id| self.read_again.get(&id)).copied() else { return };
        self.heard = Instant::now();
        let Ok(read) = journal::decode(&letters::source_record(record)) else { return };
        if read.entry == Entry::End && read.run >= run {
            self.read_again.remove(&read.execution);
            self.unsettled.insert(letter);
        }
    }

    /// Whether so many records were read again that it is worth a look what has come of them.
    pub(super) fn is_to_settle(&self) -> bool {
        self.unsettled.len() >= self.settled.max(LOOKED_FOR)
    }

    /// Looks which of the records that were read again are dead letters once more.
    pub(super) fn settle(&mut self) -> Result<(), ReplayError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let unsettled = std::mem::take(&mut self.unsettled);
        let is_one = |id: &DeadLetterId| unsettled.contains(id).then_some(());
        let Letters { live, .. } = letters::scan(self.desk, |read| is_one(&read.letter.id), |_| ())?;
        self.settled += unsettled.len();
        self.ended.failed += live.len();
        self.ended.completed += unsettled.len() - live.len();
        Ok(())
    }
}
