//! One lane of the simulated cluster: the real machine, batches and reactions, around the fake log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use tidegate::bench::workload::Random;
use tidegate::engine::batch::{AssignmentId, Batch, Group};
use tidegate::engine::commit::{self, Attempt, Failure, Reaction, RestartReason};
use tidegate::engine::execution::Kept;
use tidegate::engine::gate::LaneId;
use tidegate::engine::machine::Machine;
use tidegate::engine::owner::{Commit, Emitted, Owner, Replaced};
use tidegate::engine::position::Position;

use super::broken::Broken;
use super::calls::Calls;
use super::cluster::{Shared, TOPIC_ID};
use super::committing::group_of;
use super::gates::Instance;
use super::log::{CommittedOffset, FakeLog, Rebalance, Wrote};
use super::trouble::{self, Seer};
use super::waiting;

/// How far the front of the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Begin,
    Written,
    OffsetsSent,
}

/// What a batch holds of an execution: enough to run it again, and the sequence of what its owner emitted.
pub struct LineSubject {
    pub(super) kept: Option<Box<Kept>>,
    pub(super) sequence: u64,
}

pub(super) type LineGroup = Group<LineSubject, Wrote>;
pub(super) type LineBatch = Batch<LineSubject, Wrote>;

/// A lane.
pub struct Lane {
    /// Its static member id and transactional id.
    pub name: String,
    id: LaneId,
    /// The instance that it is a part of.
    pub instance: Rc<Instance>,
    /// Until when it is stopped, as by SIGSTOP.
    pub stopped_until_ms: i64,
    /// Until then its consumer does not reach the group, while its producer goes on.
    pub cut_until_ms: i64,
    running: Option<Running>,
    restart_at_ms: i64,
    /// How often it was started.
    pub(super) life: u64,
    pub(super) broken: Broken,
    /// Why it restarted, how often.
    pub restarts: BTreeMap<&'static str, u32>,
    memory: BTreeMap<i32, Position>,
}

pub(super) struct Running {
    pub(super) epoch: u32,
    pub(super) generation: u32,
    /// None before it was told.
    pub(super) member_id: Option<u32>,
    pub(super) machine: Machine,
    pub(super) owner: Owner,
    pub(super) calls: Calls,
    pub(super) held: BTreeMap<i32, AssignmentId>,
    pub(super) wanted: Vec<i32>,
    pub(super) fetch: BTreeMap<i32, i64>,
    /// Partitions of the journal of which something was deleted before it was read here, because others have them.
    pub(super) torn: BTreeSet<i32>,
    /// Records of the journal that the owner wants to read again.
    pub(super) fetches: Vec<(u16, AssignmentId, i64)>,
    /// Where partitions of the journal ended when they were assigned, of those that were not read so far.
    pub(super) restore_to: BTreeMap<u16, i64>,
    pub(super) filling: LineBatch,
    pub(super) queue: VecDeque<LineBatch>,
    pub(super) stage: Stage,
    /// The moment before the offsets of the front of the queue were sent.
    pub(super) sent_ms: i64,
    /// Executions of it that are written otherwise than they were emitted.
    pub(super) replaced: Vec<(u64, Replaced)>,
    pub(super) rewrites: u32,
    pub(super) retries: u32,
    pub(super) mid_event: bool,
    /// Halves of batches that are to be committed one by one, and whether one of them was.
    pub(super) halves: (u32, bool),
}

impl Lane {
    /// A lane that has not started yet.
    pub fn new(number: u32, instance: Rc<Instance>, broken: Broken) -> Lane {
        Lane {
            name: format!("lane-{number}"),
            id: LaneId(number),
            instance,
            stopped_until_ms: 0,
            cut_until_ms: 0,
            running: None,
            restart_at_ms: 0,
            life: 0,
            broken,
            restarts: BTreeMap::new(),
            memory: BTreeMap::new(),
        }
    }

    /// Everything it knew is gone, as by SIGKILL.
    pub fn kill(&mut self, now_ms: i64, random: &mut Random) {
        self.running = None;
        self.restart_at_ms = now_ms + random.below(300) as i64;
    }

    /// Whether it has work that is not committed.
    pub fn is_busy(&self) -> bool {
        let is_busy =
            |it: &Running| !it.queue.is_empty() || !it.filling.is_empty() || it.mid_event || !it.calls.is_empty();
        self.running.as_ref().is_none_or(is_busy)
    }

    /// Whether it is at work, and has committed a part of what was to be one batch.
    pub fn is_between_halves(&self, now_ms: i64) -> bool {
        now_ms >= self.stopped_until_ms && self.running.as_ref().is_some_and(|it| it.halves.1)
    }

