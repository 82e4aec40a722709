//! `tidegate describe`: one thing whole, read from the topics; of an execution that has not ended also why it does not run.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use serde_json::{Value, json};

use super::args::{Common, Describe, Kind};
use super::get::{SCAN_TIMEOUT, summary};
use super::output::document;
use super::progress::Progress;
use super::records::Readable;
use super::{DONE, records, setup};
use crate::app::why::{self, Partition, Standing};
use crate::app::{breakers, cluster, definitions};
use crate::codec::journal;
use crate::definition::Installed;
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::engine::ids::ExecutionId;
use crate::engine::plan::Plan;
use crate::engine::value::milliseconds_text;
use crate::engine::workflow::WorkflowId;
use crate::kafka::client::ClientSettings;
use crate::kafka::group_offsets::GroupOffsets;
use crate::kafka::log_reader::{From, LogReader, LogRecord};
use crate::lane::now_ms;
use crate::settings::Settings;

/// Records from the end of each partition that are looked through.
const SCAN_RECORDS: i64 = 1_000_000;
/// Records of one execution that are shown: far more than a workflow has steps.
const RECORDS_OF_ONE: usize = 10_000;
/// Offsets of its partition of the journal that are read for an execution: it holds as many executions that wait, or fewer.
const JOURNAL_RECORDS: i64 = 2_000_000;

