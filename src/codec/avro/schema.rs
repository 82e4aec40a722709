//! What is made of the schema that records were written with: a flat program that says what comes after what.
//!
//! The library reads the text and finds what the specification forbids. What it allows and what would let a small record claim much is
//! vetted here: see [`Refused`].

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use bytes::Bytes;

use crate::codec::json::{self, Limits};
use crate::engine::limits;
use crate::engine::value::Value;

/// The longest text of a schema, its references included; those of whole industries have less.
pub const SCHEMA_BYTES: usize = 1024 * 1024;
/// Types, fields and symbols of one schema: each is kept for as long as the schema is.
pub const SCHEMA_NODES: usize = 50_000;
/// How deep a schema nests where it is written: reading it recurses a few times a level. The brackets of its text nest at most twice as deep.
pub const SCHEMA_DEPTH: usize = limits::DOCUMENT_DEPTH;
/// How deep the brackets of all texts may nest together.
const BRACKETS: usize = 1_024;
/// The stack on which schemas are read, in bytes: what the library takes for so many brackets, several times over.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// How often it is looked what types take at least: more often than any schema of people needs.
const PASSES: usize = 1_000;
/// The longest scale of a decimal, in digits: so many zeros may stand before its first digit.
const DECIMAL_SCALE: usize = 1_000;
/// The digits that a double holds exactly.
pub(super) const DOUBLE_DIGITS: usize = 15;

/// Why records of a schema are not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A schema that records were written with.
#[derive(Debug)]
pub struct WriterSchema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: u32,
    /// Names of fields and symbols. A datum may have each of them a million times, and holds it once.
    pub(super) constants: Vec<Arc<str>>,
    /// What fields of records are where a writer has no value, by the record's place and the field's number.
    pub(super) defaults: HashMap<(u32, u32), Value>,
    name: Option<Arc<str>>,
}

/// What comes next in a datum. Others are named by their places in the program.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    /// So many bytes.
    Fixed(usize),
    /// The places of its symbols among the constants.
    Enum(std::ops::Range<u32>),
    /// The name of each field among the constants, and what it holds.
    Record(Box<[(u32, u32)]>),
    /// What its items are, and how many bytes one of them takes at least.
    Array(u32, u64),
    Map(u32),
    Union(Box<[u32]>),
    Date,
    /// A time of day: how many of it make a second.
    TimeInt(i64),
    TimeLong(i64),
    /// A moment: how many of it make a second, and whether it says nothing of a time zone.
    Timestamp(i64, bool),
    /// Digits behind the point, how many bytes there are if that is fixed, and how many digits it has at most.
    Decimal(u32, Option<usize>, usize),
    BigDecimal,
    /// Sixteen bytes.
    Uuid,
    /// Twelve bytes: months, days, milliseconds.
    Duration,
}

