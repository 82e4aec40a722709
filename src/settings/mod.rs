//! Settings of an instance: `tidegate.toml`, what overrides it, and its defaults.
//!
//! A file is parsed first and understood afterwards: every mistake in it is reported at once, with its place and its remedy, and what comes
//! out is valid by construction. Each default is what `default.toml` beside this file says.

mod breaker;
mod check;
mod connector;
mod document;
mod environment;
mod kafka;
mod mistake;
mod reference;
mod secret;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use connector::{ConnectorKind, ConnectorSettings, RegistrySettings};
pub use environment::{Environment, FixedEnvironment, ProcessEnvironment, REFERENCED_FILE_BYTES};
pub use kafka::KafkaSettings;
pub use mistake::{Mistake, Mistakes, Place, nearest};
pub use reference::References;
pub use secret::Secret;
pub use source::{AvroSettings, Locator, PlaceSettings, SourceFormat, SourceSettings, Start, TopicSelector};

use document::{Document, MistakeList, Reader, SETTINGS_BYTES, Section, Text};
use reference::Resolver;

/// The defaults, and the reference of every setting with its meaning.
pub const DEFAULT_SETTINGS: &str = include_str!("default.toml");

/// What an instance was told to be and to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the settings file: `workflows/` lies in it and relative paths start there.
    pub directory: PathBuf,
    /// Name of the environment, part of every execution's id. 1 to 64 of `[a-zA-Z0-9._-]`.
    pub environment: String,
    /// What the names of all system topics start with; no source matches it.
    pub topic_prefix: String,
    /// Stable name of this instance, unique in its group; the host's name unless given. 1 to 64 of `[a-zA-Z0-9._-]`.
    pub instance: String,
    /// Address of `/metrics`, `/livez` and `/readyz`; port 0 takes any free port.
    pub admin: SocketAddr,
    /// Threads that own partitions; one per core unless given.
    pub lanes: NonZeroUsize,
    /// The consumer group.
    pub group: String,
    /// How the group agrees on who owns what.
    pub group_protocol: GroupProtocol,
    /// Whether an instance that is stopped leaves its group.
    pub leaves_on_stop: bool,
    /// Breaker snapshots and caches; everything in it can be lost.
    pub data_dir: PathBuf,
    /// Settings of every Kafka client.
    pub kafka: KafkaSettings,
    /// What is consumed, in the order of the file.
    pub sources: Vec<SourceSettings>,
    /// External systems that steps may call, by name. This version calls none.
    pub connectors: BTreeMap<String, ConnectorSettings>,
    /// The schema registry. Asked if a source, the records or a step need it.
    pub registry: Option<RegistrySettings>,
    /// What is recorded of executions.
    pub records: RecordSettings,
    /// How system topics are created.
    pub topics: TopicSettings,
    /// What may be kept in memory.
    pub limits: LimitSettings,
}

/// How the group agrees on who owns what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The classic protocol, cooperative and sticky: about a second to hand over, on any broker.
    Classic,
    /// KIP-848: the broker decides; 5 s to hand over unless the broker's interval is lowered.
    Consumer,
}

/// What is recorded of executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// Which step results get a record of their own. Each costs about as much as the execution's own record.
    pub step_results: StepResults,
    /// How records are written.
    pub encoding: Encoding,
}

/// Which step results get a record of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepResults {
    /// Each.
    All,
    /// Those of steps that failed.
    Failed,
    /// None; the execution's record holds them.
    None,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// Step results, executions and alerts as Avro in Confluent's wire format, with schemas in the registry; all else as JSON.
    Avro,
}

/// What may be kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// What executions that wait may take in the memory of a lane, in bytes; past it, they are read again when their turn comes.
    pub waiting_bytes: usize,
}

/// How system topics are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Partitions of each topic that may have several, the journal excepted; 0 = as its description says.
    pub partitions: i32,
    /// Partitions of the journal, 1 to 65 535. Part of every execution's id: fixed once the topic is there.
    pub journal_partitions: u16,
    /// Copies of each partition; 0 = the broker's default.
    pub replication: i16,
}

/// What a command says beside the file.
#[derive(Clone, Debug)]
pub struct Overrides {
    /// Replaces `admin`; the option it came from is shown as `--admin`.
    pub admin: Option<String>,
    /// Replaces all of `[kafka]` with this address: the embedded broker asks for neither credentials nor encryption.
    pub embedded_broker: Option<String>,
    /// Whether `${…}` is followed.
    pub references: References,
}

impl Default for Overrides {
    fn default() -> Self {
        Overrides { admin: None, embedded_broker: None, references: References::Resolve }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read: name another, or mend its rights.
    #[error("{path} cannot be read; name a settings file with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has mistakes: mend them.
    #[error("{0}")]
    Mistakes(Mistakes),
}

impl Settings {
    /// Reads a file.
    pub fn load(path: &Path, environment: &dyn Environment, overrides: &Overrides) -> Result<Settings, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
        let text = read_bounded(path).map_err(unreadable)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = path.display().to_string();
        Settings::parse(&file, &text, directory, environment, overrides).map_err(SettingsError::Mistakes)
    }

