//! The calls that the broker answers, one file per family.

mod commits;
mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod topics;
mod transactions;

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestKind, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Shared;

/// The calls with the versions that are answered, lowest and highest.
const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 9),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 7),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::JoinGroup, 0, 7),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 4),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 4),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::DescribeCluster, 0, 0),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::ListTransactions, 0, 0),
    (ApiKey::DescribeTransactions, 0, 0),
    (ApiKey::DescribeProducers, 0, 0),
];

/// The one node of the cluster.
const NODE: i32 = 1;
/// The cluster's id.
const CLUSTER_ID: &str = "tidegate-embedded";

/// Who asks, and in which form.
pub(super) struct Caller {
    pub version: i16,
    pub client: String,
}

/// Whether a call is answered in that version.
pub(super) fn is_supported(key: ApiKey, version: i16) -> bool {
    SUPPORTED.iter().any(|(known, lowest, highest)| *known == key && (*lowest..=*highest).contains(&version))
}

/// The calls and versions, as clients ask for them first.
pub(super) fn versions() -> ApiVersionsResponse {
    let one = |(key, lowest, highest): &(ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(*key as i16).with_min_version(*lowest).with_max_version(*highest)
    };
    ApiVersionsResponse::default().with_api_keys(SUPPORTED.iter().map(one).collect())
}

/// Answers a request; None for one that wants no answer.
pub(super) async fn handle(shared: &Arc<Shared>, request: RequestKind, caller: Caller) -> Option<ResponseKind> {
    use RequestKind as Ask;
    use ResponseKind as Answer;
    let version = caller.version;
    Some(match request {
        Ask::ApiVersions(_) => Answer::ApiVersions(versions()),
        Ask::Produce(ask) => return produce::produce(shared, ask).map(Answer::Produce),
        Ask::Fetch(ask) => Answer::Fetch(fetch::fetch(shared, ask).await),
        Ask::Metadata(ask) => Answer::Metadata(metadata::metadata(shared, ask, version)),
        Ask::DescribeCluster(_) => Answer::DescribeCluster(metadata::describe_cluster(shared)),
        Ask::FindCoordinator(_) => Answer::FindCoordinator(metadata::find_coordinator(shared)),
        Ask::ListOffsets(ask) => Answer::ListOffsets(offsets::list_offsets(shared, ask, version)),
        Ask::OffsetForLeaderEpoch(ask) => Answer::OffsetForLeaderEpoch(offsets::for_leader_epoch(shared, ask)),
        Ask::JoinGroup(ask) => Answer::JoinGroup(groups::join(shared, ask, caller).await),
        Ask::SyncGroup(ask) => Answer::SyncGroup(groups::sync(shared, ask).await),
        Ask::Heartbeat(ask) => Answer::Heartbeat(groups::heartbeat(shared, ask)),
        Ask::LeaveGroup(ask) => Answer::LeaveGroup(groups::leave(shared, ask, version)),
        Ask::ListGroups(_) => Answer::ListGroups(groups::list(shared)),
        Ask::DescribeGroups(ask) => Answer::DescribeGroups(groups::describe(shared, ask)),
        Ask::DeleteGroups(ask) => Answer::DeleteGroups(groups::delete(shared, ask)),
        Ask::OffsetCommit(ask) => Answer::OffsetCommit(commits::commit(shared, ask)),
        Ask::OffsetFetch(ask) => Answer::OffsetFetch(commits::fetch(shared, ask)),
        Ask::OffsetDelete(ask) => Answer::OffsetDelete(commits::delete(shared, ask)),
        Ask::InitProducerId(ask) => Answer::InitProducerId(transactions::init_producer(shared, ask)),
        Ask::AddPartitionsToTxn(ask) => Answer::AddPartitionsToTxn(transactions::add_partitions(shared, ask)),
        Ask::AddOffsetsToTxn(ask) => Answer::AddOffsetsToTxn(transactions::add_offsets(shared, ask)),
        Ask::TxnOffsetCommit(ask) => Answer::TxnOffsetCommit(transactions::commit_offsets(shared, ask)),
        Ask::EndTxn(ask) => Answer::EndTxn(transactions::end(shared, ask)),
        Ask::ListTransactions(_) => Answer::ListTransactions(transactions::list(shared)),
        Ask::DescribeTransactions(ask) => Answer::DescribeTransactions(transactions::describe(shared, ask)),
        Ask::DescribeProducers(ask) => Answer::DescribeProducers(transactions::describe_producers(shared, ask)),
        Ask::CreateTopics(ask) => Answer::CreateTopics(topics::create(shared, ask)),
        Ask::DeleteTopics(ask) => Answer::DeleteTopics(topics::delete(shared, ask)),
        Ask::CreatePartitions(ask) => Answer::CreatePartitions(topics::create_partitions(shared, ask)),
        Ask::DeleteRecords(ask) => Answer::DeleteRecords(topics::delete_records(shared, ask)),
        Ask::DescribeConfigs(ask) => Answer::DescribeConfigs(configs::describe(shared, ask)),
        Ask::AlterConfigs(ask) => Answer::AlterConfigs(configs::alter(shared, ask)),
        Ask::IncrementalAlterConfigs(ask) => Answer::IncrementalAlterConfigs(configs::alter_incrementally(shared, ask)),
        // Only what is in SUPPORTED gets here.
        _ => return None,
    })
}

/// Text as the protocol has it.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name as the protocol has it.
fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The code of a result; 0 for success.
fn code(result: &Result<(), ResponseError>) -> i16 {
    result.as_ref().err().map_or(0, |error| error.code())
}
