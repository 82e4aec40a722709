//! An instance with all that belongs to it: definitions, lanes, the admin address, signals, watchdog.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::alerts::{AlertTarget, AlertWriter};
use super::caller::Connectors;
use super::cluster::{self, Cluster};
use super::definitions;
use super::followers::{Followed, Followers};
use super::group_watch::{GroupWatch, WatchedGroup};
use super::instance::{Instance, Parts};
use super::observer::Watcher;
use super::problems::{REGISTRY, TOPICS};
use super::purge::{Done, Purge};
use super::record_reader::RecordReader;
use super::record_schemas;
use super::schemas::SourceSchemas;
use super::subjects::Subjects;
use super::topic_watch::{SystemTopics, TopicWatch, Watched};
use super::versions::Versions;
use super::waiting::SharedWaiting;
use crate::codec::record::Encoding;
use crate::engine::registry::Registry;
use crate::kafka::client::ClientSettings;
use crate::lane::StopSignal;
use crate::settings::Settings;
use crate::telemetry::admin::{AdminServer, router};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{Metrics, UPKEEP_EVERY};

/// How long answers of the admin address may take when it stops.
const ADMIN_STOP: Duration = Duration::from_secs(1);
/// A lane that has not gone through its loop for so long hangs, and only a new process helps.
const HANGS: Duration = Duration::from_secs(180);
/// How often the watchdog looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A whole instance that runs.
pub struct Running {
    instance: Instance,
    followers: Followers,
    topics: TopicWatch,
    group: GroupWatch,
    purge: Purge,
    alerts: AlertWriter,
    admin: AdminServer,
    runtime: tokio::runtime::Runtime,
    stop: Arc<StopSignal>,
    health: Health,
}

/// What an instance is started with.
pub struct Start {
    /// The settings.
    pub settings: Settings,
    /// The Kafka clients' settings.
    pub clients: ClientSettings,
    /// Set from outside to end it, also while it waits for the cluster.
    pub stop: Arc<StopSignal>,
    /// Who else is told what was committed.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// Whether it starts although workflows in use call connectors that the settings do not have. Then that is only said.
    pub starts_anyway: bool,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order: everything in flight was committed.
    Gracefully,
    /// Something did not end in time; threads are left behind.
    Late,
    /// A lane hung.
    Hung,
}

impl Running {
    /// Starts the admin address at once, and the lanes when the cluster can be used and the definitions are installed.
    pub fn start(start: Start) -> anyhow::Result<Option<Running>> {
        let Start { settings, clients, stop, watcher, starts_anyway } = start;
        let health = Health::new(settings.lanes.get(), Instant::now());
        let metrics = Metrics::of_this_build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let admin = runtime.block_on(AdminServer::start(settings.admin, router(metrics.clone(), health.clone())))?;
        runtime.spawn(keep_up(metrics.clone()));
        let Some(known) = wait_for_cluster(&settings, &clients, runtime.handle(), &stop, &health)? else {
            runtime.block_on(admin.stop(ADMIN_STOP));
            return Ok(None);
        };
        let target = alert_target(&settings, known.encoder.encoding);
        let reader = RecordReader::new(&settings);
        let alerts = AlertWriter::start(clients.clone(), target, reader, &health, metrics.clone())?;
        let system = Arc::new(SystemTopics::new(known.system_ids));
        let schemas = SourceSchemas::new(&settings, runtime.handle(), &health)?;
        let registry = Arc::new(RwLock::new(Registry::new()));
        let subjects = Subjects::new(&settings, runtime.handle(), health.clone())?;
        let versions = Arc::new(versions_of(subjects.clone()));
        let done = Arc::new(Done::default());
        let waiting = Arc::new(SharedWaiting::new(
            &settings,
            known.encoder.journal.clone(),
            versions.clone(),
            Arc::new(Connectors::of(runtime.handle().clone(), &settings)?),
            done.clone(),
            (health.clone(), metrics.clone()),
        ));
        let followed = Followed {
            settings: &settings,
            clients: &clients,
            system: &system,
            registry: &registry,
            versions: &versions,
            subjects: &subjects,
            gates: waiting.gates(),
            health: &health,
        };
        let Some(followers) = Followers::start(followed, &stop)? else {
            alerts.finish();
            return Ok(None);
        };
        if let Err(error) = refuse_unknown_connectors(&settings, &registry, starts_anyway) {
            stop.set();
            followers.join();
            alerts.finish();
            return Err(error);
        }
        let parts = Parts {
            schemas,
            subjects,
            settings,
            clients,
            encoder: known.encoder,
            journal_partitions: known.journal_partitions,
            registry,
            health: health.clone(),
            metrics,
            topic_ids: Arc::default(),
            waiting,
            watcher,
            stop: stop.clone(),
        };
        let topics = TopicWatch::start(watched_topics(&parts, system), stop.clone())?;
        let purge = Purge::start(parts.clients.clone(), parts.encoder.journal.name.clone(), done, stop.clone())?;
        let watched = watched_group(&parts);
        let instance = Instance::start(parts)?;
        let group = GroupWatch::start(watched, stop.clone())?;
        Ok(Some(Running { instance, followers, topics, group, purge, alerts, admin, runtime, stop, health }))
    }

