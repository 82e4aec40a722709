//! Which partitions a lane's consumer fetches from.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use super::consumer::{Consumer, PollError, Rebalance, classify};
use crate::engine::batch::SourcePartition;

impl<H: Rebalance> Consumer<H> {
    /// Stops fetching, of all that is assigned; throws away what was fetched and not polled.
    pub fn pause(&self) -> Result<(), PollError> {
        let assigned = self.inner.assignment().map_err(|error| classify(&error))?;
        self.inner.pause(&assigned).map_err(|error| classify(&error))
    }

    /// Goes on fetching.
    pub fn resume(&self) -> Result<(), PollError> {
        let assigned = self.inner.assignment().map_err(|error| classify(&error))?;
        self.inner.resume(&assigned).map_err(|error| classify(&error))
    }

    /// The same, of some of what is assigned.
    pub fn pause_these(&self, partitions: &[SourcePartition]) -> Result<(), PollError> {
        self.of_these(partitions, |list| self.inner.pause(list))
    }

    /// Goes on fetching these.
    pub fn resume_these(&self, partitions: &[SourcePartition]) -> Result<(), PollError> {
        self.of_these(partitions, |list| self.inner.resume(list))
    }

    fn of_these(
        &self,
        partitions: &[SourcePartition],
        act: impl FnOnce(&TopicPartitionList) -> Result<(), KafkaError>,
    ) -> Result<(), PollError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for it in partitions {
            list.add_partition(&it.topic.name, it.partition);
        }
        act(&list).map_err(|error| classify(&error))
    }
}
