//! Records come back as they were sent: order, headers, empty and missing parts, times, codecs, sizes.

use rdkafka::consumer::Consumer as _;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage, Timestamp};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::broker;
use crate::support::clients::{CALL, assign_from, deliver, read, send, unique, values};

#[test]
fn records_are_read_in_the_order_in_which_they_were_written() {
    let broker = broker!();
    let topic = broker.topic("order", 4);
    let producer = broker.producer(&[]);
    for number in 0..4_000 {
        send(&producer, &topic, number % 4, &format!("k{number}"), &number.to_string());
    }
    deliver(&producer);
    let messages = broker.committed(&topic);
    assert_eq!(messages.len(), 4_000);
    for (index, message) in messages.iter().enumerate() {
        let (partition, offset) = (index / 1_000, index % 1_000);
        assert_eq!((message.partition(), message.offset()), (partition as i32, offset as i64));
        assert_eq!(message.payload(), Some((offset * 4 + partition).to_string().as_bytes()));
    }
    let consumer = broker.consumer(&unique("watermarks"), &[]);
    assert_eq!(consumer.fetch_watermarks(&topic, 1, CALL).expect("watermarks"), (0, 1_000));
}

#[test]
fn headers_may_repeat_and_have_no_value() {
    let broker = broker!();
    let topic = broker.topic("headers", 1);
    let producer = broker.producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "twice", value: Some("text") })
        .insert(Header::<&str> { key: "none", value: None })
        .insert(Header { key: "empty", value: Some("") })
        .insert(Header { key: "twice", value: Some(&[0_u8, 255][..]) });
    producer.send(BaseRecord::to(&topic).key("k").payload("v").headers(headers)).map_err(|it| it.0).expect("room");
    deliver(&producer);
    let messages = broker.committed(&topic);
    let headers = messages[0].headers().expect("headers").iter();
    let headers: Vec<_> = headers.map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec))).collect();
    let expected =
        [("twice", Some(b"text".to_vec())), ("none", None), ("empty", Some(vec![])), ("twice", Some(vec![0, 255]))];
    assert_eq!(headers, expected.map(|(key, value)| (key.to_owned(), value)));
}

#[test]
fn missing_and_empty_keys_and_values_are_told_apart() {
    let broker = broker!();
    let topic = broker.topic("empty", 1);
    let producer = broker.producer(&[]);
    let sent = [(Some("k"), None), (None, Some("v")), (Some(""), Some("")), (None, None)];
    for (key, value) in sent {
        let mut record = BaseRecord::<str, str>::to(&topic).partition(0);
        record.key = key;
        record.payload = value;
        producer.send(record).map_err(|it| it.0).expect("room");
    }
    deliver(&producer);
    let messages = broker.committed(&topic);
    let received: Vec<_> = messages.iter().map(|it| (it.key(), it.payload())).collect();
    assert_eq!(received, sent.map(|(key, value)| (key.map(str::as_bytes), value.map(str::as_bytes))));
}

#[test]
fn the_time_of_a_record_is_the_one_its_sender_gave() {
    let broker = broker!();
    let topic = broker.topic("time", 1);
    let producer = broker.producer(&[]);
    let record = BaseRecord::to(&topic).key("k").payload("v").timestamp(1_600_000_000_123);
    producer.send(record).map_err(|it| it.0).expect("room");
    deliver(&producer);
    assert_eq!(broker.committed(&topic)[0].timestamp(), Timestamp::CreateTime(1_600_000_000_123));
}

