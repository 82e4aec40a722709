//! An instance: its lanes, and what they share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::cluster;
use super::definitions;
use super::ledger::Ledger;
use super::observer::{LaneObserver, Watcher};
use super::refusals::Refusals;
use super::schemas::SourceSchemas;
use super::sources::SourceTable;
use super::subjects::Subjects;
use super::waiting::SharedWaiting;
use crate::codec::record::Encoder;
use crate::engine::execution::{Identity, StepResults};
use crate::engine::registry::Registry;
use crate::kafka::client::ClientSettings;
use crate::lane::{Lane, LaneContext, StopSignal, TopicIds};
use crate::settings::{self, Settings};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

/// How long a graceful stop may take before whoever stops it gives up waiting.
pub const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What an instance is made of.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The Kafka clients' settings.
    pub clients: ClientSettings,
    /// Writes records; knows the system topics.
    pub encoder: Encoder,
    /// How many partitions the journal has.
    pub journal_partitions: u16,
    /// Where the schemas of Avro records are found.
    pub schemas: SourceSchemas,
    /// The installed workflows.
    pub registry: Arc<RwLock<Registry>>,
    /// The subjects that they name.
    pub subjects: Subjects,
    /// Who is asked whether all is well.
    pub health: Health,
    /// The numbers.
    pub metrics: Metrics,
    /// What the lanes hold, for whoever compares it with what is there.
    pub topic_ids: Arc<TopicIds>,
    /// What the lanes need for executions that wait.
    pub waiting: Arc<SharedWaiting>,
    /// Who else is told what was committed.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// Set to end it.
    pub stop: Arc<StopSignal>,
}

/// An instance that runs.
pub struct Instance {
    lanes: Vec<Lane>,
    waiting: Arc<SharedWaiting>,
    stop: Arc<StopSignal>,
}

impl Instance {
    /// Starts the lanes.
    pub fn start(parts: Parts) -> std::io::Result<Instance> {
        let stop = parts.stop.clone();
        let table = Arc::new(SourceTable::new(&parts.settings, &parts.schemas));
        let control = cluster::topic(&parts.settings, "control").into();
        let group = parts.settings.group.clone();
        let waiting = parts.waiting.clone();
        let shared = Shared {
            waiting: waiting.clone(),
            ledger: Arc::new(Ledger::new(table.clone(), parts.clients.clone(), control, group)),
            table,
            refusals: Arc::new(Refusals::new(parts.health.clone())),
        };
        let identity = Arc::new(Identity {
            environment: parts.settings.environment.as_str().into(),
            journal_partitions: parts.journal_partitions,
            step_results: match parts.settings.records.step_results {
                settings::StepResults::All => StepResults::All,
                settings::StepResults::Failed => StepResults::Failed,
                settings::StepResults::None => StepResults::None,
            },
        });
        let count = parts.settings.lanes.get();
        let lanes = (0..count).map(|number| Lane::start(context(&parts, &stop, &shared, &identity, number)));
        Ok(Instance { lanes: lanes.collect::<Result<_, _>>()?, waiting, stop })
    }

    /// How many executions wait; more than there are until what waited before was read.
    pub fn waiting(&self) -> usize {
        self.waiting.live()
    }

    /// Commits what is in flight and ends. False if that took longer than [`STOP_WITHIN`]: then threads are left behind, and the
    /// process should end.
    pub fn stop(self) -> bool {
        self.stop.set();
        let deadline = Instant::now() + STOP_WITHIN;
        while self.lanes.iter().any(|lane| !lane.has_ended()) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let joined = self.lanes.into_iter().map(Lane::join).fold(true, |all, one| all & one);
        self.waiting.close();
        joined
    }

    /// The longest time that any lane has not gone through its loop.
    pub fn longest_silence(&self, now_ms: i64) -> Duration {
        let beats = self.lanes.iter().map(|lane| lane.context.last_beat_ms.load(Ordering::Relaxed));
        let silence = beats.min().map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
        Duration::from_millis(silence.unsigned_abs())
    }
}

/// What the lanes of an instance share.
struct Shared {
    waiting: Arc<SharedWaiting>,
    table: Arc<SourceTable>,
    ledger: Arc<Ledger>,
    refusals: Arc<Refusals>,
}

fn context(
    parts: &Parts,
    stop: &Arc<StopSignal>,
    shared: &Shared,
    identity: &Arc<Identity>,
    number: usize,
) -> LaneContext {
    let (for_decode, for_formats, encoder) = (shared.table.clone(), shared.table.clone(), parts.encoder.clone());
    let (for_readiness, subjects) = (shared.table.clone(), parts.subjects.clone());
    let name: Arc<str> = format!("{}-{number}", parts.settings.instance).into();
    let observer = LaneObserver::new(
        number,
        name.clone(),
        parts.health.clone(),
        parts.metrics.clone(),
        Box::new(move |topic| for_formats.format_of(topic)),
        shared.refusals.clone(),
        parts.watcher.clone(),
    );
    LaneContext {
        name,
        group: parts.settings.group.clone(),
        leaves_group: parts.settings.leaves_on_stop,
        topics: shared.table.topics(),
        sources: shared.ledger.clone(),
        clients: parts.clients.clone(),
        transaction_timeout: Duration::from_millis(parts.clients.transaction_timeout_ms()),
        identity: identity.clone(),
        registry: parts.registry.clone(),
        compile: Box::new(move |_, definition| definitions::compile(&subjects, definition)),
        decode: Box::new(move |record| for_decode.decode(record)),
        is_ready: Box::new(move |record, was_understood| for_readiness.is_ready(record, was_understood)),
        encode: Box::new(move |subject, left| encoder.encode(subject, left)),
        waiting: Some(Arc::new(shared.waiting.of_lane(number))),
        observer: Arc::new(observer),
        topic_ids: parts.topic_ids.clone(),
        stop: stop.clone(),
        last_beat_ms: AtomicI64::new(0),
    }
}
