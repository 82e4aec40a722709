//! An instance for the length of a run: one lane as in production, over a registry and the topics of the run.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::BenchError;
use super::broker::Broker;
use super::progress::Progress;
use super::topics::{Outputs, PARTITIONS};
use crate::codec::event::Format;
use crate::codec::record::{Encoder, SystemTopic};
use crate::definition;
use crate::engine::batch::SourcePartition;
use crate::engine::commit::{Failure, RestartReason};
use crate::engine::execution::{Identity, StepResults, Subject};
use crate::engine::plan::LogLevel;
use crate::engine::registry::Registry;
use crate::kafka::start::{Refusal, Sources, Start, Started};
use crate::lane::{Committed, InFlight, Lane, LaneContext, Observer, StopSignal};

/// The environment's name, part of every execution id.
pub const ENVIRONMENT: &str = "bench";
/// Partitions of a journal, part of every execution id.
pub const JOURNAL_PARTITIONS: u16 = 48;
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
    /// Which steps leave a record of their own.
    pub step_results: StepResults,
    /// The name of its group and of its member.
    pub name: String,
}

impl Instance {
    /// Starts the lane.
    pub fn start(self, broker: &Broker, progress: Arc<Progress>, stop: Arc<StopSignal>) -> Result<Lane, BenchError> {
        let system = |name: &Arc<str>| SystemTopic {
            name: name.clone(),
            partitions: PARTITIONS,
            max_message_bytes: MESSAGE_BYTES_MAX,
        };
        let encoder = Encoder {
            environment: ENVIRONMENT.into(),
            step_results: system(&self.outputs.step_results),
            executions: system(&self.outputs.executions),
            dead_letters: system(&self.outputs.dead_letters),
            // No workflow of any job waits, so nothing is written to it and it is not made.
            journal: system(&format!("{}-journal", self.name).into()),
        };
        let context = LaneContext {
            name: self.name.as_str().into(),
            group: self.name.clone(),
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
            decode: Box::new(|record| Format::CloudEvents.decode(record)),
            encode: Box::new(move |subject, left| encoder.encode(subject, left)),
            waiting: None,
            observer: Arc::new(Watch(progress)),
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

/// Tells what a lane does to whoever measures it.
struct Watch(Arc<Progress>);

impl Observer for Watch {
    fn committed(&self, batch: Committed) {
        self.0.commit(batch.tally.sources.values().map(|source| source.consumed).sum());
    }

    fn batch_failed(&self, failure: Failure, cause: &str) {
        self.0.trouble(&format!("a batch did not go through: {cause} ({failure:?})"));
    }

    fn joined(&self, held: &[SourcePartition]) {
        if !held.is_empty() {
            self.0.start();
        }
    }

    fn polled(&self) {}

    fn positions(&self, _: &[(SourcePartition, i64, Option<i64>)], _: InFlight) {}

    fn trouble(&self, message: &str) {
        self.0.trouble(message);
    }

    fn lost(&self, partition: &SourcePartition, from: i64, to: i64) {
        self.0.fail(&format!("the offsets {from} to {to} of partition {} are gone", partition.partition));
    }

    fn refused(&self, refused: &[(SourcePartition, Refusal)]) {
        if let Some((partition, refusal)) = refused.first() {
            self.0.fail(&format!("partition {} is not read: {refusal}", partition.partition));
        }
    }

    fn confirmed(&self, _: &SourcePartition, _: &Refusal) {}

    fn step_log(&self, _: LogLevel, _: &Subject, _: &str) {}

    fn restarting(&self, reason: RestartReason) {
        self.0.restart(reason.name());
    }
}
