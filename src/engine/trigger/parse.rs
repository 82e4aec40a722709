//! Reading patterns: every mistake at once, each with the JSON pointer of the offending part.

use std::sync::Arc;

use super::number::Number;
use super::pattern::{Bound, Clause, Leaf, Object, Pattern, Range, Test};
use super::scalar::{Literal, Scalar};
use super::subject::{ROOTS, TEXT_ROOTS};
use super::text_match::{self, Network, Wildcard};
use crate::engine::limits;
use crate::engine::value::Value;

const OPERATORS: &str = "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr and exists";

/// One mistake in a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// The JSON pointer of the offending part, from the pattern's root; empty = the pattern itself.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Pattern {
    /// Reads a pattern, or lists everything that is wrong with it.
    pub fn parse(value: &Value) -> Result<Pattern, Vec<PatternError>> {
        let mut parser = Parser { errors: Vec::new(), nodes_left: limits::PATTERN_NODES + 1 };
        let root = parser.object(value, &Place::Root, Level::Event);
        match root {
            Some(root) if parser.errors.is_empty() => Ok(Pattern { root }),
            Some(_) | None => Err(parser.errors),
        }
    }
}

/// Where the parser is: a list of steps from the root, kept on the stack.
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Field(parent, name) => {
                format!("{}/{}", parent.pointer(), name.replace('~', "~0").replace('/', "~1"))
            }
            Place::Item(parent, position) => format!("{}/{position}", parent.pointer()),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Place::Root => 0,
            Place::Field(parent, _) | Place::Item(parent, _) => 1 + parent.depth(),
        }
    }
}

/// What an object of a pattern mirrors.
#[derive(Clone, Copy)]
enum Level {
    /// The event: its fields are the roots.
    Event,
    /// The headers: their fields are leaves.
    Headers,
    /// A part of the payload.
    Data,
}

struct Parser {
    errors: Vec<PatternError>,
    nodes_left: usize,
}

impl Parser {
    /// Notes a mistake; past the limit nobody reads on.
    fn wrong<T>(&mut self, place: &Place<'_>, message: impl Into<String>) -> Option<T> {
        if self.errors.len() == limits::PATTERN_MISTAKES {
            return None;
        }
        self.errors.push(PatternError { pointer: place.pointer(), message: message.into() });
        None
    }

    /// What was read, or its mistake at `place`.
    fn checked<T>(&mut self, read: Result<T, String>, place: &Place<'_>) -> Option<T> {
        match read {
            Ok(it) => Some(it),
            Err(message) => self.wrong(place, message),
        }
    }

    /// Counts one field or value; past the limit it says so once and everything stops.
    fn count(&mut self, place: &Place<'_>) -> Option<()> {
        if self.nodes_left == 0 {
            return None;
        }
        self.nodes_left -= 1;
        if self.nodes_left == 0 {
            let most = limits::PATTERN_NODES;
            let message = format!("the pattern has more than {most} fields and values; split it into several triggers");
            return self.wrong(place, message);
        }
        Some(())
    }

    fn object(&mut self, value: &Value, place: &Place<'_>, level: Level) -> Option<Object> {
        let Some(fields) = value.fields() else {
            return self.wrong(place, format!("{} must be an object such as {}", describe(value), level.example()));
        };
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut clauses = Vec::new();
        let mut any_of: Box<[Object]> = Box::default();
        for (name, value) in fields {
            self.bounded(&name, place)?;
            let place = Place::Field(place, &name);
            self.count(&place)?;
            if names.contains(&name) {
                self.wrong::<()>(
                    &place,
                    format!("the field {name:?} is written twice; put all its values into one list"),
                );
            } else if &*name == "$or" {
                any_of = self.branches(&value, &place, level).unwrap_or_default();
            } else if let Some(clause) = self.clause(&name, &value, &place, level) {
                clauses.push((name.clone(), clause));
            }
            names.push(name);
        }
        if names.is_empty() {
            return self.wrong(place, "the object names no field; name one or leave the object out");
        }
        Some(Object { fields: clauses.into(), any_of })
    }

