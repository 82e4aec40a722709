//! Sub-workflows that come back with their parents, and what becomes of the dead letters of those that do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Applying, BATCH_BYTES, Halt, READ_WITHIN};
use crate::codec::dead_letter::ReadLetter;
use crate::dead_letter::letters::{self, Place};
use crate::dead_letter::mail::{Called, ChildMail, Mail, Orders};
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::engine::limits;
use crate::engine::replay::ChildAgain;
use crate::kafka::log_reader::{LogRecord, ReadError};
use crate::kafka::record_reader::RecordReader;

/// A dead letter of a sub-workflow.
#[derive(Clone)]
pub(super) struct OfChild {
    pub(super) place: Place,
    pub(super) id: DeadLetterId,
    /// The parent's step.
    pub(super) step: Arc<str>,
    /// The parent's run.
    pub(super) run: u32,
    /// Its own execution.
    pub(super) execution: ExecutionId,
}

/// Why there is no mail for a dead letter.
pub(super) enum No {
    /// It cannot come back so.
    LeftOut(String),
    /// It cannot be said now.
    Halt(Halt),
}

impl Applying<'_> {
    /// The dead letters of sub-workflows that are over with when an execution goes on without these steps, and of theirs: those that come back with
    /// it, and those that it starts anew.
    pub(super) fn over_with(
        &mut self,
        (execution, finished): (ExecutionId, &[Arc<str>]),
        come_back: &[ChildMail],
    ) -> Vec<(Place, DeadLetterId)> {
        let of_it = self.children.remove(&execution).unwrap_or_default();
        // Of a step that has ended and does not run again, what failed is not done by anybody else.
        let (stay, go): (Vec<_>, Vec<_>) = of_it.into_iter().partition(|it| finished.contains(&it.step));
        if !stay.is_empty() {
            self.children.insert(execution, stay);
        }
        let mut letters = Vec::with_capacity(go.len());
        for OfChild { place, id, execution, .. } in go {
            letters.push((place, id));
            let finished = come_back.iter().find(|it| it.execution == execution).map_or(&[][..], |it| &it.finished);
            letters.extend(self.over_with((execution, finished), come_back));
        }
        letters
    }

    /// The mail for a dead letter, with that for its sub-workflows that go on where they failed.
    pub(super) fn mail(
        &mut self,
        read: ReadLetter,
        orders: &Orders,
        (depth, parent_run): (u32, Option<u32>),
    ) -> Result<Mail, No> {
        if depth > limits::CHILD_DEPTH {
            return Err(No::LeftOut(format!("sub-workflows nest deeper than {} levels", limits::CHILD_DEPTH)));
        }
        let calls = self.mailer.calls_of(&read.letter, orders);
        let parent = read.letter.execution.as_ref().map(|execution| (execution.id, execution.run));
        let of_it = parent.filter(|_| !calls.is_empty()).and_then(|(id, _)| self.children.get(&id)).cloned();
        let (mut again, mut children, mut bytes) = (Vec::new(), Vec::<ChildMail>::new(), 0);
        for OfChild { place, id, step, run, execution } in of_it.iter().flatten() {
            let Some(Called { version, timeout }) = calls.get(step) else { continue };
            // One of an earlier run, whose letter came late, is not what this one waited for.
            let Some((_, of_run)) = parent.filter(|(_, of_run)| of_run == run) else { continue };
            let to_version = version.as_deref().map(str::to_owned);
            let orders = Orders { to_version, set: BTreeMap::new(), max_returns: orders.max_returns };
            let read = self.letter_at(*place)?;
            let with = (depth + 1, Some(of_run.saturating_add(1)));
            let mail = self.mail(read, &orders, with).map_err(|no| match no {
                No::LeftOut(why) => No::LeftOut(format!(
                    "the sub-workflow of its step `{step}` cannot come back with it, and --to-version would start it anew: {why}"
                )),
                halt => halt,
            })?;
            bytes += mail.bytes();
            if bytes > BATCH_BYTES {
                return Err(No::LeftOut(format!(
                    "its sub-workflows that would come back with it are together larger than {BATCH_BYTES} bytes"
                )));
            }
            let Mail { post, finished, children: theirs, .. } = mail;
            again.push(ChildAgain { step: step.clone(), execution: *execution, timeout: *timeout });
            children.extend(theirs);
            children.push(ChildMail { id: *id, execution: *execution, post, finished });
        }
        let mail = self.mailer.mail_as(read, orders, (again, parent_run), (self.desk.now_ms)());
        mail.map(|mail| Mail { children, ..mail }).map_err(No::LeftOut)
    }

    /// A dead letter that was there when it was looked for.
    fn letter_at(&mut self, (partition, offset): Place) -> Result<ReadLetter, No> {
        let again = |error: ReadError| No::Halt(Halt::Again(error.to_string()));
        let opened = match self.of_children.take() {
            Some(reader) => Ok(reader),
            None => RecordReader::open(&self.desk.clients, &self.desk.dead_letters.name),
        };
        let reader = self.of_children.insert(opened.map_err(again)?);
        let mut found = None;
        let take = |record: LogRecord| {
            found = Some(letters::read(&record));
            true
        };
        reader.read(partition, &[offset], READ_WITHIN, take).map_err(again)?;
        let read = found.ok_or_else(|| {
            let within = READ_WITHIN.as_secs();
            No::Halt(Halt::Again(format!("the dead letter at {partition}/{offset} has not come within {within} s")))
        })?;
        read.map_err(|why| No::LeftOut(format!("it cannot be read: {why}")))
    }

    /// A sub-workflow that has come back without its parent does not come back with it, too.
    pub(super) fn comes_alone(&mut self, parent: Option<ExecutionId>, id: DeadLetterId) {
        if let Some(of_it) = parent.and_then(|parent| self.children.get_mut(&parent)) {
            of_it.retain(|it| it.id != id);
        }
    }

    /// Whether an execution is still to come back, or is about to.
    pub(super) fn is_to_come(&self, execution: ExecutionId) -> bool {
        let is_wanted = self.planned.get(&execution).is_some_and(|place| self.wanted.contains_key(place));
        is_wanted || self.batch.iter().any(|(_, _, mail)| mail.started.execution == execution)
    }
}
