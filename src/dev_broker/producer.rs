//! Producers: their ids and epochs, what they wrote last in each partition, and their transactions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;

use super::group::CommittedOffset;

/// Batches of one producer that a partition remembers, to know a repeated one; as many as a client may have in flight.
const BATCHES_REMEMBERED: usize = 5;

/// Producers that are known; beyond, those without a transactional id are forgotten and get a new id when they come back.
const PRODUCERS_MOST: usize = 100_000;

/// A partition by topic name and number.
pub(super) type PartitionKey = (String, i32);

/// All producers.
#[derive(Debug, Default)]
pub(super) struct Producers {
    pub by_id: HashMap<i64, Producer>,
    pub by_transactional_id: HashMap<String, i64>,
    pub last_id: i64,
}

/// One producer.
#[derive(Debug)]
pub(super) struct Producer {
    pub epoch: i16,
    pub transactional_id: Option<String>,
    pub timeout: Duration,
    pub transaction: Transaction,
    /// When its last transaction ended; a real broker is still writing its markers then.
    pub ended: Option<Instant>,
    /// How its last transaction under this epoch ended: whether it was committed.
    pub committed: Option<bool>,
}

/// What a transaction has touched.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub partitions: BTreeSet<PartitionKey>,
    pub groups: BTreeSet<String>,
    /// Offsets that become the group's if it commits.
    pub offsets: BTreeMap<(String, PartitionKey), CommittedOffset>,
    /// When it touched its first partition or group; None while nothing is open.
    pub since: Option<Instant>,
}

impl Producers {
    /// A new producer with an epoch of 0.
    pub(super) fn create(&mut self, transactional_id: Option<String>, timeout: Duration) -> i64 {
        if self.by_id.len() >= PRODUCERS_MOST {
            self.by_id.retain(|_, producer| producer.transactional_id.is_some());
        }
        self.last_id += 1;
        self.put(self.last_id, 0, transactional_id, timeout);
        self.last_id
    }

    /// A producer as it was written.
    /// It has had no transaction under that epoch yet.
    pub(super) fn put(&mut self, id: i64, epoch: i16, transactional_id: Option<String>, timeout: Duration) {
        self.last_id = self.last_id.max(id);
        if let Some(name) = &transactional_id {
            self.by_transactional_id.insert(name.clone(), id);
        }
        match self.by_id.get_mut(&id) {
            Some(known) => (known.epoch, known.timeout, known.committed) = (epoch, timeout, None),
            None => {
                let transaction = Transaction::default();
                let fresh = Producer { epoch, transactional_id, timeout, transaction, ended: None, committed: None };
                self.by_id.insert(id, fresh);
            }
        }
    }

    /// The producer of that id, if the transactional id and epoch are its own.
    pub(super) fn checked(
        &mut self,
        transactional_id: &str,
        id: i64,
        epoch: i16,
    ) -> Result<&mut Producer, ResponseError> {
        if self.by_transactional_id.get(transactional_id) != Some(&id) {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let producer = self.by_id.get_mut(&id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if producer.epoch != epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(producer)
    }

    /// Producers whose transaction took longer than they allowed.
    pub(super) fn expired(&self, now: Instant) -> Vec<i64> {
        let late = |it: &Producer| it.transaction.since.is_some_and(|since| now.duration_since(since) > it.timeout);
        self.by_id.iter().filter(|(_, producer)| late(producer)).map(|(id, _)| *id).collect()
    }
}

/// What one producer wrote last in one partition.
#[derive(Debug)]
pub(super) struct Sequences {
    pub epoch: i16,
    last: VecDeque<(i32, i32, i64)>,
}

impl Sequences {
    pub(super) fn new(epoch: i16) -> Sequences {
        Sequences { epoch, last: VecDeque::new() }
    }

    /// Whether a batch is the next one: None if it is, the offset it has already if it is a repetition.
    pub(super) fn check(&self, sequence: i32, count: i32) -> Result<Option<i64>, ResponseError> {
        let end = end_of(sequence, count);
        if let Some((_, _, offset)) = self.last.iter().find(|it| (it.0, it.1) == (sequence, end)) {
            return Ok(Some(*offset));
        }
        match self.last.back() {
            Some((_, last, _)) if sequence != end_of(*last, 2) => Err(ResponseError::OutOfOrderSequenceNumber),
            Some(_) | None => Ok(None),
        }
    }

    pub(super) fn push(&mut self, sequence: i32, count: i32, offset: i64) {
        if self.last.len() == BATCHES_REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((sequence, end_of(sequence, count), offset));
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.last.back().map_or(-1, |last| last.1)
    }
}

/// The last sequence number of a batch; they wrap around to 0.
fn end_of(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count) - 1) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_batches_are_known_and_gaps_are_refused() {
        let mut sequences = Sequences::new(0);
        assert_eq!(sequences.check(0, 3), Ok(None));
        sequences.push(0, 3, 100);
        assert_eq!(sequences.check(0, 3), Ok(Some(100)));
        assert_eq!(sequences.check(3, 1), Ok(None));
        assert_eq!(sequences.check(4, 1), Err(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn sequence_numbers_wrap_around() {
        let mut sequences = Sequences::new(0);
        sequences.push(i32::MAX - 1, 2, 5);
        assert_eq!(sequences.last_sequence(), i32::MAX);
        assert_eq!(sequences.check(0, 1), Ok(None));
    }
}
