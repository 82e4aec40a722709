//! Topics and their settings.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::partition::Partition;

/// The longest name of a topic, as in Kafka.
const NAME_BYTES: usize = 249;
/// Partitions of one topic: a slip of the keyboard must not take all memory.
pub(super) const PARTITIONS_MOST: i32 = 10_000;

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub id: Uuid,
    pub partitions: Vec<Partition>,
    /// What was set; anything else is as [`DEFAULTS`] says.
    pub settings: BTreeMap<String, String>,
}

/// Settings of topics and their defaults. Others are unknown, as to real Kafka.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("delete.retention.ms", "86400000"),
    ("file.delete.delay.ms", "60000"),
    ("flush.messages", "9223372036854775807"),
    ("flush.ms", "9223372036854775807"),
    ("index.interval.bytes", "4096"),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

impl Topic {
    pub(super) fn new(id: Uuid, partitions: i32, settings: BTreeMap<String, String>) -> Topic {
        let mut topic = Topic { id, partitions: Vec::new(), settings };
        topic.grow(partitions);
        topic
    }

    /// Adds partitions up to that number.
    pub(super) fn grow(&mut self, partitions: i32) {
        let wanted = usize::try_from(partitions.min(PARTITIONS_MOST)).unwrap_or(0);
        while self.partitions.len() < wanted {
            self.partitions.push(Partition::default());
        }
    }

    pub(super) fn partition(&self, number: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(number).ok()?)
    }

    pub(super) fn partition_mut(&mut self, number: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn is_compacted(&self) -> bool {
        self.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    }

    /// Whether records carry the time at which they were appended instead of their sender's.
    pub(super) fn stamps_records(&self) -> bool {
        self.settings.get("message.timestamp.type").is_some_and(|it| it == "LogAppendTime")
    }

    /// Whether old records go by age or size.
    pub(super) fn is_deleted_from(&self) -> bool {
        self.settings.get("cleanup.policy").is_none_or(|policy| policy.contains("delete"))
    }

    /// A numeric setting as it was set; None if it was not.
    pub(super) fn set_number(&self, name: &str) -> Option<i64> {
        self.settings.get(name).and_then(|value| value.parse().ok())
    }

    /// The largest batch that is taken.
    pub(super) fn max_message_bytes(&self) -> usize {
        usize::try_from(self.set_number("max.message.bytes").unwrap_or(1_048_588)).unwrap_or(0)
    }
}

/// Whether Kafka takes the name.
pub(super) fn is_legal_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

/// Checks a setting as Kafka would.
pub(super) fn check_setting(name: &str, value: &str) -> Result<(), ResponseError> {
    let Some((_, default)) = DEFAULTS.iter().find(|it| it.0 == name) else {
        return Err(ResponseError::InvalidConfig);
    };
    let sound = match name {
        "cleanup.policy" => !value.is_empty() && value.split(',').all(|it| matches!(it.trim(), "delete" | "compact")),
        "compression.type" => {
            matches!(value, "producer" | "uncompressed" | "gzip" | "snappy" | "lz4" | "zstd")
        }
        "message.timestamp.type" => matches!(value, "CreateTime" | "LogAppendTime"),
        "min.cleanable.dirty.ratio" => value.parse::<f64>().is_ok_and(|it| (0.0..=1.0).contains(&it)),
        "preallocate" | "unclean.leader.election.enable" => matches!(value, "true" | "false"),
        "retention.ms" | "retention.bytes" => value.parse::<i64>().is_ok_and(|it| it >= -1),
        "segment.bytes" | "max.message.bytes" => value.parse::<i32>().is_ok_and(|it| it >= 0),
        _ => default.parse::<i64>().is_err() || value.parse::<i64>().is_ok_and(|it| it >= 0),
    };
    if sound { Ok(()) } else { Err(ResponseError::InvalidConfig) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_as_kafka_does() {
        for (name, default) in DEFAULTS {
            assert_eq!(check_setting(name, default), Ok(()), "{name}");
        }
        for (name, value) in [
            ("cleanup.policy", "shred"),
            ("cleanup.policy", ""),
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("max.message.bytes", "-1"),
            ("no.such.setting", "1"),
        ] {
            assert_eq!(check_setting(name, value), Err(ResponseError::InvalidConfig), "{name}={value}");
        }
        assert_eq!(check_setting("cleanup.policy", "compact, delete"), Ok(()));
    }

    #[test]
    fn names_are_checked_as_kafka_does() {
        assert!(is_legal_name("tidegate.step-results_1"));
        for name in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
            assert!(!is_legal_name(name), "{name}");
        }
    }
}
