//! A value to a datum: the other way round of [`decode`](super::decode), by the same program.

use std::collections::HashMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::datum::{bytes, length, long};
use super::schema::{Node, WriterSchema};
use super::underlying::{self, Decimal};
use crate::engine::limits;
use crate::engine::value::{MapView, Value, ValueRef, View};

/// The most types that are tried for one value: branches of unions within each other are tried one after the other.
const VISITS: usize = 4 * limits::DOCUMENT_NODES;
/// Objects of more fields than this are looked through once, and not once for each field of the record.
const FEW_FIELDS: usize = 16;

/// Writes a value as its schema says. `into` is as it was before if it does not fit.
///
/// What [`decode`](super::decode) makes of a datum is taken back: base64 for bytes and fixed, a symbol for an enum, text of ISO 8601 and RFC 3339
/// for dates, times, timestamps and durations, a number or digits for a decimal, the text of a UUID. Also bytes for bytes, a timestamp for a
/// timestamp or a date, and whole numbers for whatever is one in the datum. What is finer than its unit is cut.
///
/// An object has all fields of its record but those with a default, and no others, so that nothing is left out unseen. Of a union the first
/// branch that fits is taken.
///
/// # Errors
///
/// Says what does not fit, and where in the value.
pub fn encode(schema: &WriterSchema, value: &Value, into: &mut Vec<u8>) -> Result<(), String> {
    let before = into.len();
    let mut writing = Writing { schema, into, start: before, visits: 0 };
    writing.value(schema.root, value.into(), Origin::Value, 0).map_err(|Misfit { what, path }| {
        into.truncate(before);
        let place: String = path.iter().rev().map(|name| format!("/{name}")).collect();
        if place.is_empty() { what } else { format!("{what}, in {place}") }
    })
}

/// Why a value does not fit its type.
struct Misfit {
    what: String,
    /// The fields and items that it is in, the innermost first.
    path: Vec<String>,
}

impl Misfit {
    fn within(mut self, place: impl Display) -> Misfit {
        self.path.push(place.to_string());
        self
    }
}

fn misfit<T>(what: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit { what: what.into(), path: Vec::new() })
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// An expression.
    Value,
    /// A default, in which bytes are the characters of their numbers.
    Default,
}

struct Writing<'s, 'i> {
    schema: &'s WriterSchema,
    into: &'i mut Vec<u8>,
    start: usize,
    visits: usize,
}

