//! Offsets of logs: by time, by epoch, first and last.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::super::Shared;
use super::super::partition::Partition;

/// Times that mean a place.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST_TIMESTAMP: i64 = -3;
const READ_COMMITTED: i8 = 1;

/// Offsets by time.
pub(super) fn list_offsets(shared: &Shared, ask: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let state = shared.state();
    let topics = ask.topics.iter().map(|topic| {
        let known = state.topics.get(topic.name.as_str());
        let partitions = topic.partitions.iter().map(|wanted| {
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index)
                .with_timestamp(-1)
                .with_offset(-1)
                .with_leader_epoch(if version >= 4 { 0 } else { -1 });
            match known.and_then(|topic| topic.partition(wanted.partition_index)) {
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                Some(partition) => match find(partition, wanted, ask.isolation_level) {
                    Some((offset, timestamp)) => answer.with_offset(offset).with_timestamp(timestamp),
                    None => answer,
                },
            }
        });
        ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// Offset and timestamp, −1 where a place has none.
fn find(partition: &Partition, wanted: &ListOffsetsPartition, isolation: i8) -> Option<(i64, i64)> {
    match wanted.timestamp {
        EARLIEST => Some((partition.start, -1)),
        LATEST if isolation == READ_COMMITTED => Some((partition.last_stable(), -1)),
        LATEST => Some((partition.next, -1)),
        NEWEST_TIMESTAMP => partition.find_time(partition.newest_timestamp()?),
        timestamp => partition.find_time(timestamp),
    }
}

/// Where an epoch ends; there is only one.
pub(super) fn for_leader_epoch(shared: &Shared, ask: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let state = shared.state();
    let topics = ask.topics.iter().map(|topic| {
        let known = state.topics.get(topic.topic.as_str());
        let partitions = topic.partitions.iter().map(|wanted| {
            let answer = EpochEndOffset::default().with_partition(wanted.partition);
            match known.and_then(|topic| topic.partition(wanted.partition)) {
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                Some(partition) => answer.with_leader_epoch(0).with_end_offset(partition.next),
            }
        });
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
