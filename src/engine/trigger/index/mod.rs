//! The trigger index: which of any number of triggers an event can match, at a cost that does not grow with their number.
//!
//! Triggers are filed by event type (exact types by hash, types with wildcards in a tree of segments, the rest together), and
//! where many share a type, by the clause that tells them apart best; where many share that too, by another one, and so on. An
//! event asks only for what some trigger names.

use std::borrow::Borrow;
use std::hash::Hash;

use rustc_hash::FxHashSet;

use crate::engine::event::Event;
use crate::engine::trigger::Trigger;
use crate::engine::trigger::type_pattern::TypeKey;

mod access;
mod bucket;
mod field_index;
mod intervals;
mod keys;
mod table;
mod type_tree;
mod value_index;

use access::Access;
use bucket::Bucket;
use intervals::Intervals;
use table::{Table, TextMap};
use type_tree::TypeTree;

/// How many numbers in lists of an event are looked up among ranges one by one. Past it, every range of the field is a
/// candidate: verifying them all once costs less than finding the same ones again for each of a million numbers.
const RANGE_LOOK_UPS_IN_LISTS: u32 = 64;

/// What a trigger is called in the index: a workflow's slot, and the position among its triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TriggerKey {
    /// The workflow, by a number of the index's owner.
    pub slot: u32,
    /// The position among the workflow's triggers.
    pub trigger: u16,
}

/// Finds the triggers that an event can match.
#[derive(Debug, Default)]
pub struct TriggerIndex {
    exact: TextMap<Bucket>,
    tree: TypeTree,
    all: Bucket,
}

/// What an event can match, and what it took to find it. Made once and used again for every event.
#[derive(Debug, Default)]
pub struct Candidates {
    keys: Vec<TriggerKey>,
    probes: u64,
    /// What the items of lists led to already, by its address in the index: a list of a million equal items adds each trigger once.
    hit_by_lists: FxHashSet<usize>,
    range_look_ups: u32,
}

impl TriggerIndex {
    /// An index without triggers.
    pub fn new() -> TriggerIndex {
        TriggerIndex::default()
    }

    /// Files a trigger. The key must not be in use.
    pub fn insert(&mut self, key: TriggerKey, trigger: &Trigger) {
        let access = Access::of(trigger);
        let bucket = match trigger.event.key() {
            TypeKey::Exact(kind) => self.exact.entry_or_default(kind),
            TypeKey::Segments(segments, open) => self.tree.bucket(&segments, open),
            TypeKey::All => &mut self.all,
        };
        bucket.insert(key, &access);
    }

    /// Takes a trigger out, which must be the one that was filed under the key.
    pub fn remove(&mut self, key: TriggerKey, trigger: &Trigger) {
        let access = Access::of(trigger);
        match trigger.event.key() {
            TypeKey::Exact(kind) => self.exact.update(kind, |bucket| {
                bucket.remove(key, &access);
                bucket.is_empty()
            }),
            TypeKey::Segments(segments, open) => self.tree.remove(&segments, open, key, &access),
            TypeKey::All => self.all.remove(key, &access),
        }
    }

    /// Finds every trigger that the event can match, and few others: [`Trigger::matches`] has the last word.
    pub fn candidates(&self, event: &Event, candidates: &mut Candidates) {
        candidates.clear();
        candidates.probes += 1;
        let mut search = Search { event, found: candidates };
        if let Some(bucket) = self.exact.get(&event.kind) {
            bucket.collect(&mut search);
        }
        self.tree.collect(&mut search);
        self.all.collect(&mut search);
        candidates.deduplicate();
    }

    /// Bytes of memory it holds, the triggers themselves excluded. It walks the whole index.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.exact.heap_bytes(Bucket::heap_bytes) + self.tree.heap_bytes() + self.all.heap_bytes()
    }
}

impl Candidates {
    /// The triggers, in the order of their keys, each once.
    pub fn keys(&self) -> &[TriggerKey] {
        &self.keys
    }

    /// How often something was looked up for the event; the measure of cost in tests.
    pub fn probes(&self) -> u64 {
        self.probes
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.probes = 0;
        self.hit_by_lists.clear();
        self.range_look_ups = 0;
    }

    fn deduplicate(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
    }
}

/// One event on its way through the index.
struct Search<'a> {
    event: &'a Event,
    found: &'a mut Candidates,
}

impl Search<'_> {
    /// Adds what `table` leads to under `key`.
    fn look_up<K, Q>(&mut self, table: &Table<K, Bucket>, key: &Q, in_list: bool)
    where
        K: Borrow<Q> + Hash + Eq,
        Q: Hash + Eq + ?Sized,
    {
        if table.is_empty() {
            return;
        }
        self.found.probes += 1;
        if let Some(bucket) = table.get(key) {
            self.hit(bucket, in_list);
        }
    }

    fn hit(&mut self, bucket: &Bucket, in_list: bool) {
        if !bucket.is_empty() && self.is_news(std::ptr::from_ref(bucket).addr(), in_list) {
            bucket.collect(self);
        }
    }

    fn hit_ranges(&mut self, ranges: &Intervals, number: u64, in_list: bool) {
        if ranges.is_empty() {
            return;
        }
        self.found.probes += ranges.sizes() as u64;
        self.found.range_look_ups += u32::from(in_list);
        if self.found.range_look_ups <= RANGE_LOOK_UPS_IN_LISTS {
            ranges.collect(number, &mut self.found.keys);
        } else if self.is_news(std::ptr::from_ref(ranges).addr(), in_list) {
            ranges.collect_all(&mut self.found.keys);
        }
    }

    fn is_news(&mut self, address: usize, in_list: bool) -> bool {
        !in_list || self.found.hit_by_lists.insert(address)
    }
}
