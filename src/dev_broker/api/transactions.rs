//! Producers and their transactions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::describe_transactions_response::{self, TopicData};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ListTransactionsResponse, ProducerId,
    TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse, list_transactions_response,
};

use super::super::Shared;
use super::super::partition::Partition;
use super::super::producer::{PartitionKey, Producer};
use super::super::state::{State, now_ms};
use super::{code, commits, text, topic_name};

/// `transaction.max.timeout.ms` of Kafka.
const TIMEOUT_MS_MOST: i32 = 900_000;
/// The time-out of producers without transactions; they have none to time out.
const NO_TRANSACTIONS: Duration = Duration::from_secs(60);

/// A producer's id and epoch. One with a transactional id takes it over: what is open is aborted, whoever had it is fenced.
pub(super) fn init_producer(shared: &Shared, ask: InitProducerIdRequest) -> InitProducerIdResponse {
    let mut state = shared.state();
    let result = match ask.transactional_id.as_ref().map(|id| id.to_string()) {
        None => Ok(state.producers.create(None, NO_TRANSACTIONS)),
        Some(id) => init_transactional(&mut state, id, &ask),
    };
    let answer = match result {
        Err(error) => InitProducerIdResponse::default().with_error_code(error.code()).with_producer_id(ProducerId(-1)),
        Ok(id) => {
            state.producer_changed(id);
            let epoch = state.producers.by_id.get(&id).map_or(0, |producer| producer.epoch);
            InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        }
    };
    drop(state);
    shared.news.notify_waiters();
    answer
}

fn init_transactional(state: &mut State, name: String, ask: &InitProducerIdRequest) -> Result<i64, ResponseError> {
    if !(1..=TIMEOUT_MS_MOST).contains(&ask.transaction_timeout_ms) {
        return Err(ResponseError::InvalidTransactionTimeout);
    }
    let timeout = Duration::from_millis(ask.transaction_timeout_ms.unsigned_abs().into());
    let Some(id) = state.producers.by_transactional_id.get(&name).copied() else {
        return Ok(state.producers.create(Some(name), timeout));
    };
    let current = state.producers.by_id.get(&id).map_or(0, |producer| producer.epoch);
    // KIP-360: a producer that recovers names itself; only the current one, or the one just before, may.
    let names_another = ask.producer_id.0 >= 0
        && (ask.producer_id.0 != id || ask.producer_epoch > current || ask.producer_epoch < current - 1);
    if names_another {
        return Err(ResponseError::ProducerFenced);
    }
    if state.producers.by_id.get(&id).is_some_and(|producer| producer.transaction.since.is_some()) {
        state.end_transaction(id, false);
    }
    if current >= i16::MAX - 1 {
        state.producers.by_id.remove(&id);
        return Ok(state.producers.create(Some(name), timeout));
    }
    if let Some(producer) = state.producers.by_id.get_mut(&id) {
        (producer.epoch, producer.timeout, producer.committed) = (current + 1, timeout, None);
    }
    Ok(id)
}

