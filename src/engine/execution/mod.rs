//! Executions, and what they leave: the records that a run of a workflow for an event writes.
//!
//! An execution that waits runs in parts. Each begins where the one before had to wait, and leaves what the rest of the world sees of it
//! and where it stands now.

mod kin;
mod part;
mod unrun;

use std::sync::Arc;

use super::checkpoint::{Checkpoint, Progress, StepWait};
use super::event::{Event, SourceRecord, Undecodable};
use super::expression::StepStatus;
use super::ids::{ExecutionId, ExecutionOrigin, MailboxKey};
use super::journal::Entry;
use super::plan::{Plan, Turns};
use super::record::{ExecutionStatus, Failure, FinishedStep, JournalRecord, Output, Reason};
use super::run::{Refusal, StepRun};
use super::workflow::{Workflow, WorkflowId};

pub use unrun::{Again, UndecodableRecord, Unmatched, Unrunnable};

/// The run that an event starts; a replay starts the next one.
pub const FIRST_RUN: u32 = 1;

/// What makes ids and records those of one environment.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The environment's name, part of every execution id.
    pub environment: Arc<str>,
    /// How many partitions the journal has; fixed when the topic is created, part of every execution id.
    pub journal_partitions: u16,
    /// Which steps leave a record of their own.
    pub step_results: StepResults,
}

/// Which steps leave a record of their own; the others are part of the execution's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepResults {
    /// Every step that ended.
    #[default]
    All,
    /// Steps that failed.
    Failed,
    /// None.
    None,
}

/// What a group of a batch is about.
#[derive(Debug)]
pub enum Subject {
    /// A workflow that runs for an event.
    Execution(Box<Execution>),
    /// A workflow that matched and cannot be run.
    Unrunnable(Box<Unrunnable>),
    /// A record that could not be understood.
    Undecodable(Box<UndecodableRecord>),
    /// A record that is understood now and that no workflow matches (any more).
    Unmatched(Box<Unmatched>),
    /// Where an execution stands, once more: nothing of it has changed.
    Again(Box<Again>),
}

/// A part of a workflow's run for an event. `E` is the event: understood, or as it was read.
#[derive(Clone, Debug)]
pub struct Execution<E = Arc<Event>> {
    /// Its id.
    pub id: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What it does.
    pub plan: Arc<Plan>,
    /// The event.
    pub event: E,
    /// When it started, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// Where this part of it begins; None at the beginning of the run.
    pub before: Option<Arc<Before>>,
    /// Which of its records the broker refused when it was written before.
    pub refusals: Vec<Refusal>,
    /// Why it cannot wait: where it stands is larger than the journal takes.
    too_large: Option<Arc<str>>,
    /// See [`Subject::along_with`].
    along: Option<Arc<JournalRecord>>,
    step_results: StepResults,
}

/// What is kept of an execution until its records are committed: enough to run it again, but not what was read from its record. That
/// takes as much memory as the record, and is needed only if the broker refuses something.
pub type Kept = Execution<SourceRecord>;

/// Where a part of a run begins.
#[derive(Debug)]
pub struct Before {
    /// Where the execution stood.
    pub checkpoint: Arc<Checkpoint>,
    /// The same in the words of the plan.
    progress: Progress,
    /// What has become of the steps that waited.
    pub news: News,
    /// How far the run is here.
    pub phase: Phase,
    /// The offset of the mail that the run began with.
    pub place: i64,
    /// Up to which offset of the journal this part includes the execution's mail.
    pub includes: i64,
}

/// How far a run is where a part of it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn: this part runs no step, and takes note of what has become of sub-workflows that have come back with it.
    Queues,
    /// It begins: its turn has come, or it is a later one of an execution that has run before.
    Begins,
    /// It has begun before.
    Runs,
}

/// What a part of a run begins with.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The steps whose wait is over.
    pub over: Vec<Over>,
    /// Steps that wait on, otherwise than before.
    pub changed: Vec<StepWait>,
    /// Somebody or something ends the run.
    pub stop: Option<Stop>,
    /// What is told of steps that begin to wait.
    pub told: Vec<FinishedStep>,
    /// What is mailed for them.
    pub mails: Vec<JournalRecord>,
    /// Sub-workflows that are not waited for any more, and are cancelled.
    pub left_alone: Vec<ExecutionId>,
}

/// A step whose wait is over.
#[derive(Clone, Debug)]
pub struct Over {
    /// How it ended.
    pub step: FinishedStep,
    /// When it failed first, milliseconds since the Unix epoch; if it never did, when it ended.
    pub first_failure_ms: i64,
    /// What kind of dead letter it makes, if it failed for good.
    pub reason: Reason,
}

