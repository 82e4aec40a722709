//! Lengths that cannot be. The codec takes memory for as many elements as a request announces before it looks for them, and a process that
//! asks for more memory than there is ends: thirty bytes could end it. So every request is first read in a way that believes no length
//! beyond the bytes that are there, and only one that can be read so is read as it is.

use std::ops::Range;

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// Whether all lengths of a request are within it. Every element takes at least a byte.
pub(super) fn are_plausible(key: ApiKey, body: &Bytes, version: i16) -> bool {
    let check = match key {
        ApiKey::ApiVersions => reads::<ApiVersionsRequest>,
        ApiKey::Produce => reads::<ProduceRequest>,
        ApiKey::Fetch => reads::<FetchRequest>,
        ApiKey::Metadata => reads::<MetadataRequest>,
        ApiKey::DescribeCluster => reads::<DescribeClusterRequest>,
        ApiKey::FindCoordinator => reads::<FindCoordinatorRequest>,
        ApiKey::ListOffsets => reads::<ListOffsetsRequest>,
        ApiKey::OffsetForLeaderEpoch => reads::<OffsetForLeaderEpochRequest>,
        ApiKey::JoinGroup => reads::<JoinGroupRequest>,
        ApiKey::SyncGroup => reads::<SyncGroupRequest>,
        ApiKey::Heartbeat => reads::<HeartbeatRequest>,
        ApiKey::LeaveGroup => reads::<LeaveGroupRequest>,
        ApiKey::ListGroups => reads::<ListGroupsRequest>,
        ApiKey::DescribeGroups => reads::<DescribeGroupsRequest>,
        ApiKey::DeleteGroups => reads::<DeleteGroupsRequest>,
        ApiKey::OffsetCommit => reads::<OffsetCommitRequest>,
        ApiKey::OffsetFetch => reads::<OffsetFetchRequest>,
        ApiKey::OffsetDelete => reads::<OffsetDeleteRequest>,
        ApiKey::InitProducerId => reads::<InitProducerIdRequest>,
        ApiKey::AddPartitionsToTxn => reads::<AddPartitionsToTxnRequest>,
        ApiKey::AddOffsetsToTxn => reads::<AddOffsetsToTxnRequest>,
        ApiKey::TxnOffsetCommit => reads::<TxnOffsetCommitRequest>,
        ApiKey::EndTxn => reads::<EndTxnRequest>,
        ApiKey::ListTransactions => reads::<ListTransactionsRequest>,
        ApiKey::DescribeTransactions => reads::<DescribeTransactionsRequest>,
        ApiKey::DescribeProducers => reads::<DescribeProducersRequest>,
        ApiKey::CreateTopics => reads::<CreateTopicsRequest>,
        ApiKey::DeleteTopics => reads::<DeleteTopicsRequest>,
        ApiKey::CreatePartitions => reads::<CreatePartitionsRequest>,
        ApiKey::DeleteRecords => reads::<DeleteRecordsRequest>,
        ApiKey::DescribeConfigs => reads::<DescribeConfigsRequest>,
        ApiKey::AlterConfigs => reads::<AlterConfigsRequest>,
        ApiKey::IncrementalAlterConfigs => reads::<IncrementalAlterConfigsRequest>,
        // A call that is not answered is not read.
        _ => return false,
    };
    check(Doubting { bytes: body.clone(), length: 0, shift: 0 }, version)
}

fn reads<T: Decodable>(mut body: Doubting, version: i16) -> bool {
    T::decode(&mut body, version).is_ok()
}

/// A request of which no length is believed that exceeds what is left. A plain number that does is misread, which does no harm: what was
/// read is thrown away.
struct Doubting {
    bytes: Bytes,
    /// A length of variable size, as far as it was read, and how many bits that is.
    length: u64,
    shift: u32,
}

impl Buf for Doubting {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        (self.length, self.shift) = (0, 0);
        self.bytes.advance(count);
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        (self.length, self.shift) = (0, 0);
        let number = self.bytes.try_get_i32()?;
        let is_believed = usize::try_from(number).is_ok_and(|length| length <= self.bytes.len());
        // −1 says that there is nothing, and is no length; −2 is one that the codec refuses.
        Ok(if is_believed || number == -1 { number } else { -2 })
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        self.length |= u64::from(byte & 0x7f) << self.shift;
        if byte < 0x80 {
            let length = std::mem::take(&mut self.length);
            self.shift = 0;
            // Lengths of variable size are one more than they say.
            return self.believe(length, byte);
        }
        self.shift = (self.shift + 7).min(56);
        self.believe(self.length, byte)
    }
}

impl Doubting {
    fn believe(&self, length: u64, byte: u8) -> Result<u8, TryGetError> {
        let available = self.bytes.len();
        let requested = usize::try_from(length).unwrap_or(usize::MAX);
        // Seven bits are too few to matter, and may be a flag or a small number.
        if requested > 0x7f && requested > available + 1 { Err(TryGetError { requested, available }) } else { Ok(byte) }
    }
}

impl ByteBuf for Doubting {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        (self.length, self.shift) = (0, 0);
        self.bytes.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: ApiKey, version: i16, body: &'static [u8], expected: bool) {
        assert_eq!(are_plausible(key, &Bytes::from_static(body), version), expected, "{key:?} {version}: {body:?}");
    }

    #[test]
    fn announced_elements_must_be_there() {
        check(ApiKey::Metadata, 1, &[0x7f, 0xff, 0xff, 0xff], false);
        check(ApiKey::Metadata, 1, &[0xff, 0xff, 0xff, 0xff], true);
        check(ApiKey::Metadata, 1, &[0, 0, 0, 1, 0, 1, b'a'], true);
        check(ApiKey::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0, 0], false);
        check(ApiKey::Metadata, 9, &[2, 2, b'a', 0, 1, 0, 0, 0], true);
    }

    #[test]
    fn large_numbers_that_are_no_lengths_do_no_harm() {
        // A time-out of 2³¹ − 1 milliseconds, as librdkafka sends them.
        check(ApiKey::CreateTopics, 2, &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0], true);
    }
}
