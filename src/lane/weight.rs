//! What goes through a lane weighs in memory, until it is committed. The bound on what is in flight counts this and not bytes on the wire: a
//! record of fifty bytes with ten headers takes a kilobyte.

use bytes::Bytes;

use crate::engine::event::SourceRecord;
use crate::engine::wire::WireRecord;

/// What is kept of an execution, its entry in a batch and its counts.
const EXECUTION_BYTES: usize = 256;
/// What the client library keeps of a message beside its bytes: the message, its list of headers, the allocator's rounding.
const MESSAGE_BYTES: usize = 384;
/// What the client library keeps of a header beside its bytes.
const HEADER_BYTES: usize = 72;

/// An event: its record, and what is kept of what runs for it. The document that was read from it is gone by then.
pub(super) fn of_event(record: &SourceRecord) -> usize {
    record.size_bytes() + EXECUTION_BYTES
}

/// A record to be written: ours, which is kept until it is committed, and the client's copy of it.
pub(super) fn of_record(record: &WireRecord) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let copied = length(&record.key) + length(&record.value) + record.headers.size_bytes();
    let ours = size_of::<WireRecord>() + record.headers.held_bytes();
    2 * copied + ours + MESSAGE_BYTES + HEADER_BYTES * record.headers.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_record_with_many_headers_weighs_more_than_its_bytes() {
        let record = |headers: usize, value: usize| WireRecord {
            topic: "out".into(),
            partition: None,
            key: None,
            value: Some(vec![0; value].into()),
            headers: std::iter::repeat_n(("name", Some("value")), headers).collect(),
            step: None,
        };
        assert!(of_record(&record(10, 50)) > 1_000);
        assert_eq!(of_record(&record(0, 1_050)) - of_record(&record(0, 50)), 2_000);
    }
}
