//! One lane of the simulated cluster: the real machine, batches and reactions, around the fake log.

use std::collections::{BTreeMap, VecDeque};

use tidegate::bench::workload::Random;
use tidegate::engine::batch::{AssignmentId, Batch, Group, SourcePartition};
use tidegate::engine::commit::{self, Attempt, Failure, Reaction, RestartReason};
use tidegate::engine::execution::{Kept, Subject};
use tidegate::engine::machine::Machine;
use tidegate::engine::position::Position;
use tidegate::engine::run::Refusal;

use super::cluster::{Shared, TOPIC_ID, decode, lines_of};
use super::log::{CommittedOffset, FakeLog, Line, LogError, Rebalance};

/// A rule that the lane breaks on purpose, to show that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Every rule is kept.
    Nothing,
    /// Batches are committed for partitions that are gone, under the newest generation.
    Tenure,
    /// A member that was put out and is another one now goes on with what it held.
    MemberId,
    /// The committed position forgets which workflow was the last one done.
    PositionInsideEvent,
    /// A producer goes on after a commit in doubt.
    ProducerInDoubt,
    /// A restart goes on from where the lane was, not from the committed offsets.
    RestartFromMemory,
    /// A refused execution is left out instead of being failed.
    DropRefused,
}

/// How far the front of the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Written,
    OffsetsSent,
}

type LineGroup = Group<Option<Box<Kept>>, Line>;
type LineBatch = Batch<Option<Box<Kept>>, Line>;

/// A lane.
pub struct Lane {
    /// Its static member id and transactional id.
    pub name: String,
    /// Until when it is stopped, as by SIGSTOP.
    pub stopped_until_ms: i64,
    running: Option<Running>,
    restart_at_ms: i64,
    broken: Broken,
    /// Why it restarted, how often.
    pub restarts: BTreeMap<&'static str, u32>,
    memory: BTreeMap<i32, Position>,
}

struct Running {
    epoch: u32,
    generation: u32,
    /// None before it was told.
    member_id: Option<u32>,
    machine: Machine,
    held: BTreeMap<i32, AssignmentId>,
    wanted: Vec<i32>,
    fetch: BTreeMap<i32, i64>,
    filling: LineBatch,
    queue: VecDeque<LineBatch>,
    stage: Stage,
    rewrites: u32,
    retries: u32,
    mid_event: bool,
}

impl Lane {
    /// A lane that has not started yet.
    pub fn new(name: String, broken: Broken) -> Lane {
        Lane {
            name,
            stopped_until_ms: 0,
            running: None,
            restart_at_ms: 0,
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
        self.running.as_ref().is_none_or(|it| !it.queue.is_empty() || !it.filling.is_empty() || it.mid_event)
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
            Some(_) => match random.below(6) {
                0 => self.poll(shared, log, random, now_ms),
                1 | 2 => self.fill(shared, random, now_ms),
                3 => self.seal(),
                _ => self.advance(shared, log, random, now_ms),
            },
        };
        if let Err(reason) = outcome {
            *self.restarts.entry(reason.name()).or_default() += 1;
            self.kill(now_ms, random);
        }
    }

    fn start(&mut self, shared: &Shared, log: &mut FakeLog, now_ms: i64) {
        let epoch = log.init_producer(&self.name);
        log.join(&self.name, now_ms);
        self.running = Some(Running {
            epoch,
            generation: 0,
            member_id: None,
            machine: Machine::new(shared.identity.clone()),
            held: BTreeMap::new(),
            wanted: Vec::new(),
            fetch: BTreeMap::new(),
            filling: Batch::default(),
            queue: VecDeque::new(),
            stage: Stage::Begin,
            rewrites: 0,
            retries: 0,
            mid_event: false,
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
                self.flush(shared, log, random, now_ms)?;
            }
            let running = self.running();
            for partition in &rebalance.revoked {
                running.machine.handle_revoked(&shared.partition(*partition));
                running.held.remove(partition);
                running.fetch.remove(partition);
            }
            if running.held.keys().any(|it| !rebalance.held.contains(it)) {
                return Err(RestartReason::AssignmentLost);
            }
            running.wanted = rebalance.held.iter().copied().filter(|it| !running.held.contains_key(it)).collect();
            log.revoked(&self.name);
        }
        self.take_up(shared, log);
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

    fn take_up(&mut self, shared: &Shared, log: &FakeLog) {
        let from_memory = self.broken == Broken::RestartFromMemory;
        let memory = self.memory.clone();
        let running = self.running();
        for partition in std::mem::take(&mut running.wanted) {
            // As with `require_stable`: an offset that an open transaction may still move is not read.
            let Some(committed) = log.stable_offset(partition) else {
                running.wanted.push(partition);
                continue;
            };
            let mut position = Position::from_committed(committed.offset, &committed.metadata, &TOPIC_ID).unwrap();
            if let Some(remembered) = memory.get(&partition).filter(|_| from_memory) {
                position = remembered.clone();
            }
            running.fetch.insert(partition, position.next_offset);
            let assignment = running.machine.handle_assigned(shared.partition(partition), position);
            running.held.insert(partition, assignment);
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
            if !running.mid_event && !running.next_record(shared, random) {
                return Ok(());
            }
            running.mid_event = true;
            for _ in 0..1 + random.below(4) {
                let Some(emitted) = running.machine.poll(&shared.compile(), now_ms) else {
                    running.mid_event = false;
                    break;
                };
                self.memory.insert(emitted.partition.partition, emitted.position.clone());
                let group = emitted.subject.map(|subject| group_of(&subject, now_ms));
                running.mid_event = emitted.done.is_none();
                running.filling.push(&emitted.partition, emitted.assignment, emitted.position, group);
            }
        }
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
        let (groups, still_held) = (batch.group_count(), broken == Broken::Tenure || running.holds(batch));
        let result = match running.stage {
            Stage::Begin => running.write(&name, log, random, now_ms),
            Stage::Written if !still_held => Err(Failure::StaleGeneration),
            Stage::Written => running.send_offsets(&name, broken, log, now_ms),
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
                }
                running.rewrite(&name, log)?;
            }
            Reaction::Restart(reason) => return Err(reason),
        }
        Ok(())
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("a lane that steps is running")
    }
}