/// The end of a run that none of its steps brought about.
#[derive(Clone, Debug)]
pub struct Stop {
    /// How the execution ends.
    pub status: ExecutionStatus,
    /// What kind of dead letter it makes.
    pub reason: Reason,
    /// Why.
    pub failure: Failure,
}

/// A step whose wait was over, for whoever counts it.
#[derive(Clone, Debug)]
pub struct Waited {
    /// Its id.
    pub step: Arc<str>,
    /// How it ended.
    pub status: StepStatus,
    /// From its start to its end, in milliseconds, all attempts included.
    pub took_ms: i64,
}

/// What a subject leaves to be written.
#[derive(Debug, Default)]
pub struct Left {
    /// The records in order, each with the step that wrote it, if a refusal of it is that step's failure.
    pub outputs: Vec<(Option<usize>, Output)>,
    /// How it ended, or that it goes on; None for what was never an execution.
    pub status: Option<ExecutionStatus>,
    /// How each step ended that ran in place, with the lines that `log` steps write.
    pub steps: Vec<StepRun>,
    /// How each step ended whose wait was over.
    pub over: Vec<Waited>,
    /// The steps of which an attempt failed that is made again.
    pub retried: Vec<Arc<str>>,
    /// Where the execution stands now, if it waits.
    pub checkpoint: Option<Arc<Checkpoint>>,
}

impl Execution {
    /// The execution of a workflow for an event. Its id depends on nothing but the environment, the workflow and where the
    /// event lies.
    pub fn new(
        identity: &Identity,
        workflow: Arc<Workflow>,
        plan: Arc<Plan>,
        event: Arc<Event>,
        started_ms: i64,
    ) -> Execution {
        let id = identity.execution_id(&workflow.id, &event, plan.turns);
        let step_results = identity.step_results;
        let (before, refusals, too_large, along) = (None, Vec::new(), None, None);
        let run = FIRST_RUN;
        Execution { id, run, workflow, plan, event, started_ms, before, refusals, too_large, along, step_results }
    }

    /// The next part of an execution that waited; where it stands is said in the words of the plan, too.
    pub fn go_on(
        identity: &Identity,
        (id, run): (ExecutionId, u32),
        (workflow, plan): (Arc<Workflow>, Arc<Plan>),
        event: Arc<Event>,
        (checkpoint, progress): (Arc<Checkpoint>, Progress),
        (news, phase): (News, Phase),
        (place, includes): (i64, i64),
    ) -> Execution {
        let (started_ms, step_results) = (checkpoint.started_ms, identity.step_results);
        let before = Some(Arc::new(Before { checkpoint, progress, news, phase, place, includes }));
        let (refusals, too_large, along) = (Vec::new(), None, None);
        Execution { id, run, workflow, plan, event, started_ms, before, refusals, too_large, along, step_results }
    }
}

impl<E> Execution<E> {
    fn about<O>(&self, event: O) -> Execution<O> {
        Execution {
            id: self.id,
            run: self.run,
            workflow: self.workflow.clone(),
            plan: self.plan.clone(),
            event,
            started_ms: self.started_ms,
            before: self.before.clone(),
            refusals: self.refusals.clone(),
            too_large: self.too_large.clone(),
            along: self.along.clone(),
            step_results: self.step_results,
        }
    }
}

impl Identity {
    /// The id of a sub-workflow that a step of a run of an execution starts; `key` is that of the event.
    pub fn child_id(
        &self,
        workflow: &WorkflowId,
        (execution, step, run): (ExecutionId, &str, u32),
        (turns, key): (Turns, Option<&[u8]>),
    ) -> ExecutionId {
        let origin = ExecutionOrigin::Parent { execution, step, run };
        ExecutionId::new(&self.environment, workflow.as_str(), origin, mailbox(turns, key), self.journal_partitions)
    }

    /// The id of what a workflow does for an event.
    pub fn execution_id(&self, workflow: &WorkflowId, event: &Event, turns: Turns) -> ExecutionId {
        ExecutionId::new(
            &self.environment,
            workflow.as_str(),
            ExecutionOrigin::Event(&event.record.origin),
            mailbox(turns, event.record.key()),
            self.journal_partitions,
        )
    }
}

