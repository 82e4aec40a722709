//! Which types take which values, and what is said where one does not.

use super::schema::Node;
use super::underlying;
use crate::engine::value::View;

/// Says of a type that it never takes a value of some kind.
pub(super) const NEVER: u8 = 4;

/// How well a type stands for a value, of those of a union: 0 = it is what the value is; then what holds all of it, what stands for it, and
/// [`NEVER`]. Records that an object does not fit say so themselves.
pub(super) fn exactness(node: &Node, view: View<'_>) -> u8 {
    match (view, node) {
        (View::Null, Node::Null) | (View::Bool(_), Node::Boolean) => 0,
        (View::Null | View::Bool(_), _) | (_, Node::Null | Node::Boolean) => NEVER,
        (View::Int(_) | View::UInt(_), Node::Int | Node::Long) => 0,
        (View::Int(_) | View::UInt(_), Node::Decimal(..) | Node::BigDecimal | Node::Double) => 1,
        (View::Float(_), Node::Double) => 0,
        (View::Float(_), Node::Decimal(..) | Node::BigDecimal) => 1,
        (View::Int(_) | View::UInt(_) | View::Float(_), node) if is_number(node) => 2,
        (View::Text(_), Node::Text | Node::Enum(_)) => 0,
        // Their texts look like nothing else; those of decimals do, and nearly every short text is base64.
        (
            View::Text(_),
            Node::Date | Node::TimeInt(_) | Node::TimeLong(_) | Node::Timestamp(..) | Node::Uuid | Node::Duration,
        ) => 0,
        (View::Text(_), Node::Float | Node::Double | Node::Decimal(..) | Node::BigDecimal) => 2,
        (View::Text(_), Node::Bytes | Node::Fixed(_)) => 3,
        (View::Bytes(_), Node::Bytes | Node::Fixed(_)) => 0,
        (View::Timestamp(_), Node::Timestamp(..)) | (View::Duration(_), Node::Duration) => 0,
        (View::Timestamp(_), Node::Date) => 1,
        (View::List(_), Node::Array(..)) | (View::Map(_), Node::Record(_)) => 0,
        (View::Map(_), Node::Map(_)) => 1,
        _ => NEVER,
    }
}

/// Whether a type is bytes in a datum, so that its default is written as such.
pub(super) fn is_of_bytes(node: &Node) -> bool {
    matches!(node, Node::Bytes | Node::Fixed(_) | Node::Decimal(..) | Node::BigDecimal | Node::Uuid | Node::Duration)
}

/// Whether a type takes numbers.
pub(super) fn is_number(node: &Node) -> bool {
    match node {
        Node::Int
        | Node::Long
        | Node::Float
        | Node::Double
        | Node::Date
        | Node::TimeInt(_)
        | Node::TimeLong(_)
        | Node::Timestamp(..)
        | Node::Decimal(..)
        | Node::BigDecimal => true,
        Node::Null
        | Node::Boolean
        | Node::Bytes
        | Node::Text
        | Node::Fixed(_)
        | Node::Enum(_)
        | Node::Record(_)
        | Node::Array(..)
        | Node::Map(_)
        | Node::Union(_)
        | Node::Uuid
        | Node::Duration => false,
    }
}

/// Of a text, how many units of its type.
pub(super) fn units_of_text(node: &Node, text: &str) -> Option<i64> {
    match node {
        Node::Date => underlying::date(text).map(i64::from),
        Node::TimeInt(per_second) | Node::TimeLong(per_second) => underlying::time(text, *per_second),
        Node::Timestamp(per_second, is_local) => underlying::timestamp(text, *per_second, *is_local),
        _ => None,
    }
}

/// Of a moment in nanoseconds since the Unix epoch.
pub(super) fn units_of_moment(node: &Node, nanos: i64) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    match node {
        Node::Date => Some(nanos.div_euclid(24 * 3_600 * SECOND)),
        Node::Timestamp(per_second, _) => Some(nanos.div_euclid(SECOND / per_second)),
        _ => None,
    }
}

/// A whole number: those that arithmetic has made a fraction's type of are still whole.
pub(super) fn whole(view: View<'_>) -> Option<i64> {
    /// Up to here a double holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match view {
        View::Int(number) => Some(number),
        View::UInt(number) => i64::try_from(number).ok(),
        View::Float(number) => (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64),
        _ => None,
    }
}

/// That a value is none of a type, in words.
pub(super) fn wrong(node: &Node, view: View<'_>) -> String {
    let wanted = match node {
        Node::Null => "null",
        Node::Boolean => "true or false",
        Node::Int | Node::Long => "a whole number",
        Node::Float | Node::Double => "a number",
        Node::Bytes | Node::Fixed(_) => "bytes, or their base64",
        Node::Text => "a string",
        Node::Enum(_) => "the name of a symbol",
        Node::Record(_) | Node::Map(_) => "an object",
        Node::Array(..) => "a list",
        Node::Union(_) => "what a branch of the union takes",
        Node::Date => "a date like 2024-02-29",
        Node::TimeInt(_) | Node::TimeLong(_) => "a time of day like 23:59:58.123",
        Node::Timestamp(_, false) => "a timestamp like 2024-02-29T12:00:00Z",
        Node::Timestamp(_, true) => "a local timestamp like 2024-02-29T12:00:00",
        Node::Decimal(..) | Node::BigDecimal => "a decimal like -12.50",
        Node::Uuid => "a UUID",
        Node::Duration => "a duration like P1M2DT3.5S",
    };
    format!("{} is not {wanted}, as the schema has it", shown(view))
}

/// A value in a message.
pub(super) fn shown(view: View<'_>) -> String {
    match view {
        View::Text(text) => format!("`{}`", cut(text)),
        View::Bool(truth) => truth.to_string(),
        View::Int(number) => number.to_string(),
        View::UInt(number) => number.to_string(),
        View::Float(number) => number.to_string(),
        other => kind(other).to_owned(),
    }
}

/// What a value is called in a message.
pub(super) fn kind(view: View<'_>) -> &'static str {
    match view {
        View::Null => "null",
        View::Bool(_) => "a truth value",
        View::Int(_) | View::UInt(_) | View::Float(_) => "a number",
        View::Text(_) => "a string",
        View::Bytes(_) => "bytes",
        View::Timestamp(_) => "a timestamp",
        View::Duration(_) => "a duration",
        View::List(_) => "a list",
        View::Map(_) => "an object",
    }
}

/// The start of a text, as much as a message has room for.
pub(super) fn cut(text: &str) -> &str {
    const SHOWN: usize = 200;
    &text[..text.floor_char_boundary(SHOWN)]
}
