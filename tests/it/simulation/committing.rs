//! What a simulated lane does with a batch: writes it, commits it, and does otherwise what the log refuses.

use std::collections::BTreeMap;

use tidegate::bench::workload::Random;
use tidegate::engine::batch::{Dependency, Group};
use tidegate::engine::commit::{Failure, RestartReason};
use tidegate::engine::execution::{Left, Subject};
use tidegate::engine::owner::{Commit, Replaced};

use super::broken::Broken;
use super::cluster::{Shared, TOPIC_ID, decode, read, wrote_of};
use super::lane::{LineBatch, LineGroup, LineSubject, Running, Stage};
use super::log::{CommittedOffset, FakeLog, LogError, Wrote};
use super::waiting;

impl Running {
    /// Hands the next record of some partition to the machine; false if there is none.
    pub(super) fn next_record(&mut self, shared: &Shared, random: &mut Random, now_ms: i64) -> bool {
        let partitions: Vec<i32> =
            self.fetch.keys().copied().filter(|it| Shared::journal_number(*it).is_none()).collect();
        let Some(&partition) = partitions.get(random.below(partitions.len().max(1))) else { return false };
        let at = self.fetch[&partition];
        let Some(event) = shared.event(partition, at, now_ms) else { return false };
        self.fetch.insert(partition, at + 1);
        self.machine.handle_record(&shared.registry, read(event));
        true
    }

    pub(super) fn holds(&self, shared: &Shared, batch: &LineBatch) -> bool {
        batch.dependencies().iter().all(|it| self.held.get(&shared.key(&it.partition)) == Some(&it.assignment))
    }

    /// All partitions of the journal that are held.
    pub(super) fn dependencies(&self, shared: &Shared) -> Vec<Dependency> {
        let journal =
            self.held.iter().filter_map(|(key, assignment)| Some((Shared::journal_number(*key)?, *assignment)));
        journal.map(|(it, assignment)| Dependency { partition: shared.journal_partition(it), assignment }).collect()
    }

