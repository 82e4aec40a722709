//! What brings one dead letter back, or why it cannot come back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Desk;
use crate::codec::dead_letter::{ReadLetter, repaired};
use crate::codec::journal;
use crate::definition::{self, Installed};
use crate::engine::expression::StepStatus;
use crate::engine::ids::ExecutionId;
use crate::engine::plan::Plan;
use crate::engine::record::{DeadLetter, FailedExecution};
use crate::engine::replay::{self, Repair};
use crate::engine::wire::WireRecord;
use crate::engine::workflow::WorkflowId;

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
    /// The record for the journal.
    pub record: WireRecord,
    /// The execution and the run that it starts; None for a record that is read again.
    pub run: Option<(ExecutionId, u32)>,
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
        let ReadLetter { mut letter, left_out } = read;
        if !left_out.is_empty() {
            return Err(format!(
                "it was larger than its topic takes when it was written, and its {} was left out: send the event again instead",
                left_out.join(" and ")
            ));
        }
        if letter.returns >= self.orders.max_returns {
            return Err(format!(
                "quarantined: it came back {} times and failed each time; mend the cause, then raise --max-returns",
                letter.returns
            ));
        }
        let version = self.orders.to_version.as_deref().map(Arc::from);
        let has_other_outputs = match &mut letter.execution {
            Some(execution) => self.prepare(execution)?,
            None => {
                can_be_read_again(&letter, self.orders)?;
                false
            }
        };
        let is_execution = letter.execution.is_some();
        let repair = Repair { version, has_other_outputs };
        let mail = replay::resume(letter, &repair, self.desk.journal_partitions, now_ms);
        let run = is_execution.then_some((mail.execution, mail.run));
        let record = journal::encode(&self.desk.journal.name, &mail);
        if record.size_bytes() + OVERHEAD_BYTES > self.desk.journal.max_message_bytes {
            return Err("it is larger than the journal takes; raise that topic's max.message.bytes".to_owned());
        }
        Ok(Mail { record, run })
    }

    /// Checks that an execution can go on as ordered, and repairs its outputs. Returns whether there was anything to repair.
    fn prepare(&mut self, execution: &mut FailedExecution) -> Result<bool, String> {
        if execution.id.journal_partition >= self.desk.journal_partitions {
            return Err(format!(
                "it is of another environment: this journal has {} partitions",
                self.desk.journal_partitions
            ));
        }
        let workflow = execution.workflow.id.clone();
        let version = self.orders.to_version.as_deref().map_or_else(|| execution.workflow.version.clone(), Arc::from);
        let plan = self.plan(&workflow, &version)?;
        let is_lacking = |id: &Arc<str>| !plan.steps().iter().any(|step| step.id == *id);
        if let Some(lacking) = execution.finished.iter().map(|step| &step.id).find(|id| is_lacking(id)) {
            return Err(format!(
                "its step `{lacking}` has run, but version {version} of {} has none of that name",
                workflow.as_str()
            ));
        }
        for (id, patch) in &self.orders.set {
            let step =
                execution.finished.iter_mut().find(|step| *step.id == **id && step.status == StepStatus::Completed);
            let step =
                step.ok_or_else(|| format!("its step `{id}` has not completed, so that it has no output to set"))?;
            let change =
                |output: &mut serde_json::Value| json_patch::patch(output, &patch.0).map_err(|error| error.to_string());
            step.output = repaired(&step.output, change)
                .map_err(|why| format!("the output of `{id}` cannot be set so: {why}"))?;
        }
        Ok(!self.orders.set.is_empty())
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

/// Whether a record that was never an execution can come back as ordered.
fn can_be_read_again(letter: &DeadLetter, orders: &Orders) -> Result<(), String> {
    if letter.record.origin.topic.id == [0; 16] {
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
