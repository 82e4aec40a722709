//! Records that cannot be understood yet: what it takes is on its way, or out of reach for a while. Their partitions stand still meanwhile,
//! all others go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::reader::Reader;
use crate::engine::batch::SourcePartition;
use crate::engine::commit::RestartReason;
use crate::engine::event::SourceRecord;
use crate::kafka::consumer::Consumer;

/// What may be held back, in bytes. Beyond, nothing is fetched: of each partition there may be as much as one fetch has brought.
const HELD_BACK_BYTES: usize = 64 * 1024 * 1024;
/// Records that go on in one go, so that the lane gets to do what else there is.
const AT_ONCE: usize = 500;

/// What is held back, by partition and in order.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    partitions: BTreeMap<SourcePartition, Held>,
    bytes: usize,
    /// Nothing at all is fetched.
    is_full: bool,
}

#[derive(Debug, Default)]
struct Held {
    records: VecDeque<SourceRecord>,
    is_paused: bool,
}

/// What is to be done about what is fetched.
#[derive(Debug, PartialEq, Eq)]
enum Fetching {
    /// These are not fetched any more.
    Without(Vec<SourcePartition>),
    /// Nothing is.
    Nothing,
    /// All that was not before.
    All,
}

impl HeldBack {
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Takes those out that come behind what is held back of their partition.
    pub(super) fn sift(&mut self, records: &mut Vec<SourceRecord>) {
        if self.is_empty() {
            return;
        }
        for record in std::mem::take(records) {
            match self.partitions.get_mut(&partition_of(&record)) {
                Some(held) => {
                    self.bytes += record.size_bytes();
                    held.records.push_back(record);
                }
                None => records.push(record),
            }
        }
    }

    /// Keeps records, in order, before what is held back of their partitions.
    pub(super) fn put_back(&mut self, records: Vec<SourceRecord>) {
        for record in records.into_iter().rev() {
            self.bytes += record.size_bytes();
            self.partitions.entry(partition_of(&record)).or_default().records.push_front(record);
        }
    }

    /// The first that can be understood now, and the partitions of which nothing is left, and which were paused.
    fn ready(&mut self, is_ready: impl Fn(&SourceRecord) -> bool) -> (Vec<SourceRecord>, Vec<SourcePartition>) {
        let (mut ready, mut done) = (Vec::new(), Vec::new());
        let HeldBack { partitions, bytes, .. } = self;
        partitions.retain(|partition, held| {
            while ready.len() < AT_ONCE
                && let Some(record) = held.records.pop_front_if(|record| is_ready(record))
            {
                *bytes = bytes.saturating_sub(record.size_bytes());
                ready.push(record);
            }
            if held.records.is_empty() && held.is_paused {
                done.push(partition.clone());
            }
            !held.records.is_empty()
        });
        (ready, done)
    }

    /// What is to be fetched from now on.
    fn fetching(&mut self) -> Fetching {
        if self.bytes > HELD_BACK_BYTES {
            self.is_full = true;
            return Fetching::Nothing;
        }
        if self.is_full && self.bytes < HELD_BACK_BYTES / 2 {
            self.is_full = false;
            self.resumed();
            return Fetching::All;
        }
        let fresh = self.partitions.iter_mut().filter_map(|(partition, held)| {
            let was_paused = std::mem::replace(&mut held.is_paused, true);
            (!was_paused).then(|| partition.clone())
        });
        Fetching::Without(fresh.collect())
    }

