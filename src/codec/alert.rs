//! Alerts as records: what an operator should know of, raised and cleared. The schema is `schemas/alert/v1.avsc`.

use std::sync::Arc;

use serde::Deserialize;

use super::avro::Datum;
use super::fields::Fields;
use super::object::{self, Object};
use super::record::Encoding;
use super::step::cut;
use crate::engine::wire::WireRecord;

/// The longest message of an alert, in bytes; the schema promises it to readers.
const MESSAGE_BYTES: usize = 1024;

/// Something that holds from now on, or does not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about, such as `source/webhooks`. With the instance, the key of the record.
    pub subject: String,
    /// The name of the alert, such as `topic-recreated`.
    pub name: &'static str,
    /// Whether it was raised; else it was cleared.
    pub raised: bool,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what would help.
    pub message: String,
    /// The instance that says so.
    pub instance: Arc<str>,
    /// When it began or ended, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The records that were lost, where the alert is about that.
    pub lost: Option<LostRange>,
    /// How the circuit breaker of the subject has turned, where the alert is about that.
    pub breaker: Option<BreakerTurn>,
}

/// A circuit breaker that changed its state. The schema knows `closed`, `open` and `half_open`; one that an operator holds is as he holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerTurn {
    /// The state before, as metrics name it.
    pub from: &'static str,
    /// The state since.
    pub to: &'static str,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nobody has to act.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Something is not done, or lost, until somebody acts.
    Critical,
}

/// Records of one partition that were deleted before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The first offset that was lost.
    pub first_offset: i64,
    /// The last offset that was lost.
    pub last_offset: i64,
}

impl Severity {
    /// As records name it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// The record of an alert on the `alerts` topic of an environment. All that an instance says of a subject lies in one partition, in order, and
/// compaction leaves its last word, whatever other instances say of the same.
pub fn encode(alert: &Alert, environment: &str, topic: &Arc<str>, encoding: Encoding) -> WireRecord {
    let mut value = Vec::with_capacity(512);
    match encoding {
        Encoding::Json => {
            let mut object = Object::begin(&mut value);
            write(alert, &mut object);
            object.end();
        }
        Encoding::Avro(ids) => write(alert, &mut Datum::begin(&mut value, ids.alerts)),
    }
    let mut time = Vec::new();
    object::time(&mut time, alert.time_ms);
    let kind: &[u8] = if alert.raised { b"tidegate.alert.raised" } else { b"tidegate.alert.cleared" };
    let id = format!("{}:{}:{}:{}", alert.instance, alert.subject, alert.name, alert.time_ms);
    let source = format!("/tidegate/{environment}/alerts");
    let headers: [(&str, &[u8]); 7] = [
        ("content-type", encoding.content_type().name().as_bytes()),
        ("ce_specversion", b"1.0"),
        ("ce_id", id.as_bytes()),
        ("ce_source", source.as_bytes()),
        ("ce_type", kind),
        ("ce_time", &time),
        ("ce_subject", alert.subject.as_bytes()),
    ];
    WireRecord {
        topic: topic.clone(),
        partition: None,
        key: Some(format!("{}@{}", alert.subject, alert.instance).into()),
        value: Some(value.into()),
        headers: headers.into_iter().map(|(name, value)| (name, Some(value))).collect(),
        step: None,
    }
}

/// The parts of an alert that say whether it still holds, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AlertState {
    /// What it is about.
    pub subject: String,
    /// The name of the alert.
    #[serde(rename = "alert")]
    pub name: String,
    /// `raised` or `cleared`.
    pub state: String,
    /// The instance that said so.
    pub instance: String,
    /// What is wrong.
    #[serde(default)]
    pub message: String,
    /// When it began or ended, RFC 3339.
    pub time: String,
    /// How a circuit breaker has turned.
    #[serde(default)]
    pub breaker: Option<TurnedTo>,
}

/// The part of a turn that says where a circuit breaker stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TurnedTo {
    /// The state since.
    pub to: String,
}

impl AlertState {
    /// Reads a record's value; None if that is no alert.
    pub fn decode(value: &[u8]) -> Option<AlertState> {
        serde_json::from_slice(value).ok()
    }
}

const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

fn breaker_state(state: &'static str) -> &'static str {
    match state {
        "open" | "forced-open" => "open",
        "half-open" => "half_open",
        _ => "closed",
    }
}

fn write(alert: &Alert, fields: &mut impl Fields) {
    fields.text("subject", &alert.subject);
    fields.plain("alert", alert.name);
    fields.symbol("state", &["raised", "cleared"], if alert.raised { "raised" } else { "cleared" });
    fields.symbol("severity", &["info", "warning", "critical"], alert.severity.name());
    fields.text("message", cut(&alert.message, MESSAGE_BYTES));
    fields.text("instance", &alert.instance);
    fields.time("time", alert.time_ms);
    fields.added_record("breaker", alert.breaker.as_ref(), |fields, turn| {
        fields.text("connector", &alert.subject);
        fields.symbol("from", &BREAKER_STATES, breaker_state(turn.from));
        fields.symbol("to", &BREAKER_STATES, breaker_state(turn.to));
    });
    fields.added_record("lost", alert.lost.as_ref(), |fields, lost| {
        fields.text("topic", &lost.topic);
        fields.number("partition", i64::from(lost.partition));
        fields.number("firstOffset", lost.first_offset);
        fields.number("lastOffset", lost.last_offset);
    });
}
