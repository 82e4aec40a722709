//! A lane's reader: polls the consumer, runs what comes through the machine, and hands the records on.
//!
//! It never waits for the broker except in `poll`, and in a rebalance for as long as [`REVOKE_WAIT`]. When too much is in
//! flight it pauses the sources and goes on polling, so that rebalances are still answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::committer::LaneBatch;
use super::held_back::{HeldBack, Unready};
use super::inbox::Inbox;
use super::pipeline::{Pipeline, Refused};
use super::tally::Tally;
use super::tenure::Tenure;
use super::waiting::Tender;
use super::{InFlight, LaneContext, clock, weight};
use crate::engine::batch::{AssignmentId, SourcePartition};
use crate::engine::commit::RestartReason;
use crate::engine::event::SourceRecord;
use crate::engine::execution::{Left, Subject};
use crate::engine::machine::{Emitted, Machine};
use crate::engine::position::Position;
use crate::engine::run::Effect;
use crate::kafka::consumer::{Consumer, Member, PollError, Rebalance};
use crate::kafka::native::GroupMetadata;
use crate::kafka::start::{self, Refusal};

/// Records taken in one go: enough to make a poll cheap, few enough to look up between them.
const POLL_RECORDS: usize = 500;
/// How long it is waited when there is nothing to do: so late it is seen that the lane is to stop. Whatever comes is seen at once.
const IDLE_WAIT: Duration = Duration::from_millis(250);
/// What a chunk may weigh before it is handed on, even inside an event.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;
/// How long the reader waits for room before it pauses the sources.
const PATIENCE: Duration = Duration::from_secs(1);
/// The sources go on when no more than this share of the bound is in flight; pausing throws away what was fetched, so it must
/// not flutter.
const RESUME_BELOW: f64 = 0.5;
/// How often it is looked whether what is held back can be understood.
const HELD_BACK_LOOK: Duration = Duration::from_millis(20);
/// How long a revoke may hold up the group: what is in flight is committed in that time, or the lane starts again.
const REVOKE_WAIT: Duration = Duration::from_secs(3);
/// How long leaving the group may take: the calls that are under way, the last commit, and an answer of the group.
const LEAVE_WITHIN: Duration = Duration::from_secs(6);
/// How long work may be in flight without a commit before the lane starts again.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(60);
/// How often positions and lag are reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What is to be written and the position that holds then, for a partition under an assignment: the subject, what it leaves, and which part
/// of an execution that waits it is.
pub(super) type Leaving = (SourcePartition, AssignmentId, Position, Option<(Subject, Left, u64)>);

/// What the reader hands to the committer at once.
#[derive(Debug)]
pub struct Chunk {
    /// The records, grouped, with their positions.
    pub batch: LaneBatch,
    /// What they count for.
    pub tally: Tally,
    /// What it weighs in memory.
    pub bytes: usize,
    /// The timestamp of the oldest record that it is about, milliseconds since the Unix epoch; None if no record has one.
    pub oldest_ms: Option<i64>,
}

impl Chunk {
    /// One with nothing in it.
    pub fn empty() -> Chunk {
        Chunk { batch: LaneBatch::default(), tally: Tally::default(), bytes: 0, oldest_ms: None }
    }

    /// Takes note of a record's timestamp; a negative one is none.
    fn is_about(&mut self, timestamp_ms: i64) {
        if timestamp_ms >= 0 {
            self.oldest_ms = Some(self.oldest_ms.map_or(timestamp_ms, |oldest| oldest.min(timestamp_ms)));
        }
    }
}

/// The reader of one lane. Also what the consumer calls into when the group rebalances.
pub struct Reader {
    pub(super) context: Arc<LaneContext>,
    pub(super) pipeline: Arc<Pipeline<Chunk>>,
    tenure: Arc<Tenure<GroupMetadata>>,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
}

