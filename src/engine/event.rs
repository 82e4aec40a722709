//! Events: records of source topics, as they were read and as they were understood.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::value::Value;

/// A topic as the broker knows it. The id tells a topic from another one that was created under the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// The topic's name.
    pub name: Arc<str>,
    /// The topic's id (KIP-516); zero where the broker has none.
    pub id: [u8; 16],
}

impl Hash for Topic {
    /// The id tells nearly all topics apart, and every record is looked up by its topic several times.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.id));
        if self.id == [0; 16] {
            self.name.hash(state);
        }
    }
}

/// Where an event lies: what identifies it, whatever it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The source topic.
    pub topic: Arc<Topic>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}

/// A record exactly as it was read: key, value and every header in one block of memory, in this order. It is handed from hand to
/// hand, so it is kept small; a clone shares what it holds.
#[derive(Clone, Debug)]
pub struct SourceRecord {
    /// Where it lies.
    pub origin: Origin,
    /// The record's timestamp, milliseconds since the Unix epoch; −1 where there is none.
    pub timestamp_ms: i64,
    block: Bytes,
    key_bytes: Option<u32>,
    value_bytes: Option<u32>,
    headers: Arc<[Header]>,
}

/// Where a header's name and value lie in its record's block.
type Header = (Range<u32>, Option<Range<u32>>);

impl SourceRecord {
    /// Copies a record into a block of its own.
    pub fn new<'a>(
        origin: Origin,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> SourceRecord {
        let headers: Vec<_> = headers.into_iter().collect();
        let in_headers: usize = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        let mut block = Vec::with_capacity(in_headers + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len));
        let mut put = |bytes: &[u8]| {
            let start = block.len() as u32;
            block.extend_from_slice(bytes);
            start..block.len() as u32
        };
        let key_bytes = key.map(&mut put).map(|it| it.end - it.start);
        let value_bytes = value.map(&mut put).map(|it| it.end - it.start);
        let headers = headers.iter().map(|(name, value)| (put(name), value.map(&mut put))).collect();
        SourceRecord { origin, timestamp_ms, block: block.into(), key_bytes, value_bytes, headers }
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.block[range.start as usize..range.end as usize]
    }

    fn value_range(&self) -> Option<Range<u32>> {
        let start = self.key_bytes.unwrap_or(0);
        self.value_bytes.map(|length| start..start + length)
    }

    /// The key's bytes; None for a null key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key_bytes.map(|length| self.slice(&(0..length)))
    }

    /// The key as a shared slice of the record's block.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.key_bytes.map(|length| self.block.slice(..length as usize))
    }

    /// The value's bytes; None for a null value (a tombstone).
    pub fn value(&self) -> Option<&[u8]> {
        self.value_range().map(|range| self.slice(&range))
    }

    /// The value as a shared slice of the record's block.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value_range().map(|range| self.block.slice(range.start as usize..range.end as usize))
    }

    /// All headers in order, duplicates and null values too. Names need not be UTF-8.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (self.slice(name), value.as_ref().map(|range| self.slice(range))))
    }

    /// All headers in order, as shared slices of the record's block.
    pub fn shared_headers(&self) -> impl ExactSizeIterator<Item = (Bytes, Option<Bytes>)> {
        let shared = |range: &Range<u32>| self.block.slice(range.start as usize..range.end as usize);
        self.headers.iter().map(move |(name, value)| (shared(name), value.as_ref().map(shared)))
    }

    /// The value of the last header of that name; None if there is none or it is null.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().filter(|(it, _)| *it == name.as_bytes()).last().and_then(|(_, value)| value)
    }

    /// Bytes it holds in memory.
    pub fn size_bytes(&self) -> usize {
        self.block.len() + self.headers.len() * size_of::<Header>() + size_of::<Self>()
    }
}

/// A record that was understood.
#[derive(Clone, Debug)]
pub struct Event {
    /// The record it came from.
    pub record: SourceRecord,
    /// What the event says its id is; data only, it identifies nothing here.
    pub id: Arc<str>,
    /// The event's type, which triggers match on.
    pub kind: Arc<str>,
    /// The CloudEvents source; empty where the format has none.
    pub source: Arc<str>,
    /// The CloudEvents subject.
    pub subject: Option<Arc<str>>,
    /// The event's own time, RFC 3339, as written.
    pub time: Option<Arc<str>>,
    /// The full name of the schema that it was written with, where it names one.
    pub schema: Option<Arc<str>>,
    /// The decoded key, where the source says that keys are more than bytes.
    pub key: Option<Value>,
    /// The decoded payload.
    pub data: Value,
}

/// Why a record could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// What is wrong and what would be right, at most [`super::limits::ERROR_MESSAGE_BYTES`].
    pub message: String,
}
