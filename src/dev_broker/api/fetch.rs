//! Fetch, with long polling and isolation levels.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId};
use tokio::time::Instant;

use super::super::Shared;
use super::super::partition::Partition;
use super::super::state::State;

/// The longest that a fetch waits for records, whatever it asks for.
const WAIT_MOST: Duration = Duration::from_secs(60);
const READ_COMMITTED: i8 = 1;

/// Reads; waits until there is enough, or the time that the client gave is over.
pub(super) async fn fetch(shared: &Shared, ask: FetchRequest) -> FetchResponse {
    let wait = Duration::from_millis(u64::try_from(ask.max_wait_ms).unwrap_or(0)).min(WAIT_MOST);
    let deadline = Instant::now() + wait;
    let wanted = usize::try_from(ask.min_bytes).unwrap_or(0).max(1);
    loop {
        // Listening begins before looking, so that nothing is missed in between.
        let news = shared.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        let found = read(&shared.state(), &ask);
        if found.failed || ask.topics.is_empty() || found.bytes >= wanted || Instant::now() >= deadline {
            return FetchResponse::default().with_responses(found.topics);
        }
        let _ = tokio::time::timeout_at(deadline, news).await;
    }
}

struct Found {
    topics: Vec<FetchableTopicResponse>,
    bytes: usize,
    failed: bool,
}

fn read(state: &State, ask: &FetchRequest) -> Found {
    let mut found = Found { topics: Vec::with_capacity(ask.topics.len()), bytes: 0, failed: false };
    let most = usize::try_from(ask.max_bytes).unwrap_or(0).max(1);
    for FetchTopic { topic, partitions, .. } in &ask.topics {
        let known = state.topics.get(topic.as_str());
        let mut answers = Vec::with_capacity(partitions.len());
        for wanted in partitions {
            let answer = PartitionData::default()
                .with_partition_index(wanted.partition)
                .with_preferred_read_replica(BrokerId(-1))
                .with_aborted_transactions(None)
                .with_records(Some(Bytes::new()));
            let Some(partition) = known.and_then(|topic| topic.partition(wanted.partition)) else {
                found.failed = true;
                let error = ResponseError::UnknownTopicOrPartition.code();
                answers.push(answer.with_error_code(error).with_high_watermark(-1).with_last_stable_offset(-1));
                continue;
            };
            let left = most.saturating_sub(found.bytes);
            let (answer, bytes) = read_partition(partition, wanted, ask.isolation_level, left, answer);
            found.failed |= answer.error_code != 0;
            found.bytes += bytes;
            answers.push(answer);
        }
        found.topics.push(FetchableTopicResponse::default().with_topic(topic.clone()).with_partitions(answers));
    }
    found
}

fn read_partition(
    partition: &Partition,
    wanted: &FetchPartition,
    isolation: i8,
    bytes_left: usize,
    answer: PartitionData,
) -> (PartitionData, usize) {
    let stable = partition.last_stable();
    let answer = answer
        .with_high_watermark(partition.next)
        .with_last_stable_offset(stable)
        .with_log_start_offset(partition.start);
    let from = wanted.fetch_offset;
    if !(partition.start..=partition.next).contains(&from) {
        return (answer.with_error_code(ResponseError::OffsetOutOfRange.code()), 0);
    }
    if bytes_left == 0 {
        return (answer, 0);
    }
    let end = if isolation == READ_COMMITTED { stable } else { partition.next };
    let most = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).max(1).min(bytes_left);
    let (records, after) = partition.read(from, end, most);
    let bytes = records.len();
    let answer = answer.with_records(Some(records));
    if isolation != READ_COMMITTED {
        return (answer, bytes);
    }
    let inside = partition.aborted.iter().filter(|aborted| aborted.last >= from && aborted.first < after);
    let aborted = inside.map(|aborted| {
        AbortedTransaction::default().with_producer_id(ProducerId(aborted.producer_id)).with_first_offset(aborted.first)
    });
    (answer.with_aborted_transactions(Some(aborted.collect())), bytes)
}