    /// A partition is let go: whoever has it next reads its records again.
    pub(super) fn let_go(&mut self, partition: &SourcePartition) {
        let held = self.partitions.remove(partition).unwrap_or_default();
        let bytes: usize = held.records.iter().map(SourceRecord::size_bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// All partitions go on to be fetched, these too.
    pub(super) fn resumed(&mut self) {
        self.partitions.values_mut().for_each(|held| held.is_paused = false);
    }
}

/// The partitions of which something that comes next cannot be understood yet.
#[derive(Debug, Default)]
pub(super) struct Unready {
    partitions: BTreeSet<SourcePartition>,
    records: Vec<SourceRecord>,
}

impl Unready {
    /// Takes a record that cannot be understood yet, or comes behind one. Gives any other back.
    pub(super) fn take(
        &mut self,
        record: SourceRecord,
        is_ready: impl Fn(&SourceRecord) -> bool,
    ) -> Option<SourceRecord> {
        if self.partitions.is_empty() && is_ready(&record) {
            return Some(record);
        }
        let partition = partition_of(&record);
        if !self.partitions.contains(&partition) {
            if is_ready(&record) {
                return Some(record);
            }
            self.partitions.insert(partition);
        }
        self.records.push(record);
        None
    }

    /// What was taken, in order.
    pub(super) fn into_records(self) -> Vec<SourceRecord> {
        self.records
    }
}

fn partition_of(record: &SourceRecord) -> SourcePartition {
    SourcePartition { topic: record.origin.topic.clone(), partition: record.origin.partition }
}

impl Reader {
    /// Runs what can be understood now, and keeps partitions from being read on of which something cannot.
    pub(super) fn see_to_held_back(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        let mut state = self.state();
        if state.held_back.is_empty() && !state.held_back.is_full {
            return Ok(());
        }
        let (mut ready, done) = state.held_back.ready(|record| self.context.is_ready(record, false));
        drop(state);
        // What is run may be held back again, and its partition with it.
        consumer.resume_these(&done).map_err(|error| self.trouble(&error))?;
        if !ready.is_empty() {
            self.run_records(&mut ready)?;
        }
        self.pause_held_back(consumer)
    }

    /// Keeps partitions from being read on of which something is held back.
    pub(super) fn pause_held_back(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        let fetching = self.state().held_back.fetching();
        let done = match fetching {
            Fetching::Without(partitions) => consumer.pause_these(&partitions),
            Fetching::Nothing => consumer.pause(),
            Fetching::All => consumer.resume(),
        };
        done.map_err(|error| self.trouble(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::event::{Origin, Topic};

    /// A record of a partition whose schema is that number.
    fn record(partition: i32, offset: i64, schema: u8) -> SourceRecord {
        let topic = Arc::new(Topic { name: "orders".into(), id: [1; 16] });
        SourceRecord::new(Origin { topic, partition, offset }, 0, None, Some(&[schema]), [])
    }

    fn places(records: &[SourceRecord]) -> Vec<(i32, i64)> {
        records.iter().map(|it| (it.origin.partition, it.origin.offset)).collect()
    }

    fn knows(most: u8) -> impl Fn(&SourceRecord) -> bool {
        move |record| record.value().unwrap()[0] <= most
    }

    fn partitions(of: &[SourcePartition]) -> Vec<i32> {
        of.iter().map(|it| it.partition).collect()
    }

    /// Takes what comes as a lane does, where schemas up to that number are known. Returns what is run.
    fn take(held_back: &mut HeldBack, mut records: Vec<SourceRecord>, known: u8) -> Vec<(i32, i64)> {
        held_back.sift(&mut records);
        let mut unready = Unready::default();
        records = records.into_iter().filter_map(|record| unready.take(record, knows(known))).collect();
        held_back.put_back(unready.into_records());
        places(&records)
    }

    fn paused(held_back: &mut HeldBack) -> Vec<i32> {
        match held_back.fetching() {
            Fetching::Without(fresh) => partitions(&fresh),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_comes_behind_what_is_not_understood_waits_and_other_partitions_do_not() {
        let mut held_back = HeldBack::default();
        let ran = take(&mut held_back, vec![record(0, 0, 1), record(0, 1, 2), record(1, 0, 1), record(0, 2, 1)], 1);
        assert_eq!(ran, [(0, 0), (1, 0)]);
        assert_eq!(held_back.ready(knows(1)).0.len(), 0);
        assert_eq!(paused(&mut held_back), [0]);
        assert_eq!(paused(&mut held_back), [0; 0], "it is paused");
        // What was fetched before that comes all the same.
        assert_eq!(take(&mut held_back, vec![record(0, 3, 3), record(1, 1, 1)], 1), [(1, 1)]);
        let (ready, done) = held_back.ready(knows(2));
        assert_eq!((places(&ready), done.len()), (vec![(0, 1), (0, 2)], 0));
        // Meanwhile the schema was forgotten again: they come before the one that is still there.
        let mut unready = Unready::default();
        assert!(ready.into_iter().all(|record| unready.take(record, knows(0)).is_none()));
        held_back.put_back(unready.into_records());
        let (ready, done) = held_back.ready(knows(3));
        assert_eq!((places(&ready), partitions(&done)), (vec![(0, 1), (0, 2), (0, 3)], vec![0]));
        assert!(held_back.is_empty());
        assert_eq!(held_back.bytes, 0);
    }

    #[test]
    fn what_goes_with_its_partition_is_forgotten_and_what_was_resumed_is_paused_again() {
        let mut held_back = HeldBack::default();
        take(&mut held_back, vec![record(0, 0, 9), record(1, 0, 9)], 1);
        assert_eq!(paused(&mut held_back), [0, 1]);
        held_back.let_go(&partition_of(&record(0, 0, 9)));
        held_back.resumed();
        assert_eq!(paused(&mut held_back), [1]);
        held_back.let_go(&partition_of(&record(1, 0, 9)));
        assert_eq!(held_back.bytes, 0);
    }

    #[test]
    fn no_more_is_fetched_while_too_much_is_held_back() {
        let mut held_back = HeldBack::default();
        let topic = Arc::new(Topic { name: "orders".into(), id: [1; 16] });
        let large = vec![9; 20 * 1024 * 1024];
        let records = (0..4).map(|partition| {
            let origin = Origin { topic: topic.clone(), partition, offset: 0 };
            SourceRecord::new(origin, 0, None, Some(&large), [])
        });
        take(&mut held_back, records.collect(), 1);
        assert_eq!(held_back.fetching(), Fetching::Nothing);
        let gone = |partition| SourcePartition { topic: topic.clone(), partition };
        held_back.let_go(&gone(0));
        held_back.let_go(&gone(1));
        assert_eq!(paused(&mut held_back), [2, 3], "there is room, but not much");
        held_back.let_go(&gone(2));
        assert_eq!(held_back.fetching(), Fetching::All);
        assert_eq!(paused(&mut held_back), [3]);
    }

    #[test]
    fn not_all_that_can_be_understood_goes_on_in_one_go() {
        let mut held_back = HeldBack::default();
        take(&mut held_back, (0..1_200).map(|offset| record(0, offset, 2)).collect(), 1);
        let counts = std::iter::from_fn(|| Some(held_back.ready(knows(2)).0.len()).filter(|count| *count > 0));
        assert_eq!(counts.collect::<Vec<_>>(), [500, 500, 200]);
    }
}
