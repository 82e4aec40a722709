//! An instance for the length of a run: one lane as in production, over a registry and the topics of the run.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::BenchError;
use super::broker::Broker;
use super::progress::Progress;
use super::topics::{Outputs, PARTITIONS};
use super::waiting::{JOURNAL_PARTITIONS, Waiting};
use crate::codec::event::Format;
use crate::codec::record::{Encoder, Encoding, SystemTopic};
use crate::definition;
use crate::engine::batch::SourcePartition;
use crate::engine::commit::{Failure, RestartReason};
use crate::engine::execution::{Identity, StepResults, Subject};
use crate::engine::owner::WaitCounts;
use crate::engine::plan::LogLevel;
use crate::engine::registry::Registry;
use crate::kafka::start::{Refusal, Sources, Start, Started};
use crate::lane::{Committed, InFlight, Lane, LaneContext, Observer, StopSignal, Tally, WorkflowTally};

/// The environment's name, part of every execution id.
pub const ENVIRONMENT: &str = "bench";
/// What Kafka takes in one record unless told otherwise.
const MESSAGE_BYTES_MAX: usize = 1_048_588;

/// What an instance runs.
pub struct Instance {
    /// What it reads.
    pub topic: Arc<str>,
    /// Where it writes.
    pub outputs: Outputs,
    /// The installed workflows.
    pub registry: Arc<RwLock<Registry>>,
    /// How its events are read.
    pub format: Format,
    /// Which steps leave a record of their own.
    pub step_results: StepResults,
    /// The name of its group and of its member.
    pub name: String,
}

/// A system topic as the benchmark makes them.
pub fn system_topic(name: &Arc<str>, partitions: i32) -> SystemTopic {
    SystemTopic { name: name.clone(), partitions, max_message_bytes: MESSAGE_BYTES_MAX }
}

impl Instance {
    /// Starts the lane; `waiting` is what its executions need that wait, None where none does.
    pub fn start(
        self,
        broker: &Broker,
        waiting: Option<&Waiting>,
        progress: Arc<Progress>,
        stop: Arc<StopSignal>,
    ) -> Result<Lane, BenchError> {
        let system = |name: &Arc<str>| system_topic(name, PARTITIONS);
        let done = if waiting.is_some() { ended } else { consumed };
        let encoder = Encoder {
            environment: ENVIRONMENT.into(),
            step_results: system(&self.outputs.step_results),
            executions: system(&self.outputs.executions),
            dead_letters: system(&self.outputs.dead_letters),
            journal: match waiting {
                Some(waiting) => waiting.journal().clone(),
                // Nothing is written to it, and it is not made.
                None => system(&format!("{}-journal", self.name).into()),
            },
            encoding: Encoding::Json,
        };
        let decodes = self.format.clone();
        let context = LaneContext {
            name: self.name.as_str().into(),
            group: self.name.clone(),
            leaves_group: false,
            topics: vec![self.topic.to_string()],
            sources: Arc::new(FromTheBeginning),
            clients: broker.clients.clone(),
            transaction_timeout: Duration::from_millis(broker.clients.transaction_timeout_ms()),
            identity: Arc::new(Identity {
                environment: ENVIRONMENT.into(),
                journal_partitions: JOURNAL_PARTITIONS,
                step_results: self.step_results,
            }),
            registry: self.registry,
            compile: Box::new(|_, document| definition::compile(document).map_err(|refused| refused.to_string())),
            decode: Box::new(move |record| decodes.decode(record)),
            is_ready: Box::new(move |record, was_understood| self.format.is_ready(record, was_understood)),
            encode: Box::new(move |subject, left| encoder.encode(subject, left)),
            waiting: waiting.map(|waiting| Arc::new(waiting.of_the_lane())),
            observer: Arc::new(Watch { progress, done }),
            topic_ids: Arc::default(),
            stop,
            last_beat_ms: AtomicI64::new(0),
        };
        Lane::start(context).map_err(BenchError::Thread)
    }
}

struct FromTheBeginning;

impl Sources for FromTheBeginning {
    fn start_of(&self, _: &str) -> (Start, Vec<String>) {
        (Start::Earliest, Vec::new())
    }

    fn is_confirmed(&self, _: &str, _: &str) -> bool {
        false
    }

    fn started(&self, _: &[&str], _: bool) -> Result<BTreeMap<String, Started>, String> {
        Ok(BTreeMap::new())
    }

    // A measurement has topics of its own, which are gone when it ends.
    fn write_down(&self, _: &[(&str, Started)]) -> Result<(), String> {
        Ok(())
    }
}

/// How many events a batch has done, where none of them waits.
fn consumed(tally: &Tally) -> u64 {
    tally.sources.values().map(|source| source.consumed).sum()
}

/// How many executions a batch has ended: an event whose execution waits is not done when it was read.
fn ended(tally: &Tally) -> u64 {
    let of_workflow = |it: &WorkflowTally| {
        let at_once: i64 = it.finished.values().sum();
        at_once + it.ended.values().map(|(count, _)| count).sum::<i64>()
    };
    tally.workflows.values().map(of_workflow).sum::<i64>().unsigned_abs()
}

/// Tells what a lane does to whoever measures it.
struct Watch {
    progress: Arc<Progress>,
    /// How much of the work a batch has done.
    done: fn(&Tally) -> u64,
}

impl Observer for Watch {
    fn damaged(&self, _partition: i32, _offset: i64, _why: &str) {}
    fn committed(&self, batch: Committed) {
        self.progress.commit((self.done)(&batch.tally));
    }

    fn batch_failed(&self, failure: Failure, cause: &str) {
        self.progress.trouble(&format!("a batch did not go through: {cause} ({failure:?})"));
    }

    fn joined(&self, held: &[SourcePartition]) {
        if !held.is_empty() {
            self.progress.start();
        }
    }

    fn polled(&self) {}

    fn positions(&self, _: &[(SourcePartition, i64, Option<i64>)], _: InFlight) {}

    fn waiting(&self, _: &WaitCounts) {}

    fn trouble(&self, message: &str) {
        self.progress.trouble(message);
    }

    fn hindered(&self, message: &str) {
        self.progress.trouble(message);
    }

    fn lost(&self, partition: &SourcePartition, from: i64, to: i64) {
        self.progress.fail(&format!("the offsets {from} to {to} of partition {} are gone", partition.partition));
    }

    fn refused(&self, refused: &[(SourcePartition, Refusal)]) {
        if let Some((partition, refusal)) = refused.first() {
            self.progress.fail(&format!("partition {} is not read: {refusal}", partition.partition));
        }
    }

    fn confirmed(&self, _: &SourcePartition, _: &Refusal) {}

    fn step_log(&self, _: LogLevel, _: &Subject, _: &str) {}

    fn restarting(&self, reason: RestartReason) {
        self.progress.restart(reason.name());
    }
}
