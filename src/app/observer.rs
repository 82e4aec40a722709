//! What lanes do, told to metrics, health, the log, and whoever watches an instance of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::engine::batch::SourcePartition;
use crate::engine::commit::{Failure, RestartReason};
use crate::engine::execution::Subject;
use crate::engine::expression::StepStatus;
use crate::engine::plan::LogLevel;
use crate::lane::{Committed, InFlight, Observer, Tally};
use crate::telemetry::health::Health;
use crate::telemetry::lane_metrics::{LaneMetrics, WorkflowSlot};
use crate::telemetry::metrics::Metrics;

/// Kinds of problems that lanes raise; each is cleared by what shows that it is over.
const CLIENT_TROUBLE: &str = "kafka";
const LOST_RECORDS: &str = "lost-records";
const RESTARTS: &str = "lane-restarts";
/// More restarts than this within [`RESTART_WINDOW`] are a problem, and no accident: two instances of one identity, say.
const RESTARTS_IN_WINDOW: usize = 3;
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// Who else is told what was committed.
pub trait Watcher: Send + Sync {
    /// A batch was committed.
    fn committed(&self, tally: &Tally);
}

/// Tells about one lane.
pub struct LaneObserver {
    lane: usize,
    health: Health,
    metrics: Metrics,
    format_of: Box<dyn Fn(&str) -> &'static str + Send + Sync>,
    watcher: Option<Arc<dyn Watcher>>,
    state: Mutex<State>,
}

struct State {
    counts: LaneMetrics,
    held: Vec<SourcePartition>,
    restarts: Vec<Instant>,
    in_trouble: bool,
}

