//! Records that cannot be understood yet: what it takes is on its way, or out of reach for a while. Their partitions stand still meanwhile,
//! all others go on.

use std::collections::{BTreeMap, VecDeque};

use super::reader::Reader;
use crate::engine::batch::SourcePartition;
use crate::engine::commit::RestartReason;
use crate::engine::event::SourceRecord;
use crate::kafka::consumer::Consumer;

/// What is held back, by partition and in order. Of a partition that is no more than what one poll has brought: then it is paused.
#[derive(Debug, Default)]
pub(super) struct HeldBack(BTreeMap<SourcePartition, Held>);

#[derive(Debug, Default)]
struct Held {
    records: VecDeque<SourceRecord>,
    is_paused: bool,
}

/// What has become of it.
#[derive(Debug, Default)]
struct Looked {
    /// These can be understood now.
    ready: Vec<SourceRecord>,
    to_pause: Vec<SourcePartition>,
    to_resume: Vec<SourcePartition>,
}

impl HeldBack {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves those that can be understood now, and come before none of their partition that cannot; keeps the others.
    pub(super) fn sift(&mut self, records: &mut Vec<SourceRecord>, is_ready: impl Fn(&SourceRecord) -> bool) {
        if self.is_empty() && records.iter().all(&is_ready) {
            return;
        }
        for record in std::mem::take(records) {
            let partition = partition_of(&record);
            if let Some(held) = self.0.get_mut(&partition) {
                held.records.push_back(record);
            } else if is_ready(&record) {
                records.push(record);
            } else {
                self.0.insert(partition, Held { records: [record].into(), is_paused: false });
            }
        }
    }

    fn look(&mut self, is_ready: impl Fn(&SourceRecord) -> bool) -> Looked {
        let mut looked = Looked::default();
        self.0.retain(|partition, held| {
            while let Some(record) = held.records.pop_front_if(|record| is_ready(record)) {
                looked.ready.push(record);
            }
            if held.records.is_empty() {
                if held.is_paused {
                    looked.to_resume.push(partition.clone());
                }
                return false;
            }
            if !std::mem::replace(&mut held.is_paused, true) {
                looked.to_pause.push(partition.clone());
            }
            true
        });
        looked
    }

    /// A partition is let go: whoever has it next reads its records again.
    pub(super) fn let_go(&mut self, partition: &SourcePartition) {
        self.0.remove(partition);
    }

    /// All partitions go on to be fetched, these too.
    pub(super) fn resumed(&mut self) {
        self.0.values_mut().for_each(|held| held.is_paused = false);
    }
}

fn partition_of(record: &SourceRecord) -> SourcePartition {
    SourcePartition { topic: record.origin.topic.clone(), partition: record.origin.partition }
}

impl Reader {
    /// Runs what can be understood now, and keeps partitions from being read on of which something cannot.
    pub(super) fn see_to_held_back(&self, consumer: &Consumer<Reader>) -> Result<(), RestartReason> {
        let mut state = self.state();
        if state.held_back.is_empty() {
            return Ok(());
        }
        let Looked { mut ready, to_pause, to_resume } = state.held_back.look(|record| self.context.is_ready(record));
        drop(state);
        consumer.pause_these(&to_pause).map_err(|error| self.trouble(&error))?;
        if !ready.is_empty() {
            self.run_records(&mut ready)?;
        }
        consumer.resume_these(&to_resume).map_err(|error| self.trouble(&error))
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

    #[test]
    fn what_comes_behind_what_is_not_understood_waits_and_other_partitions_do_not() {
        let mut held_back = HeldBack::default();
        let mut records = vec![record(0, 0, 1), record(0, 1, 2), record(1, 0, 1), record(0, 2, 1)];
        held_back.sift(&mut records, knows(1));
        assert_eq!(places(&records), [(0, 0), (1, 0)]);
        let looked = held_back.look(knows(1));
        assert_eq!((looked.ready.len(), partitions(&looked.to_pause)), (0, vec![0]));
        assert_eq!(held_back.look(knows(1)).to_pause, [], "it is paused");
        // What was fetched before that comes all the same.
        let mut records = vec![record(0, 3, 3), record(1, 1, 1)];
        held_back.sift(&mut records, knows(1));
        assert_eq!(places(&records), [(1, 1)]);
        let looked = held_back.look(knows(2));
        assert_eq!(places(&looked.ready), [(0, 1), (0, 2)]);
        assert_eq!((looked.to_resume.len(), held_back.is_empty()), (0, false));
        let looked = held_back.look(knows(3));
        assert_eq!((places(&looked.ready), partitions(&looked.to_resume)), (vec![(0, 3)], vec![0]));
        assert!(held_back.is_empty());
    }

    #[test]
    fn what_goes_with_its_partition_is_forgotten_and_what_was_resumed_is_paused_again() {
        let mut held_back = HeldBack::default();
        held_back.sift(&mut vec![record(0, 0, 9), record(1, 0, 9)], knows(1));
        assert_eq!(partitions(&held_back.look(knows(1)).to_pause), [0, 1]);
        held_back.let_go(&partition_of(&record(0, 0, 9)));
        held_back.resumed();
        assert_eq!(partitions(&held_back.look(knows(1)).to_pause), [1]);
    }
}
