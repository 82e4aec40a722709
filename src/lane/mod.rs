//! A lane: the thin loop around the engine. One member of the group, one transactional id, two threads.
//!
//! ```text
//!   reader thread                        committer thread
//!   poll ─ decode ─ machine ─ encode ──▶ pipeline ──▶ transaction ──▶ commit
//!     └───────── tenure: what is held, and as whom ────────┘
//! ```
//!
//! A lane that cannot go on starts again from nothing: new producer, `init_transactions`, rejoin, positions as committed. That
//! is also how it starts the first time; there is no other recovery.

mod backoff;
mod calls;
pub(crate) mod clock;
mod committer;
mod gates;
mod held_back;
mod inbox;
mod journal;
mod pace;
mod pipeline;
mod reader;
mod reading_back;
mod stop;
mod tally;
mod tending;
mod tenure;
mod topic_ids;
mod waiting;
mod weight;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::batch::{Group, SourcePartition};
use crate::engine::commit::{Failure, RestartReason};
use crate::engine::event::{Event, SourceRecord, Undecodable};
use crate::engine::execution::{Identity, Left, Subject};
use crate::engine::owner::{Definition, WaitCounts};
use crate::engine::plan::{LogLevel, Plan};
use crate::engine::registry::Registry;
use crate::engine::wire::WireRecord;
use crate::engine::workflow::Workflow;
use crate::engine::workflow::{Status, WorkflowId};
use crate::kafka::client::ClientSettings;
use crate::kafka::consumer::Consumer;
use crate::kafka::producer::{ProducerFailure, TransactionalProducer};
use crate::kafka::start::{Refusal, Sources};

use backoff::Backoff;
use committer::{Committer, LaneSubject};
use inbox::Inbox;
use pipeline::Pipeline;
use reader::Reader;
use tenure::Tenure;
use waiting::Tender;

pub use calls::{Caller, OnAnswer, Running};
pub use clock::{Steady, now_ms};
pub use committer::Committed;
pub use gates::{Gates, OnTransition, OnWait, Turned};
pub use stop::StopSignal;
pub use tally::{SourceTally, Tally, WorkflowTally};
pub use topic_ids::TopicIds;
pub use waiting::{DoneBefore, Find, Fits, ReadJournal, Waiting};

/// What a lane holds in flight at most, in bytes of memory: what was read and not committed, with the records to be written and the
/// client's copies of them. Room for two batches, one that fills while the other commits, of what a lane reads in their age.
pub const PIPELINE_BYTES: usize = 96 * 1024 * 1024;
/// A commit that has not come back by then will not; the broker has aborted it.
const INIT_TRIES: u32 = 12;

/// Compiles a definition to its plan.
pub type Compile = dyn Fn(&Workflow, &[u8]) -> Result<Arc<Plan>, String> + Send + Sync;
/// Understands a record, or says why not.
pub type Decode = dyn Fn(SourceRecord) -> Result<Event, (SourceRecord, Undecodable)> + Send + Sync;
/// Whether all is there that a record is understood with, or never will be. What is not is on its way, or its source is out of reach for a
/// while; asked again and again, it must not block. The second value says whether the record was understood before.
pub type IsReady = dyn Fn(&SourceRecord, bool) -> bool + Send + Sync;
/// Writes what a subject leaves as records.
pub type Encode = dyn Fn(&Subject, Left) -> Vec<WireRecord> + Send + Sync;

/// Everything a lane needs to know.
pub struct LaneContext {
    /// Names the lane in logs and metrics: `<instance>-<number>`. Also its static member id, and the stem of its
    /// transactional id.
    pub name: Arc<str>,
    /// The consumer group.
    pub group: String,
    /// Whether it leaves the group when it is stopped.
    pub leaves_group: bool,
    /// Source topics: names, and regular expressions that start with `^`.
    pub topics: Vec<String>,
    /// Where sources start.
    pub sources: Arc<dyn Sources + Send + Sync>,
    /// The Kafka clients' settings.
    pub clients: ClientSettings,
    /// How long a transaction may be open.
    pub transaction_timeout: Duration,
    /// What makes ids and records those of one environment.
    pub identity: Arc<Identity>,
    /// The installed workflows, shared by all lanes of an instance.
    pub registry: Arc<RwLock<Registry>>,
    /// See [`Compile`].
    pub compile: Box<Compile>,
    /// See [`Decode`].
    pub decode: Box<Decode>,
    /// See [`IsReady`].
    pub is_ready: Box<IsReady>,
    /// See [`Encode`].
    pub encode: Box<Encode>,
    /// What it needs for executions that wait; None where none does.
    pub waiting: Option<Arc<Waiting>>,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// What the lanes of the instance hold, against what is there.
    pub topic_ids: Arc<TopicIds>,
    /// Set when the instance stops.
    pub stop: Arc<StopSignal>,
    /// When the lane last went through its loop, milliseconds since the Unix epoch; for a watchdog.
    pub last_beat_ms: AtomicI64,
}

