//! Creating and deleting topics, partitions and records.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::super::Shared;
use super::super::state::State;
use super::super::topic::{PARTITIONS_MOST, check_setting, is_legal_name};
use super::{code, topic_name};

/// Creates topics.
pub(super) fn create(shared: &Shared, ask: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut state = shared.state();
    let mut topics = Vec::with_capacity(ask.topics.len());
    for topic in &ask.topics {
        let partitions = match topic.num_partitions {
            -1 if !topic.assignments.is_empty() => topic.assignments.len() as i32,
            -1 => shared.options.default_partitions,
            partitions => partitions,
        };
        let settings = topic.configs.iter();
        let settings: BTreeMap<String, String> =
            settings.filter_map(|it| Some((it.name.to_string(), it.value.as_ref()?.to_string()))).collect();
        let result = check(&state, topic, partitions, &settings);
        if result.is_ok() && !ask.validate_only {
            state.create_topic(&topic.name, partitions, settings);
        }
        let created = state.topics.get(topic.name.as_str()).filter(|_| result.is_ok());
        topics.push(
            CreatableTopicResult::default()
                .with_topic_id(created.map(|topic| topic.id).unwrap_or_default())
                .with_name(topic.name.clone())
                .with_error_code(code(&result))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(Some(Vec::new())),
        );
    }
    CreateTopicsResponse::default().with_topics(topics)
}

fn check(
    state: &State,
    topic: &CreatableTopic,
    partitions: i32,
    settings: &BTreeMap<String, String>,
) -> Result<(), ResponseError> {
    if !is_legal_name(&topic.name) {
        return Err(ResponseError::InvalidTopicException);
    }
    if state.topics.contains_key(topic.name.as_str()) {
        return Err(ResponseError::TopicAlreadyExists);
    }
    if !(1..=PARTITIONS_MOST).contains(&partitions) {
        return Err(ResponseError::InvalidPartitions);
    }
    // There is one broker, so there is one copy.
    if !matches!(topic.replication_factor, -1 | 1) {
        return Err(ResponseError::InvalidReplicationFactor);
    }
    settings.iter().try_for_each(|(name, value)| check_setting(name, value))
}

/// Deletes topics, by name or by id.
pub(super) fn delete(shared: &Shared, ask: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut state = shared.state();
    let mut wanted: Vec<_> = ask.topic_names.iter().map(|name| (Some(name.to_string()), None)).collect();
    wanted.extend(ask.topics.iter().map(|topic| match &topic.name {
        Some(name) => (Some(name.to_string()), None),
        None => (state.name_of(topic.topic_id).map(str::to_owned), Some(topic.topic_id)),
    }));
    let mut results = Vec::with_capacity(wanted.len());
    for (name, id) in wanted {
        let answer = DeletableTopicResult::default().with_name(name.as_deref().map(topic_name));
        results.push(match (name.and_then(|name| state.delete_topic(&name)), id) {
            (Some(id), _) => answer.with_topic_id(id),
            (None, Some(id)) => answer.with_topic_id(id).with_error_code(ResponseError::UnknownTopicId.code()),
            (None, None) => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
        });
    }
    drop(state);
    shared.news.notify_waiters();
    DeleteTopicsResponse::default().with_responses(results)
}

/// Adds partitions to topics.
pub(super) fn create_partitions(shared: &Shared, ask: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut state = shared.state();
    let mut results = Vec::with_capacity(ask.topics.len());
    for wanted in &ask.topics {
        let result = match state.topics.get_mut(wanted.name.as_str()) {
            None => Err(ResponseError::UnknownTopicOrPartition),
            Some(topic) if wanted.count <= topic.partitions.len() as i32 => Err(ResponseError::InvalidPartitions),
            Some(_) if wanted.count > PARTITIONS_MOST => Err(ResponseError::InvalidPartitions),
            Some(topic) => {
                if !ask.validate_only {
                    topic.grow(wanted.count);
                    state.topic_changed(&wanted.name);
                }
                Ok(())
            }
        };
        results
            .push(CreatePartitionsTopicResult::default().with_name(wanted.name.clone()).with_error_code(code(&result)));
    }
    CreatePartitionsResponse::default().with_results(results)
}

/// Deletes records before an offset.
pub(super) fn delete_records(shared: &Shared, ask: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut state = shared.state();
    let mut topics = Vec::with_capacity(ask.topics.len());
    for topic in &ask.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(wanted.partition_index);
            partitions.push(match state.delete_records(&topic.name, wanted.partition_index, wanted.offset) {
                Ok(start) => answer.with_low_watermark(start),
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}
