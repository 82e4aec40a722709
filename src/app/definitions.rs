//! Definitions on the `workflows` topic: reading them all, writing changes, and following them while an instance runs.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;

use super::installing::{Installing, TakingUp};
use super::subjects::Subjects;
use super::topic_follower::TopicFollower;
use super::topic_watch::SystemTopics;
use crate::definition::{self, Change, ChangeKind, Definition, Installed, Record, plan_apply};
use crate::engine::plan::Plan;
use crate::engine::registry::Registry;
use crate::engine::wire::WireRecord;
use crate::engine::workflow::{Status, WorkflowId};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::client::{ClientError, ClientSettings};
use crate::kafka::log_reader::{self, LogReader, LogRecord, ReadError};
use crate::kafka::transaction::{WriteError, Writer};
use crate::settings::{ConnectorKind, Settings};

/// How long reading the whole topic may take.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the follower waits for a change before it looks whether it is to stop.
const FOLLOW_POLL: Duration = Duration::from_millis(250);

/// What the definition of a workflow holds that calls something.
const CONNECTOR_FIELD: &[u8] = b"\"connector\"";
/// What the definition of a workflow holds that writes Avro.
const AVRO_FORMAT: &[u8] = b"\"avro\"";
/// Workflows in use that cannot be gone on with, of which a start tells.
const PROBLEMS_SHOWN: usize = 20;

/// Why definitions could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What is installed could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The cluster does not answer, or refuses: see there.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Somebody else began to apply to the same environment meanwhile: look what they did, then try again.
    #[error(
        "somebody else began to apply to this environment and goes first; look with `tidegate diff`, then apply again"
    )]
    Fenced,
    /// What is to be written was not; nothing of it is visible.
    #[error("the definitions were not written: {message}")]
    NotWritten {
        /// Why, in Kafka's words.
        message: String,
    },
    /// The commit was not answered: all of it is visible, or nothing.
    #[error("whether the definitions were written is not known: {message}; look with `tidegate diff`")]
    Uncertain {
        /// Why, in Kafka's words.
        message: String,
    },
    /// Some definitions call connectors that the settings do not have; nothing was written, or started.
    #[error("{}", .0.join("\n"))]
    Connectors(Vec<String>),
    /// Some definitions are refused; nothing was written.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Change>),
}

impl From<WriteError> for ApplyError {
    fn from(error: WriteError) -> ApplyError {
        match error {
            WriteError::Fenced => ApplyError::Fenced,
            WriteError::NotWritten { message, .. } => ApplyError::NotWritten { message },
            WriteError::Uncertain { message } => ApplyError::Uncertain { message },
        }
    }
}

/// What is installed, as of now.
pub fn read_installed(clients: &ClientSettings, topic: &str) -> Result<Installed, ReadError> {
    let mut installed = Installed::default();
    let mut reader = LogReader::open(clients, &[topic], log_reader::From::Beginning)?;
    reader.read_to_end(READ_TIMEOUT, |record| take_up(&mut installed, &record, |_| ()))?;
    Ok(installed)
}

/// Takes up one record; one that cannot be read is told, and changes nothing.
fn take_up(installed: &mut Installed, record: &LogRecord, mut changed: impl FnMut(&WorkflowId)) {
    match Record::decode(record.key.as_deref(), record.value.as_deref()) {
        Ok(read) => {
            let id = read.id().clone();
            installed.take_up(read);
            changed(&id);
        }
        Err(error) => {
            tracing::warn!(topic = %record.topic, offset = record.offset, cause = %error, "a definition cannot be read");
        }
    }
}

/// Refuses definitions whose steps need connectors or a registry that these settings do not have. Those of the instances are believed to be
/// the same.
pub fn check_connectors(settings: &Settings, wanted: &[Definition]) -> Result<(), ApplyError> {
    // What calls nothing any more must be possible to apply: that is the way out where a connector is gone.
    let calling = wanted.iter().filter(|it| may_call(it.workflow.status));
    refuse(calling.flat_map(|it| setting_problems(settings, &it.workflow.id, &it.plan)).collect())
}

/// Refuses to go on with workflows in use whose steps call connectors that these settings do not have: their events would be taken, and
/// their executions fail.
pub fn check_installed(settings: &Settings, registry: &Registry) -> Result<(), ApplyError> {
    let in_use = registry.entries().filter(|entry| may_call(entry.status()));
    // There may be very many: what calls nothing is not compiled before its first event, and what was compiled for this is not kept.
    let calling = in_use.filter(|entry| {
        let has = |text| memmem::find(entry.definition(), text).is_some();
        has(CONNECTOR_FIELD) || has(AVRO_FORMAT)
    });
    let compiled = calling.filter_map(|it| Some((&it.workflow().id, definition::compile(it.definition()).ok()?)));
    let problems = compiled.flat_map(|(id, plan)| setting_problems(settings, id, &plan));
    refuse(problems.take(PROBLEMS_SHOWN).collect())
}

/// Whether executions of a workflow begin, or go on.
fn may_call(status: Status) -> bool {
    matches!(status, Status::Active | Status::Paused)
}

