//! JSON to nodes, with the same places, limits and refusals as YAML.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::diagnostic::Mistake;
use super::limits;
use super::node::{Field, Kind, Node, Text, quote};
use crate::engine::limits as engine_limits;

/// Reads one JSON document, or lists what is wrong with it.
pub(super) fn read(text: &str) -> Result<Node, Vec<Mistake>> {
    let mut reader = Reader { text, nodes: 0, mistakes: Vec::new() };
    // Once over the whole checks the syntax without building anything.
    let root = match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => reader.node(raw, 0),
        Err(error) => Err(reader.syntax(&error, text)),
    };
    match root {
        Ok(root) if reader.mistakes.is_empty() => Ok(root),
        Ok(_) => Err(reader.mistakes),
        Err(mistake) => {
            reader.mistakes.push(mistake);
            Err(reader.mistakes)
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    nodes: usize,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    /// The byte of the document at which a slice of it starts.
    fn byte(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize).min(self.text.len())
    }

    fn syntax(&self, error: &serde_json::Error, part: &str) -> Mistake {
        let line_start: usize = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = self.byte(part) + line_start + error.column().saturating_sub(1);
        let full = error.to_string();
        let message = full.split(" at line ").next().unwrap_or(&full);
        Mistake::new(
            at.min(self.text.len()),
            format!("this is not JSON: {message}"),
            "check quotes, commas and brackets",
        )
    }

    /// Builds what a slice of the document holds. Each level reads its slice once more, which the depth limits.
    fn node(&mut self, raw: &'a RawValue, depth: usize) -> Result<Node, Mistake> {
        let part = raw.get();
        let at = self.byte(part);
        self.nodes += 1;
        if self.nodes > limits::NODES {
            let message = format!("the document has more than {} values", limits::NODES);
            return Err(Mistake::new(at, message, "split it into several workflows"));
        }
        let is_nested = part.starts_with(['{', '[']);
        if is_nested && depth >= engine_limits::DOCUMENT_DEPTH {
            let message = format!("the document is nested more than {} levels deep", engine_limits::DOCUMENT_DEPTH);
            return Err(Mistake::new(at, message, "make it flatter"));
        }
        let kind = match part.as_bytes().first() {
            Some(b'{') => self.map(part, depth)?,
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(part).map_err(|error| self.syntax(&error, part))?;
                Kind::List(items.into_iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => {
                let value: Cow<'_, str> = serde_json::from_str(part).map_err(|error| self.syntax(&error, part))?;
                Kind::Text(Text { value: value.as_ref().into(), at, start: at + 1 })
            }
            Some(b't') => Kind::Bool(true),
            Some(b'f') => Kind::Bool(false),
            Some(b'n') => Kind::Null,
            _ => number(part).ok_or_else(|| {
                Mistake::new(
                    at,
                    format!("the number {} does not fit 64 bits", quote(part)),
                    "write it as text, in quotes",
                )
            })?,
        };
        Ok(Node { at, kind })
    }

    fn map(&mut self, part: &'a str, depth: usize) -> Result<Kind, Mistake> {
        let RawFields(raw) = serde_json::from_str(part).map_err(|error| self.syntax(&error, part))?;
        let mut fields = Vec::with_capacity(raw.len());
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        for (raw_name, raw_value) in raw {
            let at = self.byte(raw_name.get());
            let name: Cow<'_, str> =
                serde_json::from_str(raw_name.get()).map_err(|error| self.syntax(&error, raw_name.get()))?;
            let name: Arc<str> = name.as_ref().into();
            let value = self.node(raw_value, depth + 1)?;
            match places.insert(name.clone(), at) {
                None => fields.push(Field { name, at, value }),
                Some(_) if self.mistakes.len() > limits::MISTAKES_PER_FILE => {}
                Some(_) => {
                    let message = format!("the field {} is written twice", quote(&name));
                    self.mistakes.push(Mistake::new(at, message, "keep one of them"));
                }
            }
        }
        Ok(Kind::Map(fields))
    }
}

fn number(part: &str) -> Option<Kind> {
    let number: serde_json::Number = serde_json::from_str(part).ok()?;
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(it), _, _) => Some(Kind::Int(it)),
        (None, Some(it), _) => Some(Kind::UInt(it)),
        // Digits alone that became a float did not fit.
        (None, None, Some(it)) if it.is_finite() && (part.contains(['.', 'e', 'E']) || it == 0.0) => {
            Some(Kind::Float(it))
        }
        (None, None, _) => None,
    }
}

/// The fields of an object as slices of the document, duplicates too.
struct RawFields<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor).map(RawFields)
    }
}
