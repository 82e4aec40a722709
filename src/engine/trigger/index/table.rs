//! Hash tables that never take long to change and give memory back when they empty.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

/// With more entries than this a table is split, so that no insertion has to move more than a small part of it: growing one
/// table of a hundred thousand entries stops everybody for milliseconds.
const SPLIT_AT: usize = 4096;
/// How many parts a split table has.
const PARTS: usize = 64;

/// A hash table. Its keys come from definitions, never from events.
#[derive(Debug)]
pub(super) enum Table<K, V> {
    Whole(FxHashMap<K, V>),
    Split(Box<[FxHashMap<K, V>]>),
}

/// A [`Table`] by text.
pub(super) type TextMap<V> = Table<Arc<str>, V>;

/// The part that a key belongs to, by bits of its hash that tables do not look at.
fn part_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    (FxBuildHasher.hash_one(key) >> 32) as usize % PARTS
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table::Whole(FxHashMap::default())
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Table::Whole(map) if map.is_empty() => None,
            Table::Whole(map) => map.get(key),
            Table::Split(parts) => parts.get(part_of(key))?.get(key),
        }
    }

    pub fn entry_or_default(&mut self, key: &K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        self.split_if_large();
        self.part_mut(key).entry(key.clone()).or_default()
    }

    /// Changes the value of `key`, if there is one, and takes it out if `change` says that it is empty.
    pub fn update<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> bool)
    where
        K: Borrow<Q>,
    {
        let map = self.part_mut(key);
        if !map.get_mut(key).is_some_and(change) {
            return;
        }
        map.remove(key);
        if map.is_empty() {
            *map = FxHashMap::default();
        } else if map.len() < map.capacity() / 4 {
            map.shrink_to(map.len() * 2);
        }
        if matches!(self, Table::Split(parts) if parts.iter().all(FxHashMap::is_empty)) {
            *self = Table::default();
        }
    }

    pub fn len(&self) -> usize {
        self.parts().iter().map(FxHashMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        // A split table is never empty: it becomes a whole one.
        matches!(self, Table::Whole(map) if map.is_empty())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts().iter().flatten()
    }

    /// Bytes on the heap, where a value's own are given by `of_value`.
    pub fn heap_bytes(&self, of_value: impl Fn(&V) -> usize) -> usize {
        let of_part = |map: &FxHashMap<K, V>| {
            // An eighth of the places stays free, and a byte of control goes with each.
            let places = if map.capacity() == 0 { 0 } else { (map.capacity() * 8 / 7).next_power_of_two() };
            places * (size_of::<(K, V)>() + 1) + map.values().map(&of_value).sum::<usize>()
        };
        let of_parts = match self {
            Table::Whole(_) => 0,
            Table::Split(parts) => size_of_val::<[FxHashMap<K, V>]>(parts),
        };
        of_parts + self.parts().iter().map(of_part).sum::<usize>()
    }

    fn parts(&self) -> &[FxHashMap<K, V>] {
        match self {
            Table::Whole(map) => std::slice::from_ref(map),
            Table::Split(parts) => parts,
        }
    }

    fn part_mut<Q: Hash + ?Sized>(&mut self, key: &Q) -> &mut FxHashMap<K, V> {
        match self {
            Table::Whole(map) => map,
            Table::Split(parts) => &mut parts[part_of(key)],
        }
    }

    fn split_if_large(&mut self) {
        let Table::Whole(map) = self else { return };
        if map.len() < SPLIT_AT {
            return;
        }
        let mut parts: Box<[FxHashMap<K, V>]> = (0..PARTS).map(|_| FxHashMap::default()).collect();
        for (key, value) in std::mem::take(map) {
            parts[part_of(&key)].insert(key, value);
        }
        *self = Table::Split(parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_its_entries_while_it_splits_and_empties() {
        let mut table: TextMap<usize> = Table::default();
        let key = |number: usize| Arc::<str>::from(format!("key-{number}"));
        let count = SPLIT_AT * 3;
        for number in 0..count {
            *table.entry_or_default(&key(number)) = number;
        }
        assert!(matches!(&table, Table::Split(parts) if parts.iter().all(|part| part.len() > count / PARTS / 3)));
        assert_eq!((table.len(), table.iter().count()), (count, count));
        for number in 0..count {
            assert_eq!(table.get(&*key(number)), Some(&number));
            table.update(&*key(number), |value| *value != 7);
        }
        assert_eq!(table.iter().collect::<Vec<_>>(), [(&key(7), &7)]);
        table.update(&*key(7), |_| true);
        assert!(table.is_empty() && table.heap_bytes(|_| 0) == 0);
    }
}
