//! `Retry-After`: how long a target wants to be left alone (RFC 9110, section 10.2.3).

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderMap, RETRY_AFTER};

use crate::engine::gate::RETRY_AFTER_MS;

/// What an answer asks for, in milliseconds from `now`, at most [`RETRY_AFTER_MS`]; a moment that has passed is 0. None if it asks for
/// nothing, or for nothing that is understood.
pub(super) fn in_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Seconds that fit no number are an hour too.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MS));
    }
    let until = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let left = until.saturating_sub(now.duration_since(UNIX_EPOCH).ok()?);
    Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(RETRY_AFTER_MS))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_up_to_an_hour() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of the RFC.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let table = [
            ("0", Some(0)),
            ("120", Some(120_000)),
            (" 7 ", Some(7_000)),
            ("3601", Some(RETRY_AFTER_MS)),
            ("99999999999999999999999", Some(RETRY_AFTER_MS)),
            ("Sun, 06 Nov 1994 08:49:57 GMT", Some(20_000)),
            ("Sunday, 06-Nov-94 08:49:57 GMT", Some(20_000)),
            ("Sun Nov  6 08:49:57 1994", Some(20_000)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(RETRY_AFTER_MS)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994", None),
        ];
        for (text, expected) in table {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(in_ms(&headers, now), expected, "{text}");
        }
        assert_eq!(in_ms(&HeaderMap::new(), now), None);
    }
}
