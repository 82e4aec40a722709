//! The problems that an instance tells of: their names in `/readyz`, metrics and alerts, how bad they are, and what they are about.

use crate::codec::alert::Severity;

/// The Kafka client of a lane has trouble.
pub const CLIENT_TROUBLE: &str = "kafka";
/// Records were deleted before they were read.
pub const LOST_RECORDS: &str = "lost-records";
/// A lane starts again and again.
pub const LANE_RESTARTS: &str = "lane-restarts";
/// Another process has the same `instance` name.
pub const DUPLICATE_IDENTITY: &str = "duplicate-identity";
/// System topics are not as they must be.
pub const TOPICS: &str = "topics";
/// A topic was deleted and created again.
pub const TOPIC_RECREATED: &str = "topic-recreated";
/// The group's offsets of a source have expired, or were deleted.
pub const OFFSETS_EXPIRED: &str = "offsets-expired";
/// The group's offset of a source cannot be used.
pub const OFFSET_UNUSABLE: &str = "offset-unusable";

/// How bad a problem is.
pub fn severity(kind: &str) -> Severity {
    match kind {
        LOST_RECORDS | TOPIC_RECREATED | OFFSETS_EXPIRED | OFFSET_UNUSABLE => Severity::Critical,
        _ => Severity::Warning,
    }
}

/// A source topic, as the subject of a problem.
pub fn source(topic: &str) -> String {
    format!("source/{topic}")
}

/// A system topic, as the subject of a problem.
pub fn system_topic(topic: &str) -> String {
    format!("topic/{topic}")
}