pub(super) struct State {
    machine: Machine,
    /// Goes on with what waits; None where nothing can.
    pub(super) tender: Option<Tender>,
    /// Taken up, and waiting for the membership that holds them.
    fresh: Vec<(SourcePartition, AssignmentId)>,
    held: Vec<SourcePartition>,
    /// Held too, but not read.
    refused: Vec<(SourcePartition, Refusal)>,
    /// Read, and not understood yet.
    pub(super) held_back: HeldBack,
    /// How many changes of topics were looked at.
    topic_changes: u64,
    must_restart: Option<RestartReason>,
    /// Nothing more is read: what is let go now is no news.
    ended: bool,
}

impl Reader {
    /// A reader that holds nothing yet.
    pub fn new(
        context: Arc<LaneContext>,
        (pipeline, tenure, inbox): (Arc<Pipeline<Chunk>>, Arc<Tenure<GroupMetadata>>, Arc<Inbox>),
        tender: Option<Tender>,
    ) -> Arc<Reader> {
        let machine = Machine::new(context.identity.clone());
        let topic_changes = context.topic_ids.changes();
        let (fresh, held, refused) = (Vec::new(), Vec::new(), Vec::new());
        let (held_back, must_restart, ended) = (HeldBack::default(), None, false);
        let state = State { machine, tender, fresh, held, refused, held_back, topic_changes, must_restart, ended };
        Arc::new(Reader { context, pipeline, tenure, inbox, state: Mutex::new(state) })
    }

    /// Reads until the lane is to stop, or has to start again.
    pub fn run(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        let ended = self.read(consumer);
        self.state().ended = true;
        ended
    }

    fn read(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        let mut records = Vec::with_capacity(POLL_RECORDS);
        let mut last_report = Instant::now();
        while !self.context.stop.is_set() {
            self.check()?;
            self.make_room(consumer)?;
            self.see_to_held_back(consumer)?;
            let went_on = self.tend()?;
            // Asking without waiting first lets the committer know at once that nothing more is there.
            if self.poll(consumer, Duration::ZERO, &mut records)? == 0 && !went_on {
                if !self.is_under_load() {
                    self.pipeline.source_is_idle();
                }
                self.inbox.wait(self.patience());
                self.poll(consumer, Duration::ZERO, &mut records)?;
            }
            if !records.is_empty() {
                self.take(&mut records)?;
            }
            drop(self.pipeline.take_spent());
            if last_report.elapsed() >= REPORT_EVERY {
                last_report = Instant::now();
                self.report(consumer);
            }
        }
        self.leave(consumer)
    }

    /// Ends what is under way and gives up what is held. Whoever goes on with it need not wait, nor repeat what has ended.
    fn leave(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        if self.context.leaves_group {
            consumer.leave();
            let until = Instant::now() + LEAVE_WITHIN;
            // What is held is let go inside a poll; records that come now are somebody else's.
            while !self.state().held.is_empty() && Instant::now() < until {
                self.check()?;
                self.poll(consumer, IDLE_WAIT, &mut Vec::new())?;
            }
        }
        let held = self.state().held.clone();
        self.finish_calls(&held)?;
        self.pipeline.source_is_idle();
        self.pipeline.flush(REVOKE_WAIT).map_err(|refused| match refused {
            Refused::TimedOut => RestartReason::Stalled,
            Refused::Failed(reason) => reason,
        })
    }

    fn check(&self) -> Result<(), RestartReason> {
        if let Some(reason) = self.pipeline.failure().or_else(|| self.state().must_restart) {
            return Err(reason);
        }
        if self.pipeline.commit_age() > COMMIT_AGE_MAX {
            return Err(RestartReason::Stalled);
        }
        if self.state().tender.as_ref().is_some_and(Tender::has_failed) {
            return Err(RestartReason::Fatal);
        }
        self.check_topics()?;
        self.context.beat();
        Ok(())
    }

    /// A topic that is held and became another one is not gone on with. A new start of the lane refuses it, and keeps the others.
    fn check_topics(&self) -> Result<(), RestartReason> {
        let changes = self.context.topic_ids.changes();
        let mut state = self.state();
        if state.topic_changes == changes {
            return Ok(());
        }
        state.topic_changes = changes;
        let gone = state.held.iter().any(|held| self.context.topic_ids.is_gone(&held.topic));
        if gone { Err(RestartReason::TopicRecreated) } else { Ok(()) }
    }

