//! Writes JSON objects field by field, straight into bytes.

use std::cell::Cell;

use sha2::{Digest as _, Sha256};

use super::fields::{Fields, LeftOut};
use crate::engine::value::{Value, View, write_json};

/// An object that is being written. [`Object::end`] closes it; without, it can be gone on with.
pub(super) struct Object<'a> {
    into: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(into: &'a mut Vec<u8>) -> Object<'a> {
        into.push(b'{');
        Object { into, empty: true }
    }

    /// Goes on with an object that has fields already.
    pub(super) fn resume(into: &'a mut Vec<u8>) -> Object<'a> {
        Object { into, empty: false }
    }

    pub(super) fn end(self) {
        self.into.push(b'}');
    }

    /// An object in the place of a value.
    fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        self.into.push(b'{');
        self.empty = true;
        write(self);
        self.into.push(b'}');
        self.empty = false;
    }

    /// Writes the name of a field and lends what its value goes into. Names are ours and need no escapes.
    pub(super) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.into.push(b',');
        }
        self.into.push(b'"');
        self.into.extend_from_slice(name.as_bytes());
        self.into.extend_from_slice(b"\":");
        self.into
    }

    /// Text that needs no escapes: ids, names of ours.
    pub(super) fn plain(&mut self, name: &str, text: &str) {
        let into = self.field(name);
        into.push(b'"');
        into.extend_from_slice(text.as_bytes());
        into.push(b'"');
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        write_json(View::Text(text), self.field(name));
    }

    pub(super) fn null(&mut self, name: &str) {
        self.field(name).extend_from_slice(b"null");
    }

    pub(super) fn optional_text(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    /// A list whose items `write` writes.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        let into = self.field(name);
        into.push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                into.push(b',');
            }
            write(into, item);
        }
        into.push(b']');
    }

    pub(super) fn number(&mut self, name: &str, number: i64) {
        let mut buffer = itoa::Buffer::new();
        self.field(name).extend_from_slice(buffer.format(number).as_bytes());
    }

    pub(super) fn bool(&mut self, name: &str, truth: bool) {
        self.field(name).extend_from_slice(if truth { b"true" } else { b"false" });
    }

    pub(super) fn value(&mut self, name: &str, value: &Value) {
        write_json(value, self.field(name));
    }

    /// A time as RFC 3339 in UTC with milliseconds.
    pub(super) fn time(&mut self, name: &str, ms: i64) {
        let into = self.field(name);
        into.push(b'"');
        time(into, ms);
        into.push(b'"');
    }
}

impl Fields for Object<'_> {
    fn plain(&mut self, name: &str, text: &str) {
        Object::plain(self, name, text);
    }

    fn text(&mut self, name: &str, text: &str) {
        Object::text(self, name, text);
    }

    fn optional_text(&mut self, name: &str, text: Option<&str>) {
        Object::optional_text(self, name, text);
    }

    fn number(&mut self, name: &str, number: i64) {
        Object::number(self, name, number);
    }

    fn optional_number(&mut self, name: &str, number: Option<i64>) {
        match number {
            Some(number) => Object::number(self, name, number),
            None => self.null(name),
        }
    }

    fn time(&mut self, name: &str, ms: i64) {
        Object::time(self, name, ms);
    }

    fn optional_time(&mut self, name: &str, ms: Option<i64>) {
        match ms {
            Some(ms) => Object::time(self, name, ms),
            None => self.null(name),
        }
    }

    fn symbol(&mut self, name: &str, _: &[&str], symbol: &str) {
        Object::plain(self, name, symbol);
    }

    fn any(&mut self, name: &str, value: &Value, limit: usize) -> Option<LeftOut> {
        let into = self.field(name);
        let start = into.len();
        write_json(value, into);
        let bytes = into.len() - start;
        if bytes <= limit || matches!(value, Value::Null) {
            return None;
        }
        let sha256 = Sha256::digest(&into[start..]).into();
        into.truncate(start);
        into.extend_from_slice(b"null");
        Some(LeftOut { bytes, sha256 })
    }

    fn added_truth(&mut self, name: &str, truth: bool) {
        if truth {
            self.bool(name, truth);
        }
    }

    fn added_number(&mut self, name: &str, number: Option<i64>) {
        if let Some(number) = number {
            Object::number(self, name, number);
        }
    }

    fn added_plain(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            Object::plain(self, name, text);
        }
    }

    fn record(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.field(name);
        self.nested(write);
    }

    fn optional_record<T>(&mut self, name: &str, record: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match record {
            Some(record) => Fields::record(self, name, |object| write(object, record)),
            None => self.null(name),
        }
    }

    fn added_record<T>(&mut self, name: &str, record: Option<T>, write: impl FnOnce(&mut Self, T)) {
        if let Some(record) = record {
            Fields::record(self, name, |object| write(object, record));
        }
    }

    fn records<T>(&mut self, name: &str, items: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.field(name).push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.into.push(b',');
            }
            self.nested(|object| write(object, item));
        }
        self.into.push(b']');
    }
}

