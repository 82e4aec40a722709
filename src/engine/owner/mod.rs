//! The owner of journal partitions: goes on with the executions that wait in those that a lane holds.
//!
//! ```text
//!  handle_assigned · handle_record · handle_restored     a partition comes, and is read to its end before anything starts
//!  handle_committed · handle_answer · handle_revoked     what was written is certain; a call has ended; a partition goes
//!  poll ─▶ Emitted                                       an execution that goes on: what it leaves, for the next batch
//!  start_call ─▶ Call                                    a call that may start, once its connector's gate grants one
//!  renewals                                              positions to commit, so that calls may go on to start
//!  wanted ─▶ handle_fetched                              what is not in memory and whose turn has come is read from the journal again
//! ```
//!
//! Of every execution there is one part at a time that is written and not known to be committed. Until it is, nothing of that execution
//! starts and nothing more of it is written: so an effect is always recorded before it is made, and a part that the broker refuses can
//! still end otherwise.

mod answers;
mod lacking;
mod memory;
mod messages;
mod opening;
mod outcome;
mod parts;
mod reading;
mod reason;
mod redrive;
mod task;
#[cfg(test)]
mod tests;
mod turns;
mod ward;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::batch::{AssignmentId, Dependency, SourcePartition};
use super::execution::{Identity, Subject};
use super::ids::ExecutionId;
use super::journal::Slot;
use super::ordered::Ordered;
use super::plan::{Action, Plan, Wait};
use super::position::Position;
use super::workflow::WorkflowId;

use lacking::{Absent, LOOK_AGAIN_MS};
use task::{Stage, Task};
use ward::Ward;

pub use lacking::UNKNOWN_DEFINITION_MS;
pub use messages::{
    Around, Call, CallId, Commit, Consequence, DecodeEvent, Definition, Emitted, FindDefinition, NextMatch, Replaced,
    Tried,
};
pub use reading::FETCHES;
pub use reason::{WaitCounts, WaitReason};

/// How long calls may start after a commit that named their partition was sent, in milliseconds. And for how long a new owner starts none:
/// until then the one before may.
pub const LEASE_MS: i64 = 2_000;

/// What follows from the length of a lease, all in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// The lease.
    lease: i64,
    /// One that is needed is renewed when less than this is left of it.
    renew_below: i64,
    /// How long a renewal that was asked for may take before it is asked for again.
    renew_every: i64,
    /// How long a position may have moved before it is committed by itself.
    position_age: i64,
    /// How much of it must be left for a call to start: that takes a moment.
    margin: i64,
}

impl Terms {
    fn of(lease_ms: i64) -> Terms {
        Terms {
            lease: lease_ms,
            renew_below: lease_ms / 2,
            renew_every: lease_ms / 4,
            position_age: lease_ms,
            margin: lease_ms / 20,
        }
    }
}

/// What an execution came to that was looked at.
enum Looked {
    /// It goes on, or ends.
    GoesOn(Box<Subject>),
    /// It waits for this; None while something of it is being written.
    Waits(Option<WaitReason>),
}

/// What the executions that wait in a lane take in memory, in bytes, before those whose turn comes last are put away, if nothing else is set.
pub const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// A call that is under way.
#[derive(Debug)]
struct UnderWay {
    execution: ExecutionId,
    run: u32,
    plan: Arc<Plan>,
    step: usize,
}

/// The owner of the journal partitions that one lane holds.
#[derive(Debug)]
pub struct Owner {
    identity: Arc<Identity>,
    terms: Terms,
    /// What executions may take in memory; see [`WAITING_BYTES`].
    budget: usize,
    wards: BTreeMap<i32, Ward>,
    /// Executions to be looked at.
    work: VecDeque<ExecutionId>,
    /// When executions are to be looked at.
    timers: Ordered<Timer>,
    /// What was emitted and is not known to be committed.
    unsettled: VecDeque<(u64, ExecutionId, u32)>,
    calls: FxHashMap<CallId, UnderWay>,
    /// Calls whose executions have ended meanwhile.
    aborted: Vec<CallId>,
    absent: Absent,
    last_emitted: u64,
    last_call: u64,
    /// The place in queues that was given last to one that goes behind those that wait.
    last_back: i64,
}

impl Owner {
    /// An owner that holds nothing yet, with leases of so many milliseconds: [`LEASE_MS`], the same for every instance of a cluster. Past
    /// `budget` bytes, such as [`WAITING_BYTES`], it keeps of an execution only what tells when its turn comes.
    pub fn new(identity: Arc<Identity>, lease_ms: i64, budget: usize) -> Owner {
        Owner {
            identity,
            terms: Terms::of(lease_ms),
            budget,
            wards: BTreeMap::new(),
            work: VecDeque::new(),
            timers: Ordered::default(),
            unsettled: VecDeque::new(),
            calls: FxHashMap::default(),
            aborted: Vec::new(),
            absent: Absent::default(),
            last_emitted: 0,
            last_call: 0,
            last_back: 0,
        }
    }