    /// Understands a file's text. `file` is its name in mistakes, `directory` where relative paths start.
    pub fn parse(
        file: &str,
        text: &str,
        directory: &Path,
        environment: &dyn Environment,
        overrides: &Overrides,
    ) -> Result<Settings, Mistakes> {
        let variables = environment.variables();
        let mistakes = MistakeList::default();
        let document = Document::parse(file, text, &mistakes);
        let defaults = Document::parse("default.toml", DEFAULT_SETTINGS, &mistakes);
        let resolver = Resolver { environment, variables: &variables, directory, references: overrides.references };
        let reader = Reader { mistakes: &mistakes, resolver: &resolver };
        let outside = override_texts(&variables, overrides, &mistakes);
        let data_dir_is_outside = outside.contains_key("data_dir");
        let mut root = Section::root(&reader, &document, &defaults, outside);
        let mut settings = read_settings(&mut root, directory, environment, &variables, overrides);
        root.finish();
        if let Some(mistakes) = mistakes.into_mistakes() {
            return Err(mistakes);
        }
        // A path in the file is relative to the file, one from outside to where the command runs.
        if let Some(settings) = settings.as_mut().filter(|_| !data_dir_is_outside) {
            settings.data_dir = directory.join(&settings.data_dir);
        }
        settings.ok_or_else(|| unexplained(file))
    }