    fn branches(&mut self, value: &Value, place: &Place<'_>, level: Level) -> Option<Box<[Object]>> {
        let Some(items) = value.items() else {
            return self.wrong(place, "`$or` takes a list of objects, one of which must hold");
        };
        self.check_depth(place)?;
        let mut branches = Vec::new();
        for (position, item) in items.enumerate() {
            let place = Place::Item(place, position);
            self.count(&place)?;
            branches.extend(self.object(&item, &place, level));
        }
        if value.is_empty() {
            return self.wrong(place, "`$or` without branches never holds; add one or leave it out");
        }
        Some(branches.into())
    }

    fn clause(&mut self, name: &str, value: &Value, place: &Place<'_>, level: Level) -> Option<Clause> {
        match level {
            Level::Event => self.root_clause(name, value, place),
            Level::Headers => self.leaf(value, place).map(Clause::Leaf),
            Level::Data => {
                if let Some(message) = misplaced_operator(name, value) {
                    return self.wrong(place, message);
                }
                if !value.is_map() {
                    return self.leaf(value, place).map(Clause::Leaf);
                }
                self.check_depth(place)?;
                self.object(value, place, level).map(Clause::Object)
            }
        }
    }

    fn root_clause(&mut self, name: &str, value: &Value, place: &Place<'_>) -> Option<Clause> {
        match name {
            "data" | "key" if value.is_map() => self.object(value, place, Level::Data).map(Clause::Object),
            "headers" => self.object(value, place, Level::Headers).map(Clause::Object),
            _ if matches!(name, "data" | "key") || TEXT_ROOTS.contains(&name) => {
                self.leaf(value, place).map(Clause::Leaf)
            }
            "detail" => self.wrong(place, "the payload is called `data` here; write `data` instead of `detail`"),
            _ => self.wrong(place, format!("unknown field {name:?}; a pattern begins with {}", ROOTS.join(", "))),
        }
    }

    /// Refuses what is nested too deep, before the parser goes there.
    fn check_depth(&mut self, place: &Place<'_>) -> Option<()> {
        if place.depth() > limits::PATTERN_DEPTH {
            let most = limits::PATTERN_DEPTH;
            return self.wrong(place, format!("the pattern is nested more than {most} levels deep; make it flatter"));
        }
        Some(())
    }

    fn leaf(&mut self, value: &Value, place: &Place<'_>) -> Option<Leaf> {
        self.alternatives(value, place, |parser, item, place| parser.operator(item, place))
    }

