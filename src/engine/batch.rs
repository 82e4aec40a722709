//! A batch: everything that one transaction writes, as a value.
//!
//! Records stay grouped by the execution or dead letter that wrote them, in the order in which the events were read, each
//! with the position that holds once it is written. So a batch can be written again after an abort, a group whose records
//! are refused can be replaced by its failure, and any prefix of a batch is a batch of its own. It knows the partitions it
//! depends on and the assignment under which each was read: only while all of these are still held may it be written.

use std::sync::Arc;

use super::event::Topic;
use super::position::Position;

/// A partition of a topic that is consumed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePartition {
    /// The topic.
    pub topic: Arc<Topic>,
    /// The partition's number.
    pub partition: i32,
}

/// One assignment of one partition to this lane. A partition that comes back has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssignmentId(pub u64);

/// What one transaction writes. `R` is a record as it goes to the producer.
#[derive(Debug)]
pub struct Batch<S, R> {
    entries: Vec<Entry<S, R>>,
    dependencies: Vec<Dependency>,
    groups: usize,
    records: usize,
    bytes: usize,
}

/// A place in a batch; by default its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    entries: usize,
    groups: usize,
}

/// A partition that a batch depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The partition.
    pub partition: SourcePartition,
    /// The assignment under which the batch's events were read from it.
    pub assignment: AssignmentId,
}

#[derive(Debug)]
struct Entry<S, R> {
    dependency: usize,
    position: Position,
    group: Option<Group<S, R>>,
}

/// What one execution, or one record that could not be understood, writes.
#[derive(Debug)]
pub struct Group<S, R> {
    /// What wrote it; enough to fail it if a record of it is refused.
    pub subject: S,
    /// The records, in order.
    pub records: Vec<R>,
    /// What the records weigh, in bytes.
    pub bytes: usize,
}

impl<S, R> Default for Batch<S, R> {
    fn default() -> Self {
        Batch { entries: Vec::new(), dependencies: Vec::new(), groups: 0, records: 0, bytes: 0 }
    }
}

impl<S, R> Batch<S, R> {
    /// Adds what was done for one event: the position of its partition from now on, and what was written for it, if
    /// anything. Positions of one partition must come in order.
    pub fn push(
        &mut self,
        partition: &SourcePartition,
        assignment: AssignmentId,
        position: Position,
        group: Option<Group<S, R>>,
    ) {
        let dependency = self.dependency(partition, assignment);
        self.push_entry(Entry { dependency, position, group });
    }

    fn push_entry(&mut self, entry: Entry<S, R>) {
        let Entry { dependency, position, group } = entry;
        if let Some(group) = &group {
            self.groups += 1;
            self.records += group.records.len();
            self.bytes += group.bytes;
        } else if let Some(last) =
            self.entries.last_mut().filter(|it| it.dependency == dependency && it.group.is_none())
        {
            // Events that nothing matches leave one entry, however many they are.
            last.position = position;
            return;
        }
        self.entries.push(Entry { dependency, position, group });
    }

    fn dependency(&mut self, partition: &SourcePartition, assignment: AssignmentId) -> usize {
        let known = self.dependencies.iter().rposition(|it| it.assignment == assignment && it.partition == *partition);
        known.unwrap_or_else(|| {
            self.dependencies.push(Dependency { partition: partition.clone(), assignment });
            self.dependencies.len() - 1
        })
    }

    /// Moves everything of `other` behind what is here.
    pub fn append(&mut self, other: Batch<S, R>) {
        let Batch { entries, dependencies, .. } = other;
        if self.entries.is_empty() && self.dependencies.is_empty() {
            *self = Batch::from_entries(entries, dependencies);
            return;
        }
        let here: Vec<usize> = dependencies.iter().map(|it| self.dependency(&it.partition, it.assignment)).collect();
        for entry in entries {
            self.push_entry(Entry { dependency: here[entry.dependency], ..entry });
        }
    }

    fn from_entries(entries: Vec<Entry<S, R>>, dependencies: Vec<Dependency>) -> Self {
        let groups = || entries.iter().filter_map(|it| it.group.as_ref());
        let (count, records, bytes) =
            (groups().count(), groups().map(|it| it.records.len()).sum(), groups().map(|it| it.bytes).sum());
        Batch { groups: count, records, bytes, entries, dependencies }
    }

    /// Splits off the second half of the groups, with the positions that belong to it. Each half is a batch of its own, to
    /// be written in order. None if there are not two groups.
    pub fn split_half(&mut self) -> Option<Batch<S, R>> {
        if self.groups < 2 {
            return None;
        }
        let middle = self.groups / 2;
        let mut seen = 0;
        let at = self.entries.iter().position(|entry| {
            seen += usize::from(entry.group.is_some());
            seen > middle
        })?;
        let entries = self.entries.split_off(at);
        let second = Batch::from_entries(entries, self.dependencies.clone());
        let first = Batch::from_entries(std::mem::take(&mut self.entries), std::mem::take(&mut self.dependencies));
        *self = first;
        Some(second)
    }

    /// The partitions that the batch depends on.
    pub fn dependencies(&self) -> &[Dependency] {
        &self.dependencies
    }

    /// The partitions that the batch moves, and the position to commit for each: the last one pushed. Half of a batch depends on all that the
    /// whole does, and its commit names these alone.
    pub fn moves(&self) -> impl Iterator<Item = (&Dependency, &Position)> {
        let mut last: Vec<Option<&Position>> = vec![None; self.dependencies.len()];
        for entry in &self.entries {
            last[entry.dependency] = Some(&entry.position);
        }
        self.dependencies.iter().zip(last).filter_map(|(dependency, position)| Some((dependency, position?)))
    }

