//! A partition of the journal that is held: what of it is alive, and whether calls may start for it.

mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::memory::Memory;
use super::reason::WaitCounts;
use super::redrive::Redriving;
use super::task::Task;
use super::turns::{Lines, Stand, Turn};
use super::{Replaced, Terms};
use crate::engine::batch::{AssignmentId, SourcePartition};
use crate::engine::checkpoint::Content;
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Log, Slot};
use crate::engine::ordered::Ordered;
use crate::engine::plan::{Action, Plan, Turns, Wait};
use crate::engine::position::Position;
use crate::engine::workflow::WorkflowId;

/// What is appended again at once, in bytes: a tenth of a batch.
const STRAGGLER_BYTES: u64 = 1_600 * 1024;

/// Of the executions that wait for a connector, so many of the first are in memory.
pub(super) const FRONT: usize = 32;
/// Of those, so many of the first are read again at once at most, if there is room for them: what lies close together in the journal costs
/// little more than one of it.
pub(super) const AHEAD: usize = 256;

/// Calls that wait for one connector.
#[derive(Debug, Default)]
struct Queue {
    /// The place of the execution, the number of the step in its plan, and where the log has it.
    calls: Ordered<(i64, u16, Slot)>,
    /// How many of the first are in memory or were asked for, as far as is known.
    ahead: usize,
}

#[derive(Debug)]
pub(super) struct Ward {
    partition: SourcePartition,
    assignment: AssignmentId,
    /// Where reading it began: the position that was committed.
    from: i64,
    /// What of the partition is alive. Contents are kept while it is restored, and until all that an execution needs was read again.
    pub log: Log<Option<Box<Content>>>,
    pub memory: Memory,
    /// Records that are read again, by what the journal knows them by.
    pub redrives: FxHashMap<ExecutionId, Redriving>,
    queues: BTreeMap<Arc<str>, Queue>,
    lines: Lines,
    /// What the tasks wait for.
    pub waiting: WaitCounts,
    /// How many executions of a workflow were running when the partition was taken up and have no place in a line so far.
    unplaced: FxHashMap<WorkflowId, usize>,
    /// Executions whose turn has come and that have not been told.
    turns: FxHashSet<ExecutionId>,
    /// Executions that were not looked at since the restore.
    unseen: usize,
    /// Offsets of records that are to be read again, and of those that were asked for.
    wanted: BTreeSet<i64>,
    asked: BTreeSet<i64>,
    /// Behind the one that was asked for last.
    read_to: i64,
    /// Tasks that stay because they are, or were, among the first that wait for a connector.
    in_front: Vec<ExecutionId>,
    /// Bytes of mail that was kept while it is restored, whether what it is for is alive or not.
    put_by: usize,
    /// What all contents weigh that were kept while it is restored, in bytes, those included that count no more.
    kept: usize,
    terms: Terms,
    is_restoring: bool,
    not_before_ms: i64,
    /// It was given up: it is to be let go.
    is_released: bool,
    leased_until_ms: i64,
    pushed: Option<i64>,
    pushed_ms: i64,
}

impl Ward {
    pub(super) fn new(
        partition: SourcePartition,
        assignment: AssignmentId,
        from: &Position,
        terms: Terms,
        now_ms: i64,
    ) -> Ward {
        Ward {
            partition,
            assignment,
            from: from.next_offset,
            log: Log::starting_at(from.next_offset),
            memory: Memory::default(),
            redrives: FxHashMap::default(),
            queues: BTreeMap::new(),
            lines: Lines::default(),
            waiting: WaitCounts::default(),
            unplaced: FxHashMap::default(),
            turns: FxHashSet::default(),
            unseen: 0,
            wanted: BTreeSet::new(),
            asked: BTreeSet::new(),
            read_to: from.next_offset,
            in_front: Vec::new(),
            put_by: 0,
            kept: 0,
            terms,
            is_restoring: true,
            not_before_ms: if from.is_released { now_ms } else { now_ms + terms.lease },
            is_released: false,
            leased_until_ms: i64::MIN,
            pushed: None,
            // Where no wait is needed, the first lease is asked for at once.
            pushed_ms: if from.is_released { now_ms - terms.renew_every } else { now_ms },
        }
    }

    pub(super) fn is(&self, partition: &SourcePartition, assignment: AssignmentId) -> bool {
        self.assignment == assignment && self.partition == *partition
    }