/// Where executions with these limits have their mail; `key` is that of their event.
pub(super) fn mailbox(turns: Turns, key: Option<&[u8]>) -> MailboxKey<'_> {
    match key {
        _ if turns.concurrency > 0 => MailboxKey::Workflow,
        Some(key) if turns.by_key => MailboxKey::EventKey(key),
        Some(_) | None => MailboxKey::Hash,
    }
}

impl Subject {
    /// A workflow that matched and cannot be run.
    pub fn unrunnable(
        identity: &Identity,
        workflow: Arc<Workflow>,
        event: Arc<Event>,
        message: &str,
        at_ms: i64,
    ) -> Subject {
        // What would hold it back is not known: it does not compile.
        let id = identity.execution_id(&workflow.id, &event, Turns::default());
        let stop = Stop::unrunnable(&format!("the definition cannot be run by this version: {message}"));
        let (run, waited, news, begins, along) = (FIRST_RUN, None, News::default(), true, None);
        Subject::Unrunnable(Box::new(Unrunnable { id, run, workflow, event, stop, at_ms, waited, news, begins, along }))
    }

    /// A record that could not be understood.
    pub fn undecodable((record, reason): (SourceRecord, Undecodable), at_ms: i64) -> Subject {
        let (earlier, along) = (None, None);
        Subject::Undecodable(Box::new(UndecodableRecord { record, reason, at_ms, earlier, along }))
    }

    /// A record that could not be understood again: for the first time at `first_ms`, and so many times since.
    pub fn undecodable_again(
        (record, reason): (SourceRecord, Undecodable),
        (first_ms, returns): (i64, u32),
        at_ms: i64,
    ) -> Subject {
        let earlier = Some((first_ms, returns));
        Subject::Undecodable(Box::new(UndecodableRecord { record, reason, at_ms, earlier, along: None }))
    }

    /// The same, with a record of the journal that is written along with what it leaves, whatever that is: how far the record has come that
    /// it is for.
    pub fn along_with(mut self, record: JournalRecord) -> Subject {
        match &mut self {
            Subject::Execution(it) => it.along = Some(Arc::new(record)),
            Subject::Unrunnable(it) => it.along = Some(Arc::new(record)),
            Subject::Undecodable(it) => it.along = Some(Arc::new(record)),
            Subject::Unmatched(it) => it.journal = record,
            // An execution is no record that is read again.
            Subject::Again(_) => {}
        }
        self
    }

    /// Whether a record that was read again is done with this.
    pub fn ends_redrive(&self) -> bool {
        let along = match self {
            Subject::Execution(it) => it.along.as_deref(),
            Subject::Unrunnable(it) => it.along.as_deref(),
            Subject::Undecodable(it) => it.along.as_deref(),
            Subject::Unmatched(it) => Some(&it.journal),
            Subject::Again(_) => None,
        };
        along.is_some_and(|record| record.entry == Entry::End)
    }

    /// The record that it is about.
    pub fn record(&self) -> &SourceRecord {
        match self {
            Subject::Execution(it) => &it.event.record,
            Subject::Unrunnable(it) => &it.event.record,
            Subject::Undecodable(it) => &it.record,
            Subject::Unmatched(it) => &it.record,
            Subject::Again(it) => &it.checkpoint.record,
        }
    }

    /// Which run of its execution it is about; None for what is none.
    pub fn run(&self) -> Option<u32> {
        match self {
            Subject::Execution(it) => Some(it.run),
            Subject::Unrunnable(it) => Some(it.run),
            Subject::Undecodable(_) | Subject::Unmatched(_) => None,
            Subject::Again(it) => Some(it.journal.run),
        }
    }

    /// Whether a run begins here, unless it is still pending after that: what waits for its turn begins when that comes. False for what is none.
    pub fn begins(&self) -> bool {
        match self {
            Subject::Execution(it) => it.before.as_ref().is_none_or(|before| before.phase != Phase::Runs),
            Subject::Unrunnable(it) => it.begins,
            Subject::Undecodable(_) | Subject::Unmatched(_) | Subject::Again(_) => false,
        }
    }

    /// Whether it is there because an event matched: it is no later run, and nobody's sub-workflow.
    pub fn was_matched(&self) -> bool {
        let parent = match self {
            Subject::Execution(it) => it.before.as_ref().and_then(|before| before.checkpoint.parent.as_ref()),
            Subject::Unrunnable(it) => it.waited.as_ref().and_then(|checkpoint| checkpoint.parent.as_ref()),
            Subject::Undecodable(_) | Subject::Unmatched(_) | Subject::Again(_) => None,
        };
        self.run() == Some(FIRST_RUN) && parent.is_none()
    }

