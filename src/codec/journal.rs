//! Records of the journal: executions that wait, and what is asked of them. Internal; no one but Tidegate reads the topic.
//!
//! What a record is stands in its headers. A checkpoint is its value, in [postcard's
//! format](https://postcard.jamesmunns.com/wire-format): bytes of events and outputs stay what they are, which JSON would not let them.
//! Values are written flat, parts behind their whole, so that it is ours to say how deep what is read may nest.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::stored::{FIRST_FORMAT, Stored, THIRD_FORMAT};
use crate::engine::checkpoint::Content;
use crate::engine::event::SourceRecord;
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Entry, Mail, Record};
use crate::engine::record::JournalRecord;
use crate::engine::wire::WireRecord;

mod stored;
#[cfg(test)]
mod tests;
mod tokens;

/// A record of the journal that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub String);

/// The record on the journal topic of that name. What it holds must be what its kind holds; whether the topic takes its size is for the
/// caller to see.
pub fn encode(topic: &Arc<str>, record: &JournalRecord) -> WireRecord {
    let JournalRecord { execution, run, entry, content } = record;
    let (execution, entry) = (*execution, *entry);
    debug_assert!(holds(entry, content), "{entry:?} with {content:?}");
    let (format, value) = match content {
        Content::None => (FIRST_FORMAT, None),
        Content::Signal(signal) => stored(&Stored::signal(signal)),
        Content::Checkpoint(checkpoint) => stored(&Stored::checkpoint(checkpoint)),
        Content::Redrive(redrive) => stored(&Stored::redrive(redrive)),
    };
    let id = execution.to_text();
    let mut headers = vec![
        ("format", format.to_string()),
        ("kind", kind(entry).to_owned()),
        ("execution", id.as_str().to_owned()),
        ("run", run.to_string()),
    ];
    if let Entry::State { place, includes } = entry {
        headers.extend([("place", place.to_string()), ("includes", includes.to_string())]);
    }
    WireRecord {
        topic: topic.clone(),
        partition: Some(i32::from(execution.journal_partition)),
        key: Some(Bytes::copy_from_slice(id.as_str().as_bytes())),
        value,
        headers: headers.into_iter().map(|(name, value)| (name, Some(value))).collect(),
        step: None,
    }
}

/// Whether a record of a kind can hold this.
fn holds(entry: Entry, content: &Content) -> bool {
    match (entry, content) {
        (Entry::Mail(Mail::Start), Content::Checkpoint(_))
        | (Entry::Mail(Mail::Resume) | Entry::State { .. }, Content::Checkpoint(_) | Content::Redrive(_))
        | (Entry::Mail(Mail::Signal), Content::Signal(_))
        | (Entry::Mail(Mail::Cancel) | Entry::End, Content::None) => true,
        (Entry::Mail(_) | Entry::State { .. } | Entry::End, _) => false,
    }
}

fn stored(stored: &Stored<'_>) -> (u32, Option<Bytes>) {
    (stored.format(), Some(stored.to_bytes()))
}

/// Reads a record of the journal. Whatever it holds, it is read within limits.
pub fn decode(record: &SourceRecord) -> Result<Record<Content>, Damaged> {
    let format: u32 = number(record, "format")?;
    if !(FIRST_FORMAT..=THIRD_FORMAT).contains(&format) {
        let message = format!(
            "the record has the format {format}, but this version understands {FIRST_FORMAT} to {THIRD_FORMAT}"
        );
        return Err(Damaged(message));
    }
    let execution = ExecutionId::parse(text(record, "execution")?)
        .ok_or_else(|| Damaged("the header `execution` is no id of an execution".into()))?;
    if i32::from(execution.journal_partition) != record.origin.partition {
        let (found, named) = (record.origin.partition, execution.journal_partition);
        return Err(Damaged(format!("the record lies in partition {found}, but its execution belongs to {named}")));
    }
    let entry = entry(record)?;
    let content = match entry {
        Entry::Mail(Mail::Cancel) | Entry::End => Content::None,
        Entry::Mail(Mail::Start | Mail::Resume | Mail::Signal) | Entry::State { .. } => {
            let value = record.value().ok_or_else(|| Damaged("the record has no value, but needs one".into()))?;
            Stored::read(format, value)?.content()?
        }
    };
    if !holds(entry, &content) {
        return Err(Damaged(format!("a record of the kind `{}` holds something else", kind(entry))));
    }
    Ok(Record {
        offset: record.origin.offset,
        bytes: crate::engine::wire::size_bytes_of(record) as u64,
        execution,
        run: number(record, "run")?,
        entry,
        content,
    })
}

/// The execution of which a record says where it stands, or that it has ended, though it cannot be understood. Mail says nothing of that.
pub fn stands_of(record: &SourceRecord) -> Option<ExecutionId> {
    let is_mail = matches!(text(record, "kind"), Ok("start" | "resume" | "cancel" | "signal"));
    text(record, "execution").ok().filter(|_| !is_mail).and_then(ExecutionId::parse)
}

fn kind(entry: Entry) -> &'static str {
    match entry {
        Entry::Mail(Mail::Start) => "start",
        Entry::Mail(Mail::Resume) => "resume",
        Entry::Mail(Mail::Cancel) => "cancel",
        Entry::Mail(Mail::Signal) => "signal",
        Entry::State { .. } => "state",
        Entry::End => "end",
    }
}

fn entry(record: &SourceRecord) -> Result<Entry, Damaged> {
    Ok(match text(record, "kind")? {
        "start" => Entry::Mail(Mail::Start),
        "resume" => Entry::Mail(Mail::Resume),
        "cancel" => Entry::Mail(Mail::Cancel),
        "signal" => Entry::Mail(Mail::Signal),
        "state" => Entry::State { place: number(record, "place")?, includes: number(record, "includes")? },
        "end" => Entry::End,
        other => return Err(Damaged(format!("the header `kind` is `{}`, which means nothing", shown(other)))),
    })
}

fn text<'a>(record: &'a SourceRecord, header: &str) -> Result<&'a str, Damaged> {
    let value = record.header(header).ok_or_else(|| Damaged(format!("the header `{header}` is missing")))?;
    std::str::from_utf8(value).map_err(|_| Damaged(format!("the header `{header}` is not UTF-8")))
}

fn number<T: std::str::FromStr>(record: &SourceRecord, header: &str) -> Result<T, Damaged> {
    let value = text(record, header)?;
    value.parse().map_err(|_| Damaged(format!("the header `{header}` is `{}`, but must be a number", shown(value))))
}

/// What is shown of a text that should be short.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Bytes that are written as they are, and read without a copy.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Raw<'a>(#[serde(borrow, serialize_with = "raw")] &'a [u8]);

fn raw<S: serde::Serializer>(bytes: &[u8], writer: S) -> Result<S::Ok, S::Error> {
    writer.serialize_bytes(bytes)
}