    /// Takes up a partition at the position that is committed for it.
    pub fn handle_assigned(
        &mut self,
        partition: SourcePartition,
        assignment: AssignmentId,
        from: &Position,
        steady_ms: i64,
    ) {
        let number = partition.partition;
        self.wards.insert(number, Ward::new(partition, assignment, from, self.terms, steady_ms));
    }

    /// A partition is about to be let go: no call starts for it any more. Returns the calls that are under way, which must be broken off,
    /// and the position to commit as the last one; None if nothing of it was read to its end.
    pub fn release(
        &mut self,
        partition: i32,
        steady_ms: i64,
    ) -> (Vec<CallId>, Option<(SourcePartition, AssignmentId, Position)>) {
        let calls = self.forget_calls(partition);
        let ward = self.wards.get_mut(&partition).filter(|ward| !ward.is_restoring());
        (calls, ward.map(|ward| ward.release(steady_ms)))
    }

    /// A partition was read up to its high watermark, asked for after it was assigned, whatever is committed of what lies before that.
    pub fn handle_restored(&mut self, partition: i32, now_ms: i64) {
        if let Some(ward) = self.wards.get_mut(&partition) {
            self.work.extend(ward.restored(now_ms));
        }
    }

    /// Lets a partition go. Returns the calls that are under way for it.
    pub fn handle_revoked(&mut self, partition: i32) -> Vec<CallId> {
        self.wards.remove(&partition);
        self.timers.retain(|(_, number, _)| i32::from(*number) != partition);
        self.forget_calls(partition)
    }

