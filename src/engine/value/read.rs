//! JSON text to values, bounded, in one pass over the text: UTF-8 is checked once for the whole, strings without escapes
//! stay where they are, and numbers are read exactly. The reader belongs to the engine because every edge at which JSON comes in reads
//! it alike: records and answers.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{DocumentBuilder, Node, Value};
use crate::engine::limits;

/// How much a document may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Longest text in bytes; never more than 4 GiB.
    pub bytes: usize,
    /// Deepest nesting of lists and objects; never more than 127, where the parser itself ends.
    pub depth: usize,
    /// Scalars, lists, objects and field names together.
    pub nodes: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        JsonLimits { bytes: limits::DOCUMENT_BYTES, depth: limits::DOCUMENT_DEPTH, nodes: limits::DOCUMENT_NODES }
    }
}

/// Why a text is no JSON document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct JsonError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads a document: UTF-8, with or without a byte order mark, and nothing behind the value. Strings without escapes stay
/// where they are in `text`, which lives as long as the value or a part of it. Of duplicate keys the last one counts.
pub fn read_json(text: Bytes, limits: &JsonLimits) -> Result<Value, JsonError> {
    const MARK: &str = "\u{feff}";
    if text.len() > limits.bytes.min(u32::MAX as usize) {
        let message = format!("the document has {} bytes; it may have {}", text.len(), limits.bytes);
        return Err(JsonError { line: 1, column: 1, message });
    }
    let source = simdutf8::compat::from_utf8(&text).map_err(|error| not_utf8(&text, error.valid_up_to()))?;
    let source = source.strip_prefix(MARK).unwrap_or(source);
    let mut builder = DocumentBuilder::new(text.slice(text.len() - source.len()..));
    let mut reader = serde_json::Deserializer::from_str(source);
    let part = Part { builder: &mut builder, limits, depth: 0 };
    part.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| in_words(&error))?;
    Ok(builder.finish())
}

/// One value of the document, added to the tape.
struct Part<'b> {
    builder: &'b mut DocumentBuilder,
    limits: &'b JsonLimits,
    depth: usize,
}

impl Part<'_> {
    fn count<E: Error>(&self) -> Result<(), E> {
        if self.builder.len() < self.limits.nodes {
            return Ok(());
        }
        Err(E::custom(format_args!("the document has more than {} values and names", self.limits.nodes)))
    }

    fn scalar<E: Error>(self, node: Node) -> Result<(), E> {
        self.count()?;
        self.builder.scalar(node);
        Ok(())
    }

    fn deeper<E: Error>(&self) -> Result<usize, E> {
        self.count()?;
        if self.depth < self.limits.depth {
            return Ok(self.depth + 1);
        }
        Err(E::custom(format_args!("lists and objects nest deeper than {} levels", self.limits.depth)))
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(Node::Null)
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<(), E> {
        self.scalar(Node::Bool(it))
    }

    fn visit_i64<E: Error>(self, it: i64) -> Result<(), E> {
        self.scalar(Node::Int(it))
    }

    fn visit_u64<E: Error>(self, it: u64) -> Result<(), E> {
        self.scalar(i64::try_from(it).map_or(Node::UInt(it), Node::Int))
    }

    fn visit_f64<E: Error>(self, it: f64) -> Result<(), E> {
        self.scalar(Node::Float(it))
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<(), E> {
        self.count()?;
        self.builder.text(it);
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, it: &'de str) -> Result<(), E> {
        self.visit_str(it)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let at = self.builder.open();
        let mut count = 0;
        while items.next_element_seed(Part { builder: self.builder, limits: self.limits, depth })?.is_some() {
            count += 1;
        }
        self.builder.close_list(at, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let at = self.builder.open();
        let mut count = 0;
        while fields.next_key_seed(Part { builder: self.builder, limits: self.limits, depth })?.is_some() {
            fields.next_value_seed(Part { builder: self.builder, limits: self.limits, depth })?;
            count += 1;
        }
        self.builder.close_map(at, count);
        Ok(())
    }
}

fn not_utf8(text: &[u8], valid: usize) -> JsonError {
    let before = text.get(..valid).unwrap_or_default();
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let column = valid - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
    JsonError { line, column, message: "the document is not UTF-8".into() }
}

fn in_words(error: &serde_json::Error) -> JsonError {
    let shown = error.to_string();
    // The place is data here; the library writes it behind the message.
    let message = shown.rsplit_once(" at line ").map_or(shown.as_str(), |(message, _)| message);
    JsonError { line: error.line().max(1), column: error.column().max(1), message: message.to_owned() }
}
