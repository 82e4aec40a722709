//! Every metric, in one table: its name with unit, its kind, its labels and what it says. And what an instance counts as a whole;
//! what its lanes count is in [`super::lane_metrics`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::Gauge;
use rustc_hash::FxHashSet;

use super::exposition::{ABSENT, Exposition};
use super::health::Readiness;
use super::lane_metrics::LaneMetrics;
use super::process::ProcessUsage;
use super::recorder::{OTHER, Recorder};

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Samples in buckets with these upper ends.
    Histogram(&'static [f64]),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The name as it is scraped, with prefix and unit.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Whether a series is shown only while somebody holds it: it is about something that moves between instances, or ends.
    pub held: bool,
    /// What it says, in a sentence.
    pub help: &'static str,
}

macro_rules! define_metrics {
    ($($metric:ident $(($held:ident))? = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        /// A metric by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric { $(#[doc = $help] $metric,)* }

        impl Metric {
            /// All metrics, in the order of the table.
            pub const ALL: &'static [Metric] = &[$(Metric::$metric,)*];

            /// The metric's line of the table.
            pub fn definition(self) -> &'static Definition {
                match self {
                    $(Metric::$metric => &Definition {
                        name: $name,
                        kind: $kind,
                        labels: &[$($label),*],
                        held: define_metrics!(@held $($held)?),
                        help: $help,
                    },)*
                }
            }
        }
    };
    (@held held) => { true };
    (@held) => { false };
}

define_metrics! {
    ResidentMemory = "process_resident_memory_bytes", Kind::Gauge, [], "Memory of the process that is in RAM.";
    OpenFiles = "process_open_fds", Kind::Gauge, [], "Open file descriptors of the process, connections included.";
    StartTime = "process_start_time_seconds", Kind::Gauge, [], "When the instance started.";
    BuildInfo = "tidegate_build_info", Kind::Gauge, ["version", "revision"], "Always 1; says what was built.";
    Ready = "tidegate_ready", Kind::Gauge, [], "Whether the instance is ready, 1 or 0, as /readyz says.";
    Problem(held) = "tidegate_problem", Kind::Gauge, ["kind"], "How many problems of a kind an operator should look at, as /readyz lists them; absent if there is none.";
    EventsConsumed = "tidegate_events_consumed_total", Kind::Counter, ["topic"], "Records read from source topics.";
    EventsMatched = "tidegate_events_matched_total", Kind::Counter, ["workflow"], "Events that a workflow's triggers matched.";
    EventsUnmatched = "tidegate_events_unmatched_total", Kind::Counter, ["topic"], "Events that no workflow matched.";
    EventsUndecodable = "tidegate_events_undecodable_total", Kind::Counter, ["topic", "format"], "Records that could not be understood; each is a dead letter.";
    ExecutionsStarted = "tidegate_executions_started_total", Kind::Counter, ["workflow"], "Executions started.";
    ExecutionsFinished = "tidegate_executions_finished_total", Kind::Counter, ["workflow", "status"], "Executions ended, by how they ended.";
    ExecutionDuration = "tidegate_execution_duration_seconds", Kind::Histogram(EXECUTION_SECONDS), ["workflow"], "From the start of an execution to its end, waiting included.";
    ExecutionsWaiting = "tidegate_executions_waiting", Kind::Gauge, ["reason"], "Executions that wait on this instance: for a point in time (timer), a permit of a connector, the answer to a call (calling), an approval, a sub-workflow (workflow), their turn, or a definition that is not installed.";
    StepAttempts = "tidegate_step_attempts_total", Kind::Counter, ["workflow", "step", "outcome"], "Attempts of steps, by outcome.";
    StepDuration = "tidegate_step_duration_seconds", Kind::Histogram(EXECUTION_SECONDS), ["workflow", "step"], "From the start of a step to its end, all attempts included; of a step that runs in place, 0.";
    DeadLetters = "tidegate_dead_letters_total", Kind::Counter, ["workflow", "reason"], "Dead letters written; the workflow is empty for what never was an execution.";
    Replayed = "tidegate_replayed_total", Kind::Counter, ["outcome"], "Dead letters that were brought back: how the executions ended, or whether the records were understood.";
    ConsumerLag(held) = "tidegate_consumer_lag_records", Kind::Gauge, ["topic", "partition"], "Records of an owned partition that are not yet processed and committed; absent for a partition that moved away.";
    OldestUnprocessed(held) = "tidegate_oldest_unprocessed_timestamp_seconds", Kind::Gauge, [], "Timestamp of the oldest record that is read but not committed; absent if there is none.";
    Commits = "tidegate_commits_total", Kind::Counter, ["outcome"], "Transactions by outcome.";
    CommitDuration = "tidegate_commit_duration_seconds", Kind::Histogram(COMMIT_SECONDS), [], "From the last record of a batch to the end of its transaction.";
    BatchRecords = "tidegate_batch_records", Kind::Histogram(BATCH_RECORDS), [], "Records written in one transaction.";
    CircuitBreakerState = "tidegate_circuit_breaker_state", Kind::Gauge, ["connector", "state"], "Where a connector's circuit breaker stands: 1 for that state, 0 for the others.";
    CircuitBreakerTransitions = "tidegate_circuit_breaker_transitions_total", Kind::Counter, ["connector", "to"], "Changes of a connector's circuit breaker, by the state that it came to.";
    BreakerStoreDegraded = "tidegate_breaker_store_degraded", Kind::Gauge, [], "Whether the copy of circuit breakers on disk is not what it should be, 1 or 0: an instance that starts again may call targets that are down.";
    Alerts = "tidegate_alerts_total", Kind::Counter, ["outcome"], "Alerts for the alerts topic: written, or dropped because they could not be.";
    LaneRestarts = "tidegate_lane_restarts_total", Kind::Counter, ["reason"], "Lanes that started again from nothing.";
    Rebalances = "tidegate_rebalances_total", Kind::Counter, ["change"], "Changes of a lane's partitions: assigned, revoked or lost.";
    LastCommit = "tidegate_last_commit_timestamp_seconds", Kind::Gauge, ["lane"], "When a lane last committed.";
    MemoryInFlight = "tidegate_memory_in_flight_bytes", Kind::Gauge, [], "Bytes of records that are read but not committed, and of what they led to.";
}

