//! Executions that wait, in a lane: its owner, what it reads of the journal, and its calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::LaneContext;
use super::calls::{Caller, Calls, Ended};
use super::clock::{self, Steady};
use super::gates::Gates;
use super::inbox::{Certain, Event, Inbox};
use super::journal::JournalThread;
use super::pace::Pace;
use super::reading_back::{ReadingThread, Wanted};
use crate::codec::journal::stands_of;
use crate::engine::batch::{AssignmentId, Dependency, SourcePartition};
use crate::engine::breaker::CallOutcome;
use crate::engine::call::Answer;
use crate::engine::checkpoint::Content;
use crate::engine::event::{SourceRecord, Topic};
use crate::engine::fan_out;
use crate::engine::gate::LaneId;
use crate::engine::journal::Record;
use crate::engine::owner::{Around, CallId, Commit, Definition, Emitted, LEASE_MS, Owner, Tried, WaitCounts};
use crate::engine::position::Position;
use crate::engine::record::JournalRecord;
use crate::engine::wire::size_bytes_of;
use crate::engine::workflow::WorkflowId;

/// Parts of executions that are run in one go, so that sources get their turn.
const PARTS_AT_ONCE: usize = 500;

/// Calls under way from which on they are many.
const CALLS_UNDER_LOAD: usize = 32;

/// Reads a record of the journal, or says what is wrong with it.
pub type ReadJournal = dyn Fn(&SourceRecord) -> Result<Record<Content>, String> + Send + Sync;
/// Whether the journal takes a record; the error says why not.
pub type Fits = dyn Fn(&JournalRecord) -> Result<(), String> + Send + Sync;
/// Finds a version of a workflow.
pub type Find = dyn Fn(&WorkflowId, &str) -> Option<Result<Definition, String>> + Send + Sync;

/// See [`Waiting::is_on_its_way`].
pub type OnItsWay = dyn Fn(&WorkflowId, &str) -> bool + Send + Sync;

/// Told that what lies before an offset of a partition of the journal is of no use any more, and certainly so.
pub type DoneBefore = dyn Fn(i32, i64) + Send + Sync;

/// What lanes need for executions that wait.
pub struct Waiting {
    /// The journal's topic.
    pub topic: Arc<str>,
    /// See [`ReadJournal`].
    pub read: Box<ReadJournal>,
    /// See [`Fits`].
    pub fits: Box<Fits>,
    /// See [`Find`].
    pub definition: Box<Find>,
    /// Whether a version that is not found is installed, and what it needs is not there yet.
    pub is_on_its_way: Box<OnItsWay>,
    /// The gates of the instance.
    pub gates: Arc<Gates>,
    /// Makes calls.
    pub caller: Arc<dyn Caller>,
    /// The clock of the gates.
    pub clock: Steady,
    /// The lane, as gates know it.
    pub lane: LaneId,
    /// See [`DoneBefore`].
    pub done_before: Box<DoneBefore>,
    /// What executions that wait may take in memory, in bytes; see [`WAITING_BYTES`](crate::engine::owner::WAITING_BYTES).
    pub memory_bytes: usize,
    /// How many executions wait in this lane; more than there are while a partition is read for the first time.
    pub live: Arc<AtomicUsize>,
}

/// A damaged record of the journal, and under which assignment it was read.
pub(super) struct Damaged {
    pub assignment: AssignmentId,
    pub record: SourceRecord,
    pub why: String,
}

/// The part of a lane's reader that goes on with what waits.
pub(super) struct Tender {
    waiting: Arc<Waiting>,
    owner: Owner,
    calls: Calls,
    journal: JournalThread,
    again: ReadingThread,
    /// The journal, once a partition of it is held.
    topic: Option<Arc<Topic>>,
    inbox: Arc<Inbox>,
    clock: Steady,
    /// The partitions that are held, and under which assignment.
    held: BTreeMap<i32, AssignmentId>,
    /// Until when a connector's calls need not be asked for; `i64::MAX`: until one of them has ended.
    parked_ms: BTreeMap<Arc<str>, i64>,
    pace: Pace,
    /// Whether the group has said what the lane holds.
    has_joined: bool,
    /// How often workflows had been stopped when that was looked at last.
    stops: u64,
}

