//! Everything a broker knows, and every change of it. A change is made and written here, nowhere else, and replayed by the same
//! functions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::batch;
use super::batch::Header;
use super::group::{CommittedOffset, Group};
use super::producer::{PartitionKey, Producers};
use super::storage::{Entry, Storage, StorageError};
use super::topic::Topic;
use super::{Options, StartError};

/// Kinds of entries in the file; a number is never used again for something else.
mod kind {
    pub const TOPIC: u8 = 1;
    pub const TOPIC_GONE: u8 = 2;
    pub const APPEND: u8 = 3;
    pub const OFFSET: u8 = 4;
    pub const PRODUCER: u8 = 5;
    pub const START: u8 = 6;
    pub const GROUP_GONE: u8 = 7;
    pub const TOUCHED: u8 = 8;
    pub const PENDING: u8 = 9;
    pub const END: u8 = 10;
}

/// The file is written anew when it is larger than this and than twice of what is alive.
const REWRITE_BYTES: u64 = 256 * 1024 * 1024;
/// How long after a transaction ended a real broker is still busy with it.
const BUSY_AFTER_END: Duration = Duration::from_millis(5);
/// How often a real broker looks for transactions that took too long.
const SWEEP: Duration = Duration::from_secs(10);

/// What a broker knows.
#[derive(Debug, Default)]
pub(super) struct State {
    pub topics: BTreeMap<String, Topic>,
    pub groups: BTreeMap<String, Group>,
    pub producers: Producers,
    storage: Storage,
    retention_bytes: usize,
    like_kafka: bool,
    swept: Option<Instant>,
}

impl State {
    /// The state as it was left, or an empty one.
    pub(super) fn open(options: &Options) -> Result<State, StartError> {
        let mut state = State {
            retention_bytes: options.retention_bytes_per_partition,
            like_kafka: options.behave_like_kafka,
            ..State::default()
        };
        if let Some(folder) = &options.data_dir {
            let (storage, entries) = Storage::open(folder)?;
            for mut entry in entries {
                // An entry that cannot be read although its checksum is right is of another version: it is left out.
                if state.replay(entry.kind, &mut entry.body).is_none() {
                    tracing::warn!(kind = entry.kind, "an entry of the embedded broker's file is not understood");
                }
            }
            state.storage = storage;
            state.rewrite()?;
        }
        Ok(state)
    }

    fn rewrite(&mut self) -> Result<(), StorageError> {
        let mut storage = std::mem::take(&mut self.storage);
        let rewritten = storage.rewrite(self.entries());
        self.storage = storage;
        rewritten
    }

    /// Makes a topic.
    pub(super) fn create_topic(&mut self, name: &str, partitions: i32, settings: BTreeMap<String, String>) {
        self.topics.insert(name.to_owned(), Topic::new(Uuid::new_v4(), partitions, settings));
        self.topic_changed(name);
    }

    /// Writes a topic after its settings or partitions changed.
    pub(super) fn topic_changed(&mut self, name: &str) {
        if let Some(entry) = self.topics.get(name).map(|topic| topic_entry(name, topic)) {
            self.storage.append(&entry);
        }
    }

    /// Deletes a topic with what groups committed on it.
    pub(super) fn delete_topic(&mut self, name: &str) -> Option<Uuid> {
        let topic = self.topics.remove(name)?;
        for group in self.groups.values_mut() {
            group.offsets.retain(|(of, _), _| of != name);
        }
        for producer in self.producers.by_id.values_mut() {
            producer.transaction.partitions.retain(|(of, _)| of != name);
        }
        self.storage.append(&Entry::new(kind::TOPIC_GONE, |body| put_text(body, name)));
        Some(topic.id)
    }

    /// Appends a batch that was checked; returns its offset.
    pub(super) fn append(&mut self, name: &str, number: i32, data: &[u8]) -> Option<i64> {
        let topic = self.topics.get_mut(name)?;
        let limit = match topic.set_number("retention.bytes") {
            Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            None if topic.is_deleted_from() => self.retention_bytes,
            None => usize::MAX,
        };
        let partition = topic.partition_mut(number)?;
        let stored = partition.append(data);
        let header = Header::of(&stored);
        partition.remember(&header, header.base_offset);
        let moved = partition.retain(limit, None);
        if self.storage.is_on() {
            self.storage.append(&append_entry(name, number, &stored));
        }
        if let Some(start) = moved {
            self.storage.append(&start_entry(name, number, start));
        }
        Some(header.base_offset)
    }

