//! A task that runs, as a lane, as a limit loop or as a request loop, until it is told to end.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::BenchError;
use super::avro;
use super::broker::Broker;
use super::instance::Instance;
use super::job::Task;
use super::limit::LimitLoop;
use super::progress::Progress;
use super::requests::RequestLoop;
use super::topics::Outputs;
use super::verify::Content;
use super::waiting::Waiting;
use super::workflows::Installation;
use crate::codec::event::Format;
use crate::engine::execution::StepResults;
use crate::lane::{Lane, StopSignal};

/// What is to be run.
pub struct Assignment<'a> {
    /// The task.
    pub task: Task,
    /// Its workflows.
    pub installation: &'a Installation,
    /// What it reads.
    pub topic: Arc<str>,
    /// How many events that is.
    pub events: u64,
    /// Where it writes.
    pub outputs: Outputs,
    /// A name that no other run has.
    pub name: String,
    /// What its executions need that wait; None where none does.
    pub waiting: Option<Waiting>,
}

/// A task that runs.
pub struct Running {
    /// How far it is.
    pub progress: Arc<Progress>,
    stop: Arc<StopSignal>,
    worker: Option<Worker>,
    /// Goes after the lane has ended.
    _waiting: Option<Waiting>,
}

enum Worker {
    Lane(Lane),
    Loop(JoinHandle<()>),
}

impl Running {
    /// Starts what reads events: a lane, or a limit loop.
    pub fn start(broker: &Broker, assignment: Assignment<'_>) -> Result<Running, BenchError> {
        let Assignment { task, installation, topic, events, outputs, name, waiting } = assignment;
        let progress = Arc::new(Progress::new(events, broker.pid));
        let stop = Arc::new(StopSignal::default());
        let expected = task.expected();
        let worker = match expected.content {
            Content::Constant(contract) => {
                let limit = LimitLoop { topic, contract, outputs, name };
                let (clients, progress, stop) = (broker.clients.clone(), progress.clone(), stop.clone());
                let thread = std::thread::Builder::new().name("limit".into());
                let thread = thread.spawn(move || limit.run(&clients, &progress, &stop));
                Worker::Loop(thread.map_err(BenchError::Thread)?)
            }
            Content::Workflows { .. } => {
                let registry = installation.aim(&outputs.business)?;
                let step_results = if expected.step_results > 0 { StepResults::All } else { StepResults::None };
                let format = if task == Task::Avro { avro::format()? } else { Format::CloudEvents };
                let instance = Instance { topic, outputs, registry, format, step_results, name };
                Worker::Lane(instance.start(broker, waiting.as_ref(), progress.clone(), stop.clone())?)
            }
        };
        Ok(Running { progress, stop, worker: Some(worker), _waiting: waiting })
    }

    /// Starts a request loop.
    pub fn requests(broker: &Broker, requests: RequestLoop) -> Result<Running, BenchError> {
        let progress = Arc::new(Progress::new(requests.requests, broker.pid));
        let stop = Arc::new(StopSignal::default());
        let (told, stopped) = (progress.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("requests".into());
        let thread = thread.spawn(move || requests.run(&told, &stopped)).map_err(BenchError::Thread)?;
        Ok(Running { progress, stop, worker: Some(Worker::Loop(thread)), _waiting: None })
    }
}

/// It ends with its last transaction, so that whoever reads its outputs then reads all of them.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.set();
        let ended_well = match self.worker.take() {
            Some(Worker::Lane(lane)) => lane.join(),
            Some(Worker::Loop(thread)) => thread.join().is_ok(),
            None => true,
        };
        if !ended_well {
            tracing::error!("a thread of the benchmark panicked");
        }
    }
}
