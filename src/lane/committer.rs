//! A lane's committer: writes what the reader hands over, and commits it.
//!
//! ```text
//!  next ─ chunk ─▶ into the open transaction, behind what is there
//!       └ idle, full, or old enough ─▶ wait for deliveries ─▶ add offsets ─▶ commit
//!                                        └──────── failed ───────┴────────────┘
//!                                                    ▼ engine::commit::react
//!                              again · failed executions instead · half of it · the lane from nothing
//! ```
//!
//! **Group commit.** When the source is idle, what was written is committed at once; under load, which may also come from executions that
//! waited, a batch grows to [`BATCH_AGE`], because a transaction costs the broker per partition it touches, not per record.

use std::time::{Duration, Instant};

use super::inbox::{Certain, Event, Inbox};
use super::pipeline::{Next, Pipeline};
use super::reader::Chunk;
use super::tally::Tally;
use super::tenure::Tenure;
use super::{LaneContext, clock};
use crate::engine::batch::{Batch, Dependency, Group, Mark};
use crate::engine::commit::{self, Attempt, Failure, Reaction, RestartReason};
use crate::engine::execution::{Kept, Subject};
use crate::engine::owner::Replaced;
use crate::engine::run::Refusal;
use crate::engine::wire::WireRecord;
use crate::kafka::native::GroupMetadata;
use crate::kafka::producer::{ProducerFailure, RefusedRecord, TransactionalProducer};

/// How old a batch may become under load: long enough that the cost of a transaction is spread over many events, short enough
/// that nobody waits for long.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// How large a batch may become; beyond, a transaction takes too long to write again after an abort.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How long the committer waits for work before it serves the client library again, while a transaction is open.
const SERVE_EVERY: Duration = Duration::from_millis(10);
/// The same while none is open: the library then has nothing to say but trouble, and an idle instance sleeps. Work wakes it at once.
const SERVE_IDLE_EVERY: Duration = Duration::from_millis(250);
/// How long one attempt at a batch may take as a whole, as a part of the transaction time-out; the broker aborts at 100 %.
const ATTEMPT_SHARE: f64 = 0.8;
/// How long to wait for the group's new generation before the lane gives up its own.
const RENEWAL_WAIT: Duration = Duration::from_secs(5);
/// Bits of a token that number the record inside its group.
const TOKEN_RECORD_BITS: u32 = 24;

/// What a lane's batch holds of what wrote a group.
#[derive(Debug, Default)]
pub struct LaneSubject {
    /// The execution, as it can be run again; none of a record that could not be understood.
    pub kept: Option<Box<Kept>>,
    /// Which part of an execution that waits it is, as its owner counts them; 0 for any other.
    pub sequence: u64,
}

/// The batch of a lane.
pub type LaneBatch = Batch<LaneSubject, WireRecord>;

/// What was committed, for whoever counts.
#[derive(Debug)]
pub struct Committed {
    /// What the batch did.
    pub tally: Tally,
    /// Records written.
    pub records: usize,
    /// From the first call of the commit to its end.
    pub duration: Duration,
}

/// The committer of one lane.
pub struct Committer<'a> {
    context: &'a LaneContext,
    pipeline: &'a Pipeline<Chunk>,
    tenure: &'a Tenure<GroupMetadata>,
    inbox: &'a Inbox,
    producer: TransactionalProducer,
    batch: LaneBatch,
    /// Executions of the batch that are written otherwise than their owner handed them over.
    replaced: Vec<(u64, Replaced)>,
    /// The moment before the offsets of the batch were sent, milliseconds since the Unix epoch.
    sent_ms: i64,
    tally: Tally,
    taken_bytes: usize,
    opened: Option<Instant>,
    /// A call of the commit protocol was repeated or given up, so a request of it may still be on its way: the broker would take it
    /// for one of the next transaction.
    in_doubt: bool,
    epoch_used: u64,
    /// Whether the open transaction was told to commit: from then on only a new start says what became of it if it cannot be aborted.
    commit_called: bool,
}

impl<'a> Committer<'a> {
    /// A committer over a producer that is initialised.
    pub fn new(
        context: &'a LaneContext,
        pipeline: &'a Pipeline<Chunk>,
        tenure: &'a Tenure<GroupMetadata>,
        inbox: &'a Inbox,
        producer: TransactionalProducer,
    ) -> Self {
        Committer {
            context,
            pipeline,
            tenure,
            inbox,
            producer,
            batch: Batch::default(),
            replaced: Vec::new(),
            sent_ms: 0,
            tally: Tally::default(),
            taken_bytes: 0,
            opened: None,
            in_doubt: false,
            epoch_used: 0,
            commit_called: false,
        }
    }