    /// Deletes records before an offset; returns the new start.
    pub(super) fn delete_records(&mut self, name: &str, number: i32, offset: i64) -> Result<i64, ResponseError> {
        let partition = self.topics.get_mut(name).and_then(|topic| topic.partition_mut(number));
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        let wanted = if offset < 0 { partition.last_stable() } else { offset };
        if wanted > partition.next {
            return Err(ResponseError::OffsetOutOfRange);
        }
        partition.truncate_before(wanted);
        let start = partition.start;
        self.storage.append(&start_entry(name, number, start));
        Ok(start)
    }

    /// The group of that name; made if there is none.
    pub(super) fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    /// Deletes a group.
    pub(super) fn delete_group(&mut self, name: &str) {
        self.groups.remove(name);
        self.storage.append(&Entry::new(kind::GROUP_GONE, |body| put_text(body, name)));
    }

    /// Commits an offset; None deletes it.
    pub(super) fn commit_offset(&mut self, group: &str, partition: PartitionKey, offset: Option<CommittedOffset>) {
        self.storage.append(&offset_entry(kind::OFFSET, 0, group, &partition, offset.as_ref()));
        let offsets = &mut self.group(group).offsets;
        match offset {
            Some(offset) => drop(offsets.insert(partition, offset)),
            None => drop(offsets.remove(&partition)),
        }
    }

    /// Writes a producer after its epoch changed.
    pub(super) fn producer_changed(&mut self, id: i64) {
        if let Some(entry) = producer_entry(&self.producers, id) {
            self.storage.append(&entry);
        }
    }

    /// A transaction touches partitions; it begins with the first.
    pub(super) fn touch(&mut self, id: i64, partitions: &[PartitionKey]) {
        self.storage.append(&Entry::new(kind::TOUCHED, |body| {
            body.put_i64(id);
            put_partitions(body, partitions.iter());
        }));
        if let Some(producer) = self.producers.by_id.get_mut(&id) {
            producer.transaction.partitions.extend(partitions.iter().cloned());
            producer.transaction.since.get_or_insert_with(Instant::now);
        }
    }

    /// A transaction commits an offset when it commits.
    pub(super) fn commit_offset_later(
        &mut self,
        id: i64,
        group: &str,
        partition: PartitionKey,
        offset: CommittedOffset,
    ) {
        self.storage.append(&offset_entry(kind::PENDING, id, group, &partition, Some(&offset)));
        if let Some(producer) = self.producers.by_id.get_mut(&id) {
            producer.transaction.offsets.insert((group.to_owned(), partition), offset);
        }
    }

    /// Whether some open transaction may still move the group's offset of a partition.
    pub(super) fn is_offset_pending(&self, group: &str, partition: &PartitionKey) -> bool {
        let key = (group.to_owned(), partition.clone());
        self.producers.by_id.values().any(|producer| producer.transaction.offsets.contains_key(&key))
    }

    /// Ends a producer's transaction: one change, markers and offsets together.
    pub(super) fn end_transaction(&mut self, id: i64, commit: bool) {
        let now_ms = now_ms();
        self.storage.append(&Entry::new(kind::END, |body| {
            body.put_i64(id);
            body.put_u8(u8::from(commit));
            body.put_i64(now_ms);
        }));
        self.end(id, commit, now_ms);
    }

    fn end(&mut self, id: i64, commit: bool, now_ms: i64) {
        let Some(producer) = self.producers.by_id.get_mut(&id) else { return };
        let epoch = producer.epoch;
        let transaction = std::mem::take(&mut producer.transaction);
        producer.ended = Some(Instant::now());
        producer.committed = Some(commit);
        let marker = batch::marker(id, epoch, commit, now_ms);
        for (name, number) in &transaction.partitions {
            if let Some(partition) = self.topics.get_mut(name).and_then(|topic| topic.partition_mut(*number)) {
                partition.append(&marker);
            }
        }
        if commit {
            for ((group, partition), offset) in transaction.offsets {
                self.group(&group).offsets.insert(partition, offset);
            }
        }
    }

    /// Whether a real broker would tell this producer to wait with its next transaction.
    pub(super) fn is_busy(&self, id: i64) -> bool {
        let ended = self.producers.by_id.get(&id).and_then(|producer| producer.ended);
        self.like_kafka && ended.is_some_and(|ended| ended.elapsed() < BUSY_AFTER_END)
    }

