//! Writes data of records of ours: field by field, straight into bytes, as their schemas say.
//!
//! The library would look each field up by its name in a schema that never changes, for every record of every execution; it reads what is
//! written here in the tests.

use sha2::{Digest as _, Sha256};

use super::frame;
use crate::codec::fields::{Fields, LeftOut};
use crate::engine::value::{Value, write_json};

/// The places of null and of the other branch in the unions of our schemas.
const NULL: i64 = 0;
const SOME: i64 = 1;

/// A datum that is being written. Fields have no names in Avro: they are written in the order of the schema, every one of them.
pub(in crate::codec) struct Datum<'a>(&'a mut Vec<u8>);

impl<'a> Datum<'a> {
    /// Begins a record that names the schema of its datum.
    pub(in crate::codec) fn begin(into: &'a mut Vec<u8>, schema: u32) -> Datum<'a> {
        frame::write(into, schema);
        Datum(into)
    }

    /// Goes on with a datum that has fields already.
    pub(in crate::codec) fn resume(into: &'a mut Vec<u8>) -> Datum<'a> {
        Datum(into)
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => long(self.0, NULL),
            Some(value) => {
                long(self.0, SOME);
                write(self, value);
            }
        }
    }
}

/// Writes a whole number as the specification says: zig-zag, seven bits a byte, the lowest first.
pub(super) fn long(into: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest > 0x7f {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

/// Writes bytes with their length.
pub(super) fn bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    length(into, bytes.len());
    into.extend_from_slice(bytes);
}

/// Writes a length or a count; nothing in memory is longer than such a number.
pub(super) fn length(into: &mut Vec<u8>, length: usize) {
    long(into, i64::try_from(length).unwrap_or(i64::MAX));
}

impl Fields for Datum<'_> {
    fn plain(&mut self, _: &str, text: &str) {
        bytes(self.0, text.as_bytes());
    }

    fn text(&mut self, _: &str, text: &str) {
        bytes(self.0, text.as_bytes());
    }

    fn optional_text(&mut self, name: &str, text: Option<&str>) {
        self.option(text, |datum, text| datum.text(name, text));
    }

    fn number(&mut self, _: &str, number: i64) {
        long(self.0, number);
    }

    fn optional_number(&mut self, name: &str, number: Option<i64>) {
        self.option(number, |datum, number| datum.number(name, number));
    }

    fn time(&mut self, _: &str, ms: i64) {
        long(self.0, ms);
    }

    fn optional_time(&mut self, name: &str, ms: Option<i64>) {
        self.option(ms, |datum, ms| datum.time(name, ms));
    }

    fn symbol(&mut self, name: &str, symbols: &[&str], symbol: &str) {
        let place = symbols.iter().position(|it| *it == symbol);
        debug_assert!(place.is_some(), "{name} cannot be {symbol}");
        length(self.0, place.unwrap_or_default());
    }

    fn any(&mut self, _: &str, value: &Value, limit: usize) -> Option<LeftOut> {
        if matches!(value, Value::Null) {
            long(self.0, NULL);
            return None;
        }
        let start = self.0.len();
        long(self.0, SOME);
        let text = self.0.len();
        write_json(value, self.0);
        let written = self.0.len() - text;
        if written > limit {
            let sha256 = Sha256::digest(&self.0[text..]).into();
            self.0.truncate(start);
            long(self.0, NULL);
            return Some(LeftOut { bytes: written, sha256 });
        }
        // The length stands before the text, and is known after it.
        length(self.0, written);
        let prefix = self.0.len() - text - written;
        self.0[text..].rotate_right(prefix);
        None
    }

    fn added_truth(&mut self, _: &str, truth: bool) {
        self.0.push(u8::from(truth));
    }

    fn added_number(&mut self, name: &str, number: Option<i64>) {
        self.optional_number(name, number);
    }

    fn added_plain(&mut self, name: &str, text: Option<&str>) {
        self.optional_text(name, text);
    }

    fn record(&mut self, _: &str, write: impl FnOnce(&mut Self)) {
        write(self);
    }

    fn optional_record<T>(&mut self, _: &str, record: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.option(record, write);
    }

    fn added_record<T>(&mut self, _: &str, record: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.option(record, write);
    }

    fn records<T>(&mut self, _: &str, items: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        // One block with all items, and the empty one that ends the list.
        if items.len() > 0 {
            length(self.0, items.len());
            items.for_each(|item| write(self, item));
        }
        long(self.0, 0);
    }
}
