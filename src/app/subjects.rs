//! The subjects that produce steps name, with the schemas that values are written with: the newest of each, as the registry has it.
//!
//! A version of a definition is not run before the registry has answered for each of its subjects, so that whoever runs it answers from memory.
//! From then on they are asked for again now and then. Nothing takes a schema away that is known: one that cannot be used, or a registry that is
//! away, leaves the one before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::problems::REGISTRY;
use super::schemas;
use crate::codec::avro::{self, Language, RecordSchema, SchemaKey, WriterSchema, frame};
use crate::engine::expression::Budget;
use crate::engine::plan::ErrorClass;
use crate::engine::serializer::{Serializer, Unserialized};
use crate::engine::value::Value;
use crate::registry::{FetchError, RegistryClient, RegistryError};
use crate::settings::Settings;
use crate::telemetry::health::Health;

/// The most subjects of an instance: each is asked for again and again. Steps that name more of them fail.
const SUBJECTS: usize = 10_000;
/// How often a subject is asked for again: by then its newest schema is used, or the first one of those that had none.
const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The pause before a registry is asked again for subjects of which it has said nothing yet.
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
    health: Health,
    known: Mutex<BTreeMap<Arc<str>, Arc<Subject>>>,
    /// Told when there is a subject of which nothing is known.
    is_wanted: Notify,
}

#[derive(Debug)]
struct Subject {
    name: Arc<str>,
    state: RwLock<State>,
    /// The newest schema, if that is none to write with: it is not looked at again.
    refused: Mutex<Option<u32>>,
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
    schema: WriterSchema,
}

/// Serializes nothing, and says why.
#[derive(Debug)]
struct Refusing(String);

impl Subjects {
    /// No subjects yet. The registry is asked on `runtime`.
    ///
    /// # Errors
    ///
    /// The registry's settings can never work.
    pub fn new(settings: &Settings, runtime: &Handle, health: Health) -> Result<Subjects, RegistryError> {
        let client = settings.registry.as_ref().map(schemas::client).transpose()?;
        let shared = Shared { client, health, known: Mutex::default(), is_wanted: Notify::new() };
        let subjects = Subjects(Arc::new(shared));
        runtime.spawn(ask_on(subjects.clone()));
        Ok(subjects)
    }

    /// Who makes bytes of the values of a subject.
    pub fn serializer(&self, name: &Arc<str>) -> Arc<dyn Serializer> {
        if self.0.client.is_none() {
            return Arc::new(Refusing("no schema registry is asked here; add [registry] to the settings".into()));
        }
        match self.subject(name) {
            Some(subject) => subject,
            None => {
                let what =
                    format!("workflows name more than the {SUBJECTS} subjects that an instance keeps; name fewer");
                Arc::new(Refusing(what))
            }
        }
    }

