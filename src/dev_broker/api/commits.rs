//! Offsets that groups commit.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::Shared;
use super::super::group::CommittedOffset;
use super::super::state::State;
use super::{code, text, topic_name};

/// `offset.metadata.max.bytes` of Kafka.
const METADATA_BYTES: usize = 4096;

/// An offset as it comes in a request, if its metadata is not too large.
pub(super) fn offset(
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&StrBytes>,
) -> Result<CommittedOffset, ResponseError> {
    let metadata = metadata.map(ToString::to_string).unwrap_or_default();
    if metadata.len() > METADATA_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(CommittedOffset { offset, leader_epoch, metadata })
}

/// Commits offsets, outside any transaction.
pub(super) fn commit(shared: &Shared, ask: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut state = shared.state();
    let group = ask.group_id.to_string();
    let member = (ask.member_id.as_str(), ask.generation_id_or_member_epoch);
    let allowed = state.group(&group).check_commit(member, ask.group_instance_id.as_deref(), false);
    let mut topics = Vec::with_capacity(ask.topics.len());
    for topic in &ask.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let read =
                || offset(wanted.committed_offset, wanted.committed_leader_epoch, wanted.committed_metadata.as_ref());
            let result = allowed.and_then(|()| read()).map(|offset| {
                state.commit_offset(&group, (topic.name.to_string(), wanted.partition_index), Some(offset));
            });
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(wanted.partition_index)
                    .with_error_code(code(&result)),
            );
        }
        topics.push(OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    OffsetCommitResponse::default().with_topics(topics)
}

/// Committed offsets: of the partitions named, or all of the group.
pub(super) fn fetch(shared: &Shared, ask: OffsetFetchRequest) -> OffsetFetchResponse {
    let state = shared.state();
    let wanted: BTreeMap<String, Vec<i32>> = match &ask.topics {
        Some(topics) => topics.iter().map(|it| (it.name.to_string(), it.partition_indexes.clone())).collect(),
        None => all_of(&state, &ask.group_id),
    };
    let topics = wanted.into_iter().map(|(name, numbers)| {
        let partitions = numbers.into_iter().map(|number| one(&state, &ask, &name, number));
        OffsetFetchResponseTopic::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn all_of(state: &State, group: &str) -> BTreeMap<String, Vec<i32>> {
    let mut all: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (name, number) in state.groups.get(group).into_iter().flat_map(|group| group.offsets.keys()) {
        all.entry(name.clone()).or_default().push(*number);
    }
    all
}

fn one(state: &State, ask: &OffsetFetchRequest, name: &str, number: i32) -> OffsetFetchResponsePartition {
    let answer = OffsetFetchResponsePartition::default()
        .with_partition_index(number)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(text("")));
    let key = (name.to_owned(), number);
    if ask.require_stable && state.is_offset_pending(&ask.group_id, &key) {
        return answer.with_error_code(ResponseError::UnstableOffsetCommit.code());
    }
    match state.groups.get(ask.group_id.as_str()).and_then(|group| group.offsets.get(&key)) {
        None => answer,
        Some(CommittedOffset { offset, leader_epoch, metadata }) => answer
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(*leader_epoch)
            .with_metadata(Some(text(metadata))),
    }
}

/// Forgets committed offsets.
pub(super) fn delete(shared: &Shared, ask: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut state = shared.state();
    let group = ask.group_id.to_string();
    if !state.groups.contains_key(&group) {
        return OffsetDeleteResponse::default().with_error_code(ResponseError::GroupIdNotFound.code());
    }
    let mut topics = Vec::with_capacity(ask.topics.len());
    for topic in &ask.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            state.commit_offset(&group, (topic.name.to_string(), partition.partition_index), None);
            partitions.push(OffsetDeleteResponsePartition::default().with_partition_index(partition.partition_index));
        }
        topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    OffsetDeleteResponse::default().with_topics(topics)
}