    /// Writes and commits until the pipeline stops or the lane has to start again.
    pub fn run(mut self) -> Result<(), RestartReason> {
        loop {
            let open = self.opened.is_some();
            match self.pipeline.next(open, if open { SERVE_EVERY } else { SERVE_IDLE_EVERY }) {
                Next::Write(chunk) => self.write(chunk)?,
                Next::Commit => self.commit()?,
                Next::Nothing => self.producer.serve(),
                Next::Stop if self.opened.is_some() => self.commit()?,
                Next::Stop => return Ok(()),
            }
            let old = self.opened.is_some_and(|opened| opened.elapsed() >= BATCH_AGE);
            if old || self.batch.bytes() >= BATCH_BYTES {
                self.commit()?;
            }
        }
    }

    fn write(&mut self, chunk: Chunk) -> Result<(), RestartReason> {
        let Chunk { batch, tally, bytes, oldest_ms: _ } = chunk;
        let first = self.batch.mark();
        self.batch.append(batch);
        self.tally.merge(tally);
        self.taken_bytes += bytes;
        let started = Instant::now();
        let written = self.open().and_then(|deadline| self.send(first, deadline));
        match written {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.recover(failure)?;
                self.finish(started)
            }
        }
    }

    /// The deadline of the open transaction; opens one if there is none.
    fn open(&mut self) -> Result<Instant, ProducerFailure> {
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
            self.commit_called = false;
            self.producer.begin()?;
        }
        Ok(self.deadline())
    }

    fn deadline(&self) -> Instant {
        self.opened.unwrap_or_else(Instant::now) + self.context.transaction_timeout.mul_f64(ATTEMPT_SHARE)
    }

    /// Sends the records of the groups that came after a mark.
    fn send(&mut self, from: Mark, deadline: Instant) -> Result<(), ProducerFailure> {
        for (place, group) in self.batch.groups_since(from) {
            for (number, record) in group.records.iter().enumerate() {
                let token = (place << TOKEN_RECORD_BITS) | number;
                self.producer.send(record, token, deadline)?;
            }
        }
        self.producer.serve();
        Ok(())
    }

    /// Commits the open batch, whatever it takes, or says why the lane must start again.
    fn commit(&mut self) -> Result<(), RestartReason> {
        let started = Instant::now();
        if let Err(failure) = self.try_commit() {
            self.recover(failure)?;
        }
        self.finish(started)
    }

    /// The batch is committed: says so to whoever waits for it or counts it.
    fn finish(&mut self, started: Instant) -> Result<(), RestartReason> {
        let records = self.batch.record_count();
        self.tell_owner();
        let spent = Chunk { batch: std::mem::take(&mut self.batch), ..Chunk::empty() };
        self.opened = None;
        let tally = std::mem::take(&mut self.tally);
        self.pipeline.committed(std::mem::take(&mut self.taken_bytes), spent);
        self.context.observer.committed(Committed { tally, records, duration: started.elapsed() });
        // What is committed is committed; but this producer may still have a request on its way.
        if self.in_doubt { Err(RestartReason::Uncertain) } else { Ok(()) }
    }

    /// Says to the lane's owner of the journal what is certain now, if the batch is any of its business.
    fn tell_owner(&mut self) {
        if self.context.waiting.is_none() {
            return;
        }
        let sequence = self.batch.groups().map(|group| group.subject.sequence).max().unwrap_or(0);
        let ours = self.batch.moves().filter(|(it, _)| self.context.is_journal(&it.partition));
        let named: Vec<(Dependency, i64)> = ours.map(|(it, position)| (it.clone(), position.next_offset)).collect();
        // Half of a batch is certain by itself: what of the other half was replaced is told with that.
        let (told, later) = std::mem::take(&mut self.replaced).into_iter().partition(|(number, _)| *number <= sequence);
        self.replaced = later;
        let replaced = Vec::from_iter(<Vec<(u64, Replaced)>>::into_iter(told).map(|(_, replaced)| replaced));
        if sequence > 0 || !named.is_empty() {
            self.inbox.push(Event::Committed(Certain { sequence, sent_ms: self.sent_ms, named, replaced }));
        }
    }

    fn try_commit(&mut self) -> Result<(), ProducerFailure> {
        self.producer.wait_for_deliveries(self.deadline())?;
        let Some(membership) = self.tenure.membership_for(self.batch.dependencies()) else {
            let message = "partitions of the batch are not held any more".to_owned();
            return Err(ProducerFailure::new(Failure::StaleGeneration, message));
        };
        self.epoch_used = membership.epoch;
        let positions = self.batch.positions();
        self.sent_ms = self.context.waiting.as_ref().map_or(0, |waiting| waiting.clock.now_ms());
        repeat(&mut self.in_doubt, || self.producer.send_offsets(&positions, &membership.metadata))?;
        self.commit_called = true;
        repeat(&mut self.in_doubt, || self.producer.commit())
    }

    /// Acts on a failure until the batch is committed.
    fn recover(&mut self, mut failure: ProducerFailure) -> Result<(), RestartReason> {
        let mut rewrites = 0;
        loop {
            let kind = if self.blames_us(&failure) { Failure::SystemTopicRefused } else { failure.failure };
            let attempt = Attempt {
                rewrites,
                retries: commit::RETRIES_PER_CALL,
                groups: self.batch.group_count(),
                still_held: self.tenure.still_holds(self.batch.dependencies()),
            };
            let reaction = commit::react(kind, attempt);
            self.context.observer.batch_failed(kind, &failure.message);
            tracing::warn!(lane = %self.context.name, failure = ?kind, reaction = ?reaction, cause = %failure.message,
                "a batch did not go through");
            match reaction {
                Reaction::Restart(reason) => return Err(reason),
                Reaction::Retry => {}
                Reaction::Rewrite { backoff_ms } => {
                    // An answer that says why leaves nothing on its way; a rebalance need not cost a new producer.
                    self.in_doubt |= kind != Failure::StaleGeneration;
                    self.abort()?;
                    if kind == Failure::StaleGeneration && !self.tenure.wait_for_renewal(self.epoch_used, RENEWAL_WAIT)
                    {
                        return Err(RestartReason::AssignmentLost);
                    }
                    clock::pause(Duration::from_millis(backoff_ms));
                }
                Reaction::FailRefused => {
                    self.abort_and_renew()?;
                    self.fail_refused(&failure);
                }
                Reaction::FailOnly => {
                    self.abort_and_renew()?;
                    if !self.fail_only(&failure.message) {
                        return Err(RestartReason::SystemTopicRefused);
                    }
                }
                Reaction::Halve => {
                    self.abort_and_renew()?;
                    self.commit_first_half()?;
                }
            }
            rewrites += 1;
            match self.write_again() {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
    }

    /// Writes the whole batch and commits it.
    fn write_again(&mut self) -> Result<(), ProducerFailure> {
        let deadline = self.open()?;
        self.send(Mark::default(), deadline)?;
        self.try_commit()
    }

    /// Commits the first half by itself and leaves the second as the batch.
    fn commit_first_half(&mut self) -> Result<(), RestartReason> {
        let Some(second) = self.batch.split_half() else { return Ok(()) };
        if let Err(failure) = self.write_again() {
            self.recover(failure)?;
        }
        self.tell_owner();
        self.opened = None;
        self.batch = second;
        if self.in_doubt { self.renew() } else { Ok(()) }
    }

    /// Aborts. Of a producer in doubt a request may still be on its way, and would be taken for one of the next transaction: a
    /// new one follows, whose epoch makes the broker refuse it.
    fn abort(&mut self) -> Result<(), RestartReason> {
        let aborted = self.producer.abort(self.deadline());
        self.opened = None;
        match aborted {
            Ok(repeated) => self.in_doubt |= repeated,
            Err(failure) if failure.failure == Failure::Fenced => return Err(RestartReason::Fenced),
            Err(_) if self.commit_called => return Err(RestartReason::Uncertain),
            // A transaction that was refused before it was to be committed may be none at all for the broker, which then refuses its
            // abort. The new producer ends whatever is there.
            Err(_) => self.in_doubt = true,
        }
        if self.in_doubt { self.renew() } else { Ok(()) }
    }

    /// Aborts, and goes on with a new producer: one whose record was refused has skipped a sequence number, and the broker would
    /// refuse what it writes to that partition next.
    fn abort_and_renew(&mut self) -> Result<(), RestartReason> {
        self.in_doubt = true;
        self.abort()
    }

    fn renew(&mut self) -> Result<(), RestartReason> {
        self.producer = super::start_producer(self.context)?;
        self.in_doubt = false;
        Ok(())
    }

    /// Whether a record was refused that no execution can answer for: one of ours, to a system topic.
    fn blames_us(&self, failure: &ProducerFailure) -> bool {
        if failure.failure != Failure::RefusedRecords {
            return false;
        }
        let is_refused = |record: &WireRecord| refused_topic(failure, record).is_some();
        let ours = |group: &Group<LaneSubject, WireRecord>| {
            group.records.iter().any(|record| record.step.is_none() && is_refused(record))
        };
        failure.refused.iter().any(|it| self.step_of(it.token).is_none())
            || (!failure.refused_topics.is_empty() && self.batch.groups().any(ours))
    }

    fn step_of(&self, token: usize) -> Option<usize> {
        let group = self.batch.groups().nth(token >> TOKEN_RECORD_BITS)?;
        group.records.get(token & ((1 << TOKEN_RECORD_BITS) - 1))?.step
    }

    /// Turns the executions whose records were refused into failures, at the steps that wrote the records.
    fn fail_refused(&mut self, failure: &ProducerFailure) {
        let mut steps: Vec<(usize, Refusal)> = Vec::with_capacity(failure.refused.len());
        for RefusedRecord { token, message } in &failure.refused {
            if let Some(step) = self.step_of(*token) {
                steps.push((token >> TOKEN_RECORD_BITS, Refusal { step, message: refusal_message(message) }));
            }
        }
        self.fail(|place, group| {
            let by_record = steps.iter().filter(|(group, _)| *group == place).map(|(_, refusal)| refusal.clone());
            let by_topic = group.records.iter().filter_map(|record| {
                let message = refusal_message(refused_topic(failure, record)?);
                Some(Refusal { step: record.step?, message })
            });
            by_record.chain(by_topic).collect()
        });
    }

    /// Turns the only execution of the batch into a failure. False if it wrote nothing that could be to blame.
    fn fail_only(&mut self, message: &str) -> bool {
        self.fail(|_, group| {
            let steps = group.records.iter().filter_map(|record| record.step);
            steps.map(|step| Refusal { step, message: refusal_message(message) }).collect()
        })
    }

    fn fail(&mut self, refusals_of: impl Fn(usize, &Group<LaneSubject, WireRecord>) -> Vec<Refusal>) -> bool {
        let (context, tally, now_ms) = (self.context, &mut self.tally, clock::now_ms());
        let replaced = &mut self.replaced;
        let mut failed = false;
        self.batch.replace_groups(|place, group| {
            let refusals = refusals_of(place, group);
            if refusals.is_empty() {
                return None;
            }
            let LaneSubject { kept, sequence } = &group.subject;
            let before = kept.as_ref()?.execution(|record| context.decode(record))?;
            let subject = before.refused(&refusals)?;
            failed = true;
            tally.uncount(&before, &before.leave(now_ms), now_ms);
            let (subject, left) = context.leave(subject, now_ms);
            tally.count(&subject, &left, now_ms);
            if let Subject::Execution(execution) = &subject
                && *sequence > 0
            {
                replaced.retain(|(number, _)| number != sequence);
                let other = Replaced { execution: execution.id, checkpoint: left.checkpoint.clone() };
                replaced.push((*sequence, other));
            }
            Some(context.group(&subject, left, *sequence))
        });
        failed
    }
}

/// Why the topic of a record was refused as a whole, if it was.
fn refused_topic<'a>(failure: &'a ProducerFailure, record: &WireRecord) -> Option<&'a str> {
    failure.refused_topics.iter().find(|it| it.name == *record.topic).map(|it| it.message.as_str())
}

fn refusal_message(cause: &str) -> String {
    format!("the broker refused the record: {cause}")
}

/// Repeats a call that may be repeated, a bounded number of times. A call that had to be is remembered as doubtful.
fn repeat(in_doubt: &mut bool, mut call: impl FnMut() -> Result<(), ProducerFailure>) -> Result<(), ProducerFailure> {
    let mut retries = 0;
    loop {
        match call() {
            Err(failure) if failure.failure == Failure::Retriable && retries < commit::RETRIES_PER_CALL => {
                retries += 1;
                *in_doubt = true;
            }
            Err(failure) if failure.failure == Failure::Retriable => {
                return Err(ProducerFailure { failure: Failure::Uncertain, ..failure });
            }
            done => return done,
        }
    }
}
