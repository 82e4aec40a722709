//! The fields of records of ours, one after the other, in the order of their schemas: as JSON or as Avro. What writes a kind of record
//! is there once, and does not know which of the two it writes.

use crate::engine::value::Value;

/// A record that is being written. Names are ours and need no escapes.
pub(super) trait Fields {
    /// Text that needs no escapes: ids, names of ours.
    fn plain(&mut self, name: &str, text: &str);

    /// Any text.
    fn text(&mut self, name: &str, text: &str);

    /// Text, or null.
    fn optional_text(&mut self, name: &str, text: Option<&str>);

    /// A whole number, of 32 or 64 bits.
    fn number(&mut self, name: &str, number: i64);

    /// A whole number, or null.
    fn optional_number(&mut self, name: &str, number: Option<i64>);

    /// A moment, milliseconds since the Unix epoch.
    fn time(&mut self, name: &str, ms: i64);

    /// A moment, or null.
    fn optional_time(&mut self, name: &str, ms: Option<i64>);

    /// One of the symbols of an enum.
    fn symbol(&mut self, name: &str, symbols: &[&str], symbol: &str);

    /// Any value; one of more bytes than the limit, as JSON, is left out, and what it was is told.
    fn any(&mut self, name: &str, value: &Value, limit: usize) -> Option<LeftOut>;

    /// A truth value that is false by default.
    fn added_truth(&mut self, name: &str, truth: bool);

    /// A whole number that is null by default.
    fn added_number(&mut self, name: &str, number: Option<i64>);

    /// Text that needs no escapes and is null by default.
    fn added_plain(&mut self, name: &str, text: Option<&str>);

    /// A record within this one.
    fn record(&mut self, name: &str, write: impl FnOnce(&mut Self));

    /// A record within this one, or null.
    fn optional_record<T>(&mut self, name: &str, record: Option<T>, write: impl FnOnce(&mut Self, T));

    /// A record within this one that is null by default.
    fn added_record<T>(&mut self, name: &str, record: Option<T>, write: impl FnOnce(&mut Self, T));

    /// A list of records.
    fn records<T>(&mut self, name: &str, items: impl ExactSizeIterator<Item = T>, write: impl FnMut(&mut Self, T));
}

/// A value that was left out.
pub(super) struct LeftOut {
    /// How many bytes it has as JSON.
    pub bytes: usize,
    /// The SHA-256 of that.
    pub sha256: [u8; 32],
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(u32::from(it), 16).unwrap_or_default();
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}
