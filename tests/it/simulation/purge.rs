//! Who deletes what of the journal is of no use any more, in a part of the seeds: every instance, up to what its lanes have committed for certain.
//!
//! An instance deletes when it comes to it, and what it asks for arrives late, also when others have its partitions and have committed more. All of
//! it is drawn from a generator of its own, so that the other seeds are the runs that they were.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tidegate::bench::workload::Random;

use super::broken::Broken;
use super::cluster::Shared;
use super::log::FakeLog;

/// One seed of so many is one in which something is deleted, and which.
const ONE_OF: u64 = 3;
const WHICH: u64 = 2;
/// One step of so many lets an instance delete; and of so many commits one does so at once.
const EVERY: usize = 60;
const AT_ONCE: usize = 4;
/// One step of so many lets something arrive that was asked for.
const ARRIVES: usize = 12;

/// The deleting of one seed.
pub struct Purge {
    broken: Broken,
    drawn: RefCell<Drawn>,
    /// How often what happened.
    pub counts: RefCell<BTreeMap<&'static str, u32>>,
}

struct Drawn {
    random: Random,
    /// Up to where partitions of the journal are done, as far as the lanes of an instance know.
    done: BTreeMap<(usize, u16), i64>,
    /// What is on its way: a partition, and up to where it is deleted.
    asked: Vec<(u16, i64)>,
}

impl Purge {
    /// That of a seed, if it is one of those.
    pub fn of(seed: u64, broken: Broken) -> Option<Purge> {
        if seed % ONE_OF != WHICH {
            return None;
        }
        let random = Random::new(seed ^ 0x2545_F491_4F6C_DD1D);
        let drawn = Drawn { random, done: BTreeMap::new(), asked: Vec::new() };
        Some(Purge { broken, drawn: RefCell::new(drawn), counts: RefCell::default() })
    }

    /// A lane has written positions, and does not know whether they are committed.
    pub fn written(&self, instance: usize, positions: impl Iterator<Item = (u16, i64)>) {
        if self.broken == Broken::PurgesWritten {
            self.done(instance, positions);
        }
    }

    /// A lane knows that positions are committed.
    pub fn certain(&self, instance: usize, positions: impl Iterator<Item = (u16, i64)>) {
        self.done(instance, positions);
    }

    fn done(&self, instance: usize, positions: impl Iterator<Item = (u16, i64)>) {
        let Drawn { random, done, asked } = &mut *self.drawn.borrow_mut();
        for (partition, offset) in positions {
            let known = done.entry((instance, partition)).or_default();
            *known = offset.max(*known);
            if random.below(AT_ONCE) == 0 {
                asked.push((partition, *known));
            }
        }
    }

    /// An instance was killed: what it has not asked for, nobody asks for.
    pub fn killed(&self, instance: usize) {
        self.drawn.borrow_mut().done.retain(|(it, _), _| *it != instance);
    }

    /// One small step. What is wrong with what is deleted: it goes beyond what is committed.
    ///
    /// That alone loses nothing. A position is made of what is committed and was read, so whoever restores from it comes to the same, whether it is
    /// committed itself or not; but nobody would notice any more that something is missing of which that is not so.
    pub fn step(&self, shared: &Shared, log: &mut FakeLog) -> Option<String> {
        let Drawn { random, done, asked } = &mut *self.drawn.borrow_mut();
        if random.below(EVERY) == 0
            && let Some(((_, partition), offset)) = done.iter().nth(random.below(done.len().max(1)))
        {
            asked.push((*partition, *offset));
        }
        if random.below(ARRIVES) > 0 || asked.is_empty() {
            return None;
        }
        let (partition, offset) = asked.swap_remove(random.below(asked.len()));
        let deletes_all = self.broken == Broken::PurgesAll;
        let offset = if deletes_all { log.high_watermark(partition) } else { offset };
        let what = if log.delete_before(partition, offset) { "deleted" } else { "deleted already" };
        *self.counts.borrow_mut().entry(what).or_default() += 1;
        let committed = log.offsets.get(&shared.key(&shared.journal_partition(partition))).map_or(0, |it| it.offset);
        // Where everything is deleted, it must be found by what comes of it.
        let is_too_much = log.start(partition) > committed && !deletes_all;
        is_too_much.then(|| format!("partition {partition} is deleted up to {offset}, and committed at {committed}"))
    }
}
