//! Reads records of ours whichever way they were written: those in Avro become what they would have been in JSON.

use std::collections::BTreeMap;

use tokio::runtime::Runtime;

use super::schemas;
use crate::codec::avro::{SchemaKey, WriterSchema};
use crate::codec::readable;
use crate::kafka::log_reader::LogRecord;
use crate::registry::RegistryClient;
use crate::settings::{RegistrySettings, Settings};

/// The most schemas that are kept: more than there are versions of ours. Ids are chosen by whoever writes to the topics.
const SCHEMAS: usize = 256;

/// Turns records in Avro into JSON. The registry is asked when one comes.
#[derive(Debug)]
pub struct RecordReader {
    registry: Option<RegistrySettings>,
    client: Option<(Runtime, RegistryClient)>,
    known: BTreeMap<SchemaKey, Result<WriterSchema, String>>,
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
        let json = match self.schema(key) {
            Ok(schema) => readable::as_json(schema, &datum),
            Err(why) => Err(why.clone()),
        };
        let json = json.map_err(|why| {
            let LogRecord { topic, partition, offset, .. } = record;
            format!("the record {topic}-{partition} @{offset} is Avro and cannot be read: {why}")
        })?;
        record.value = Some(json);
        Ok(())
    }

    fn schema(&mut self, key: SchemaKey) -> Result<&WriterSchema, &String> {
        if !self.known.contains_key(&key) {
            if self.known.len() >= SCHEMAS {
                self.known.clear();
            }
            let schema = self.fetch(key);
            self.known.insert(key, schema);
        }
        self.known[&key].as_ref()
    }

    fn fetch(&mut self, key: SchemaKey) -> Result<WriterSchema, String> {
        let Some(registry) = &self.registry else {
            return Err("no schema registry is asked here; add [registry] to the settings".into());
        };
        if self.client.is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            self.client = Some((runtime, schemas::client(registry).map_err(|error| error.to_string())?));
        }
        let Some((runtime, client)) = &self.client else { return Err("there is no client of the registry".into()) };
        let schema = runtime.block_on(client.fetch(key)).map_err(|error| error.to_string())?;
        let references: Vec<&str> = schema.references.iter().map(|it| &*it.text).collect();
        WriterSchema::parse(&schema.text, &references).map_err(|refused| refused.to_string())
    }
}