    /// A position to commit now by which nothing is lost: where it began while it is read for the first time, where it stands after that.
    pub(super) fn position(&self) -> Position {
        Position::at(if self.is_restoring { self.from } else { self.log.position() })
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    /// It was read to its end. Names the executions that are alive.
    pub(super) fn restored(&mut self, now_ms: i64) -> Vec<ExecutionId> {
        if !std::mem::replace(&mut self.is_restoring, false) {
            return Vec::new();
        }
        self.log.restored();
        self.wake_all(now_ms)
    }

    /// Executions whose states are to be appended again now, so that the position can move.
    pub(super) fn stragglers(&mut self) -> Vec<ExecutionId> {
        if self.is_restoring {
            return Vec::new();
        }
        let asked = self.log.stragglers(STRAGGLER_BYTES);
        let Ward { log, memory, .. } = self;
        let mut chosen = Vec::new();
        for execution in asked {
            if let Some(away) = log.slot(execution).and_then(|slot| memory.away_mut(slot)) {
                chosen.extend(away.append_again().then_some(execution));
                continue;
            }
            // Of one that is written now, the position cannot move beyond it before that has come back.
            let Some(task) = memory.get_mut(execution).filter(|task| task.is_settled()) else { break };
            let oldest = log.live(execution).map(|live| live.oldest_offset());
            if oldest.is_some_and(|oldest| task.append_again(oldest)) {
                chosen.push(execution);
            }
        }
        chosen
    }

    pub(super) fn leased_from(&mut self, sent_ms: i64) {
        self.leased_until_ms = self.leased_until_ms.max(sent_ms + self.terms.lease);
    }

    /// Whether calls may start: the owner before cannot start any more, and this one still is the owner.
    pub(super) fn may_start(&self, now_ms: i64) -> bool {
        let until_ms = self.leased_until_ms.saturating_sub(self.terms.margin);
        !self.is_restoring() && !self.is_released && self.owner_before_has_ms(now_ms) == 0 && now_ms < until_ms
    }

    /// How long the owner before may still start calls, in milliseconds; 0 if it cannot any more.
    pub(super) fn owner_before_has_ms(&self, now_ms: i64) -> i64 {
        (self.not_before_ms - now_ms).max(0)
    }

    pub(super) fn wants_renewal(&self, now_ms: i64) -> bool {
        let Terms { renew_below, renew_every, position_age, .. } = self.terms;
        if self.is_restoring() || self.is_released || now_ms < self.pushed_ms + renew_every {
            return false;
        }
        let has_moved = self.pushed.is_none_or(|pushed| pushed != self.log.position());
        let needs_lease = !self.queues.is_empty() && now_ms + renew_below >= self.not_before_ms;
        (needs_lease && self.leased_until_ms < now_ms + renew_below)
            || (has_moved && now_ms >= self.pushed_ms + position_age)
    }

    /// Gives the partition up, and says what is to be committed last: that no call starts any more, unless the owner before may still start some.
    pub(super) fn release(&mut self, now_ms: i64) -> (SourcePartition, AssignmentId, Position) {
        self.is_released = true;
        let position =
            Position { is_released: self.owner_before_has_ms(now_ms) == 0, ..Position::at(self.log.position()) };
        (self.partition.clone(), self.assignment, position)
    }

    /// The position to be committed now.
    pub(super) fn push(&mut self, now_ms: i64) -> (SourcePartition, AssignmentId, Position) {
        let position = self.log.position();
        (self.pushed, self.pushed_ms) = (Some(position), now_ms);
        (self.partition.clone(), self.assignment, Position::at(position))
    }

    /// Up to where a part that is written now includes an execution's mail: all of it was taken.
    pub(super) fn includes(&self, execution: ExecutionId) -> i64 {
        self.log.includes(execution, self.log.live(execution).map_or(0, |live| live.mail_count()))
    }

    /// Whether it is an execution's turn. It takes its place in the line when it asks first; whose turn that makes it is to be looked at.
    pub(super) fn has_turn(
        &mut self,
        execution: ExecutionId,
        task: &mut Task,
        (turns, now_ms): (Turns, i64),
        work: &mut VecDeque<ExecutionId>,
    ) -> bool {
        let place = (task.place, execution);
        if matches!(task.turn, Turn::Unknown | Turn::Unplaced) {
            let was_unplaced = task.turn == Turn::Unplaced;
            let key = task.checkpoint.record.key().filter(|_| turns.by_key).map(Bytes::copy_from_slice);
            let stand = Arc::new(Stand { workflow: task.checkpoint.workflow.clone(), key });
            task.turn = match (turns.concurrency > 0 || stand.key.is_some(), task.begins()) {
                (false, _) => Turn::Free,
                (true, true) => {
                    self.lines.queue(&stand, place, turns.concurrency);
                    work.extend(self.next_turns(&stand.workflow));
                    Turn::Queues(stand)
                }
                (true, false) => {
                    self.lines.runs(&stand, place, turns.concurrency);
                    Turn::Runs(stand)
                }
            };
            if was_unplaced {
                work.extend(self.placed(&task.checkpoint.workflow));
            }
        }
        if self.turns.remove(&execution)
            && let Turn::Queues(stand) = &task.turn
        {
            task.turn = Turn::Runs(stand.clone());
            task.has_begun_to_run(now_ms);
        }
        !matches!(task.turn, Turn::Queues(_))
    }

    /// One more of those that were running has its place, or has ended. Returns those whose turn that makes it.
    fn placed(&mut self, workflow: &WorkflowId) -> Vec<ExecutionId> {
        if let Some(left) = self.unplaced.get_mut(workflow) {
            *left -= 1;
            if *left == 0 {
                self.unplaced.remove(workflow);
            }
        }
        self.next_turns(workflow)
    }

    /// The executions of a workflow whose turn has come; nobody's has before all that is alive was seen, and all of it that runs has its place.
    pub(super) fn next_turns(&mut self, workflow: &WorkflowId) -> Vec<ExecutionId> {
        if self.unseen > 0 || self.unplaced.contains_key(workflow) {
            return Vec::new();
        }
        let next: Vec<ExecutionId> = std::iter::from_fn(|| self.lines.next(workflow)).collect();
        self.turns.extend(&next);
        next
    }

    /// What was written of an execution is certain. Returns those that go on: it, or others that waited for its end.
    pub(super) fn settle(&mut self, execution: ExecutionId, run: u32, replaced: Option<&Replaced>) -> Vec<ExecutionId> {
        if let Some(again) = self.redrives.get_mut(&execution).filter(|again| again.run == run) {
            let goes_on = again.settle();
            if !goes_on {
                self.redrives.remove(&execution);
            }
            return goes_on.then_some(execution).into_iter().collect();
        }
        if self.memory.get(execution).is_none_or(|task| task.run != run) {
            return Vec::new();
        }
        if self.memory.change(execution, |task| task.settle(replaced)) == Some(true) {
            return vec![execution];
        }
        let Some(task) = self.memory.remove(execution) else { return Vec::new() };
        self.leave_line(execution, &task)
    }

    /// An execution begins, or its next run does: the one before may be over for certain and not have been told.
    pub(super) fn begin(&mut self, execution: ExecutionId, task: Task) -> Vec<ExecutionId> {
        let before = self.memory.remove(execution);
        self.memory.insert(execution, task);
        // Its turn to be looked at is now; those that came last are looked at last.
        self.memory.may_go(execution, i64::MIN);
        before.map_or(Vec::new(), |before| self.leave_line(execution, &before))
    }

    /// It stands in no line any more, and waits for nothing. Returns those whose turn that makes it.
    fn leave_line(&mut self, execution: ExecutionId, task: &Task) -> Vec<ExecutionId> {
        self.waiting.change(task.counted_as, None);
        // Its turn may have come while it gave up.
        let was_called = self.turns.remove(&execution);
        let (stand, ran) = match &task.turn {
            Turn::Queues(stand) => (stand, was_called),
            Turn::Runs(stand) => (stand, true),
            Turn::Unplaced => return self.placed(&task.checkpoint.workflow),
            Turn::Unknown | Turn::Free => return Vec::new(),
        };
        self.lines.leave(stand, (task.place, execution), ran);
        self.next_turns(&stand.workflow)
    }

    /// A step waits for its connector.
    pub(super) fn enqueue(&mut self, plan: &Plan, step: usize, task: &Task) {
        // A workflow has far fewer steps than that.
        let Ok(number) = u16::try_from(step) else { return };
        if let Action::Wait(Wait::Http(call)) = &plan.steps()[step].action {
            let queue = self.queues.entry(call.connector.clone()).or_default();
            queue.calls.insert((task.queue_place(), number, task.slot));
        }
    }

    /// How many connectors something waits for.
    pub(super) fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// The connectors that something waits for which is in memory and first in its queue.
    pub(super) fn connectors(&self) -> impl Iterator<Item = &Arc<str>> {
        self.queues.keys().filter(|connector| self.first_of(connector).is_some())
    }

    /// The place of the first that waits for a connector. None while that is read again: those behind it wait for it.
    pub(super) fn first_of(&self, connector: &str) -> Option<i64> {
        let (place, _, slot) = self.queues.get(connector)?.calls.first()?;
        (!self.is_away_at(*slot)).then_some(*place)
    }

    /// Takes the first off, and the number of its step. None if it has ended.
    pub(super) fn take_first(&mut self, connector: &str) -> Option<(ExecutionId, usize)> {
        let queue = self.queues.get_mut(connector)?;
        let (_, step, slot) = queue.calls.pop_first()?;
        queue.ahead = queue.ahead.saturating_sub(1);
        if queue.calls.is_empty() {
            self.queues.remove(connector);
        }
        Some((self.log.at(slot)?.0, usize::from(step)))
    }
}