    /// The same without the assignments.
    pub fn positions(&self) -> Vec<(&SourcePartition, &Position)> {
        self.moves().map(|(dependency, position)| (&dependency.partition, position)).collect()
    }

    /// The groups in order; their place in this is what refusals name.
    pub fn groups(&self) -> impl Iterator<Item = &Group<S, R>> {
        self.entries.iter().filter_map(|it| it.group.as_ref())
    }

    /// Where its end is now.
    pub fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), groups: self.groups }
    }

    /// The groups that came after a mark, with their places. The mark counts as long as nothing was split off.
    pub fn groups_since(&self, mark: Mark) -> impl Iterator<Item = (usize, &Group<S, R>)> {
        let entries = self.entries.get(mark.entries..).unwrap_or_default();
        (mark.groups..).zip(entries.iter().filter_map(|it| it.group.as_ref()))
    }

    /// Replaces groups: `replace` gets the place and the group, and returns another one for it, or None to keep it.
    pub fn replace_groups(&mut self, mut replace: impl FnMut(usize, &Group<S, R>) -> Option<Group<S, R>>) {
        let groups = self.entries.iter_mut().filter_map(|it| it.group.as_mut());
        for (place, group) in groups.enumerate() {
            if let Some(other) = replace(place, group) {
                self.records = self.records - group.records.len() + other.records.len();
                self.bytes = self.bytes - group.bytes + other.bytes;
                *group = other;
            }
        }
    }

    /// Whether it moves no position and writes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many groups it holds.
    pub fn group_count(&self) -> usize {
        self.groups
    }

    /// How many records it writes.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// What its records weigh, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> SourcePartition {
        SourcePartition { topic: Arc::new(Topic { name: "events".into(), id: [0; 16] }), partition: number }
    }

    fn group(name: u64, records: usize) -> Option<Group<u64, u64>> {
        Some(Group { subject: name, records: vec![name; records], bytes: records * 10 })
    }

    fn offsets(batch: &Batch<u64, u64>) -> Vec<(i32, i64)> {
        batch.positions().iter().map(|(partition, position)| (partition.partition, position.next_offset)).collect()
    }

    fn sample() -> Batch<u64, u64> {
        let mut batch = Batch::default();
        for offset in 0..6_i64 {
            let number = (offset % 2) as i32;
            batch.push(&partition(number), AssignmentId(1), Position::at(offset + 1), group(offset as u64, 2));
        }
        batch
    }

    #[test]
    fn positions_are_the_last_of_each_partition() {
        assert_eq!(offsets(&sample()), [(0, 5), (1, 6)]);
    }

    #[test]
    fn events_without_a_match_leave_one_entry() {
        let mut batch: Batch<u64, u64> = Batch::default();
        for offset in 0..1000 {
            batch.push(&partition(0), AssignmentId(1), Position::at(offset + 1), None);
        }
        assert_eq!((batch.entries.len(), offsets(&batch)), (1, vec![(0, 1000)]));
    }

    #[test]
    fn halves_are_batches_of_their_own_in_order() {
        let mut first = sample();
        let second = first.split_half().unwrap();
        assert_eq!(first.groups().map(|it| it.subject).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(second.groups().map(|it| it.subject).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!((offsets(&first), offsets(&second)), (vec![(0, 3), (1, 2)], vec![(0, 5), (1, 6)]));
        assert_eq!((first.bytes() + second.bytes(), first.record_count()), (120, 6));
        let mut one = Batch::default();
        one.push(&partition(0), AssignmentId(1), Position::at(1), group(1, 1));
        assert!(one.split_half().is_none());
    }

    #[test]
    fn half_of_a_batch_moves_what_lies_in_it_and_depends_on_all() {
        let mut first = Batch::default();
        first.push(&partition(0), AssignmentId(1), Position::at(1), group(1, 1));
        first.push(&partition(1), AssignmentId(1), Position::at(8), group(2, 1));
        let second = first.split_half().unwrap();
        assert_eq!((offsets(&first), offsets(&second)), (vec![(0, 1)], vec![(1, 8)]));
        let moved = |batch: &Batch<u64, u64>| batch.moves().map(|(it, _)| it.partition.partition).collect::<Vec<_>>();
        assert_eq!((moved(&first), moved(&second)), (vec![0], vec![1]));
        assert_eq!((first.dependencies().len(), second.dependencies().len()), (2, 2));
    }

    #[test]
    fn appending_keeps_order_counts_and_assignments() {
        let mut batch = sample();
        batch.push(&partition(0), AssignmentId(1), Position::at(7), None);
        let mut more: Batch<u64, u64> = Batch::default();
        more.push(&partition(0), AssignmentId(1), Position::at(8), None);
        more.push(&partition(0), AssignmentId(1), Position::at(9), group(9, 1));
        more.push(&partition(0), AssignmentId(2), Position::at(12), None);
        let mark = batch.mark();
        batch.append(more);
        let since = |mark| batch.groups_since(mark).map(|(place, it)| (place, it.subject)).collect::<Vec<_>>();
        assert_eq!(since(mark), [(6, 9)]);
        assert_eq!(since(Mark::default()).len(), 7);
        assert_eq!((batch.group_count(), batch.record_count(), batch.bytes()), (7, 13, 130));
        assert_eq!(batch.dependencies().len(), 3);
        assert_eq!(offsets(&batch), [(0, 9), (1, 6), (0, 12)]);
    }

    #[test]
    fn a_replaced_group_keeps_its_place() {
        let mut batch = sample();
        batch.replace_groups(|place, _| if place == 2 { group(77, 1) } else { None });
        assert_eq!(batch.groups().map(|it| it.subject).collect::<Vec<_>>(), [0, 1, 77, 3, 4, 5]);
        assert_eq!((batch.record_count(), batch.bytes()), (11, 110));
    }
}
