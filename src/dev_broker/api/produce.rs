//! Produce.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::super::Shared;
use super::super::batch::{self, Corrupt, Header};
use super::super::record::Record;
use super::super::state::{State, now_ms};

/// Appends batches; no answer is wanted for `acks=0`.
pub(super) fn produce(shared: &Shared, ask: ProduceRequest) -> Option<ProduceResponse> {
    let wants_answer = ask.acks != 0;
    let mut state = shared.state();
    let mut topics = Vec::with_capacity(ask.topic_data.len());
    for topic in ask.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for partition in topic.partition_data {
            let records = partition.records.unwrap_or_default();
            let (offset, result) = if shared.forbids_writing(&topic.name) {
                (-1, Err(ResponseError::TopicAuthorizationFailed))
            } else {
                append_all(&mut state, &topic.name, partition.index, records)
            };
            let known = state.topics.get(topic.name.as_str()).and_then(|it| it.partition(partition.index));
            partitions.push(
                PartitionProduceResponse::default()
                    .with_index(partition.index)
                    .with_error_code(super::code(&result))
                    .with_base_offset(offset)
                    .with_log_append_time_ms(-1)
                    .with_log_start_offset(known.map_or(-1, |it| it.start)),
            );
        }
        topics.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
    }
    drop(state);
    shared.news.notify_waiters();
    wants_answer.then(|| ProduceResponse::default().with_responses(topics))
}

/// Appends the batches of one partition in order, up to the first that is refused. Returns the first offset.
fn append_all(state: &mut State, name: &str, number: i32, mut records: Bytes) -> (i64, Result<(), ResponseError>) {
    let mut first = -1;
    loop {
        let batch = match batch::split_first(&mut records) {
            Ok(None) => return (first, Ok(())),
            Ok(Some(batch)) => batch,
            Err(Corrupt) => return (first, Err(ResponseError::CorruptMessage)),
        };
        match append_one(state, name, number, &batch) {
            Ok(offset) if first < 0 => first = offset,
            Ok(_) => {}
            Err(error) => return (first, Err(error)),
        }
    }
}

fn append_one(state: &mut State, name: &str, number: i32, batch: &Bytes) -> Result<i64, ResponseError> {
    let header = Header::of(batch);
    if !header.is_plausible() {
        return Err(ResponseError::InvalidRecord);
    }
    check_producer(state, &header, name, number)?;
    let topic = state.topics.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if batch.len() > topic.max_message_bytes() {
        return Err(ResponseError::MessageTooLarge);
    }
    if topic.is_compacted() && has_null_key(batch)? {
        return Err(ResponseError::InvalidRecord);
    }
    let stamped = topic.stamps_records().then(|| batch::at_time(batch, now_ms()));
    let partition = topic.partition_mut(number).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if let Some(offset) = partition.check_sequence(&header)? {
        return Ok(offset);
    }
    state.append(name, number, stamped.as_ref().unwrap_or(batch)).ok_or(ResponseError::UnknownTopicOrPartition)
}

/// Whether the producer may write this: its epoch is the current one, and a transactional batch belongs to a transaction that
/// has announced the partition.
fn check_producer(state: &State, header: &Header, name: &str, number: i32) -> Result<(), ResponseError> {
    let Some(producer) = state.producers.by_id.get(&header.producer_id) else {
        return if header.is_transactional { Err(ResponseError::InvalidProducerIdMapping) } else { Ok(()) };
    };
    if producer.epoch != header.producer_epoch {
        return Err(ResponseError::InvalidProducerEpoch);
    }
    if header.is_transactional && !producer.transaction.partitions.contains(&(name.to_owned(), number)) {
        return Err(ResponseError::InvalidTxnState);
    }
    Ok(())
}

fn has_null_key(batch: &Bytes) -> Result<bool, ResponseError> {
    let records = Record::all_of(batch)?;
    Ok(records.iter().any(|record| record.key.is_none()))
}
