//! Where each live execution of a log has its entry. There may be millions, so an entry is found by a number of four bytes, and whoever keeps
//! something of an execution beside the log keeps that number, not the id.

use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::num::NonZeroU16;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use crate::engine::ids::ExecutionId;
use crate::engine::pieces::Pieces;

/// The place of a live execution in its log. It is the same as long as the execution is live, and no later one is taken for it: its index is
/// used again, its generation is another one then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Six bytes: with two more and a point in time, what is kept in order of that takes sixteen.
#[repr(C, packed(2))]
pub struct Slot {
    index: u32,
    generation: NonZeroU16,
}

impl Slot {
    /// Counts from 0, and is not much larger than there are live executions.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Debug)]
pub(super) struct Entry<V> {
    execution: ExecutionId,
    generation: NonZeroU16,
    /// None only while it is taken out.
    value: Option<V>,
}

/// Values by execution.
#[derive(Debug)]
pub(super) struct Slots<V> {
    entries: Pieces<Entry<V>>,
    /// The indexes of the entries, by their executions.
    index: HashTable<u32>,
    /// Indexes below `end` that no entry has.
    free: Vec<u32>,
    end: u32,
    generation: NonZeroU16,
}

fn hash(execution: ExecutionId) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(execution)
}

impl<V> Slots<V> {
    pub(super) fn new() -> Slots<V> {
        Slots {
            entries: Pieces::default(),
            index: HashTable::new(),
            free: Vec::new(),
            end: 0,
            generation: NonZeroU16::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn slot(&self, execution: ExecutionId) -> Option<Slot> {
        let is_its = |index: &u32| self.entries.get(*index as usize).is_some_and(|entry| entry.execution == execution);
        let index = *self.index.find(hash(execution), is_its)?;
        let generation = self.entries.get(index as usize)?.generation;
        Some(Slot { index, generation })
    }

    pub(super) fn get(&self, slot: Slot) -> Option<(ExecutionId, &V)> {
        let entry = self.entries.get(slot.index()).filter(|entry| entry.generation == slot.generation)?;
        Some((entry.execution, entry.value.as_ref()?))
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut V> {
        self.entry_mut(slot)?.value.as_mut()
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry<V>> {
        self.entries.get_mut(slot.index()).filter(|entry| entry.generation == slot.generation)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ExecutionId, Slot, &mut V)> {
        self.entries.iter_mut().filter_map(|(index, entry)| {
            let slot = Slot { index: index as u32, generation: entry.generation };
            Some((entry.execution, slot, entry.value.as_mut()?))
        })
    }

    /// Takes a value out; its slot stays its own until it is put in again, or removed.
    pub(super) fn take(&mut self, slot: Slot) -> Option<V> {
        self.entry_mut(slot)?.value.take()
    }

    /// Puts the value in of an execution that has no slot.
    pub(super) fn insert(&mut self, execution: ExecutionId, value: V) -> Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            // Four billion of them do not fit in memory.
            self.end += 1;
            self.end - 1
        });
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU16::MIN);
        let slot = Slot { index, generation: self.generation };
        self.entries.insert(slot.index(), Entry { execution, generation: slot.generation, value: Some(value) });
        let entries = &self.entries;
        let hash_of = |index: &u32| entries.get(*index as usize).map_or(0, |entry| hash(entry.execution));
        self.index.insert_unique(hash(execution), index, hash_of);
        slot
    }

    /// Puts a value in that was taken out.
    pub(super) fn put(&mut self, slot: Slot, value: V) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.value = Some(value);
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let entry = self.entries.get(slot.index()).filter(|entry| entry.generation == slot.generation);
        let Some(execution) = entry.map(|entry| entry.execution) else { return };
        if let Ok(found) = self.index.find_entry(hash(execution), |index| *index == slot.index) {
            found.remove();
        }
        self.entries.remove(slot.index());
        self.free.push(slot.index);
        if self.index.is_empty() {
            // After many have waited, what is left of them takes nothing.
            let generation = self.generation;
            *self = Slots { generation, ..Slots::new() };
        }
    }
}