    /// Says what is held, to those who need to know.
    fn tell_held(&self, state: &State) {
        // The journal is looked after with the other system topics.
        let sources: Vec<_> = state.held.iter().filter(|held| !self.context.is_journal(held)).cloned().collect();
        self.context.topic_ids.hold(&self.context.name, &sources);
        self.context.observer.joined(&state.held);
        // A lane that ends lets go of what it refuses, which mends nothing.
        if !state.ended {
            self.context.observer.refused(&state.refused);
        }
    }

    /// Waits for room. If it takes long, the sources are paused and the consumer is polled meanwhile.
    fn make_room(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        match self.pipeline.wait_for_room(1.0, PATIENCE) {
            Ok(()) => return Ok(()),
            Err(Refused::Failed(reason)) => return Err(reason),
            Err(Refused::TimedOut) => {}
        }
        tracing::info!(lane = %self.context.name, in_flight_bytes = self.pipeline.in_flight_bytes(), "sources are paused");
        consumer.pause().map_err(|error| self.trouble(&error))?;
        let mut late = Vec::new();
        loop {
            self.check()?;
            // Partitions that arrive during the pause are not paused; what they bring is taken all the same.
            self.poll(consumer, Duration::ZERO, &mut late)?;
            if !late.is_empty() {
                self.take(&mut late)?;
                self.pause_held_back(consumer)?;
            }
            match self.pipeline.wait_for_room(RESUME_BELOW, PATIENCE / 10) {
                Ok(()) => break,
                Err(Refused::Failed(reason)) => return Err(reason),
                Err(Refused::TimedOut) => {}
            }
        }
        self.state().held_back.resumed();
        consumer.resume().map_err(|error| self.trouble(&error))
    }

    fn poll(
        &self,
        consumer: &Consumer<Reader>,
        wait: Duration,
        records: &mut Vec<SourceRecord>,
    ) -> Result<usize, RestartReason> {
        match consumer.poll(POLL_RECORDS, wait, |record| records.push(record)) {
            Ok(taken) => {
                if taken > 0 {
                    self.context.observer.polled();
                }
                Ok(taken)
            }
            Err(PollError::Fatal(message)) => {
                tracing::warn!(lane = %self.context.name, cause = %message, "the consumer cannot go on");
                self.context.observer.trouble(&message);
                Err(RestartReason::Fatal)
            }
            Err(PollError::Fenced(message)) => {
                tracing::warn!(lane = %self.context.name, cause = %message, "another process has taken over this member");
                Err(RestartReason::Fenced)
            }
            // The position is asked for again, and what is lost is said, by the start of the lane.
            Err(PollError::OffsetOutOfRange) => Err(RestartReason::AssignmentLost),
            Err(trouble @ (PollError::Away(_) | PollError::Trouble(_) | PollError::NotAuthorized(_))) => {
                tracing::warn!(lane = %self.context.name, cause = %trouble, "the consumer has trouble and goes on trying");
                match trouble {
                    PollError::Away(message) => self.context.observer.trouble(&message),
                    other => self.context.observer.hindered(&other.to_string()),
                }
                Ok(0)
            }
        }
    }

    pub(super) fn trouble(&self, error: &PollError) -> RestartReason {
        tracing::warn!(lane = %self.context.name, cause = %error, "the consumer cannot be paused or resumed");
        RestartReason::Fatal
    }

    /// Whether a fuller batch is worth waiting for although the sources have nothing right now.
    fn is_under_load(&self) -> bool {
        self.state().tender.as_ref().is_some_and(Tender::is_under_load)
    }

    /// How long it may be waited for something to do.
    fn patience(&self) -> Duration {
        let state = self.state();
        let most = if state.held_back.is_empty() { IDLE_WAIT } else { HELD_BACK_LOOK };
        state.tender.as_ref().map_or(most, |tender| tender.patience().min(most))
    }

    /// Takes records that came: those that cannot be understood yet are held back.
    fn take(&self, records: &mut Vec<SourceRecord>) -> Result<(), RestartReason> {
        self.state().held_back.sift(records);
        self.run_records(records)
    }

