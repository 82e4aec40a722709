//! Everything in one process: the embedded broker, topics, workflows that are applied when they are saved, an instance, and a view of
//! what happens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::project::{Project, with_versions_of_their_own};
use super::record_reader::RecordReader;
use super::run::{Ended, Running, Start};
use super::totals::{Counts, Totals};
use super::{cluster, definitions, events_file};
use crate::definition::{Change, ChangeKind, Diagnostic};
use crate::dev_broker::{DevBroker, Options};
use crate::engine::wire::WireRecord;
use crate::kafka::admin::Admin;
use crate::kafka::client::ClientSettings;
use crate::kafka::group_offsets::GroupOffsets;
use crate::kafka::log_reader::{From, LogReader, LogRecord};
use crate::kafka::sender::Sender;
use crate::kafka::topics;
use crate::lane::StopSignal;
use crate::settings::{KafkaSettings, Overrides, ProcessEnvironment, Settings, TopicSelector};

/// How often files and progress are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So often in a row everything must look done: what one event has mailed to the journal is known to its owner a moment later.
const IDLE_LOOKS: u32 = 3;
/// How long sending a file may take.
const SEND_WITHIN: Duration = Duration::from_secs(120);
/// Partitions of source topics that `dev` creates.
const SOURCE_PARTITIONS: i32 = 4;

/// What `dev` is to do.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// The project's folder.
    pub directory: PathBuf,
    /// Events to send once everything runs.
    pub send: Option<PathBuf>,
    /// Whether to end when everything sent is done.
    pub exit_when_idle: bool,
    /// Whether to keep nothing.
    pub ephemeral: bool,
    /// Where the embedded broker listens.
    pub kafka: SocketAddr,
    /// Where the admin address listens, if not as in the settings.
    pub admin: Option<SocketAddr>,
}

/// Who is told what happens. Called from one thread.
pub trait Reporter {
    /// Everything runs: the addresses of broker and admin.
    fn started(&mut self, kafka: &str, admin: &str);
    /// Definitions were applied.
    fn applied(&mut self, changes: &[Change]);
    /// Files have mistakes; what was applied before goes on.
    fn mistakes(&mut self, mistakes: &[Diagnostic]);
    /// Something in a file is allowed, and does not do what its author may think.
    fn warned(&mut self, warning: &Diagnostic);
    /// Something could not be done.
    fn trouble(&mut self, message: &str);
    /// Events were sent.
    fn sent(&mut self, count: usize);
    /// An execution or a dead letter was recorded.
    fn recorded(&mut self, record: &LogRecord);
    /// The end.
    fn summary(&mut self, counts: &Counts);
}

