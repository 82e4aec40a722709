//! Compaction: of every key the newest committed record stays.
//!
//! Only what lies below the last stable offset is touched, and never the last batch. Records of transactions that were aborted go,
//! markers below go with them; tombstones go once they are old enough. Offsets never change.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::batch::{self, Header};
use super::partition::{Aborted, Batch, Partition};
use super::record::Record;

/// A compaction that could save less is not worth its time.
const RECORDS_WORTH_IT: i64 = 100;

impl Partition {
    /// Compacts the log. Tombstones older than `tombstones_before`, milliseconds since the Unix epoch, go too. Returns whether
    /// anything was done.
    pub(super) fn compact(&mut self, tombstones_before: i64) -> bool {
        let stable = self.last_stable();
        let below = self.log.partition_point(|batch| batch.last < stable).min(self.log.len().saturating_sub(1));
        if below == 0 || stable - self.compacted_to < RECORDS_WORTH_IT {
            return false;
        }
        let Some(decoded) = self.decode(below) else { return false };
        let newest = newest_offsets(&decoded, self, below);
        let mut kept = VecDeque::with_capacity(below);
        for (batch, records) in self.log.range(..below).zip(decoded) {
            let header = Header::of(&batch.data);
            let count = records.len();
            let live = |record: &Record| {
                let is_newest =
                    record.key.as_ref().is_none_or(|key| newest.get(key).is_none_or(|it| *it == record.offset));
                is_newest && (record.has_value || record.timestamp >= tombstones_before)
            };
            let records: Vec<Record> = records.into_iter().filter(live).collect();
            if records.len() == count && count > 0 && !header.is_transactional {
                kept.push_back(batch.clone());
            } else if let Some(data) = batch::encode(&records, header.is_log_append_time) {
                kept.push_back(Batch::of(data));
            }
        }
        self.compacted_to = self.log[below - 1].last + 1;
        kept.extend(self.log.drain(below..));
        self.log = kept;
        self.bytes = self.log.iter().map(|batch| batch.data.len()).sum();
        let edge = self.compacted_to;
        self.aborted.retain(|aborted| aborted.last >= edge);
        true
    }

    /// The records of the first batches, without markers and without what was aborted. None if one cannot be decoded.
    fn decode(&self, batches: usize) -> Option<Vec<Vec<Record>>> {
        let one = |batch: &Batch| {
            let header = Header::of(&batch.data);
            if header.is_control {
                return Some(Vec::new());
            }
            let mut records = Record::all_of(&batch.data).ok()?;
            if header.is_transactional {
                records.retain(|record| !is_aborted(&self.aborted, header.producer_id, record.offset));
            }
            Some(records)
        };
        self.log.range(..batches).map(one).collect()
    }
}

fn is_aborted(aborted: &[Aborted], producer_id: i64, offset: i64) -> bool {
    aborted.iter().any(|it| it.producer_id == producer_id && (it.first..=it.last).contains(&offset))
}

/// The newest offset of every key: among what is compacted, and what is certain to be committed behind it.
fn newest_offsets(decoded: &[Vec<Record>], partition: &Partition, below: usize) -> HashMap<Bytes, i64> {
    let mut newest = HashMap::new();
    let mut take = |records: &[Record]| {
        for record in records {
            if let Some(key) = &record.key {
                newest.insert(key.clone(), record.offset);
            }
        }
    };
    for records in decoded {
        take(records);
    }
    for batch in partition.log.range(below..) {
        let header = Header::of(&batch.data);
        if !header.is_control && !header.is_transactional {
            take(&Record::all_of(&batch.data).unwrap_or_default());
        }
    }
    newest
}
