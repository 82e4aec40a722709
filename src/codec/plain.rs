//! Documents without an envelope, with configured places for type, id and data: plain JSON, and Avro.

use std::sync::Arc;

use bytes::Bytes;

use super::avro::{self, Found, Language, RecordSchema, SchemaKey, Schemas, frame};
use super::event::{Attributes, AvroFormat, parse, utf8};
use crate::engine::event::SourceRecord;
use crate::engine::value::{Value, ValueRef, View};

/// Where things are found in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The event's type.
    pub kind: Locator,
    /// The event's id, if it has one.
    pub id: Option<Locator>,
    /// The event's data.
    pub data: Pointer,
}

/// Where one thing is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// In the document.
    Pointer(Pointer),
    /// In the last header of that name.
    Header(String),
    /// It is always this.
    Const(Arc<str>),
    /// The full name of the record's schema; JSON documents have none.
    SchemaName,
    /// A subject that has the record's schema.
    SchemaSubject,
}

/// A JSON pointer (RFC 6901); the default points to the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    segments: Vec<String>,
}

impl Pointer {
    /// Reads a pointer: empty, or starting with `/`, `~0` for `~` and `~1` for `/`.
    pub fn parse(text: &str) -> Option<Pointer> {
        let unescape = |segment: &str| {
            let wrong = segment.split('~').skip(1).any(|rest| !rest.starts_with('0') && !rest.starts_with('1'));
            (!wrong).then(|| segment.replace("~1", "/").replace("~0", "~"))
        };
        if text.is_empty() {
            return Some(Pointer { text: String::new(), segments: Vec::new() });
        }
        let segments: Option<Vec<String>> = text.strip_prefix('/')?.split('/').map(unescape).collect();
        Some(Pointer { text: text.to_owned(), segments: segments? })
    }

    /// A pointer that finds nothing in any document.
    pub fn nowhere(text: &str) -> Pointer {
        // A name with a NUL in it is in no document that a settings file could mean.
        Pointer { text: text.to_owned(), segments: vec!["\0".to_owned()] }
    }

    /// What it points to; None if there is nothing.
    pub fn find<'a>(&self, document: &'a Value) -> Option<ValueRef<'a>> {
        self.segments.iter().try_fold(ValueRef::from(document), |found, segment| match found.view() {
            View::List(list) => list.get(position(segment)?),
            View::Map(map) => map.get(segment),
            _ => None,
        })
    }
}

/// The position of a list's item, as the RFC wants it: digits without a leading zero.
fn position(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with('0');
    let digits = segment.bytes().all(|it| it.is_ascii_digit());
    segment.parse().ok().filter(|_| canonical && digits)
}

/// Understands a JSON record.
pub(super) fn read_json(record: &SourceRecord, places: &Places) -> Result<Attributes, String> {
    let text = record.value_bytes().ok_or("the value is null, but a JSON document is expected")?;
    attributes(record, places, &parse(text)?, None)
}

/// Understands a record that names its schema, which must have been found.
pub(super) fn read_avro(record: &SourceRecord, format: &AvroFormat) -> Result<Attributes, String> {
    let bytes = record.value_bytes().ok_or("the value is null, but an Avro record is expected")?;
    let (document, schema) = read_part(record.header(frame::VALUE_HEADER), &bytes, &*format.schemas)?;
    let mut attributes = attributes(record, &format.places, &document, Some(&schema))?;
    attributes.schema = schema.name().cloned();
    if let Some(key) = record.key_bytes().filter(|_| format.has_keys) {
        let read = read_part(record.header(frame::KEY_HEADER), &key, &*format.schemas);
        attributes.key = Some(read.map_err(|what| format!("the key: {what}"))?.0);
    }
    Ok(attributes)
}

/// A value or a key that names its schema, and that.
fn read_part(
    header: Option<&[u8]>,
    bytes: &Bytes,
    schemas: &dyn Schemas,
) -> Result<(Value, Arc<RecordSchema>), String> {
    let (key, datum) = frame::read(header, bytes)?;
    let schema = match schemas.find(key) {
        Found::Here(schema) => schema,
        Found::Not(why) | Found::Unasked(why) => return Err(format!("its schema has the {key}: {why}")),
        Found::Later => return Err(format!("its schema has the {key}, and is not known yet")),
    };
    let document = match &schema.language {
        Language::Avro(schema) => {
            avro::decode(schema, &datum).map_err(|what| format!("{what}; its schema has the {key}"))?
        }
        Language::Json => parse(datum)?,
    };
    Ok((document, schema))
}

