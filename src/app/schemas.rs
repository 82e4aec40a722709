//! The schemas of Avro records, from the registry of the settings, and what is said while it cannot be asked.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

use super::problems::REGISTRY;
use super::seen_schemas::SeenSchemas;
use crate::codec::avro::{Found, Language, RecordSchema, SchemaKey, Schemas, WriterSchema};
use crate::registry::{
    CacheLimits, Look, RegisteredSchema, Registry, RegistryClient, RegistryError, SchemaCache, SchemaKind,
};
use crate::settings::{Locator, RegistrySettings, Settings, SourceFormat, SourceSettings};
use crate::telemetry::health::Health;

/// How long one question to the registry may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is written down which schemas were used last.
const REMEMBER_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether the registry answers.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Where sources find the schemas of their records.
#[derive(Clone)]
pub struct SourceSchemas(Option<SchemaCache<RecordSchema>>);

impl SourceSchemas {
    /// In the registry, if a source needs one. Nobody can be asked before `runtime` runs.
    ///
    /// # Errors
    ///
    /// What can never work.
    pub fn new(settings: &Settings, runtime: &Handle, health: &Health) -> Result<SourceSchemas, RegistryError> {
        let is_needed = settings.sources.iter().any(|source| matches!(source.format, SourceFormat::Avro(_)));
        let Some(registry) = settings.registry.as_ref().filter(|_| is_needed) else { return Ok(SourceSchemas(None)) };
        let by_subject = |source: &SourceSettings| match &source.format {
            SourceFormat::Avro(format) => {
                let places = [Some(&format.places.kind), format.places.id.as_ref()];
                places.into_iter().flatten().any(|it| *it == Locator::SchemaSubject)
            }
            SourceFormat::CloudEvents | SourceFormat::Json(_) => false,
        };
        let client = Arc::new(client_that(registry, settings.sources.iter().any(by_subject))?);
        // Lanes look by themselves whether what they hold back can be read.
        let settled = Arc::new(|| ());
        let cache = SchemaCache::new(client, runtime.clone(), CacheLimits::default(), Arc::new(compile), settled);
        let seen = SeenSchemas::new(&settings.data_dir, registry);
        cache.warm(seen.read());
        runtime.spawn(watch(cache.clone(), health.clone()));
        runtime.spawn(remember(cache.clone(), seen));
        Ok(SourceSchemas(Some(cache)))
    }

    /// Nobody is asked, and none is found.
    pub fn nowhere() -> SourceSchemas {
        SourceSchemas(None)
    }

    /// Where the source of this number finds its schemas. What it asks for that there is not does not keep others from asking.
    pub fn of(&self, source: usize) -> Arc<dyn Schemas> {
        match &self.0 {
            Some(cache) => Arc::new(RegistrySchemas { cache: cache.clone(), source }),
            None => Arc::new(NoSchemas),
        }
    }
}

/// A client of the registry of the settings.
///
/// # Errors
///
/// What can never work.
pub fn client(settings: &RegistrySettings) -> Result<RegistryClient, RegistryError> {
    client_that(settings, false)
}

fn client_that(settings: &RegistrySettings, tells_subjects: bool) -> Result<RegistryClient, RegistryError> {
    let headers = settings.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    RegistryClient::new(&Registry {
        urls: settings.urls.iter().map(|url| url.expose().to_owned()).collect(),
        headers: headers.collect(),
        timeout: TIMEOUT,
        tells_subjects,
    })
}

/// What records of a schema are read and written with; the error says why they are not.
pub fn compile(schema: &RegisteredSchema) -> Result<RecordSchema, String> {
    let references: Vec<&str> = schema.references.iter().map(|it| &*it.text).collect();
    let language = match schema.kind {
        SchemaKind::Avro => {
            let parsed = WriterSchema::parse(&schema.text, &references);
            Language::Avro(parsed.map_err(|refused| refused.to_string())?)
        }
        SchemaKind::Json => Language::Json,
        SchemaKind::Protobuf => return Err("its records are Protocol Buffers, which this version does not read".into()),
    };
    Ok(RecordSchema { language, subject: schema.subject.clone() })
}

/// Writes down now and then which schemas were used last. Ends with its runtime.
async fn remember(cache: SchemaCache<RecordSchema>, seen: SeenSchemas) {
    let mut written = Vec::new();
    loop {
        tokio::time::sleep(REMEMBER_EVERY).await;
        let mut keys = cache.seen();
        // In which order they were used is of no use to the next start.
        keys.sort_unstable();
        if keys == written || keys.is_empty() {
            continue;
        }
        let (file, to_write) = (seen.clone(), keys.clone());
        match tokio::task::spawn_blocking(move || file.write(&to_write)).await {
            Ok(Ok(())) => written = keys,
            Ok(Err(cause)) => tracing::debug!(%cause, "the schemas that were seen cannot be written down"),
            Err(_) => return,
        }
    }
}

/// Says while the registry gives no answer. Ends with its runtime.
async fn watch(cache: SchemaCache<RecordSchema>, health: Health) {
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    let mut is_raised = false;
    loop {
        ticks.tick().await;
        cache.probe(Instant::now()).await;
        match cache.outage(Instant::now()) {
            Some(outage) => {
                if !is_raised {
                    tracing::warn!(cause = %outage.message, "the schema registry gives no answer; sources that need it stand still");
                }
                health.raise(REGISTRY, SUBJECT, &outage.message, SystemTime::now());
                is_raised = true;
            }
            None if is_raised => {
                tracing::info!("the schema registry answers again");
                health.clear(REGISTRY, SUBJECT, SystemTime::now());
                is_raised = false;
            }
            None => {}
        }
    }
}

/// What an outage is about.
const SUBJECT: &str = "schemas";

/// What one source finds in the registry.
struct RegistrySchemas {
    cache: SchemaCache<RecordSchema>,
    source: usize,
}

impl fmt::Debug for RegistrySchemas {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RegistrySchemas")
    }
}

impl Schemas for RegistrySchemas {
    fn find(&self, key: SchemaKey) -> Found {
        // Ids are positive numbers of 32 bits with a sign; a registry may answer others like a path that it does not have.
        if matches!(key, SchemaKey::Id(id) if id == 0 || i32::try_from(id).is_err()) {
            return Found::Not("no registry gives such an id".into());
        }
        match self.cache.look(key, self.source, Instant::now()) {
            Look::Known(schema) => Found::Here(schema),
            Look::Refused(why) | Look::Unknown(why) => Found::Not(why),
            Look::Flooded { message, .. } => Found::Unasked(message),
            Look::Pending { .. } => Found::Later,
        }
    }
}

/// Where there is no registry.
#[derive(Debug)]
struct NoSchemas;

impl Schemas for NoSchemas {
    fn find(&self, _: SchemaKey) -> Found {
        Found::Not("no schema registry is asked here".into())
    }
}