    /// Time passes: sessions end, rebalances go on, transactions that took too long are aborted and their producers fenced. Returns
    /// whether anything became readable.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        for group in self.groups.values_mut() {
            group.tick(now);
        }
        if self.like_kafka && self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP) {
            return false;
        }
        self.swept = Some(now);
        let expired = self.producers.expired(now);
        for id in &expired {
            self.end_transaction(*id, false);
            if let Some(producer) = self.producers.by_id.get_mut(id) {
                producer.epoch = producer.epoch.saturating_add(1);
            }
            self.producer_changed(*id);
        }
        !expired.is_empty()
    }

    /// Compacts, deletes what is too old, and writes the file anew when most of it is dead.
    pub(super) fn clean(&mut self) {
        let now_ms = now_ms();
        let mut moved = Vec::new();
        for (name, topic) in &mut self.topics {
            let compacted = topic.is_compacted();
            let age = topic.set_number("retention.ms").filter(|age| *age >= 0 && topic.is_deleted_from());
            let tombstones = topic.set_number("delete.retention.ms").unwrap_or(86_400_000);
            for (number, partition) in topic.partitions.iter_mut().enumerate() {
                if compacted {
                    partition.compact(now_ms - tombstones);
                }
                let start = age.and_then(|age| partition.retain(usize::MAX, Some(now_ms - age)));
                moved.extend(start.map(|start| (name.clone(), number as i32, start)));
            }
        }
        for (name, number, start) in moved {
            self.storage.append(&start_entry(&name, number, start));
        }
        let alive: usize = self.topics.values().flat_map(|topic| &topic.partitions).map(|it| it.bytes).sum();
        if self.storage.bytes() > REWRITE_BYTES
            && self.storage.bytes() / 2 > alive as u64
            && let Err(error) = self.rewrite()
        {
            tracing::warn!(cause = %error, "the embedded broker's file could not be written anew");
        }
    }

    /// Everything that is alive, as entries.
    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let topics = self.topics.iter().map(|(name, topic)| topic_entry(name, topic));
        let producers = self.producers.by_id.keys().filter_map(|id| producer_entry(&self.producers, *id));
        let partitions = self.topics.iter().flat_map(|(name, topic)| {
            let numbered = topic.partitions.iter().enumerate();
            numbered.flat_map(move |(number, partition)| {
                let number = number as i32;
                let batches = partition.log.iter().map(move |batch| append_entry(name, number, &batch.data));
                std::iter::once(start_entry(name, number, partition.start)).chain(batches)
            })
        });
        let offsets = self.groups.iter().flat_map(|(name, group)| {
            group.offsets.iter().map(move |(key, it)| offset_entry(kind::OFFSET, 0, name, key, Some(it)))
        });
        let open = self.producers.by_id.iter().flat_map(|(id, producer)| {
            let touched = Entry::new(kind::TOUCHED, |body| {
                body.put_i64(*id);
                put_partitions(body, producer.transaction.partitions.iter());
            });
            let pending = producer.transaction.offsets.iter();
            let pending = pending.map(move |((group, key), it)| offset_entry(kind::PENDING, *id, group, key, Some(it)));
            producer.transaction.since.map(|_| touched).into_iter().chain(pending)
        });
        topics.chain(producers).chain(partitions).chain(offsets).chain(open)
    }

    /// Makes a change that was written before. None if the entry is not understood.
    fn replay(&mut self, entry: u8, body: &mut Bytes) -> Option<()> {
        match entry {
            kind::TOPIC => self.replay_topic(body)?,
            kind::TOPIC_GONE => drop(self.delete_topic(&get_text(body)?)),
            kind::APPEND => {
                let (name, number) = (get_text(body)?, body.try_get_i32().ok()?);
                let partition = self.topics.get_mut(&name)?.partition_mut(number)?;
                let header = Header::of(body.get(..batch::HEADER_BYTES).map(|_| &body[..])?);
                partition.remember(&header, header.base_offset);
                partition.put(Bytes::copy_from_slice(body));
            }
            kind::OFFSET => {
                let (_, group, partition, offset) = get_offset(body)?;
                self.commit_offset(&group, partition, offset);
            }
            kind::PRODUCER => {
                let (id, epoch) = (body.try_get_i64().ok()?, body.try_get_i16().ok()?);
                let name = get_text(body)?;
                let timeout = Duration::from_millis(body.try_get_u64().ok()?);
                let committed = body.try_get_i8().ok()?;
                self.producers.put(id, epoch, (!name.is_empty()).then_some(name), timeout);
                if let Some(producer) = self.producers.by_id.get_mut(&id).filter(|_| committed >= 0) {
                    producer.committed = Some(committed > 0);
                }
            }
            kind::START => {
                let (name, number) = (get_text(body)?, body.try_get_i32().ok()?);
                let start = body.try_get_i64().ok()?;
                self.topics.get_mut(&name)?.partition_mut(number)?.truncate_before(start);
            }
            kind::GROUP_GONE => self.delete_group(&get_text(body)?),
            kind::TOUCHED => {
                let id = body.try_get_i64().ok()?;
                let mut partitions = Vec::new();
                while body.has_remaining() {
                    partitions.push((get_text(body)?, body.try_get_i32().ok()?));
                }
                self.touch(id, &partitions);
            }
            kind::PENDING => {
                let (id, group, partition, offset) = get_offset(body)?;
                self.producers.by_id.get_mut(&id)?.transaction.groups.insert(group.clone());
                self.commit_offset_later(id, &group, partition, offset?);
            }
            kind::END => {
                let (id, commit) = (body.try_get_i64().ok()?, body.try_get_u8().ok()? == 1);
                self.end(id, commit, body.try_get_i64().ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    fn replay_topic(&mut self, body: &mut Bytes) -> Option<()> {
        let (name, partitions) = (get_text(body)?, body.try_get_i32().ok()?);
        let id = Uuid::from_slice(body.get(..16)?).ok()?;
        body.advance(16);
        let mut settings = BTreeMap::new();
        while body.has_remaining() {
            settings.insert(get_text(body)?, get_text(body)?);
        }
        let topic = self.topics.entry(name).or_insert_with(|| Topic::new(id, partitions, BTreeMap::new()));
        topic.settings = settings;
        topic.grow(partitions);
        Some(())
    }

    /// Names of topics by id, for requests that name topics so.
    pub(super) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.as_str())
    }

    /// Whether every partition exists.
    pub(super) fn knows(&self, (name, number): &PartitionKey) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.partition(*number).is_some())
    }

    /// Groups that a producer's transaction has announced.
    pub(super) fn announced_groups(&self, id: i64) -> Option<&BTreeSet<String>> {
        self.producers.by_id.get(&id).map(|producer| &producer.transaction.groups)
    }
}

