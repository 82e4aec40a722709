//! `tidegate get`: what is there, read from the topics.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Common, Get, Kind, OutputFormat};
use super::output::rows;
use super::progress::Progress;
use super::records::Readable;
use super::{DONE, records, setup};
use crate::app::{cluster, definitions};
use crate::definition::InstalledWorkflow;
use crate::engine::workflow::WorkflowId;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, LogRecord};
use crate::settings::Settings;

/// How long a scan of a topic may take.
pub(super) const SCAN_TIMEOUT: Duration = Duration::from_secs(60);
/// The most rows that are listed; whoever wants more reads the topic.
const MOST_ROWS: usize = 100_000;
/// Offsets that are read for each row and partition.
const OFFSETS_PER_ROW: i64 = 4;

pub(super) fn list(common: &Common, args: &Get) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let (place, mut readable) = ((&settings, &clients), Readable::new(&settings));
    match args.kind {
        Kind::Workflows => {
            let installed = definitions::read_installed(&clients, &cluster::topic(&settings, "workflows"))?;
            let found = installed.iter().map(|(id, workflow)| summary(id, workflow)).take(args.limit);
            rows(common.output, &["id", "version", "status", "versions"], &found.collect::<Vec<_>>());
        }
        Kind::Executions => {
            let mut found = newest(place, "executions", args.limit, &mut readable, records::execution)?;
            if common.output == OutputFormat::Table {
                // A cell has no room for the whole event.
                for told in found.iter_mut().filter_map(Value::as_object_mut) {
                    let kind = told.get("event").and_then(|event| event.get("type")).cloned();
                    told.insert("event".into(), kind.unwrap_or_default());
                }
            }
            rows(common.output, &["id", "workflowId", "workflowVersion", "status", "startTime", "event"], &found);
        }
        Kind::DeadLetters => {
            let found = newest(place, "dead-letters", args.limit, &mut readable, records::letter_summary)?;
            rows(common.output, &["id", "reason", "workflow", "step", "topic", "offset", "errorMessage"], &found);
        }
    }
    readable.whole()?;
    Ok(DONE)
}

pub(super) fn summary(id: &WorkflowId, workflow: &InstalledWorkflow) -> Value {
    let pointer = workflow.pointer.as_ref();
    let versions: Vec<&str> = workflow.versions.keys().map(|version| &**version).collect();
    json!({ "id": id.as_str(), "version": pointer.map(|it| &*it.version), "status": pointer.map(|it| it.status.name()),
        "versions": versions.join(" ") })
}

/// The newest records of a topic, one per key, oldest first.
fn newest(
    (settings, clients): (&Settings, &ClientSettings),
    topic: &str,
    limit: usize,
    readable: &mut Readable,
    read: impl Fn(&LogRecord) -> Option<Value>,
) -> anyhow::Result<Vec<Value>> {
    let topic = cluster::topic(settings, topic);
    let limit = limit.min(MOST_ROWS);
    // Markers of transactions and older records of the same keys take offsets too.
    let offsets = i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(OFFSETS_PER_ROW);
    let mut reader = LogReader::open(clients, &[&topic], From::Tail(offsets))?;
    let mut newest = Newest { limit, found: HashMap::new() };
    let (mut progress, mut count) = (Progress::new(format!("reading {topic}")), 0);
    reader.read_to_end(SCAN_TIMEOUT, |mut record| {
        count += 1;
        progress.at(count);
        readable.translate(&mut record);
        newest.put(record.key.clone(), record.timestamp_ms, read(&record));
    })?;
    Ok(newest.rows())
}

/// What each key says last. A key whose last record is a tombstone is kept as well: it says that there is nothing to show.
struct Newest {
    limit: usize,
    found: HashMap<Option<Vec<u8>>, (i64, Option<Value>)>,
}

impl Newest {
    fn put(&mut self, key: Option<Vec<u8>>, at_ms: i64, told: Option<Value>) {
        self.found.insert(key, (at_ms, told));
        // Rarely enough to cost nothing, and often enough to hold no more than twice what is shown.
        if self.found.len() > 2 * self.limit + 1_000 {
            let mut times: Vec<i64> = self.found.values().map(|(at_ms, _)| *at_ms).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            let oldest = times.get(self.limit).copied().unwrap_or(i64::MIN);
            self.found.retain(|_, (at_ms, _)| *at_ms > oldest);
        }
    }

    fn rows(self) -> Vec<Value> {
        let mut rows: Vec<(i64, Value)> = self.found.into_values().filter_map(|(at, it)| Some((at, it?))).collect();
        rows.sort_by_key(|(at, _)| *at);
        let skip = rows.len().saturating_sub(self.limit);
        rows.into_iter().skip(skip).map(|(_, told)| told).collect()
    }
}
