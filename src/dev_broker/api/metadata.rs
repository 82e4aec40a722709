//! Who and what there is: brokers, topics, coordinators.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterResponse, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
};

use super::super::Shared;
use super::super::state::State;
use super::super::topic::{Topic, is_legal_name};
use super::{CLUSTER_ID, NODE, text, topic_name};

/// Brokers, and the topics asked for. A topic that is not there is created if the broker does that.
pub(super) fn metadata(shared: &Shared, ask: MetadataRequest, version: i16) -> MetadataResponse {
    let mut state = shared.state();
    let creates = shared.options.auto_create_topics && (version < 4 || ask.allow_auto_topic_creation);
    let partitions = creates.then_some(shared.options.default_partitions);
    let topics = match ask.topics {
        // The oldest version asks for all topics with an empty list.
        Some(topics) if version > 0 || !topics.is_empty() => {
            topics.iter().map(|topic| named(&mut state, topic, partitions)).collect()
        }
        _ => state.topics.iter().map(|(name, topic)| described(name, topic)).collect(),
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE))
        .with_host(text(&shared.advertised.ip().to_string()))
        .with_port(i32::from(shared.advertised.port()));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(CLUSTER_ID)))
        .with_controller_id(BrokerId(NODE))
        .with_topics(topics)
}

fn named(state: &mut State, asked: &MetadataRequestTopic, create: Option<i32>) -> MetadataResponseTopic {
    let answer = MetadataResponseTopic::default();
    // The Java client sends an empty name, not null, beside an id.
    let name = match &asked.name {
        Some(name) if asked.topic_id.is_nil() => name.to_string(),
        _ => match state.name_of(asked.topic_id) {
            Some(name) => name.to_owned(),
            None => {
                let unknown = ResponseError::UnknownTopicId.code();
                return answer.with_name(None).with_topic_id(asked.topic_id).with_error_code(unknown);
            }
        },
    };
    if !is_legal_name(&name) {
        let error = ResponseError::InvalidTopicException.code();
        return answer.with_name(Some(topic_name(&name))).with_error_code(error);
    }
    if let (Some(partitions), false) = (create, state.topics.contains_key(&name)) {
        state.create_topic(&name, partitions, BTreeMap::new());
    }
    match state.topics.get(&name) {
        Some(topic) => described(&name, topic),
        None => {
            let error = ResponseError::UnknownTopicOrPartition.code();
            answer.with_name(Some(topic_name(&name))).with_error_code(error)
        }
    }
}

fn described(name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partition = |number| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(BrokerId(NODE))
            .with_leader_epoch(0)
            .with_replica_nodes(vec![BrokerId(NODE)])
            .with_isr_nodes(vec![BrokerId(NODE)])
    };
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(topic.id)
        .with_partitions((0..topic.partitions.len() as i32).map(partition).collect())
}

/// The cluster: this node.
pub(super) fn describe_cluster(shared: &Shared) -> DescribeClusterResponse {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE))
        .with_host(text(&shared.advertised.ip().to_string()))
        .with_port(i32::from(shared.advertised.port()));
    DescribeClusterResponse::default()
        .with_cluster_id(text(CLUSTER_ID))
        .with_controller_id(BrokerId(NODE))
        .with_brokers(vec![broker])
}

/// The coordinator of any group or transactional id: this node.
pub(super) fn find_coordinator(shared: &Shared) -> FindCoordinatorResponse {
    FindCoordinatorResponse::default()
        .with_node_id(BrokerId(NODE))
        .with_host(text(&shared.advertised.ip().to_string()))
        .with_port(i32::from(shared.advertised.port()))
}
