//! What an instance of this process has committed so far, for summaries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::observer::Watcher;
use crate::lane::Tally;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Totals(Mutex<Counts>);

/// The counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events read and done.
    pub events: u64,
    /// Events that no active workflow matched.
    pub unmatched: u64,
    /// Executions by workflow and status.
    pub executions: BTreeMap<(String, &'static str), i64>,
    /// Dead letters by workflow (empty for what was never an execution) and reason.
    pub dead_letters: BTreeMap<(String, &'static str), i64>,
    /// When the first and the last batch was committed.
    pub span: Option<(Instant, Instant)>,
}

impl Totals {
    /// The counts as they are now.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Executions in all.
    pub fn matches(&self) -> i64 {
        self.executions.values().sum()
    }
}

impl Watcher for Totals {
    fn committed(&self, tally: &Tally) {
        let mut counts = self.lock();
        let now = Instant::now();
        let first = counts.span.map_or(now, |(first, _)| first);
        counts.span = Some((first, now));
        for source in tally.sources.values() {
            counts.events += source.consumed;
            counts.unmatched += source.unmatched;
        }
        for (id, workflow) in &tally.workflows {
            let id = id.as_deref().unwrap_or_default();
            for (status, count) in &workflow.finished {
                *counts.executions.entry((id.to_owned(), status.name())).or_default() += count;
            }
            for (status, (count, _)) in &workflow.ended {
                *counts.executions.entry((id.to_owned(), status.name())).or_default() += count;
            }
            for (reason, count) in &workflow.dead_letters {
                *counts.dead_letters.entry((id.to_owned(), reason.name())).or_default() += count;
            }
        }
    }
}