    pub(super) fn write(
        &mut self,
        name: &str,
        log: &mut FakeLog,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<(), Failure> {
        let Some(batch) = self.queue.front() else { return Ok(()) };
        for group in batch.groups() {
            match log.write(name, self.epoch, &group.records, now_ms) {
                Ok(()) => {}
                Err(LogError::Refused) if random.below(2) == 0 => return Err(Failure::RefusedUnknown),
                Err(error) => return Err(failure_of(error)),
            }
        }
        if random.below(20) == 0 {
            return Err(Failure::Abortable);
        }
        self.stage = Stage::Written;
        Ok(())
    }

    pub(super) fn send_offsets(
        &mut self,
        name: &str,
        broken: Broken,
        log: &mut FakeLog,
        shared: &Shared,
        now_ms: i64,
    ) -> Result<(), Failure> {
        let Some(batch) = self.queue.front() else { return Ok(()) };
        let mut offsets = BTreeMap::new();
        self.sent_ms = now_ms;
        for (partition, position) in batch.positions() {
            let partition = shared.key(partition);
            let mut metadata = position.metadata(&TOPIC_ID);
            if broken == Broken::PositionInsideEvent {
                metadata.clear();
            }
            offsets.insert(partition, CommittedOffset { offset: position.next_offset, metadata });
        }
        let generation = if broken == Broken::Tenure { log.generation() } else { self.generation };
        log.send_offsets(name, self.epoch, (name, generation), offsets, now_ms).map_err(failure_of)?;
        self.stage = Stage::OffsetsSent;
        let instance = self.calls.instance();
        shared.purge.iter().for_each(|purge| purge.written(instance, journal_positions(shared, batch)));
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        name: &str,
        broken: Broken,
        log: &mut FakeLog,
        shared: &Shared,
        random: &mut Random,
    ) -> Result<(), Failure> {
        match if shared.is_in_peace.get() { 40 } else { random.below(40) } {
            0 => return Err(Failure::Retriable),
            // The answer is lost: it was committed, or not, or will be, late, by a request that is still on its way.
            1 => drop(log.end(name, self.epoch, true)),
            2 => {}
            3 => shared.late.borrow_mut().push((name.to_owned(), self.epoch)),
            _ => {
                log.end(name, self.epoch, true).map_err(failure_of)?;
                return self.done(broken, shared);
            }
        }
        if broken == Broken::ProducerInDoubt {
            return self.done(broken, shared);
        }
        Err(Failure::Uncertain)
    }

    fn done(&mut self, broken: Broken, shared: &Shared) -> Result<(), Failure> {
        if let Some(batch) = self.queue.pop_front() {
            let instance = self.calls.instance();
            shared.purge.iter().for_each(|purge| purge.certain(instance, journal_positions(shared, &batch)));
            let sequence = batch.groups().map(|group| group.subject.sequence).max().unwrap_or(0);
            let (told, later) =
                std::mem::take(&mut self.replaced).into_iter().partition(|(number, _)| *number <= sequence);
            self.replaced = later;
            let mut replaced: Vec<Replaced> = <Vec<_>>::into_iter(told).map(|(_, replaced)| replaced).collect();
            if broken == Broken::ReplacedUnsaid {
                replaced.clear();
            }
            let named: Vec<Dependency> = match broken {
                Broken::LeaseOfWhatStays => batch.dependencies().to_vec(),
                _ => batch.moves().map(|(dependency, _)| dependency.clone()).collect(),
            };
            let sent_ms = self.sent_ms;
            self.owner.handle_committed(Commit { sequence, sent_ms, named: &named, replaced: &replaced });
        }
        (self.stage, self.rewrites, self.retries) = (Stage::Begin, 0, 0);
        self.halves = (self.halves.0.saturating_sub(1), self.halves.0 > 0);
        Ok(())
    }

    pub(super) fn rewrite(&mut self, name: &str, log: &mut FakeLog) -> Result<(), RestartReason> {
        (self.stage, self.rewrites) = (Stage::Begin, self.rewrites + 1);
        match log.end(name, self.epoch, false) {
            Ok(()) | Err(LogError::NoTransaction) => Ok(()),
            Err(_) => Err(RestartReason::Fenced),
        }
    }

    pub(super) fn fail_refused(&mut self, broken: Broken, now_ms: i64) {
        let refused = |group: &LineGroup| {
            group.records.iter().any(|wrote| matches!(wrote, Wrote::Line(line) if line.topic == "refuses"))
        };
        if broken != Broken::DropRefused {
            return self.fail_where(now_ms, refused);
        }
        if let Some(batch) = self.queue.front_mut() {
            let nothing =
                |sequence| Group { subject: LineSubject { kept: None, sequence }, records: Vec::new(), bytes: 0 };
            batch.replace_groups(|_, group| refused(group).then(|| nothing(group.subject.sequence)));
        }
    }

    pub(super) fn fail_all(&mut self, now_ms: i64) {
        self.fail_where(now_ms, |_| true);
    }

    pub(super) fn fail_where(&mut self, now_ms: i64, wanted: impl Fn(&LineGroup) -> bool) {
        let Some(batch) = self.queue.front_mut() else { return };
        let replaced = &mut self.replaced;
        batch.replace_groups(|_, group| {
            let LineSubject { kept, sequence } = &group.subject;
            let kept = kept.as_ref().filter(|_| wanted(group))?;
            let subject = kept.execution(|record| Ok(decode(record)))?;
            let left = subject.leave(now_ms);
            let (subject, left) = waiting::refuse(subject, left, now_ms);
            if let Some(execution) = waiting::execution_of(&subject).filter(|_| *sequence > 0) {
                replaced.retain(|(number, _)| number != sequence);
                replaced.push((*sequence, Replaced { execution, checkpoint: left.checkpoint.clone() }));
            }
            Some(group_of(&subject, &left, *sequence))
        });
    }
}

/// The positions in partitions of the journal that a batch moves.
fn journal_positions(shared: &Shared, batch: &LineBatch) -> impl Iterator<Item = (u16, i64)> {
    let positions = batch.positions().into_iter();
    positions.filter_map(|(it, position)| Some((Shared::journal_number(shared.key(it))?, position.next_offset)))
}

/// What a subject leaves, as the batch holds it.
pub(super) fn group_of(subject: &Subject, left: &Left, sequence: u64) -> LineGroup {
    let records = wrote_of(subject, left);
    Group { bytes: records.len(), subject: LineSubject { kept: subject.keep(), sequence }, records }
}

fn failure_of(error: LogError) -> Failure {
    match error {
        LogError::Fenced => Failure::Fenced,
        LogError::StaleGeneration => Failure::StaleGeneration,
        LogError::UnknownMember => Failure::NotTheOwner,
        LogError::Refused => Failure::RefusedRecords,
        LogError::NoTransaction => Failure::Fatal,
    }
}
