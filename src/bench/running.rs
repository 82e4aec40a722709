//! A task that runs, as a lane or as a limit loop, until it is told to end.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::BenchError;
use super::broker::Broker;
use super::instance::Instance;
use super::job::Task;
use super::limit::LimitLoop;
use super::progress::Progress;
use super::topics::Outputs;
use super::workflows::Installation;
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
}

/// A task that runs.
pub struct Running {
    /// How far it is.
    pub progress: Arc<Progress>,
    stop: Arc<StopSignal>,
    worker: Option<Worker>,
}

enum Worker {
    Lane(Lane),
    Limit(JoinHandle<()>),
}

impl Running {
    /// Starts it.
    pub fn start(broker: &Broker, assignment: Assignment<'_>) -> Result<Running, BenchError> {
        let Assignment { task, installation, topic, events, outputs, name } = assignment;
        let progress = Arc::new(Progress::new(events, broker.pid));
        let stop = Arc::new(StopSignal::default());
        let worker = match task {
            Task::Copy | Task::Limit(_) => {
                let limit = LimitLoop { topic, contract: task.contract(), outputs, name };
                let (clients, progress, stop) = (broker.clients.clone(), progress.clone(), stop.clone());
                let thread = std::thread::Builder::new().name("limit".into());
                let thread = thread.spawn(move || limit.run(&clients, &progress, &stop));
                Worker::Limit(thread.map_err(BenchError::Thread)?)
            }
            Task::Pass | Task::Shape { .. } | Task::FanOut(_) | Task::Installed(_) | Task::Changing(_) => {
                let registry = installation.aim(&outputs.business)?;
                let step_results =
                    if task.contract().step_results() > 0 { StepResults::All } else { StepResults::None };
                let instance = Instance { topic, outputs, registry, step_results, name };
                Worker::Lane(instance.start(broker, progress.clone(), stop.clone())?)
            }
        };
        Ok(Running { progress, stop, worker: Some(worker) })
    }
}

/// It ends with its last transaction, so that whoever reads its outputs then reads all of them.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.set();
        let ended_well = match self.worker.take() {
            Some(Worker::Lane(lane)) => lane.join(),
            Some(Worker::Limit(thread)) => thread.join().is_ok(),
            None => true,
        };
        if !ended_well {
            tracing::error!("a thread of the benchmark panicked");
        }
    }
}
