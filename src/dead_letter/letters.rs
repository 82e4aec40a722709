//! The dead letters that are there: the last record of each key, unless that resolves it.

use std::collections::HashMap;
use std::time::Duration;

use super::{Desk, ReplayError};
use crate::codec::dead_letter::{self, ReadLetter, Unreadable};
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::engine::ids::DeadLetterId;
use crate::kafka::log_reader::{From, LogReader, LogRecord};

/// Dead letters that are kept in memory, a few hundred bytes each.
pub const LETTERS_MOST: usize = 2_000_000;
/// How long reading the topic may stand still.
const READ_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a dead letter lies: its partition and its offset.
pub type Place = (i32, i64);

/// What of a dead letter is kept, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// What is kept.
    pub kept: T,
}

/// The dead letters that are there.
#[derive(Debug)]
pub struct Letters<T> {
    /// Those of which something is kept.
    pub live: HashMap<DeadLetterId, Found<T>>,
    /// Records that are no dead letters: where the first few lie, and why.
    pub unreadable: Vec<String>,
    /// How many of them there are.
    pub unreadable_count: usize,
}

/// Unreadable records that are told by name.
const NAMED_MOST: usize = 10;

/// Reads the topic to its end as of now, and keeps of each dead letter that is not resolved what `keep` makes of it; None keeps nothing.
pub fn scan<T>(
    desk: &Desk,
    mut keep: impl FnMut(ReadLetter) -> Option<T>,
    mut progress: impl FnMut(usize),
) -> Result<Letters<T>, ReplayError> {
    let mut letters = Letters { live: HashMap::new(), unreadable: Vec::new(), unreadable_count: 0 };
    let mut reader = LogReader::open(&desk.clients, &[&desk.dead_letters.name], From::Beginning)?;
    let (mut count, mut is_full) = (0, false);
    reader.read_to_end(READ_TIMEOUT, |record| {
        count += 1;
        progress(count);
        letters.take_up(&record, &mut keep);
        is_full |= letters.live.len() > LETTERS_MOST;
    })?;
    if is_full { Err(ReplayError::TooMany(LETTERS_MOST)) } else { Ok(letters) }
}

impl<T> Letters<T> {
    fn take_up(&mut self, record: &LogRecord, keep: &mut impl FnMut(ReadLetter) -> Option<T>) {
        if let Some(id) = DeadLetterId::of_key(record.key.as_deref()) {
            self.live.remove(&id);
        }
        if record.value.is_none() {
            return;
        }
        match read(record) {
            Ok(read) if self.live.len() <= LETTERS_MOST => {
                let id = read.letter.id;
                if let Some(kept) = keep(read) {
                    let (partition, offset) = (record.partition, record.offset);
                    self.live.insert(id, Found { partition, offset, kept });
                }
            }
            Ok(_) => {}
            Err(why) => {
                self.unreadable_count += 1;
                if self.unreadable.len() < NAMED_MOST {
                    self.unreadable
                        .push(format!("{}-{} at offset {}: {why}", record.topic, record.partition, record.offset));
                }
            }
        }
    }
}

/// The dead letter of a record.
pub fn read(record: &LogRecord) -> Result<ReadLetter, Unreadable> {
    dead_letter::read(&source_record(record))
}

/// A record of a topic of ours, as it is decoded.
pub(super) fn source_record(record: &LogRecord) -> SourceRecord {
    let topic = Topic { name: record.topic.as_str().into(), id: [0; 16] };
    let origin = Origin { topic: topic.into(), partition: record.partition, offset: record.offset };
    let headers = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    SourceRecord::new(origin, record.timestamp_ms, key, value, headers)
}
