//! How a simulated lane reads the journal.

use tidegate::bench::workload::Random;
use tidegate::engine::checkpoint::Content;
use tidegate::engine::commit::RestartReason;

use super::broken::Broken;
use super::cluster::Shared;
use super::lane::Lane;
use super::log::FakeLog;
use super::trouble;
use super::waiting;

impl Lane {
    /// Reads a little of the journal.
    pub(super) fn read_journal(
        &mut self,
        shared: &Shared,
        log: &FakeLog,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<(), RestartReason> {
        let (broken, instance) = (self.broken, self.instance.number);
        let running = self.running();
        // Fast enough that a restore ends before the lane is put out again, as it is now and then.
        for _ in 0..1 + random.below(30) {
            let partitions: Vec<i32> =
                running.fetch.keys().copied().filter(|it| Shared::journal_number(*it).is_some()).collect();
            let Some(&key) = partitions.get(random.below(partitions.len().max(1))) else { return Ok(()) };
            let number = Shared::journal_number(key).expect("one of the journal");
            let from = running.fetch[&key];
            if from < log.start(number) {
                running.torn.insert(key);
            }
            let (next, found) = log.read_journal(number, from);
            running.fetch.insert(key, next);
            let trouble = (shared.trouble.as_ref(), instance);
            let found = found.filter(|(_, record)| !trouble::is_forgotten(broken, trouble, record, log, now_ms));
            if let Some((offset, record)) = found {
                running.owner.handle_record(waiting::record(offset, record), now_ms);
            }
            if running.restore_to.get(&number).is_some_and(|end| next >= *end) {
                running.restore_to.remove(&number);
                running.owner.handle_restored(i32::from(number), now_ms);
            }
        }
        Ok(())
    }

    /// Reads again what the owner wants, late, in any order, and now and then twice.
    pub(super) fn read_again(
        &mut self,
        shared: &Shared,
        log: &FakeLog,
        random: &mut Random,
    ) -> Result<(), RestartReason> {
        let (broken, name, life) = (self.broken, self.name.clone(), self.life);
        let running = self.running();
        for (number, offset) in running.owner.wanted() {
            let number = number as u16;
            let key = shared.key(&shared.journal_partition(number));
            running.fetches.extend(running.held.get(&key).map(|assignment| (number, *assignment, offset)));
        }
        for _ in 0..random.below(20) {
            if running.fetches.is_empty() {
                break;
            }
            let (number, assignment, offset) = running.fetches.swap_remove(random.below(running.fetches.len()));
            let key = shared.key(&shared.journal_partition(number));
            if running.held.get(&key) != Some(&assignment) {
                continue;
            }
            let Some(mut found) = log.journal_record(number, offset).cloned() else {
                let tenure = (name, life, assignment);
                let is_deleted = offset < log.start(number);
                if is_deleted && !shared.target.holds(number, &tenure) {
                    return Err(RestartReason::Fatal);
                }
                let why = if is_deleted { "is deleted" } else { "was never committed" };
                let what = format!("record {offset} of the journal was wanted by {tenure:?}, but {why}");
                shared.target.violations.borrow_mut().push(what);
                return Ok(());
            };
            if broken == Broken::OldCheckpoint {
                let execution = found.execution;
                let before = (0..offset).rev().filter_map(|it| log.journal_record(number, it));
                let mut before = before.filter(|it| it.execution == execution && it.run == found.run);
                if let Some(before) = before.find(|it| matches!(it.content, Content::Checkpoint(_))) {
                    found.content = before.content.clone();
                }
            }
            for _ in 0..1 + random.below(20) / 19 {
                running.owner.handle_fetched(waiting::record(offset, found.clone()));
            }
            *shared.target.read_again.borrow_mut() += 1;
        }
        Ok(())
    }
}