impl Tender {
    pub(super) fn start(context: &Arc<LaneContext>, inbox: Arc<Inbox>) -> std::io::Result<Option<Tender>> {
        let Some(waiting) = context.waiting.clone() else { return Ok(None) };
        let journal = JournalThread::start(context, &waiting, &inbox)?;
        let again = ReadingThread::start(context, &waiting, &inbox)?;
        let calls = Calls::new(waiting.lane, waiting.gates.clone(), waiting.caller.clone(), inbox.clone());
        Ok(Some(Tender {
            owner: Owner::new(context.identity.clone(), LEASE_MS, waiting.memory_bytes),
            calls,
            journal,
            again,
            topic: None,
            inbox,
            clock: waiting.clock,
            held: BTreeMap::new(),
            parked_ms: BTreeMap::new(),
            pace: Pace::new(Instant::now()),
            has_joined: false,
            stops: 0,
            waiting,
        }))
    }

    /// Whether a partition is one of the journal.
    pub(super) fn owns(&self, partition: &SourcePartition) -> bool {
        partition.topic.name == self.waiting.topic
    }

    pub(super) fn assigned(&mut self, partition: &SourcePartition, assignment: AssignmentId, from: &Position) {
        self.owner.handle_assigned(partition.clone(), assignment, from, self.clock.now_ms());
        self.held.insert(partition.partition, assignment);
        self.topic = Some(partition.topic.clone());
        self.journal.add(partition.topic.clone(), partition.partition, assignment, from.next_offset);
    }

    /// Partitions are about to be let go: their calls are broken off. Returns what is to be committed last for them.
    pub(super) fn release(&mut self, partitions: &[SourcePartition]) -> Vec<(SourcePartition, AssignmentId, Position)> {
        let topic = self.waiting.topic.clone();
        let ours = partitions.iter().filter(|partition| partition.topic.name == topic);
        let mut last = Vec::new();
        for partition in ours {
            let (calls, position) = self.owner.release(partition.partition, self.clock.now_ms());
            calls.into_iter().for_each(|call| self.calls.abort(call));
            last.extend(position);
        }
        last
    }

    /// The group has said what the lane holds.
    pub(super) fn joined(&mut self) {
        self.has_joined = true;
    }

    pub(super) fn revoked(&mut self, partition: &SourcePartition) {
        self.held.remove(&partition.partition);
        self.journal.remove(partition.partition);
        for call in self.owner.handle_revoked(partition.partition) {
            self.calls.abort(call);
        }
    }

    /// Whether the lane is under load by what waits: much of it goes on, many calls are under way, and more wait for one of them to end. None
    /// of these is done sooner because something is committed at once.
    pub(super) fn is_under_load(&self) -> bool {
        let is_full = || self.parked_ms.values().any(|until_ms| *until_ms == i64::MAX);
        self.pace.is_fast(Instant::now()) && self.calls.under_way() >= CALLS_UNDER_LOAD && is_full()
    }

    /// How long nothing becomes due.
    pub(super) fn patience(&self) -> Duration {
        if self.owner.has_work() {
            return Duration::ZERO;
        }
        let left_ms = self.owner.wake_ms().map_or(i64::MAX, |due_ms| due_ms.saturating_sub(clock::now_ms()));
        // Nobody wakes the lane because a rate, or what a target asked for, lets another call through.
        let may_ask_ms = self.parked_ms.values().filter(|until_ms| **until_ms != i64::MAX).min();
        let parked_ms = may_ask_ms.map_or(i64::MAX, |until_ms| until_ms.saturating_sub(self.clock.now_ms()));
        Duration::from_millis(u64::try_from(left_ms.min(parked_ms)).unwrap_or(0))
    }