/// Runs a project until it is told to stop, or until it is idle if that is wanted.
pub fn dev(options: &DevOptions, stop: &Arc<StopSignal>, reporter: &mut dyn Reporter) -> anyhow::Result<Ended> {
    let (settings, _broker) = start_broker(options)?;
    let clients = cluster::clients(&settings)
        .map_err(|errors| anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    create_topics(&settings, &clients)?;
    let mut files = Files { project: Project::new(&options.directory), settings: &settings, clients: &clients };
    files.look(reporter);
    let totals = Arc::new(Totals::default());
    let watcher = Some(totals.clone() as _);
    let start = Start {
        settings: settings.clone(),
        clients: clients.clone(),
        stop: stop.clone(),
        watcher,
        starts_anyway: true,
    };
    let Some(running) = Running::start(start)? else { bail!("stopped before everything ran") };
    reporter.started(&settings.kafka.bootstrap_servers, &format!("http://{}", running.admin_address()));
    let mut view = View::open(&settings, &clients)?;
    if let Some(path) = &options.send {
        reporter.sent(send(path, &settings, &clients)?);
    }
    let offsets = GroupOffsets::of(&clients, &settings.group)?;
    let mut looked = Instant::now();
    let mut idle_looks = 0;
    while !stop.is_set() {
        let seen = view.poll(reporter);
        if looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        files.look(reporter);
        let is_idle = options.exit_when_idle && !seen && running.waiting() == 0 && is_idle(&settings, &offsets);
        idle_looks = if is_idle { idle_looks + 1 } else { 0 };
        if idle_looks >= IDLE_LOOKS {
            // What was committed last may not have been seen yet.
            view.drain(reporter);
            break;
        }
    }
    let ended = running.stop();
    reporter.summary(&totals.counts());
    Ok(ended)
}

fn start_broker(options: &DevOptions) -> anyhow::Result<(Settings, DevBroker)> {
    let path = options.directory.join("tidegate.toml");
    let overrides = Overrides {
        admin: options.admin.map(|address| address.to_string()),
        embedded_broker: Some(options.kafka.to_string()),
        ..Overrides::default()
    };
    let mut settings = Settings::load(&path, &ProcessEnvironment, &overrides)?;
    let data_dir = (!options.ephemeral).then(|| settings.data_dir.join("broker"));
    let broker =
        Options { listen: options.kafka, data_dir, default_partitions: SOURCE_PARTITIONS, ..Options::default() };
    let broker = DevBroker::start_blocking(broker)?;
    settings.kafka = KafkaSettings::plain(&broker.bootstrap());
    Ok((settings, broker))
}

fn create_topics(settings: &Settings, clients: &ClientSettings) -> anyhow::Result<()> {
    let admin = Admin::new(clients)?;
    topics::create_missing(&admin, &cluster::topic_plan(settings))?;
    for source in &settings.sources {
        if let TopicSelector::Name(name) = &source.topic {
            admin.create_topic(name, SOURCE_PARTITIONS, -1, &Default::default())?;
        }
    }
    Ok(())
}

/// Sends a file of events; returns how many.
fn send(path: &std::path::Path, settings: &Settings, clients: &ClientSettings) -> anyhow::Result<usize> {
    let records = events_file::read(path, settings)
        .map_err(|mistakes| anyhow::anyhow!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    send_records(clients, &records, |_| ()).context("sending the events")?;
    Ok(records.len())
}

/// Sends records and waits until all are acknowledged. `progress` is told how many were taken, now and then.
pub fn send_records(
    clients: &ClientSettings,
    records: &[WireRecord],
    mut progress: impl FnMut(usize),
) -> anyhow::Result<()> {
    let mut sender = Sender::new(clients)?;
    let deadline = Instant::now() + SEND_WITHIN;
    for (place, record) in records.iter().enumerate() {
        sender.send(record, place + 1, deadline)?;
        progress(place);
    }
    sender.finish(deadline, |left| progress(records.len().saturating_sub(left)))?;
    Ok(())
}

/// Whether every record of every source is done. A broker that does not answer is not idle.
fn is_idle(settings: &Settings, offsets: &GroupOffsets) -> bool {
    let names = settings.sources.iter().filter_map(|source| match &source.topic {
        TopicSelector::Name(name) => Some(name.as_str()),
        TopicSelector::Pattern { .. } => None,
    });
    let standings = offsets.standings(&names.collect::<Vec<_>>());
    standings.is_ok_and(|standings| standings.iter().all(|it| it.lag() == 0))
}

/// The workflow files, kept applied.
struct Files<'a> {
    project: Project,
    settings: &'a Settings,
    clients: &'a ClientSettings,
}

impl Files<'_> {
    /// Applies what is new or was edited.
    fn look(&mut self, reporter: &mut dyn Reporter) {
        let look = self.project.look();
        if !look.mistakes.is_empty() {
            reporter.mistakes(&look.mistakes);
        }
        look.definitions.iter().flat_map(|it| &it.warnings).for_each(|warning| reporter.warned(warning));
        if look.definitions.is_empty() {
            return;
        }
        // What cannot be called for here keeps no other file from being applied.
        let mut wanted = look.definitions;
        wanted.retain(|definition| {
            let checked = definitions::check_connectors(self.settings, std::slice::from_ref(definition));
            checked.inspect_err(|error| reporter.trouble(&error.to_string())).is_ok()
        });
        let topic = cluster::topic(self.settings, "workflows");
        let applied = definitions::read_installed(self.clients, &topic)
            .map_err(definitions::ApplyError::from)
            .map(|installed| with_versions_of_their_own(&installed, wanted))
            .and_then(|wanted| definitions::apply(self.clients, &self.settings.environment, &topic, &wanted));
        match applied {
            Ok(changes) => {
                let changed: Vec<Change> =
                    changes.into_iter().filter(|change| change.kind != ChangeKind::Unchanged).collect();
                reporter.applied(&changed);
            }
            Err(error) => reporter.trouble(&error.to_string()),
        }
    }
}

/// The records that people want to see as they come.
struct View {
    reader: LogReader,
    records: RecordReader,
}

impl View {
    fn open(settings: &Settings, clients: &ClientSettings) -> anyhow::Result<View> {
        let (executions, letters) = (cluster::topic(settings, "executions"), cluster::topic(settings, "dead-letters"));
        let reader = LogReader::open(clients, &[&executions, &letters], From::End)?;
        Ok(View { reader, records: RecordReader::new(settings) })
    }

    /// Reports what has come; returns whether anything had.
    fn poll(&mut self, reporter: &mut dyn Reporter) -> bool {
        let until = Instant::now() + LOOK_EVERY;
        let mut seen = false;
        while Instant::now() < until {
            match self.reader.poll(Duration::from_millis(40)) {
                Ok(Some(mut record)) => {
                    seen = true;
                    match self.records.translate(&mut record) {
                        Ok(()) => reporter.recorded(&record),
                        Err(error) => reporter.trouble(&error),
                    }
                }
                Ok(None) => break,
                Err(error) => reporter.trouble(&error.to_string()),
            }
        }
        seen
    }

    fn drain(&mut self, reporter: &mut dyn Reporter) {
        let mut quiet = 0;
        while quiet < 3 {
            quiet = if self.poll(reporter) { 0 } else { quiet + 1 };
        }
    }
}
