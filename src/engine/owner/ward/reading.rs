//! What of a partition is put away, and read again when its turn comes.

use super::{FRONT, Queue, Task, Ward};
use crate::engine::checkpoint::Content;
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Applied, Entry, Live, Mail, Record, Slot};
use crate::engine::owner::Timer;
use crate::engine::owner::memory::Rank;
use crate::engine::owner::redrive::Redriving;
use crate::engine::owner::task::Away;
use crate::engine::owner::turns::Turn;
use crate::engine::workflow::WorkflowId;

/// What the records of an execution hold: where it stands, and its mail.
type Held = (Content, Vec<(Mail, Content)>);

/// What the end of an execution takes that is remembered, about, in bytes.
const ENDED_BYTES: usize = 100;
/// What an execution takes in memory beside its record, about, in bytes.
const RESTORED_BYTES: usize = 2 * 1024;

impl Ward {
    /// What the executions of it take that are in memory, about, in bytes. While it is read, that is not more than was kept so far, nor more
    /// than all that seems to live.
    pub(in super::super) fn weight(&self) -> usize {
        if !self.is_restoring {
            return self.memory.weight();
        }
        let bytes = usize::try_from(self.log.live_bytes()).unwrap_or(usize::MAX);
        let live = bytes.saturating_add(self.put_by).saturating_add(self.log.live_count() * RESTORED_BYTES);
        self.kept.min(live)
    }

    /// What executions take that are not in memory, or have ended and may seem to begin to whoever reads from its position.
    pub(in super::super) fn away_weight(&self) -> usize {
        self.memory.away_bytes() + self.log.ended_count() * ENDED_BYTES
    }

    /// The next record while it is read for the first time. Of one that is not kept, where it lies is enough.
    pub(in super::super) fn restore(&mut self, record: Record<Content>, is_kept: bool) {
        let Record { offset, bytes, execution, run, entry, content } = record;
        if is_kept {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.kept = self.kept.saturating_add(bytes).saturating_add(RESTORED_BYTES);
            if matches!(entry, Entry::Mail(Mail::Signal)) {
                // The one that it is for may be seen later, or never.
                self.put_by = self.put_by.saturating_add(bytes);
            }
        }
        let content = is_kept.then(|| Box::new(content));
        self.log.apply(Record { offset, bytes, execution, run, entry, content });
    }

    /// The next record after that. Of an execution that somebody else has ended nothing is left.
    pub(in super::super) fn apply(&mut self, record: Record<Option<Box<Content>>>) -> Applied {
        let slot = self.log.slot(record.execution);
        let applied = self.log.apply(record);
        if applied == Applied::Ended
            && let Some(away) = slot.and_then(|slot| self.memory.remove_away(slot))
        {
            self.waiting.change(away.counted_as(), None);
        }
        applied
    }

    /// Whether an execution is not in memory.
    pub(in super::super) fn is_away(&self, execution: ExecutionId) -> bool {
        self.log.slot(execution).is_some_and(|slot| self.memory.is_away(slot))
    }

    /// Whether that is the place of one that is not in memory. A queue may hold places of executions that have ended, which are others' now.
    pub(super) fn is_away_at(&self, slot: Slot) -> bool {
        self.log.at(slot).is_some() && self.memory.is_away(slot)
    }

    /// Makes tasks of all that is alive, and names them by their places. What is not in memory is wanted.
    pub(super) fn wake_all(&mut self, now_ms: i64) -> Vec<ExecutionId> {
        let mut all = Vec::new();
        self.log.each_live(|execution, slot, live| all.push((live.place, execution, slot)));
        let mut woken = Vec::new();
        self.unseen = all.len();
        for (place, execution, slot) in all {
            self.memory.insert_away(slot, Away::restored(now_ms));
            if self.bring_back(execution) {
                woken.push((place, execution));
            } else {
                self.want(execution);
            }
        }
        woken.sort_unstable();
        woken.into_iter().map(|(_, execution)| execution).collect()
    }

    /// Makes a task of what is away, if all that it needs was read.
    fn bring_back(&mut self, execution: ExecutionId) -> bool {
        let Some(slot) = self.log.slot(execution) else { return false };
        let Some(live) = self.log.live_mut(execution) else { return false };
        let (stands, oldest) = ((live.run(), live.place, slot), live.oldest_offset());
        let is_brought_back = live.is_brought_back();
        let Some((held, mail)) = take_contents(live) else { return false };
        let Some(away) = self.memory.remove_away(slot) else { return false };
        match held {
            Content::Checkpoint(checkpoint) => {
                let mut task = Task::back((stands, is_brought_back), checkpoint, away, oldest);
                mail.into_iter().for_each(|(mail, content)| task.take_mail(mail, content));
                self.memory.insert(execution, task);
            }
            Content::Redrive(redrive) => {
                self.redrives.insert(execution, Redriving::new(stands.0, stands.1, redrive));
                self.unseen -= usize::from(away.is_unseen());
            }
            // What lives begins with a start, a resume or a state, all of which hold one of these.
            Content::None | Content::Signal(_) => self.unseen -= usize::from(away.is_unseen()),
        }
        true
    }

