//! Records to events, as each source is configured. Nothing is guessed.

use std::sync::Arc;

use bytes::Bytes;

use super::avro::{Found, Schemas};
use super::json::{self, Limits};
use super::plain::Places;
use super::{cloudevents, plain};
use crate::engine::event::{Event, SourceRecord, Undecodable};
use crate::engine::run;
use crate::engine::value::Value;

/// Headers of one record. Kafka has no limit of its own; expressions and records walk all of them.
const HEADERS: usize = 1_000;
/// The longest id, type, source, subject or time: they are matched on and are part of every record that an event leaves.
const ATTRIBUTE_BYTES: usize = 4_096;

/// How the events of a source are written.
#[derive(Clone, Debug)]
pub enum Format {
    /// CloudEvents 1.0, in both modes of the Kafka binding.
    CloudEvents,
    /// Plain JSON, with the places of type, id and data.
    Json(Places),
    /// Avro in Confluent's wire format.
    Avro(AvroFormat),
}

/// How the events of a source in Avro are written.
#[derive(Clone, Debug)]
pub struct AvroFormat {
    /// Where things are found in what the record is.
    pub places: Places,
    /// Where schemas are found.
    pub schemas: Arc<dyn Schemas>,
    /// Whether keys are Avro too; else they are bytes.
    pub has_keys: bool,
}

impl Format {
    /// The name used in settings and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Format::CloudEvents => "cloudevents",
            Format::Json(_) => "json",
            Format::Avro(..) => "avro",
        }
    }

    /// Whether all is there that a record is to be understood with, or it is known that it never will be. What is not is on its way: the
    /// question asks for it. For a record that was understood before, there is more that passes.
    pub fn is_ready(&self, record: &SourceRecord, was_understood: bool) -> bool {
        match self {
            Format::CloudEvents | Format::Json(_) => true,
            Format::Avro(format) => {
                plain::schemas_of(record, format.has_keys).all(|key| match format.schemas.find(key) {
                    Found::Later => false,
                    // Its schema is one that there is, whoever names others.
                    Found::Unasked(_) => !was_understood,
                    Found::Here(_) | Found::Not(_) => true,
                })
            }
        }
    }

    /// Understands a record, or gives it back with the reason.
    pub fn decode(&self, record: SourceRecord) -> Result<Event, (SourceRecord, Undecodable)> {
        let understood = few_headers(&record).and_then(|()| match self {
            Format::CloudEvents => cloudevents::read(&record),
            Format::Json(places) => plain::read_json(&record, places),
            Format::Avro(format) => plain::read_avro(&record, format),
        });
        match understood.and_then(Attributes::short) {
            Ok(Attributes { id, kind, source, subject, time, schema, key, data }) => {
                Ok(Event { record, id, kind, source, subject, time, schema, key, data })
            }
            Err(message) => Err((record, Undecodable { message: run::cut(message) })),
        }
    }
}

/// What an event says of itself.
#[derive(Debug)]
pub(super) struct Attributes {
    pub id: Arc<str>,
    pub kind: Arc<str>,
    pub source: Arc<str>,
    pub subject: Option<Arc<str>>,
    pub time: Option<Arc<str>>,
    pub schema: Option<Arc<str>>,
    pub key: Option<Value>,
    pub data: Value,
}

impl Attributes {
    /// Itself, unless an attribute is longer than any record should carry on.
    fn short(self) -> Result<Attributes, String> {
        match self.too_long() {
            None => Ok(self),
            Some((name, length)) => {
                Err(format!("the event's {name} has {length} bytes; it may have {ATTRIBUTE_BYTES}"))
            }
        }
    }

    fn too_long(&self) -> Option<(&'static str, usize)> {
        let length = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |it| it.len());
        let lengths = [
            ("id", self.id.len()),
            ("type", self.kind.len()),
            ("source", self.source.len()),
            ("subject", length(&self.subject)),
            ("time", length(&self.time)),
            ("schema", length(&self.schema)),
        ];
        lengths.into_iter().find(|(_, length)| *length > ATTRIBUTE_BYTES)
    }
}

fn few_headers(record: &SourceRecord) -> Result<(), String> {
    let count = record.headers().len();
    if count > HEADERS {
        return Err(format!("the record has {count} headers; it may have {HEADERS}"));
    }
    Ok(())
}

/// Parses a payload as JSON.
pub(super) fn parse(text: Bytes) -> Result<Value, String> {
    json::parse(text, &Limits::default()).map_err(|error| format!("the value is no JSON document: {error}"))
}

/// A header's value as text.
pub(super) fn utf8<'a>(value: &'a [u8], name: &str) -> Result<&'a str, String> {
    std::str::from_utf8(value).map_err(|_| format!("the header {name} is not UTF-8"))
}
