//! Subjects: the parts of an event that patterns look at, under the names that patterns use.

use super::scalar::Scalar;
use crate::engine::event::Event;
use crate::engine::value::Value;

/// What a pattern may begin with.
pub(super) const ROOTS: [&str; 8] = ["data", "id", "type", "source", "subject", "schema", "key", "headers"];
/// The roots that are one text, without fields of their own.
pub(super) const TEXT_ROOTS: [&str; 5] = ["id", "type", "source", "subject", "schema"];
/// The name under which the index files a trigger's topic; no pattern can begin with it.
pub(super) const TOPIC_ROOT: &str = "topic";

/// A part of an event.
#[derive(Clone, Debug)]
pub(super) enum Subject<'a> {
    /// The whole event; its fields are the roots.
    Event(&'a Event),
    /// All headers; their fields are their names.
    Headers(&'a Event),
    /// The values of all headers of one name.
    Header(&'a Event, &'a str),
    /// Text outside the payload.
    Text(&'a str),
    /// Bytes outside the payload.
    Bytes(&'a [u8]),
    /// A part of the payload.
    Value(Value),
    /// Nothing.
    Missing,
}

impl<'a> Subject<'a> {
    /// The field of that name.
    pub fn field(&self, name: &'a str) -> Subject<'a> {
        match self {
            Subject::Event(event) => root(event, name),
            Subject::Headers(event) => Subject::Header(event, name),
            Subject::Value(value) => value.get(name).map_or(Subject::Missing, Subject::Value),
            Subject::Header(..) | Subject::Text(_) | Subject::Bytes(_) | Subject::Missing => Subject::Missing,
        }
    }

    /// Whether `test` holds for the object that this is, or for one object of the list that it is.
    pub fn any_object(&self, test: &mut dyn FnMut(&Subject<'a>) -> bool) -> bool {
        match self {
            Subject::Event(_) | Subject::Headers(_) => test(self),
            Subject::Value(value) if value.is_map() => test(self),
            Subject::Value(value) => {
                value.items().is_some_and(|mut items| items.any(|item| Subject::Value(item).any_object(test)))
            }
            Subject::Header(..) | Subject::Text(_) | Subject::Bytes(_) | Subject::Missing => false,
        }
    }

    /// Whether `test` holds for the scalar that this is, or for one in the list that it is, however nested.
    pub fn any_scalar(&self, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
        match self {
            Subject::Text(text) => test(Scalar::Text(text)),
            Subject::Bytes(bytes) => test(Scalar::of_bytes(bytes)),
            Subject::Header(event, name) => event
                .record
                .headers()
                .filter(|(it, _)| *it == name.as_bytes())
                .any(|(_, value)| test(value.map_or(Scalar::Null, Scalar::of_bytes))),
            Subject::Value(value) => any_scalar_of(value, test),
            Subject::Event(_) | Subject::Headers(_) | Subject::Missing => false,
        }
    }
}

fn root<'a>(event: &'a Event, name: &str) -> Subject<'a> {
    match name {
        "data" => Subject::Value(event.data.clone()),
        "id" => Subject::Text(&event.id),
        "type" => Subject::Text(&event.kind),
        "source" => Subject::Text(&event.source),
        "subject" => event.subject.as_deref().map_or(Subject::Missing, Subject::Text),
        "schema" => event.schema.as_deref().map_or(Subject::Missing, Subject::Text),
        "key" => match &event.key {
            Some(key) => Subject::Value(key.clone()),
            None => event.record.key().map_or(Subject::Missing, Subject::Bytes),
        },
        "headers" => Subject::Headers(event),
        TOPIC_ROOT => Subject::Text(&event.record.origin.topic.name),
        _ => Subject::Missing,
    }
}

fn any_scalar_of(value: &Value, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
    match Scalar::of(value) {
        Some(scalar) => test(scalar),
        None => value.items().is_some_and(|mut items| items.any(|item| any_scalar_of(&item, test))),
    }
}
