//! Executions that lack what they go on with: their version, or that of a sub-workflow, or what their event is understood with. Nobody says when
//! it comes, so it is looked for.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::reason::WaitReason;
use super::task::Task;
use super::ward::Ward;
use super::{Around, Definition, Looked, Owner, timer};
use crate::engine::checkpoint::Checkpoint;
use crate::engine::execution::Subject;
use crate::engine::ids::ExecutionId;
use crate::engine::workflow::WorkflowId;

/// How long executions wait for the definition of their version before they fail, in milliseconds, from when one of them looked for it first: an
/// instance reads all of them within seconds, if it can read them at all.
pub const UNKNOWN_DEFINITION_MS: i64 = 600_000;
/// How often it is looked whether what an execution lacks is there, in milliseconds, while few lack something; see [`LOOKS_A_SECOND`].
pub(super) const LOOK_AGAIN_MS: i64 = 1_000;
/// So many executions of a partition are looked at in a second at most because they lack something, unless that would be more rarely than every
/// five minutes.
const LOOKS_A_SECOND: i64 = 1_000;
const LOOK_AGAIN_MOST_MS: i64 = 300_000;

/// Versions that are looked for at once; more than executions that wait are of.
const ABSENT: usize = 10_000;

/// Since when the versions are not there that executions wait for, and when that was seen last.
#[derive(Debug, Default)]
pub(super) struct Absent(FxHashMap<(WorkflowId, Arc<str>), (i64, i64)>);

impl Absent {
    /// The version that an execution runs; None if it is not there yet. The error says why it cannot go on.
    pub(super) fn definition(
        &mut self,
        Checkpoint { workflow, version, .. }: &Checkpoint,
        around: &Around<'_>,
    ) -> Result<Option<Definition>, String> {
        if let Some(found) = (around.definition)(workflow, version) {
            if !self.0.is_empty() {
                self.0.remove(&(workflow.clone(), version.clone()));
            }
            return found
                .map(Some)
                .map_err(|message| format!("its definition cannot be run by this version: {message}"));
        }
        if self.0.len() >= ABSENT {
            self.0.clear();
        }
        let now_ms = around.now_ms;
        let (since_ms, seen_ms) = self.0.entry((workflow.clone(), version.clone())).or_insert((now_ms, now_ms));
        // Where nobody has looked for so long, it may have been there meanwhile.
        if (around.is_on_its_way)(workflow, version) || now_ms - *seen_ms >= 2 * UNKNOWN_DEFINITION_MS {
            *since_ms = now_ms;
        }
        *seen_ms = now_ms;
        if now_ms - *since_ms < UNKNOWN_DEFINITION_MS {
            return Ok(None);
        }
        Err(format!("version {version} of {} is not installed; apply it again", workflow.as_str()))
    }
}

impl Owner {
    /// An execution lacks its version, so that nobody knows in which line it stands.
    pub(super) fn lacks_version(&mut self, execution: ExecutionId, task: &mut Task, around: &Around<'_>) -> Looked {
        if let Some(ward) = self.wards.get_mut(&i32::from(execution.journal_partition)) {
            ward.hold_line(task);
        }
        task.heed_end(around);
        self.lacks(execution, task, around)
    }

    /// An execution lacks what it goes on with: that is waited for, unless it is to end anyway.
    pub(super) fn lacks(&mut self, execution: ExecutionId, task: &mut Task, around: &Around<'_>) -> Looked {
        if task.is_stopped() {
            return self.unrunnable(execution, task, "", around);
        }
        let every_ms =
            self.wards.get(&i32::from(execution.journal_partition)).map_or(LOOK_AGAIN_MS, Ward::look_again_ms);
        let again_ms = task.look_again_ms(around.now_ms, every_ms);
        again_ms.into_iter().for_each(|due_ms| self.timers.insert(timer(due_ms, execution, task)));
        Looked::Waits(Some(WaitReason::Definition))
    }

    /// An execution that cannot go on here, nor anywhere else, or that somebody or something ends.
    pub(super) fn unrunnable(
        &mut self,
        execution: ExecutionId,
        task: &mut Task,
        message: &str,
        around: &Around<'_>,
    ) -> Looked {
        let ward = self.wards.get(&i32::from(execution.journal_partition));
        let left_ms = ward.map_or(0, |ward| ward.owner_before_has_ms(around.steady_ms));
        // The owner before may know what this one lacks, and still call for it.
        if left_ms > 0 && !task.checkpoint.waits.is_empty() {
            self.timers.insert(timer(around.now_ms + left_ms, execution, task));
            return Looked::Waits(Some(WaitReason::Definition));
        }
        let (id, stood) = ((execution, task.run), (task.checkpoint.clone(), task.begins()));
        let why = (task.take_news(), message);
        Looked::GoesOn(Box::new(Subject::stranded(id, stood, why, around.decode, around.now_ms)))
    }
}

impl Ward {
    /// How often it is looked whether what an execution lacks is there, in milliseconds: the more lack something the more rarely, because most of
    /// them are read again for that.
    pub(super) fn look_again_ms(&self) -> i64 {
        let lacking = i64::try_from(self.waiting.of(WaitReason::Definition)).unwrap_or(i64::MAX);
        LOOK_AGAIN_MS.saturating_mul(1 + lacking / LOOKS_A_SECOND).min(LOOK_AGAIN_MOST_MS)
    }
}

impl Task {
    /// When to look again for what it lacks, if that is not known yet.
    pub(super) fn look_again_ms(&mut self, now_ms: i64, every_ms: i64) -> Option<i64> {
        let is_known = self.looks_again_ms.is_some_and(|known_ms| known_ms > now_ms);
        (!is_known).then(|| *self.looks_again_ms.insert(now_ms.saturating_add(every_ms)))
    }
}
