//! A record that is read again, in its owner's memory: one of its matches at a time, each with how far it has come.

use std::sync::Arc;

use super::Around;
use crate::engine::checkpoint::{Content, Redrive};
use crate::engine::execution::{Subject, Unmatched};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::Entry;
use crate::engine::record::JournalRecord;

#[derive(Debug)]
pub(super) struct Redriving {
    /// How often the record was brought back, this time included.
    pub run: u32,
    pub place: i64,
    /// How far it has come, once what is written of it is committed; None: it is done.
    redrive: Option<Arc<Redrive>>,
    is_unsettled: bool,
}

impl Redriving {
    pub(super) fn new(run: u32, place: i64, redrive: Arc<Redrive>) -> Redriving {
        Redriving { run, place, redrive: Some(redrive), is_unsettled: false }
    }

    /// What was written is certain. True if it goes on.
    pub(super) fn settle(&mut self) -> bool {
        self.is_unsettled = false;
        self.redrive.is_some()
    }

    /// Whether the record can be understood now, if it ever can.
    pub(super) fn is_ready(&self, around: &Around<'_>) -> bool {
        self.redrive.as_ref().is_none_or(|redrive| (around.is_ready)(&redrive.record, redrive.after.is_some()))
    }

    /// The next match of it, or its end; None while something of it is not certain. `execution` is what the journal knows it by.
    pub(super) fn next(&mut self, execution: ExecutionId, includes: i64, around: &Around<'_>) -> Option<Subject> {
        if self.is_unsettled {
            return None;
        }
        let redrive = self.redrive.take()?;
        self.is_unsettled = true;
        let (run, now_ms) = (self.run, around.now_ms);
        let Redrive { record, after, first_failure_ms } = &*redrive;
        let (subject, goes_on) = match (around.decode)(record.clone()) {
            Err(undecodable) => {
                (Some(Subject::undecodable_again(undecodable, (*first_failure_ms, run), now_ms)), false)
            }
            Ok(event) => {
                let found = (around.next_match)(Arc::new(event), after.as_ref(), now_ms);
                (found.subject, found.has_more)
            }
        };
        let done = subject.as_ref().and_then(Subject::workflow).filter(|_| goes_on).map(|it| it.id.clone());
        self.redrive = done.map(|done| {
            let (record, first_failure_ms) = (record.clone(), *first_failure_ms);
            Arc::new(Redrive { record, after: Some(done), first_failure_ms })
        });
        let journal = match &self.redrive {
            None => JournalRecord { execution, run, entry: Entry::End, content: Content::None },
            Some(redrive) => {
                let entry = Entry::State { place: self.place, includes };
                JournalRecord { execution, run, entry, content: Content::Redrive(redrive.clone()) }
            }
        };
        Some(match subject {
            Some(subject) => subject.along_with(journal),
            None => Subject::Unmatched(Box::new(Unmatched { record: record.clone(), journal })),
        })
    }
}
