//! Sets of triggers: small where they hold one, and never slow to change.

use std::collections::BTreeSet;

use super::TriggerKey;

/// Some triggers. Nearly always there is one, which then takes no memory of its own.
#[derive(Debug, Default)]
pub(super) enum Keys {
    #[default]
    None,
    One(TriggerKey),
    Many(BTreeSet<TriggerKey>),
}

impl Keys {
    pub fn insert(&mut self, key: TriggerKey) {
        match self {
            Keys::None => *self = Keys::One(key),
            Keys::One(other) if *other == key => {}
            Keys::One(other) => *self = Keys::Many(BTreeSet::from([*other, key])),
            Keys::Many(keys) => {
                keys.insert(key);
            }
        }
    }

    /// Takes a key out, if it is there.
    pub fn remove(&mut self, key: TriggerKey) {
        match self {
            Keys::None => {}
            Keys::One(other) => {
                if *other == key {
                    *self = Keys::None;
                }
            }
            Keys::Many(keys) => {
                keys.remove(&key);
                if let (1, Some(last)) = (keys.len(), keys.first()) {
                    *self = Keys::One(*last);
                }
            }
        }
    }

    pub fn contains(&self, key: TriggerKey) -> bool {
        match self {
            Keys::None => false,
            Keys::One(other) => *other == key,
            Keys::Many(keys) => keys.contains(&key),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Keys::None => 0,
            Keys::One(_) => 1,
            Keys::Many(keys) => keys.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push_to(&self, out: &mut Vec<TriggerKey>) {
        match self {
            Keys::None => {}
            Keys::One(key) => out.push(*key),
            Keys::Many(keys) => out.extend(keys),
        }
    }

    /// Bytes on the heap: a B-tree's leaves are at least half full and hold up to eleven keys beside a header.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Keys::None | Keys::One(_) => 0,
            Keys::Many(keys) => tree_bytes::<TriggerKey>(keys.len()),
        }
    }
}

/// Estimates what a B-tree of that many entries takes, at two thirds full.
pub(super) fn tree_bytes<T>(len: usize) -> usize {
    const PER_LEAF: usize = 11;
    const HEADER: usize = 16;
    let leaves = (len * 3).div_ceil(PER_LEAF * 2);
    leaves * (PER_LEAF * size_of::<T>() + HEADER) + leaves / 6 * 12 * size_of::<usize>()
}
