//! `tidegate dlq`: what failed for good, and why.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::args::{Common, Describe, Dlq, Kind, LetterFilter, OutputFormat};
use super::output::{json_line, rows, talk};
use super::progress::Progress;
use super::{DONE, describe, setup};
use crate::app::cluster;
use crate::app::record_reader::RecordReader;
use crate::dead_letter::plan::Item;
use crate::dead_letter::{Desk, Filter, letters};
use crate::kafka::log_reader::{From, LogReader};
use crate::lane::now_ms;

/// The most rows that are listed; `export` prints all.
const MOST_ROWS: usize = 100_000;
/// How long reading the topic may stand still.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

pub(super) fn run(common: &Common, args: &Dlq) -> anyhow::Result<u8> {
    match args {
        Dlq::Ls { filter, limit } => list(common, filter, (*limit).min(MOST_ROWS)),
        Dlq::Show { id } => describe::run(common, &Describe { kind: Kind::DeadLetters, id: id.clone() }),
        Dlq::Export { filter } => export(common, filter),
    }
}

/// Where the tool works, by the settings.
pub(super) fn desk(common: &Common) -> anyhow::Result<(crate::settings::Settings, Desk)> {
    let (settings, clients) = setup::with_clients(common)?;
    let known = cluster::look(&settings, &clients)?;
    let mut records = RecordReader::new(&settings);
    let desk = Desk {
        clients,
        environment: settings.environment.clone(),
        dead_letters: known.encoder.dead_letters.clone(),
        executions: known.encoder.executions.clone(),
        journal: known.encoder.journal.clone(),
        journal_partitions: known.journal_partitions,
        now_ms,
        translate: RefCell::new(Box::new(move |record| records.translate(record))),
    };
    Ok((settings, desk))
}

/// The filter that was typed.
pub(super) fn filter(args: &LetterFilter) -> Filter {
    let LetterFilter { ids, workflow, workflow_version, step, reason, class, error, topic, older_than, newer_than } =
        args.clone();
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (older_than_ms, newer_than_ms) = (older_than.map(millis), newer_than.map(millis));
    Filter { ids, workflow, workflow_version, step, reason, class, error, topic, older_than_ms, newer_than_ms }
}

fn list(common: &Common, args: &LetterFilter, limit: usize) -> anyhow::Result<u8> {
    let (_, desk) = desk(common)?;
    let (filter, now_ms) = (filter(args), now_ms());
    let mut progress = Progress::new(format!("reading {}", desk.dead_letters.name));
    let keep = |read: crate::codec::dead_letter::ReadLetter| {
        let row = || (read.letter.last_failure_ms, Item::of(&read), read.letter.record.origin.clone());
        filter.takes(&read.letter, now_ms).then(row)
    };
    let found = letters::scan(&desk, keep, |count| progress.at(count))?;
    drop(progress);
    let mut listed: Vec<_> = found.live.into_values().map(|found| found.kept).collect();
    listed.sort_by(|one, other| (one.0, &one.1.id).cmp(&(other.0, &other.1.id)));
    let skipped = listed.len().saturating_sub(limit);
    let row = |(_, item, origin): &(i64, Item, crate::engine::event::Origin)| {
        json!({ "id": item.id, "lastFailure": item.last_failure, "reason": item.reason, "class": item.class,
            "workflow": item.workflow, "version": item.version, "step": item.step, "run": item.run, "returns": item.returns,
            "execution": item.execution, "topic": &*origin.topic.name, "partition": origin.partition,
            "offset": origin.offset, "error": item.message })
    };
    let shown: Vec<Value> = listed[skipped..].iter().map(row).collect();
    rows(common.output, &["id", "lastFailure", "reason", "class", "workflow", "step", "run", "error"], &shown);
    if skipped > 0 && common.output == OutputFormat::Table {
        talk(&format!("{skipped} older ones are not shown; raise --limit or filter"));
    }
    for why in &found.unreadable {
        talk(&format!("no dead letter: {why}"));
    }
    if found.unreadable_count > found.unreadable.len() {
        talk(&format!("and {} more that are none", found.unreadable_count - found.unreadable.len()));
    }
    Ok(DONE)
}

fn export(common: &Common, args: &LetterFilter) -> anyhow::Result<u8> {
    let (_, desk) = desk(common)?;
    let (filter, now_ms) = (filter(args), now_ms());
    // Looked for first, so that what is resolved is not printed and nothing is kept whole.
    let found = letters::scan(&desk, |read| filter.takes(&read.letter, now_ms).then_some(()), |_| ())?;
    let mut reader = LogReader::open(&desk.clients, &[&desk.dead_letters.name], From::Beginning)?;
    let encoded = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| STANDARD.encode(bytes));
    reader.read_to_end(READ_TIMEOUT, |record| {
        let Ok(read) = letters::read(&record) else { return };
        let place = (record.partition, record.offset);
        if found.live.get(&read.letter.id).is_none_or(|found| (found.partition, found.offset) != place) {
            return;
        }
        let headers: Vec<Value> = record
            .headers
            .iter()
            .map(|(name, value)| json!({ "name": String::from_utf8_lossy(name), "value": encoded(value) }))
            .collect();
        json_line(&json!({ "key": read.letter.id.to_string(), "partition": record.partition, "offset": record.offset,
            "value": encoded(&record.value), "headers": headers }));
    })?;
    Ok(DONE)
}
