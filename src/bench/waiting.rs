//! What an instance needs for executions that wait, as a real one has it: a journal that is purged, every version of its workflows, gates
//! with circuit breakers that are kept on the disk, and a connector to the target.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Runtime;

use super::BenchError;
use super::broker::Broker;
use super::folder::Folder;
use super::instance::system_topic;
use super::target::CONCURRENCY;
use crate::app::caller::Connectors;
use crate::app::purge::{Done, Purge};
use crate::app::versions::Versions;
use crate::app::waiting::SharedWaiting;
use crate::codec::record::SystemTopic;
use crate::lane::{self, StopSignal};
use crate::settings::{FixedEnvironment, Overrides, Settings};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

/// Partitions of a journal, part of every execution's id: as many as it has unless an operator wants others.
pub const JOURNAL_PARTITIONS: u16 = 24;
/// The connector that steps name.
pub const CONNECTOR: &str = "target";

/// Everything that waits needs, for one instance of one lane, which must end before this goes.
pub struct Waiting {
    journal: SystemTopic,
    shared: SharedWaiting,
    purge: Option<Purge>,
    stop: Arc<StopSignal>,
    /// Where calls run.
    _runtime: Runtime,
    _folder: Folder,
}

impl Waiting {
    /// On a journal that was made for it; `name` is one that nothing else has.
    pub fn start(
        broker: &Broker,
        journal: &Arc<str>,
        target: SocketAddr,
        versions: Arc<Versions>,
        name: &str,
    ) -> Result<Waiting, BenchError> {
        let folder = Folder::new(name)?;
        let settings = settings(target, folder.path())?;
        // As an instance runs its calls.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(BenchError::Thread)?;
        let connectors = Connectors::of(runtime.handle().clone(), &settings);
        let caller = Arc::new(connectors.map_err(|error| BenchError::Option(error.to_string()))?);
        let journal = system_topic(journal, i32::from(JOURNAL_PARTITIONS));
        let (done, stop) = (Arc::new(Done::default()), Arc::new(StopSignal::default()));
        let purge = Purge::start(broker.clients.clone(), journal.name.clone(), done.clone(), stop.clone());
        let purge = purge.map_err(BenchError::Thread)?;
        let told = (Health::new(settings.lanes.get(), Instant::now()), Metrics::of_this_build());
        let shared = SharedWaiting::new(&settings, journal.clone(), versions, caller, done, told);
        Ok(Waiting { journal, shared, purge: Some(purge), stop, _runtime: runtime, _folder: folder })
    }

    /// The journal.
    pub fn journal(&self) -> &SystemTopic {
        &self.journal
    }

    /// What the lane needs.
    pub fn of_the_lane(&self) -> lane::Waiting {
        self.shared.of_lane(0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop.set();
        self.purge.take().into_iter().for_each(Purge::join);
        self.shared.close();
    }
}

/// Settings as an operator would write them for R2. The broker is never asked for by them: its clients are those of the benchmark.
fn settings(target: SocketAddr, folder: &Path) -> Result<Settings, BenchError> {
    let text = format!(
        r#"
lanes = 1
[kafka]
"bootstrap.servers" = "127.0.0.1:1"
[[sources]]
topic = "events"
format = "cloudevents"
[connectors.{CONNECTOR}]
kind = "http"
url = "http://{target}"
concurrency = {CONCURRENCY}
"#
    );
    let (surroundings, overrides) = (FixedEnvironment::default(), Overrides::default());
    let parsed = Settings::parse("tidegate.toml", &text, folder, &surroundings, &overrides);
    parsed.map_err(|mistakes| BenchError::Option(mistakes.to_string()))
}
