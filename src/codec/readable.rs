//! Records of ours that were written as Avro, as the JSON they would have been: whoever reads them knows one form.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::avro::{self, SchemaKey, WriterSchema, frame};
use super::record::ContentType;
use crate::engine::value::write_json;

/// Fields that JSON has only where they say something.
const ADDED: [&str; 6] = ["truncated", "outputBytes", "outputSha256", "keyBase64", "breaker", "lost"];
/// The field that holds JSON as a text in Avro.
const ANY: &str = "output";
/// What headers of dead letters start with; their values are somebody else's.
const LETTER: &[u8] = b"tidegate-dlq-";

/// The schema and the datum of a record that we wrote as Avro; None for every other record.
pub fn schema_of<'a>(
    headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    value: Option<&[u8]>,
) -> Option<(SchemaKey, Bytes)> {
    let mut is_avro = false;
    let looked = headers.into_iter().try_for_each(|(name, value)| {
        is_avro |= name == b"content-type" && value == Some(ContentType::Avro.name().as_bytes());
        if name.starts_with(LETTER) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let value = value.filter(|_| is_avro && looked.is_continue())?;
    frame::read(None, &Bytes::copy_from_slice(value)).ok()
}

/// A datum of a record of ours as JSON.
///
/// # Errors
///
/// Says what is no such datum.
pub fn as_json(schema: &WriterSchema, datum: &Bytes) -> Result<Vec<u8>, String> {
    let document = avro::decode(schema, datum)?;
    let mut text = Vec::new();
    write_json(&document, &mut text);
    let mut document: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    restore(&mut document);
    if let Some(Value::Object(event)) = document.get_mut("event") {
        restore(event);
    }
    if let Some(Value::Array(results)) = document.get_mut("results") {
        results.iter_mut().filter_map(Value::as_object_mut).for_each(restore);
    }
    serde_json::to_vec(&document).map_err(|error| error.to_string())
}

fn restore(object: &mut Map<String, Value>) {
    object.retain(|name, value| !ADDED.contains(&name.as_str()) || !matches!(value, Value::Null | Value::Bool(false)));
    if let Some(output) = object.get_mut(ANY) {
        let read = output.as_str().and_then(|text| serde_json::from_str(text).ok());
        *output = read.unwrap_or_else(|| std::mem::take(output));
    }
}
