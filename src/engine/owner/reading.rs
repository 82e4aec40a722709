//! What an owner reads of the journal: what comes, and what is not in memory once more.

use super::Owner;
use super::redrive::Redriving;
use super::task::Task;
use super::ward::{AHEAD, FRONT, Ward};
use crate::engine::checkpoint::Content;
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{self, Applied, Mail};

/// Records that are read again at once.
pub const FETCHES: usize = 2_048;
/// The part of the budget that what is in memory may take, whatever is not.
const LEAST_PART: usize = 4;

impl Owner {
    /// Takes the next record of a partition. One of a partition that is not held is nothing.
    pub fn handle_record(&mut self, record: journal::Record<Content>, now_ms: i64) {
        let has_room = self.weight() <= self.room();
        let execution = record.execution;
        let Some(ward) = self.wards.get_mut(&i32::from(execution.journal_partition)) else { return };
        if ward.is_restoring() {
            ward.restore(record, has_room);
            return;
        }
        let journal::Record { offset, bytes, run, entry, content, .. } = record;
        let applied = ward.apply(journal::Record { offset, bytes, execution, run, entry, content: None });
        match (applied, entry, content) {
            (Applied::Wanted, journal::Entry::Mail(mail @ (Mail::Start | Mail::Resume)), Content::Checkpoint(it)) => {
                let Some(slot) = ward.log.slot(execution) else { return };
                let task = Task::new((run, offset, slot), it, mail == Mail::Resume, now_ms);
                self.work.extend(ward.begin(execution, task));
                self.work.push_back(execution);
            }
            (Applied::Wanted, journal::Entry::Mail(Mail::Resume), Content::Redrive(redrive)) => {
                ward.redrives.insert(execution, Redriving::new(run, offset, redrive));
                self.work.push_back(execution);
            }
            (Applied::Wanted, journal::Entry::Mail(mail), content) => {
                ward.take_mail(execution, (mail, offset), content, has_room);
                self.work.push_back(execution);
            }
            // What comes back of what this owner wrote: it knows more of that already.
            (Applied::Moved | Applied::Ended, ..) => ward.came_back(execution, run),
            (Applied::Wanted | Applied::Nothing, ..) => {}
        }
        self.put_away();
    }

    /// Takes note of the next record of a partition that cannot be understood, of so many bytes, and of the execution of which it says where that
    /// stands. After a restore such a record comes from nobody who owns the partition, and changes nothing.
    pub fn handle_damaged(&mut self, partition: i32, (offset, bytes): (i64, u64), execution: Option<ExecutionId>) {
        if let Some(ward) = self.wards.get_mut(&partition) {
            let execution = execution.filter(|_| ward.is_restoring());
            ward.log.pass(offset, bytes, execution);
        }
    }

    /// Takes a record of a partition that was asked for; see [`Owner::wanted`].
    pub fn handle_fetched(&mut self, record: journal::Record<Content>) {
        let ward = self.wards.get_mut(&i32::from(record.execution.journal_partition));
        self.work.extend(ward.map(|ward| ward.fetched(record)).unwrap_or_default());
    }

    /// The records that are to be read from the journal again now, by partition and offset, in order. Not more than [`FETCHES`] are asked for
    /// and not answered; each of them is committed, and is not deleted while it is wanted, because no position passes it.
    pub fn wanted(&mut self) -> Vec<(i32, i64)> {
        // What was read is looked at before more is.
        if self.work.len() >= FETCHES {
            return Vec::new();
        }
        let (most, ahead) = ((FETCHES / self.wards.len().max(1)).max(1), self.ahead());
        let wards = self.wards.iter_mut().filter(|(_, ward)| !ward.is_restoring());
        wards.flat_map(|(number, ward)| ward.ask(most, ahead).into_iter().map(|offset| (*number, offset))).collect()
    }

    /// How many executions of each queue are read ahead, so that all of them take half of what is in memory at most.
    fn ahead(&self) -> usize {
        let queues: usize = self.wards.values().map(Ward::queue_count).sum();
        let here: usize = self.wards.values().map(|ward| ward.memory.here_count()).sum();
        let each = self.weight() / here.max(1);
        (self.room() / 2 / each.max(1) / queues.max(1)).clamp(FRONT, AHEAD)
    }

    /// What the executions take that are in memory, about, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.wards.values().map(Ward::weight).sum()
    }

    /// What they may take: what the budget leaves beside those that are not in memory and those that are over, but always a part of it, so that what goes on does not
    /// have to be read again at every step because much waits.
    pub(super) fn room(&self) -> usize {
        let away: usize = self.wards.values().map(Ward::away_weight).sum();
        self.budget.saturating_sub(away).max(self.budget / LEAST_PART)
    }

    /// Puts tasks away until what is left fits, those whose turn comes last first.
    pub(super) fn put_away(&mut self) {
        while self.weight() > self.room() {
            let wards = self.wards.values_mut().filter(|ward| ward.furthest().is_some());
            let Some(ward) = wards.max_by_key(|ward| ward.furthest()) else { return };
            for timer in ward.put_furthest_away() {
                self.timers.remove(&timer);
            }
        }
    }
}