pub(super) fn run(common: &Common, args: &Describe) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let found = match args.kind {
        Kind::Workflows => workflow(&settings, &clients, &args.id)?,
        Kind::Executions => execution(&settings, &clients, &args.id)?,
        Kind::DeadLetters => {
            // Its topic is compacted: one that is old may lie any number of offsets before the end.
            let letters = with_key(&settings, &clients, ("dead-letters", From::Beginning), &args.id)?;
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
    let runs = with_key(settings, clients, ("executions", From::Tail(SCAN_RECORDS)), id)?;
    let told = runs.iter().rev().find_map(records::execution);
    // What has completed is not brought back, and is in the journal no more.
    let may_live = told.as_ref().is_none_or(|told| told["status"] != "completed");
    let read = match ExecutionId::parse(id).filter(|_| may_live) {
        Some(execution) => Some(Read::of(settings, clients, execution)?),
        None => None,
    };
    let standing = read.as_ref().and_then(|read| read.standing.as_ref());
    let Some(mut told) = told.or_else(|| standing.map(unsaid)) else { return Ok(None) };
    let results = with_key(settings, clients, ("step-results", From::Tail(SCAN_RECORDS)), id)?;
    let steps: Vec<Value> = results.iter().filter_map(records::execution).collect();
    if let Some(standing) = standing {
        told["waiting"] = waiting(settings, clients, standing, &steps)?.into();
        let mail = why::mail(standing);
        if !mail.is_empty() {
            told["mail"] = mail.into();
        }
    }
    if let Some(journal) = read.map_or_else(|| has_ended(&told), |read| read.document(&told)) {
        told["journal"] = journal;
    }
    told["steps"] = steps.into();
    Ok(Some(told))
}

/// An execution of which the topic says nothing (any more).
fn unsaid(standing: &Standing) -> Value {
    let checkpoint = &standing.checkpoint;
    let status = if standing.has_begun { "running" } else { "pending" };
    json!({ "id": standing.execution.to_string(), "run": standing.run, "workflowId": checkpoint.workflow.as_str(),
        "workflowVersion": &*checkpoint.version, "status": status, "startTime": milliseconds_text(checkpoint.started_ms) })
}

fn has_ended(told: &Value) -> Option<Value> {
    let status = told["status"].as_str().filter(|status| !matches!(*status, "pending" | "running"))?;
    Some(json!({ "state": "ended", "message": format!("it has ended: {status}") }))
}

/// What the journal says of an execution.
struct Read {
    standing: Option<Standing>,
    /// Whether it was read from the beginning of what matters.
    is_whole: bool,
}

impl Read {
    /// Reads the execution's partition, from where the group stands to its end.
    fn of(settings: &Settings, clients: &ClientSettings, execution: ExecutionId) -> anyhow::Result<Read> {
        let topic = cluster::topic(settings, "journal");
        let number = i32::from(execution.journal_partition);
        let stands = GroupOffsets::of(clients, &settings.group)?.standing(&topic, number)?;
        // An id of another environment, with another number of partitions.
        let Some(stands) = stands else { return Ok(Read { standing: None, is_whole: true }) };
        // What the group has committed of another topic of this name says nothing of this one.
        let oldest = stands.committed.filter(|committed| (stands.start..=stands.end).contains(committed));
        let oldest = oldest.unwrap_or(stands.start);
        let from = oldest.max(stands.end.saturating_sub(JOURNAL_RECORDS));
        let mut partition = Partition::starting_at(from, execution);
        let mut reader = LogReader::open_partition(clients, &topic, number, From::Offset(from))?;
        let (mut progress, mut count) = (Progress::new(format!("reading {topic}-{number}")), 0);
        let topic = Arc::new(Topic { name: topic.into(), id: [0; 16] });
        reader.read_to_end(SCAN_TIMEOUT, |record| {
            count += 1;
            progress.at(count);
            // What cannot be understood is put aside by the owner as well.
            if let Ok(read) = journal::decode(&source_record(&topic, &record)) {
                partition.take(read, record.timestamp_ms);
            }
        })?;
        Ok(Read { standing: partition.standing(), is_whole: from == oldest })
    }

    /// What is said of it, beside where it stands.
    fn document(self, told: &Value) -> Option<Value> {
        if let Some(standing) = &self.standing {
            // A run that was brought back may not have begun, and then only the one before was told of.
            return Some(json!({ "state": "live", "run": standing.run }));
        }
        has_ended(told).or_else(|| {
            let message = if self.is_whole {
                "it is not in the journal: it has just ended, or is of another environment; look again".to_owned()
            } else {
                format!("it is not among the newest {JOURNAL_RECORDS} records of its partition of the journal")
            };
            Some(json!({ "state": "absent", "message": message }))
        })
    }
}

fn source_record(topic: &Arc<Topic>, record: &LogRecord) -> SourceRecord {
    let origin = Origin { topic: topic.clone(), partition: record.partition, offset: record.offset };
    let headers = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
    SourceRecord::new(origin, record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers)
}

/// What its steps wait for, and what is known of that.
fn waiting(
    settings: &Settings,
    clients: &ClientSettings,
    standing: &Standing,
    steps: &[Value],
) -> anyhow::Result<Vec<Value>> {
    let installed = definitions::read_installed(clients, &cluster::topic(settings, "workflows"))?;
    let plan = plan(&installed, standing);
    let wanted = plan.as_ref().and_then(|plan| plan.as_ref().ok());
    let wanted = wanted.map(|plan| why::connectors(standing, plan)).unwrap_or_default();
    let known = if wanted.is_empty() {
        BTreeMap::new()
    } else {
        let topics = ["control", "alerts"].map(|name| cluster::topic(settings, name));
        let mut readable = Readable::new(settings);
        let is_wanted = |connector: &str| wanted.contains(connector);
        let present = breakers::Present::of(clients, &settings.group)?;
        breakers::read(clients, (&topics[0], &topics[1]), &present, is_wanted, |record| readable.translate(record))?
    };
    let is_installed = |id: &WorkflowId, version: Option<&str>| {
        let Some(workflow) = installed.get(id) else { return false };
        version.map_or(workflow.pointer.is_some(), |version| workflow.versions.contains_key(version))
    };
    let asked = |step: &str| {
        let asks = |it: &&Value| it["stepId"] == step && it["status"] == "pending";
        let message = &steps.iter().rev().find(asks)?["output"]["message"];
        (!message.is_null()).then(|| message.clone())
    };
    let around = why::Around {
        plan,
        is_installed: &is_installed,
        breaker: &|connector| known.get(connector).cloned().unwrap_or_default(),
        asked: &asked,
        now_ms: now_ms(),
    };
    Ok(why::waiting(standing, &around))
}

/// The plan of the version that runs.
fn plan(installed: &Installed, standing: &Standing) -> Option<Result<Arc<Plan>, String>> {
    let record = installed.get(&standing.checkpoint.workflow)?.versions.get(&standing.checkpoint.version)?;
    Some(crate::definition::compile(&record.document).map_err(|refused| refused.to_string()))
}

fn with_key(
    settings: &Settings,
    clients: &ClientSettings,
    (topic, from): (&str, From),
    key: &str,
) -> anyhow::Result<Vec<LogRecord>> {
    let topic = cluster::topic(settings, topic);
    let mut reader = LogReader::open(clients, &[&topic], from)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut progress = Progress::new(format!("reading {topic}"));
    let mut readable = Readable::new(settings);
    reader.read_to_end(SCAN_TIMEOUT, |mut record| {
        count += 1;
        progress.at(count);
        if found.len() < RECORDS_OF_ONE && record.key.as_deref() == Some(key.as_bytes()) {
            readable.translate(&mut record);
            found.push(record);
        }
    })?;
    readable.whole()?;
    Ok(found)
}