impl Running {
    /// Hands the next record of some partition to the machine; false if there is none.
    fn next_record(&mut self, shared: &Shared, random: &mut Random) -> bool {
        let partitions: Vec<i32> = self.fetch.keys().copied().collect();
        let Some(&partition) = partitions.get(random.below(partitions.len().max(1))) else { return false };
        let at = self.fetch[&partition];
        let Some(event) = shared.event(partition, at) else { return false };
        self.fetch.insert(partition, at + 1);
        self.machine.handle_record(&shared.registry, Ok(event));
        true
    }

    fn holds(&self, batch: &LineBatch) -> bool {
        batch.dependencies().iter().all(|it| self.held.get(&it.partition.partition) == Some(&it.assignment))
    }

    fn write(&mut self, name: &str, log: &mut FakeLog, random: &mut Random, now_ms: i64) -> Result<(), Failure> {
        let Some(batch) = self.queue.front() else { return Ok(()) };
        for group in batch.groups() {
            match log.write(name, self.epoch, &group.records, now_ms) {
                Ok(()) => {}
                Err(LogError::Refused) if random.below(2) == 0 => return Err(Failure::RefusedUnknown),
                Err(error) => return Err(failure_of(error)),
            }
        }
        if random.below(20) == 0 {
            return Err(Failure::Abortable);
        }
        self.stage = Stage::Written;
        Ok(())
    }

    fn send_offsets(&mut self, name: &str, broken: Broken, log: &mut FakeLog, now_ms: i64) -> Result<(), Failure> {
        let Some(batch) = self.queue.front() else { return Ok(()) };
        let mut offsets = BTreeMap::new();
        for (SourcePartition { partition, .. }, position) in batch.positions() {
            let mut metadata = position.metadata(&TOPIC_ID);
            if broken == Broken::PositionInsideEvent {
                metadata.clear();
            }
            offsets.insert(*partition, CommittedOffset { offset: position.next_offset, metadata });
        }
        let generation = if broken == Broken::Tenure { log.generation() } else { self.generation };
        log.send_offsets(name, self.epoch, (name, generation), offsets, now_ms).map_err(failure_of)?;
        self.stage = Stage::OffsetsSent;
        Ok(())
    }

    fn commit(
        &mut self,
        name: &str,
        broken: Broken,
        log: &mut FakeLog,
        shared: &Shared,
        random: &mut Random,
    ) -> Result<(), Failure> {
        match random.below(40) {
            0 => return Err(Failure::Retriable),
            // The answer is lost: it was committed, or not, or will be, late, by a request that is still on its way.
            1 => drop(log.end(name, self.epoch, true)),
            2 => {}
            3 => shared.late.borrow_mut().push((name.to_owned(), self.epoch)),
            _ => {
                log.end(name, self.epoch, true).map_err(failure_of)?;
                return self.done();
            }
        }
        if broken == Broken::ProducerInDoubt {
            return self.done();
        }
        Err(Failure::Uncertain)
    }

    fn done(&mut self) -> Result<(), Failure> {
        self.queue.pop_front();
        (self.stage, self.rewrites, self.retries) = (Stage::Begin, 0, 0);
        Ok(())
    }

    fn rewrite(&mut self, name: &str, log: &mut FakeLog) -> Result<(), RestartReason> {
        (self.stage, self.rewrites) = (Stage::Begin, self.rewrites + 1);
        match log.end(name, self.epoch, false) {
            Ok(()) | Err(LogError::NoTransaction) => Ok(()),
            Err(_) => Err(RestartReason::Fenced),
        }
    }

    fn fail_refused(&mut self, broken: Broken, now_ms: i64) {
        let refused = |group: &LineGroup| group.records.iter().any(|line| line.topic == "refuses");
        if broken != Broken::DropRefused {
            return self.fail_where(now_ms, refused);
        }
        if let Some(batch) = self.queue.front_mut() {
            let nothing = || Group { subject: None, records: Vec::new(), bytes: 0 };
            batch.replace_groups(|_, group| refused(group).then(nothing));
        }
    }

    fn fail_all(&mut self, now_ms: i64) {
        self.fail_where(now_ms, |_| true);
    }

    fn fail_where(&mut self, now_ms: i64, wanted: impl Fn(&LineGroup) -> bool) {
        let Some(batch) = self.queue.front_mut() else { return };
        batch.replace_groups(|_, group| {
            let kept = group.subject.as_ref().filter(|_| wanted(group))?;
            let refusal = Refusal { step: 0, message: "refused".into() };
            let subject = kept.execution(|record| Ok(decode(record)))?.refused(&[refusal])?;
            Some(group_of(&subject, now_ms))
        });
    }
}

/// What a subject leaves, as the batch holds it.
fn group_of(subject: &Subject, now_ms: i64) -> LineGroup {
    let records = lines_of(subject, now_ms);
    Group { bytes: records.len(), subject: subject.keep(), records }
}

fn failure_of(error: LogError) -> Failure {
    match error {
        LogError::Fenced => Failure::Fenced,
        LogError::StaleGeneration => Failure::StaleGeneration,
        LogError::UnknownMember => Failure::NotTheOwner,
        LogError::Refused => Failure::RefusedRecords,
        LogError::NoTransaction => Failure::Fatal,
    }
}