impl WriterSchema {
    /// Reads a schema, and what it refers to.
    ///
    /// # Errors
    ///
    /// What is no schema, and one that could not be read within limits: too long, too deep, with a record that contains itself and never ends.
    pub fn parse(text: &str, references: &[&str]) -> Result<WriterSchema, Refused> {
        let text_bytes = text.len() + references.iter().map(|it| it.len()).sum::<usize>();
        if text_bytes > SCHEMA_BYTES {
            return Err(Refused(format!("the schema has {text_bytes} bytes; it may have {SCHEMA_BYTES}")));
        }
        let texts = || references.iter().chain([&text]);
        if let Some(depth) = texts().map(|it| brackets(it)).find(|it| *it > 2 * SCHEMA_DEPTH) {
            return Err(Refused(format!("the schema nests {depth} brackets deep; it may nest {}", 2 * SCHEMA_DEPTH)));
        }
        // Schemas that refer to each other are read one inside the other.
        let depth: usize = texts().map(|it| brackets(it)).sum();
        if depth > BRACKETS {
            let what = "the schema and what it refers to nest";
            return Err(Refused(format!("{what} {depth} brackets deep together; they may nest {BRACKETS}")));
        }
        let on_its_own_stack = std::thread::Builder::new().name("schema".into()).stack_size(STACK_BYTES);
        let parsed = std::thread::scope(|scope| {
            let thread = on_its_own_stack.spawn_scoped(scope, || WriterSchema::parse_here(text, references));
            thread.map(|thread| thread.join())
        });
        let unread = |why: &str| Refused(format!("the schema cannot be read: {why}"));
        match parsed {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(_)) => Err(unread("the library that reads it has given up")),
            Err(error) => Err(unread(&format!("there is no thread for it ({error})"))),
        }
    }

    fn parse_here(text: &str, references: &[&str]) -> Result<WriterSchema, Refused> {
        let wrong = |error: apache_avro::Error| Refused(format!("the schema cannot be read: {error}"));
        let text = with_defaults_apart(text)?;
        let references: Vec<String> = references.iter().map(|it| with_defaults_apart(it)).collect::<Result<_, _>>()?;
        let (schema, others) = match &references[..] {
            [] => (Schema::parse_str(&text).map_err(wrong)?, Vec::new()),
            _ => Schema::parse_str_with_list(&text, references).map_err(wrong)?,
        };
        let mut compiler = Compiler::default();
        for known in others.iter().chain([&schema]) {
            compiler.define(known, 0)?;
        }
        let root = compiler.compile(&schema, 0)?;
        let name = schema.name().map(|name| name.fullname(None).into());
        let Compiler { mut nodes, constants, defaults, .. } = compiler;
        find_least(&mut nodes, root)?;
        Ok(WriterSchema { nodes, root, constants, defaults, name })
    }

    /// The full name of the record, enum or fixed that it describes; None of any other type.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }
}

/// The name under which defaults of fields are kept from the library.
const DEFAULT: &str = "tidegate.default";

/// The text with defaults under a name of ours: older writers left some there that the library does not take, and no record that is read
/// needs one.
fn with_defaults_apart(text: &str) -> Result<String, Refused> {
    fn set_apart(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                let default = fields.remove("default");
                fields.values_mut().for_each(set_apart);
                // That of an enum is what readers make of a symbol that they do not know.
                let default = default.filter(|_| !fields.contains_key("symbols"));
                fields.extend(default.map(|default| (DEFAULT.to_owned(), default)));
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(set_apart),
            _ => {}
        }
    }
    let read = serde_json::from_str(text);
    let mut value: serde_json::Value =
        read.map_err(|error| Refused(format!("the schema cannot be read: it is no JSON: {error}")))?;
    set_apart(&mut value);
    Ok(value.to_string())
}

/// How deep the brackets of a text nest, whether it is JSON or not; those inside of strings do not count.
fn brackets(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[derive(Default)]
struct Compiler<'a> {
    nodes: Vec<Node>,
    constants: Vec<Arc<str>>,
    /// Where named types are defined. The library has given each its full name.
    defined: HashMap<String, &'a Schema>,
    compiled: HashMap<String, u32>,
    defaults: HashMap<(u32, u32), Value>,
}

impl<'a> Compiler<'a> {
    /// Takes note of the named types of a schema.
    fn define(&mut self, schema: &'a Schema, depth: usize) -> Result<(), Refused> {
        within(depth)?;
        if let Some(name) = schema.name().filter(|_| !matches!(schema, Schema::Ref { .. })) {
            self.defined.entry(name.fullname(None)).or_insert(schema);
        }
        match schema {
            Schema::Record(record) => record.fields.iter().try_for_each(|field| self.define(&field.schema, depth + 1)),
            Schema::Array(array) => self.define(&array.items, depth + 1),
            Schema::Map(map) => self.define(&map.types, depth + 1),
            Schema::Union(union) => union.variants().iter().try_for_each(|it| self.define(it, depth + 1)),
            _ => Ok(()),
        }
    }

    fn add(&mut self, node: Node) -> Result<u32, Refused> {
        let place = self.room(self.nodes.len())?;
        self.nodes.push(node);
        Ok(place)
    }

    fn constant(&mut self, text: &str) -> Result<u32, Refused> {
        let place = self.room(self.constants.len())?;
        self.constants.push(text.into());
        Ok(place)
    }

