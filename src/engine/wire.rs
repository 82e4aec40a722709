//! A record as bytes: what the codec makes and the producer sends.

use std::sync::Arc;

use bytes::Bytes;

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
    /// The headers in order; names are any bytes, a value may be null.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// The step whose failure it is if the broker refuses the record; None for records of ours, which must not be refused.
    pub step: Option<usize>,
}

/// What a record's framing costs in a batch beside its bytes, at most; from Kafka's record format v2.
const FRAMING_BYTES: usize = 32;

impl WireRecord {
    /// About how many bytes it takes in a batch.
    pub fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value) + 4).sum();
        length(&self.key) + length(&self.value) + headers + FRAMING_BYTES
    }
}
