//! What rust-rdkafka does not offer, straight on librdkafka: headers with any bytes in their names, records sent to topics by
//! handle, group metadata that can be looked at, ids of topics. The only file that calls librdkafka with `unsafe`.
//!
//! # Safety
//!
//! Every pointer comes from librdkafka's own constructors and is destroyed once, in `Drop` of the one type that owns it, or
//! is borrowed for no longer than its owner lives, which the lifetimes of the safe signatures say. The client behind a
//! `*mut RDKafka` outlives every value made from it: values that keep one keep the `Arc` or the reference of its client too.
//! Slices are made from pointer and length of one and the same librdkafka object, and null is asked for first. Buffers given
//! to `rd_kafka_produceva` are copied by it before it returns (`RD_KAFKA_MSG_F_COPY`).

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafka;
use rdkafka_sys::bindings as sys;
use sys::rd_kafka_vtype_t as VType;

/// The headers of a message, in order; names are any bytes.
pub(super) fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
    let mut found = Vec::new();
    // SAFETY: the message is alive for 'a, and its headers with it; name and value are asked for null first.
    unsafe {
        let mut list = ptr::null_mut();
        if sys::rd_kafka_message_headers(message.ptr(), &mut list).is_error() || list.is_null() {
            return found;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        while !sys::rd_kafka_header_get_all(list, found.len(), &mut name, &mut value, &mut size).is_error() {
            let name = CStr::from_ptr(name).to_bytes();
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            found.push((name, value));
        }
    }
    found
}

/// `RD_KAFKA_PARTITION_UA`: the partitioner chooses.
const UNASSIGNED: i32 = -1;

/// Handles of the topics that a producer writes to, so that a record costs no look-up by name.
#[derive(Debug, Default)]
pub(super) struct TopicHandles {
    handles: Vec<TopicHandle>,
    by_name: HashMap<Arc<str>, usize>,
    /// The names that came last. Records mostly bring one of a few that are shared, and to compare addresses is far cheaper than to hash.
    recent: [Option<(Arc<str>, usize)>; RECENT_TOPICS],
    /// Which of the recent ones gives way next.
    oldest: usize,
}

/// As many topics as records take turns with: those of ours, and some of a user's.
const RECENT_TOPICS: usize = 8;

#[derive(Debug)]
struct TopicHandle(*mut sys::rd_kafka_topic_t);

// SAFETY: librdkafka's topic objects are reference-counted and may be used from any thread.
unsafe impl Send for TopicHandle {}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_topic_new, destroyed once.
        unsafe { sys::rd_kafka_topic_destroy(self.0) }
    }
}

/// One record to send; everything in it is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a, H> {
    pub topic: &'a Arc<str>,
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: H,
    pub timestamp_ms: Option<i64>,
    /// Comes back with the delivery report.
    pub token: usize,
}

impl TopicHandles {
    /// Puts a record into the producer's queue.
    pub(super) fn send<'a, H>(&mut self, client: *mut RDKafka, message: Message<'a, H>) -> Result<(), RDKafkaErrorCode>
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
        let handle = self.handle(client, message.topic)?;
        // SAFETY: the handle is of this client; librdkafka copies key and value, and owns the headers if it took the record.
        unsafe {
            let headers = sys::rd_kafka_headers_new(16);
            for (name, value) in message.headers {
                let (bytes, size) = value.map_or((ptr::null(), 0), |it| (it.as_ptr().cast::<c_void>(), it.len()));
                // A null value is a null pointer; an empty one is not.
                let bytes = if value.is_some() && size == 0 { c"".as_ptr().cast() } else { bytes };
                sys::rd_kafka_header_add(headers, name.as_ptr().cast(), name.len() as isize, bytes, size as isize);
            }
            let (key, key_size) = bytes_of(message.key);
            let (value, value_size) = bytes_of(message.value);
            let code = sys::rd_kafka_producev(
                client,
                VType::RD_KAFKA_VTYPE_RKT,
                handle,
                VType::RD_KAFKA_VTYPE_PARTITION,
                message.partition.unwrap_or(UNASSIGNED),
                VType::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                VType::RD_KAFKA_VTYPE_VALUE,
                value,
                value_size,
                VType::RD_KAFKA_VTYPE_KEY,
                key,
                key_size,
                VType::RD_KAFKA_VTYPE_OPAQUE,
                message.token as *mut c_void,
                VType::RD_KAFKA_VTYPE_TIMESTAMP,
                message.timestamp_ms.unwrap_or(0),
                VType::RD_KAFKA_VTYPE_HEADERS,
                headers,
                VType::RD_KAFKA_VTYPE_END,
            );
            if code.is_error() {
                sys::rd_kafka_headers_destroy(headers);
                return Err(code.into());
            }
        }
        Ok(())
    }

    fn handle(
        &mut self,
        client: *mut RDKafka,
        topic: &Arc<str>,
    ) -> Result<*mut sys::rd_kafka_topic_t, RDKafkaErrorCode> {
        let recent = self.recent.iter().flatten().find(|(name, _)| Arc::ptr_eq(name, topic));
        let at = match recent {
            Some((_, at)) => *at,
            None => self.find_or_make(client, topic)?,
        };
        Ok(self.handles[at].0)
    }

    fn find_or_make(&mut self, client: *mut RDKafka, topic: &Arc<str>) -> Result<usize, RDKafkaErrorCode> {
        let at = match self.by_name.get(topic) {
            Some(at) => *at,
            None => self.make(client, topic)?,
        };
        self.recent[self.oldest] = Some((topic.clone(), at));
        self.oldest = (self.oldest + 1) % RECENT_TOPICS;
        Ok(at)
    }

    fn make(&mut self, client: *mut RDKafka, topic: &Arc<str>) -> Result<usize, RDKafkaErrorCode> {
        if self.handles.len() >= super::producer::TOPIC_HANDLES {
            // Expressions may name any topic; librdkafka keeps its own state for those in use.
            *self = TopicHandles::default();
        }
        let name = CString::new(topic.as_bytes()).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client is alive; a null configuration means the client's defaults.
        let handle = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        if handle.is_null() {
            return Err(RDKafkaErrorCode::InvalidTopic);
        }
        self.handles.push(TopicHandle(handle));
        self.by_name.insert(topic.clone(), self.handles.len() - 1);
        Ok(self.handles.len() - 1)
    }
}

