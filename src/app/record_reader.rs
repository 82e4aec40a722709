//! Reads records of ours whichever way they were written: those in Avro become what they would have been in JSON.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::schemas;
use crate::codec::avro::{Language, SchemaKey, WriterSchema};
use crate::codec::readable;
use crate::kafka::log_reader::LogRecord;
use crate::registry::{FetchError, RegistryClient};
use crate::settings::{RegistrySettings, Settings};

/// The most schemas that are kept: more than there are versions of ours. Ids are chosen by whoever writes to the topics.
const SCHEMAS: usize = 256;
/// After how long a registry is asked again that gave no answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Turns records in Avro into JSON. The registry is asked when one comes.
#[derive(Debug)]
pub struct RecordReader {
    registry: Option<RegistrySettings>,
    client: Option<(Runtime, RegistryClient)>,
    known: BTreeMap<SchemaKey, Known>,
}

/// What is known of a schema.
#[derive(Debug)]
enum Known {
    Here(Box<WriterSchema>),
    /// It cannot be used; why.
    Not(String),
    /// The registry gave no answer; why, and when.
    Away(String, Instant),
}

impl RecordReader {
    /// A reader that asks the registry of the settings.
    pub fn new(settings: &Settings) -> RecordReader {
        RecordReader { registry: settings.registry.clone(), client: None, known: BTreeMap::new() }
    }

    /// Makes JSON of a record of ours in Avro; every other record stays as it is. This blocks while the registry is asked.
    ///
    /// # Errors
    ///
    /// Says why the record stays in Avro.
    pub fn translate(&mut self, record: &mut LogRecord) -> Result<(), String> {
        let headers = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
        let Some((key, datum)) = readable::schema_of(headers, record.value.as_deref()) else { return Ok(()) };
        let json = self.schema(key).and_then(|schema| readable::as_json(schema, &datum));
        let json = json.map_err(|why| {
            let LogRecord { topic, partition, offset, .. } = record;
            format!("the record {topic}-{partition} @{offset} is Avro and cannot be read: {why}")
        })?;
        record.value = Some(json);
        Ok(())
    }

    fn schema(&mut self, key: SchemaKey) -> Result<&WriterSchema, String> {
        // What stays an error is not asked again, an outage for a while.
        let is_over = |it: &Known| matches!(it, Known::Away(_, since) if since.elapsed() >= ASK_AGAIN);
        if self.known.get(&key).is_none_or(is_over) {
            if self.known.len() >= SCHEMAS {
                self.known.clear();
            }
            let schema = match self.fetch(key) {
                Ok(schema) => Known::Here(Box::new(schema)),
                Err(FetchError::Outage(why)) => Known::Away(why, Instant::now()),
                Err(FetchError::Unknown(why) | FetchError::Refused(why)) => Known::Not(why),
            };
            self.known.insert(key, schema);
        }
        match &self.known[&key] {
            Known::Here(schema) => Ok(schema),
            Known::Not(why) | Known::Away(why, _) => Err(why.clone()),
        }
    }

    fn fetch(&mut self, key: SchemaKey) -> Result<WriterSchema, FetchError> {
        let refused = FetchError::Refused;
        let Some(registry) = &self.registry else {
            return Err(refused("no schema registry is asked here; add [registry] to the settings".into()));
        };
        if self.client.is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| refused(error.to_string()))?;
            self.client = Some((runtime, schemas::client(registry).map_err(|error| refused(error.to_string()))?));
        }
        let Some((runtime, client)) = &self.client else { return Err(refused("there is no client".into())) };
        let schema = runtime.block_on(client.fetch(key))?;
        match schemas::compile(&schema).map_err(refused)?.language {
            Language::Avro(schema) => Ok(schema),
            Language::Json => Err(refused("it is a JSON Schema, and records of ours have none".into())),
        }
    }
}
