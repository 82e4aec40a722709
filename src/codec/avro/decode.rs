//! A datum to a value, in one pass and without recursion. Strings stay where they are in the datum; names of fields and symbols are held
//! once, however often they come.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::logical;
use super::schema::{DOUBLE_DIGITS, Node, WriterSchema};
use crate::engine::limits;
use crate::engine::value::{DocumentBuilder, Node as Tape, Value};

/// Items of a list that take no bytes, such as nulls: a datum could claim any number of them.
const EMPTY_ITEMS: u64 = 1_000;
/// What is written as text that is none in the datum: so many times the datum's bytes at most, and some more. A decimal of one byte may have a
/// thousand digits.
const TEXT_TIMES: usize = 16;
const TEXT_BYTES: usize = 64 * 1024;
/// The bytes of the longest number: seven bits in each.
const VARINT_BYTES: usize = 10;

/// Reads a datum that was written with a schema, and nothing behind it.
///
/// Numbers, truth values, strings, lists, maps and records are what they are called; a union is what its branch is. What JSON has no type for is
/// what a JSON event would have in its place: bytes and fixed are base64, enums their symbols, dates and times ISO 8601, timestamps RFC 3339, a
/// duration ISO 8601. A decimal of up to 15 digits is a number, one of more digits its text, as its schema says, whatever its value. NaN and
/// the infinities are text.
///
/// # Errors
///
/// Says what is wrong with the datum, at which byte of it and in which field.
pub fn decode(schema: &WriterSchema, datum: &Bytes) -> Result<Value, String> {
    if datum.len() > limits::DOCUMENT_BYTES {
        return Err(format!("the datum has {} bytes; it may have {}", datum.len(), limits::DOCUMENT_BYTES));
    }
    let mut reading = Reading {
        schema,
        bytes: datum,
        at: 0,
        tape: DocumentBuilder::of_bytes(datum.clone()),
        open: Vec::new(),
        seen: vec![None; schema.constants.len()],
    };
    match reading.read() {
        Ok(()) => Ok(reading.tape.finish()),
        Err(what) => Err(format!("{what}, at byte {}{}", reading.at, reading.place())),
    }
}

/// A decimal whose schema says that a double holds it.
fn number(digits: &str, scale: u32) -> Result<Tape, String> {
    let whole = || digits.parse().ok().filter(|_| scale == 0).map(Tape::Int);
    let is_exact = digits.bytes().filter(u8::is_ascii_digit).count() <= DOUBLE_DIGITS + 1;
    let double = || digits.parse().ok().filter(|_| scale > 0 && is_exact).map(Tape::Float);
    whole().or_else(double).ok_or_else(|| format!("the decimal {digits} has more digits than its precision"))
}

/// A record, list or map that is not read to its end.
struct Open<'s> {
    kind: Kind<'s>,
    /// Where it is on the tape.
    at: usize,
    /// Fields or items that were begun.
    count: u32,
}

#[derive(Clone, Copy)]
enum Kind<'s> {
    Record(&'s [(u32, u32)]),
    /// What the items are, how many bytes each takes at least, and how many are left of the block.
    List(u32, u64, u64),
    /// The same of a map, whose keys take a byte at least.
    Map(u32, u64),
}

struct Reading<'s> {
    schema: &'s WriterSchema,
    bytes: &'s [u8],
    at: usize,
    tape: DocumentBuilder,
    open: Vec<Open<'s>>,
    /// The constants that are on the tape.
    seen: Vec<Option<Tape>>,
}

