//! Who cancels executions in the simulated cluster, at any moment.

use tidegate::bench::workload::Random;
use tidegate::engine::checkpoint::{Checkpoint, Content};
use tidegate::engine::execution::FIRST_RUN;
use tidegate::engine::ids::ExecutionId;
use tidegate::engine::journal::{Entry, Mail};
use tidegate::engine::record::JournalRecord;

use super::log::{FakeLog, Wrote};
use super::trouble::Trouble;

/// The id of who cancels.
pub const ID: &str = "cancel";
/// One step of so many cancels something.
const EVERY: usize = 200;
/// When something has befallen a lane it is one of so many, until a few are cancelled.
const SOON: usize = 15;
/// How many instances there are at most.
const INSTANCES: usize = 3;

/// Somebody who cancels.
pub struct Canceller {
    random: Random,
    epoch: Option<u32>,
    /// It has written something that is not committed.
    is_open: bool,
    /// What has befallen lanes so far, and how many are cancelled soon because of that.
    faults: u32,
    soon: usize,
}

impl Canceller {
    /// One who has done nothing so far.
    pub fn new(random: Random) -> Canceller {
        Canceller { random, epoch: None, is_open: false, faults: 0, soon: 0 }
    }

    /// One small step. `calm`: it begins nothing any more; and how much has befallen lanes: who takes over from one of them has to learn of it.
    pub fn step(&mut self, trouble: &Trouble, log: &mut FakeLog, (calm, faults): (bool, u32), now_ms: i64) {
        let random = &mut self.random;
        if std::mem::replace(&mut self.faults, faults) != faults {
            self.soon = random.below(4);
        }
        if self.is_open {
            if random.below(20) == 0 {
                self.is_open = false;
                // It was open for too long as it may be, and the id is taken over.
                let is_late = log.end(ID, self.epoch.unwrap_or(0), random.below(6) > 0).is_err();
                self.epoch = self.epoch.filter(|_| !is_late);
            }
            return;
        }
        if calm || random.below(if self.soon > 0 { SOON } else { EVERY }) > 0 {
            return;
        }
        self.soon = self.soon.saturating_sub(1);
        let epoch = *self.epoch.get_or_insert_with(|| log.init_producer(ID));
        let Some((execution, kind)) = choose(trouble, log, random, now_ms) else { return };
        let mail =
            JournalRecord { execution, run: FIRST_RUN, entry: Entry::Mail(Mail::Cancel), content: Content::None };
        trouble.count(kind);
        if log.write(ID, epoch, &[Wrote::Journal(mail)], now_ms).is_err() {
            self.epoch = None;
        } else if random.below(3) == 0 {
            self.is_open = true;
        } else if log.end(ID, epoch, true).is_err() {
            self.epoch = None;
        }
    }
}

/// What is cancelled: something that lives, often what some instance cannot go on with, or something that has ended.
fn choose(trouble: &Trouble, log: &FakeLog, random: &mut Random, now_ms: i64) -> Option<(ExecutionId, &'static str)> {
    let (mut lacking, mut live, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    let lacks = |it: &Checkpoint| (0..INSTANCES).any(|instance| trouble.lacks(instance, it, now_ms));
    for (execution, record) in &log.stands {
        match &record.content {
            Content::Checkpoint(it) if lacks(it) => lacking.push(*execution),
            Content::Checkpoint(_) => live.push(*execution),
            _ if record.entry == Entry::End => ended.push(*execution),
            _ => {}
        }
    }
    let (mut from, kind) = match random.below(4) {
        0 => (ended, "cancelled too late"),
        1 | 2 if !lacking.is_empty() => (lacking, "cancelled while it lacks something"),
        _ => (live, "cancelled"),
    };
    // The log knows them in no order.
    from.sort_unstable();
    let at = random.below(from.len().max(1));
    from.get(at).map(|execution| (*execution, kind))
}