    fn forget_calls(&mut self, partition: i32) -> Vec<CallId> {
        let of_it = |under_way: &UnderWay| i32::from(under_way.execution.journal_partition) == partition;
        let gone: Vec<CallId> = self.calls.iter().filter(|(_, it)| of_it(it)).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| drop(self.calls.remove(id)));
        gone
    }

    /// A workflow was stopped: all its executions are to be looked at.
    pub fn handle_stopped(&mut self, workflow: &WorkflowId) {
        self.work.extend(self.wards.values_mut().flat_map(|ward| ward.all_of(workflow)));
    }

    /// A commit is certain.
    pub fn handle_committed(&mut self, commit: Commit<'_>) {
        for Dependency { partition, assignment } in commit.named {
            if let Some(ward) = self.wards.get_mut(&partition.partition).filter(|ward| ward.is(partition, *assignment))
            {
                ward.leased_from(commit.sent_ms);
            }
        }
        while let Some((_, execution, run)) = self.unsettled.pop_front_if(|(sequence, ..)| *sequence <= commit.sequence)
        {
            let Some(ward) = self.wards.get_mut(&i32::from(execution.journal_partition)) else { continue };
            let replaced = commit.replaced.iter().find(|it| it.execution == execution);
            let age = ward.memory.get(execution).and_then(|task| Some(timer(task.looked_for_ms()?, execution, task)));
            self.work.extend(ward.settle(execution, run, replaced));
            // Of one that has ended nothing is left, even if it could have become much older.
            if let Some(timer) = age.filter(|_| ward.memory.get(execution).is_none()) {
                self.timers.remove(&timer);
            }
        }
    }

    /// The next execution that goes on; None if none does now.
    pub fn poll(&mut self, around: &Around<'_>) -> Option<Emitted> {
        while let Some((_, number, slot)) = pop_due(&mut self.timers, around.now_ms) {
            let ward = self.wards.get(&i32::from(number));
            self.work.extend(ward.and_then(|ward| Some(ward.log.at(slot)?.0)));
        }
        if self.work.is_empty() {
            self.work.extend(self.wards.values_mut().flat_map(Ward::stragglers));
        }
        while let Some(execution) = self.work.pop_front() {
            let emitted = self.look(execution, around);
            self.put_away();
            if emitted.is_some() {
                return emitted;
            }
        }
        None
    }

    /// When to poll again, milliseconds since the Unix epoch, if nothing else happens.
    pub fn wake_ms(&self) -> Option<i64> {
        self.timers.first().map(|(due_ms, ..)| *due_ms)
    }

    /// Looks at an execution: what has become due, and whether it goes on.
    fn look(&mut self, execution: ExecutionId, around: &Around<'_>) -> Option<Emitted> {
        let ward = self.wards.get_mut(&i32::from(execution.journal_partition)).filter(|ward| !ward.is_restoring())?;
        let Some(mut task) = ward.memory.remove(execution) else {
            if ward.is_away(execution) {
                ward.want(execution);
                return None;
            }
            let (includes, slot) = (ward.includes(execution), ward.log.slot(execution));
            let again = ward.redrives.get_mut(&execution)?;
            if !again.is_ready(around) {
                let again_ms = around.now_ms + LOOK_AGAIN_MS;
                let timer = slot.map(|slot| (again_ms, execution.journal_partition, slot));
                timer.into_iter().for_each(|timer| self.timers.insert(timer));
                return None;
            }
            let (run, subject) = (again.run, again.next(execution, includes, around)?);
            return self.emit((execution, run), subject, around);
        };
        let looked = if task.is_settled() { self.go_on(execution, &mut task, around) } else { Looked::Waits(None) };
        let run = task.run;
        let (subject, waits_for) = match looked {
            Looked::GoesOn(subject) => (Some(*subject), None),
            Looked::Waits(waits_for) => (None, waits_for),
        };
        let ward = self.wards.get_mut(&i32::from(execution.journal_partition))?;
        ward.waiting.change(std::mem::replace(&mut task.counted_as, waits_for), waits_for);
        if task.was_looked_at() {
            self.work.extend(ward.seen(&mut task));
        }
        ward.memory.insert(execution, task);
        if subject.is_none() {
            ward.may_go(execution);
        }
        self.emit((execution, run), subject?, around)
    }

    /// Runs what goes on and hands it out; until it is committed, no more of it is.
    fn emit(&mut self, (execution, run): (ExecutionId, u32), subject: Subject, around: &Around<'_>) -> Option<Emitted> {
        let ward = self.wards.get_mut(&i32::from(execution.journal_partition))?;
        let (subject, left) = subject.leave_within(around.now_ms, around.fits);
        self.last_emitted += 1;
        let sequence = self.last_emitted;
        self.unsettled.push_back((sequence, execution, run));
        for call in ward.memory.change(execution, |task| task.move_to(left.checkpoint.clone())).unwrap_or_default() {
            self.calls.remove(&call);
            self.aborted.push(call);
        }
        let (partition, assignment, position) = ward.push(around.steady_ms);
        Some(Emitted { partition, assignment, position, subject, left, sequence })
    }

    /// What an execution does now, if it does anything.
    fn go_on(&mut self, execution: ExecutionId, task: &mut Task, around: &Around<'_>) -> Looked {
        let Some(ward) = self.wards.get_mut(&i32::from(execution.journal_partition)) else {
            return Looked::Waits(None);
        };
        let definition = match self.absent.definition(&task.checkpoint, around) {
            Ok(Some(definition)) => definition,
            Ok(None) => return self.lacks_version(execution, task, around),
            Err(message) => return self.unrunnable(execution, task, &message, around),
        };
        // It takes its place in line whether it is understood already or not: those that come later are behind it.
        let asked = (definition.plan.turns, around.now_ms);
        let has_turn = ward.has_turn(execution, task, asked, &mut self.work);
        task.heed_end(around);
        if let Some(look_ms) = task.grow_old(&definition.plan, has_turn, around.now_ms) {
            self.timers.insert(timer(look_ms, execution, task));
        }
        if !(around.is_ready)(&task.checkpoint.record, true) {
            return self.lacks(execution, task, around);
        }
        task.looks_again_ms.take_if(|due_ms| *due_ms <= around.now_ms);
        if !has_turn && !task.is_stopped() {
            return self.queues(execution, task, definition, around);
        }
        if !task.begins() && task.open(execution, &definition, around, &self.identity) {
            let again_ms = task.look_again_ms(around.now_ms, ward.look_again_ms());
            again_ms.into_iter().for_each(|due_ms| self.timers.insert(timer(due_ms, execution, task)));
        }
        for (index, stage) in task.due(&definition.plan, around.now_ms) {
            if let Stage::Timer(due_ms) = stage {
                self.timers.insert(timer(due_ms, execution, task));
            } else if stage == Stage::Queued {
                ward.enqueue(&definition.plan, index, task);
            }
        }
        if !task.has_news() {
            task.forget_event();
            return Looked::Waits(task.waits_for(&definition.plan));
        }
        // Where the owner before may still call for it, nobody would know there that it has gone on, or has ended.
        let left_ms = ward.owner_before_has_ms(around.steady_ms);
        if left_ms > 0 && task.calls(&definition.plan) {
            self.timers.insert(timer(around.now_ms + left_ms, execution, task));
            return Looked::Waits(task.waits_for(&definition.plan));
        }
        self.next_part(execution, task, definition, false, around)
    }

    /// The connectors that calls wait for which may start now.
    pub fn connectors(&self, steady_ms: i64) -> BTreeSet<Arc<str>> {
        let wards = self.wards.values().filter(|ward| ward.may_start(steady_ms));
        wards.flat_map(|ward| ward.connectors()).cloned().collect()
    }

    /// The next call of a connector, for which its gate has given a permit; None if there is none that may start. Those that began to wait
    /// first come first.
    pub fn start_call(&mut self, connector: &str, around: &Around<'_>) -> Option<Call> {
        loop {
            let wards = self.wards.values_mut().filter(|ward| ward.may_start(around.steady_ms));
            let firsts = wards.filter_map(|ward| Some((ward.first_of(connector)?, ward)));
            let (_, ward) = firsts.min_by_key(|(place, _)| *place)?;
            let Some((execution, index)) = ward.take_first(connector) else { continue };
            let Some(task) = ward.memory.get_mut(execution) else { continue };
            let is_ready = (around.is_ready)(&task.checkpoint.record, true);
            let found = self.absent.definition(&task.checkpoint, around);
            let Some(definition) = found.ok().flatten().filter(|_| is_ready) else {
                // Its turn comes again once its definition is there, or what its event is understood with.
                task.unqueue(around.now_ms);
                self.work.push_back(execution);
                continue;
            };
            let plan = definition.plan.clone();
            let Some(step) = plan.steps().get(index).filter(|step| task.is_queued(&step.id)) else { continue };
            let Action::Wait(Wait::Http(call)) = &step.action else { continue };
            let step = step.id.clone();
            if !task.is_settled() {
                // Its turn comes again once what was written of it is certain.
                task.set_stage(&step, Stage::New, around.now_ms);
                self.work.push_back(execution);
                continue;
            }
            match task.request(execution, &definition, call, around) {
                Ok(request) => {
                    self.last_call += 1;
                    let id = CallId(self.last_call);
                    task.set_stage(&step, Stage::Calling(id), around.now_ms);
                    // Its time-out counts again.
                    self.work.push_back(execution);
                    let call = Call {
                        id,
                        connector: call.connector.clone(),
                        execution,
                        attempt: task.attempts(&step) + 1,
                        idempotency_key: execution.idempotency_key(&step, task.checkpoint.history.edition),
                        record: task.checkpoint.record.clone(),
                        step,
                        request,
                    };
                    self.calls.insert(id, UnderWay { execution, run: task.run, plan, step: index });
                    return Some(call);
                }
                Err(error) => {
                    task.fail(&step, &error, around.now_ms);
                    self.work.push_back(execution);
                }
            }
        }
    }

    /// Whether anything of a partition is under way: calls, what is written and not certain, what is still to be looked at.
    pub fn is_busy_with(&self, partition: i32) -> bool {
        let is_its = |execution: &ExecutionId| i32::from(execution.journal_partition) == partition;
        self.calls.values().any(|it| is_its(&it.execution))
            || self.unsettled.iter().any(|(_, execution, _)| is_its(execution))
            || self.work.iter().any(is_its)
    }

    /// Whether [`Owner::poll`] has something to look at.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Calls to be broken off: their executions have ended.
    pub fn take_aborted(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.aborted)
    }

    /// Positions to be committed now, so that calls may start, or that have moved long enough ago.
    pub fn renewals(&mut self, steady_ms: i64) -> Vec<(SourcePartition, AssignmentId, Position)> {
        let wards = self.wards.values_mut().filter(|ward| ward.wants_renewal(steady_ms));
        wards.map(|ward| ward.push(steady_ms)).collect()
    }

    /// What can be committed for a partition now: where it stands, or, while it is read for the first time, where that began. None while it is
    /// not held.
    pub fn position(&self, partition: i32) -> Option<Position> {
        self.wards.get(&partition).map(Ward::position)
    }

    /// How many executions have not ended, of the partitions that are restored.
    pub fn live(&self) -> usize {
        self.wards.values().map(|ward| ward.memory.len() + ward.redrives.len()).sum()
    }

    /// How many executions wait for what, of the partitions that are restored.
    pub fn waiting(&self) -> WaitCounts {
        self.wards.values().fold(WaitCounts::default(), |all, ward| all.and(&ward.waiting))
    }

    /// Whether every partition that is held was read to its end.
    pub fn is_restored(&self) -> bool {
        self.wards.values().all(|ward| !ward.is_restoring())
    }
}

/// When an execution is to be looked at, its partition, and its place in the log of that.
type Timer = (i64, u16, Slot);

fn timer(due_ms: i64, execution: ExecutionId, task: &Task) -> Timer {
    (due_ms, execution.journal_partition, task.slot)
}

/// Takes the first of `timers` off that has come due.
fn pop_due(timers: &mut Ordered<Timer>, now_ms: i64) -> Option<Timer> {
    timers.first().is_some_and(|(due_ms, ..)| *due_ms <= now_ms).then(|| timers.pop_first()).flatten()
}
