//! The schemas of Avro records, from the registry of the settings, and what is said while it cannot be asked.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

use super::problems::REGISTRY;
use crate::codec::avro::{Found, RecordSchema, SchemaKey, Schemas, WriterSchema};
use crate::registry::{
    CacheLimits, Look, RegisteredSchema, Registry, RegistryClient, RegistryError, SchemaCache, SchemaKind,
};
use crate::settings::{RegistrySettings, Settings, SourceFormat};
use crate::telemetry::health::Health;

/// How long one question to the registry may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether the registry answers.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Where the schemas of records are found: in the registry, if a source needs one. Nobody can be asked before `runtime` runs.
pub fn of(settings: &Settings, runtime: &Handle, health: &Health) -> Result<Arc<dyn Schemas>, RegistryError> {
    let is_needed = settings.sources.iter().any(|source| matches!(source.format, SourceFormat::Avro(_)));
    let Some(registry) = settings.registry.as_ref().filter(|_| is_needed) else { return Ok(Arc::new(NoSchemas)) };
    let client = Arc::new(client(registry)?);
    // Lanes look by themselves whether what they hold back can be read.
    let settled = Arc::new(|| ());
    let cache = SchemaCache::new(client, runtime.clone(), CacheLimits::default(), Arc::new(compile), settled);
    runtime.spawn(watch(cache.clone(), health.clone()));
    Ok(Arc::new(RegistrySchemas(cache)))
}

/// A client of the registry of the settings.
///
/// # Errors
///
/// What can never work.
pub fn client(settings: &RegistrySettings) -> Result<RegistryClient, RegistryError> {
    let headers = settings.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    RegistryClient::new(&Registry {
        urls: settings.urls.iter().map(|url| url.expose().to_owned()).collect(),
        headers: headers.collect(),
        timeout: TIMEOUT,
    })
}

/// What records of a schema are read and written with; the error says why they are not.
pub fn compile(schema: &RegisteredSchema) -> Result<RecordSchema, String> {
    let references: Vec<&str> = schema.references.iter().map(|it| &*it.text).collect();
    match schema.kind {
        SchemaKind::Avro => {
            let parsed = WriterSchema::parse(&schema.text, &references);
            parsed.map(RecordSchema::Avro).map_err(|refused| refused.to_string())
        }
        SchemaKind::Json => Ok(RecordSchema::Json),
        SchemaKind::Protobuf => Err("its records are Protocol Buffers, which this version does not read".into()),
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

struct RegistrySchemas(SchemaCache<RecordSchema>);

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
        match self.0.look(key, Instant::now()) {
            Look::Known(schema) => Found::Here(schema),
            Look::Refused(why) | Look::Unknown(why) => Found::Not(why),
            Look::Flooded { message, .. } => Found::Unasked(message),
            Look::Pending { .. } => Found::Later,
        }
    }
}

/// Where there is no registry.
#[derive(Debug)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn find(&self, _: SchemaKey) -> Found {
        Found::Not("no schema registry is asked here".into())
    }
}
