//! Scalars: what leaves of events are compared as, and the literals that patterns compare them with.

use std::cmp::Ordering;
use std::sync::Arc;

use super::number::Number;
use crate::engine::value::Value;

/// A leaf of an event, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    /// Something that no literal equals: bytes that are no text, times, NaN.
    Opaque,
}

impl<'a> Scalar<'a> {
    /// The scalar that `value` is; None for lists and objects.
    pub fn of(value: &'a Value) -> Option<Scalar<'a>> {
        if let Some(text) = value.as_str() {
            return Some(Scalar::Text(text));
        }
        match value {
            Value::Null => Some(Scalar::Null),
            Value::Bool(it) => Some(Scalar::Bool(*it)),
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => {
                Some(Number::of(value).map_or(Scalar::Opaque, Scalar::Number))
            }
            Value::Text(_) | Value::Bytes(_) | Value::Timestamp(_) | Value::Duration(_) => Some(Scalar::Opaque),
            Value::List(_) | Value::Map(_) | Value::Node(_) => None,
        }
    }

    /// The scalar of bytes that should be text.
    pub fn of_bytes(bytes: &'a [u8]) -> Scalar<'a> {
        std::str::from_utf8(bytes).map_or(Scalar::Opaque, Scalar::Text)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Scalar::Text(text) => Some(text),
            Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Opaque => None,
        }
    }
}

/// A value written in a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    Text(Arc<str>),
}

impl Literal {
    /// How the literal orders against a scalar, in the order of literals among themselves.
    pub fn compare(&self, scalar: &Scalar<'_>) -> Ordering {
        match (self, scalar) {
            (Literal::Null, Scalar::Null) => Ordering::Equal,
            (Literal::Bool(a), Scalar::Bool(b)) => a.cmp(b),
            (Literal::Number(a), Scalar::Number(b)) => a.cmp(b),
            (Literal::Text(a), Scalar::Text(b)) => (**a).cmp(b),
            (Literal::Null | Literal::Bool(_) | Literal::Number(_) | Literal::Text(_), _) => {
                self.rank().cmp(&scalar_rank(scalar))
            }
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Literal::Null => 0,
            Literal::Bool(_) => 1,
            Literal::Number(_) => 2,
            Literal::Text(_) => 3,
        }
    }
}

fn scalar_rank(scalar: &Scalar<'_>) -> u8 {
    match scalar {
        Scalar::Null => 0,
        Scalar::Bool(_) => 1,
        Scalar::Number(_) => 2,
        Scalar::Text(_) => 3,
        Scalar::Opaque => 4,
    }
}

impl std::fmt::Display for Literal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Literal::Null => formatter.write_str("null"),
            Literal::Bool(it) => it.fmt(formatter),
            Literal::Number(it) => it.fmt(formatter),
            Literal::Text(it) => write!(formatter, "{it:?}"),
        }
    }
}

impl std::fmt::Display for Scalar<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Null => formatter.write_str("null"),
            Scalar::Bool(it) => it.fmt(formatter),
            Scalar::Number(it) => it.fmt(formatter),
            Scalar::Text(it) => write!(formatter, "{it:?}"),
            Scalar::Opaque => formatter.write_str("a value that is no text"),
        }
    }
}