    /// A list whose items are literals or, as objects, what `operator` reads.
    fn alternatives(
        &mut self,
        value: &Value,
        place: &Place<'_>,
        operator: impl Fn(&mut Parser, &Value, &Place<'_>) -> Option<Test>,
    ) -> Option<Leaf> {
        let Some(items) = value.items() else {
            return self
                .wrong(place, format!("{} must be in a list of alternatives; {}", describe(value), listed(value)));
        };
        let count = value.len().unwrap_or_default();
        if count == 0 {
            return self.wrong(place, "an empty list never matches; name a value, or leave the field out");
        }
        if count > limits::VALUES_PER_LEAF {
            let most = limits::VALUES_PER_LEAF;
            return self.wrong(place, format!("the list has {count} values; at most {most} are allowed"));
        }
        let (mut literals, mut tests) = (Vec::new(), Vec::new());
        for (position, item) in items.enumerate() {
            let place = Place::Item(place, position);
            self.count(&place)?;
            if item.is_map() {
                tests.extend(operator(self, &item, &place));
            } else {
                literals.extend(self.literal(&item, &place));
            }
        }
        literals.sort_unstable();
        literals.dedup();
        Some(Leaf { literals: literals.into(), tests: tests.into() })
    }

    fn literal(&mut self, value: &Value, place: &Place<'_>) -> Option<Literal> {
        match Scalar::of(value) {
            Some(Scalar::Null) => Some(Literal::Null),
            Some(Scalar::Bool(it)) => Some(Literal::Bool(it)),
            Some(Scalar::Number(it)) => Some(Literal::Number(it)),
            Some(Scalar::Text(text)) => self.bounded(text, place).map(|text| Literal::Text(text.into())),
            Some(Scalar::Opaque) | None => self.wrong(
                place,
                format!("{} cannot be compared; write a string, a number, a bool or null", describe(value)),
            ),
        }
    }

    fn operator(&mut self, value: &Value, place: &Place<'_>) -> Option<Test> {
        let (name, operand) = self.only_field(value, place, OPERATORS)?;
        let place = Place::Field(place, &name);
        match &*name {
            "anything-but" => self.anything_but(&operand, &place),
            "numeric" => self.numeric(&operand, &place).map(Test::Numeric),
            "cidr" => {
                let text = self.text(&operand, &place)?;
                self.checked(Network::parse(&text), &place).map(Test::Cidr)
            }
            "exists" => match operand {
                Value::Bool(expected) => Some(Test::Exists(expected)),
                other => self.wrong(&place, format!("`exists` takes true or false, not {}", describe(&other))),
            },
            _ => self.text_operator(&name, &operand, &place, OPERATORS),
        }
    }

    /// The one field of an operator's object.
    fn only_field(&mut self, value: &Value, place: &Place<'_>, known: &str) -> Option<(Arc<str>, Value)> {
        let mut fields = value.fields()?;
        match (fields.next(), fields.next()) {
            (Some((name, operand)), None) => {
                self.bounded(&name, place)?;
                Some((name, operand))
            }
            _ => self
                .wrong(place, format!("an operator is an object of one field, one of {known}; put others beside it")),
        }
    }

    /// The operators that compare text, which `anything-but` knows as well.
    fn text_operator(&mut self, name: &str, operand: &Value, place: &Place<'_>, known: &str) -> Option<Test> {
        match name {
            "prefix" | "suffix" if operand.is_map() => {
                let (inner_name, inner) = self.only_field(operand, place, "equals-ignore-case")?;
                let place = Place::Field(place, &inner_name);
                if &*inner_name != "equals-ignore-case" {
                    return self.wrong(&place, format!("`{name}` takes a string or {{equals-ignore-case: string}}"));
                }
                let folded = text_match::fold(&self.text(&inner, &place)?).into();
                Some(if name == "prefix" { Test::PrefixFolded(folded) } else { Test::SuffixFolded(folded) })
            }
            "prefix" => self.text(operand, place).map(Test::Prefix),
            "suffix" => self.text(operand, place).map(Test::Suffix),
            "equals-ignore-case" => {
                self.text(operand, place).map(|text| Test::EqualsFolded(text_match::fold(&text).into()))
            }
            "wildcard" => {
                let text = self.text(operand, place)?;
                self.checked(Wildcard::parse(&text), place).map(Test::Wildcard)
            }
            _ => self.wrong(place, format!("unknown operator {name:?}; known are {known}")),
        }
    }

    fn anything_but(&mut self, operand: &Value, place: &Place<'_>) -> Option<Test> {
        const INNER: &str = "prefix, suffix, wildcard and equals-ignore-case";
        let excluded = if operand.is_map() {
            let (name, inner) = self.only_field(operand, place, INNER)?;
            let place = Place::Field(place, &name);
            let mut tests = Vec::new();
            for (position, item) in self.one_or_more(&inner, &place)?.into_iter().enumerate() {
                self.count(&place)?;
                let item_place = Place::Item(&place, position);
                let place = if inner.is_list() { &item_place } else { &place };
                tests.extend(self.text_operator(&name, &item, place, INNER));
            }
            Leaf { literals: Box::default(), tests: tests.into() }
        } else if operand.is_list() {
            self.alternatives(operand, place, |parser, item, place| {
                let operator = item.fields().and_then(|mut it| it.next()).map(|(name, _)| name).unwrap_or_default();
                parser.wrong(
                    place,
                    format!("a list in `anything-but` holds values only; write {{anything-but: {{{operator}: …}}}}"),
                )
            })?
        } else {
            Leaf { literals: [self.literal(operand, place)?].into(), tests: Box::default() }
        };
        Some(Test::AnythingBut(Box::new(excluded)))
    }

    fn one_or_more(&mut self, value: &Value, place: &Place<'_>) -> Option<Vec<Value>> {
        let Some(items) = value.items() else { return Some(vec![value.clone()]) };
        match value.len().unwrap_or_default() {
            0 => self.wrong(place, "the list is empty; name what to exclude"),
            count if count > limits::VALUES_PER_LEAF => {
                let most = limits::VALUES_PER_LEAF;
                self.wrong(place, format!("the list has {count} values; at most {most} are allowed"))
            }
            _ => Some(items.collect()),
        }
    }

    fn numeric(&mut self, operand: &Value, place: &Place<'_>) -> Option<Range> {
        const RIGHT: &str = "write [\"=\", 5], [\">\", 0] or [\">=\", 0, \"<\", 10]";
        let items: Vec<Value> = match operand.items() {
            Some(items) if matches!(operand.len(), Some(2 | 4)) => items.collect(),
            Some(_) | None => {
                return self.wrong(place, format!("`numeric` takes a list of one or two comparisons; {RIGHT}"));
            }
        };
        let mut range = Range::default();
        let mut is_right = true;
        for (pair, position) in items.chunks(2).zip((0..).step_by(2)) {
            is_right &= self.comparison(pair, position, items.len() == 2, &mut range, place).is_some();
        }
        if is_right && range.is_empty() {
            return self.wrong(place, "no number lies in this range; exchange the bounds");
        }
        is_right.then_some(range)
    }

    fn comparison(
        &mut self,
        pair: &[Value],
        position: usize,
        is_alone: bool,
        range: &mut Range,
        place: &Place<'_>,
    ) -> Option<()> {
        let [operator, operand] = pair else { return None };
        let operand_place = Place::Item(place, position + 1);
        let operator_place = Place::Item(place, position);
        let number = match Number::of(operand) {
            Some(number) => number,
            None => return self.wrong(&operand_place, format!("{} is no number", describe(operand))),
        };
        let name = operator.as_str().unwrap_or_default();
        let bound = Some(Bound { number, inclusive: matches!(name, "=" | "<=" | ">=") });
        let slot = match name {
            "=" if is_alone => {
                *range = Range { low: bound, high: bound };
                return Some(());
            }
            "=" => return self.wrong(&operator_place, "`=` stands alone; leave out the other comparison"),
            ">" | ">=" => &mut range.low,
            "<" | "<=" => &mut range.high,
            _ => {
                let message = format!("{} is no comparison; write one of =, <, <=, > and >=", describe(operator));
                return self.wrong(&operator_place, message);
            }
        };
        if slot.is_some() {
            return self
                .wrong(&operator_place, "the range has this bound already; write one lower and one upper bound");
        }
        *slot = bound;
        Some(())
    }

    fn text(&mut self, value: &Value, place: &Place<'_>) -> Option<Arc<str>> {
        match value.as_str() {
            Some("") => self.wrong(place, "the text is empty; `exists: true` matches every value"),
            Some(text) => self.bounded(text, place).map(Arc::from),
            None => self.wrong(place, format!("{} must be a string", describe(value))),
        }
    }

    fn bounded<'a>(&mut self, text: &'a str, place: &Place<'_>) -> Option<&'a str> {
        let most = limits::TRIGGER_TEXT_BYTES;
        if text.len() > most {
            return self.wrong(place, format!("the text has {} bytes; at most {most} are allowed", text.len()));
        }
        Some(text)
    }
}

impl Level {
    fn example(self) -> &'static str {
        match self {
            Level::Event => "{data: {country: [DE]}}",
            Level::Headers => "{tenant: [acme]}",
            Level::Data => "{country: [DE]}",
        }
    }
}

