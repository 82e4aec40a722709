//! The id of a topic, by which a client notices that a topic of the same name is another one. The Rust client does not show it.

use std::ffi::CString;
use std::ptr;

use rdkafka::bindings as sys;

use super::broker::TestBroker;

/// How long the broker may take, milliseconds.
const TIMEOUT_MS: i32 = 10_000;

/// The id of a topic; None while there is no such topic.
pub fn of(broker: &TestBroker, topic: &str) -> Option<(i64, i64)> {
    let admin = broker.admin();
    let client = admin.inner().native_ptr();
    let name = CString::new(topic).expect("a name");
    // SAFETY: the client outlives the call; each object is made here and destroyed once, after its last use, and what belongs to the event
    // is read before the event is destroyed.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        sys::rd_kafka_DescribeTopics(client, topics, ptr::null(), queue);
        let event = sys::rd_kafka_queue_poll(queue, TIMEOUT_MS);
        let id = if event.is_null() { None } else { id_in(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_queue_destroy(queue);
        id
    }
}

/// # Safety
/// The event is the answer to a description of topics.
unsafe fn id_in(event: *mut sys::rd_kafka_event_t) -> Option<(i64, i64)> {
    // SAFETY: librdkafka answers each of these with null for an event of another kind, which is looked at.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count != 1 || sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(*topics)) as i32 != 0 {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*topics);
        let halves = (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
        // Zeroes stand for no id.
        (halves != (0, 0)).then_some(halves)
    }
}
