//! What brings one dead letter back, or why it cannot come back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Desk;
use crate::codec::dead_letter::{ReadLetter, repaired};
use crate::codec::journal;
use crate::definition::{self, Installed};
use crate::engine::expression::StepStatus;
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::engine::plan::{Action, ChildCall, Plan, Turns, Wait};
use crate::engine::record::{DeadLetter, FailedExecution, JournalRecord};
use crate::engine::replay::{self, ChildAgain, Repair};
use crate::engine::wire::WireRecord;
use crate::engine::workflow::{Status, Workflow, WorkflowId};

/// What a record takes in a batch beside what it weighs, and what grows while it is under way, with room to spare.
const OVERHEAD_BYTES: usize = 4 * 1024;

/// How often a dead letter may come back that keeps failing.
pub const RETURNS_MOST: u32 = 5;

/// How work is to come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Orders {
    /// The version of their workflow with which executions go on; None = the one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_version: Option<String>,
    /// Changes to the outputs of finished steps, by step: JSON Patch (RFC 6902).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, json_patch::Patch>,
    /// What came back so often is quarantined.
    pub max_returns: u32,
}

impl Default for Orders {
    fn default() -> Orders {
        Orders { to_version: None, set: BTreeMap::new(), max_returns: RETURNS_MOST }
    }
}

/// Mail that brings a dead letter back.
pub(super) struct Mail {
    /// What is mailed.
    pub post: Post,
    /// What it starts.
    pub started: Started,
    /// The steps that are not run again.
    pub finished: Vec<Arc<str>>,
    /// Its sub-workflows that come back with it, and theirs, each behind those that it waits for.
    pub children: Vec<ChildMail>,
}

/// What is mailed to the journal. It is encoded when it is written: until its turn comes, time passes that is none of its execution's.
pub(super) struct Post {
    mail: JournalRecord,
    /// What its record takes.
    pub bytes: usize,
}

impl Post {
    /// The record, as it is written now.
    pub(super) fn record(self, journal: &Arc<str>, now_ms: i64) -> WireRecord {
        journal::encode(journal, &replay::starting_at(self.mail, now_ms))
    }
}

impl Mail {
    /// What it takes with all that comes back with it.
    pub(super) fn bytes(&self) -> usize {
        self.post.bytes + self.children.iter().map(|child| child.post.bytes).sum::<usize>()
    }
}

/// Mail that brings a sub-workflow back with its parent.
pub(super) struct ChildMail {
    /// Its dead letter.
    pub id: DeadLetterId,
    /// The sub-workflow.
    pub execution: ExecutionId,
    /// What is mailed.
    pub post: Post,
    /// The steps that are not run again.
    pub finished: Vec<Arc<str>>,
}

/// How a step calls a sub-workflow that comes back with its parent.
pub(super) struct Called {
    /// The version with which it goes on: the one that the step names, or the one in use. None if there is none.
    pub version: Option<Arc<str>>,
    /// How long it is waited for.
    pub timeout: Option<Duration>,
}

/// What was started by mail, by what the journal knows it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// The execution, or the record that is read again.
    pub execution: ExecutionId,
    /// The run.
    pub run: u32,
    /// The dead letter that a record will be once more if it is not understood; None for an execution.
    pub read_again: Option<DeadLetterId>,
}

/// Writes mail.
pub(super) struct Mailer<'a> {
    desk: &'a Desk,
    installed: &'a Installed,
    orders: &'a Orders,
    /// The versions that were needed so far, compiled.
    compiled: HashMap<(WorkflowId, Arc<str>), Result<Arc<Plan>, String>>,
}