    /// The place of what comes next to `before` others, if there is room for more.
    fn room(&self, before: usize) -> Result<u32, Refused> {
        let place = u32::try_from(before).ok().filter(|_| self.nodes.len() + self.constants.len() < SCHEMA_NODES);
        place.ok_or_else(|| Refused(format!("the schema has more than {SCHEMA_NODES} types, fields and symbols")))
    }

    /// The place of a type in the program; a named one is there once.
    fn compile(&mut self, schema: &'a Schema, depth: usize) -> Result<u32, Refused> {
        within(depth)?;
        match schema {
            Schema::Ref { name } => self.referred(name, depth),
            Schema::Record(record) => {
                let Some(place) = self.open(record.name.fullname(None))? else {
                    return self.referred(&record.name, depth);
                };
                let mut fields = Vec::with_capacity(record.fields.len());
                for (number, field) in record.fields.iter().enumerate() {
                    let name = self.constant(&field.name)?;
                    let default = field.custom_attributes.get(DEFAULT).and_then(default_value);
                    self.defaults.extend(default.map(|default| ((place, number as u32), default)));
                    fields.push((name, self.compile(&field.schema, depth + 1)?));
                }
                self.nodes[place as usize] = Node::Record(fields.into());
                Ok(place)
            }
            Schema::Enum(it) => {
                let Some(place) = self.open(it.name.fullname(None))? else {
                    return self.referred(&it.name, depth);
                };
                let from = self.room(self.constants.len())?;
                for symbol in &it.symbols {
                    self.constant(symbol)?;
                }
                self.nodes[place as usize] = Node::Enum(from..self.room(self.constants.len())?);
                Ok(place)
            }
            Schema::Array(array) => {
                let items = self.compile(&array.items, depth + 1)?;
                self.add(Node::Array(items, 0))
            }
            Schema::Map(map) => {
                let values = self.compile(&map.types, depth + 1)?;
                self.add(Node::Map(values))
            }
            Schema::Union(union) => {
                let mut branches = Vec::with_capacity(union.variants().len());
                for branch in union.variants() {
                    branches.push(self.compile(branch, depth + 1)?);
                }
                self.add(Node::Union(branches.into()))
            }
            scalar => {
                let node = of_scalar(scalar)?;
                let place = self.add(node)?;
                if let Some(name) = scalar.name() {
                    self.compiled.insert(name.fullname(None), place);
                }
                Ok(place)
            }
        }
    }

    /// A place for a named type; None if it has one.
    fn open(&mut self, full: String) -> Result<Option<u32>, Refused> {
        if self.compiled.contains_key(&full) {
            return Ok(None);
        }
        let place = self.add(Node::Null)?;
        self.compiled.insert(full, place);
        Ok(Some(place))
    }

    fn referred(&mut self, name: &'a Name, depth: usize) -> Result<u32, Refused> {
        let full = name.fullname(None);
        if let Some(place) = self.compiled.get(&full) {
            return Ok(*place);
        }
        let Some(&schema) = self.defined.get(&full) else {
            return Err(Refused(format!(
                "the schema names the type {full}, which neither it nor its references define"
            )));
        };
        self.compile(schema, depth + 1)
    }
}

/// A default as a value. One that nests deeper than any value is none: it is of no use to whoever reads.
fn default_value(default: &serde_json::Value) -> Option<Value> {
    json::parse(Bytes::from(default.to_string()), &Limits::default()).ok()
}

fn within(depth: usize) -> Result<(), Refused> {
    if depth <= SCHEMA_DEPTH {
        return Ok(());
    }
    Err(Refused(format!("the schema nests deeper than {SCHEMA_DEPTH} levels")))
}