    /// Whether a thread that reads the journal has given up.
    pub(super) fn has_failed(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Takes what other threads have left. Returns the records of the journal that cannot be understood.
    pub(super) fn take_events(&mut self) -> Vec<Damaged> {
        let mut damaged = Vec::new();
        let now_ms = clock::now_ms();
        for event in self.inbox.take() {
            match event {
                Event::Journal(assignment, record) if self.holds(record.execution.journal_partition, assignment) => {
                    self.owner.handle_record(*record, now_ms);
                }
                Event::Restored(assignment, number) if self.held.get(&number) == Some(&assignment) => {
                    self.owner.handle_restored(number, now_ms);
                }
                Event::Fetched(assignment, record) if self.holds(record.execution.journal_partition, assignment) => {
                    self.owner.handle_fetched(*record);
                }
                Event::Unreadable(assignment, number, why) if self.held.get(&number) == Some(&assignment) => {
                    tracing::warn!(partition = number, cause = %why, "what waits cannot be read again; the lane starts again");
                    self.inbox.close();
                }
                Event::Damaged(assignment, record, why)
                    if self.held.get(&record.origin.partition) == Some(&assignment) =>
                {
                    let (number, offset) = (record.origin.partition, record.origin.offset);
                    let bytes = size_bytes_of(&record) as u64;
                    self.owner.handle_damaged(number, (offset, bytes), stands_of(&record));
                    damaged.push(Damaged { assignment, record: *record, why });
                }
                // Of a partition that has gone meanwhile.
                Event::Journal(..)
                | Event::Fetched(..)
                | Event::Unreadable(..)
                | Event::Restored(..)
                | Event::Damaged(..) => {}
                Event::Answer(call, answer) => self.answered(call, *answer),
                Event::Wake => self.parked_ms.values_mut().for_each(|until_ms| *until_ms = i64::MIN),
                Event::Committed(Certain { sequence, sent_ms, named, replaced }) => {
                    named.iter().for_each(|(it, offset)| (self.waiting.done_before)(it.partition.partition, *offset));
                    let named: Vec<Dependency> = named.into_iter().map(|(it, _)| it).collect();
                    self.owner.handle_committed(Commit { sequence, sent_ms, named: &named, replaced: &replaced });
                }
            }
        }
        damaged
    }

    fn holds(&self, number: u16, assignment: AssignmentId) -> bool {
        self.held.get(&i32::from(number)) == Some(&assignment)
    }

    fn answered(&mut self, call: CallId, answer: Answer) {
        let ended = Ended::of(&answer);
        let tried = Tried { is_probe: self.calls.is_probe(call), chance: chance() };
        let consequence = self.owner.handle_answer(call, answer, tried, clock::now_ms());
        self.calls.finish(call, ended, consequence);
    }

    /// The parts of executions that go on now, for the next batch.
    pub(super) fn parts(&mut self, context: &LaneContext, mut take: impl FnMut(Emitted)) -> usize {
        if let Some(stopped) = context.stopped_since(&mut self.stops) {
            stopped.iter().for_each(|workflow| self.owner.handle_stopped(workflow));
        }
        let Tender { waiting, owner, clock, .. } = self;
        let around = around(waiting, context, clock.now_ms());
        let mut count = 0;
        with(&around, |around| {
            while count < PARTS_AT_ONCE
                && let Some(emitted) = owner.poll(around)
            {
                take(emitted);
                count += 1;
            }
        });
        self.pace.count(count, Instant::now());
        for call in self.owner.take_aborted() {
            self.calls.abort(call);
        }
        let is_reading = !self.has_joined || !self.owner.is_restored();
        self.waiting.live.store(self.owner.live() + usize::from(is_reading), Ordering::Relaxed);
        count
    }

    /// How many executions wait for what.
    pub(super) fn waiting(&self) -> WaitCounts {
        self.owner.waiting()
    }

    /// Asks for what is to be read again.
    pub(super) fn read_again(&mut self) {
        let Some(topic) = &self.topic else { return };
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for (number, offset) in self.owner.wanted() {
            offsets.entry(number).or_default().push(offset);
        }
        for (number, offsets) in offsets {
            if let Some(&assignment) = self.held.get(&number) {
                self.again.ask(Wanted { topic: topic.clone(), number, assignment, offsets });
            }
        }
    }

    /// A position that can be committed for a partition of the journal that is held, whether it was read to its end or not.
    pub(super) fn position(&self, number: i32) -> Option<Position> {
        self.owner.position(number)
    }

    /// Positions that are to be committed by themselves.
    pub(super) fn renewals(&mut self) -> Vec<(SourcePartition, AssignmentId, Position)> {
        self.owner.renewals(self.clock.now_ms())
    }

    /// Starts the calls that may start.
    pub(super) fn start_calls(&mut self, context: &LaneContext) {
        let now_ms = self.clock.now_ms();
        let lane = self.calls.lane();
        let wanted = self.owner.connectors(now_ms);
        // A gate keeps a slot for a lane that was parked: one that has nothing to call any more, or may not, gives it up.
        let gone: Vec<_> = self.parked_ms.keys().filter(|connector| !wanted.contains(*connector)).cloned().collect();
        for connector in gone {
            self.parked_ms.remove(&connector);
            self.calls.gates().pass(&connector, lane);
        }
        for connector in wanted {
            if self.parked_ms.get(&connector).is_some_and(|until_ms| now_ms < *until_ms) {
                continue;
            }
            loop {
                let permit = match self.calls.gates().ask(&connector, lane) {
                    Ok(permit) => permit,
                    Err(parked) => {
                        let until_ms =
                            parked.until_ms.map_or(i64::MAX, |until| i64::try_from(until).unwrap_or(i64::MAX));
                        self.parked_ms.insert(connector.clone(), until_ms);
                        break;
                    }
                };
                let Tender { waiting, owner, .. } = self;
                // A lease is not longer because much is to be started.
                let around = around(waiting, context, self.clock.now_ms());
                match with(&around, |around| owner.start_call(&connector, around)) {
                    Some(call) => self.calls.start(call, permit),
                    None => {
                        self.calls.gates().finish(&connector, permit, CallOutcome::Ignored, None);
                        self.calls.gates().pass(&connector, lane);
                        break;
                    }
                }
            }
        }
    }

    /// Whether anything of these partitions is under way: calls, or what they led to.
    pub(super) fn is_busy_with(&self, partitions: &[SourcePartition]) -> bool {
        let mut ours = partitions.iter().filter(|partition| self.owns(partition));
        ours.any(|partition| self.owner.is_busy_with(partition.partition))
    }
}

/// What an owner asks, as closures that live as long as they are needed.
struct Asked<'a> {
    waiting: &'a Waiting,
    context: &'a LaneContext,
    steady_ms: i64,
}

fn around<'a>(waiting: &'a Waiting, context: &'a LaneContext, steady_ms: i64) -> Asked<'a> {
    Asked { waiting, context, steady_ms }
}

fn with<T>(asked: &Asked<'_>, act: impl FnOnce(&Around<'_>) -> T) -> T {
    act(&Around {
        definition: &|id, version| match version {
            "" => asked.context.in_use(id),
            _ => (asked.waiting.definition)(id, version),
        },
        is_on_its_way: &|id, version| (asked.waiting.is_on_its_way)(id, version),
        decode: &|record| asked.context.decode(record),
        is_ready: &|record, was_understood| asked.context.is_ready(record, was_understood),
        is_stopped: &|id| asked.context.is_stopped(id),
        next_match: &|event, after, now_ms| {
            let LaneContext { identity, compile, .. } = asked.context;
            fan_out::next_match(identity, &asked.context.registry(), &**compile, (event, after), now_ms)
        },
        fits: &|record| (asked.waiting.fits)(record),
        now_ms: clock::now_ms(),
        steady_ms: asked.steady_ms,
    })
}

/// A number from 0 to 1 that spreads retries.
fn chance() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(bits) / f64::from(u32::MAX)
}