    /// One small step.
    pub fn step(&mut self, shared: &Shared, log: &mut FakeLog, random: &mut Random, now_ms: i64) {
        if now_ms < self.stopped_until_ms {
            return;
        }
        let outcome = match &mut self.running {
            None if now_ms < self.restart_at_ms => Ok(()),
            None => {
                self.start(shared, log, now_ms);
                Ok(())
            }
            Some(_) => match random.below(9) {
                0 if now_ms < self.cut_until_ms => Ok(()),
                0 => self.poll(shared, log, random, now_ms),
                1 | 2 => self.fill(shared, random, now_ms),
                3 => self.seal(),
                4 => self.read_journal(shared, log, random, now_ms).and_then(|()| self.read_again(shared, log, random)),
                5 | 6 => self.tend(shared, log, random, now_ms),
                _ => self.advance(shared, log, random, now_ms),
            },
        };
        self.come_to(outcome, shared, now_ms, random);
    }

    /// Polls, so that the group does not put it out.
    pub fn keep_up(&mut self, shared: &Shared, log: &mut FakeLog, random: &mut Random, now_ms: i64) {
        if self.running.is_some() {
            let outcome = self.poll(shared, log, random, now_ms);
            self.come_to(outcome, shared, now_ms, random);
        }
    }

    /// Looks once more at what waits.
    pub fn settle(&mut self, shared: &Shared, log: &FakeLog, random: &mut Random, now_ms: i64) {
        if self.running.is_some() {
            let _ = self.tend(shared, log, random, now_ms);
        }
    }

    fn come_to(&mut self, outcome: Result<(), RestartReason>, shared: &Shared, now_ms: i64, random: &mut Random) {
        if let Err(reason) = outcome {
            self.running().calls.leave(shared, now_ms);
            *self.restarts.entry(reason.name()).or_default() += 1;
            self.kill(now_ms, random);
        }
    }

    fn start(&mut self, shared: &Shared, log: &mut FakeLog, now_ms: i64) {
        let epoch = log.init_producer(&self.name);
        log.join(&self.name, now_ms);
        shared.control.iter().for_each(|control| control.starts(&self.instance, shared, now_ms));
        self.life += 1;
        self.running = Some(Running {
            epoch,
            generation: 0,
            member_id: None,
            machine: Machine::new(shared.identity.clone()),
            owner: Owner::new(shared.identity.clone(), shared.lease_ms, shared.waiting_bytes),
            calls: Calls::new(self.id, self.instance.clone(), self.broken),
            sent_ms: 0,
            replaced: Vec::new(),
            held: BTreeMap::new(),
            wanted: Vec::new(),
            fetch: BTreeMap::new(),
            torn: BTreeSet::new(),
            fetches: Vec::new(),
            restore_to: BTreeMap::new(),
            filling: Batch::default(),
            queue: VecDeque::new(),
            stage: Stage::Begin,
            rewrites: 0,
            retries: 0,
            mid_event: false,
            halves: (0, false),
        });
    }

