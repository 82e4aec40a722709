//! A limit loop: consume, produce constant records, commit; nothing is parsed, matched or run.
//!
//! It uses the clients of the product with the settings of the product, and commits as a lane does: at once when nothing more
//! is there, and every [`BATCH_AGE`] under load. So what a lane takes longer is what a lane does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::BenchError;
use super::contract::{Contract, Template};
use super::progress::Progress;
use super::topics::Outputs;
use crate::engine::batch::SourcePartition;
use crate::engine::commit::{Failure, RETRIES_PER_CALL};
use crate::engine::position::Position;
use crate::kafka::client::ClientSettings;
use crate::kafka::consumer::{Consumer, Member, PollError, Rebalance};
use crate::kafka::native::GroupMetadata;
use crate::kafka::producer::{ProducerFailure, TransactionalProducer};
use crate::lane::StopSignal;

/// How old a batch becomes under load; as in a lane.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// How large a batch becomes, in events: bounds what waits for the broker.
const BATCH_EVENTS: u64 = 50_000;
/// Records taken in one go; as in a lane.
const POLL_RECORDS: usize = 500;
/// How long a poll waits when nothing is there; as in a lane.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How long one transaction may take as a whole.
const TRANSACTION: Duration = Duration::from_secs(8);

/// What a limit loop does.
#[derive(Clone, Debug)]
pub struct LimitLoop {
    /// What it reads.
    pub topic: Arc<str>,
    /// What it writes.
    pub contract: Contract,
    /// Where it writes.
    pub outputs: Outputs,
    /// The name of its group, of its member and of its transactions.
    pub name: String,
}

impl LimitLoop {
    /// Runs until told to stop. What goes wrong is told to `progress`.
    pub fn run(&self, clients: &ClientSettings, progress: &Arc<Progress>, stop: &StopSignal) {
        if let Err(error) = self.try_run(clients, progress, stop) {
            progress.fail(&error.to_string());
        }
    }

    fn try_run(&self, clients: &ClientSettings, progress: &Arc<Progress>, stop: &StopSignal) -> Result<(), BenchError> {
        let failed = |failure: ProducerFailure| BenchError::broker("in a transaction", failure);
        let producer = TransactionalProducer::new(clients, &self.name)?;
        repeat(|| producer.init()).map_err(failed)?;
        let held = Arc::new(Held { progress: progress.clone(), metadata: Mutex::default() });
        let topics = [self.topic.to_string()];
        let consumer = Consumer::join(clients, &self.name, Some(&self.name), &topics, held.clone(), || ())?;
        let template = Template::new(self.contract, &self.outputs);
        let mut open = Open { producer, held, progress, since: None, events: 0, positions: Vec::new() };
        let mut records = Vec::with_capacity(POLL_RECORDS);
        while !stop.is_set() {
            let wait = if open.since.is_some() { Duration::ZERO } else { POLL_WAIT };
            match consumer.poll(POLL_RECORDS, wait, |record| records.push(record)) {
                Ok(_) => {}
                Err(PollError::Away(message) | PollError::Trouble(message)) => progress.trouble(&message),
                Err(error) => return Err(BenchError::broker(format!("reading {}", self.topic), error)),
            }
            let idle = records.is_empty();
            for record in records.drain(..) {
                let deadline = open.begin().map_err(failed)?;
                let mut sent = Ok(());
                template.records(&record, |record| {
                    if sent.is_ok() {
                        sent = open.producer.send(&record, 0, deadline);
                    }
                });
                sent.map_err(failed)?;
                open.done(
                    SourcePartition { topic: record.origin.topic, partition: record.origin.partition },
                    record.origin.offset,
                );
            }
            open.producer.serve();
            if idle || open.since.is_some_and(|since| since.elapsed() >= BATCH_AGE) || open.events >= BATCH_EVENTS {
                open.commit().map_err(failed)?;
            }
        }
        open.commit().map_err(failed)
    }
}

/// The transaction that is open, if one is.
struct Open<'a> {
    producer: TransactionalProducer,
    held: Arc<Held>,
    progress: &'a Progress,
    since: Option<Instant>,
    events: u64,
    positions: Vec<(SourcePartition, Position)>,
}

impl Open<'_> {
    fn begin(&mut self) -> Result<Instant, ProducerFailure> {
        let since = match self.since {
            Some(since) => since,
            None => {
                self.producer.begin()?;
                *self.since.insert(Instant::now())
            }
        };
        Ok(since + TRANSACTION)
    }

    fn done(&mut self, partition: SourcePartition, offset: i64) {
        self.events += 1;
        match self.positions.iter_mut().find(|(known, _)| known.partition == partition.partition) {
            Some((_, position)) => position.next_offset = offset + 1,
            None => self.positions.push((partition, Position::at(offset + 1))),
        }
    }

    fn commit(&mut self) -> Result<(), ProducerFailure> {
        let Some(since) = self.since.take() else { return Ok(()) };
        self.producer.wait_for_deliveries(since + TRANSACTION)?;
        let metadata = self.held.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(metadata) = metadata {
            let positions: Vec<_> = self.positions.iter().map(|(partition, position)| (partition, position)).collect();
            repeat(|| self.producer.send_offsets(&positions, &metadata))?;
        }
        repeat(|| self.producer.commit())?;
        self.positions.clear();
        self.progress.commit(std::mem::take(&mut self.events));
        Ok(())
    }
}

fn repeat(mut call: impl FnMut() -> Result<(), ProducerFailure>) -> Result<(), ProducerFailure> {
    for _ in 0..RETRIES_PER_CALL {
        match call() {
            Err(ProducerFailure { failure: Failure::Retriable, .. }) => {}
            done => return done,
        }
    }
    call()
}

/// The partitions of a limit loop: all of them, from the beginning, until it ends. It is alone in its group.
struct Held {
    progress: Arc<Progress>,
    metadata: Mutex<Option<Arc<GroupMetadata>>>,
}

impl Rebalance for Held {
    fn assigned(&self, partitions: &[SourcePartition], member: &Member<'_>) -> Result<Vec<Option<Position>>, String> {
        let start = |it: &SourcePartition| {
            member.watermarks(&it.topic.name, it.partition).map(|(low, _)| Some(Position::at(low)))
        };
        partitions.iter().map(start).collect()
    }

    fn joined(&self, metadata: GroupMetadata) {
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(metadata));
        self.progress.start();
    }

    fn revoked(&self, partitions: &[SourcePartition], _: &Member<'_>, _: bool) {
        // Whatever was not committed is read again, and verification finds it twice: the run fails, as it should.
        self.progress.trouble(&format!("{} partitions were taken away", partitions.len()));
    }
}
