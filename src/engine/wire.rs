//! A record as bytes: what the codec makes and the producer sends.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::event::SourceRecord;

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct WireRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition; None = the key chooses, as with Java clients.
    pub partition: Option<i32>,
    /// The key; None is a null key.
    pub key: Option<Bytes>,
    /// The value; None is a tombstone.
    pub value: Option<Bytes>,
    /// The headers in order.
    pub headers: Headers,
    /// The step whose failure it is if the broker refuses the record; None for records of ours, which must not be refused.
    pub step: Option<usize>,
}

/// What a record's framing costs in a batch beside its bytes, at most; from Kafka's record format v2.
const FRAMING_BYTES: usize = 32;

impl WireRecord {
    /// About how many bytes it takes in a batch.
    pub fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + self.headers.size_bytes() + FRAMING_BYTES
    }
}

/// About how many bytes a record that was read takes in a batch: as many as when it was written.
pub fn size_bytes_of(record: &SourceRecord) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers().map(|(name, value)| name.len() + length(value) + HEADER_FRAMING_BYTES);
    length(record.key()) + length(record.value()) + headers.sum::<usize>() + FRAMING_BYTES
}

/// What a header's framing costs in a batch beside its bytes, mostly.
const HEADER_FRAMING_BYTES: usize = 4;

/// The headers of a record, in order; names are any bytes, a value may be null. All of them are slices of one block of memory, which
/// records may share: a record of ours has nine, and a batch tens of thousands of records.
#[derive(Clone, Default)]
pub struct Headers {
    block: Bytes,
    slices: Vec<(Slice, Slice)>,
    /// See [`Headers::size_bytes`], which is asked for several times.
    size_bytes: usize,
}

/// A part of the block; [`NULL`] is none.
#[derive(Clone, Copy)]
struct Slice {
    start: u32,
    length: u32,
}

const NULL: Slice = Slice { start: 0, length: u32::MAX };

impl Slice {
    fn size_bytes(self) -> usize {
        if self.length == NULL.length { 0 } else { self.length as usize }
    }
}

impl Headers {
    /// No headers yet, room for some, over a block of less than 4 GiB.
    pub fn over(block: Bytes, capacity: usize) -> Headers {
        Headers { block, slices: Vec::with_capacity(capacity), size_bytes: 0 }
    }

    /// Adds a header whose name and value lie on the block; None is a null value.
    pub fn add(&mut self, name: Range<usize>, value: Option<Range<usize>>) {
        let slice = |range: Range<usize>| Slice { start: range.start as u32, length: range.len() as u32 };
        let header = (slice(name), value.map_or(NULL, slice));
        self.size_bytes += header.0.size_bytes() + header.1.size_bytes() + HEADER_FRAMING_BYTES;
        self.slices.push(header);
    }

    /// The headers in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> + ExactSizeIterator {
        self.slices.iter().map(|(name, value)| (self.bytes(*name).unwrap_or_default(), self.bytes(*value)))
    }

    fn bytes(&self, slice: Slice) -> Option<&[u8]> {
        let start = slice.start as usize;
        (slice.length != NULL.length).then(|| self.block.get(start..start + slice.length as usize).unwrap_or_default())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// About how many bytes they take in a batch.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Bytes that they hold in memory beside the block.
    pub fn held_bytes(&self) -> usize {
        self.slices.capacity() * size_of::<(Slice, Slice)>()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, Option<V>)> for Headers {
    /// Copies them into a block of their own.
    fn from_iter<I: IntoIterator<Item = (N, Option<V>)>>(headers: I) -> Headers {
        let mut block = Vec::new();
        let mut ranges = Vec::new();
        let mut put = |bytes: &[u8]| {
            block.extend_from_slice(bytes);
            block.len() - bytes.len()..block.len()
        };
        for (name, value) in headers {
            ranges.push((put(name.as_ref()), value.map(|value| put(value.as_ref()))));
        }
        let mut headers = Headers::over(block.into(), ranges.len());
        ranges.into_iter().for_each(|(name, value)| headers.add(name, value));
        headers
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Headers) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        formatter.debug_list().entries(self.iter().map(|(name, value)| (shown(name), value.map(shown)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_repeats_and_nulls() {
        let given: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"1")), (b"", Some(b"")), (b"a", None), (b"\xff", Some(b"\0"))];
        let headers: Headers = given.into_iter().collect();
        assert_eq!(headers.iter().collect::<Vec<_>>(), given);
        assert_eq!((headers.len(), headers.size_bytes()), (4, 5 + 4 * HEADER_FRAMING_BYTES));
        assert_eq!(
            format!("{headers:?}"),
            r#"[("a", Some("1")), ("", Some("")), ("a", None), ("\\xff", Some("\\x00"))]"#
        );
    }

    #[test]
    fn headers_share_a_block() {
        let block = Bytes::from_static(b"name-value");
        let mut headers = Headers::over(block, 1);
        headers.add(0..4, Some(5..10));
        assert_eq!(headers, [("name", Some("value"))].into_iter().collect());
    }
}
