//! Timestamps and durations as text: RFC 3339 and seconds with an `s`, as CEL and JSON show them.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A timestamp, in nanoseconds since the Unix epoch, as RFC 3339 in UTC with as many decimals (0, 3, 6 or 9) as it needs.
pub fn timestamp_text(nanos: i64) -> String {
    DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A duration, in nanoseconds, as decimal seconds with an `s`: `90s`, `1.5s`, `-0.25s`.
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (nanos.unsigned_abs() / NANOS_PER_SECOND, nanos.unsigned_abs() % NANOS_PER_SECOND);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// A moment, in milliseconds since the Unix epoch, as RFC 3339 in UTC with milliseconds.
pub fn milliseconds_text(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Milliseconds since the Unix epoch of a time in RFC 3339, whatever its offset; None if the text is none.
pub fn parse_milliseconds(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// The whole milliseconds of a duration; the most that there are of one that has more.
pub fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