/// The schemas that an Avro record names: that of its value, and that of its key if keys have one.
pub(super) fn schemas_of(record: &SourceRecord, has_keys: bool) -> impl Iterator<Item = SchemaKey> {
    let named = |header: &str, bytes: &Bytes| frame::read(record.header(header), bytes).ok().map(|(key, _)| key);
    let of_value = record.value_bytes().and_then(|bytes| named(frame::VALUE_HEADER, &bytes));
    let key = record.key_bytes().filter(|_| has_keys);
    let of_key = key.and_then(|key| named(frame::KEY_HEADER, &key));
    of_value.into_iter().chain(of_key)
}

fn attributes(
    record: &SourceRecord,
    places: &Places,
    document: &Value,
    schema: Option<&RecordSchema>,
) -> Result<Attributes, String> {
    let kind = locate(&places.kind, (record, schema), document, "type")?;
    let kind = kind.ok_or_else(|| missing("type", &places.kind))?;
    let id = match &places.id {
        Some(place) => locate(place, (record, schema), document, "id")?.unwrap_or_default(),
        None => Arc::default(),
    };
    let data = places.data.find(document).ok_or_else(|| format!("there is no data at {}", places.data.text))?;
    let (source, data) = (Arc::default(), data.to_value());
    Ok(Attributes { id, kind, source, subject: None, time: None, schema: None, key: None, data })
}

fn missing(what: &str, place: &Locator) -> String {
    match place {
        Locator::Pointer(pointer) => format!("the event's {what} is missing: there is nothing at {}", pointer.text),
        Locator::Header(name) => format!("the event's {what} is missing: there is no header {name}"),
        Locator::Const(_) => format!("the event's {what} is empty"),
        Locator::SchemaName => format!("the event's {what} is missing: its schema is of a type that has no name"),
        Locator::SchemaSubject => {
            format!(
                "the event's {what} is missing: its registry tells no subject of its schema, as of none that a GUID names"
            )
        }
    }
}

/// The text at a place; None if there is nothing, null or an empty text. Whole numbers count as text: many ids are numbers.
fn locate(
    place: &Locator,
    (record, schema): (&SourceRecord, Option<&RecordSchema>),
    document: &Value,
    what: &str,
) -> Result<Option<Arc<str>>, String> {
    let text: Option<Arc<str>> = match place {
        Locator::Const(text) => Some(text.clone()),
        Locator::SchemaName => schema.and_then(RecordSchema::name).cloned(),
        Locator::SchemaSubject => schema.and_then(|schema| schema.subject.clone()),
        Locator::Header(name) => record.header(name).map(|value| utf8(value, name)).transpose()?.map(Arc::from),
        Locator::Pointer(pointer) => match pointer.find(document).map(ValueRef::view) {
            None | Some(View::Null) => None,
            Some(View::Int(number)) => Some(number.to_string().into()),
            Some(View::UInt(number)) => Some(number.to_string().into()),
            Some(View::Text(text)) => Some(text.into()),
            Some(_) => return Err(format!("the event's {what} at {} is no string", pointer.text)),
        },
    };
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_those_of_the_rfc() {
        let found = |pointer: &str| {
            let document = parse(bytes::Bytes::from_static(br#"{"a":{"b":[10,20]},"":1,"m~n":8,"x/y":9}"#)).unwrap();
            Pointer::parse(pointer).and_then(|it| it.find(&document).map(ValueRef::to_value))
        };
        assert_eq!(found("/a/b/1"), Some(Value::Int(20)));
        assert_eq!(found("/"), Some(Value::Int(1)));
        assert_eq!(found("/m~0n"), Some(Value::Int(8)));
        assert_eq!(found("/x~1y"), Some(Value::Int(9)));
        for nothing in
            ["/a/b/2", "/a/b/01", "/a/b/-", "/c", "a", "/a~2", "/a/b/+1", "/a/b/18446744073709551616", "/a/b/0/x"]
        {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }
}