/// A transaction announces partitions. As in Kafka, one that is unknown or forbidden keeps the others out too.
pub(super) fn add_partitions(shared: &Shared, ask: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let mut state = shared.state();
    let id = ask.v3_and_below_producer_id.0;
    let checked =
        state.producers.checked(&ask.v3_and_below_transactional_id, id, ask.v3_and_below_producer_epoch).map(drop);
    let busy = state.is_busy(id);
    let result = if checked.is_ok() && busy { Err(ResponseError::ConcurrentTransactions) } else { checked };
    let all: Vec<PartitionKey> = ask.v3_and_below_topics.iter().flat_map(keys_of).collect();
    let refused = |key: &PartitionKey| {
        if shared.forbids_writing(&key.0) {
            return Some(ResponseError::TopicAuthorizationFailed);
        }
        (!state.knows(key)).then_some(ResponseError::UnknownTopicOrPartition)
    };
    let refusals: Vec<_> = all.iter().filter_map(|key| Some((key.clone(), refused(key)?))).collect();
    if result.is_ok() && refusals.is_empty() {
        state.touch(id, &all);
    }
    let topics = ask.v3_and_below_topics.iter().map(|topic| {
        let partitions = keys_of(topic).into_iter().map(|key| {
            let error = match (result, refusals.iter().find(|(refused, _)| *refused == key)) {
                (Err(error), _) => error.code(),
                (Ok(()), Some((_, error))) => error.code(),
                (Ok(()), None) if !refusals.is_empty() => ResponseError::OperationNotAttempted.code(),
                (Ok(()), None) => 0,
            };
            AddPartitionsToTxnPartitionResult::default().with_partition_index(key.1).with_partition_error_code(error)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

fn keys_of(topic: &AddPartitionsToTxnTopic) -> Vec<PartitionKey> {
    topic.partitions.iter().map(|number| (topic.name.to_string(), *number)).collect()
}

/// A transaction announces a group.
pub(super) fn add_offsets(shared: &Shared, ask: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let mut state = shared.state();
    let id = ask.producer_id.0;
    let busy = state.is_busy(id);
    let result = match state.producers.checked(&ask.transactional_id, id, ask.producer_epoch) {
        Err(error) => Err(error),
        Ok(_) if busy => Err(ResponseError::ConcurrentTransactions),
        Ok(producer) => {
            producer.transaction.groups.insert(ask.group_id.to_string());
            state.touch(id, &[]);
            Ok(())
        }
    };
    AddOffsetsToTxnResponse::default().with_error_code(code(&result))
}

/// A transaction commits offsets when it commits.
pub(super) fn commit_offsets(shared: &Shared, ask: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let mut state = shared.state();
    let id = ask.producer_id.0;
    let group = ask.group_id.to_string();
    let allowed = allowed_to_commit(&mut state, &ask, &group);
    let mut topics = Vec::with_capacity(ask.topics.len());
    for topic in &ask.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let metadata = wanted.committed_metadata.as_ref();
            let read = || commits::offset(wanted.committed_offset, wanted.committed_leader_epoch, metadata);
            let result = allowed.and_then(|()| read()).map(|offset| {
                state.commit_offset_later(id, &group, (topic.name.to_string(), wanted.partition_index), offset);
            });
            partitions.push(
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(wanted.partition_index)
                    .with_error_code(code(&result)),
            );
        }
        topics.push(TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}

fn allowed_to_commit(state: &mut State, ask: &TxnOffsetCommitRequest, group: &str) -> Result<(), ResponseError> {
    let id = ask.producer_id.0;
    state.producers.checked(&ask.transactional_id, id, ask.producer_epoch)?;
    if !state.announced_groups(id).is_some_and(|groups| groups.contains(group)) {
        return Err(ResponseError::InvalidTxnState);
    }
    let member = (ask.member_id.as_str(), ask.generation_id);
    state.group(group).check_commit(member, ask.group_instance_id.as_deref(), true)
}

/// Ends a transaction. As in Kafka, one that has ended may be ended again the same way, by a client that had no answer, and in no
/// other.
pub(super) fn end(shared: &Shared, ask: EndTxnRequest) -> EndTxnResponse {
    let mut state = shared.state();
    let id = ask.producer_id.0;
    let is_open = state.producers.checked(&ask.transactional_id, id, ask.producer_epoch).and_then(|producer| {
        let is_open = producer.transaction.since.is_some();
        if is_open || producer.committed == Some(ask.committed) {
            Ok(is_open)
        } else {
            Err(ResponseError::InvalidTxnState)
        }
    });
    let result = is_open.map(|is_open| {
        if is_open {
            state.end_transaction(id, ask.committed);
        }
    });
    drop(state);
    shared.news.notify_waiters();
    EndTxnResponse::default().with_error_code(code(&result))
}

fn phase(producer: &Producer) -> &'static str {
    if producer.transaction.since.is_some() { "Ongoing" } else { "Empty" }
}

/// All transactional ids.
pub(super) fn list(shared: &Shared) -> ListTransactionsResponse {
    let state = shared.state();
    let known = state.producers.by_transactional_id.iter();
    let states = known.filter_map(|(name, id)| {
        let producer = state.producers.by_id.get(id)?;
        Some(
            list_transactions_response::TransactionState::default()
                .with_transactional_id(TransactionalId(text(name)))
                .with_producer_id(ProducerId(*id))
                .with_transaction_state(text(phase(producer))),
        )
    });
    ListTransactionsResponse::default().with_transaction_states(states.collect())
}

/// Some transactional ids with what they have touched.
pub(super) fn describe(shared: &Shared, ask: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let state = shared.state();
    let states = ask.transactional_ids.iter().map(|name| {
        let answer = describe_transactions_response::TransactionState::default().with_transactional_id(name.clone());
        let id = state.producers.by_transactional_id.get(name.as_str()).copied();
        let Some((id, producer)) = id.and_then(|id| Some((id, state.producers.by_id.get(&id)?))) else {
            return answer.with_error_code(ResponseError::TransactionalIdNotFound.code());
        };
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, number) in &producer.transaction.partitions {
            topics.entry(topic).or_default().push(*number);
        }
        let topics = topics.into_iter();
        let topics = topics.map(|(name, them)| TopicData::default().with_topic(topic_name(name)).with_partitions(them));
        let began = |since: Instant| now_ms() - i64::try_from(since.elapsed().as_millis()).unwrap_or(0);
        answer
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(producer.epoch)
            .with_transaction_timeout_ms(i32::try_from(producer.timeout.as_millis()).unwrap_or(i32::MAX))
            .with_transaction_start_time_ms(producer.transaction.since.map_or(-1, began))
            .with_transaction_state(text(phase(producer)))
            .with_topics(topics.collect())
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

/// Who wrote to partitions.
pub(super) fn describe_producers(shared: &Shared, ask: DescribeProducersRequest) -> DescribeProducersResponse {
    let state = shared.state();
    let topics = ask.topics.iter().map(|topic| {
        let known = state.topics.get(topic.name.as_str());
        let partitions = topic.partition_indexes.iter().map(|number| {
            let answer = PartitionResponse::default().with_partition_index(*number);
            match known.and_then(|topic| topic.partition(*number)) {
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                Some(partition) => answer.with_active_producers(active_producers(partition)),
            }
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn active_producers(partition: &Partition) -> Vec<ProducerState> {
    let producers = partition.sequences.iter().map(|(id, sequences)| {
        ProducerState::default()
            .with_producer_id(ProducerId(*id))
            .with_producer_epoch(i32::from(sequences.epoch))
            .with_last_sequence(sequences.last_sequence())
            .with_last_timestamp(-1)
            .with_coordinator_epoch(0)
            .with_current_txn_start_offset(partition.open.get(id).copied().unwrap_or(-1))
    });
    producers.collect()
}
