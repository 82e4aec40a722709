//! What is not run: workflows that cannot be, records that are no events or that nothing matches, executions that wait for their turn.

use std::sync::Arc;

use super::kin;
use super::part::Fatal;
use super::{FIRST_RUN, Left, News, Stop, Subject, journal_output};
use crate::engine::checkpoint::{Checkpoint, Content, History};
use crate::engine::event::{Event, SourceRecord, Undecodable};
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::engine::journal::Entry;
use crate::engine::plan::ErrorClass;
use crate::engine::record::{
    DeadLetter, ExecutionRecord, ExecutionStatus, FailedExecution, Failure, JournalRecord, Output, Reason,
};
use crate::engine::run;
use crate::engine::value::Value;
use crate::engine::workflow::{ContentHash, Status, Workflow};

/// A workflow that matched an event and whose definition does not compile in this version; or one that has waited and cannot go on.
#[derive(Clone, Debug)]
pub struct Unrunnable {
    /// The id that its execution has, or would have had.
    pub id: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// The event.
    pub event: Arc<Event>,
    /// How it ends, and why.
    pub stop: Stop,
    /// When that was found, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Where it stood, if it has waited.
    pub(super) waited: Option<Arc<Checkpoint>>,
    /// What has become of its steps meanwhile.
    pub(super) news: News,
    /// Whether the run began with this.
    pub(super) begins: bool,
    /// See [`Subject::along_with`].
    pub(super) along: Option<Arc<JournalRecord>>,
}

/// A record that could not be understood.
#[derive(Clone, Debug)]
pub struct UndecodableRecord {
    /// The record.
    pub record: SourceRecord,
    /// Why.
    pub reason: Undecodable,
    /// When that was found, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// When that was found first, and how often it was read again since.
    pub(super) earlier: Option<(i64, u32)>,
    /// See [`Subject::along_with`].
    pub(super) along: Option<Arc<JournalRecord>>,
}

/// A record that was read again, is understood, and that no workflow matches (any more).
#[derive(Clone, Debug)]
pub struct Unmatched {
    /// The record.
    pub record: SourceRecord,
    /// What the journal must know of it.
    pub journal: JournalRecord,
}

/// Where an execution stands that waits for its turn, once more.
#[derive(Clone, Debug)]
pub struct Again {
    /// What is written.
    pub journal: JournalRecord,
    /// What it holds.
    pub checkpoint: Arc<Checkpoint>,
}

impl Stop {
    /// It cannot be run.
    pub(super) fn unrunnable(message: &str) -> Stop {
        let failure = Failure { step: None, class: ErrorClass::Config, message: run::cut(message.to_owned()) };
        Stop { status: ExecutionStatus::Failed, reason: Reason::Match, failure }
    }
}

impl Subject {
    /// An execution that waited and ends here without its definition, or without what its event is understood with: somebody or something
    /// ends it, as `news` say, or it cannot go on anywhere, because of `message`.
    pub fn stranded(
        (id, run): (ExecutionId, u32),
        (checkpoint, begins): (Arc<Checkpoint>, bool),
        (mut news, message): (News, &str),
        decode: &dyn Fn(SourceRecord) -> Result<Event, (SourceRecord, Undecodable)>,
        at_ms: i64,
    ) -> Subject {
        let workflow = Arc::new(Workflow {
            id: checkpoint.workflow.clone(),
            version: checkpoint.version.clone(),
            status: Status::Stopped,
            content_hash: ContentHash([0; 32]),
            triggers: Vec::new(),
        });
        // An event that cannot be understood says nothing of itself but where it lies.
        let event = checkpoint.event(decode).unwrap_or_else(|(record, _)| Event {
            record,
            id: "".into(),
            kind: "".into(),
            source: "".into(),
            subject: None,
            time: None,
            schema: None,
            key: None,
            data: Value::Null,
        });
        let stop = news.stop.take().unwrap_or_else(|| Stop::unrunnable(message));
        let (event, waited, along) = (Arc::new(event), Some(checkpoint), None);
        Subject::Unrunnable(Box::new(Unrunnable { id, run, workflow, event, stop, at_ms, waited, news, begins, along }))
    }
}

impl Unrunnable {
    pub(super) fn leave(&self) -> Left {
        let waits = self.waited.as_ref().map_or(&[][..], |checkpoint| &checkpoint.waits);
        let over = &self.news.over;
        let left = self.news.left_of(waits);
        let fatal = Fatal::stop(&self.stop, &left, over.iter(), self.at_ms);
        let failure = fatal.failure;
        let ended = self.waited.as_ref().map_or(Vec::new(), |checkpoint| checkpoint.ended.clone());
        // What failed meanwhile runs again: whether it may fail, the definition says, which is not there.
        let done = over.iter().map(|over| &over.step).filter(|step| step.failure.is_none());
        let finished = ended.into_iter().chain(done.cloned()).collect();
        let history = self.waited.as_ref().map_or_else(History::default, |checkpoint| checkpoint.history.clone());
        let parent = self.waited.as_ref().and_then(|checkpoint| checkpoint.parent.clone());
        let dead_letter = DeadLetter {
            id: DeadLetterId::of_execution(self.id, self.run, failure.step.as_deref()),
            reason: fatal.reason,
            failure: failure.clone(),
            execution: Some(FailedExecution {
                id: self.id,
                run: self.run,
                workflow: self.workflow.clone(),
                finished,
                history: history.clone(),
                parent: parent.clone(),
            }),
            record: self.event.record.clone(),
            attempts: if failure.step.is_some() { fatal.attempts } else { 0 },
            first_failure_ms: history.first_failure_ms.unwrap_or(fatal.first_ms),
            last_failure_ms: self.at_ms,
            returns: self.run.saturating_sub(FIRST_RUN),
        };
        let record = ExecutionRecord {
            execution: self.id,
            run: self.run,
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            status: fatal.status,
            started_ms: self.waited.as_ref().map_or(self.at_ms, |checkpoint| checkpoint.started_ms),
            ended_ms: Some(self.at_ms),
            results: Vec::new(),
            errors: vec![failure.clone()],
            retry_count: 0,
        };
        let end = JournalRecord { execution: self.id, run: self.run, entry: Entry::End, content: Content::None };
        let ended = self.waited.is_some().then(|| Output::Journal(Box::new(end)));
        let outputs = [Output::DeadLetter(Box::new(dead_letter)), Output::Execution(Box::new(record))];
        let along = self.along.as_deref().map(journal_output);
        let end = kin::Ended { execution: self.id, status: fatal.status, output: Value::Null, failure: Some(&failure) };
        let kin = kin::mail(parent.as_deref(), waits, &end);
        let outputs = outputs.into_iter().chain(ended).chain(kin).chain(along).map(|output| (None, output)).collect();
        Left { outputs, status: Some(fatal.status), ..Left::default() }
    }
}

impl UndecodableRecord {
    pub(super) fn leave(&self) -> Left {
        let (first_failure_ms, returns) = self.earlier.unwrap_or((self.at_ms, 0));
        let dead_letter = DeadLetter {
            id: DeadLetterId::of_record(&self.record.origin),
            reason: Reason::Decode,
            failure: Failure {
                step: None,
                class: ErrorClass::Permanent,
                message: run::cut(self.reason.message.clone()),
            },
            execution: None,
            record: self.record.clone(),
            attempts: returns.saturating_add(1),
            first_failure_ms,
            last_failure_ms: self.at_ms,
            returns,
        };
        let mut left = Left::only(Output::DeadLetter(Box::new(dead_letter)));
        left.outputs.extend(self.along.as_deref().map(|record| (None, journal_output(record))));
        left
    }
}
