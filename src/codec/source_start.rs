//! How a group has started on a source, as a record on the `control` topic. The schema is `schemas/source-start/v1.avsc`.

use std::sync::Arc;

use serde::Deserialize;

use super::fields::hex;
use super::object::Object;
use crate::engine::wire::WireRecord;

/// What keys of these records start with; other records on the topic are somebody else's.
const KEY_PREFIX: &str = "source/";

/// How a group has started on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStart {
    /// The consumer group.
    pub group: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: [u8; 16],
    /// How often the group has started on a topic of this name, from 1.
    pub starts: u32,
    /// Where each partition started that was there then; empty where that is not known.
    pub positions: Vec<i64>,
    /// Whether offsets were committed since.
    pub settled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    group: String,
    topic: String,
    topic_id: String,
    starts: u32,
    positions: Vec<i64>,
    settled: bool,
}

impl SourceStart {
    /// The key of its record: what it is about.
    pub fn key(&self) -> String {
        format!("{KEY_PREFIX}{}/{}", self.group, self.topic)
    }

    /// Whether a record with this key says how some group started on a source.
    pub fn is_key(key: &[u8]) -> bool {
        key.starts_with(KEY_PREFIX.as_bytes())
    }

    /// The record on the control topic of that name. `now_ms` is milliseconds since the Unix epoch.
    pub fn encode(&self, topic: &Arc<str>, now_ms: i64) -> WireRecord {
        let mut value = Vec::with_capacity(256);
        let mut object = Object::begin(&mut value);
        object.text("group", &self.group);
        object.text("topic", &self.topic);
        object.plain("topicId", &hex(&self.topic_id));
        object.number("starts", i64::from(self.starts));
        object.list("positions", self.positions.iter(), |into, position| {
            into.extend_from_slice(position.to_string().as_bytes());
        });
        object.bool("settled", self.settled);
        object.time("time", now_ms);
        object.end();
        WireRecord {
            topic: topic.clone(),
            partition: Some(0),
            key: Some(self.key().into()),
            value: Some(value.into()),
            headers: [("content-type", Some("application/json"))].into_iter().collect(),
            step: None,
        }
    }

    /// Reads a record's value; the error says what is wrong with it.
    pub fn decode(value: &[u8]) -> Result<SourceStart, String> {
        let fields: Fields = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let id = u128::from_str_radix(&fields.topic_id, 16).map_err(|error| format!("topicId: {error}"))?;
        let Fields { group, topic, starts, positions, settled, topic_id: _ } = fields;
        Ok(SourceStart { group, topic, topic_id: id.to_be_bytes(), starts, positions, settled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let start = SourceStart {
            group: "orders \"eu\"".into(),
            topic: "webhooks".into(),
            topic_id: [7; 16],
            starts: 2,
            positions: vec![0, 17],
            settled: true,
        };
        let record = start.encode(&"tidegate.control".into(), 0);
        assert!(SourceStart::is_key(record.key.as_deref().unwrap()) && !SourceStart::is_key(b"breaker/source/"));
        assert_eq!(SourceStart::decode(record.value.as_deref().unwrap()), Ok(start));
        assert!(SourceStart::decode(b"{}").is_err() && SourceStart::decode(b"\xff").is_err());
    }
}