    /// The consumer's poll: heartbeat, revoke, assign.
    fn poll(
        &mut self,
        shared: &Shared,
        log: &mut FakeLog,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<(), RestartReason> {
        if let Some(rebalance) = self.told(log, random, now_ms)? {
            let broken = self.broken;
            let running = self.running();
            running.generation = rebalance.generation;
            let known = running.member_id.replace(rebalance.member_id).is_none_or(|it| it == rebalance.member_id);
            if !known && !running.held.is_empty() && broken != Broken::MemberId {
                return Err(RestartReason::AssignmentLost);
            }
            if !rebalance.revoked.is_empty() {
                self.release(&rebalance.revoked, shared, now_ms);
                self.flush(shared, log, random, now_ms)?;
            }
            let running = self.running();
            for partition in &rebalance.revoked {
                match Shared::journal_number(*partition) {
                    None => running.machine.handle_revoked(&shared.partition(*partition)),
                    Some(_) if broken == Broken::CallsAfterRelease => {}
                    Some(number) => {
                        let gone = running.owner.handle_revoked(i32::from(number));
                        running.calls.abort(&gone, shared, now_ms);
                    }
                }
                running.held.remove(partition);
                running.fetch.remove(partition);
                running.torn.remove(partition);
            }
            if running.held.keys().any(|it| !rebalance.held.contains(it)) {
                return Err(RestartReason::AssignmentLost);
            }
            running.wanted = rebalance.held.iter().copied().filter(|it| !running.held.contains_key(it)).collect();
            log.revoked(&self.name);
        }
        self.take_up(shared, log, now_ms);
        Ok(())
    }

    /// What the client hears of its group. One that was put out is told, or joins again and says nothing, as librdkafka does that learns of
    /// it from the answer to a join: what it held and is not given again looks like any other revoke.
    fn told(
        &mut self,
        log: &mut FakeLog,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<Option<Rebalance>, RestartReason> {
        match log.poll(&self.name, now_ms) {
            Ok(told) => Ok(told),
            Err(_) if random.below(2) == 0 => Err(RestartReason::AssignmentLost),
            Err(_) => {
                log.join(&self.name, now_ms);
                let mut told = log.poll(&self.name, now_ms).map_err(|_| RestartReason::AssignmentLost)?;
                if let Some(rebalance) = &mut told {
                    let held = self.running().held.keys().copied();
                    rebalance.revoked.extend(held.filter(|it| !rebalance.held.contains(it)));
                }
                Ok(told)
            }
        }
    }

    fn take_up(&mut self, shared: &Shared, log: &FakeLog, now_ms: i64) {
        let broken = self.broken;
        let from_memory = self.broken == Broken::RestartFromMemory;
        let (name, life, memory) = (self.name.clone(), self.life, self.memory.clone());
        let running = self.running();
        for partition in std::mem::take(&mut running.wanted) {
            // As with `require_stable`: an offset that an open transaction may still move is not read.
            let Some(committed) = log.stable_offset(partition) else {
                running.wanted.push(partition);
                continue;
            };
            let mut position = Position::from_committed(committed.offset, &committed.metadata, &TOPIC_ID).unwrap();
            if let Some(number) = Shared::journal_number(partition) {
                let end = match broken {
                    Broken::RestoreToStable => log.last_stable(number),
                    _ => log.high_watermark(number),
                };
                let assignment = running.machine.next_assignment();
                let from = position.next_offset;
                if committed == CommittedOffset::default() {
                    position = Position::never_held();
                }
                position.is_released |= broken == Broken::WaitsForNoLease;
                shared.target.taken_up(number, (name.clone(), life, assignment));
                running.owner.handle_assigned(shared.journal_partition(number), assignment, &position, now_ms);
                running.restore_to.insert(number, end);
                running.fetch.insert(partition, from);
                running.held.insert(partition, assignment);
                continue;
            }
            if let Some(remembered) = memory.get(&partition).filter(|_| from_memory) {
                position = remembered.clone();
            }
            running.fetch.insert(partition, position.next_offset);
            let assignment = running.machine.handle_assigned(shared.partition(partition), position);
            running.held.insert(partition, assignment);
        }
    }

    /// No call starts any more for what is given up.
    fn release(&mut self, revoked: &BTreeSet<i32>, shared: &Shared, now_ms: i64) {
        let broken = self.broken;
        let running = self.running();
        for number in revoked.iter().filter_map(|partition| Shared::journal_number(*partition)) {
            if broken == Broken::CallsAfterRelease {
                continue;
            }
            let (calls, last) = running.owner.release(i32::from(number), now_ms);
            running.calls.abort(&calls, shared, now_ms);
            if let Some((partition, assignment, mut position)) = last {
                position.is_released |= broken == Broken::ReleasedTooSoon;
                running.filling.push(&partition, assignment, position, None);
            }
        }
    }

    /// Before partitions are given up: everything is committed, in bounded time.
    fn flush(
        &mut self,
        shared: &Shared,
        log: &mut FakeLog,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<(), RestartReason> {
        self.seal()?;
        for _ in 0..random.below(30) {
            if self.running().queue.is_empty() {
                return Ok(());
            }
            self.advance(shared, log, random, now_ms)?;
        }
        if self.running().queue.is_empty() { Ok(()) } else { Err(RestartReason::RevokeTimeout) }
    }

    /// Reads a little: maybe stops inside an event.
    fn fill(&mut self, shared: &Shared, random: &mut Random, now_ms: i64) -> Result<(), RestartReason> {
        let running = self.running.as_mut().expect("a lane that fills is running");
        for _ in 0..1 + random.below(6) {
            if !running.mid_event && !running.next_record(shared, random, now_ms) {
                return Ok(());
            }
            running.mid_event = true;
            for _ in 0..1 + random.below(4) {
                let Some(emitted) = running.machine.poll(&shared.compile(), now_ms) else {
                    running.mid_event = false;
                    break;
                };
                self.memory.insert(emitted.partition.partition, emitted.position.clone());
                let group = emitted.subject.map(|subject| group_of(&subject, &subject.leave(now_ms), 0));
                running.mid_event = emitted.done.is_none();
                running.filling.push(&emitted.partition, emitted.assignment, emitted.position, group);
            }
        }
        Ok(())
    }

    /// Goes on with what waits.
    fn tend(&mut self, shared: &Shared, log: &FakeLog, random: &mut Random, now_ms: i64) -> Result<(), RestartReason> {
        let (name, life, broken) = (self.name.clone(), self.life, self.broken);
        let instance = Some(self.instance.number);
        let running = self.running();
        running.calls.finish(&mut running.owner, shared, random, now_ms);
        let fires_ms = if broken == Broken::NoBackoff { now_ms + 1_000 } else { now_ms };
        for _ in 0..1 + random.below(4) {
            let Some(emitted) =
                waiting::around(shared, instance, (fires_ms, now_ms), |around| running.owner.poll(around))
            else {
                break;
            };
            let Emitted { partition, assignment, position, subject, mut left, sequence } = emitted;
            if let Some(trouble) = &shared.trouble {
                let key = shared.key(&partition);
                let read_to = if running.torn.contains(&key) { 0 } else { running.fetch[&key] };
                let wrong = trouble.emitted(&subject, &left, log, &Seer { lane: (&name, life), read_to, now_ms });
                shared.target.violations.borrow_mut().extend(wrong);
            }
            if broken == Broken::ChildIsLeft {
                trouble::leave_child(&mut left);
            }
            let group = group_of(&subject, &left, sequence);
            running.filling.push(&partition, assignment, position, Some(group));
        }
        let aborted = running.owner.take_aborted();
        running.calls.abort_ended(&aborted, shared, now_ms);
        for (partition, assignment, position) in running.owner.renewals(now_ms) {
            running.filling.push(&partition, assignment, position, None);
        }
        if broken == Broken::EffectsBeforeCommit {
            let sequence = running.filling.groups().map(|group| group.subject.sequence).max().unwrap_or(0);
            running.owner.handle_committed(Commit { sequence, sent_ms: now_ms, named: &[], replaced: &[] });
        }
        if broken == Broken::NoLease {
            let named = running.dependencies(shared);
            running.owner.handle_committed(Commit { sequence: 0, sent_ms: now_ms, named: &named, replaced: &[] });
        }
        let held = running.held.clone();
        let tenure = |number: u16| {
            let assignment = held.iter().find(|(key, _)| Shared::journal_number(**key) == Some(number))?.1;
            Some((name.clone(), life, *assignment))
        };
        running.calls.start(&mut running.owner, (shared, log), random, (now_ms, &tenure));
        Ok(())
    }

    fn seal(&mut self) -> Result<(), RestartReason> {
        let running = self.running();
        if !running.filling.is_empty() && running.queue.len() < 2 {
            running.queue.push_back(std::mem::take(&mut running.filling));
        }
        Ok(())
    }

    /// One call of the commit protocol, with what may go wrong.
    fn advance(
        &mut self,
        shared: &Shared,
        log: &mut FakeLog,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<(), RestartReason> {
        let (name, broken) = (self.name.clone(), self.broken);
        let running = self.running();
        let Some(batch) = running.queue.front() else { return Ok(()) };
        let (groups, still_held) = (batch.group_count(), broken == Broken::Tenure || running.holds(shared, batch));
        let result = match running.stage {
            Stage::Begin => running.write(&name, log, random, now_ms),
            Stage::Written if !still_held => Err(Failure::StaleGeneration),
            Stage::Written => running.send_offsets(&name, broken, log, shared, now_ms),
            Stage::OffsetsSent => running.commit(&name, broken, log, shared, random),
        };
        let Err(failure) = result else { return Ok(()) };
        let attempt = Attempt { rewrites: running.rewrites, retries: running.retries, groups, still_held };
        match commit::react(failure, attempt) {
            Reaction::Retry => running.retries += 1,
            Reaction::Rewrite { .. } => running.rewrite(&name, log)?,
            Reaction::FailRefused => {
                running.fail_refused(broken, now_ms);
                running.rewrite(&name, log)?;
            }
            Reaction::FailOnly => {
                running.fail_all(now_ms);
                running.rewrite(&name, log)?;
            }
            Reaction::Halve => {
                let second = running.queue.front_mut().and_then(Batch::split_half);
                if let Some(second) = second {
                    running.queue.insert(1, second);
                    running.halves.0 += 1;
                }
                running.rewrite(&name, log)?;
            }
            Reaction::Restart(reason) => return Err(reason),
        }
        Ok(())
    }

    pub(super) fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("a lane that steps is running")
    }
}