#[test]
fn the_time_of_a_record_is_the_brokers_where_the_topic_says_so() {
    let broker = broker!();
    let topic = broker.topic_with("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = broker.producer(&[]);
    producer.send(BaseRecord::to(&topic).key("k").payload("v").timestamp(1_000)).map_err(|it| it.0).expect("room");
    deliver(&producer);
    let timestamp = broker.committed(&topic)[0].timestamp();
    assert!(matches!(timestamp, Timestamp::LogAppendTime(time) if time > 1_700_000_000_000), "{timestamp:?}");
}

#[track_caller]
fn check_codec(codec: &str) {
    let Some(broker) = crate::support::broker::TestBroker::shared() else { return };
    let topic = broker.topic(codec, 1);
    let producer = broker.producer(&[("compression.codec", codec), ("linger.ms", "50")]);
    let text = "abcdefgh".repeat(100);
    for number in 0..200 {
        send(&producer, &topic, 0, &number.to_string(), &text);
    }
    deliver(&producer);
    let messages = broker.committed(&topic);
    let keys: Vec<_> = messages.iter().map(|it| String::from_utf8_lossy(it.key().unwrap_or_default())).collect();
    assert_eq!(keys, (0..200).map(|it| it.to_string()).collect::<Vec<_>>());
    assert!(messages.iter().all(|it| it.payload() == Some(text.as_bytes())));
}

#[test]
fn uncompressed_batches_are_kept() {
    check_codec("none");
}

#[test]
fn gzip_batches_are_kept() {
    check_codec("gzip");
}

#[test]
fn snappy_batches_are_kept() {
    check_codec("snappy");
}

#[test]
fn lz4_batches_are_kept() {
    check_codec("lz4");
}

#[test]
fn zstd_batches_are_kept() {
    check_codec("zstd");
}

#[test]
fn reading_may_begin_in_the_middle_of_a_batch() {
    let broker = broker!();
    let topic = broker.topic("seek", 1);
    let producer = broker.producer(&[("linger.ms", "100")]);
    for number in 0..300 {
        send(&producer, &topic, 0, "k", &number.to_string());
    }
    deliver(&producer);
    let consumer = broker.consumer(&unique("seek"), &[]);
    assign_from(&consumer, &topic, &[Offset::Offset(137)]);
    let messages = read(&consumer, 163);
    assert_eq!(messages.iter().map(OwnedMessage::offset).collect::<Vec<_>>(), (137..300).collect::<Vec<_>>());
    consumer.seek(&topic, 0, Offset::Offset(7), CALL).expect("seeks");
    assert_eq!(values(&read(&consumer, 1)), ["7"]);
}

#[test]
fn big_records_pass_and_are_fetched_though_they_exceed_the_fetch_size() {
    let broker = broker!();
    let topic = broker.topic("big", 1);
    let producer = broker.producer(&[("message.max.bytes", "2000000")]);
    let text = "x".repeat(950_000);
    for key in ["a", "b", "c"] {
        send(&producer, &topic, 0, key, &text);
    }
    deliver(&producer);
    let small_fetches =
        [("fetch.max.bytes", "100000"), ("max.partition.fetch.bytes", "1000"), ("message.max.bytes", "50000")];
    let consumer = broker.consumer(&unique("big"), &small_fetches);
    assign_from(&consumer, &topic, &[Offset::Beginning]);
    assert!(read(&consumer, 3).iter().all(|it| it.payload() == Some(text.as_bytes())));
}

#[test]
fn a_topic_may_have_many_partitions() {
    let broker = broker!();
    let topic = broker.topic("many", 200);
    let producer = broker.producer(&[]);
    for number in 0..2_000 {
        send(&producer, &topic, number % 200, "k", &number.to_string());
    }
    deliver(&producer);
    let messages = broker.committed(&topic);
    assert_eq!(messages.len(), 2_000);
    assert!((0..200).all(|partition| messages.iter().filter(|it| it.partition() == partition).count() == 10));
}

#[test]
fn an_idempotent_producer_writes_everything_once_and_in_order() {
    let broker = broker!();
    let topic = broker.topic("idempotent", 1);
    let producer = broker.producer(&[("enable.idempotence", "true")]);
    let numbers: Vec<_> = (0..1_000).map(|it| it.to_string()).collect();
    numbers.iter().for_each(|number| send(&producer, &topic, 0, "k", number));
    producer.flush(CALL).expect("delivered");
    assert_eq!(values(&broker.committed(&topic)), numbers);
}

#[test]
fn offsets_are_found_by_time() {
    let broker = broker!();
    let topic = broker.topic("times", 1);
    let producer = broker.producer(&[]);
    let first = 1_700_000_000_000_i64;
    for number in 0..50 {
        let record = BaseRecord::to(&topic).partition(0).key("k").payload("v").timestamp(first + number * 1_000);
        producer.send(record).map_err(|it| it.0).expect("room");
        // Five batches of ten: the time is looked for in batches, then within one.
        if number % 10 == 9 {
            deliver(&producer);
        }
    }
    let consumer = broker.consumer(&unique("times"), &[]);
    let check = |time: i64, expected: Offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(time)).expect("a time");
        let answer = consumer.offsets_for_times(list, CALL).expect("an answer");
        assert_eq!(answer.elements()[0].offset(), expected, "the offset of time {time}");
    };
    check(first - 1, Offset::Offset(0));
    check(first + 20_000, Offset::Offset(20));
    check(first + 23_001, Offset::Offset(24));
    check(first + 49_000, Offset::Offset(49));
    check(first + 49_001, Offset::End);
}

#[test]
fn a_topic_is_created_by_who_writes_to_it() {
    let broker = broker!();
    let topic = unique("created");
    let producer = broker.producer(&[]);
    producer.send(BaseRecord::to(&topic).key("k").payload("v")).map_err(|it| it.0).expect("room");
    deliver(&producer);
    assert_eq!(values(&broker.committed(&topic)), ["v"]);
}