fn of_scalar(schema: &Schema) -> Result<Node, Refused> {
    const MILLIS: i64 = 1_000;
    const MICROS: i64 = 1_000_000;
    const NANOS: i64 = 1_000_000_000;
    Ok(match schema {
        Schema::Null => Node::Null,
        Schema::Boolean => Node::Boolean,
        Schema::Int => Node::Int,
        Schema::Long => Node::Long,
        Schema::Float => Node::Float,
        Schema::Double => Node::Double,
        Schema::Bytes => Node::Bytes,
        Schema::String | Schema::Uuid(UuidSchema::String) => Node::Text,
        Schema::Fixed(fixed) => Node::Fixed(fixed.size),
        Schema::Date => Node::Date,
        Schema::TimeMillis => Node::TimeInt(MILLIS),
        Schema::TimeMicros => Node::TimeLong(MICROS),
        Schema::TimestampMillis => Node::Timestamp(MILLIS, false),
        Schema::TimestampMicros => Node::Timestamp(MICROS, false),
        Schema::TimestampNanos => Node::Timestamp(NANOS, false),
        Schema::LocalTimestampMillis => Node::Timestamp(MILLIS, true),
        Schema::LocalTimestampMicros => Node::Timestamp(MICROS, true),
        Schema::LocalTimestampNanos => Node::Timestamp(NANOS, true),
        Schema::Decimal(decimal) => {
            let size = match &decimal.inner {
                InnerDecimalSchema::Bytes => None,
                InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
            };
            let scale = u32::try_from(decimal.scale).ok().filter(|_| decimal.scale <= DECIMAL_SCALE);
            let wrong = || Refused(format!("a decimal has the scale {}; it may have {DECIMAL_SCALE}", decimal.scale));
            Node::Decimal(scale.ok_or_else(wrong)?, size, decimal.precision)
        }
        Schema::BigDecimal => Node::BigDecimal,
        Schema::Uuid(UuidSchema::Fixed(fixed)) if fixed.size == 16 => Node::Uuid,
        Schema::Uuid(UuidSchema::Fixed(fixed)) => Node::Fixed(fixed.size),
        Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
        Schema::Duration(fixed) if fixed.size == 12 => Node::Duration,
        Schema::Duration(fixed) => Node::Fixed(fixed.size),
        Schema::Array(_)
        | Schema::Map(_)
        | Schema::Union(_)
        | Schema::Record(_)
        | Schema::Enum(_)
        | Schema::Ref { .. } => {
            return Err(Refused("the schema is one that cannot be read".into()));
        }
    })
}

/// A type of which no datum ends.
const ENDLESS: u64 = u64::MAX;

/// Finds how few bytes an item of each list may take. A record that contains itself in any case never ends.
fn find_least(nodes: &mut [Node], root: u32) -> Result<(), Refused> {
    // What a type takes at least is what others of it take at least; those that contain themselves are endless until one of them is not.
    let mut least = vec![ENDLESS; nodes.len()];
    let mut has_changed = true;
    for pass in 0..PASSES {
        if !has_changed {
            break;
        }
        has_changed = false;
        for at in 0..nodes.len() {
            // What others consist of comes behind them, and before them where they refer to it.
            let place = if pass % 2 == 0 { nodes.len() - 1 - at } else { at };
            let node = &nodes[place];
            let of = |other: &u32| least[*other as usize];
            let bytes = match node {
                Node::Null => 0,
                Node::Fixed(size) | Node::Decimal(_, Some(size), _) => *size as u64,
                Node::Record(fields) => fields.iter().fold(0, |sum: u64, (_, it)| sum.saturating_add(of(it))),
                Node::Union(branches) => branches.iter().map(of).min().unwrap_or(ENDLESS).saturating_add(1),
                Node::Uuid => 16,
                Node::Duration => 12,
                Node::Float => 4,
                Node::Double => 8,
                _ => 1,
            };
            has_changed |= bytes < least[place];
            least[place] = least[place].min(bytes);
        }
    }
    if has_changed {
        return Err(Refused("the types of the schema refer to each other in too long chains".into()));
    }
    if least[root as usize] == ENDLESS {
        return Err(Refused(
            "the schema has a record that contains itself in any case, so that none of it ends".into(),
        ));
    }
    for node in nodes {
        if let Node::Array(items, bytes) = node {
            *bytes = least[*items as usize];
        }
    }
    Ok(())
}