    /// Runs records through the machine and hands on what they cause.
    pub(super) fn run_records(&self, records: &mut Vec<SourceRecord>) -> Result<(), RestartReason> {
        let mut state = self.state();
        let mut chunk = Chunk::empty();
        let mut unready = Unready::default();
        for record in records.drain(..) {
            let is_ready = |record: &SourceRecord| self.context.is_ready(record, false);
            let Some(record) = unready.take(record, is_ready) else { continue };
            let partition = SourcePartition { topic: record.origin.topic.clone(), partition: record.origin.partition };
            let source = chunk.tally.source(&partition);
            source.consumed += 1;
            let timestamp_ms = record.timestamp_ms;
            source.last_timestamp_ms = timestamp_ms;
            source.next_offset = record.origin.offset + 1;
            chunk.bytes += weight::of_event(&record);
            let decoded = self.context.decode(record);
            source.undecodable += u64::from(decoded.is_err());
            let now_ms = clock::now_ms();
            state.machine.handle_record(&self.context.registry(), decoded);
            while let Some(emitted) = state.machine.poll(&*self.context.compile, now_ms) {
                // An event that is spread over several chunks is in flight until the last of them is committed.
                chunk.is_about(timestamp_ms);
                self.add(&mut chunk, emitted, now_ms);
                if chunk.bytes >= CHUNK_BYTES {
                    self.hand_on(&mut chunk)?;
                }
            }
        }
        state.held_back.put_back(unready.into_records());
        self.hand_on(&mut chunk)
    }

    fn add(&self, chunk: &mut Chunk, emitted: Emitted, now_ms: i64) {
        let Emitted { partition, assignment, position, subject, done, condition_error } = emitted;
        if let Some(error) = condition_error {
            tracing::warn!(workflow = error.workflow.as_str(), cause = %error.message, "a `where` has no value; no match");
        }
        if done == Some(0) && !matches!(subject, Some(Subject::Undecodable(_))) {
            chunk.tally.source(&partition).unmatched += 1;
        }
        let left = subject.map(|subject| {
            let (subject, left) = self.context.leave(subject, now_ms);
            (subject, left, 0)
        });
        self.push(chunk, (partition, assignment, position, left));
    }

    /// Adds what was left to a chunk.
    pub(super) fn push(&self, chunk: &mut Chunk, (partition, assignment, position, left): Leaving) {
        let group = left.map(|(subject, left, sequence)| {
            chunk.tally.count(&subject, &left, clock::now_ms());
            for step in &left.steps {
                if let Effect::Log(level, line) = &step.effect {
                    self.context.observer.step_log(*level, &subject, line);
                }
            }
            self.context.group(&subject, left, sequence)
        });
        chunk.bytes += group.as_ref().map_or(0, |group| group.records.iter().map(weight::of_record).sum());
        chunk.batch.push(&partition, assignment, position, group);
    }

    /// Hands a chunk on. Inside an event there may be no room for long; the broker's time-outs bound the wait.
    pub(super) fn hand_on(&self, chunk: &mut Chunk) -> Result<(), RestartReason> {
        self.hand_on_within(chunk, COMMIT_AGE_MAX)
    }

    /// The same, where there must be room by then.
    pub(super) fn hand_on_within(&self, chunk: &mut Chunk, within: Duration) -> Result<(), RestartReason> {
        if chunk.batch.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(chunk, Chunk::empty());
        let (bytes, oldest_ms) = (full.bytes, full.oldest_ms);
        match self.pipeline.wait_for_room(1.0, within) {
            Ok(()) => self.pipeline.offer(full, bytes, oldest_ms),
            Err(Refused::TimedOut) => return Err(RestartReason::Stalled),
            Err(Refused::Failed(reason)) => return Err(reason),
        }
        Ok(())
    }