    /// Where the admin address really listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// How many executions wait; more than there are until what waited before was read.
    pub fn waiting(&self) -> usize {
        self.instance.waiting()
    }

    /// What says whether all is well.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Waits until it is told to stop, or hangs, and ends it.
    pub fn wait(self) -> Ended {
        while !self.stop.wait(WATCH_EVERY) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let silence = self.instance.longest_silence(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
            if silence > HANGS {
                tracing::error!(
                    silence_seconds = silence.as_secs(),
                    "a lane hangs; the process ends so that a new one can start"
                );
                return Ended::Hung;
            }
        }
        self.stop()
    }

    /// Commits what is in flight and ends everything.
    pub fn stop(self) -> Ended {
        self.health.stop();
        self.stop.set();
        let graceful = self.instance.stop();
        if graceful {
            self.followers.join();
            self.topics.join();
            self.group.join();
            self.purge.join();
        }
        self.alerts.finish();
        self.runtime.block_on(self.admin.stop(ADMIN_STOP));
        if graceful { Ended::Gracefully } else { Ended::Late }
    }
}

fn versions_of(subjects: Subjects) -> Versions {
    Versions::new(Box::new(move |document| definitions::compile(&subjects, document)))
}

/// The cluster, once it can be used, and the registry has the schemas of records, if they are written as Avro; None if it was stopped
/// meanwhile.
fn wait_for_cluster(
    settings: &Settings,
    clients: &ClientSettings,
    runtime: &Handle,
    stop: &StopSignal,
    health: &Health,
) -> anyhow::Result<Option<Cluster>> {
    let told = |error: &cluster::ClusterError| {
        tracing::warn!(cause = %error, "the cluster cannot be used yet; waiting");
        health.raise(TOPICS, "cluster", &error.to_string(), SystemTime::now());
    };
    let Ok(mut known) = cluster::wait_for(settings, clients, stop, told) else { return Ok(None) };
    health.clear(TOPICS, "cluster", SystemTime::now());
    let told = |error: &record_schemas::SchemaError| {
        tracing::warn!(cause = %error, "records cannot be written as Avro yet; waiting");
        health.raise(REGISTRY, "records", &error.to_string(), SystemTime::now());
    };
    let encoding = record_schemas::wait_for(settings, runtime, stop, told)?;
    let Some(encoding) = encoding else { return Ok(None) };
    health.clear(REGISTRY, "records", SystemTime::now());
    known.encoder.encoding = encoding;
    Ok(Some(known))
}

/// Refuses to start where workflows in use call connectors that the settings do not have.
fn refuse_unknown_connectors(
    settings: &Settings,
    registry: &RwLock<Registry>,
    starts_anyway: bool,
) -> anyhow::Result<()> {
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    let checked = definitions::check_installed(settings, &registry);
    if let (true, Err(error)) = (starts_anyway, &checked) {
        tracing::warn!(cause = %error, "workflows in use call what these settings do not have: those steps will fail");
        return Ok(());
    }
    checked.context(
        "workflows in use call what these settings do not have: their executions would fail, so nothing was started; one that is not to \
         run any more can be applied as `stopped`",
    )
}

fn watched_topics(parts: &Parts, system: Arc<SystemTopics>) -> Watched {
    let (clients, sources, health) = (parts.clients.clone(), parts.topic_ids.clone(), parts.health.clone());
    Watched { clients, sources, system, health }
}

fn watched_group(parts: &Parts) -> WatchedGroup {
    let sources = parts.settings.sources.iter().map(|source| source.topic.as_str().to_owned());
    WatchedGroup {
        clients: parts.clients.clone(),
        group: parts.settings.group.clone(),
        topics: sources.chain([parts.encoder.journal.name.to_string()]).collect(),
        other_topic: cluster::topic(&parts.settings, "control"),
        health: parts.health.clone(),
    }
}

fn alert_target(settings: &Settings, encoding: Encoding) -> AlertTarget {
    AlertTarget {
        encoding,
        topic: cluster::topic(settings, "alerts").into(),
        environment: settings.environment.as_str().into(),
        instance: settings.instance.as_str().into(),
    }
}

/// Ends with its runtime.
async fn keep_up(metrics: Metrics) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        metrics.upkeep();
    }
}

/// Sets the signal when the process is asked to end. A second request ends it at once.
pub fn stop_on_signals(stop: Arc<StopSignal>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                tracing::error!("signals cannot be listened to; end the process with SIGKILL");
                return;
            };
            for first in [true, false] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if first {
                    tracing::info!("stopping; once more to end at once");
                    stop.set();
                } else {
                    std::process::exit(130);
                }
            }
        });
    })?;
    Ok(())
}