/// A time as text, like `2026-01-01T00:00:00.000Z`.
type TimeText = [u8; 24];

thread_local! {
    /// The last time that was written: the records of many events in a row have the same one.
    static LAST_TIME: Cell<(i64, TimeText)> = Cell::new((0, time_text(0)));
}

/// Writes milliseconds since the Unix epoch as RFC 3339 in UTC with milliseconds. Years beyond 9999 are not in RFC 3339 and
/// become its last moment; what is before 1970 is no time of ours and becomes its first.
pub(super) fn time(into: &mut Vec<u8>, ms: i64) {
    let (last, mut text) = LAST_TIME.get();
    if last != ms {
        text = time_text(ms);
        LAST_TIME.set((ms, text));
    }
    into.extend_from_slice(&text);
}

fn time_text(ms: i64) -> TimeText {
    /// 9999-12-31T23:59:59.999Z.
    const LAST_MS: i64 = 253_402_300_799_999;
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let ms = ms.clamp(0, LAST_MS).unsigned_abs();
    let (year, month, day) = date(ms / DAY_MS);
    let of_day = ms % DAY_MS;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut digits = |at: usize, width: usize, mut number: u64| {
        for place in text[at..at + width].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    digits(0, 4, year);
    digits(5, 2, month);
    digits(8, 2, day);
    digits(11, 2, of_day / 3_600_000);
    digits(14, 2, of_day / 60_000 % 60);
    digits(17, 2, of_day / 1000 % 60);
    digits(20, 3, of_day % 1000);
    text
}

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar. Years are counted from March here, so that the leap
/// day is the last of its year and months have lengths of a simple pattern (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to the epoch.
    const EPOCH: u64 = 719_468;
    /// Days of 400 years, after which everything repeats.
    const ERA: u64 = 146_097;
    let (era, day_of_era) = ((days + EPOCH) / ERA, (days + EPOCH) % ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ms: i64) -> String {
        let mut into = Vec::new();
        time(&mut into, ms);
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(-1), "1970-01-01T00:00:00.000Z");
    }

    proptest::proptest! {
        #[test]
        fn times_are_those_of_the_calendar(ms in 0..=253_402_300_799_999_i64) {
            let known = chrono::DateTime::from_timestamp_millis(ms).unwrap();
            proptest::prop_assert_eq!(text(ms), known.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        }
    }

    #[test]
    fn fields_are_separated_and_escaped() {
        let mut into = Vec::new();
        let mut object = Object::begin(&mut into);
        object.text("a", "x\"\n");
        object.number("b", -5);
        object.optional_text("c", None);
        object.bool("d", true);
        object.end();
        assert_eq!(String::from_utf8(into).unwrap(), r#"{"a":"x\"\n","b":-5,"c":null,"d":true}"#);
    }
}