/// 5 ms to 10 minutes: what is faster is in-process work, what is slower is an alert of its own.
const EXECUTION_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// A commit costs the broker from a millisecond to the hard deadline below the transaction's time-out.
const COMMIT_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
/// From a single record to what fills a transaction under full load.
const BATCH_RECORDS: &[f64] = &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5];

/// Workflows, (workflow, step) pairs and topics that have series of their own; a scrape of more would slow down whoever reads it.
pub const SERIES_MOST: usize = 1000;
/// Partitions that have a lag of their own; every lane owns a few hundred at most.
pub const PARTITIONS_MOST: usize = 10_000;
/// How often [`Metrics::upkeep`] should run: as often as the fastest usual scrape, so that a scrape finds little left to do.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The numbers of one instance. Cheap to clone; clones are the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

pub(super) struct Inner {
    pub(super) recorder: Recorder,
    pub(super) workflows: NameBound,
    pub(super) steps: NameBound,
    pub(super) topics: NameBound,
    pub(super) partitions: NameBound,
    oldest: Mutex<Oldest>,
    /// The gauge of every kind of problem that there ever was; kinds are few.
    problems: Mutex<BTreeMap<&'static str, Gauge>>,
}

#[derive(Default)]
struct Oldest {
    by_lane: BTreeMap<usize, f64>,
    gauge: Option<Gauge>,
}

impl Metrics {
    /// New numbers, all zero. `revision` is the commit that was built.
    pub fn new(version: &str, revision: &str) -> Metrics {
        let recorder = Recorder::new();
        recorder.gauge(Metric::BuildInfo, &[version, revision]).set(1.0);
        recorder.gauge(Metric::StartTime, &[]).set(unix_seconds(SystemTime::now()));
        recorder.gauge(Metric::Ready, &[]).set(0.0);
        recorder.gauge(Metric::MemoryInFlight, &[]).set(0.0);
        recorder.gauge(Metric::BreakerStoreDegraded, &[]).set(0.0);
        // There from the start, so that the first alert that is dropped is seen as a rise.
        for outcome in ["written", "dropped"] {
            let _ = recorder.counter(Metric::Alerts, &[outcome]);
        }
        Metrics(Arc::new(Inner {
            recorder,
            workflows: NameBound::new(SERIES_MOST),
            steps: NameBound::new(SERIES_MOST),
            topics: NameBound::new(SERIES_MOST),
            partitions: NameBound::new(PARTITIONS_MOST),
            oldest: Mutex::default(),
            problems: Mutex::default(),
        }))
    }

    /// The numbers of this build: the crate's version, and the revision that the build was told in `TIDEGATE_REVISION`.
    pub fn of_this_build() -> Metrics {
        Metrics::new(env!("CARGO_PKG_VERSION"), option_env!("TIDEGATE_REVISION").unwrap_or("unknown"))
    }

    /// The counts of one lane. A lane that starts again asks again, after it has dropped the old ones.
    pub fn lane(&self, lane: usize) -> LaneMetrics {
        LaneMetrics::new(self.0.clone(), lane)
    }

