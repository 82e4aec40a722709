//! How far a group is behind, asked from outside the group.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::client::{ClientError, ClientSettings};

/// How long one question to the broker may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for a group's offsets without being a member.
pub struct GroupOffsets {
    consumer: BaseConsumer,
}

/// Where a group stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What the group committed; None if nothing.
    pub committed: Option<i64>,
    /// The first offset of the log.
    pub start: i64,
    /// The offset after the last committed record.
    pub end: i64,
}

impl Standing {
    /// Records that are committed and not done.
    pub fn lag(&self) -> i64 {
        (self.end - self.committed.unwrap_or(self.start)).max(0)
    }
}

impl GroupOffsets {
    /// Asks for the offsets of a group.
    pub fn of(settings: &ClientSettings, group: &str) -> Result<GroupOffsets, ClientError> {
        let mut config = settings.reader();
        config.set("group.id", group);
        Ok(GroupOffsets { consumer: config.create()? })
    }

    /// Where the group stands in every partition of the topics; topics that do not exist have none.
    pub fn standings(&self, topics: &[&str]) -> Result<Vec<Standing>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(None, ASK_TIMEOUT)?;
        let mut list = TopicPartitionList::new();
        for topic in metadata.topics().iter().filter(|it| topics.contains(&it.name())) {
            for partition in topic.partitions() {
                list.add_partition(topic.name(), partition.id());
            }
        }
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        self.standings_in(list)
    }

    /// Where the group stands in one partition; None if there is no such partition.
    pub fn standing(&self, topic: &str, partition: i32) -> Result<Option<Standing>, KafkaError> {
        // Of all topics: asking for a name could create it.
        let metadata = self.consumer.fetch_metadata(None, ASK_TIMEOUT)?;
        let mut found = metadata.topics().iter().filter(|it| it.name() == topic).flat_map(|it| it.partitions());
        if !found.any(|it| it.id() == partition) {
            return Ok(None);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        Ok(self.standings_in(list)?.pop())
    }

    fn standings_in(&self, list: TopicPartitionList) -> Result<Vec<Standing>, KafkaError> {
        let committed = self.consumer.committed_offsets(list, ASK_TIMEOUT)?;
        let mut standings = Vec::with_capacity(committed.count());
        for element in committed.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            let (start, end) = self.consumer.fetch_watermarks(&topic, partition, ASK_TIMEOUT)?;
            let committed = element.offset().to_raw().filter(|offset| *offset >= 0);
            standings.push(Standing { topic, partition, committed, start, end });
        }
        Ok(standings)
    }
}