    /// The source that a topic belongs to: the one that names it, else the first whose pattern matches; none for system topics.
    pub fn source_of(&self, topic: &str) -> Option<&SourceSettings> {
        if topic.starts_with(&self.topic_prefix) {
            return None;
        }
        let named =
            |source: &&SourceSettings| matches!(source.topic, TopicSelector::Name(_)) && source.topic.matches(topic);
        let matching = || self.sources.iter().find(|source| source.topic.matches(topic));
        self.sources.iter().find(named).or_else(matching)
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // One byte more than allowed is read, so that the parser sees that the file is too long, and says so.
    std::fs::File::open(path)?.take(SETTINGS_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > SETTINGS_BYTES {
        // The cut may be within a character, which is not what is wrong.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Variables that override a setting at the top of the file. Others that start with TIDEGATE_ are left alone: Kubernetes makes some
/// of its own for every service that is called tidegate.
const VARIABLES: [(&str, &str); 9] = [
    ("TIDEGATE_ENVIRONMENT", "environment"),
    ("TIDEGATE_TOPIC_PREFIX", "topic_prefix"),
    ("TIDEGATE_INSTANCE", "instance"),
    ("TIDEGATE_ADMIN", "admin"),
    ("TIDEGATE_LANES", "lanes"),
    ("TIDEGATE_GROUP", "group"),
    ("TIDEGATE_GROUP_PROTOCOL", "group_protocol"),
    ("TIDEGATE_LEAVE_ON_STOP", "leave_on_stop"),
    ("TIDEGATE_DATA_DIR", "data_dir"),
];

/// What the variables and the command line set. An empty variable is one that is not set, as compose files write it.
fn override_texts(
    variables: &BTreeMap<String, Result<String, OsString>>,
    overrides: &Overrides,
    mistakes: &MistakeList,
) -> BTreeMap<&'static str, Text> {
    let mut texts = BTreeMap::new();
    for (variable, key) in VARIABLES {
        let place = Place::Variable(variable.to_owned());
        match variables.get(variable) {
            Some(Ok(value)) if !value.is_empty() => drop(texts.insert(key, Text::outside(value, place))),
            Some(Err(_)) => mistakes.add(place, "the value is not UTF-8", "write it in UTF-8"),
            Some(Ok(_)) | None => {}
        }
    }
    if let Some(admin) = &overrides.admin {
        texts.insert("admin", Text::outside(admin, Place::CommandLine("--admin".to_owned())));
    }
    texts
}

// Every part is read before any is missed, so that one pass finds all mistakes.
fn read_settings(
    root: &mut Section<'_, '_>,
    directory: &Path,
    surroundings: &dyn Environment,
    variables: &BTreeMap<String, Result<String, OsString>>,
    overrides: &Overrides,
) -> Option<Settings> {
    const PROTOCOLS: [(&str, GroupProtocol); 2] =
        [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];
    let environment = root.parsed("environment", check::identifier);
    let topic_prefix = root.parsed("topic_prefix", check::topic_prefix);
    let instance = read_instance(root, surroundings);
    let admin = root.parsed("admin", check::listen_address);
    let lanes = read_lanes(root, surroundings);
    let group = root.parsed("group", check::group);
    let group_protocol = root.choice("group_protocol", &PROTOCOLS);
    let leaves_on_stop = root.choice("leave_on_stop", &[("yes", true), ("no", false)]);
    let data_dir = root.parsed("data_dir", |path| match path {
        "" => Err(("it is empty", "name a folder, like \".tidegate\"".to_owned())),
        _ if path.contains('\0') => Err(("it has a NUL character", "name a folder, like \".tidegate\"".to_owned())),
        _ => Ok(PathBuf::from(path)),
    });
    let kafka = match &overrides.embedded_broker {
        Some(address) => {
            root.section("kafka");
            Some(KafkaSettings::plain(address))
        }
        None => kafka::read_kafka(root, variables),
    };
    let sources = source::read_sources(root, topic_prefix.as_deref().unwrap_or("tidegate."));
    let connectors = connector::read_connectors(root);
    let registry = connector::read_registry(root);
    for source in sources.iter().filter(|it| registry.is_none() && matches!(it.format, SourceFormat::Avro(_))) {
        let what = "format `avro` needs a schema registry";
        root.mistake(source.place.clone(), what, "add [registry] with its url");
    }
    let records = read_records(root, registry.is_some());
    let topics = read_topics(root);
    let limits = read_limits(root);
    Some(Settings {
        directory: directory.to_owned(),
        environment: environment?,
        topic_prefix: topic_prefix?,
        instance: instance?,
        admin: admin?,
        lanes: lanes?,
        group: group?,
        group_protocol: group_protocol?.0,
        leaves_on_stop: leaves_on_stop?.0,
        data_dir: data_dir?,
        kafka: kafka?,
        sources,
        connectors,
        registry,
        records: records?,
        topics: topics?,
        limits: limits?,
    })
}

fn read_instance(root: &mut Section<'_, '_>, environment: &dyn Environment) -> Option<String> {
    if root.text("instance").is_some_and(|instance| instance.resolved) {
        return root.parsed("instance", check::identifier);
    }
    let host_name = environment.host_name().unwrap_or_default();
    let instance = check::identifier(&host_name);
    if instance.is_err() {
        let what =
            format!("`instance` is missing and the host's name `{}` cannot stand for it", mistake::shown(&host_name));
        root.mistake(root.place(), what, "write `instance`, 1 to 64 of a-z A-Z 0-9 . _ -");
    }
    instance.ok()
}

fn read_lanes(root: &mut Section<'_, '_>, environment: &dyn Environment) -> Option<NonZeroUsize> {
    // More threads than this contend for the broker rather than speed anything up.
    const MOST: i64 = 256;
    let lanes = root.integer("lanes", 0..=MOST)?;
    let per_core = environment.cores().min(NonZeroUsize::MIN.saturating_add(MOST as usize - 1));
    Some(NonZeroUsize::new(lanes as usize).unwrap_or(per_core))
}

fn read_limits(root: &mut Section<'_, '_>) -> Option<LimitSettings> {
    // More than this is not the memory of one machine.
    const MOST_MIB: i64 = 1_048_576;
    let mut section = root.section("limits")?;
    let mib = section.integer("waiting_memory_mib", 0..=MOST_MIB);
    section.finish();
    let waiting_bytes = usize::try_from(mib?).ok()?.saturating_mul(1024 * 1024);
    Some(LimitSettings { waiting_bytes })
}

fn read_records(root: &mut Section<'_, '_>, has_registry: bool) -> Option<RecordSettings> {
    const STEP_RESULTS: [(&str, StepResults); 3] =
        [("all", StepResults::All), ("failed", StepResults::Failed), ("none", StepResults::None)];
    const ENCODINGS: [(&str, Encoding); 2] = [("json", Encoding::Json), ("avro", Encoding::Avro)];
    let mut section = root.section("records")?;
    let step_results = section.choice("step_results", &STEP_RESULTS);
    let encoding = section.choice("encoding", &ENCODINGS);
    if let Some((Encoding::Avro, place)) = encoding.clone().filter(|_| !has_registry) {
        section.mistake(place, "encoding `avro` needs a schema registry", "add [registry] with its url");
    }
    section.finish();
    Some(RecordSettings { step_results: step_results?.0, encoding: encoding?.0 })
}

fn read_topics(root: &mut Section<'_, '_>) -> Option<TopicSettings> {
    // The partition of an execution is four hexadecimal digits of its id.
    const PARTITIONS: i64 = 0xffff;
    const REPLICATION: i64 = 100;
    let mut section = root.section("topics")?;
    let partitions = section.integer("partitions", 0..=PARTITIONS);
    let journal_partitions = section.integer("journal_partitions", 1..=PARTITIONS);
    let replication = section.integer("replication", 0..=REPLICATION);
    section.finish();
    Some(TopicSettings {
        partitions: partitions? as i32,
        journal_partitions: journal_partitions? as u16,
        replication: replication? as i16,
    })
}

/// Stands for settings that could not be made though no mistake was found.
fn unexplained(file: &str) -> Mistakes {
    let place = Place::File { file: file.into(), line: 1, column: 1 };
    let what = "a setting that is needed cannot be read".to_owned();
    Mistakes(vec![Mistake { place, what, remedy: "write every setting without ${…} to find which".to_owned() }])
}
