//! The log of one partition.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;

use super::batch::{self, Header};
use super::producer::Sequences;
use super::record::Record;

/// Producers whose last batches a partition remembers; beyond, those without an open transaction are forgotten, and only a repeated
/// batch of theirs would be taken twice.
const PRODUCERS_REMEMBERED: usize = 10_000;

/// A partition: batches in order, and what isolation and idempotence need to know of them.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub log: VecDeque<Batch>,
    /// The first offset that can be read.
    pub start: i64,
    /// The offset after the last batch.
    pub next: i64,
    pub bytes: usize,
    /// Open transactions: producer id to first offset.
    pub open: BTreeMap<i64, i64>,
    /// Transactions that were aborted, while any of their records is left.
    pub aborted: Vec<Aborted>,
    pub sequences: HashMap<i64, Sequences>,
    /// Up to where it was compacted.
    pub compacted_to: i64,
}

/// A batch in the log.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub base: i64,
    pub last: i64,
    pub max_timestamp: i64,
    pub data: Bytes,
}

/// A transaction that was aborted in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aborted {
    pub producer_id: i64,
    pub first: i64,
    /// The offset of the marker.
    pub last: i64,
}

impl Batch {
    pub(super) fn of(data: Bytes) -> Batch {
        let header = Header::of(&data);
        Batch { base: header.base_offset, last: header.last_offset(), max_timestamp: header.max_timestamp, data }
    }
}

impl Partition {
    /// Appends a batch of a producer at the end of the log, and returns it as it was stored.
    pub(super) fn append(&mut self, data: &[u8]) -> Bytes {
        let stored = batch::at_offset(data, self.next);
        self.put(stored.clone());
        stored
    }

    /// Appends a batch that has its offset already. Batches come in order.
    pub(super) fn put(&mut self, data: Bytes) {
        let header = Header::of(&data);
        let last = header.last_offset();
        if header.is_control {
            if let Some(first) = self.open.remove(&header.producer_id)
                && batch::marker_aborts(&data)
            {
                self.aborted.push(Aborted { producer_id: header.producer_id, first, last });
            }
        } else if header.is_transactional {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
        }
        self.next = last + 1;
        self.bytes += data.len();
        self.log.push_back(Batch::of(data));
    }

    /// Whether a producer's batch comes next: None if it does, its offset if it is here already.
    pub(super) fn check_sequence(&mut self, header: &Header) -> Result<Option<i64>, ResponseError> {
        if header.producer_id < 0 {
            return Ok(None);
        }
        self.sequences_of(header).check(header.base_sequence, header.count)
    }

    /// Remembers a producer's batch at its offset.
    pub(super) fn remember(&mut self, header: &Header, offset: i64) {
        if header.producer_id >= 0 && !header.is_control {
            self.sequences_of(header).push(header.base_sequence, header.count, offset);
        }
    }

    fn sequences_of(&mut self, header: &Header) -> &mut Sequences {
        let epoch = header.producer_epoch;
        if self.sequences.len() >= PRODUCERS_REMEMBERED && !self.sequences.contains_key(&header.producer_id) {
            let open = &self.open;
            self.sequences.retain(|id, _| open.contains_key(id));
        }
        let sequences = self.sequences.entry(header.producer_id).or_insert_with(|| Sequences::new(epoch));
        if sequences.epoch != epoch {
            *sequences = Sequences::new(epoch);
        }
        sequences
    }

