//! `tidegate get` and `tidegate describe`: what is there, read from the topics.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use super::args::{Common, Describe, Get, Kind, OutputFormat};
use super::output::{document, rows};
use super::progress::Progress;
use super::{DONE, records, setup};
use crate::app::{cluster, definitions};
use crate::definition::InstalledWorkflow;
use crate::engine::workflow::WorkflowId;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, LogRecord};
use crate::settings::Settings;

/// How long a scan of a topic may take.
const SCAN_TIMEOUT: Duration = Duration::from_secs(60);
/// Records from the end of each partition that `describe` looks through.
const SCAN_RECORDS: i64 = 1_000_000;
/// Records of one execution that are shown: far more than a workflow has steps.
const RECORDS_OF_ONE: usize = 10_000;
/// The most rows that are listed; whoever wants more reads the topic.
const MOST_ROWS: usize = 100_000;
/// Offsets that are read for each row and partition.
const OFFSETS_PER_ROW: i64 = 4;

pub(super) fn list(common: &Common, args: &Get) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    match args.kind {
        Kind::Workflows => {
            let installed = definitions::read_installed(&clients, &cluster::topic(&settings, "workflows"))?;
            let found = installed.iter().map(|(id, workflow)| summary(id, workflow)).take(args.limit);
            rows(common.output, &["id", "version", "status", "versions"], &found.collect::<Vec<_>>());
        }
        Kind::Executions => {
            let mut found = newest(&settings, &clients, "executions", args.limit, records::execution)?;
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
            let found = newest(&settings, &clients, "dead-letters", args.limit, records::letter_summary)?;
            rows(common.output, &["id", "reason", "workflow", "step", "topic", "offset", "errorMessage"], &found);
        }
    }
    Ok(DONE)
}

fn summary(id: &WorkflowId, workflow: &InstalledWorkflow) -> Value {
    let pointer = workflow.pointer.as_ref();
    let versions: Vec<&str> = workflow.versions.keys().map(|version| &**version).collect();
    json!({ "id": id.as_str(), "version": pointer.map(|it| &*it.version), "status": pointer.map(|it| it.status.name()),
        "versions": versions.join(" ") })
}

/// The newest records of a topic, one per key, oldest first.
fn newest(
    settings: &Settings,
    clients: &ClientSettings,
    topic: &str,
    limit: usize,
    read: impl Fn(&LogRecord) -> Option<Value>,
) -> anyhow::Result<Vec<Value>> {
    let topic = cluster::topic(settings, topic);
    let limit = limit.min(MOST_ROWS);
    // Markers of transactions and older records of the same keys take offsets too.
    let offsets = i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(OFFSETS_PER_ROW);
    let mut reader = LogReader::open(clients, &[&topic], From::Tail(offsets))?;
    let mut newest = Newest { limit, found: HashMap::new() };
    let (mut progress, mut count) = (Progress::new(format!("reading {topic}")), 0);
    reader.read_to_end(SCAN_TIMEOUT, |record| {
        count += 1;
        progress.at(count);
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

pub(super) fn describe(common: &Common, args: &Describe) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let found = match args.kind {
        Kind::Workflows => workflow(&settings, &clients, &args.id)?,
        Kind::Executions => execution(&settings, &clients, &args.id)?,
        Kind::DeadLetters => {
            let letters = with_key(&settings, &clients, "dead-letters", &args.id)?;
            // A tombstone says that it is resolved.
            letters.last().and_then(records::letter)
        }
    };
    let Some(found) = found else {
        let (kind, where_to_look) = match args.kind {
            Kind::Workflows => ("workflow", "look with `tidegate get workflows`".to_owned()),
            Kind::Executions => ("execution", format!("the newest {SCAN_RECORDS} records of each partition were read")),
            Kind::DeadLetters => {
                ("dead letter", "it may be resolved; look with `tidegate get dead-letters`".to_owned())
            }
        };
        bail!("there is no {kind} with the id {}; {where_to_look}", args.id)
    };
    document(common.output, &found);
    Ok(DONE)
}

fn workflow(settings: &Settings, clients: &ClientSettings, id: &str) -> anyhow::Result<Option<Value>> {
    let installed = definitions::read_installed(clients, &cluster::topic(settings, "workflows"))?;
    let Some((id, workflow)) = WorkflowId::new(id).and_then(|id| Some((id.clone(), installed.get(&id)?))) else {
        return Ok(None);
    };
    let mut told = summary(&id, workflow);
    let in_use = workflow.pointer.as_ref().and_then(|pointer| workflow.versions.get(&pointer.version));
    told["definition"] = in_use.and_then(|it| serde_json::from_slice(&it.document).ok()).unwrap_or_default();
    Ok(Some(told))
}

fn execution(settings: &Settings, clients: &ClientSettings, id: &str) -> anyhow::Result<Option<Value>> {
    let runs = with_key(settings, clients, "executions", id)?;
    let Some(mut told) = runs.iter().rev().find_map(records::execution) else { return Ok(None) };
    let steps = with_key(settings, clients, "step-results", id)?;
    told["steps"] = steps.iter().filter_map(records::execution).collect();
    Ok(Some(told))
}

fn with_key(settings: &Settings, clients: &ClientSettings, topic: &str, key: &str) -> anyhow::Result<Vec<LogRecord>> {
    let topic = cluster::topic(settings, topic);
    let mut reader = LogReader::open(clients, &[&topic], From::Tail(SCAN_RECORDS))?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut progress = Progress::new(format!("reading {topic}"));
    reader.read_to_end(SCAN_TIMEOUT, |record| {
        count += 1;
        progress.at(count);
        if found.len() < RECORDS_OF_ONE && record.key.as_deref() == Some(key.as_bytes()) {
            found.push(record);
        }
    })?;
    Ok(found)
}
