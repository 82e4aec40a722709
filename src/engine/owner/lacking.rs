//! Executions that lack what they go on with: their version, or that of a sub-workflow, or what their event is understood with. Nobody says when
//! it comes, so it is looked for.

use super::reason::WaitReason;
use super::task::Task;
use super::ward::Ward;
use super::{Around, Looked, Owner, timer};
use crate::engine::execution::Subject;
use crate::engine::ids::ExecutionId;

/// How long an execution waits for the definition of its version before it fails, in milliseconds: an instance reads all of them within
/// seconds, if it can read them at all.
pub const UNKNOWN_DEFINITION_MS: i64 = 600_000;
/// How often it is looked whether what an execution lacks is there, in milliseconds, while few lack something; see [`LOOKS_A_SECOND`].
pub(super) const LOOK_AGAIN_MS: i64 = 1_000;
/// So many executions of a partition are looked at in a second at most because they lack something, unless that would be more rarely than every
/// five minutes.
const LOOKS_A_SECOND: i64 = 1_000;
const LOOK_AGAIN_MOST_MS: i64 = 300_000;

impl Owner {
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
        &self,
        execution: ExecutionId,
        task: &mut Task,
        message: &str,
        around: &Around<'_>,
    ) -> Looked {
        let (id, checkpoint, why) = ((execution, task.run), task.checkpoint.clone(), (task.take_news(), message));
        Looked::GoesOn(Box::new(Subject::stranded(id, checkpoint, why, around.decode, around.now_ms)))
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
