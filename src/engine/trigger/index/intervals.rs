//! Ranges of numbers, found by a number that lies in them.
//!
//! This is an interval tree over the fixed space of 64-bit keys: a range belongs to the smallest aligned power-of-two block
//! that holds both its ends, so nothing is ever rebalanced. A number looks at the blocks around it, one of each size in use;
//! the ranges of a block all reach across its middle, so comparing with one end is enough.

use std::collections::{BTreeMap, BTreeSet};

use super::TriggerKey;
use super::keys::tree_bytes;
use super::table::Table;

const FIRST_KEY: TriggerKey = TriggerKey { slot: 0, trigger: 0 };
const LAST_KEY: TriggerKey = TriggerKey { slot: u32::MAX, trigger: u16::MAX };

/// Ranges with the triggers that they belong to.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    /// Blocks by the binary logarithm of their size, then by their position.
    blocks: BTreeMap<u32, Table<u64, Block>>,
    len: usize,
}

/// The ranges that belong to one block.
#[derive(Debug, Default)]
struct Block {
    by_low: BTreeSet<(u64, TriggerKey)>,
    by_high: BTreeSet<(u64, TriggerKey)>,
}

/// The size of the smallest block that holds both, as a binary logarithm.
fn block_size(low: u64, high: u64) -> u32 {
    u64::BITS - (low ^ high).leading_zeros()
}

fn block_position(number: u64, size: u32) -> u64 {
    number.checked_shr(size).unwrap_or(0)
}

impl Intervals {
    /// Adds a range, both ends included.
    pub fn insert(&mut self, low: u64, high: u64, key: TriggerKey) {
        let size = block_size(low, high);
        let block = self.blocks.entry(size).or_default().entry_or_default(&block_position(low, size));
        block.by_high.insert((high, key));
        if block.by_low.insert((low, key)) {
            self.len += 1;
        }
    }

    /// Takes a range out.
    pub fn remove(&mut self, low: u64, high: u64, key: TriggerKey) {
        let size = block_size(low, high);
        let Some(blocks) = self.blocks.get_mut(&size) else { return };
        let mut removed = false;
        blocks.update(&block_position(low, size), |block| {
            block.by_high.remove(&(high, key));
            removed = block.by_low.remove(&(low, key));
            block.by_low.is_empty() && block.by_high.is_empty()
        });
        self.len -= usize::from(removed);
        if blocks.is_empty() {
            self.blocks.remove(&size);
        }
    }

    /// Adds the triggers of every range that holds the number.
    pub fn collect(&self, number: u64, out: &mut Vec<TriggerKey>) {
        for (&size, blocks) in &self.blocks {
            let Some(block) = blocks.get(&block_position(number, size)) else { continue };
            let in_lower_half = size == 0 || number >> (size - 1) & 1 == 0;
            if in_lower_half {
                out.extend(block.by_low.range(..=(number, LAST_KEY)).map(|(_, key)| *key));
            } else {
                out.extend(block.by_high.range((number, FIRST_KEY)..).map(|(_, key)| *key));
            }
        }
    }

    /// Adds the triggers of every range.
    pub fn collect_all(&self, out: &mut Vec<TriggerKey>) {
        let blocks = self.blocks.values().flat_map(|blocks| blocks.iter().map(|(_, block)| block));
        out.extend(blocks.flat_map(|block| block.by_low.iter().map(|(_, key)| *key)));
    }

    /// How many sizes of blocks a number has to look at.
    pub fn sizes(&self) -> usize {
        self.blocks.len()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        let of_block = |block: &Block| 2 * tree_bytes::<(u64, TriggerKey)>(block.by_low.len());
        let of_blocks: usize = self.blocks.values().map(|blocks| blocks.heap_bytes(of_block)).sum();
        tree_bytes::<(u32, Table<u64, Block>)>(self.blocks.len()) + of_blocks
    }
}