fn topic_entry(name: &str, topic: &Topic) -> Entry {
    Entry::new(kind::TOPIC, |body| {
        put_text(body, name);
        body.put_i32(topic.partitions.len() as i32);
        body.put_slice(topic.id.as_bytes());
        for (setting, value) in &topic.settings {
            put_text(body, setting);
            put_text(body, value);
        }
    })
}

fn append_entry(name: &str, number: i32, data: &[u8]) -> Entry {
    Entry::new(kind::APPEND, |body| {
        body.reserve(name.len() + 8 + data.len());
        put_text(body, name);
        body.put_i32(number);
        body.put_slice(data);
    })
}

fn start_entry(name: &str, number: i32, start: i64) -> Entry {
    Entry::new(kind::START, |body| {
        put_text(body, name);
        body.put_i32(number);
        body.put_i64(start);
    })
}

fn producer_entry(producers: &Producers, id: i64) -> Option<Entry> {
    let producer = producers.by_id.get(&id)?;
    Some(Entry::new(kind::PRODUCER, |body| {
        body.put_i64(id);
        body.put_i16(producer.epoch);
        put_text(body, producer.transactional_id.as_deref().unwrap_or_default());
        body.put_u64(producer.timeout.as_millis() as u64);
        body.put_i8(producer.committed.map_or(-1, i8::from));
    }))
}

fn offset_entry(
    entry: u8,
    producer: i64,
    group: &str,
    (topic, partition): &PartitionKey,
    offset: Option<&CommittedOffset>,
) -> Entry {
    Entry::new(entry, |body| {
        body.put_i64(producer);
        put_text(body, group);
        put_text(body, topic);
        body.put_i32(*partition);
        if let Some(CommittedOffset { offset, leader_epoch, metadata }) = offset {
            body.put_i64(*offset);
            body.put_i32(*leader_epoch);
            put_text(body, metadata);
        }
    })
}

fn get_offset(body: &mut Bytes) -> Option<(i64, String, PartitionKey, Option<CommittedOffset>)> {
    let producer = body.try_get_i64().ok()?;
    let group = get_text(body)?;
    let partition = (get_text(body)?, body.try_get_i32().ok()?);
    if !body.has_remaining() {
        return Some((producer, group, partition, None));
    }
    let (offset, leader_epoch) = (body.try_get_i64().ok()?, body.try_get_i32().ok()?);
    Some((producer, group, partition, Some(CommittedOffset { offset, leader_epoch, metadata: get_text(body)? })))
}

fn put_partitions<'a>(body: &mut BytesMut, partitions: impl Iterator<Item = &'a PartitionKey>) {
    for (name, number) in partitions {
        put_text(body, name);
        body.put_i32(*number);
    }
}

fn put_text(body: &mut BytesMut, text: &str) {
    body.put_u32(text.len() as u32);
    body.put_slice(text.as_bytes());
}

fn get_text(body: &mut Bytes) -> Option<String> {
    let length = body.try_get_u32().ok()? as usize;
    if length > body.remaining() {
        return None;
    }
    String::from_utf8(body.split_to(length).to_vec()).ok()
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
