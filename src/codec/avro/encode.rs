//! A value to a datum: the other way round of [`decode`](super::decode), by the same program.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::datum::{bytes, length, long};
use super::fit::{
    self, NEVER, cut, exactness, is_number, is_of_bytes, kind, shown, units_of_moment, units_of_text, whole,
};
use super::schema::{DOUBLE_DIGITS, Node, WriterSchema};
use super::underlying::{self, Decimal};
use crate::engine::expression::Budget;
use crate::engine::limits;
use crate::engine::value::{MapView, Value, ValueRef, View};

/// Objects of more fields than this are looked through once, and not once for each field of the record.
const FEW_FIELDS: usize = 16;
/// The most digits of a number without a precision of its own: what is read has 128 bytes at most.
const BIG_DECIMAL_DIGITS: usize = 300;
/// How much is copied, and how many symbols are compared, for a unit of the budget.
const BYTES_PER_UNIT: usize = 16;
const SYMBOLS_PER_UNIT: usize = 8;
/// The most names that a message lists.
const SHOWN_NAMES: usize = 12;

/// Writes a value as its schema says. `into` is as it was before if it does not fit.
///
/// What [`decode`](super::decode) makes of a datum is taken back: base64 for bytes and fixed, a symbol for an enum, text of ISO 8601 and RFC 3339
/// for dates, times, timestamps and durations, a number or digits for a decimal, the text of a UUID. Also bytes for bytes, a timestamp for a
/// timestamp or a date, and whole numbers for whatever is one in the datum. What is finer than its unit is cut.
///
/// An object has all fields of its record but those with a default, and no others, so that nothing is left out unseen. Of a union that branch is
/// taken which takes the value as it is, a string before base64 and a double before a float say; else the first that fits.
///
/// What it takes is taken of the budget, a unit for each type that is tried: branches of unions within each other are tried one after the other.
///
/// # Errors
///
/// Says what does not fit, and where in the value; or that the budget is spent.
pub fn encode(schema: &WriterSchema, value: &Value, budget: &mut Budget, into: &mut Vec<u8>) -> Result<(), String> {
    let before = into.len();
    let mut writing = Writing { schema, into, start: before, budget };
    writing.value(schema.root, value.into(), Origin::Value, 0).map_err(|Misfit { what, path, .. }| {
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
    /// Whether no other branch of a union is to be tried.
    is_final: bool,
}

impl Misfit {
    fn within(mut self, place: impl Display) -> Misfit {
        self.path.push(place.to_string());
        self
    }
}

fn misfit<T>(what: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit { what: what.into(), path: Vec::new(), is_final: false })
}

/// A limit is reached.
fn limit<T>(what: String) -> Result<T, Misfit> {
    Err(Misfit { what, path: Vec::new(), is_final: true })
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
    budget: &'i mut Budget,
}

impl<'s> Writing<'s, '_> {
    fn spend(&mut self, units: usize) -> Result<(), Misfit> {
        self.budget.spend(units as u64).or_else(|error| limit(error.message))
    }

    fn value(&mut self, place: u32, value: ValueRef<'_>, from: Origin, depth: usize) -> Result<(), Misfit> {
        self.spend(1)?;
        if depth > limits::VALUE_DEPTH {
            return limit(format!("the value nests deeper than {} levels", limits::VALUE_DEPTH));
        }
        if self.into.len() - self.start > limits::EXECUTION_OUTPUT_BYTES {
            return limit(format!("the value has more than {} bytes in Avro", limits::EXECUTION_OUTPUT_BYTES));
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
                self.spend(symbols.len() / SYMBOLS_PER_UNIT)?;
                let all = &schema.constants[symbols.start as usize..symbols.end as usize];
                match all.iter().position(|it| &**it == text) {
                    Some(number) => length(self.into, number),
                    None => {
                        let some: Vec<&str> = all.iter().take(SHOWN_NAMES).map(|it| &**it).collect();
                        let more = if all.len() > some.len() { ", …" } else { "" };
                        return misfit(format!("`{}` is none of the symbols {}{more}", cut(text), some.join(", ")));
                    }
                }
                Ok(())
            }
            (node, view) => self.scalar(node, view, from),
        }
    }

    fn union(&mut self, branches: &[u32], value: ValueRef<'_>, from: Origin, depth: usize) -> Result<(), Misfit> {
        let view = value.view();
        let exactness = |branch: u32| exactness(&self.schema.nodes[branch as usize], view);
        let mut tried: Vec<(u8, usize, u32)> =
            branches.iter().enumerate().map(|(number, branch)| (exactness(*branch), number, *branch)).collect();
        // Those of the same exactness are tried in the order in which the schema has them.
        tried.sort_unstable();
        let before = self.into.len();
        let mut misfits = 0;
        let mut last = None;
        for (_, number, branch) in tried.into_iter().filter(|(exactness, ..)| *exactness < NEVER) {
            length(self.into, number);
            // A union is no level of the value, and has none as a branch.
            match self.value(branch, value, from, depth) {
                Ok(()) => return Ok(()),
                Err(misfit) if misfit.is_final => return Err(misfit),
                Err(misfit) => last = Some(misfit),
            }
            misfits += 1;
            self.into.truncate(before);
        }
        let is_null = |branch: &&u32| matches!(self.schema.nodes[**branch as usize], Node::Null);
        let mut others = branches.iter().filter(|branch| !is_null(branch));
        match (last.filter(|_| misfits == 1), others.next(), others.next(), view) {
            // Whoever writes what only one branch may take is told what is wrong with it.
            (Some(misfit), ..) => Err(misfit),
            (None, Some(only), None, view) if misfits == 0 && !matches!(view, View::Null) => {
                wrong(&self.schema.nodes[*only as usize], view)
            }
            (None, _, _, view) => {
                misfit(format!("{} fits none of the {} types of its union", kind(view), branches.len()))
            }
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
        // What is looked through counts, since it is done again for every branch of a union.
        self.spend(map.len())?;
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
        let names: HashSet<&str> = fields.iter().map(|(name, _)| &*schema.constants[*name as usize]).collect();
        let unknown = map.iter().find(|(name, _)| !names.contains(name)).map_or("", |(name, _)| name);
        let some: Vec<&str> = fields.iter().take(SHOWN_NAMES).map(|(it, _)| &*schema.constants[*it as usize]).collect();
        let more = if fields.len() > some.len() { ", …" } else { "" };
        misfit(format!("the schema has no field `{}`; it has {}{more}", cut(unknown), some.join(", ")))
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
            (Node::Text, View::Text(text)) => {
                self.spend(text.len() / BYTES_PER_UNIT)?;
                bytes(self.into, text.as_bytes());
            }
            (Node::Bytes | Node::Fixed(_), View::Bytes(raw)) => return self.raw(node, raw),
            (_, View::Text(text)) if from == Origin::Default && is_of_bytes(node) => {
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
            (Node::Duration, View::Duration(nanos)) => match u32::try_from(nanos / 1_000_000) {
                Ok(ms) if nanos >= 0 => {
                    self.into.extend_from_slice(&[0; 8]);
                    self.into.extend_from_slice(&ms.to_le_bytes());
                }
                Ok(_) | Err(_) => return misfit("the duration is negative or longer than 49 days"),
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
            let significant = digits.bytes().filter(u8::is_ascii_digit).skip_while(|it| *it == b'0').count();
            if matches!(view, View::Float(_)) && significant > DOUBLE_DIGITS + 1 {
                let what = "has more digits than a number of JSON holds exactly; pass it as text";
                return misfit(format!("{digits} {what}"));
            }
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
        self.spend(raw.len() / BYTES_PER_UNIT)?;
        let size = match node {
            Node::Fixed(size) | Node::Decimal(_, Some(size), _) => Some(*size),
            Node::Uuid => Some(16),
            Node::Duration => Some(12),
            _ => None,
        };
        match size {
            Some(size) if size != raw.len() => {
                return misfit(format!("there are {} bytes, where the schema wants {size}", raw.len()));
            }
            Some(_) => self.into.extend_from_slice(raw),
            None => bytes(self.into, raw),
        }
        Ok(())
    }

    fn decimal(&mut self, node: &Node, digits: &str) -> Result<(), Misfit> {
        let Some(number) = Decimal::parse(digits) else { return wrong(node, View::Text(digits)) };
        let Node::Decimal(scale, size, precision) = node else {
            let scale = number.written_scale();
            if number.digits(scale) > BIG_DECIMAL_DIGITS {
                return misfit(format!("{} has more than {BIG_DECIMAL_DIGITS} digits", cut(digits)));
            }
            let mut whole = Vec::new();
            bytes(&mut whole, &number.unscaled(scale));
            length(&mut whole, scale);
            bytes(self.into, &whole);
            return Ok(());
        };
        let (scale, precision) = (*scale as usize, *precision);
        if number.scale() > scale {
            return misfit(format!("{} has more than the {scale} digits behind the point of its type", cut(digits)));
        }
        if number.digits(scale) > precision {
            return misfit(format!("{} has more than the {precision} digits of its type", cut(digits)));
        }
        if size.is_some_and(|size| size > limits::EXECUTION_OUTPUT_BYTES) {
            return limit(format!("the type of a decimal has more than {} bytes", limits::EXECUTION_OUTPUT_BYTES));
        }
        let unscaled = number.unscaled(scale);
        match size.map(|size| underlying::widened(&unscaled, size)) {
            None => bytes(self.into, &unscaled),
            Some(Some(widened)) => self.into.extend_from_slice(&widened),
            Some(None) => return misfit(format!("{} is larger than its type", cut(digits))),
        }
        Ok(())
    }
}

fn wrong<T>(node: &Node, view: View<'_>) -> Result<T, Misfit> {
    misfit(fit::wrong(node, view))
}