impl<'a> Mailer<'a> {
    pub(super) fn new(desk: &'a Desk, installed: &'a Installed, orders: &'a Orders) -> Mailer<'a> {
        Mailer { desk, installed, orders, compiled: HashMap::new() }
    }

    /// The mail that brings a dead letter back; the error says why it cannot come back so, in words that are the same for all of a kind.
    pub(super) fn mail(&mut self, read: ReadLetter, now_ms: i64) -> Result<Mail, String> {
        self.mail_as(read, self.orders, (Vec::new(), None), now_ms)
    }

    /// The same as ordered otherwise, with those of its sub-workflows that come back with it, and the run of its parent with which it comes back.
    pub(super) fn mail_as(
        &mut self,
        read: ReadLetter,
        orders: &Orders,
        (children, parent_run): (Vec<ChildAgain>, Option<u32>),
        now_ms: i64,
    ) -> Result<Mail, String> {
        let ReadLetter { mut letter, left_out } = read;
        if !left_out.is_empty() {
            return Err(format!(
                "it was larger than its topic takes when it was written, and its {} was left out: send the event again instead",
                left_out.join(" and ")
            ));
        }
        if letter.returns >= orders.max_returns {
            return Err(format!(
                "quarantined: it came back {} times and failed each time; mend the cause, then raise --max-returns",
                letter.returns
            ));
        }
        let version = orders.to_version.as_deref().map(Arc::from);
        let has_other_outputs = match &mut letter.execution {
            Some(execution) => self.prepare(execution, letter.record.key(), orders)?,
            None => {
                self.can_be_read_again(&letter, orders)?;
                false
            }
        };
        let read_again = letter.execution.is_none().then_some(letter.id);
        let finished = letter.execution.iter().flat_map(|it| &it.finished).map(|step| step.id.clone()).collect();
        let repair = Repair { version, has_other_outputs, children, parent_run };
        let mail = replay::resume(letter, &repair, self.desk.journal_partitions, now_ms);
        let started = Started { execution: mail.execution, run: mail.run, read_again };
        let bytes = journal::encode(&self.desk.journal.name, &mail).size_bytes();
        if bytes + OVERHEAD_BYTES > self.desk.journal.max_message_bytes {
            return Err("it is larger than the journal takes; raise that topic's max.message.bytes".to_owned());
        }
        Ok(Mail { post: Post { mail, bytes }, started, finished, children: Vec::new() })
    }

    /// The steps of an execution whose sub-workflows come back with it, as they call them. One that is to go on otherwise than before starts
    /// them anew, with what it has for them then.
    pub(super) fn calls_of(&mut self, letter: &DeadLetter, orders: &Orders) -> BTreeMap<Arc<str>, Called> {
        let Some(execution) = &letter.execution else { return BTreeMap::new() };
        let Workflow { id, version, .. } = &*execution.workflow;
        let is_other = orders.to_version.as_ref().is_some_and(|other| **other != **version) || !orders.set.is_empty();
        let Ok(plan) = self.plan(id, version) else { return BTreeMap::new() };
        if is_other {
            return BTreeMap::new();
        }
        let is_finished = |step: &Arc<str>| execution.finished.iter().any(|it| it.id == *step);
        let called = plan.steps().iter().filter(|step| !is_finished(&step.id)).filter_map(|step| {
            let Action::Wait(Wait::Workflow(ChildCall { workflow, version, timeout, .. })) = &step.action else {
                return None;
            };
            let in_use = || Some(self.installed.get(workflow)?.pointer.as_ref()?.version.clone());
            let version = version.clone().or_else(in_use);
            Some((step.id.clone(), Called { version, timeout: *timeout }))
        });
        called.collect()
    }

    /// Checks that an execution can go on as ordered, and repairs its outputs; `key` is that of its event. Returns whether one is another now.
    fn prepare(
        &mut self,
        execution: &mut FailedExecution,
        key: Option<&[u8]>,
        orders: &Orders,
    ) -> Result<bool, String> {
        if execution.id.journal_partition >= self.desk.journal_partitions {
            return Err(format!(
                "it is of another environment: this journal has {} partitions",
                self.desk.journal_partitions
            ));
        }
        let workflow = execution.workflow.id.clone();
        let version = orders.to_version.as_deref().map_or_else(|| execution.workflow.version.clone(), Arc::from);
        let plan = self.plan(&workflow, &version)?;
        self.can_go_on(execution, (&version, plan.turns), key)?;
        let is_lacking = |id: &Arc<str>| !plan.steps().iter().any(|step| step.id == *id);
        if let Some(lacking) = execution.finished.iter().map(|step| &step.id).find(|id| is_lacking(id)) {
            return Err(format!(
                "its step `{lacking}` has run, but version {version} of {} has none of that name",
                workflow.as_str()
            ));
        }
        let mut is_repaired = false;
        for (id, patch) in &orders.set {
            let step =
                execution.finished.iter_mut().find(|step| *step.id == **id && step.status == StepStatus::Completed);
            let step =
                step.ok_or_else(|| format!("its step `{id}` has not completed, so that it has no output to set"))?;
            let change =
                |output: &mut serde_json::Value| json_patch::patch(output, &patch.0).map_err(|error| error.to_string());
            let output = repaired(&step.output, change)
                .map_err(|why| format!("the output of `{id}` cannot be set so: {why}"))?;
            is_repaired |= output != step.output;
            step.output = output;
        }
        Ok(is_repaired)
    }

    /// Whether what comes back would go on, where it lies.
    fn can_go_on(
        &self,
        execution: &FailedExecution,
        (version, turns): (&str, Turns),
        key: Option<&[u8]>,
    ) -> Result<(), String> {
        let (id, partitions) = (&execution.workflow.id, self.desk.journal_partitions);
        let name = id.as_str();
        let pointer = self.installed.get(id).and_then(|workflow| workflow.pointer.as_ref());
        if pointer.is_some_and(|pointer| pointer.status == Status::Stopped) {
            return Err(format!("{name} is stopped, which cancels whatever comes back: start or pause it first"));
        }
        if !replay::keeps_its_owner(execution, turns, key, partitions) {
            return Err(format!(
                "version {version} of {name} lets its executions run in turns, and this one began under other rules elsewhere in the \
                 journal, where they cannot be kept: send the event again instead"
            ));
        }
        Ok(())
    }

    /// Whether a record that was never an execution can come back as ordered.
    fn can_be_read_again(&self, letter: &DeadLetter, orders: &Orders) -> Result<(), String> {
        let topic = &letter.record.origin.topic;
        if topic.name == self.desk.journal.name {
            return Err("it is a record of the journal that could not be understood, and no event: nothing can be made of it here".to_owned());
        }
        if topic.id == [0; 16] {
            return Err(
                "it does not say of which topic it is, by id; an older version wrote it: send the event again instead"
                    .to_owned(),
            );
        }
        if orders.to_version.is_some() || !orders.set.is_empty() {
            return Err("it was never an execution: it has no version and no outputs; plan it without those".to_owned());
        }
        Ok(())
    }

    fn plan(&mut self, id: &WorkflowId, version: &Arc<str>) -> Result<Arc<Plan>, String> {
        let installed = self.installed;
        let compile = || {
            let found = installed.get(id).and_then(|workflow| workflow.versions.get(version));
            let name = id.as_str();
            let found = found.ok_or_else(|| format!("version {version} of {name} is not installed; apply it first"))?;
            let compiled = definition::compile(&found.document);
            compiled.map_err(|refused| format!("version {version} of {name} cannot be run by this version: {refused}"))
        };
        self.compiled.entry((id.clone(), version.clone())).or_insert_with(compile).clone()
    }
}
