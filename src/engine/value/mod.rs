//! Values: what events carry, steps output and expressions compute.
//!
//! A [`Value`] is immutable and cheap to clone. A decoded event is one [`Document`]: the bytes it was read from and a flat
//! tape of nodes over them, so that decoding allocates once however many fields there are, and a field that nobody asks for
//! costs nothing. `Value::Node` refers into such a document; everything else a value can be is owned or shared.
//!
//! Whoever only looks at a value takes a [`ValueRef`] or its [`View`], which borrow and never count references.

mod compare;
mod document;
mod json;
mod read;
#[cfg(test)]
mod tests;
mod time;
mod view;

use std::sync::Arc;

use bytes::Bytes;

pub use compare::{Number, compare, equal, hash};
pub use document::{Document, DocumentBuilder, Node, NodeRef, Span};
pub use json::write_json;
pub use read::{JsonError, JsonLimits, read_json};
pub use time::{duration_text, milliseconds_text, parse_milliseconds, timestamp_text, whole_milliseconds};
pub use view::{ListIter, ListView, MapIter, MapView, ValueRef, View};

/// An immutable value. Objects keep the order in which their fields were written; of duplicate keys the last one counts.
///
/// Equality is that of expressions: numbers are equal when they are the same number, whatever their types; objects whatever
/// the order of their fields.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// JSON null, and what a skipped or failed step outputs.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A number without fraction that fits `i64`.
    Int(i64),
    /// A number without fraction; from JSON only one above `i64::MAX`.
    UInt(u64),
    /// Any other number; never NaN or infinite when it came from JSON or from an expression.
    Float(f64),
    /// A string.
    Text(Arc<str>),
    /// Raw bytes (CEL `bytes`); JSON shows them as base64.
    Bytes(Bytes),
    /// Nanoseconds since the Unix epoch (CEL `timestamp`); JSON shows RFC 3339.
    Timestamp(i64),
    /// Nanoseconds (CEL `duration`); JSON shows seconds with an `s`, as CEL does.
    Duration(i64),
    /// A list.
    List(Arc<[Value]>),
    /// An object.
    Map(Arc<Map>),
    /// A string, list or object inside a decoded document.
    Node(NodeRef),
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        equal(self.view(), other.view())
    }
}

/// An object of owned values, in the order written.
#[derive(Clone, Debug, Default)]
pub struct Map(pub Vec<(Arc<str>, Value)>);

impl Map {
    /// The value of `key`, the last one if it was written twice.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }
}

impl Value {
    /// A string value.
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(text.into())
    }

    /// An object of the given fields.
    pub fn map(fields: Vec<(Arc<str>, Value)>) -> Value {
        Value::Map(Arc::new(Map(fields)))
    }

    /// What the value is, borrowed: the form to match on.
    pub fn view(&self) -> View<'_> {
        ValueRef::from(self).view()
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self.view() {
            View::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The field of an object by name; None if this is no object or has no such field.
    pub fn get(&self, key: &str) -> Option<Value> {
        ValueRef::from(self).get(key).map(ValueRef::to_value)
    }

    /// About how many bytes the value takes as JSON; cheap, and never far too little.
    pub fn weight(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) => 5,
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => 12,
            Value::Timestamp(_) | Value::Duration(_) => 32,
            Value::Text(text) => text.len() + 2,
            Value::Bytes(bytes) => bytes.len() * 4 / 3 + 4,
            Value::List(items) => 2 + items.iter().map(|item| item.weight() + 1).sum::<usize>(),
            Value::Map(map) => 2 + map.0.iter().map(|(name, value)| name.len() + 4 + value.weight()).sum::<usize>(),
            Value::Node(node) => node.document.weight(node.index),
        }
    }

    /// The JSON text of a list or an object, if it is at hand because a whole document was read, and [`write_json`] would write
    /// no other.
    pub fn source(&self) -> Option<Bytes> {
        match self {
            Value::Node(node) => node.document.source(node.index),
            _ => None,
        }
    }

    /// Whether this is an object.
    pub fn is_map(&self) -> bool {
        matches!(self.view(), View::Map(_))
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.view(), View::List(_))
    }

    /// Items of a list, fields of an object, characters of a string; None for the rest.
    pub fn len(&self) -> Option<usize> {
        match self.view() {
            View::List(list) => Some(list.len()),
            View::Map(map) => Some(map.len()),
            View::Bytes(bytes) => Some(bytes.len()),
            View::Text(text) => Some(text.chars().count()),
            View::Null
            | View::Bool(_)
            | View::Int(_)
            | View::UInt(_)
            | View::Float(_)
            | View::Timestamp(_)
            | View::Duration(_) => None,
        }
    }

    /// Whether [`Value::len`] is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The item of a list by position.
    pub fn at(&self, position: usize) -> Option<Value> {
        ValueRef::from(self).at(position).map(ValueRef::to_value)
    }

    /// The items of a list.
    pub fn items(&self) -> Option<impl Iterator<Item = Value> + '_> {
        match self.view() {
            View::List(list) => Some(list.iter().map(ValueRef::to_value)),
            _ => None,
        }
    }

    /// The fields of an object, in the order written. Copies every name that lies in a document: [`Value::view`] does not.
    pub fn fields(&self) -> Option<impl Iterator<Item = (Arc<str>, Value)> + '_> {
        match self.view() {
            View::Map(map) => Some(map.iter().map(|(name, value)| (Arc::from(name), value.to_value()))),
            _ => None,
        }
    }

    /// Whether lists and objects nest at most `limit` deep in this value; a scalar has depth 0. Never recurses deeper than
    /// `limit`.
    pub fn depth_within(&self, limit: usize) -> bool {
        match self {
            Value::List(items) => limit > 0 && items.iter().all(|item| item.depth_within(limit - 1)),
            Value::Map(map) => limit > 0 && map.0.iter().all(|(_, field)| field.depth_within(limit - 1)),
            Value::Node(node) => node.depth_within(limit),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Timestamp(_)
            | Value::Duration(_) => true,
        }
    }
}