    /// Whether the registry has answered for each of the subjects, or never will be asked. Those of which nothing is known are asked for from
    /// now on.
    pub fn are_settled<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) -> bool {
        if self.0.client.is_none() {
            return true;
        }
        let unasked = names.filter_map(|name| self.subject(name)).filter(|it| it.is_unasked()).count();
        if unasked > 0 {
            self.0.is_wanted.notify_one();
        }
        unasked == 0
    }

    fn subject(&self, name: &Arc<str>) -> Option<Arc<Subject>> {
        let mut known = self.lock();
        if let Some(subject) = known.get(name) {
            return Some(subject.clone());
        }
        if known.len() >= SUBJECTS {
            return None;
        }
        let subject =
            Arc::new(Subject { name: name.clone(), state: RwLock::new(State::Unasked), refused: Mutex::default() });
        known.insert(name.clone(), subject.clone());
        Some(subject)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Subject>>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for subjects of which nothing is known, at once, and for all again and again. Ends with its runtime.
async fn ask_on(subjects: Subjects) {
    let Some(client) = &subjects.0.client else { return };
    let mut refreshed = Instant::now();
    let mut is_raised = false;
    loop {
        let pause = if is_raised { RETRY_PAUSE } else { REFRESH_EVERY.saturating_sub(refreshed.elapsed()) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = subjects.0.is_wanted.notified(), if !is_raised => {}
        }
        let is_round = refreshed.elapsed() >= REFRESH_EVERY;
        let known: Vec<Arc<Subject>> = subjects.lock().values().cloned().collect();
        let mut outage = None;
        for subject in known.iter().filter(|it| it.is_unasked()) {
            // The others would find nobody either.
            if let Err(message) = subject.ask(client).await {
                outage = Some(message);
                break;
            }
        }
        match outage {
            Some(message) => {
                if !is_raised {
                    tracing::warn!(cause = message, "a definition waits for the schema registry before it is taken up");
                }
                subjects.0.health.raise(REGISTRY, SUBJECT, &message, SystemTime::now());
                is_raised = true;
                continue;
            }
            None if is_raised => subjects.0.health.clear(REGISTRY, SUBJECT, SystemTime::now()),
            None => {}
        }
        is_raised = false;
        if is_round {
            for subject in known.iter().filter(|it| !it.is_unasked()) {
                if subject.ask(client).await.is_err() {
                    break;
                }
            }
            refreshed = Instant::now();
        }
    }
}

impl Subject {
    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_unasked(&self) -> bool {
        matches!(self.state(), State::Unasked)
    }

    /// Asks the registry. An error is an outage, and leaves what is known.
    async fn ask(&self, client: &RegistryClient) -> Result<(), String> {
        let why = match self.newest(client).await {
            Ok(None) => return Ok(()),
            Ok(Some(newest)) => {
                *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Here(Arc::new(newest));
                return Ok(());
            }
            Err(FetchError::Outage(message)) => return Err(message),
            Err(FetchError::Unknown(message) | FetchError::Refused(message)) => message,
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Here(newest) => {
                let (subject, id) = (&*self.name, newest.id);
                tracing::warn!(
                    subject,
                    id,
                    cause = why,
                    "the newest schema of a subject cannot be used; the one before is"
                );
            }
            State::Unasked | State::Not(_) => *state = State::Not(why.into()),
        }
        Ok(())
    }

    /// The newest schema; None if that is known, with what is to be said of it.
    async fn newest(&self, client: &RegistryClient) -> Result<Option<Newest>, FetchError> {
        let Some(latest) = client.latest(&self.name).await? else {
            return Err(FetchError::Unknown("the registry has no schema of it; register one".into()));
        };
        let is_here = matches!(self.state(), State::Here(newest) if newest.id == latest.id);
        if is_here || *self.refused() == Some(latest.id) {
            return Ok(None);
        }
        let schema = client.fetch(SchemaKey::Id(latest.id)).await?;
        // Reading one takes its time, and a thread.
        let compiled = tokio::task::spawn_blocking(move || schemas::compile(&schema)).await;
        let why = match compiled {
            Ok(Ok(RecordSchema { language: Language::Avro(schema), .. })) => {
                return Ok(Some(Newest { id: latest.id, schema }));
            }
            Ok(Ok(_)) => "it is a JSON Schema, and the step writes Avro; leave `format` out to write JSON".to_owned(),
            Ok(Err(why)) => why,
            Err(_) => return Err(FetchError::Outage(format!("the schema of subject {} was not read", self.name))),
        };
        *self.refused() = Some(latest.id);
        Err(FetchError::Refused(why))
    }

    fn refused(&self) -> MutexGuard<'_, Option<u32>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serializer for Subject {
    fn serialize(&self, value: &Value, budget: &mut Budget) -> Result<Bytes, Unserialized> {
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
        avro::encode(&newest.schema, value, budget, &mut bytes).map_err(|what| Unserialized {
            class: ErrorClass::Permanent,
            message: format!("the value does not fit the schema of the subject {name} with id {}: {what}", newest.id),
        })?;
        Ok(bytes.into())
    }
}

impl Serializer for Refusing {
    fn serialize(&self, _: &Value, _: &mut Budget) -> Result<Bytes, Unserialized> {
        Err(Unserialized { class: ErrorClass::Config, message: self.0.clone() })
    }
}
