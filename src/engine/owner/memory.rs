//! The executions of a partition that wait: those whose checkpoints are in memory, and those whose are not.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::task::{Away, Task};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::Slot;
use crate::engine::pieces::Pieces;
use crate::engine::workflow::WorkflowId;

/// When the turn of a task comes, its place, and the execution: those whose turn comes last are put away first.
pub(super) type Rank = (i64, i64, ExecutionId);

/// What one takes that is not in memory, about, in bytes: itself, its entry in the log with its oldest record, a timer, a place in a queue.
const AWAY_BYTES: usize = 152;

#[derive(Debug, Default)]
pub(super) struct Memory {
    here: FxHashMap<ExecutionId, Task>,
    /// By the indexes of their slots.
    away: Pieces<Away>,
    away_count: usize,
    /// The tasks that may be put away.
    ranks: BTreeSet<Rank>,
    /// What all that is here weighs, in bytes.
    weight: usize,
}

impl Memory {
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// How many executions there are.
    pub(super) fn len(&self) -> usize {
        self.here.len() + self.away_count
    }

    /// How many of them are in memory.
    pub(super) fn here_count(&self) -> usize {
        self.here.len()
    }

    pub(super) fn get(&self, execution: ExecutionId) -> Option<&Task> {
        self.here.get(&execution)
    }

    /// A task, whose checkpoint must stay what it is; see [`Memory::change`].
    pub(super) fn get_mut(&mut self, execution: ExecutionId) -> Option<&mut Task> {
        self.here.get_mut(&execution)
    }

    /// Does something with a task after which its checkpoint may be another one.
    pub(super) fn change<T>(&mut self, execution: ExecutionId, act: impl FnOnce(&mut Task) -> T) -> Option<T> {
        let task = self.here.get_mut(&execution)?;
        self.weight -= task.weight();
        let done = act(task);
        self.weight += task.weight();
        Some(done)
    }

    pub(super) fn insert(&mut self, execution: ExecutionId, task: Task) {
        self.weight += task.weight();
        self.here.insert(execution, task);
    }

    pub(super) fn remove(&mut self, execution: ExecutionId) -> Option<Task> {
        let mut task = self.here.remove(&execution)?;
        self.weight -= task.weight();
        if let Some((turn_ms, place)) = task.rank.take() {
            self.ranks.remove(&(turn_ms, place, execution));
        }
        Some(task)
    }

    /// A task may be put away from now on, and those first whose turn comes later.
    pub(super) fn may_go(&mut self, execution: ExecutionId, turn_ms: i64) {
        let Some(task) = self.here.get_mut(&execution) else { return };
        if let Some((turn_ms, place)) = task.rank.replace((turn_ms, task.place)) {
            self.ranks.remove(&(turn_ms, place, execution));
        }
        self.ranks.insert((turn_ms, task.place, execution));
    }

    /// The task that is to be put away first.
    pub(super) fn furthest(&self) -> Option<&Rank> {
        self.ranks.last()
    }

    /// Takes that out of the order; it stays where it is.
    pub(super) fn pop_furthest(&mut self) -> Option<ExecutionId> {
        let (_, _, execution) = self.ranks.pop_last()?;
        if let Some(task) = self.here.get_mut(&execution) {
            task.rank = None;
        }
        Some(execution)
    }

    /// Those of a workflow that are in memory.
    pub(super) fn here_of(&self, workflow: &WorkflowId) -> impl Iterator<Item = ExecutionId> {
        self.here.iter().filter(|(_, task)| task.checkpoint.workflow == *workflow).map(|(execution, _)| *execution)
    }

    /// What those take that are not in memory, about, in bytes.
    pub(super) fn away_bytes(&self) -> usize {
        self.away_count * AWAY_BYTES
    }

    pub(super) fn has_away(&self) -> bool {
        self.away_count > 0
    }

    pub(super) fn is_away(&self, slot: Slot) -> bool {
        self.away(slot).is_some()
    }

    pub(super) fn away(&self, slot: Slot) -> Option<&Away> {
        self.away.get(slot.index())
    }

    pub(super) fn away_mut(&mut self, slot: Slot) -> Option<&mut Away> {
        self.away.get_mut(slot.index())
    }

    pub(super) fn insert_away(&mut self, slot: Slot, away: Away) {
        self.away_count += usize::from(self.away.insert(slot.index(), away).is_none());
    }

    pub(super) fn remove_away(&mut self, slot: Slot) -> Option<Away> {
        let away = self.away.remove(slot.index())?;
        self.away_count -= 1;
        Some(away)
    }
}