/// Pointer and size for librdkafka: null means null, while empty needs a pointer that is not null.
fn bytes_of(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    match bytes {
        None => (ptr::null_mut(), 0),
        Some([]) => (c"".as_ptr() as *mut c_void, 0),
        Some(bytes) => (bytes.as_ptr() as *mut c_void, bytes.len()),
    }
}

/// The generation and member id under which partitions are held.
#[derive(Debug)]
pub struct GroupMetadata {
    native: *mut sys::rd_kafka_consumer_group_metadata_t,
    member_id: Box<str>,
}

// SAFETY: the object is never changed after it was made; reading it from several threads is fine.
unsafe impl Send for GroupMetadata {}
// SAFETY: see above.
unsafe impl Sync for GroupMetadata {}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_consumer_group_metadata, destroyed once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.native) }
    }
}

impl GroupMetadata {
    /// What the consumer is in its group right now. None before it has joined: a classic group would take offsets that
    /// come with no generation and no member id from anyone.
    pub(super) fn current(consumer: *mut RDKafka) -> Option<GroupMetadata> {
        // SAFETY: the consumer is alive; null means that it has no group.
        let metadata = unsafe { sys::rd_kafka_consumer_group_metadata(consumer) };
        if metadata.is_null() {
            return None;
        }
        let metadata = GroupMetadata { native: metadata, member_id: member_id(metadata) };
        (metadata.generation() >= 0 && !metadata.member_id.is_empty()).then_some(metadata)
    }

    /// The group's generation (classic protocol) or the member's epoch (KIP-848).
    pub fn generation(&self) -> i32 {
        // SAFETY: the object is alive.
        unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(self.native) }
    }

    /// The id that the group gave to the member; a group that had lost a member gives it another one.
    pub fn member_id(&self) -> &str {
        &self.member_id
    }
}

fn member_id(metadata: *mut sys::rd_kafka_consumer_group_metadata_t) -> Box<str> {
    // SAFETY: the object is alive, and its member id, a text or null, with it.
    unsafe {
        let id = sys::rd_kafka_consumer_group_metadata_member_id(metadata);
        if id.is_null() { Box::default() } else { CStr::from_ptr(id).to_string_lossy().into() }
    }
}

/// How a call of the transactional protocol failed, as librdkafka classifies it.
#[derive(Clone, Debug)]
pub(super) struct TransactionError {
    pub code: RDKafkaErrorCode,
    pub message: String,
    pub must_abort: bool,
    pub may_retry: bool,
    pub is_fatal: bool,
}

fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), TransactionError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a returned error is ours; it is read before it is destroyed, once.
    unsafe {
        let failure = TransactionError {
            code: sys::rd_kafka_error_code(error).into(),
            message: CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
            must_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            may_retry: sys::rd_kafka_error_is_retriable(error) != 0,
            is_fatal: sys::rd_kafka_error_is_fatal(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(failure)
    }
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// `rd_kafka_init_transactions`.
pub(super) fn init_transactions(client: *mut RDKafka, timeout: Duration) -> Result<(), TransactionError> {
    // SAFETY: the client is alive.
    check(unsafe { sys::rd_kafka_init_transactions(client, millis(timeout)) })
}

/// `rd_kafka_begin_transaction`.
pub(super) fn begin_transaction(client: *mut RDKafka) -> Result<(), TransactionError> {
    // SAFETY: the client is alive.
    check(unsafe { sys::rd_kafka_begin_transaction(client) })
}

/// `rd_kafka_send_offsets_to_transaction`.
pub(super) fn send_offsets(
    client: *mut RDKafka,
    offsets: &TopicPartitionList,
    group: &GroupMetadata,
    timeout: Duration,
) -> Result<(), TransactionError> {
    // SAFETY: client, list and metadata are alive; librdkafka copies the latter two.
    check(unsafe { sys::rd_kafka_send_offsets_to_transaction(client, offsets.ptr(), group.native, millis(timeout)) })
}

/// `rd_kafka_commit_transaction`. Only with nothing in flight, else it waits inside for deliveries that nobody serves.
pub(super) fn commit_transaction(client: *mut RDKafka, timeout: Duration) -> Result<(), TransactionError> {
    // SAFETY: the client is alive.
    check(unsafe { sys::rd_kafka_commit_transaction(client, millis(timeout)) })
}

/// `rd_kafka_abort_transaction`. Only with nothing in flight, likewise.
pub(super) fn abort_transaction(client: *mut RDKafka, timeout: Duration) -> Result<(), TransactionError> {
    // SAFETY: the client is alive.
    check(unsafe { sys::rd_kafka_abort_transaction(client, millis(timeout)) })
}

/// How many records are queued or in flight, delivery reports not yet served among them.
pub(super) fn in_flight(client: *mut RDKafka) -> usize {
    // SAFETY: the client is alive.
    usize::try_from(unsafe { sys::rd_kafka_outq_len(client) }).unwrap_or(0)
}

/// Has everything sent at once that is queued, and waits for the broker's answers for at most `wait`. Says nothing of how they
/// turned out, and those that failed stay in flight until they were served.
pub(super) fn flush(client: *mut RDKafka, wait: Duration) {
    let milliseconds = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive. It reports deliveries as events, which this call leaves to whoever serves them.
    let _ = unsafe { sys::rd_kafka_flush(client, milliseconds) };
}

/// Changes the assignment inside a rebalance callback, by whichever protocol the group has.
pub(super) fn assign(
    client: *mut RDKafka,
    partitions: &TopicPartitionList,
    cooperative: bool,
) -> Result<(), TransactionError> {
    // SAFETY: client and list are alive.
    unsafe {
        if cooperative {
            return check(sys::rd_kafka_incremental_assign(client, partitions.ptr()));
        }
        code(sys::rd_kafka_assign(client, partitions.ptr()))
    }
}

/// Takes partitions out of the assignment inside a rebalance callback, by whichever protocol the group has.
pub(super) fn unassign(
    client: *mut RDKafka,
    partitions: &TopicPartitionList,
    cooperative: bool,
) -> Result<(), TransactionError> {
    // SAFETY: client and list are alive; a null list takes everything away.
    unsafe {
        if cooperative {
            return check(sys::rd_kafka_incremental_unassign(client, partitions.ptr()));
        }
        code(sys::rd_kafka_assign(client, ptr::null()))
    }
}

/// Whether the assignment that is being revoked was lost: others may have it already.
pub(super) fn assignment_lost(client: *mut RDKafka) -> bool {
    // SAFETY: the client is alive.
    unsafe { sys::rd_kafka_assignment_lost(client) != 0 }
}

fn code(code: sys::rd_kafka_resp_err_t) -> Result<(), TransactionError> {
    if !code.is_error() {
        return Ok(());
    }
    let code = RDKafkaErrorCode::from(code);
    Err(TransactionError { code, message: code.to_string(), must_abort: false, may_retry: false, is_fatal: false })
}

/// Where a partition ends, as the last fetch said it; no question is asked. None while nothing was fetched.
pub(super) fn cached_end(client: *mut RDKafka, topic: &str, partition: i32) -> Option<i64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the name until the call returns.
    let code = unsafe { sys::rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition, &mut low, &mut high) };
    (!code.is_error() && high >= 0).then_some(high)
}

/// What the cluster says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id (KIP-516).
    pub id: [u8; 16],
    /// How many partitions it has.
    pub partitions: usize,
}

/// Describes topics; those that do not exist, or that may not be described, are left out.
pub(super) fn describe_topics(
    client: *mut RDKafka,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<TopicDescription>, RDKafkaErrorCode> {
    let names: Vec<CString> = names.iter().filter_map(|it| CString::new(*it).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|it| it.as_ptr()).collect();
    let mut found = Vec::new();
    // SAFETY: everything made here is destroyed here, after the last use of what it lends.
    unsafe {
        let options =
            sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(timeout), ptr::null_mut(), 0);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let queue = sys::rd_kafka_queue_new(client);
        sys::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, millis(timeout));
        let code =
            if event.is_null() { RDKafkaErrorCode::OperationTimedOut } else { sys::rd_kafka_event_error(event).into() };
        let result = if event.is_null() { ptr::null() } else { sys::rd_kafka_event_DescribeTopics_result(event) };
        if !result.is_null() {
            let mut count = 0;
            let list = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            for at in 0..count {
                found.extend(description(*list.add(at)));
            }
        }
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_AdminOptions_destroy(options);
        if result.is_null() { Err(code) } else { Ok(found) }
    }
}

/// # Safety
///
/// `topic` must come from a result that is alive.
unsafe fn description(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<TopicDescription> {
    // SAFETY: as the caller promises; what is lent lives as long as the result.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && sys::rd_kafka_error_code(error).is_error() {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let (high, low) = (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
        Some(TopicDescription { name, id: bytes, partitions })
    }
}
