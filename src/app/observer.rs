//! What lanes do, told to metrics, health, the log, and whoever watches an instance of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::problems::{self, CLIENT_TROUBLE, DUPLICATE_IDENTITY, JOURNAL_DAMAGED, LANE_RESTARTS, LOST_RECORDS};
use super::refusals::Refusals;
use crate::engine::batch::SourcePartition;
use crate::engine::commit::{Failure, RestartReason};
use crate::engine::execution::Subject;
use crate::engine::expression::StepStatus;
use crate::engine::owner::{WaitCounts, WaitReason};
use crate::engine::plan::LogLevel;
use crate::kafka::start::Refusal;
use crate::lane::{Committed, InFlight, Observer, Tally};
use crate::telemetry::health::{Health, LostOffsets};
use crate::telemetry::lane_metrics::{LaneMetrics, WorkflowSlot};
use crate::telemetry::metrics::Metrics;

/// More restarts than this within [`RESTART_WINDOW`] are a problem, and no accident: two instances of one identity, say.
const RESTARTS_IN_WINDOW: usize = 3;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Trouble that is said again while it lasts, and of which nothing was heard for so long, is over. Of a broker that is away, librdkafka says so
/// every 30 s at the latest (`rd_kafka_broker_set_error`).
const TROUBLE_LASTS: Duration = Duration::from_secs(60);

/// Who else is told what was committed.
pub trait Watcher: Send + Sync {
    /// A batch was committed.
    fn committed(&self, tally: &Tally);
}

/// Tells about one lane.
pub struct LaneObserver {
    lane: usize,
    /// `<instance>-<number>`: tells the lanes of all instances apart.
    name: Arc<str>,
    health: Health,
    metrics: Metrics,
    format_of: Box<dyn Fn(&str) -> &'static str + Send + Sync>,
    refusals: Arc<Refusals>,
    watcher: Option<Arc<dyn Watcher>>,
    state: Mutex<State>,
}

struct State {
    counts: LaneMetrics,
    held: Vec<SourcePartition>,
    restarts: Vec<(Instant, RestartReason)>,
    /// When the client had trouble last that is said again while it lasts.
    trouble_at: Option<Instant>,
    /// It has trouble that is said once.
    is_hindered: bool,
}

impl State {
    fn show_waiting(&mut self, waiting: &WaitCounts) {
        for reason in WaitReason::ALL {
            self.counts.set_waiting(reason.name(), waiting.of(reason));
        }
    }
}

