//! Record batches, format v2, as bytes. The broker looks at headers only; [`Record`] reads what is in them
//! where it must.
//!
//! ```text
//!  0 base offset i64 · 8 length i32 · 12 leader epoch i32 · 16 magic i8 · 17 crc u32 · 21 attributes i16 · 23 last offset
//!  delta i32 · 27 base timestamp i64 · 35 max timestamp i64 · 43 producer id i64 · 51 producer epoch i16 · 53 base
//!  sequence i32 · 57 record count i32 · 61 records
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::record::{Record, put_varint as varint};

/// Bytes of a batch before its records.
pub(super) const HEADER_BYTES: usize = 61;
const LENGTH_END: usize = 12;
/// Records of one batch: memory is taken for as many as its header announces.
const RECORDS_MOST: i32 = 1_000_000;
const CRC_START: usize = 17;
const CRC_END: usize = 21;
const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const COMPRESSION: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// The header of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub base_offset: i64,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    /// The codec of the records, by its number.
    pub compression: u8,
    pub is_log_append_time: bool,
    pub is_transactional: bool,
    pub is_control: bool,
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

/// Splits the first batch off `records`, and checks its length, format and checksum.
pub(super) fn split_first(records: &mut Bytes) -> Result<Option<Bytes>, Corrupt> {
    if records.is_empty() {
        return Ok(None);
    }
    let length = records.get(8..LENGTH_END).map(|mut it| it.get_i32()).ok_or(Corrupt)?;
    let total = usize::try_from(length).map_err(|_| Corrupt)? + LENGTH_END;
    if total < HEADER_BYTES || total > records.len() {
        return Err(Corrupt);
    }
    let batch = records.split_to(total);
    let crc = (&batch[CRC_START..CRC_END]).get_u32();
    let sound = batch[16] == 2 && crc32c::crc32c(&batch[CRC_END..]) == crc;
    if sound { Ok(Some(batch)) } else { Err(Corrupt) }
}

impl Header {
    /// Reads the header of a batch that [`split_first`] has checked, or that the broker made.
    pub(super) fn of(batch: &[u8]) -> Header {
        let at = |position: usize| &batch[position.min(batch.len())..];
        let attributes = at(ATTRIBUTES).get_i16();
        Header {
            base_offset: at(0).get_i64(),
            last_offset_delta: at(23).get_i32(),
            base_timestamp: at(BASE_TIMESTAMP).get_i64(),
            max_timestamp: at(MAX_TIMESTAMP).get_i64(),
            producer_id: at(43).get_i64(),
            producer_epoch: at(51).get_i16(),
            base_sequence: at(53).get_i32(),
            count: at(57).get_i32(),
            compression: (attributes & COMPRESSION) as u8,
            is_log_append_time: attributes & LOG_APPEND_TIME != 0,
            is_transactional: attributes & TRANSACTIONAL != 0,
            is_control: attributes & CONTROL != 0,
        }
    }

    /// Whether the numbers of the header can be: offsets and counts from a producer.
    pub(super) fn is_plausible(&self) -> bool {
        (1..=RECORDS_MOST).contains(&self.count) && self.last_offset_delta == self.count - 1 && !self.is_control
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }
}

/// The same batch at another offset. The checksum does not cover what changes.
pub(super) fn at_offset(batch: &[u8], offset: i64) -> Bytes {
    let mut moved = BytesMut::from(batch);
    moved[..8].copy_from_slice(&offset.to_be_bytes());
    moved[12..16].copy_from_slice(&0_i32.to_be_bytes());
    moved.freeze()
}