    /// What is away is to be read: its turn has come.
    pub(in super::super) fn want(&mut self, execution: ExecutionId) {
        let Ward { log, asked, wanted, .. } = self;
        let Some(live) = log.live_mut(execution) else { return };
        let missing = live.contents().filter(|(_, content)| content.is_none()).map(|(offset, _)| offset);
        wanted.extend(missing.filter(|offset| !asked.contains(offset)));
    }

    /// The records that are to be read now, at most so many at once, in order of their offsets: behind those that were asked for last, and
    /// then from the first on again, so that each of them gets its turn.
    pub(in super::super) fn ask(&mut self, most: usize, ahead: usize) -> Vec<i64> {
        if self.memory.has_away() {
            self.want_ahead(ahead);
        } else {
            self.queues.values_mut().for_each(|queue| queue.ahead = 0);
        }
        let mut offsets = Vec::new();
        // Few records at once cost nearly as much as many.
        if self.asked.len() > most / 2 {
            return offsets;
        }
        while self.asked.len() < most
            && let Some(&offset) = self.wanted.range(self.read_to..).next().or_else(|| self.wanted.first())
        {
            self.wanted.remove(&offset);
            self.asked.insert(offset);
            self.read_to = offset + 1;
            offsets.push(offset);
        }
        offsets
    }

    /// Those are wanted that come first in the queues of connectors, many at once when not many are left.
    fn want_ahead(&mut self, most: usize) {
        let Ward { queues, log, memory, .. } = self;
        let mut away = Vec::new();
        for Queue { calls, ahead } in queues.values_mut() {
            let here = |slot: &Slot| log.at(*slot).is_none() || !memory.is_away(*slot);
            if *ahead > most / 2 && calls.first().is_none_or(|(_, _, slot)| here(slot)) {
                continue;
            }
            *ahead = most;
            let first = calls.iter().take(most).filter(|(_, _, slot)| !here(slot));
            away.extend(first.filter_map(|(_, _, slot)| Some(log.at(*slot)?.0)));
        }
        away.into_iter().for_each(|execution| self.want(execution));
    }

    /// A record was read again. Names what is to be looked at now.
    pub(in super::super) fn fetched(&mut self, record: Record<Content>) -> Vec<ExecutionId> {
        let Record { offset, execution, content, .. } = record;
        self.asked.remove(&offset);
        // Only the last record of it counts, whatever was asked for.
        let is_away = self.is_away(execution);
        let live = self.log.live_mut(execution).filter(|_| is_away);
        let place = live.and_then(|live| live.contents().find(|(at, _)| *at == offset)).map(|(_, place)| place);
        let Some(place) = place else { return Vec::new() };
        place.get_or_insert_with(|| Box::new(content));
        if !self.bring_back(execution) {
            return Vec::new();
        }
        // What is no task stands in no line, but may have been the last that was not seen.
        let mut woken = if self.memory.get(execution).is_none() { self.all_turns() } else { Vec::new() };
        woken.push(execution);
        woken
    }

    /// Mail for what is alive, which lies at that offset. Of what is away it is kept if there is room, and read again else.
    pub(in super::super) fn take_mail(
        &mut self,
        execution: ExecutionId,
        (mail, offset): (Mail, i64),
        content: Content,
        has_room: bool,
    ) {
        if let Some(task) = self.memory.get_mut(execution) {
            task.take_mail(mail, content);
        } else if has_room
            && self.is_away(execution)
            && let Some(live) = self.log.live_mut(execution)
            && let Some((_, place)) = live.contents().find(|(at, _)| *at == offset)
        {
            *place = Some(Box::new(content));
        }
    }

    /// The one that is to be put away first.
    pub(in super::super) fn furthest(&self) -> Option<Rank> {
        self.memory.furthest().copied()
    }