fn setting_problems(settings: &Settings, workflow: &WorkflowId, plan: &Plan) -> Vec<String> {
    let writes = plan.subjects().next().filter(|_| settings.registry.is_none());
    let without_registry = writes.map(|subject| {
        let (id, name) = (workflow.as_str(), &subject.name);
        format!("{id}: the subject {name} needs a schema registry; add [registry] to tidegate.toml, here and for the instances")
    });
    let problem = |name: &Arc<str>| {
        let problem = match settings.connectors.get(&**name).map(|connector| connector.kind) {
            Some(ConnectorKind::Http) => return None,
            Some(ConnectorKind::N8n | ConnectorKind::Temporal) => "is of another kind; http steps need kind = \"http\"",
            None => "is not among the settings; add it to tidegate.toml, here and for the instances",
        };
        Some(format!("{}: [connectors.{name}] {problem}", workflow.as_str()))
    };
    plan.connectors().filter_map(problem).chain(without_registry).collect()
}

fn refuse(problems: Vec<String>) -> Result<(), ApplyError> {
    if problems.is_empty() { Ok(()) } else { Err(ApplyError::Connectors(problems)) }
}

/// Writes what applying the definitions changes, all of it or nothing. One tool at a time per environment: the transactional id is
/// fixed, so whoever comes later fences whoever is not done.
pub fn apply(
    clients: &ClientSettings,
    environment: &str,
    topic: &str,
    wanted: &[Definition],
) -> Result<Vec<Change>, ApplyError> {
    // A cluster that is away, or has no such topic, is known sooner so than by waiting for its transaction coordinator.
    if Admin::new(clients)?.topics(&[topic])?.is_empty() {
        return Err(ReadError::NoTopic(topic.to_owned()).into());
    }
    let mut writer = Writer::take_over(clients, &format!("tidegate-apply-{environment}"))??;
    // Read after the takeover: what an earlier tool had open is decided now.
    let installed = read_installed(clients, topic)?;
    let changes = plan_apply(&installed, wanted);
    let refused: Vec<Change> = changes.iter().filter(|it| it.kind == ChangeKind::Refused).cloned().collect();
    if !refused.is_empty() {
        return Err(ApplyError::Refused(refused));
    }
    let records: Vec<WireRecord> =
        changes.iter().flat_map(|change| &change.records).map(|record| wire(topic, record)).collect();
    if !records.is_empty() {
        writer.write(&records)?;
    }
    Ok(changes)
}

fn wire(topic: &str, record: &Record) -> WireRecord {
    WireRecord {
        topic: topic.into(),
        partition: Some(0),
        key: Some(record.key().into()),
        value: record.value().map(Bytes::from),
        headers: [("content-type", Some("application/json"))].into_iter().collect(),
        step: None,
    }
}

/// Follows the `workflows` topic and keeps a registry as it says. `caught_up` is called once everything that was there is installed. What
/// is installed stays whatever becomes of the topic.
pub fn start_following(
    (clients, topic): (ClientSettings, String),
    system: Arc<SystemTopics>,
    installing: Installing,
    mut caught_up: impl FnMut(bool) + Send + 'static,
) -> std::io::Result<TopicFollower> {
    let stop = installing.stop.clone();
    let follow = move |clients: &ClientSettings, topic: &str, is_over: &dyn Fn() -> bool| {
        follow(clients, topic, &installing, &mut caught_up, is_over)
    };
    TopicFollower::start("definitions", (clients, topic), system, stop, follow, || ())
}

fn follow(
    clients: &ClientSettings,
    topic: &str,
    installing: &Installing,
    caught_up: &mut impl FnMut(bool),
    is_over: &dyn Fn() -> bool,
) -> Result<(), ReadError> {
    let mut installed = Installed::default();
    let mut reader = LogReader::open(clients, &[topic], log_reader::From::Beginning)?;
    reader.read_to_end(READ_TIMEOUT, |record| take_up(&mut installed, &record, |_| ()))?;
    let mut taking = TakingUp::new(installing);
    for id in &all_of(&installed, &installing.registry) {
        taking.take_up(&installed, id);
    }
    let mut touched = Vec::new();
    let mut is_caught_up = false;
    while !is_over() {
        // Events that come before a workflow is in use are not its events: a start waits for all that are to be.
        if !is_caught_up && taking.is_in_use_as_installed() {
            tracing::info!(workflows = installed.len(), "the definitions are installed");
            caught_up(true);
            is_caught_up = true;
        }
        if let Some(record) = reader.poll(FOLLOW_POLL)? {
            take_up(&mut installed, &record, |id| touched.push(id.clone()));
        }
        touched.extend(taking.due());
        while let Some(id) = touched.pop() {
            taking.take_up(&installed, &id);
        }
    }
    Ok(())
}

/// Every workflow of the topic, and those that only the registry still has: when the topic is read again from its beginning, what was
/// deleted meanwhile has left nothing there.
fn all_of(installed: &Installed, registry: &RwLock<Registry>) -> BTreeSet<WorkflowId> {
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    let known = registry.entries().map(|entry| &entry.workflow().id);
    installed.iter().map(|(id, _)| id).chain(known).cloned().collect()
}

/// The subjects that the steps of a definition name. Those that name none, which are nearly all, are not compiled for this.
pub fn subjects_of(definition: &[u8]) -> Vec<Arc<str>> {
    let plan = memmem::find(definition, AVRO_FORMAT).and_then(|_| definition::compile(definition).ok());
    plan.iter().flat_map(|plan| plan.subjects()).map(|subject| subject.name.clone()).collect()
}

/// Compiles the plan of a workflow from its definition, ready to run; the error is for its author.
pub fn compile(subjects: &Subjects, definition: &[u8]) -> Result<Arc<Plan>, String> {
    let plan = definition::compile(definition).map_err(|refused| refused.to_string())?;
    plan.subjects().for_each(|subject| subject.bind(subjects.serializer(&subject.name)));
    Ok(plan)
}