/// The same batch with the broker's time in place of its sender's, in milliseconds since 1970.
pub(super) fn at_time(batch: &[u8], now_ms: i64) -> Bytes {
    let mut stamped = BytesMut::from(batch);
    let attributes = (&batch[ATTRIBUTES..]).get_i16() | LOG_APPEND_TIME;
    stamped[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    stamped[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&now_ms.to_be_bytes());
    seal(&mut stamped);
    stamped.freeze()
}

/// Writes the checksum of a batch whose content has changed.
fn seal(batch: &mut BytesMut) {
    let crc = crc32c::crc32c(&batch[CRC_END..]);
    batch[CRC_START..CRC_END].copy_from_slice(&crc.to_be_bytes());
}

/// The marker that ends a transaction in a partition.
pub(super) fn marker(producer_id: i64, producer_epoch: i16, commit: bool, timestamp: i64) -> Bytes {
    let header = NewHeader {
        base_offset: 0,
        attributes: TRANSACTIONAL | CONTROL,
        last_offset_delta: 0,
        timestamps: (timestamp, timestamp),
        producer: (producer_id, producer_epoch),
        count: 1,
    };
    let mut record = BytesMut::with_capacity(32);
    // Its length comes first, one byte that is written when it is known.
    record.put_u8(0);
    record.put_u8(0);
    varint(&mut record, 0);
    varint(&mut record, 0);
    // Key: version 0 and the kind of marker. Value: version 0 and the coordinator's epoch.
    varint(&mut record, 4);
    record.put_i16(0);
    record.put_i16(i16::from(commit));
    varint(&mut record, 6);
    record.put_i16(0);
    record.put_i32(0);
    varint(&mut record, 0);
    let length = record.len() as u8 - 1;
    record[0] = length * 2;
    header.seal(&record)
}

/// Whether a marker aborts its transaction.
pub(super) fn marker_aborts(batch: &Bytes) -> bool {
    // The record's length, attributes, deltas and key length take one byte each; then version and kind.
    batch.get(HEADER_BYTES + 7..HEADER_BYTES + 9).is_some_and(|mut it| it.get_i16() == 0)
}

/// Encodes records of one batch that survived a compaction, uncompressed, each at its own offset. `at_append` says that their times
/// are the broker's. None if there are none.
pub(super) fn encode(records: &[Record], at_append: bool) -> Option<Bytes> {
    let (first, last) = (records.first()?, records.last()?);
    let newest = records.iter().map(|it| it.timestamp).max().unwrap_or(first.timestamp);
    let header = NewHeader {
        base_offset: first.offset,
        attributes: if at_append { LOG_APPEND_TIME } else { 0 },
        last_offset_delta: i32::try_from(last.offset - first.offset).ok()?,
        timestamps: (first.timestamp, newest),
        producer: (-1, -1),
        count: i32::try_from(records.len()).ok()?,
    };
    let mut encoded = BytesMut::new();
    records.iter().for_each(|record| record.write(&mut encoded, first.offset, first.timestamp));
    Some(header.seal(&encoded))
}

struct NewHeader {
    base_offset: i64,
    attributes: i16,
    last_offset_delta: i32,
    timestamps: (i64, i64),
    producer: (i64, i16),
    count: i32,
}

impl NewHeader {
    /// The batch of this header and the encoded records, with length and checksum.
    fn seal(self, records: &[u8]) -> Bytes {
        let mut batch = BytesMut::new();
        batch.put_i64(self.base_offset);
        batch.put_i32(0);
        batch.put_i32(0);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(self.last_offset_delta);
        batch.put_i64(self.timestamps.0);
        batch.put_i64(self.timestamps.1);
        batch.put_i64(self.producer.0);
        batch.put_i16(self.producer.1);
        batch.put_i32(-1);
        batch.put_i32(self.count);
        batch.put_slice(records);
        let length = (batch.len() - LENGTH_END) as i32;
        batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        seal(&mut batch);
        batch.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_sound_batch_that_says_what_it_is() {
        for commit in [true, false] {
            let marker = marker(7, 3, commit, 1000);
            let mut bytes = marker.clone();
            let split = split_first(&mut bytes).unwrap().unwrap();
            let header = Header::of(&split);
            assert!(header.is_control && header.is_transactional && bytes.is_empty());
            assert_eq!((header.producer_id, header.producer_epoch), (7, 3));
            assert_eq!(marker_aborts(&split), !commit);
        }
    }

    #[test]
    fn damaged_batches_are_refused() {
        let good = marker(7, 3, true, 1000);
        for position in 16..good.len() {
            let mut bad = BytesMut::from(&good[..]);
            bad[position] ^= 1;
            assert_eq!(split_first(&mut bad.freeze()), Err(Corrupt), "byte {position}");
        }
        for length in 1..good.len() {
            assert_eq!(split_first(&mut good.slice(..length)), Err(Corrupt), "{length} bytes");
        }
    }
}