/// Who is told what a lane does. Called from its threads; must not block.
pub trait Observer: Send + Sync {
    /// A batch was committed.
    fn committed(&self, batch: Committed);
    /// A batch did not go through (yet).
    fn batch_failed(&self, failure: Failure, cause: &str);
    /// The lane holds these partitions from now on, as a member of the group.
    fn joined(&self, held: &[SourcePartition]);
    /// Records came: the consumer has no trouble.
    fn polled(&self);
    /// Where the partitions stand: next offset to run and, if known, the end. And what is in flight.
    fn positions(&self, positions: &[(SourcePartition, i64, Option<i64>)], in_flight: InFlight);
    /// How many executions wait for what.
    fn waiting(&self, counts: &WaitCounts);
    /// The client has trouble; it goes on trying, or the lane starts again. It is said again while it lasts.
    fn trouble(&self, message: &str);
    /// The consumer has trouble that is said once, and lasts until records come: a topic that is not there, a right that is missing.
    fn hindered(&self, message: &str);
    /// The record at that offset of a partition of the journal cannot be understood, and is put aside.
    fn damaged(&self, partition: i32, offset: i64, why: &str);
    /// Records were deleted before they were read: offsets from the first up to, not including, the second.
    fn lost(&self, partition: &SourcePartition, from: i64, to: i64);
    /// Of what the lane holds it does not read these partitions, for these reasons; it reads all others.
    fn refused(&self, refused: &[(SourcePartition, Refusal)]);
    /// An operator has confirmed the start on this partition; what was refused before is settled.
    fn confirmed(&self, partition: &SourcePartition, refusal: &Refusal);
    /// A `log` step ran.
    fn step_log(&self, level: LogLevel, subject: &Subject, line: &str);
    /// The lane starts again from nothing.
    fn restarting(&self, reason: RestartReason);
}

/// What was read and is not yet committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// What it weighs, what it led to included.
    pub bytes: usize,
    /// The timestamp of its oldest record, milliseconds since the Unix epoch; None if there is no record, or none with a timestamp.
    pub oldest_timestamp_ms: Option<i64>,
}

impl LaneContext {
    fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of a workflow that is in use, ready to run.
    fn in_use(&self, id: &WorkflowId) -> Option<Result<Definition, String>> {
        let entry = self.registry().get(id)?.clone();
        if entry.status() != Status::Active {
            return Some(Err(format!("it is {}, not active", entry.status().name())));
        }
        let workflow = entry.workflow().clone();
        Some(
            entry.plan(&*self.compile).map(|plan| Definition { workflow, plan }).map_err(|message| message.to_string()),
        )
    }

    fn is_stopped(&self, id: &WorkflowId) -> bool {
        self.registry().get(id).is_some_and(|entry| entry.status() == Status::Stopped)
    }

    /// The workflows that are stopped, if there are others than when they had been stopped so often.
    fn stopped_since(&self, stops: &mut u64) -> Option<Vec<WorkflowId>> {
        let registry = self.registry();
        if std::mem::replace(stops, registry.stops()) == *stops {
            return None;
        }
        let stopped = registry.entries().filter(|entry| entry.status() == Status::Stopped);
        Some(stopped.map(|entry| entry.workflow().id.clone()).collect())
    }

    fn decode(&self, record: SourceRecord) -> Result<Event, (SourceRecord, Undecodable)> {
        (self.decode)(record)
    }

    fn is_ready(&self, record: &SourceRecord, was_understood: bool) -> bool {
        (self.is_ready)(record, was_understood)
    }

    /// Runs a subject, and says what it leaves where it must fit into the journal if it waits.
    fn leave(&self, subject: Subject, now_ms: i64) -> (Subject, Left) {
        match &self.waiting {
            Some(waiting) => subject.leave_within(now_ms, &*waiting.fits),
            // Without a journal nothing can wait.
            None => subject.leave_within(now_ms, &|_| Err("executions that wait need the journal".to_owned())),
        }
    }

    /// What a subject leaves, as the batch holds it. `sequence` is 0 for what no owner of the journal has handed over.
    fn group(&self, subject: &Subject, left: Left, sequence: u64) -> Group<LaneSubject, WireRecord> {
        let records = (self.encode)(subject, left);
        let bytes = records.iter().map(WireRecord::size_bytes).sum();
        Group { subject: LaneSubject { kept: subject.keep(), sequence }, records, bytes }
    }