impl<'s> Writing<'s, '_> {
    fn value(&mut self, place: u32, value: ValueRef<'_>, from: Origin, depth: usize) -> Result<(), Misfit> {
        self.visits += 1;
        if depth > limits::VALUE_DEPTH {
            return misfit(format!("the value nests deeper than {} levels", limits::VALUE_DEPTH));
        }
        if self.visits > VISITS {
            return misfit(format!("the value fits only after more than {VISITS} types were tried; use fewer unions"));
        }
        if self.into.len() - self.start > limits::EXECUTION_OUTPUT_BYTES {
            return misfit(format!("the value has more than {} bytes in Avro", limits::EXECUTION_OUTPUT_BYTES));
        }
        let schema: &'s WriterSchema = self.schema;
        match (&schema.nodes[place as usize], value.view()) {
            (Node::Union(branches), _) => self.union(branches, value, from, depth),
            (Node::Record(fields), View::Map(map)) => self.record(place, fields, map, from, depth),
            (Node::Array(items, _), View::List(list)) => {
                if !list.is_empty() {
                    length(self.into, list.len());
                }
                for (number, item) in list.iter().enumerate() {
                    self.value(*items, item, from, depth + 1).map_err(|it| it.within(number))?;
                }
                long(self.into, 0);
                Ok(())
            }
            (Node::Map(values), View::Map(map)) => {
                if !map.is_empty() {
                    length(self.into, map.len());
                }
                for (key, item) in map.iter() {
                    bytes(self.into, key.as_bytes());
                    self.value(*values, item, from, depth + 1).map_err(|it| it.within(key))?;
                }
                long(self.into, 0);
                Ok(())
            }
            (Node::Enum(symbols), View::Text(text)) => {
                let all = &schema.constants[symbols.start as usize..symbols.end as usize];
                match all.iter().position(|it| &**it == text) {
                    Some(number) => length(self.into, number),
                    None => return misfit(format!("`{}` is none of the symbols {}", cut(text), all.join(", "))),
                }
                Ok(())
            }
            (node, view) => self.scalar(node, view, from),
        }
    }

    fn union(&mut self, branches: &[u32], value: ValueRef<'_>, from: Origin, depth: usize) -> Result<(), Misfit> {
        let is_null = |branch: &u32| matches!(self.schema.nodes[*branch as usize], Node::Null);
        let others = branches.iter().filter(|branch| !is_null(branch)).count();
        let before = self.into.len();
        let mut first = None;
        for (number, branch) in branches.iter().enumerate() {
            length(self.into, number);
            // A union is no level of the value, and has none as a branch.
            match self.value(*branch, value, from, depth) {
                Ok(()) => return Ok(()),
                Err(misfit) if first.is_none() && !matches!(self.schema.nodes[*branch as usize], Node::Null) => {
                    first = Some(misfit);
                }
                Err(_) => {}
            }
            self.into.truncate(before);
        }
        match first.filter(|_| others == 1) {
            // Whoever writes a value where there may be none is told what is wrong with it.
            Some(misfit) if !matches!(value.view(), View::Null) => Err(misfit),
            _ => misfit(format!("{} fits none of the {} types of its union", kind(value.view()), branches.len())),
        }
    }

    fn record(
        &mut self,
        place: u32,
        fields: &[(u32, u32)],
        map: MapView<'_>,
        from: Origin,
        depth: usize,
    ) -> Result<(), Misfit> {
        let schema: &'s WriterSchema = self.schema;
        let index: Option<HashMap<&str, ValueRef<'_>>> = (map.len() > FEW_FIELDS).then(|| map.iter().collect());
        let mut found = 0;
        for (number, (name, node)) in fields.iter().enumerate() {
            let name = &*schema.constants[*name as usize];
            let given = index.as_ref().map_or_else(|| map.get(name), |index| index.get(name).copied());
            found += usize::from(given.is_some());
            let written = match (given, schema.defaults.get(&(place, number as u32))) {
                (Some(value), _) => self.value(*node, value, from, depth + 1),
                (None, Some(default)) => self.value(*node, default.into(), Origin::Default, depth + 1),
                (None, None) => misfit("the field is missing, and has no default"),
            };
            written.map_err(|it| it.within(name))?;
        }
        if found == map.len() {
            return Ok(());
        }
        let names: Vec<&str> = fields.iter().map(|(name, _)| &*schema.constants[*name as usize]).collect();
        let unknown = map.iter().find(|(name, _)| !names.contains(name)).map_or("", |(name, _)| name);
        misfit(format!("the schema has no field `{}`; it has {}", cut(unknown), cut(&names.join(", "))))
    }

    fn scalar(&mut self, node: &Node, view: View<'_>, from: Origin) -> Result<(), Misfit> {
        if let (View::Int(_) | View::UInt(_) | View::Float(_), true) = (view, is_number(node)) {
            return self.number(node, view);
        }
        match (node, view) {
            (Node::Null, View::Null) => {}
            (Node::Boolean, View::Bool(truth)) => self.into.push(u8::from(truth)),
            (Node::Float | Node::Double, View::Text(text)) => {
                let named = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];
                let Some((_, number)) = named.iter().find(|(name, _)| *name == text) else { return wrong(node, view) };
                self.float(node, *number);
            }
            (Node::Text, View::Text(text)) => bytes(self.into, text.as_bytes()),
            (Node::Bytes | Node::Fixed(_), View::Bytes(raw)) => return self.raw(node, raw),
            (Node::Bytes | Node::Fixed(_), View::Text(text)) if from == Origin::Default => {
                let raw: Result<Vec<u8>, _> = text.chars().map(|it| u8::try_from(u32::from(it))).collect();
                return match raw {
                    Ok(raw) => self.raw(node, &raw),
                    Err(_) => misfit("the default has a character beyond U+00FF, which is no byte"),
                };
            }
            (Node::Bytes | Node::Fixed(_), View::Text(text)) => match BASE64.decode(text) {
                Ok(raw) => return self.raw(node, &raw),
                Err(_) => return misfit("the text is no base64, which stands for bytes"),
            },
            (Node::Decimal(..) | Node::BigDecimal, View::Text(text)) => return self.decimal(node, text),
            (Node::Uuid, View::Text(text)) => match uuid::Uuid::try_parse(text) {
                Ok(uuid) => self.into.extend_from_slice(uuid.as_bytes()),
                Err(_) => return wrong(node, view),
            },
            (Node::Duration, View::Text(text)) => match underlying::duration(text) {
                Some(parts) => self.into.extend_from_slice(&parts),
                None => return wrong(node, view),
            },
            (_, View::Text(text)) => match units_of_text(node, text) {
                Some(units) => long(self.into, units),
                None => return wrong(node, view),
            },
            (_, View::Timestamp(nanos)) => match units_of_moment(node, nanos) {
                Some(units) => long(self.into, units),
                None => return wrong(node, view),
            },
            _ => return wrong(node, view),
        }
        Ok(())
    }

    fn number(&mut self, node: &Node, view: View<'_>) -> Result<(), Misfit> {
        if let Node::Float | Node::Double = node {
            let number = match view {
                View::Int(number) => number as f64,
                View::UInt(number) => number as f64,
                View::Float(number) => number,
                _ => return wrong(node, view),
            };
            if matches!(node, Node::Float) && number.is_finite() && (number as f32).is_infinite() {
                return misfit(format!("{number} is larger than any float"));
            }
            self.float(node, number);
            return Ok(());
        }
        if let Node::Decimal(..) | Node::BigDecimal = node {
            let digits = match view {
                View::Int(number) => number.to_string(),
                View::UInt(number) => number.to_string(),
                View::Float(number) => number.to_string(),
                _ => return wrong(node, view),
            };
            return self.decimal(node, &digits);
        }
        let Some(number) = whole(view) else { return misfit(format!("{} is no whole number", shown(view))) };
        let is_int = matches!(node, Node::Int | Node::Date | Node::TimeInt(_));
        if is_int && i32::try_from(number).is_err() {
            return misfit(format!("{number} is larger than any int"));
        }
        long(self.into, number);
        Ok(())
    }

    fn float(&mut self, node: &Node, number: f64) {
        match node {
            Node::Float => self.into.extend_from_slice(&(number as f32).to_le_bytes()),
            _ => self.into.extend_from_slice(&number.to_le_bytes()),
        }
    }

    fn raw(&mut self, node: &Node, raw: &[u8]) -> Result<(), Misfit> {
        match node {
            Node::Fixed(size) if *size != raw.len() => {
                return misfit(format!("there are {} bytes, where the schema wants {size}", raw.len()));
            }
            Node::Fixed(_) => self.into.extend_from_slice(raw),
            _ => bytes(self.into, raw),
        }
        Ok(())
    }

    fn decimal(&mut self, node: &Node, digits: &str) -> Result<(), Misfit> {
        let Some(number) = Decimal::parse(digits) else { return wrong(node, View::Text(digits)) };
        let Node::Decimal(scale, size, precision) = node else {
            let scale = number.written_scale();
            let mut whole = Vec::new();
            bytes(&mut whole, &number.unscaled(scale).0);
            length(&mut whole, scale);
            bytes(self.into, &whole);
            return Ok(());
        };
        let (scale, precision) = (*scale as usize, *precision);
        if number.scale() > scale {
            return misfit(format!("{} has more than the {scale} digits behind the point of its type", cut(digits)));
        }
        let (unscaled, count) = number.unscaled(scale);
        if count > precision {
            return misfit(format!("{} has more than the {precision} digits of its type", cut(digits)));
        }
        match size.map(|size| underlying::widened(&unscaled, size)) {
            None => bytes(self.into, &unscaled),
            Some(Some(widened)) => self.into.extend_from_slice(&widened),
            Some(None) => return misfit(format!("{} is larger than its type", cut(digits))),
        }
        Ok(())
    }
}

