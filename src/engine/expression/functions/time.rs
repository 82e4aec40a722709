//! Functions of timestamps and durations. There is no `now()`: the same event gives the same result whenever it is run.

use chrono::{DateTime, Datelike, FixedOffset, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use super::{Function, function, method};
use crate::engine::expression::Budget;
use crate::engine::expression::failure::Problem;
use crate::engine::expression::operators::out_of_time;
use crate::engine::value::{Value, View};

pub(super) const FUNCTIONS: &[Function] = &[
    function("timestamp", (1, 1), to_timestamp),
    function("duration", (1, 1), to_duration),
    method("getFullYear", (1, 2), |arguments, _| part(arguments, |it| it.year().into())),
    // Months and days of the year count from 0, dates from 1: CEL took this from JavaScript.
    method("getMonth", (1, 2), |arguments, _| part(arguments, |it| it.month0().into())),
    method("getDate", (1, 2), |arguments, _| part(arguments, |it| it.day().into())),
    method("getDayOfMonth", (1, 2), |arguments, _| part(arguments, |it| it.day0().into())),
    method("getDayOfWeek", (1, 2), |arguments, _| part(arguments, |it| it.weekday().num_days_from_sunday().into())),
    method("getDayOfYear", (1, 2), |arguments, _| part(arguments, |it| it.ordinal0().into())),
    method("getHours", (1, 2), |arguments, _| of_both(arguments, 3600 * SECOND, |it| it.hour().into())),
    method("getMinutes", (1, 2), |arguments, _| of_both(arguments, 60 * SECOND, |it| it.minute().into())),
    method("getSeconds", (1, 2), |arguments, _| of_both(arguments, SECOND, |it| it.second().into())),
    method("getMilliseconds", (1, 2), milliseconds),
];

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;

fn to_timestamp(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Timestamp(it)] => Ok(Value::Timestamp(*it)),
        [View::Int(seconds)] => seconds.checked_mul(SECOND).map(Value::Timestamp).ok_or_else(out_of_time),
        [View::Text(text)] => {
            budget.take_bytes(text.len())?;
            let time = DateTime::parse_from_rfc3339(text)
                .map_err(|_| Problem::other("the string is no RFC 3339 timestamp, like 2026-05-04T12:00:00Z"))?;
            time.timestamp_nanos_opt().map(Value::Timestamp).ok_or_else(out_of_time)
        }
        _ => Err(Problem::Types),
    }
}

fn to_duration(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Duration(it)] => Ok(Value::Duration(*it)),
        [View::Int(seconds)] => seconds.checked_mul(SECOND).map(Value::Duration).ok_or_else(out_of_time),
        [View::Text(text)] => {
            budget.take_bytes(text.len())?;
            let nanos = parse_duration(text).ok_or_else(|| {
                Problem::other("the string is no duration, like 90s, 1.5h or 1h30m, or it is too long")
            })?;
            Ok(Value::Duration(nanos))
        }
        _ => Err(Problem::Types),
    }
}

/// Decimal numbers with units (h, m, s, ms, us, ns), as in Go: `1h30m`, `-1.5s`.
fn parse_duration(text: &str) -> Option<i64> {
    /// Digits of a number: more than 64 bits hold, few enough that 128 bits never overflow.
    const DIGITS: usize = 20;
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit: i128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() > DIGITS || number.len() < 1 + usize::from(number.contains('.')) || fraction.contains('.') {
            return None;
        }
        // Beyond the ninth digit a fraction is below a nanosecond, except of hours and minutes: keep twelve.
        let fraction = &fraction[..fraction.len().min(12)];
        let scale = 10_i128.pow(fraction.len() as u32);
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        total += whole * unit + part * unit / scale;
        if total > i128::from(u64::MAX) {
            return None;
        }
        rest = after;
        if rest.is_empty() {
            return i64::try_from(if negative { -total } else { total }).ok();
        }
    }
}

/// A part of a timestamp, in UTC or in the time zone that is named.
fn part(arguments: &[View<'_>], read: fn(DateTime<FixedOffset>) -> i64) -> Result<Value, Problem> {
    let (nanos, zone) = match arguments {
        [View::Timestamp(nanos)] => (*nanos, None),
        [View::Timestamp(nanos), View::Text(zone)] => (*nanos, Some(*zone)),
        _ => return Err(Problem::Types),
    };
    let utc = DateTime::from_timestamp_nanos(nanos);
    let offset = zone.map_or(Some(Utc.fix()), |zone| offset_at(zone, utc));
    let offset = offset
        .ok_or_else(|| Problem::other("unknown time zone; use a name like Europe/Berlin or an offset like +02:00"))?;
    Ok(Value::Int(read(utc.with_timezone(&offset))))
}

fn of_both(arguments: &[View<'_>], unit: i64, read: fn(DateTime<FixedOffset>) -> i64) -> Result<Value, Problem> {
    match arguments {
        [View::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => part(arguments, read),
    }
}

/// Of a timestamp the milliseconds within its second; of a duration those beyond its last second.
fn milliseconds(arguments: &[View<'_>], _: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Duration(nanos)] => Ok(Value::Int(nanos % SECOND / 1_000_000)),
        _ => part(arguments, |it| (it.nanosecond() % 1_000_000_000 / 1_000_000).into()),
    }
}

/// The offset of a zone at a time: `Europe/Berlin`, `UTC`, `+02:00`, `02:00`.
fn offset_at(zone: &str, utc: DateTime<Utc>) -> Option<FixedOffset> {
    if let Ok(zone) = zone.parse::<Tz>() {
        return Some(zone.offset_from_utc_datetime(&utc.naive_utc()).fix());
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let legal = (0..=23).contains(&hours) && (0..=59).contains(&minutes);
    legal.then(|| FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60)))?
}
