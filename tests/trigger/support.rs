//! Events and triggers from JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;
use tidegate::engine::event::{Event, Origin, SourceRecord, Topic};
use tidegate::engine::trigger::{Pattern, SourcePattern, Trigger, TypePattern, parse_topic};
use tidegate::engine::value::{DocumentBuilder, Node, Value};

/// The value of a JSON document as a decoder would build it.
pub fn decoded(json: &Json) -> Value {
    let mut builder = DocumentBuilder::new(Bytes::new());
    build(&mut builder, json);
    builder.finish()
}

fn build(builder: &mut DocumentBuilder, json: &Json) {
    match json {
        Json::Null => builder.scalar(Node::Null),
        Json::Bool(it) => builder.scalar(Node::Bool(*it)),
        Json::Number(it) => builder.scalar(match (it.as_i64(), it.as_u64()) {
            (Some(it), _) => Node::Int(it),
            (None, Some(it)) => Node::UInt(it),
            (None, None) => Node::Float(it.as_f64().unwrap()),
        }),
        Json::String(it) => builder.text(it),
        Json::Array(items) => {
            let at = builder.open();
            items.iter().for_each(|item| build(builder, item));
            builder.close_list(at, items.len() as u32);
        }
        Json::Object(fields) => {
            let at = builder.open();
            for (name, field) in fields {
                builder.text(name);
                build(builder, field);
            }
            builder.close_map(at, fields.len() as u32);
        }
    }
}

/// The value of a JSON document as an expression would build it.
pub fn owned(json: &Json) -> Value {
    match json {
        Json::Array(items) => Value::List(items.iter().map(owned).collect()),
        Json::Object(fields) => {
            Value::map(fields.iter().map(|(name, field)| (name.as_str().into(), owned(field))).collect())
        }
        Json::String(it) => Value::text(it.as_str()),
        Json::Null | Json::Bool(_) | Json::Number(_) => decoded(json),
    }
}

/// What an event is made of.
#[derive(Clone, Debug)]
pub struct EventParts<'a> {
    pub kind: &'a str,
    pub topic: &'a str,
    pub source: &'a str,
    pub subject: Option<&'a str>,
    pub schema: Option<&'a str>,
    pub key: Option<&'a [u8]>,
    /// What the key is, where it is more than bytes.
    pub decoded_key: Option<Json>,
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
    pub data: Json,
}

impl Default for EventParts<'_> {
    fn default() -> Self {
        EventParts {
            kind: "orders.paid",
            topic: "webhooks",
            source: "https://shop.example.com",
            subject: None,
            schema: None,
            key: None,
            decoded_key: None,
            headers: Vec::new(),
            data: Json::Null,
        }
    }
}

impl EventParts<'_> {
    pub fn event(&self) -> Event {
        let topic = Arc::new(Topic { name: self.topic.into(), id: [0; 16] });
        let headers = self.headers.iter().map(|(name, value)| (name.as_bytes(), *value));
        let origin = Origin { topic, partition: 0, offset: 0 };
        Event {
            record: SourceRecord::new(origin, -1, self.key, None, headers),
            id: "event-1".into(),
            kind: self.kind.into(),
            source: self.source.into(),
            subject: self.subject.map(Arc::from),
            time: None,
            schema: self.schema.map(Arc::from),
            key: self.decoded_key.as_ref().map(decoded),
            data: decoded(&self.data),
        }
    }
}

/// An event with this payload.
pub fn event(data: Json) -> Event {
    EventParts { data, ..EventParts::default() }.event()
}

/// A pattern that must be right.
#[track_caller]
pub fn pattern(json: &Json) -> Pattern {
    Pattern::parse(&owned(json)).unwrap_or_else(|errors| panic!("{json}: {errors:?}"))
}

/// A trigger from its clauses; null leaves one out.
#[track_caller]
pub fn trigger(kind: &str, topic: Option<&str>, source: Option<&str>, matching: &Json) -> Trigger {
    Trigger {
        event: TypePattern::parse(kind).unwrap(),
        topic: topic.map(|it| parse_topic(it).unwrap()),
        source: source.map(|it| SourcePattern::parse(it).unwrap()),
        schema: None,
        pattern: (!matching.is_null()).then(|| pattern(matching)),
    }
}