/// Whether a type takes numbers.
fn is_number(node: &Node) -> bool {
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

fn units_of_text(node: &Node, text: &str) -> Option<i64> {
    match node {
        Node::Date => underlying::date(text).map(i64::from),
        Node::TimeInt(per_second) | Node::TimeLong(per_second) => underlying::time(text, *per_second),
        Node::Timestamp(per_second, is_local) => underlying::timestamp(text, *per_second, *is_local),
        _ => None,
    }
}

/// Of a moment in nanoseconds since the Unix epoch.
fn units_of_moment(node: &Node, nanos: i64) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    match node {
        Node::Date => Some(nanos.div_euclid(24 * 3_600 * SECOND)),
        Node::Timestamp(per_second, _) => Some(nanos.div_euclid(SECOND / per_second)),
        _ => None,
    }
}

/// A whole number: those that arithmetic has made a fraction's type of are still whole.
fn whole(view: View<'_>) -> Option<i64> {
    /// Up to here a double holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match view {
        View::Int(number) => Some(number),
        View::UInt(number) => i64::try_from(number).ok(),
        View::Float(number) => (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64),
        _ => None,
    }
}

fn wrong<T>(node: &Node, view: View<'_>) -> Result<T, Misfit> {
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
    misfit(format!("{} is not {wanted}, as the schema has it", shown(view)))
}

/// A value in a message.
fn shown(view: View<'_>) -> String {
    match view {
        View::Text(text) => format!("`{}`", cut(text)),
        View::Bool(truth) => truth.to_string(),
        View::Int(number) => number.to_string(),
        View::UInt(number) => number.to_string(),
        View::Float(number) => number.to_string(),
        other => kind(other).to_owned(),
    }
}

fn kind(view: View<'_>) -> &'static str {
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
fn cut(text: &str) -> &str {
    const SHOWN: usize = 200;
    &text[..text.floor_char_boundary(SHOWN)]
}