    /// When the run was asked for that goes on here, milliseconds since the Unix epoch; None for one that is not in the journal, and for what is none.
    pub fn waited_since_ms(&self) -> Option<i64> {
        match self {
            Subject::Execution(execution) => execution.before.as_ref().map(|_| execution.started_ms),
            Subject::Unrunnable(unrunnable) => unrunnable.waited.as_ref().map(|checkpoint| checkpoint.started_ms),
            Subject::Undecodable(_) | Subject::Unmatched(_) | Subject::Again(_) => None,
        }
    }

    /// The workflow that it is about, if it is about one.
    pub fn workflow(&self) -> Option<&Arc<Workflow>> {
        match self {
            Subject::Execution(execution) => Some(&execution.workflow),
            Subject::Unrunnable(unrunnable) => Some(&unrunnable.workflow),
            Subject::Undecodable(_) | Subject::Unmatched(_) | Subject::Again(_) => None,
        }
    }

    /// Runs what there is to run and says what is to be written. The same subject always leaves the same.
    pub fn leave(&self, now_ms: i64) -> Left {
        match self {
            Subject::Execution(execution) => execution.leave(now_ms),
            Subject::Unrunnable(unrunnable) => unrunnable.leave(),
            Subject::Undecodable(undecodable) => undecodable.leave(),
            Subject::Unmatched(unmatched) => Left::only(journal_output(&unmatched.journal)),
            Subject::Again(again) => {
                let left = Left::only(journal_output(&again.journal));
                Left { checkpoint: Some(again.checkpoint.clone()), ..left }
            }
        }
    }

    /// The same, with what it leaves when where it stands must fit into a record of the journal: it fails if it does not.
    pub fn leave_within(self, now_ms: i64, fits: &dyn Fn(&JournalRecord) -> Result<(), String>) -> (Subject, Left) {
        let left = self.leave(now_ms);
        let mut journal = left.outputs.iter().filter_map(|(_, output)| match output {
            Output::Journal(record) => Some(record),
            Output::StepResult(_) | Output::Execution(_) | Output::DeadLetter(_) | Output::Produced(_) => None,
        });
        match journal.try_for_each(|record| fits(record)) {
            Ok(()) => (self, left),
            Err(message) => {
                let subject = self.too_large(&message).unwrap_or(self);
                let left = subject.leave(now_ms);
                (subject, left)
            }
        }
    }

    /// What to keep until its records are committed; None for what is no execution: it cannot be run otherwise.
    pub fn keep(&self) -> Option<Box<Kept>> {
        let Subject::Execution(execution) = self else { return None };
        Some(Box::new(execution.about(execution.event.record.clone())))
    }

    /// The same execution, failing where it would wait: where it stands is larger than the journal takes. None for what is no execution.
    pub fn too_large(&self, message: &str) -> Option<Subject> {
        let Subject::Execution(execution) = self else { return None };
        let mut execution = execution.clone();
        execution.too_large = Some(message.into());
        Some(Subject::Execution(execution))
    }

    /// The same execution, failing at the steps whose records were refused; None for what is no execution, or wrote nothing
    /// that can be refused.
    pub fn refused(&self, refusals: &[Refusal]) -> Option<Subject> {
        let Subject::Execution(execution) = self else { return None };
        let known = |it: &Refusal| execution.refusals.iter().any(|refusal| refusal.step == it.step);
        let fresh: Vec<Refusal> = refusals.iter().filter(|it| !known(it)).cloned().collect();
        if fresh.is_empty() {
            return None;
        }
        let mut execution = execution.clone();
        execution.refusals.extend(fresh);
        Some(Subject::Execution(execution))
    }
}

impl Kept {
    /// The execution as it was. `decode` reads its record again, which comes to the same event as before; None if it does not.
    pub fn execution(
        &self,
        decode: impl FnOnce(SourceRecord) -> Result<Event, (SourceRecord, Undecodable)>,
    ) -> Option<Subject> {
        let event = decode(self.event.clone()).ok()?;
        let event = match self.before.as_ref().and_then(|before| before.checkpoint.parent.as_ref()) {
            None => event,
            Some(parent) => parent.event(event),
        };
        Some(Subject::Execution(Box::new(self.about(Arc::new(event)))))
    }
}

impl Left {
    /// One record, and nothing that ran.
    fn only(output: Output) -> Left {
        Left { outputs: vec![(None, output)], ..Left::default() }
    }
}

fn journal_output(record: &JournalRecord) -> Output {
    Output::Journal(Box::new(record.clone()))
}
