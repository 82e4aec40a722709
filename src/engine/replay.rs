//! How failed work comes back: what is mailed to the journal for a dead letter.
//!
//! An execution goes on as its next run from its failed step: the steps that have ended are not run again, in the same version of its
//! workflow or in a repaired one. Its calls keep their idempotency keys, unless what they are made of has changed: then the edition rises.
//! A sub-workflow that has failed, and its parent with it, comes back with that, if nothing is to be different: it goes on from its own failed
//! step, and the parent waits for it, also while it queues for its turn. What was never an execution is read and matched again.
//!
//! Who writes the mail resolves the dead letter in the same transaction, so that nothing comes back twice.

use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::{Checkpoint, Content, History, Parent, Redrive, StepWait};
use super::execution::mailbox;
use super::ids::ExecutionId;
use super::journal::{Entry, Mail};
use super::plan::Turns;
use super::record::{DeadLetter, FailedExecution, JournalRecord};
use super::run::cut;
use super::value::whole_milliseconds;

/// What is to be different when work comes back.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// The version of its workflow with which an execution goes on; None = the one that failed.
    pub version: Option<Arc<str>>,
    /// Whether outputs of its finished steps were changed.
    pub has_other_outputs: bool,
    /// Its sub-workflows that come back with it. What is mailed for them must be written in the same transaction: their ends are waited for.
    pub children: Vec<ChildAgain>,
    /// The run of its parent with which it comes back; None if it comes back alone, or has no parent.
    pub parent_run: Option<u32>,
}

/// A sub-workflow that comes back with its parent.
#[derive(Clone, Debug)]
pub struct ChildAgain {
    /// The parent's step that waits for it.
    pub step: Arc<str>,
    /// The sub-workflow.
    pub execution: ExecutionId,
    /// How long it is waited for; see [`ChildCall::timeout`](super::plan::ChildCall::timeout).
    pub timeout: Option<Duration>,
}

impl ChildAgain {
    fn wait(&self, now_ms: i64) -> StepWait {
        StepWait {
            step: self.step.clone(),
            since_ms: now_ms,
            due_ms: self.timeout.map(|most| now_ms.saturating_add(whole_milliseconds(most))),
            attempts: 1,
            failed: None,
            child: Some(self.execution),
        }
    }
}

/// Whether an execution can go on with a version that has these turns. It stays where it is, and one owner keeps the limits of a workflow and the
/// order of a key: that owner must be its own.
pub fn keeps_its_owner(execution: &FailedExecution, turns: Turns, key: Option<&[u8]>, journal_partitions: u16) -> bool {
    execution.id.lies_in(execution.workflow.id.as_str(), mailbox(turns, key), journal_partitions)
}

/// The mail that brings the work of a dead letter back. Its steps that have ended are those of the letter; whoever repairs an output has
/// done so there. The journal has `journal_partitions`.
pub fn resume(letter: DeadLetter, repair: &Repair, journal_partitions: u16, now_ms: i64) -> JournalRecord {
    let DeadLetter { id, failure, execution, record, first_failure_ms, returns, .. } = letter;
    let entry = Entry::Mail(Mail::Resume);
    let Some(FailedExecution { id: execution, run, workflow, finished, history, parent }) = execution else {
        let redrive = Redrive { record, after: None, first_failure_ms };
        let execution = ExecutionId::of_dead_letter(id, journal_partitions);
        let content = Content::Redrive(Arc::new(redrive));
        return JournalRecord { execution, run: returns.saturating_add(1), entry, content };
    };
    let version = repair.version.as_ref().unwrap_or(&workflow.version);
    let has_changed = repair.has_other_outputs || *version != workflow.version;
    let step = failure.step.as_deref().map_or(String::new(), |step| format!("{step}: "));
    let causes = cut(format!("run {run}: {step}{}\n{}", failure.message, history.causes).trim_end().to_owned());
    let checkpoint = Checkpoint {
        workflow: workflow.id.clone(),
        version: version.clone(),
        record,
        started_ms: now_ms,
        output_bytes: finished.iter().map(|step| step.output.weight()).sum(),
        ended: finished,
        waits: repair.children.iter().map(|child| child.wait(now_ms)).collect(),
        history: History {
            edition: history.edition.saturating_add(u32::from(has_changed)),
            first_failure_ms: Some(first_failure_ms),
            causes: causes.into(),
        },
        parent: parent.map(|parent| match repair.parent_run {
            Some(run) => Arc::new(Parent { run, ..(*parent).clone() }),
            None => parent,
        }),
        // Its owner knows that by the kind of the mail.
        queues: false,
    };
    let content = Content::Checkpoint(Arc::new(checkpoint));
    JournalRecord { execution, run: run.saturating_add(1), entry, content }
}

