//! The events of the reference jobs as Avro: the same fields and values, behind the id of their schema, which nobody has to be asked for.

use std::sync::Arc;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{AvroResult, Schema};

use super::BenchError;
use crate::codec::avro::{Found, Language, RecordSchema, SchemaKey, Schemas, WriterSchema};
use crate::codec::event::{AvroFormat, Format};
use crate::codec::plain::{Locator, Places, Pointer};

/// The id that records name.
const ID: u32 = 1;
/// What an event's body is.
const SCHEMA: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"account","type":"string"},{"name":"amount","type":"long"},
    {"name":"tax","type":"double"},{"name":"quantity","type":"int"},{"name":"currency","type":"string"},
    {"name":"country","type":"string"},{"name":"paid","type":"boolean"},{"name":"channel","type":"string"},
    {"name":"coupon","type":["null","string"]},
    {"name":"customer","type":{"type":"record","name":"Customer","fields":[
        {"name":"name","type":"string"},{"name":"email","type":"string"},{"name":"tier","type":"string"},
        {"name":"address","type":{"type":"record","name":"Address","fields":[
            {"name":"street","type":"string"},{"name":"city","type":"string"},{"name":"zip","type":"string"}]}}]}},
    {"name":"shipping","type":{"type":"record","name":"Shipping","fields":[
        {"name":"carrier","type":"string"},{"name":"express","type":"boolean"},{"name":"weight","type":"int"}]}},
    {"name":"items","type":{"type":"array","items":"string"}},
    {"name":"note","type":"string"},{"name":"padding","type":"string"}]}"#;

/// Writes bodies as Avro.
pub struct AvroBodies(Schema);

impl AvroBodies {
    /// One for the bodies of the workload.
    pub fn new() -> Result<AvroBodies, BenchError> {
        Schema::parse_str(SCHEMA).map(AvroBodies).map_err(|error| BenchError::Option(error.to_string()))
    }

    /// A body as a record of its topic.
    pub fn framed(&self, body: &str) -> Result<Vec<u8>, BenchError> {
        let wrong = |error: String| BenchError::Option(format!("an event cannot be written as Avro: {error}"));
        let json = serde_json::from_str(body).map_err(|error| wrong(error.to_string()))?;
        let datum = self.datum(value(&json)).map_err(|error| wrong(error.to_string()))?;
        Ok([&[0], &ID.to_be_bytes()[..], &datum].concat())
    }

    fn datum(&self, value: Value) -> AvroResult<Vec<u8>> {
        let value = value.resolve(&self.0)?;
        GenericDatumWriter::builder(&self.0).build()?.write_value_to_vec(value)
    }
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(it) => Value::Boolean(*it),
        serde_json::Value::Number(it) => {
            it.as_i64().map_or(Value::Double(it.as_f64().unwrap_or_default()), Value::Long)
        }
        serde_json::Value::String(it) => Value::String(it.clone()),
        serde_json::Value::Array(items) => Value::Array(items.iter().map(value).collect()),
        serde_json::Value::Object(fields) => {
            Value::Record(fields.iter().map(|(name, it)| (name.clone(), value(it))).collect())
        }
    }
}

/// How a lane reads them: the type and the id are where they are in the events of all other jobs.
pub fn format() -> Result<Format, BenchError> {
    let schema = WriterSchema::parse(SCHEMA, &[]).map_err(|refused| BenchError::Option(refused.to_string()))?;
    let header = |name: &str| Locator::Header(name.to_owned());
    let places = Places { kind: header("ce_type"), id: Some(header("ce_id")), data: Pointer::default() };
    let schemas = Arc::new(OneSchema(Arc::new(RecordSchema { language: Language::Avro(schema), subject: None })));
    Ok(Format::Avro(AvroFormat { places, schemas, has_keys: false }))
}

/// Knows one schema.
#[derive(Debug)]
struct OneSchema(Arc<RecordSchema>);

impl Schemas for OneSchema {
    fn find(&self, key: SchemaKey) -> Found {
        match key {
            SchemaKey::Id(ID) => Found::Here(self.0.clone()),
            SchemaKey::Id(_) | SchemaKey::Guid(_) => Found::Not("the benchmark writes none of it".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::{BODY_BYTES, Workload};
    use super::*;
    use crate::codec::{avro, json};

    #[test]
    fn an_event_says_the_same_in_both() {
        let (mut workload, bodies) = (Workload::new(7, BODY_BYTES), AvroBodies::new().unwrap());
        let schema = WriterSchema::parse(SCHEMA, &[]).unwrap();
        for _ in 0..100 {
            let body = workload.next_event().body;
            let framed = bodies.framed(&body).unwrap();
            let read = avro::decode(&schema, &framed[5..].to_vec().into()).unwrap();
            assert_eq!(read, json::parse(body.into(), &json::Limits::default()).unwrap());
        }
    }
}
