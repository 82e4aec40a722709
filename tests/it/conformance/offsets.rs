//! Committed offsets: with their metadata, up to its limit, and as an administrator sees them.

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::broker;
use crate::support::clients::{CALL, assign_from, committed_position, position, unique};

#[test]
fn offsets_are_kept_with_their_metadata() {
    let broker = broker!();
    let topic = broker.topic("commit", 2);
    let group = unique("commit");
    let consumer = broker.consumer(&group, &[]);
    let metadata = r#"{"watermark":123,"x":"é"}"#.repeat(20);
    consumer.commit(&position(&topic, 0, 42, &metadata), CommitMode::Sync).expect("commits");
    let other = broker.consumer(&group, &[]);
    assert_eq!(committed_position(&other, &topic, 0).expect("an answer"), (Offset::Offset(42), metadata));
    assert_eq!(committed_position(&other, &topic, 1).expect("an answer"), (Offset::Invalid, String::new()));
}

#[test]
fn metadata_may_have_4096_bytes_and_no_more() {
    let broker = broker!();
    let topic = broker.topic("metadata", 1);
    let consumer = broker.consumer(&unique("metadata"), &[]);
    let largest = "m".repeat(4_096);
    consumer.commit(&position(&topic, 0, 1, &largest), CommitMode::Sync).expect("4 096 bytes are taken");
    assert_eq!(committed_position(&consumer, &topic, 0).expect("an answer"), (Offset::Offset(1), largest));
    let refused = consumer.commit(&position(&topic, 0, 2, &"m".repeat(4_097)), CommitMode::Sync);
    let code = RDKafkaErrorCode::OffsetMetadataTooLarge;
    assert_eq!(refused, Err(KafkaError::ConsumerCommit(code)));
    assert_eq!(committed_position(&consumer, &topic, 0).expect("an answer").0, Offset::Offset(1));
}

#[test]
fn a_position_out_of_range_is_told() {
    let broker = broker!();
    let topic = broker.topic("range", 1);
    let consumer = broker.consumer(&unique("range"), &[("auto.offset.reset", "error")]);
    assign_from(&consumer, &topic, &[Offset::Offset(1_000)]);
    let error = crate::support::wait::until("an error", || consumer.poll(CALL)?.err());
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset), "{error}");
}
