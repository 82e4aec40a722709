//! What becomes of executions that were brought back, as their topic says it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Desk;
use crate::engine::ids::ExecutionId;
use crate::kafka::log_reader::{From, LogReader, LogRecord, ReadError};

/// Watches executions.
pub(super) struct Outcomes {
    reader: LogReader,
    /// The executions that have not ended, by the run that was started.
    pending: HashMap<ExecutionId, u32>,
    /// How many have ended, and how.
    pub ended: Ended,
    /// When something was heard last, or expected first.
    heard: Instant,
}

/// How executions have ended.
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
        self.completed + self.failed + self.cancelled
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
    pub(super) fn of(record: &LogRecord, wanted: &HashMap<ExecutionId, u32>) -> Option<(ExecutionId, Told)> {
        let id = ExecutionId::of_key(record.key.as_deref()).filter(|id| wanted.contains_key(id))?;
        Some((id, serde_json::from_slice(record.value.as_deref()?).ok()?))
    }
}

impl Outcomes {
    /// Watches from now on.
    pub(super) fn open(desk: &Desk) -> Result<Outcomes, ReadError> {
        let reader = LogReader::open(&desk.clients, &[&desk.executions.name], From::End)?;
        Ok(Outcomes { reader, pending: HashMap::new(), ended: Ended::default(), heard: Instant::now() })
    }

    /// A run was started.
    pub(super) fn expect(&mut self, execution: ExecutionId, run: u32) {
        self.heard = Instant::now();
        self.pending.insert(execution, run);
    }

    /// How many have not ended.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How long nothing was heard of those that have not ended.
    pub(super) fn silence(&self) -> Duration {
        if self.pending.is_empty() { Duration::ZERO } else { self.heard.elapsed() }
    }

    /// Listens for so long; what comes at once is taken in one go.
    pub(super) fn listen(&mut self, timeout: Duration) -> Result<(), ReadError> {
        let mut wait = timeout;
        while let Some(record) = self.reader.poll(wait)? {
            self.take(&record);
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn take(&mut self, record: &LogRecord) {
        let Some((id, told)) = Told::of(record, &self.pending) else { return };
        if self.pending.get(&id).is_none_or(|run| told.run < *run) {
            return;
        }
        self.heard = Instant::now();
        if self.ended.count(&told.status) {
            self.pending.remove(&id);
        }
    }
}