    /// Whether a partition is one of the journal.
    fn is_journal(&self, partition: &SourcePartition) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.topic == partition.topic.name)
    }

    fn beat(&self) {
        self.last_beat_ms.store(clock::now_ms(), Ordering::Relaxed);
    }
}

/// A lane that runs.
pub struct Lane {
    /// What it runs with.
    pub context: Arc<LaneContext>,
    thread: JoinHandle<()>,
}

impl Lane {
    /// Starts the lane's thread.
    pub fn start(context: LaneContext) -> std::io::Result<Lane> {
        let context = Arc::new(context);
        let running = context.clone();
        let thread =
            std::thread::Builder::new().name(format!("lane-{}", context.name)).spawn(move || live(&running))?;
        Ok(Lane { context, thread })
    }

    /// Whether its thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its thread; false if that panicked.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Starts the lane again and again, until it is to stop.
fn live(context: &Arc<LaneContext>) {
    let mut backoff = Backoff::new(&context.name);
    while !context.stop.is_set() {
        let started = clock::now_ms();
        let Err(reason) = once(context) else { return };
        if context.stop.is_set() {
            return;
        }
        let pause = backoff.next(clock::now_ms() - started);
        context.observer.restarting(reason);
        tracing::warn!(lane = %context.name, reason = reason.name(), pause_ms = pause.as_millis() as u64,
            "the lane starts again from its committed offsets");
        context.stop.wait(pause);
    }
}

/// One life of a lane.
fn once(context: &Arc<LaneContext>) -> Result<(), RestartReason> {
    context.beat();
    let producer = start_producer(context)?;
    let pipeline = Arc::new(Pipeline::new(PIPELINE_BYTES));
    let tenure = Arc::new(Tenure::default());
    let inbox = Arc::new(Inbox::default());
    let tender = Tender::start(context, inbox.clone()).map_err(|error| failed_to_start(context, &error.to_string()))?;
    let reader = Reader::new(context.clone(), (pipeline.clone(), tenure.clone(), inbox.clone()), tender);
    let topics: Vec<String> =
        context.topics.iter().cloned().chain(context.waiting.iter().map(|waiting| waiting.topic.to_string())).collect();
    let nudged = inbox.clone();
    let joined =
        Consumer::join(&context.clients, &context.group, Some(&context.name), &topics, reader.clone(), move || {
            nudged.nudge();
        });
    let consumer = joined.map_err(|error| failed_to_start(context, &error.to_string()))?;
    let ended = std::thread::scope(|threads| {
        let committing = std::thread::Builder::new().name(format!("commit-{}", context.name));
        let committer = Committer::new(context, &pipeline, &tenure, &inbox, producer);
        let (watched, told) = (pipeline.clone(), inbox.clone());
        let thread = committing.spawn_scoped(threads, move || {
            let ended = committer.run();
            if let Err(reason) = ended {
                watched.fail(reason);
                told.nudge();
            }
        });
        if let Err(error) = thread {
            return Err(failed_to_start(context, &error.to_string()));
        }
        let ended = reader.run(&consumer);
        if ended.is_err() {
            // Whatever is still in flight must not be committed by this life.
            tenure.let_all_go();
        }
        pipeline.stop();
        ended
    });
    inbox.close();
    // A client that does not close is left behind with its handler, and must not take calls and their permits with it.
    reader.end_waiting();
    consumer.close();
    ended.and_then(|()| pipeline.failure().map_or(Ok(()), Err))
}

/// A producer that has taken over the lane's transactional id: whoever had it is fenced, what it left open is aborted.
fn start_producer(context: &LaneContext) -> Result<TransactionalProducer, RestartReason> {
    let id = format!("{}-{}", context.group, context.name);
    let producer = TransactionalProducer::new(&context.clients, &id)
        .map_err(|error| failed_to_start(context, &error.to_string()))?;
    for _ in 0..INIT_TRIES {
        match producer.init() {
            Ok(()) => return Ok(producer),
            Err(ProducerFailure { failure: Failure::Retriable, message, .. }) => context.observer.trouble(&message),
            Err(failure) => return Err(failed_to_start(context, &failure.message)),
        }
        if context.stop.is_set() {
            break;
        }
        context.beat();
    }
    Err(RestartReason::StartFailed)
}

fn failed_to_start(context: &LaneContext, message: &str) -> RestartReason {
    tracing::warn!(lane = %context.name, cause = message, "the lane could not start");
    context.observer.trouble(message);
    RestartReason::StartFailed
}