impl<'s> Reading<'s> {
    fn read(&mut self) -> Result<(), String> {
        let mut next = Some(self.schema.root);
        while let Some(place) = next {
            self.value(place)?;
            next = self.next()?;
        }
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(format!(
                "the datum ends, but {left} bytes are behind it; it may have been written with another schema"
            )),
        }
    }

    /// Reads a value, or the beginning of one.
    fn value(&mut self, mut place: u32) -> Result<(), String> {
        let schema = self.schema;
        while let Node::Union(branches) = &schema.nodes[place as usize] {
            let index = self.long()?;
            let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
            place = *branch
                .ok_or_else(|| format!("a union of {} types has none with the number {index}", branches.len()))?;
        }
        match &schema.nodes[place as usize] {
            Node::Record(fields) => self.open(Kind::Record(fields)),
            Node::Array(items, least) => self.open(Kind::List(*items, *least, 0)),
            Node::Map(values) => self.open(Kind::Map(*values, 0)),
            Node::Enum(symbols) => {
                let (index, count) = (self.long()?, symbols.len());
                let symbol = u32::try_from(index).ok().map(|index| symbols.start.saturating_add(index));
                let symbol = symbol.filter(|it| symbols.contains(it));
                let symbol =
                    symbol.ok_or_else(|| format!("an enum of {count} symbols has none with the number {index}"))?;
                self.constant(symbol)
            }
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, node: &Node) -> Result<(), String> {
        let scalar = match node {
            Node::Null => Tape::Null,
            Node::Boolean => match self.take(1)?[0] {
                0 => Tape::Bool(false),
                1 => Tape::Bool(true),
                other => return Err(format!("a boolean is the byte {other}, which is neither 0 nor 1")),
            },
            Node::Int => Tape::Int(self.int()?.into()),
            Node::Long => Tape::Int(self.long()?),
            Node::Float => {
                let float = f32::from_le_bytes(self.array()?);
                return self.float(float.into());
            }
            Node::Double => {
                let double = f64::from_le_bytes(self.array()?);
                return self.float(double);
            }
            Node::Text => {
                let text = self.text()?;
                return self.push_text(text);
            }
            other => {
                let text = self.shown(other)?;
                match other {
                    Node::Decimal(scale, _, precision) if *precision <= DOUBLE_DIGITS => number(&text, *scale)?,
                    _ => return self.push_text(&text),
                }
            }
        };
        self.room()?;
        self.tape.scalar(scalar);
        Ok(())
    }

    /// What has no type of its own, as text.
    fn shown(&mut self, node: &Node) -> Result<String, String> {
        let outside = |what: &str, value: i64| format!("{what} is {value}, which is none");
        match node {
            Node::Fixed(size) => Ok(BASE64.encode(self.take(*size as u64)?)),
            Node::Date => {
                let days = self.int()?;
                logical::date(days).ok_or_else(|| outside("a date", days.into()))
            }
            Node::TimeInt(per_second) => {
                let units = self.int()?.into();
                logical::time(units, *per_second).ok_or_else(|| outside("a time of day", units))
            }
            Node::TimeLong(per_second) => {
                let units = self.long()?;
                logical::time(units, *per_second).ok_or_else(|| outside("a time of day", units))
            }
            Node::Timestamp(per_second, is_local) => {
                let units = self.long()?;
                logical::timestamp(units, *per_second, *is_local).ok_or_else(|| outside("a timestamp", units))
            }
            Node::Decimal(scale, size, _) => {
                let unscaled = match size {
                    Some(size) => self.take(*size as u64)?,
                    None => self.block()?,
                };
                logical::decimal(unscaled, (*scale).into())
            }
            Node::BigDecimal => self.big_decimal(),
            Node::Uuid => Ok(uuid::Uuid::from_bytes(self.array()?).to_string()),
            Node::Duration => Ok(logical::duration(&self.array()?)),
            // All others are read where they come.
            _ => Ok(BASE64.encode(self.block()?)),
        }
    }

    /// Its digits, and how many of them are behind the point, in bytes of their own.
    fn big_decimal(&mut self) -> Result<String, String> {
        let whole = self.block()?;
        let (bytes, at) = (std::mem::replace(&mut self.bytes, whole), std::mem::replace(&mut self.at, 0));
        let parts = self.block().and_then(|unscaled| Ok((unscaled, self.long()?)));
        let left = self.bytes.len() - self.at;
        (self.bytes, self.at) = (bytes, at);
        match parts? {
            (unscaled, scale) if left == 0 => logical::decimal(unscaled, scale),
            _ => Err(format!("a big-decimal has {left} bytes too many")),
        }
    }

    fn float(&mut self, number: f64) -> Result<(), String> {
        if number.is_finite() {
            self.room()?;
            self.tape.scalar(Tape::Float(number));
            return Ok(());
        }
        let name = if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        self.push_text(name)
    }

    fn open(&mut self, kind: Kind<'s>) -> Result<(), String> {
        self.room()?;
        if self.open.len() >= limits::DOCUMENT_DEPTH {
            return Err(format!("records, lists and maps nest deeper than {} levels", limits::DOCUMENT_DEPTH));
        }
        let at = self.tape.open();
        self.open.push(Open { kind, at, count: 0 });
        Ok(())
    }

    /// What comes after a value, of what is open; what is at its end is closed. None at the end of the datum.
    fn next(&mut self) -> Result<Option<u32>, String> {
        while let Some(&Open { kind, at, count }) = self.open.last() {
            match kind {
                Kind::Record(fields) => {
                    if let Some(&(name, value)) = fields.get(count as usize) {
                        self.begin(kind);
                        self.constant(name)?;
                        return Ok(Some(value));
                    }
                    self.tape.close_record(at, count);
                }
                Kind::List(items, least, left) => {
                    let left = if left == 0 { self.block_of(least, count.into())? } else { left };
                    if left > 0 {
                        self.begin(Kind::List(items, least, left - 1));
                        return Ok(Some(items));
                    }
                    self.tape.close_list(at, count);
                }
                Kind::Map(values, left) => {
                    let left = if left == 0 { self.block_of(1, count.into())? } else { left };
                    if left > 0 {
                        self.begin(Kind::Map(values, left - 1));
                        let key = self.text()?;
                        self.push_text(key)?;
                        return Ok(Some(values));
                    }
                    self.tape.close_map(at, count);
                }
            }
            self.open.pop();
        }
        Ok(None)
    }

    /// The next field or item of what was opened last.
    fn begin(&mut self, kind: Kind<'s>) {
        if let Some(open) = self.open.last_mut() {
            (open.kind, open.count) = (kind, open.count + 1);
        }
    }

    /// How many items the next block has; none are left after one without any. `before` is how many there were.
    fn block_of(&mut self, least: u64, before: u64) -> Result<u64, String> {
        let count = self.long()?;
        if count < 0 {
            // How many bytes it has follows, for those that skip it.
            self.long()?;
        }
        let (count, left) = (count.unsigned_abs(), (self.bytes.len() - self.at) as u64);
        if least == 0 && before.saturating_add(count) > EMPTY_ITEMS {
            return Err(format!("a list has more than {EMPTY_ITEMS} items that take no bytes"));
        }
        if count.saturating_mul(least) > left {
            return Err(format!("a list or map has {count} more items, but there are {left} bytes for them"));
        }
        Ok(count)
    }

    fn room(&self) -> Result<(), String> {
        if self.tape.len() < limits::DOCUMENT_NODES {
            return Ok(());
        }
        Err(format!("the record has more than {} values and names", limits::DOCUMENT_NODES))
    }

    fn push_text(&mut self, text: &str) -> Result<(), String> {
        self.room()?;
        let most = TEXT_BYTES + TEXT_TIMES * self.bytes.len();
        if self.tape.copied_bytes() + text.len() > most {
            return Err(format!("its dates, decimals and bytes are more than {most} bytes of text"));
        }
        self.tape.text(text);
        Ok(())
    }

    /// A name or a symbol, which the tape holds once.
    fn constant(&mut self, number: u32) -> Result<(), String> {
        self.room()?;
        match self.seen[number as usize] {
            None => {
                self.seen[number as usize] = Some(self.tape.text_for_again(&self.schema.constants[number as usize]))
            }
            Some(known) => self.tape.again(known),
        }
        Ok(())
    }

    fn take(&mut self, count: u64) -> Result<&'s [u8], String> {
        let left = self.bytes.len() - self.at;
        let count = usize::try_from(count).ok().filter(|count| *count <= left);
        let count =
            count.ok_or_else(|| format!("the datum ends too early: {left} bytes are left, and more are needed"))?;
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Bytes behind their number.
    fn block(&mut self) -> Result<&'s [u8], String> {
        let count = self.long()?;
        self.take(u64::try_from(count).map_err(|_| format!("{count} bytes are none"))?)
    }

    fn text(&mut self) -> Result<&'s str, String> {
        let bytes = self.block()?;
        simdutf8::basic::from_utf8(bytes).map_err(|_| format!("a string of {} bytes is not UTF-8", bytes.len()))
    }

    fn int(&mut self) -> Result<i32, String> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| format!("an int is {number}, which is larger than any"))
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut number = 0_u64;
        for place in 0..VARINT_BYTES {
            let byte = self.take(1)?[0];
            // Of the last byte there is room for one bit.
            if place == VARINT_BYTES - 1 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err("a number has more than 64 bits".into())
    }

    /// Where it stands, for whoever knows the schema.
    fn place(&self) -> String {
        let mut place = String::new();
        for Open { kind, count, .. } in &self.open {
            let Some(last) = count.checked_sub(1) else { continue };
            match kind {
                Kind::Record(fields) => {
                    let name = fields.get(last as usize).map(|(name, _)| &*self.schema.constants[*name as usize]);
                    let _ = write!(place, "/{}", name.unwrap_or_default());
                }
                Kind::List(..) | Kind::Map(..) => {
                    let _ = write!(place, "/{last}");
                }
            }
        }
        if place.is_empty() { place } else { format!(", in {place}") }
    }
}