    /// A lane starts again from nothing. The reason is one of few words.
    pub fn lane_restarted(&self, reason: &'static str) {
        self.0.recorder.counter(Metric::LaneRestarts, &[reason]).increment(1);
    }

    /// An alert was written to its topic, or dropped: the outcome is one of these two words.
    pub fn alert(&self, outcome: &'static str) {
        self.0.recorder.counter(Metric::Alerts, &[outcome]).increment(1);
    }

    /// A connector's circuit breaker stands in one of its states. Connectors are those of the settings.
    pub fn breaker_stands(&self, connector: &str, states: &[&'static str], state: &'static str) {
        for other in states {
            let gauge = self.0.recorder.gauge(Metric::CircuitBreakerState, &[connector, other]);
            gauge.set(f64::from(u8::from(*other == state)));
        }
    }

    /// A connector's circuit breaker has changed.
    pub fn breaker_changed(&self, connector: &str, states: &[&'static str], to: &'static str) {
        self.breaker_stands(connector, states, to);
        self.0.recorder.counter(Metric::CircuitBreakerTransitions, &[connector, to]).increment(1);
    }

    /// Whether the copy of circuit breakers on disk is not what it should be.
    pub fn breaker_store_degraded(&self, degraded: bool) {
        self.0.recorder.gauge(Metric::BreakerStoreDegraded, &[]).set(f64::from(u8::from(degraded)));
    }

    /// Takes over what health and the system say; called by each scrape.
    pub fn observe(&self, readiness: &Readiness) {
        self.0.recorder.gauge(Metric::Ready, &[]).set(f64::from(u8::from(readiness.ready)));
        if let Some(usage) = ProcessUsage::now() {
            self.0.recorder.gauge(Metric::ResidentMemory, &[]).set(usage.resident_memory_bytes as f64);
            self.0.recorder.gauge(Metric::OpenFiles, &[]).set(usage.open_files as f64);
        }
        let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
        for problem in &readiness.problems {
            *counts.entry(problem.kind).or_default() += 1;
        }
        let mut gauges = self.0.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in counts.keys() {
            gauges.entry(kind).or_insert_with(|| self.0.recorder.gauge(Metric::Problem, &[kind]));
        }
        for (kind, gauge) in gauges.iter() {
            gauge.set(counts.get(kind).map_or(ABSENT, |count| f64::from(*count)));
        }
    }

    /// Puts samples of histograms that wait into their buckets. Run it every [`UPKEEP_EVERY`]; without it nothing is lost, but lanes do
    /// that work whenever too many wait.
    pub fn upkeep(&self) {
        self.0.recorder.upkeep();
    }

    /// All numbers as text.
    pub fn render(&self, exposition: Exposition) -> String {
        self.0.recorder.render(exposition)
    }
}

impl Inner {
    /// Takes a lane's oldest unprocessed timestamp, in seconds since the Unix epoch, and shows that of all lanes.
    pub(super) fn set_oldest(&self, lane: usize, oldest: Option<f64>) {
        let mut state = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        match oldest {
            Some(seconds) => drop(state.by_lane.insert(lane, seconds)),
            None => drop(state.by_lane.remove(&lane)),
        }
        let Some(oldest) = state.by_lane.values().copied().min_by(f64::total_cmp) else {
            state.gauge.iter().for_each(|gauge| gauge.set(ABSENT));
            return;
        };
        state.gauge.get_or_insert_with(|| self.recorder.gauge(Metric::OldestUnprocessed, &[])).set(oldest);
    }
}

/// The names that have series of their own, the same ones for all lanes. Once full it never changes again, and is asked without a lock.
pub(super) struct NameBound {
    most: usize,
    names: Mutex<FxHashSet<Arc<str>>>,
    full: OnceLock<FxHashSet<Arc<str>>>,
}

impl NameBound {
    fn new(most: usize) -> NameBound {
        NameBound { most, names: Mutex::default(), full: OnceLock::new() }
    }

    /// Whether this name has series of its own; a new one gets them while there is room.
    pub(super) fn admits(&self, name: &str) -> bool {
        if let Some(full) = self.full.get() {
            return full.contains(name);
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return true;
        }
        // A name that is called as the rest is must not be counted with it by accident, nor take a place.
        if name == OTHER || names.len() >= self.most {
            return false;
        }
        names.insert(name.into());
        if names.len() == self.most {
            // Only whoever holds the lock comes here, and only once.
            let _ = self.full.set(names.clone());
        }
        true
    }
}

/// Seconds since the Unix epoch, as every timestamp is shown.
pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
