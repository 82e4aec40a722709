//! What a batch did, counted while it is made and reported once it is committed, so that counters never run ahead of the log.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::engine::batch::SourcePartition;
use crate::engine::execution::{FIRST_RUN, Left, Subject, Waited};
use crate::engine::expression::StepStatus;
use crate::engine::record::{ExecutionStatus, Output, Reason};
use crate::engine::workflow::Workflow;

/// Counts of one batch.
#[derive(Debug, Default)]
pub struct Tally {
    /// Per source partition.
    pub sources: FxHashMap<SourcePartition, SourceTally>,
    /// Per workflow; `None` is what was never an execution.
    pub workflows: FxHashMap<Option<Arc<str>>, WorkflowTally>,
}

/// Counts of one source partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// Records read.
    pub consumed: u64,
    /// Events that no active workflow matched.
    pub unmatched: u64,
    /// Records that could not be understood.
    pub undecodable: u64,
    /// The offset after the last record that is wholly done.
    pub next_offset: i64,
    /// The timestamp of the last record, milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
}

/// Counts of one workflow.
#[derive(Clone, Debug, Default)]
pub struct WorkflowTally {
    /// Executions that began because an event matched.
    pub matched: i64,
    /// Executions that began, later runs and sub-workflows among them.
    pub began: i64,
    /// Executions that ended without a wait, by how they ended.
    pub finished: FxHashMap<ExecutionStatus, i64>,
    /// Executions that had waited, by how they ended, with how long they took in all, in milliseconds.
    pub ended: FxHashMap<ExecutionStatus, (i64, i64)>,
    /// Steps by id and outcome, with how long they took in all, in milliseconds.
    pub steps: FxHashMap<(Arc<str>, StepStatus), (i64, i64)>,
    /// Attempts of steps that failed and are made again.
    pub retried: FxHashMap<Arc<str>, i64>,
    /// Dead letters by reason.
    pub dead_letters: FxHashMap<Reason, i64>,
    /// What became of work that was brought back.
    pub replayed: FxHashMap<Replayed, i64>,
}

/// What became of work that was brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replayed {
    /// A later run of an execution has ended so.
    Ended(ExecutionStatus),
    /// A record was read again; it may match any number of workflows.
    Redriven,
    /// A record could not be understood again.
    Undecodable,
}

impl Replayed {
    /// The name used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Replayed::Ended(status) => status.name(),
            Replayed::Redriven => "redriven",
            Replayed::Undecodable => "undecodable",
        }
    }
}

impl Tally {
    /// The counts of a source partition.
    pub fn source(&mut self, partition: &SourcePartition) -> &mut SourceTally {
        self.sources.entry(partition.clone()).or_default()
    }

    /// Counts what a subject leaves.
    pub fn count(&mut self, subject: &Subject, left: &Left, now_ms: i64) {
        self.change(subject, left, 1, now_ms);
    }

    /// Takes back what was counted for a subject whose records are replaced.
    pub fn uncount(&mut self, subject: &Subject, left: &Left, now_ms: i64) {
        self.change(subject, left, -1, now_ms);
    }

    fn change(&mut self, subject: &Subject, left: &Left, by: i64, now_ms: i64) {
        let of = self.workflow(subject.workflow());
        let is_pending = matches!(left.status, Some(ExecutionStatus::Pending) | None);
        if subject.begins() && !is_pending {
            of.began += by;
            of.matched += if subject.was_matched() { by } else { 0 };
        }
        match (left.status, subject.waited_since_ms()) {
            (Some(ExecutionStatus::Running | ExecutionStatus::Pending) | None, _) => {}
            (Some(status), None) => *of.finished.entry(status).or_default() += by,
            (Some(status), Some(since_ms)) => {
                let (count, took_ms) = of.ended.entry(status).or_default();
                *count += by;
                *took_ms += by * now_ms.saturating_sub(since_ms).max(0);
            }
        }
        for Waited { step, status, took_ms } in &left.over {
            let (count, all_ms) = of.steps.entry((step.clone(), *status)).or_default();
            *count += by;
            *all_ms += by * took_ms;
        }
        for step in &left.retried {
            *of.retried.entry(step.clone()).or_default() += by;
        }
        if let Subject::Execution(execution) = subject {
            for step in &left.steps {
                // It ran within the part, which takes no time that would be worth a clock.
                let id = execution.plan.steps()[step.step].id.clone();
                of.steps.entry((id, step.status)).or_default().0 += by;
            }
        }
        for (_, output) in &left.outputs {
            if let Output::DeadLetter(letter) = output {
                *of.dead_letters.entry(letter.reason).or_default() += by;
            }
        }
        if let Some(replayed) = replayed(subject, left) {
            *of.replayed.entry(replayed).or_default() += by;
        }
    }

    fn workflow(&mut self, workflow: Option<&Arc<Workflow>>) -> &mut WorkflowTally {
        let id = workflow.map(|it| it.id.shared());
        self.workflows.entry(id).or_default()
    }

    /// Adds another batch's counts.
    pub fn merge(&mut self, other: Tally) {
        for (partition, source) in other.sources {
            let mine = self.sources.entry(partition).or_default();
            mine.consumed += source.consumed;
            mine.unmatched += source.unmatched;
            mine.undecodable += source.undecodable;
            mine.next_offset = mine.next_offset.max(source.next_offset);
            mine.last_timestamp_ms = source.last_timestamp_ms;
        }
        for (id, workflow) in other.workflows {
            let mine = self.workflows.entry(id).or_default();
            add(&mut mine.finished, workflow.finished);
            mine.matched += workflow.matched;
            mine.began += workflow.began;
            add_timed(&mut mine.ended, workflow.ended);
            add_timed(&mut mine.steps, workflow.steps);
            add(&mut mine.retried, workflow.retried);
            add(&mut mine.dead_letters, workflow.dead_letters);
            add(&mut mine.replayed, workflow.replayed);
        }
    }
}

/// What a subject ends of what was brought back.
fn replayed(subject: &Subject, left: &Left) -> Option<Replayed> {
    if subject.ends_redrive() {
        let is_understood = !matches!(subject, Subject::Undecodable(_));
        return Some(if is_understood { Replayed::Redriven } else { Replayed::Undecodable });
    }
    let goes_on = |status: &ExecutionStatus| matches!(status, ExecutionStatus::Running | ExecutionStatus::Pending);
    let status = left.status.filter(|status| !goes_on(status))?;
    subject.run().filter(|run| *run > FIRST_RUN).map(|_| Replayed::Ended(status))
}

fn add_timed<K: Eq + std::hash::Hash>(to: &mut FxHashMap<K, (i64, i64)>, from: FxHashMap<K, (i64, i64)>) {
    for (key, (count, took_ms)) in from {
        let of = to.entry(key).or_default();
        *of = (of.0 + count, of.1 + took_ms);
    }
}

fn add<K: Eq + std::hash::Hash>(to: &mut FxHashMap<K, i64>, from: FxHashMap<K, i64>) {
    for (key, count) in from {
        *to.entry(key).or_default() += count;
    }
}
