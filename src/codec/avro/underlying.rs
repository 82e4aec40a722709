//! Logical types as data have them, of what expressions have in their place: the other way round of `logical`.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

/// The longest text of a decimal: a sign, a thousand digits before the point and a thousand behind it.
const DECIMAL_TEXT: usize = 2_002;
/// The longest text of a span of time.
const DURATION_TEXT: usize = 128;
const NANOS: i64 = 1_000_000_000;

/// Days since the Unix epoch of `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<i32> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// A time of day of `HH:MM:SS`, with decimals or without. What is finer than the unit is cut.
pub(super) fn time(text: &str, per_second: i64) -> Option<i64> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    let nanos = i64::from(time.num_seconds_from_midnight()) * NANOS + i64::from(time.nanosecond() % NANOS as u32);
    Some(nanos / (NANOS / per_second))
}

/// A moment of RFC 3339; a local one of the same without a zone. What is finer than the unit is cut.
pub(super) fn timestamp(text: &str, per_second: i64, is_local: bool) -> Option<i64> {
    let local = |text| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|it| it.and_utc());
    let moment = match text.strip_suffix('Z') {
        _ if is_local => local(text)?,
        // RFC 3339 has years of four digits; others have a sign, as ISO 8601 says.
        Some(utc) if utc.starts_with(['-', '+']) => local(utc)?,
        _ => DateTime::parse_from_rfc3339(text).ok()?.to_utc(),
    };
    let part = i64::from(moment.timestamp_subsec_nanos()) / (NANOS / per_second);
    moment.timestamp().checked_mul(per_second)?.checked_add(part)
}

/// A span of time of ISO 8601: months, days and milliseconds. A year has 12 months, a week 7 days; what is finer than a millisecond is cut.
pub(super) fn duration(text: &str) -> Option<[u8; 12]> {
    let text = text.strip_prefix('P').filter(|rest| !rest.is_empty() && rest.len() <= DURATION_TEXT)?;
    let (mut months, mut days, mut ms) = (0_u64, 0_u64, 0_u64);
    let (mut number, mut is_of_day) = (String::new(), false);
    for letter in text.chars() {
        if letter.is_ascii_digit() || letter == '.' {
            number.push(letter);
            continue;
        }
        if letter == 'T' && !is_of_day && number.is_empty() {
            is_of_day = true;
            continue;
        }
        let written = std::mem::take(&mut number);
        let whole = || written.parse::<u64>().ok();
        let (place, times) = match (letter, is_of_day) {
            ('Y', false) => (&mut months, 12),
            ('M', false) => (&mut months, 1),
            ('W', false) => (&mut days, 7),
            ('D', false) => (&mut days, 1),
            ('H', true) => (&mut ms, 3_600_000),
            ('M', true) => (&mut ms, 60_000),
            ('S', true) => {
                ms = ms.checked_add(milliseconds(&written)?)?;
                continue;
            }
            _ => return None,
        };
        *place = place.checked_add(whole()?.checked_mul(times)?)?;
    }
    let parts = [months, days, ms].map(u32::try_from);
    let mut bytes = [0; 12];
    for (four, part) in bytes.chunks_exact_mut(4).zip(parts) {
        four.copy_from_slice(&part.ok()?.to_le_bytes());
    }
    number.is_empty().then_some(bytes)
}

/// Seconds with decimals or without.
fn milliseconds(seconds: &str) -> Option<u64> {
    let (whole, behind) = seconds.split_once('.').unwrap_or((seconds, ""));
    if !behind.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let digits = behind.bytes().chain(*b"000").take(3);
    let part = digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(part)
}

/// A decimal number.
pub(super) struct Decimal<'t> {
    is_negative: bool,
    /// Without zeros before them; empty if the number is less than 1.
    whole: &'t str,
    behind: &'t str,
}

impl Decimal<'_> {
    /// Reads digits with a sign and a point or without.
    pub(super) fn parse(text: &str) -> Option<Decimal<'_>> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, behind) = digits.split_once('.').map_or((digits, None), |(whole, behind)| (whole, Some(behind)));
        let are_digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        if text.len() > DECIMAL_TEXT || !are_digits(whole) || !behind.is_none_or(are_digits) {
            return None;
        }
        Some(Decimal { is_negative, whole: whole.trim_start_matches('0'), behind: behind.unwrap_or_default() })
    }

    /// How many digits are written behind the point.
    pub(super) fn written_scale(&self) -> usize {
        self.behind.len()
    }

    /// How many digits it needs behind the point.
    pub(super) fn scale(&self) -> usize {
        self.behind.trim_end_matches('0').len()
    }

    /// How many digits its unscaled value has, with so many behind the point.
    pub(super) fn digits(&self, scale: usize) -> usize {
        if !self.whole.is_empty() {
            return self.whole.len() + scale;
        }
        scale.saturating_sub(self.behind.len() - self.behind.trim_start_matches('0').len())
    }

    /// Its unscaled value with so many digits behind the point, which must be as many as it needs, or more: big-endian in two's complement,
    /// as short as can be. It takes the square of the number of digits.
    pub(super) fn unscaled(&self, scale: usize) -> Vec<u8> {
        let zeros = "0".repeat(scale.saturating_sub(self.behind.len()));
        let digits = [self.whole, &self.behind[..scale.min(self.behind.len())], &zeros].concat();
        let digits = digits.trim_start_matches('0');
        let mut bytes = magnitude(digits);
        if self.is_negative {
            negate(&mut bytes);
        }
        shortest(bytes)
    }
}

/// The bytes of a number of decimal digits, little-endian, with room for a sign.
fn magnitude(digits: &str) -> Vec<u8> {
    /// So many digits are added at once.
    const GROUP: usize = 9;
    let mut bytes = vec![0_u8];
    let mut rest = digits.as_bytes();
    while !rest.is_empty() {
        let (group, behind) = rest.split_at((rest.len() - 1) % GROUP + 1);
        let (mut times, mut carry) = (1_u64, 0_u64);
        for digit in group {
            times *= 10;
            carry = carry * 10 + u64::from(digit - b'0');
        }
        for byte in &mut bytes {
            let sum = u64::from(*byte) * times + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        while carry > 0 {
            bytes.push(carry as u8);
            carry >>= 8;
        }
        rest = behind;
    }
    bytes.push(0);
    bytes
}

/// Two's complement of a little-endian number.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// Big-endian, without what only repeats the sign.
fn shortest(mut bytes: Vec<u8>) -> Vec<u8> {
    while let [.., before, last] = bytes[..]
        && matches!((last, before & 0x80), (0, 0) | (0xff, 0x80))
    {
        bytes.pop();
    }
    bytes.reverse();
    bytes
}

/// An unscaled value in so many bytes; None if it has more.
pub(super) fn widened(unscaled: &[u8], size: usize) -> Option<Vec<u8>> {
    let missing = size.checked_sub(unscaled.len())?;
    let sign = if unscaled.first().is_some_and(|it| it & 0x80 != 0) { 0xff } else { 0 };
    Some(std::iter::repeat_n(sign, missing).chain(unscaled.iter().copied()).collect())
}