impl LaneObserver {
    /// Tells about the lane of that number. `format_of` names the format of a topic.
    pub fn new(
        lane: usize,
        health: Health,
        metrics: Metrics,
        format_of: Box<dyn Fn(&str) -> &'static str + Send + Sync>,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> LaneObserver {
        let counts = metrics.lane(lane);
        let state = State { counts, held: Vec::new(), restarts: Vec::new(), in_trouble: false };
        LaneObserver { lane, health, metrics, format_of, watcher, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subject(&self) -> String {
        format!("lane {}", self.lane)
    }

    fn count(&self, counts: &mut LaneMetrics, tally: &Tally, duration: Duration) {
        for (partition, source) in &tally.sources {
            let topic = counts.topic(&partition.topic.name);
            counts.events_consumed(topic, source.consumed);
            counts.events_unmatched(topic, source.unmatched);
            if source.undecodable > 0 {
                let format = (self.format_of)(&partition.topic.name);
                counts.events_undecodable(topic, format, source.undecodable);
            }
        }
        // What a tally took back for good can leave a zero behind, but never less.
        let whole = |count: i64| u64::try_from(count).ok().filter(|count| *count > 0);
        for (id, workflow) in &tally.workflows {
            let slot = id.as_ref().map_or(WorkflowSlot::NONE, |id| counts.workflow(id));
            for (status, count) in &workflow.finished {
                let Some(count) = whole(*count) else { continue };
                counts.executions(slot, status.name(), count, duration);
            }
            for ((step, status), count) in &workflow.steps {
                // A skipped step was never tried.
                let Some(count) = whole(*count).filter(|_| *status != StepStatus::Skipped) else { continue };
                let step = counts.step(slot, step);
                counts.steps_attempted(step, status.name(), count);
            }
            for (reason, count) in &workflow.dead_letters {
                let Some(count) = whole(*count) else { continue };
                counts.dead_letters(slot, reason.name(), count);
            }
        }
    }
}

impl Observer for LaneObserver {
    fn committed(&self, batch: Committed) {
        let Committed { tally, records, duration } = batch;
        let mut state = self.state();
        self.count(&mut state.counts, &tally, duration);
        state.counts.batch_committed(duration, records);
        state.counts.flush();
        drop(state);
        self.health.committed(self.lane, Instant::now(), false);
        if let Some(watcher) = &self.watcher {
            watcher.committed(&tally);
        }
    }

    fn batch_failed(&self, failure: Failure, _cause: &str) {
        let outcome = match failure {
            Failure::Retriable | Failure::Abortable | Failure::StaleGeneration => "aborted",
            Failure::RefusedRecords | Failure::RefusedUnknown | Failure::SystemTopicRefused => "refused",
            Failure::NotTheOwner | Failure::Fenced => "fenced",
            Failure::Uncertain => "uncertain",
            Failure::Fatal => "failed",
        };
        let mut state = self.state();
        state.counts.commit_failed(outcome);
        state.counts.flush();
    }

    fn joined(&self, held: &[SourcePartition]) {
        let mut state = self.state();
        let State { counts, held: before, .. } = &mut *state;
        for gone in before.iter().filter(|it| !held.contains(it)) {
            counts.forget_partition(&gone.topic.name, gone.partition);
        }
        counts.rebalanced(if held.len() < before.len() { "revoked" } else { "assigned" });
        *before = held.to_vec();
        counts.flush();
        self.health.set_joined(self.lane, true);
        tracing::info!(lane = self.lane, partitions = held.len(), "the lane holds its partitions");
    }

    fn polled(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.in_trouble) {
            self.health.clear(CLIENT_TROUBLE, &self.subject());
        }
    }

    fn positions(&self, positions: &[(SourcePartition, i64, Option<i64>)], in_flight: InFlight) {
        let now = Instant::now();
        self.health.lane_turned(self.lane, now);
        if in_flight.bytes > 0 {
            self.health.commit_wanted(self.lane, now);
        }
        let mut state = self.state();
        for (partition, position, end) in positions {
            if let Some(end) = end {
                let lag = u64::try_from(end - position).unwrap_or(0);
                state.counts.set_lag(&partition.topic.name, partition.partition, lag);
            }
        }
        state.counts.set_memory_in_flight(in_flight.bytes as u64);
        let oldest = in_flight.oldest_timestamp_ms.and_then(|ms| u64::try_from(ms).ok());
        state.counts.set_oldest_unprocessed(oldest.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms)));
        state.counts.flush();
        let recent = state.restarts.iter().filter(|at| at.elapsed() < RESTART_WINDOW).count();
        if recent == 0 && !state.restarts.is_empty() {
            state.restarts.clear();
            self.health.clear(RESTARTS, &self.subject());
        }
    }

    fn trouble(&self, message: &str) {
        self.state().in_trouble = true;
        self.health.raise(CLIENT_TROUBLE, &self.subject(), message, SystemTime::now());
    }

    fn lost(&self, partition: &SourcePartition, from: i64, to: i64) {
        let SourcePartition { topic, partition: number } = partition;
        let message = format!(
            "offsets {from} to {} of {}-{number} were deleted before they were read; raise the topic's retention",
            to - 1,
            topic.name
        );
        tracing::error!(topic = %topic.name, partition = number, from, to, "records were deleted before they were read");
        self.health.raise(LOST_RECORDS, &format!("{}-{number}", topic.name), &message, SystemTime::now());
    }

    fn step_log(&self, level: LogLevel, subject: &Subject, line: &str) {
        let Subject::Execution(execution) = subject else { return };
        let (id, workflow) = (execution.id.to_string(), execution.workflow.id.as_str());
        match level {
            LogLevel::Debug => tracing::debug!(target: "workflow", execution = id, workflow, "{line}"),
            LogLevel::Info => tracing::info!(target: "workflow", execution = id, workflow, "{line}"),
            LogLevel::Warn => tracing::warn!(target: "workflow", execution = id, workflow, "{line}"),
            LogLevel::Error => tracing::error!(target: "workflow", execution = id, workflow, "{line}"),
        }
    }

    fn restarting(&self, reason: RestartReason) {
        self.health.lane_restarted(self.lane, Instant::now());
        self.metrics.lane_restarted(reason.name());
        let mut state = self.state();
        state.restarts.retain(|at| at.elapsed() < RESTART_WINDOW);
        state.restarts.push(Instant::now());
        if state.restarts.len() > RESTARTS_IN_WINDOW {
            let message = format!(
                "the lane started again {} times within a minute, last because `{}`; is another instance running with \
                 the same `instance` name?",
                state.restarts.len(),
                reason.name()
            );
            self.health.raise(RESTARTS, &self.subject(), &message, SystemTime::now());
        }
    }
}