/// An operator where a field should be is nearly always a forgotten list, and would silently never match.
fn misplaced_operator(name: &str, value: &Value) -> Option<String> {
    let first = value.at(0);
    let is_comparison =
        first.as_ref().and_then(Value::as_str).is_some_and(|it| matches!(it, "=" | "<" | "<=" | ">" | ">="));
    let is_operator = match name {
        "numeric" => is_comparison,
        "anything-but" | "equals-ignore-case" => true,
        "prefix" | "suffix" | "wildcard" | "cidr" => value.as_str().is_some(),
        "exists" => matches!(value, Value::Bool(_)),
        _ => false,
    };
    is_operator.then(|| format!("an operator stands in a list; write [{{{name}: …}}]"))
}

fn listed(value: &Value) -> String {
    match Scalar::of(value) {
        Some(scalar @ (Scalar::Null | Scalar::Bool(_) | Scalar::Number(_))) => format!("write [{scalar}]"),
        Some(Scalar::Text(text)) if text.len() <= 64 => format!("write [{text:?}]"),
        Some(Scalar::Text(_) | Scalar::Opaque) | None => "write [ … ]".into(),
    }
}

fn describe(value: &Value) -> String {
    match Scalar::of(value) {
        Some(Scalar::Text(text)) if text.len() > 64 => "a long string".into(),
        Some(scalar) => scalar.to_string(),
        None if value.is_list() => "a list".into(),
        None => "an object".into(),
    }
}