impl LaneObserver {
    /// Tells about the lane of that number and name. `format_of` names the format of a topic.
    pub fn new(
        lane: usize,
        name: Arc<str>,
        health: Health,
        metrics: Metrics,
        format_of: Box<dyn Fn(&str) -> &'static str + Send + Sync>,
        refusals: Arc<Refusals>,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> LaneObserver {
        let counts = metrics.lane(lane);
        let mut state = State { counts, held: Vec::new(), restarts: Vec::new(), trouble_at: None, is_hindered: false };
        state.show_waiting(&WaitCounts::default());
        LaneObserver { lane, name, health, metrics, format_of, refusals, watcher, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subject(&self) -> String {
        format!("lane/{}", self.name)
    }

    /// The lane's Kafka client; not the lane itself, whose alerts would replace those of the client.
    fn client(&self) -> String {
        format!("client/{}", self.name)
    }

    /// Ends trouble of which nothing was heard for long. A lane whose sources have nothing polls nothing by which that could be seen.
    fn forget_trouble(&self, state: &mut State, now: Instant) {
        if state.trouble_at.take_if(|at| now.duration_since(*at) >= TROUBLE_LASTS).is_some() && !state.is_hindered {
            self.health.clear(CLIENT_TROUBLE, &self.client(), SystemTime::now());
        }
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
            if let Some(matched) = whole(workflow.matched) {
                counts.events_matched(slot, matched);
            }
            if let Some(began) = whole(workflow.began) {
                counts.executions_started(slot, began);
            }
            for (status, count) in &workflow.finished {
                let Some(count) = whole(*count) else { continue };
                counts.executions_finished(slot, status.name(), count, duration);
            }
            for (status, (count, took_ms)) in &workflow.ended {
                let Some(count) = whole(*count) else { continue };
                // One batch holds few of one workflow: what they took on average stands for each.
                let took = Duration::from_millis(took_ms.unsigned_abs() / count);
                counts.executions_finished(slot, status.name(), count, took);
            }
            for ((step, status), (count, took_ms)) in &workflow.steps {
                // A skipped step was never tried.
                let Some(count) = whole(*count).filter(|_| *status != StepStatus::Skipped) else { continue };
                let step = counts.step(slot, step);
                counts.steps_attempted(step, status.name(), count);
                counts.steps_finished(step, count, Duration::from_millis(took_ms.unsigned_abs() / count));
            }
            for (step, count) in &workflow.retried {
                let Some(count) = whole(*count) else { continue };
                let step = counts.step(slot, step);
                counts.steps_attempted(step, StepStatus::Failed.name(), count);
            }
            for (reason, count) in &workflow.dead_letters {
                let Some(count) = whole(*count) else { continue };
                counts.dead_letters(slot, reason.name(), count);
            }
            for (replayed, count) in &workflow.replayed {
                let Some(count) = whole(*count) else { continue };
                counts.replayed(replayed.name(), count);
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
        if std::mem::take(&mut state.is_hindered) | state.trouble_at.take().is_some() {
            self.health.clear(CLIENT_TROUBLE, &self.client(), SystemTime::now());
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
        self.forget_trouble(&mut state, now);
        state.counts.set_memory_in_flight(in_flight.bytes as u64);
        let oldest = in_flight.oldest_timestamp_ms.and_then(|ms| u64::try_from(ms).ok());
        state.counts.set_oldest_unprocessed(oldest.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms)));
        state.counts.flush();
        let recent = state.restarts.iter().filter(|(at, _)| at.elapsed() < RESTART_WINDOW).count();
        if recent == 0 && !state.restarts.is_empty() {
            state.restarts.clear();
            self.health.clear(LANE_RESTARTS, &self.subject(), SystemTime::now());
            self.health.clear(DUPLICATE_IDENTITY, &self.subject(), SystemTime::now());
        }
    }

    fn waiting(&self, waiting: &WaitCounts) {
        self.state().show_waiting(waiting);
    }

    fn trouble(&self, message: &str) {
        let mut state = self.state();
        state.trouble_at = Some(Instant::now());
        // What hinders it is not said again, and may be all that is left when this is over.
        if !state.is_hindered {
            self.health.raise(CLIENT_TROUBLE, &self.client(), message, SystemTime::now());
        }
    }

    fn hindered(&self, message: &str) {
        self.state().is_hindered = true;
        self.health.raise(CLIENT_TROUBLE, &self.client(), message, SystemTime::now());
    }

    fn damaged(&self, partition: i32, offset: i64, why: &str) {
        let message = format!(
            "the record at offset {offset} cannot be understood and is a dead letter now: {why}; does a newer version write to this journal?"
        );
        self.health.raise(JOURNAL_DAMAGED, &problems::journal(partition), &message, SystemTime::now());
    }

    fn lost(&self, partition: &SourcePartition, from: i64, to: i64) {
        let SourcePartition { topic, partition: number } = partition;
        let message = format!(
            "offsets {from} to {} of {}-{number} were deleted before they were read; raise the topic's retention",
            to - 1,
            topic.name
        );
        tracing::error!(topic = %topic.name, partition = number, from, to, "records were deleted before they were read");
        let subject = format!("{}/{number}", problems::source(&topic.name));
        let lost = LostOffsets { topic: topic.name.to_string(), partition: *number, first: from, last: to - 1 };
        self.health.records_lost(LOST_RECORDS, &subject, &message, lost, SystemTime::now());
    }

    fn refused(&self, refused: &[(SourcePartition, Refusal)]) {
        self.refusals.set(self.lane, refused);
    }

    fn confirmed(&self, partition: &SourcePartition, refusal: &Refusal) {
        self.refusals.confirm(partition, refusal);
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
        // What waits is taken up by whoever gets the partitions now.
        state.show_waiting(&WaitCounts::default());
        // What hinders the consumer is said again by that of the lane's next life.
        if std::mem::take(&mut state.is_hindered) {
            state.trouble_at = Some(Instant::now());
        }
        state.restarts.retain(|(at, _)| at.elapsed() < RESTART_WINDOW);
        state.restarts.push((Instant::now(), reason));
        let (restarts, now) = (state.restarts.len(), SystemTime::now());
        if restarts <= RESTARTS_IN_WINDOW {
            return;
        }
        let fenced = state.restarts.iter().filter(|(_, reason)| *reason == RestartReason::Fenced).count();
        if fenced > RESTARTS_IN_WINDOW {
            let message = format!(
                "the lane was fenced {fenced} times within a minute: another process runs with the same `instance` name, \
                 or this one stands still for longer than a transaction may be open; give every instance its own name"
            );
            self.health.raise(DUPLICATE_IDENTITY, &self.subject(), &message, now);
        } else {
            let message = format!(
                "the lane started again {restarts} times within a minute, last because `{}`; the log says more",
                reason.name()
            );
            self.health.raise(LANE_RESTARTS, &self.subject(), &message, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An observer after that, and how many troubles there are: at once, after 59 s and 60 s without a word, and once records have come.
    fn check(told: impl FnOnce(&LaneObserver), expected: [usize; 4]) {
        let health = Health::new(1, Instant::now());
        let (refusals, metrics) = (Arc::new(Refusals::new(health.clone())), Metrics::new("1", "r"));
        let observer =
            LaneObserver::new(0, "i-0".into(), health.clone(), metrics, Box::new(|_| "json"), refusals, None);
        told(&observer);
        let troubles =
            || health.readiness(Instant::now()).problems.iter().filter(|it| it.kind == CLIENT_TROUBLE).count();
        let at = observer.state().trouble_at.unwrap_or_else(Instant::now);
        let after = |seconds| {
            observer.forget_trouble(&mut observer.state(), at + Duration::from_secs(seconds));
            troubles()
        };
        let found = [troubles(), after(59), after(60)];
        observer.polled();
        assert_eq!([found[0], found[1], found[2], troubles()], expected);
    }

    #[test]
    fn trouble_ends_when_records_come_or_nothing_is_heard_of_it_unless_it_is_said_once() {
        let committed = || Committed { tally: Tally::default(), records: 1, duration: Duration::ZERO };
        check(|_| (), [0, 0, 0, 0]);
        check(|it| it.trouble("all brokers are down"), [1, 1, 0, 0]);
        check(|it| it.hindered("unknown topic"), [1, 1, 1, 0]);
        // That what waits can be committed says nothing of the consumer.
        let both = |it: &LaneObserver| {
            it.hindered("unknown topic");
            it.trouble("all brokers are down");
            it.committed(committed());
        };
        check(both, [1, 1, 1, 0]);
        // Whatever lasts is said again by the client of the lane's next life.
        check(|it| (it.hindered("unknown topic"), it.restarting(RestartReason::Stalled)).1, [1, 1, 0, 0]);
    }
}
