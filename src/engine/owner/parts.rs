//! The next part of an execution, and what becomes of one that waits for its turn. Nothing of that runs; but what was brought back together with
//! its sub-workflows hears of them meanwhile, because they do not wait for it.

use std::sync::Arc;

use super::reason::WaitReason;
use super::task::{Stage, Task};
use super::ward::Ward;
use super::{Around, Definition, Looked, Owner, timer};
use crate::engine::checkpoint::{Checkpoint, Content};
use crate::engine::execution::{Again, Execution, Phase, Subject};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::Entry;
use crate::engine::record::JournalRecord;

impl Owner {
    /// The next part of an execution, which may wait for its turn still.
    pub(super) fn next_part(
        &mut self,
        execution: ExecutionId,
        task: &mut Task,
        definition: Definition,
        queues: bool,
        around: &Around<'_>,
    ) -> Looked {
        let Some(ward) = self.wards.get(&i32::from(execution.journal_partition)) else {
            return Looked::Waits(None);
        };
        let includes = ward.includes(execution);
        let progress = task.checkpoint.progress(&definition.plan).map_err(|unknown| unknown.to_string());
        let (progress, event) = match progress.and_then(|progress| Ok((progress, task.take_event(around)?))) {
            Ok(both) => both,
            Err(message) => return self.unrunnable(execution, task, &message, around),
        };
        let phase = match queues {
            true => Phase::Queues,
            false if task.take_beginning() => Phase::Begins,
            false => Phase::Runs,
        };
        let news = task.take_news();
        let Definition { workflow, plan } = definition;
        let next = Execution::go_on(
            &self.identity,
            (execution, task.run),
            (workflow, plan),
            event,
            (task.checkpoint.clone(), progress),
            (news, phase),
            (task.place, includes),
        );
        Looked::GoesOn(Box::new(Subject::Execution(Box::new(next))))
    }

    /// What an execution does whose turn has not come. What a sub-workflow came to becomes part of where it stands, so that it is heard once and
    /// its mail keeps nothing from being deleted; if that ends the execution, it does not wait for its turn for that.
    pub(super) fn queues(
        &mut self,
        execution: ExecutionId,
        task: &mut Task,
        definition: Definition,
        around: &Around<'_>,
    ) -> Looked {
        for (_, stage) in task.due(&definition.plan, around.now_ms) {
            if let Stage::Timer(due_ms) = stage {
                self.timers.insert(timer(due_ms, execution, task));
            }
        }
        if task.has_heard() {
            return self.next_part(execution, task, definition, true, around);
        }
        match self.wards.get(&i32::from(execution.journal_partition)).filter(|_| task.take_straggler()) {
            Some(ward) => Looked::GoesOn(Box::new(ward.stands_still(execution, task))),
            None => Looked::Waits(Some(WaitReason::Turn)),
        }
    }
}

impl Ward {
    /// Where an execution stands that waits for its turn, to be written once more. What waits already says that it has not begun all the same.
    fn stands_still(&self, execution: ExecutionId, task: &Task) -> Subject {
        let mut checkpoint = task.checkpoint.clone();
        if checkpoint.has_begun() {
            checkpoint = Arc::new(Checkpoint { queues: true, ..(*checkpoint).clone() });
        }
        let entry = Entry::State { place: task.place, includes: self.includes(execution) };
        let content = Content::Checkpoint(checkpoint.clone());
        let journal = JournalRecord { execution, run: task.run, entry, content };
        Subject::Again(Box::new(Again { journal, checkpoint }))
    }
}