    /// The last stable offset: behind it lies an open transaction.
    pub(super) fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.next)
    }

    /// Whole batches from the one that holds `from` up to `end`, at most `bytes` but at least one. And the offset after them.
    pub(super) fn read(&self, from: i64, end: i64, bytes: usize) -> (Bytes, i64) {
        let first = self.log.partition_point(|batch| batch.last < from);
        let (mut total, mut after, mut count) = (0, from, 0);
        for batch in self.log.range(first..).take_while(|batch| batch.base < end) {
            if count > 0 && total + batch.data.len() > bytes {
                break;
            }
            (total, after, count) = (total + batch.data.len(), batch.last + 1, count + 1);
        }
        if count == 1 {
            return (self.log[first].data.clone(), after);
        }
        let mut joined = BytesMut::with_capacity(total);
        for batch in self.log.range(first..first + count) {
            joined.put_slice(&batch.data);
        }
        (joined.freeze(), after)
    }

    /// Offset and timestamp of the first record that is not older than `timestamp`.
    pub(super) fn find_time(&self, timestamp: i64) -> Option<(i64, i64)> {
        let candidates = self.log.iter().filter(|batch| batch.max_timestamp >= timestamp);
        let data = candidates.filter(|batch| !Header::of(&batch.data).is_control);
        data.filter_map(|batch| Record::all_of(&batch.data).ok()).find_map(|records| {
            let found = records.iter().find(|it| it.timestamp >= timestamp && it.offset >= self.start)?;
            Some((found.offset, found.timestamp))
        })
    }

    /// The newest timestamp of any record.
    pub(super) fn newest_timestamp(&self) -> Option<i64> {
        let data = self.log.iter().filter(|batch| !Header::of(&batch.data).is_control);
        data.map(|batch| batch.max_timestamp).max()
    }

    /// Deletes what lies before an offset.
    pub(super) fn truncate_before(&mut self, offset: i64) {
        while let Some(gone) = self.log.pop_front_if(|batch| batch.last < offset) {
            self.bytes -= gone.data.len();
        }
        self.start = self.start.max(offset);
        self.next = self.next.max(offset);
        self.forget_aborted();
    }

    /// Deletes the oldest batches beyond a size or older than a time; never the last one, never an open transaction. Returns the new
    /// start if it moved.
    pub(super) fn retain(&mut self, bytes_most: usize, older_than: Option<i64>) -> Option<i64> {
        let stable = self.last_stable();
        let before = self.start;
        while self.log.len() > 1 {
            let oldest = &self.log[0];
            let too_old = older_than.is_some_and(|bound| oldest.max_timestamp < bound);
            if (self.bytes <= bytes_most && !too_old) || oldest.last >= stable {
                break;
            }
            self.bytes -= oldest.data.len();
            self.log.pop_front();
            self.start = self.log[0].base;
        }
        self.forget_aborted();
        (self.start != before).then_some(self.start)
    }

    fn forget_aborted(&mut self) {
        let start = self.start;
        self.aborted.retain(|aborted| aborted.last >= start);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn records(partition: &mut Partition, count: i64) {
        for number in 0..count {
            let record = record(0, 1_000 + number, None, Some(b"value"), &[]);
            let data = batch::encode(&[record], false).unwrap();
            partition.append(&data);
        }
    }

    #[test]
    fn reading_starts_inside_and_ends_at_whole_batches() {
        let mut partition = Partition::default();
        records(&mut partition, 10);
        let one = partition.log[0].data.len();
        assert_eq!(partition.read(3, 10, one * 2), (partition.read(3, 5, usize::MAX).0, 5));
        assert_eq!(partition.read(3, 10, 1).1, 4);
        assert_eq!(partition.read(10, 10, 100), (Bytes::new(), 10));
        assert_eq!(partition.find_time(1_004), Some((4, 1_004)));
        assert_eq!(partition.find_time(2_000), None);
    }

    #[test]
    fn aborted_ranges_and_the_stable_offset_follow_the_markers() {
        let mut partition = Partition::default();
        records(&mut partition, 2);
        let mut transactional = BytesMut::from(&partition.log[0].data[..]);
        transactional[22] |= 0x10;
        transactional[43..51].copy_from_slice(&9_i64.to_be_bytes());
        partition.append(&transactional);
        assert_eq!((partition.last_stable(), partition.next), (2, 3));
        partition.append(&batch::marker(9, 0, false, 5));
        assert_eq!((partition.last_stable(), partition.next), (4, 4));
        assert_eq!(partition.aborted, [Aborted { producer_id: 9, first: 2, last: 3 }]);
        partition.truncate_before(4);
        assert!(partition.aborted.is_empty() && partition.bytes == 0);
    }

    #[test]
    fn retention_keeps_the_last_batch_and_open_transactions() {
        let mut partition = Partition::default();
        records(&mut partition, 5);
        assert_eq!(partition.retain(usize::MAX, Some(1_002)), Some(2));
        assert_eq!(partition.retain(0, None), Some(4));
        assert_eq!(partition.retain(0, None), None);
    }
}
