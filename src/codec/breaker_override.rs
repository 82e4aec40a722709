//! What operators want of circuit breakers, as records on the `control` topic. The schema is `schemas/control/v1.avsc`.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use serde::Deserialize;

use super::object::Object;
use super::step::cut;
use crate::engine::breaker::Override;
use crate::engine::wire::WireRecord;

/// What keys of these records start with; other records on the topic are somebody else's.
const KEY_PREFIX: &str = "breaker/";
/// The longest reason, and the longest name of who gives it, in bytes; a reader cuts what is longer.
pub const TEXT_BYTES: usize = 1024;

/// What an operator wants of the circuit breaker of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOverride {
    /// What is wanted.
    pub wish: Override,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When it began, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When it ends by itself; None if somebody has to end it.
    pub expires_ms: Option<i64>,
}

#[derive(Deserialize)]
struct Fields {
    state: String,
    reason: String,
    by: String,
    time: String,
    expires: Option<String>,
}

impl BreakerOverride {
    /// The connector that a key is about; None if the record is somebody else's.
    pub fn connector(key: &[u8]) -> Option<&str> {
        std::str::from_utf8(key).ok()?.strip_prefix(KEY_PREFIX)
    }

    /// The state that is forced, as records and commands name it.
    pub fn state(&self) -> &'static str {
        match self.wish {
            Override::Open => "open",
            Override::Close => "closed",
        }
    }

    /// Whether it still holds.
    pub fn holds(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }

    /// The record on the control topic of that name.
    pub fn encode(&self, connector: &str, topic: &Arc<str>) -> WireRecord {
        let mut value = Vec::with_capacity(256);
        let mut object = Object::begin(&mut value);
        object.plain("state", self.state());
        object.text("reason", &self.reason);
        object.text("by", &self.by);
        object.time("time", self.since_ms);
        match self.expires_ms {
            Some(expires_ms) => object.time("expires", expires_ms),
            None => object.null("expires"),
        }
        object.end();
        record(connector, topic, Some(value.into()))
    }

    /// The record that ends what is wanted of a connector.
    pub fn tombstone(connector: &str, topic: &Arc<str>) -> WireRecord {
        record(connector, topic, None)
    }

    /// Reads a record's value; the error says what is wrong with it.
    pub fn decode(value: &[u8]) -> Result<BreakerOverride, String> {
        let Fields { state, reason, by, time, expires } =
            serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let wish = match state.as_str() {
            "open" => Override::Open,
            "closed" => Override::Close,
            other => return Err(format!("state is `{}`, not open or closed", cut(other, TEXT_BYTES))),
        };
        let read = |name: &str, text: &str| {
            let time = DateTime::parse_from_rfc3339(text).map_err(|error| format!("{name}: {error}"))?;
            Ok::<_, String>(time.timestamp_millis())
        };
        Ok(BreakerOverride {
            wish,
            reason: cut(&reason, TEXT_BYTES).to_owned(),
            by: cut(&by, TEXT_BYTES).to_owned(),
            since_ms: read("time", &time)?,
            expires_ms: expires.map(|expires| read("expires", &expires)).transpose()?,
        })
    }
}

fn record(connector: &str, topic: &Arc<str>, value: Option<Bytes>) -> WireRecord {
    WireRecord {
        topic: topic.clone(),
        partition: Some(0),
        key: Some(format!("{KEY_PREFIX}{connector}").into()),
        value,
        headers: [("content-type", Some("application/json"))].into_iter().collect(),
        step: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let topic = Arc::from("tidegate.control");
        let open = BreakerOverride {
            wish: Override::Open,
            reason: "billing \"moves\"\n".into(),
            by: "ada".into(),
            since_ms: 1_764_000_000_125,
            expires_ms: Some(1_764_003_600_125),
        };
        let closed = BreakerOverride { wish: Override::Close, expires_ms: None, ..open.clone() };
        for wanted in [open, closed] {
            let record = wanted.encode("billing", &topic);
            assert_eq!(BreakerOverride::connector(record.key.as_deref().unwrap()), Some("billing"));
            assert_eq!(BreakerOverride::decode(record.value.as_deref().unwrap()), Ok(wanted));
        }
        assert_eq!(BreakerOverride::tombstone("billing", &topic).value, None);
        assert_eq!(BreakerOverride::connector(b"source/tidegate/breaker/"), None);
        assert_eq!(BreakerOverride::connector(b"breaker/\xff"), None);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let value = |state: &str, expires: &str| {
            format!(
                r#"{{"state":"{state}","reason":"{}","by":"ada","time":"2026-11-24T08:00:00Z","expires":{expires}}}"#,
                "x".repeat(5_000)
            )
        };
        let read = BreakerOverride::decode(value("open", "\"2026-11-24T10:00:00+01:00\"").as_bytes()).unwrap();
        assert_eq!((read.reason.len(), read.expires_ms), (TEXT_BYTES, Some(read.since_ms + 3_600_000)));
        assert!(read.holds(read.since_ms) && !read.holds(read.since_ms + 3_600_000));
        assert_eq!(
            BreakerOverride::decode(value("ajar", "null").as_bytes()).unwrap_err(),
            "state is `ajar`, not open or closed"
        );
        assert!(
            BreakerOverride::decode(value("open", "\"tomorrow\"").as_bytes()).unwrap_err().starts_with("expires: ")
        );
        assert!(BreakerOverride::decode(b"{}").is_err() && BreakerOverride::decode(b"\xff").is_err());
    }
}