    /// Puts that away, if it can be read again. Returns its timers that need not run meanwhile.
    pub(in super::super) fn put_furthest_away(&mut self) -> Vec<Timer> {
        let Some(execution) = self.memory.pop_furthest().filter(|execution| self.can_go_away(*execution)) else {
            return Vec::new();
        };
        let Some(task) = self.memory.remove(execution) else { return Vec::new() };
        let slot = task.slot;
        let oldest = self.log.at(slot).map_or(i64::MIN, |(_, live)| live.oldest_offset());
        let (away, timers) = task.put_away(oldest);
        self.memory.insert_away(slot, away);
        timers.into_iter().map(|due_ms| (due_ms, execution.journal_partition, slot)).collect()
    }

    fn can_go_away(&mut self, execution: ExecutionId) -> bool {
        let Some(task) = self.memory.get(execution).filter(|task| task.can_go_away()) else { return false };
        let Some((_, live)) = self.log.at(task.slot) else { return false };
        // Of mail that is not included in its state, what it has taken is in memory only.
        if live.mail_count() != usize::from(live.state().is_none()) {
            return false;
        }
        if task.is_parked() && self.is_in_front(task.slot) {
            self.keep_in_front(execution);
            return false;
        }
        true
    }

    /// Whether it is among the first of a connector's queue.
    fn is_in_front(&self, slot: Slot) -> bool {
        self.queues.values().any(|queue| queue.calls.iter().take(FRONT).any(|(_, _, it)| *it == slot))
    }

    /// One that is among the first stays. Others may come before it; so all that stay are looked at again when there are too many.
    fn keep_in_front(&mut self, execution: ExecutionId) {
        self.in_front.push(execution);
        if self.in_front.len() > 2 * FRONT * self.queues.len() {
            for execution in std::mem::take(&mut self.in_front) {
                self.may_go(execution);
            }
        }
    }

    /// A task that was looked at waits for its turn, and may be put away until then.
    pub(in super::super) fn may_go(&mut self, execution: ExecutionId) {
        if let Some(task) = self.memory.get(execution).filter(|task| task.can_go_away()) {
            let turn_ms = task.turn_ms();
            self.memory.may_go(execution, turn_ms);
        }
    }

    /// A record that this owner has written has come back.
    pub(in super::super) fn came_back(&mut self, execution: ExecutionId, run: u32) {
        if let Some(task) = self.memory.get_mut(execution).filter(|task| task.run == run) {
            task.has_come_back();
            self.may_go(execution);
        }
    }

    /// A task was looked at for the first time since the restore. Names those whose turn that makes it: until all were, nobody gets a turn,
    /// because who is before them in line may not be known. Of one that runs, and whose version is not there, its workflow waits on.
    pub(in super::super) fn seen(&mut self, task: &mut Task) -> Vec<ExecutionId> {
        if !task.begins() {
            self.hold_line(task);
        }
        self.unseen -= 1;
        self.all_turns()
    }

    /// Nobody can say yet in which line a task stands, because its version is not there: until that is known, nobody of its workflow begins who
    /// came later.
    pub(in super::super) fn hold_line(&mut self, task: &mut Task) {
        if task.turn == Turn::Unknown {
            task.turn = Turn::Unplaced;
            *self.unplaced.entry(task.checkpoint.workflow.clone()).or_default() += 1;
        }
    }

    /// All that is alive of a workflow, and is in memory. What is not, and may be one of it, is read again.
    pub(in super::super) fn all_of(&mut self, workflow: &WorkflowId) -> Vec<ExecutionId> {
        let mut away = Vec::new();
        self.log.each_live(|execution, slot, _| {
            away.extend(self.memory.away(slot).filter(|away| away.may_be_of(workflow)).map(|_| execution));
        });
        away.into_iter().for_each(|execution| self.want(execution));
        self.memory.here_of(workflow).collect()
    }

    fn all_turns(&mut self) -> Vec<ExecutionId> {
        let workflows = if self.unseen > 0 { Vec::new() } else { self.lines.workflows() };
        workflows.iter().flat_map(|workflow| self.next_turns(workflow)).collect()
    }
}

/// Takes out what the records of an execution hold; None, and nothing is taken, if one of them is not there.
fn take_contents(live: &mut Live<Option<Box<Content>>>) -> Option<Held> {
    if live.contents().any(|(_, content)| content.is_none()) {
        return None;
    }
    let mut contents: Vec<Content> =
        live.contents().filter_map(|(_, content)| content.take()).map(|content| *content).collect();
    let mail = contents.split_off(contents.len().min(1));
    // The first mail is what it begins with, if there is no state.
    let kinds = live.mail().skip(usize::from(live.state().is_none())).map(|(mail, _)| mail);
    Some((contents.pop()?, kinds.zip(mail).collect()))
}
