//! The subjects that produce steps name, with the schemas that values are written with: the newest of each, as the registry has it.
//!
//! A definition is not taken up before the registry has answered for each of its subjects, so that whoever runs it answers from memory. From
//! then on they are asked for again now and then; a registry that is away changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::problems::REGISTRY;
use super::schemas;
use crate::codec::avro::{self, Language, SchemaKey, frame};
use crate::codec::json;
use crate::engine::plan::ErrorClass;
use crate::engine::serializer::{Serializer, Unserialized};
use crate::engine::value::Value;
use crate::lane::StopSignal;
use crate::registry::{FetchError, RegistryClient, RegistryError};
use crate::settings::Settings;
use crate::telemetry::health::Health;

/// The most subjects of an instance: each is asked for again and again. Steps that name more of them fail.
const SUBJECTS: usize = 10_000;
/// How often a subject is asked for again: by then its newest schema is used, or the first one of those that had none.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// The pause before a registry is asked again for a subject of a definition that waits.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// What the problem is about.
const SUBJECT: &str = "definitions";

/// All subjects that definitions name; cheap to clone, clones are the same.
#[derive(Clone, Debug)]
pub struct Subjects(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// None without a registry among the settings.
    client: Option<RegistryClient>,
    runtime: Handle,
    health: Health,
    known: Mutex<BTreeMap<Arc<str>, Arc<Subject>>>,
}

#[derive(Debug)]
struct Subject {
    name: Arc<str>,
    state: RwLock<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nobody has asked so far.
    Unasked,
    /// Its newest schema.
    Here(Arc<Newest>),
    /// It has none that values can be written with; why.
    Not(Arc<str>),
}

#[derive(Debug)]
struct Newest {
    id: u32,
    language: Language,
}

/// Serializes nothing, and says why.
#[derive(Debug)]
struct Refusing(&'static str);

impl Subjects {
    /// No subjects yet. The registry is asked on `runtime`, which must not be left from there.
    ///
    /// # Errors
    ///
    /// The registry's settings can never work.
    pub fn new(settings: &Settings, runtime: Handle, health: Health) -> Result<Subjects, RegistryError> {
        let client = settings.registry.as_ref().map(schemas::client).transpose()?;
        let has_registry = client.is_some();
        let subjects = Subjects(Arc::new(Shared { client, runtime, health, known: Mutex::default() }));
        if has_registry {
            subjects.0.runtime.spawn(refresh(subjects.clone()));
        }
        Ok(subjects)
    }

    /// Who makes bytes of the values of a subject.
    pub fn serializer(&self, name: &Arc<str>) -> Arc<dyn Serializer> {
        if self.0.client.is_none() {
            return Arc::new(Refusing("no schema registry is asked here; add [registry] to the settings"));
        }
        match self.subject(name) {
            Some(subject) => subject,
            None => Arc::new(Refusing("workflows name more subjects than an instance keeps, which are 10000")),
        }
    }

    /// Returns once the registry has answered for each of the subjects, or `is_over` says so, which is asked again when the signal is set. What
    /// is wrong meanwhile is a problem.
    pub fn settle<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>, is_over: &dyn Fn() -> bool, stop: &StopSignal) {
        let Some(client) = &self.0.client else { return };
        let mut is_raised = false;
        for subject in names.filter_map(|name| self.subject(name)) {
            while matches!(subject.state(), State::Unasked) && !is_over() {
                let Err(message) = self.0.runtime.block_on(subject.ask(client)) else { break };
                if !is_raised {
                    tracing::warn!(cause = message, "a definition waits for the schema registry before it is taken up");
                }
                self.0.health.raise(REGISTRY, SUBJECT, &message, SystemTime::now());
                is_raised = true;
                stop.wait(RETRY_PAUSE);
            }
        }
        if is_raised {
            self.0.health.clear(REGISTRY, SUBJECT, SystemTime::now());
        }
    }

    fn subject(&self, name: &Arc<str>) -> Option<Arc<Subject>> {
        let mut known = self.lock();
        if let Some(subject) = known.get(name) {
            return Some(subject.clone());
        }
        if known.len() >= SUBJECTS {
            return None;
        }
        let subject = Arc::new(Subject { name: name.clone(), state: RwLock::new(State::Unasked) });
        known.insert(name.clone(), subject.clone());
        Some(subject)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Subject>>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for all subjects again and again. Ends with its runtime.
async fn refresh(subjects: Subjects) {
    let Some(client) = &subjects.0.client else { return };
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        let known: Vec<Arc<Subject>> = subjects.lock().values().cloned().collect();
        for subject in known {
            // The others would find nobody either.
            if subject.ask(client).await.is_err() {
                break;
            }
        }
    }
}

impl Subject {
    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the registry. An error is an outage, and leaves what is known.
    async fn ask(&self, client: &RegistryClient) -> Result<(), String> {
        let state = match self.newest(client).await {
            Ok(state) => state,
            Err(FetchError::Outage(message)) => return Err(message),
            Err(FetchError::Unknown(message) | FetchError::Refused(message)) => State::Not(message.into()),
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    async fn newest(&self, client: &RegistryClient) -> Result<State, FetchError> {
        let Some(latest) = client.latest(&self.name).await? else {
            return Ok(State::Not("the registry has no schema of it; register one".into()));
        };
        let before = self.state();
        if matches!(&before, State::Here(newest) if newest.id == latest.id) {
            return Ok(before);
        }
        let schema = client.fetch(SchemaKey::Id(latest.id)).await?;
        Ok(match schemas::compile(&schema) {
            Ok(schema) => State::Here(Arc::new(Newest { id: latest.id, language: schema.language })),
            Err(why) => State::Not(why.into()),
        })
    }
}

impl Serializer for Subject {
    fn serialize(&self, value: &Value) -> Result<Bytes, Unserialized> {
        let name = &self.name;
        let config = |why: &str| Unserialized {
            class: ErrorClass::Config,
            message: format!("there is no schema of the subject {name}: {why}"),
        };
        let newest = match self.state() {
            State::Here(newest) => newest,
            State::Not(why) => return Err(config(&why)),
            State::Unasked => return Err(config("the registry has not answered yet")),
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, newest.id);
        match &newest.language {
            Language::Avro(schema) => avro::encode(schema, value, &mut bytes).map_err(|what| Unserialized {
                class: ErrorClass::Permanent,
                message: format!(
                    "the value does not fit the schema of the subject {name} with id {}: {what}",
                    newest.id
                ),
            })?,
            Language::Json => json::write(value, &mut bytes),
        }
        Ok(bytes.into())
    }
}

impl Serializer for Refusing {
    fn serialize(&self, _: &Value) -> Result<Bytes, Unserialized> {
        Err(Unserialized { class: ErrorClass::Config, message: self.0.into() })
    }
}