/// The same mail for an execution, written at another moment than it was made for: what counts from its start counts from there. Whoever brings
/// much back makes mail before its turn to be written has come.
pub fn starting_at(mut mail: JournalRecord, now_ms: i64) -> JournalRecord {
    if let Content::Checkpoint(checkpoint) = &mut mail.content {
        let checkpoint = Arc::make_mut(checkpoint);
        let later_ms = now_ms.saturating_sub(checkpoint.started_ms);
        checkpoint.started_ms = now_ms;
        for wait in &mut checkpoint.waits {
            wait.since_ms = wait.since_ms.saturating_add(later_ms);
            wait.due_ms = wait.due_ms.map(|due_ms| due_ms.saturating_add(later_ms));
        }
    }
    mail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Origin, SourceRecord, Topic};
    use crate::engine::expression::StepStatus;
    use crate::engine::ids::DeadLetterId;
    use crate::engine::plan::ErrorClass;
    use crate::engine::record::{Failure, FinishedStep, Reason};
    use crate::engine::value::Value;
    use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

    const ID: &str = "0005-00112233445566778899aabbccddeeff";

    fn letter(execution: Option<(u32, History)>) -> DeadLetter {
        let topic = Arc::new(Topic { name: "events".into(), id: [1; 16] });
        let workflow = Workflow {
            id: WorkflowId::new("order-paid").unwrap(),
            version: "1.0.0".into(),
            status: Status::Stopped,
            content_hash: ContentHash([0; 32]),
            triggers: Vec::new(),
        };
        let step = FinishedStep {
            id: "shape".into(),
            status: StepStatus::Completed,
            started_ms: 0,
            ended_ms: 0,
            attempts: 1,
            output: Value::Int(7),
            failure: None,
        };
        let execution = execution.map(|(run, history)| FailedExecution {
            id: ExecutionId::parse(ID).unwrap(),
            run,
            workflow: Arc::new(workflow),
            finished: vec![step],
            history,
            parent: None,
        });
        DeadLetter {
            id: DeadLetterId::parse("00112233445566778899aabbccddeeff").unwrap(),
            reason: Reason::Step,
            failure: Failure { step: Some("charge".into()), class: ErrorClass::Permanent, message: "gone".into() },
            returns: execution.as_ref().map_or(3, |it: &FailedExecution| it.run - 1),
            execution,
            record: SourceRecord::new(Origin { topic, partition: 0, offset: 4 }, 0, None, None, []),
            attempts: 4,
            first_failure_ms: 100,
            last_failure_ms: 200,
        }
    }

    #[track_caller]
    fn check(run: u32, history: History, repair: &Repair, expected: (&str, u32, &str)) {
        let mail = resume(letter(Some((run, history))), repair, 24, 1_000);
        assert_eq!((mail.execution, mail.run), (ExecutionId::parse(ID).unwrap(), run + 1));
        assert_eq!(mail.entry, Entry::Mail(Mail::Resume));
        let Content::Checkpoint(checkpoint) = mail.content else { panic!("an execution goes on from a checkpoint") };
        let History { edition, first_failure_ms, causes } = &checkpoint.history;
        assert_eq!((&*checkpoint.version, *edition, &**causes), expected);
        assert_eq!((*first_failure_ms, checkpoint.started_ms), (Some(100), 1_000));
        assert!(checkpoint.waits.is_empty() && checkpoint.ended.len() == 1 && checkpoint.output_bytes > 0);
    }

    #[test]
    fn an_execution_goes_on_as_its_next_run() {
        check(1, History::default(), &Repair::default(), ("1.0.0", 1, "run 1: charge: gone"));
        let before = History { edition: 2, first_failure_ms: None, causes: "run 1: charge: 503".into() };
        check(2, before, &Repair::default(), ("1.0.0", 2, "run 2: charge: gone\nrun 1: charge: 503"));
    }

    #[test]
    fn what_is_written_later_starts_later() {
        let execution = ExecutionId::parse("0001-000102030405060708090a0b0c0d0e0f").unwrap();
        let child = |timeout| ChildAgain { step: "sub".into(), execution, timeout };
        let children = vec![child(Some(Duration::from_secs(3))), child(None)];
        let repair = Repair { children, ..Repair::default() };
        let made = |now_ms| resume(letter(Some((1, History::default()))), &repair, 24, now_ms);
        let [later, then] = [starting_at(made(1_000), 61_000), made(61_000)].map(|mail| match mail.content {
            Content::Checkpoint(checkpoint) => checkpoint,
            other => panic!("{other:?}"),
        });
        assert_eq!((later.started_ms, &later.waits), (61_000, &then.waits));
        assert_eq!(later.waits.iter().map(|wait| wait.due_ms).collect::<Vec<_>>(), [Some(64_000), None]);
        let redrive = starting_at(resume(letter(None), &Repair::default(), 24, 1_000), 61_000);
        assert!(matches!(redrive.content, Content::Redrive(_)));
    }

    #[test]
    fn another_version_or_another_output_is_another_edition() {
        let version = |version: &str| Repair { version: Some(version.into()), ..Repair::default() };
        check(1, History::default(), &version("1.0.1"), ("1.0.1", 2, "run 1: charge: gone"));
        check(1, History::default(), &version("1.0.0"), ("1.0.0", 1, "run 1: charge: gone"));
        let outputs = Repair { has_other_outputs: true, ..Repair::default() };
        check(1, History::default(), &outputs, ("1.0.0", 2, "run 1: charge: gone"));
    }

    #[test]
    fn the_causes_of_many_runs_have_a_limit() {
        let long = "x".repeat(crate::engine::limits::ERROR_MESSAGE_BYTES);
        let before = History { edition: 1, first_failure_ms: None, causes: long.into() };
        let mail = resume(letter(Some((9, before))), &Repair::default(), 24, 0);
        let Content::Checkpoint(checkpoint) = mail.content else { panic!("an execution goes on from a checkpoint") };
        assert!(checkpoint.history.causes.len() <= crate::engine::limits::ERROR_MESSAGE_BYTES);
        assert!(checkpoint.history.causes.starts_with("run 9: charge: gone\nxxx"));
    }

    #[test]
    fn what_was_no_execution_is_read_again() {
        let mail = resume(letter(None), &Repair::default(), 24, 1_000);
        assert_eq!((mail.execution, mail.run), (ExecutionId::of_dead_letter(letter(None).id, 24), 4));
        assert!(mail.execution.journal_partition < 24);
        let Content::Redrive(redrive) = mail.content else { panic!("a record is read again") };
        assert_eq!((redrive.record.origin.offset, redrive.first_failure_ms, &redrive.after), (4, 100, &None));
    }
}
