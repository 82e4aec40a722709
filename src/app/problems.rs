//! The problems that an instance tells of: their names in `/readyz`, metrics and alerts, how bad they are, and what they are about.

use crate::codec::alert::Severity;

/// What subjects start with that are system topics.
const SYSTEM_TOPIC: &str = "topic/";

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
/// Partitions are held by no member of the group.
pub const PARTITIONS_UNASSIGNED: &str = "partitions-unassigned";
/// The schema registry gives no answer; sources that need it stand still.
pub const REGISTRY: &str = "registry";
/// The circuit breaker of a connector lets no call through.
pub const BREAKER: &str = "breaker";
/// Circuit breakers are not kept on disk as they should be.
pub const BREAKER_STORE: &str = "breaker-store";

/// Records of the journal cannot be understood, and were put aside.
pub const JOURNAL_DAMAGED: &str = "journal-damaged";
/// The target of a connector has asked to be left alone for a while.
pub const RETRY_AFTER: &str = "retry-after";

/// What subjects start with that are connectors, of problems beside that of their breakers.
const CONNECTOR: &str = "connector/";

/// Problems of a process: they end with it, whether it could say so or not. A breaker that the next one finds open is said again.
const OF_A_PROCESS: [&str; 10] = [
    CLIENT_TROUBLE,
    LANE_RESTARTS,
    DUPLICATE_IDENTITY,
    TOPICS,
    PARTITIONS_UNASSIGNED,
    REGISTRY,
    BREAKER,
    BREAKER_STORE,
    RETRY_AFTER,
    JOURNAL_DAMAGED,
];

/// The problem that an alert of an earlier process of the same instance tells of, if it ended with that process. A start takes system
/// topics as they are, so those that were recreated before it are no problem any more.
pub fn ended_with_its_process(name: &str, subject: &str) -> Option<&'static str> {
    let of_a_process = OF_A_PROCESS.into_iter().find(|kind| *kind == name);
    let is_system_topic = name == TOPIC_RECREATED && subject.starts_with(SYSTEM_TOPIC);
    of_a_process.or(is_system_topic.then_some(TOPIC_RECREATED))
}

/// How bad a problem is.
pub fn severity(kind: &str) -> Severity {
    match kind {
        RETRY_AFTER => Severity::Info,
        LOST_RECORDS | JOURNAL_DAMAGED | TOPIC_RECREATED | OFFSETS_EXPIRED | OFFSET_UNUSABLE => Severity::Critical,
        _ => Severity::Warning,
    }
}

/// A source topic, as the subject of a problem.
pub fn source(topic: &str) -> String {
    format!("source/{topic}")
}

/// A system topic, as the subject of a problem.
pub fn system_topic(topic: &str) -> String {
    format!("{SYSTEM_TOPIC}{topic}")
}

/// A partition of the journal, as the subject of a problem.
pub fn journal(partition: i32) -> String {
    format!("journal/{partition}")
}

/// A connector, as the subject of a problem that is not its breaker's, which has a record of its own.
pub fn connector(name: &str) -> String {
    format!("{CONNECTOR}{name}")
}

/// The connector that such a subject is.
pub fn connector_of(subject: &str) -> Option<&str> {
    subject.strip_prefix(CONNECTOR)
}
