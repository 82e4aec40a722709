//! Logical types as expressions see them: what stands in a JSON event where this stands in an Avro one.

use std::fmt::Write as _;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat};

/// The most bytes of a decimal: more than 300 digits. Writing one takes the square of its length.
const DECIMAL_BYTES: usize = 128;
/// The furthest a decimal's point may be from its digits.
const SCALE_MOST: i64 = 1_000;

/// A day as `YYYY-MM-DD`, of a number of days since the Unix epoch. None outside of what a calendar has.
pub(super) fn date(days: i32) -> Option<String> {
    let epoch = NaiveDate::default();
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let day = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    Some(day?.format("%Y-%m-%d").to_string())
}

/// A time of day as `HH:MM:SS` with the decimals that its unit has. None if it is outside of a day.
pub(super) fn time(units: i64, per_second: i64) -> Option<String> {
    let (seconds, rest) = (units.div_euclid(per_second), units.rem_euclid(per_second));
    let nanos = u32::try_from(rest * (1_000_000_000 / per_second)).ok()?;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(u32::try_from(seconds).ok()?, nanos)?;
    Some(time.format(if per_second == 1_000 { "%H:%M:%S%.3f" } else { "%H:%M:%S%.6f" }).to_string())
}

/// A moment in RFC 3339, in UTC; a local one without a zone. None outside of what a calendar has.
pub(super) fn timestamp(units: i64, per_second: i64, is_local: bool) -> Option<String> {
    let (seconds, rest) = (units.div_euclid(per_second), units.rem_euclid(per_second));
    let nanos = u32::try_from(rest * (1_000_000_000 / per_second)).ok()?;
    let decimals = match per_second {
        1_000 => SecondsFormat::Millis,
        1_000_000 => SecondsFormat::Micros,
        _ => SecondsFormat::Nanos,
    };
    let mut text = DateTime::from_timestamp(seconds, nanos)?.to_rfc3339_opts(decimals, true);
    if is_local {
        text.pop();
    }
    Some(text)
}

/// A span of time as ISO 8601 has it: months, days and milliseconds, each by itself.
pub(super) fn duration(bytes: &[u8; 12]) -> String {
    let part = |from: usize| {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[from..from + 4]);
        u32::from_le_bytes(four)
    };
    let (months, days, ms) = (part(0), part(4), part(8));
    let mut text = "P".to_owned();
    if months > 0 {
        let _ = write!(text, "{months}M");
    }
    if days > 0 {
        let _ = write!(text, "{days}D");
    }
    if ms > 0 || text.len() == 1 {
        let _ = write!(text, "T{}", ms / 1_000);
        if ms % 1_000 > 0 {
            let _ = write!(text, ".{:03}", ms % 1_000);
        }
        text.push('S');
    }
    text
}

/// A decimal of its unscaled value, big-endian in two's complement, with so many digits behind the point.
pub(super) fn decimal(unscaled: &[u8], scale: i64) -> Result<String, String> {
    if unscaled.len() > DECIMAL_BYTES {
        return Err(format!("the decimal has {} bytes; it may have {DECIMAL_BYTES}", unscaled.len()));
    }
    if scale.abs() > SCALE_MOST {
        return Err(format!("the decimal has the scale {scale}; it may have {SCALE_MOST}"));
    }
    let is_negative = unscaled.first().is_some_and(|first| first & 0x80 != 0);
    let mut digits = digits(magnitude(unscaled, is_negative));
    let behind = usize::try_from(scale).unwrap_or(0);
    if digits != "0" && scale < 0 {
        digits.extend(std::iter::repeat_n('0', usize::try_from(-scale).unwrap_or(0)));
    }
    if digits.len() <= behind {
        digits.insert_str(0, &"0".repeat(behind + 1 - digits.len()));
    }
    if behind > 0 {
        digits.insert(digits.len() - behind, '.');
    }
    let is_nothing = digits.bytes().all(|it| matches!(it, b'0' | b'.'));
    Ok(if is_negative && !is_nothing { format!("-{digits}") } else { digits })
}

/// The absolute value, big-endian.
fn magnitude(unscaled: &[u8], is_negative: bool) -> Vec<u8> {
    if !is_negative {
        return unscaled.to_vec();
    }
    let mut carry = true;
    let negated = unscaled.iter().rev().map(|byte| {
        let (sum, over) = (!byte).overflowing_add(u8::from(carry));
        carry = over;
        sum
    });
    let mut bytes: Vec<u8> = negated.collect();
    if carry {
        // Only the negation of nothing carries so far.
        bytes.push(1);
    }
    bytes.reverse();
    bytes
}

/// The decimal digits of a number, big-endian.
fn digits(mut bytes: Vec<u8>) -> String {
    const GROUP: u32 = 1_000_000_000;
    let mut groups = Vec::new();
    while let Some(first) = bytes.iter().position(|byte| *byte != 0) {
        bytes.drain(..first);
        let mut rest = 0_u64;
        for byte in &mut bytes {
            let sum = rest << 8 | u64::from(*byte);
            // The rest is smaller than a group, so what is divided is smaller than 256 groups.
            *byte = (sum / u64::from(GROUP)) as u8;
            rest = sum % u64::from(GROUP);
        }
        groups.push(rest);
    }
    let mut text = groups.pop().map_or_else(|| "0".to_owned(), |first| first.to_string());
    for group in groups.iter().rev() {
        let _ = write!(text, "{group:09}");
    }
    text
}