    fn report(&self, consumer: &Consumer<Reader>) {
        let state = self.state();
        let positions = state.held.iter().filter_map(|partition| {
            let position = state.machine.position(partition)?.next_offset;
            Some((partition.clone(), position, consumer.known_end(partition)))
        });
        let in_flight =
            InFlight { bytes: self.pipeline.in_flight_bytes(), oldest_timestamp_ms: self.pipeline.oldest_ms() };
        self.context.observer.positions(&positions.collect::<Vec<_>>(), in_flight);
        if let Some(tender) = &state.tender {
            self.context.observer.waiting(&tender.waiting());
        }
    }

    /// Ends what goes on with executions that wait: calls are broken off, whoever still holds this.
    pub fn end_waiting(&self) {
        drop(self.state().tender.take());
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rebalance for Reader {
    fn assigned(&self, partitions: &[SourcePartition], member: &Member<'_>) -> Result<Vec<Option<Position>>, String> {
        let (journal, sources): (Vec<_>, Vec<_>) =
            partitions.iter().cloned().partition(|partition| self.context.is_journal(partition));
        let told = |message: &String| self.context.observer.trouble(message);
        let mut outcomes = start::resolve(&sources, member, &*self.context.sources).inspect_err(told)?.into_iter();
        let mut places = start::journal(&journal, member).inspect_err(told)?.into_iter();
        let mut state = self.state();
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            if self.context.is_journal(partition) {
                let assignment = state.machine.next_assignment();
                if let (Some(tender), Some(from)) = (&mut state.tender, places.next()) {
                    tender.assigned(partition, assignment, &from);
                }
                state.fresh.push((partition.clone(), assignment));
                state.held.push(partition.clone());
                positions.push(None);
                continue;
            }
            let Some(outcome) = outcomes.next() else { return Err("the group asks for more than it named".into()) };
            let decision = match outcome {
                Ok(decision) => decision,
                Err(refusal) => {
                    state.refused.push((partition.clone(), refusal));
                    positions.push(None);
                    continue;
                }
            };
            if let Some(refusal) = &decision.confirmed {
                self.context.observer.confirmed(partition, refusal);
            }
            if let Some((from, to)) = decision.lost {
                self.context.observer.lost(partition, from, to);
            }
            let assignment = state.machine.handle_assigned(partition.clone(), decision.position.clone());
            state.fresh.push((partition.clone(), assignment));
            state.held.push(partition.clone());
            positions.push(Some(decision.position));
        }
        Ok(positions)
    }

    fn joined(&self, metadata: GroupMetadata) {
        let mut state = self.state();
        let fresh = std::mem::take(&mut state.fresh);
        if let Some(tender) = &mut state.tender {
            tender.joined();
        }
        if !self.tenure.take_up(&fresh, metadata) {
            // The client goes on as the owner of what the group may have given to others: only a new start makes it forget.
            state.must_restart.get_or_insert(RestartReason::AssignmentLost);
        }
        self.tell_held(&state);
    }

    fn revoked(&self, partitions: &[SourcePartition], member: &Member<'_>, lost: bool) {
        // What is revoked is still this member's in the generation it has now; what was lost is not.
        let metadata = if lost { None } else { member.metadata() };
        let outcome = if metadata.is_some_and(|metadata| self.tenure.renew(metadata)) {
            self.finish_calls(partitions).map_err(Refused::Failed).and_then(|()| {
                self.pipeline.source_is_idle();
                self.pipeline.flush(REVOKE_WAIT)
            })
        } else {
            Err(Refused::Failed(RestartReason::AssignmentLost))
        };
        let mut state = self.state();
        for partition in partitions {
            match &mut state.tender {
                Some(tender) if tender.owns(partition) => tender.revoked(partition),
                Some(_) | None => state.machine.handle_revoked(partition),
            }
            state.held_back.let_go(partition);
        }
        state.held.retain(|held| !partitions.contains(held));
        state.refused.retain(|(held, _)| !partitions.contains(held));
        if lost {
            self.tenure.let_all_go();
        } else {
            self.tenure.let_go(partitions);
        }
        if let Err(refused) = outcome {
            let reason = match refused {
                Refused::TimedOut => RestartReason::RevokeTimeout,
                Refused::Failed(reason) => reason,
            };
            state.must_restart.get_or_insert(reason);
        }
        self.tell_held(&state);
    }
}
