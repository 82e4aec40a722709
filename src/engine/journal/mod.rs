//! The journal: executions that wait, as a log. This is what of one of its partitions still matters, found by reading it in order.
//!
//! There are two kinds of record. *Mail* may come from anyone and asks the partition's owner for something: to start an execution, to
//! resume it as its next run, to cancel it, to tell it something. *State* and *end* come from the owner alone and say what became of the
//! mail up to an offset. Every mail that is taken up leaves a state or an end in the same transaction.
//!
//! ```text
//!  start ─▶ state ─▶ state ─▶ end          cancel, signal: mail for the run that is live, nothing otherwise
//!             ▲                 └─▶ resume: the next run, with a place of its own
//!             └─ appended again when too much that is dead lies before it
//! ```
//!
//! Restoring is reading: from the position to the end of the log, a fresh [`Log`] comes to the same as the one that has read all of it.
//! That holds because the position is the oldest record that matters, because what is remembered of the ends lies behind it too, and
//! because of three rules that are not plain to see:
//!
//! - A state includes mail that did nothing, too ([`Log::includes`]): whoever reads from the middle cannot know that it did nothing.
//! - An execution that has a state has started: mail that would start it is never left over.
//! - Mail may lie before the state that does not include it, and the state before that mail is gone. While a log is restored, mail for
//!   what seems not to be live is kept, until a state says that it was, or the end of the log that it was not.

mod live;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::ids::ExecutionId;
use super::ordered::Ordered;

pub use live::{Letter, Live, Retained};
pub use slots::Slot;
use slots::Slots;

/// Dead bytes that may lie between the position and the end of a log before live records are appended again.
pub const DEAD_BYTES: u64 = 64 * 1024 * 1024;

/// How much is read, in bytes, before it is noted again where that was: to say what lies before an offset it is enough to know that of one near
/// it, and a note for each execution would be a part of all that is kept of it.
const MARK_BYTES: u64 = 64 * 1024;

/// What mail asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// Start the execution; carries its first state.
    Start,
    /// Go on with an execution that has ended, as this run; carries its whole state.
    Resume,
    /// End the run that is live.
    Cancel,
    /// Something that a step of the live run waits for.
    Signal,
}

/// A record of the journal, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// From anyone.
    Mail(Mail),
    /// Where an execution stands, from the owner.
    State {
        /// The offset of the mail that the run began with.
        place: i64,
        /// Up to which offset it includes the mail of the execution; see [`Log::includes`].
        includes: i64,
    },
    /// That a run has ended, from the owner.
    End,
}

/// A record of the journal, with its content; `P` is what the reader makes of that.
#[derive(Clone, Debug)]
pub struct Record<P> {
    /// Where it lies.
    pub offset: i64,
    /// What it takes in the log, in bytes.
    pub bytes: u64,
    /// The execution.
    pub execution: ExecutionId,
    /// The run that it is about; mail that cancels or signals is about the live one, whatever it says.
    pub run: u32,
    /// What it is.
    pub entry: Entry,
    /// Its content.
    pub content: P,
}

/// What a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Mail that is to be taken up.
    Wanted,
    /// Where an execution stands now.
    Moved,
    /// A run that is over.
    Ended,
    /// Nothing: mail for what is not live or is already, or a state of a run that is not the live one.
    Nothing,
}

/// What of one partition of the journal still matters.
#[derive(Debug)]
pub struct Log<P> {
    live: Slots<Live<P>>,
    /// The live executions by their oldest record.
    oldest: Ordered<(i64, Slot)>,
    live_bytes: u64,
    /// The last run that has ended of executions, and where that stands; only what lies at or behind the position.
    ended: FxHashMap<ExecutionId, (u32, i64)>,
    ends: VecDeque<(i64, ExecutionId)>,
    /// Mail for what seems not to be live; None once the log is restored.
    orphans: Option<FxHashMap<ExecutionId, Vec<Letter<P>>>>,
    /// Bytes of all that was read.
    read: u64,
    /// How much had been read when offsets were, in order; see [`MARK_BYTES`].
    marks: VecDeque<(i64, u64)>,
    next: i64,
}

impl<P> Log<P> {
    /// A log that is to be restored from an offset on.
    pub fn starting_at(offset: i64) -> Log<P> {
        Log {
            live: Slots::new(),
            oldest: Ordered::default(),
            live_bytes: 0,
            ended: FxHashMap::default(),
            ends: VecDeque::new(),
            orphans: Some(FxHashMap::default()),
            read: 0,
            marks: VecDeque::new(),
            next: offset,
        }
    }

    /// Takes note of the next record. Records must come in order; one that was read before is nothing.
    pub fn apply(&mut self, record: Record<P>) -> Applied {
        if record.offset < self.next {
            return Applied::Nothing;
        }
        let Record { offset, bytes, execution, run, entry, content } = record;
        let kept = Retained::new(offset, bytes, run, content);
        self.has_read(offset, kept.bytes());
        let slot = self.live.slot(execution);
        let before = slot.and_then(|slot| self.take_out(slot));
        let (after, applied) = match entry {
            Entry::Mail(mail) => self.mail(execution, run, before, mail, kept),
            Entry::State { .. }
                if self.has_ended(execution, run) || before.as_ref().is_some_and(|it| it.run() > run) =>
            {
                (before, Applied::Nothing)
            }
            Entry::State { place, includes } => self.state(execution, before, place, includes, kept),
            Entry::End => self.end(execution, run, before, offset),
        };
        match (slot, after) {
            (slot, Some(live)) => self.put_in(execution, slot, live),
            (Some(slot), None) => self.live.remove(slot),
            (None, None) => {}
        }
        self.forget_ends();
        applied
    }

    /// Takes note of a record that cannot be understood, of so many bytes. Where it says of an execution where that stands, or that it has ended,
    /// what was known of it before does not hold any more: whoever went on from there would do again what was done.
    pub fn pass(&mut self, offset: i64, bytes: u64, execution: Option<ExecutionId>) {
        if offset < self.next {
            return;
        }
        self.has_read(offset, bytes);
        if let Some(slot) = execution.and_then(|execution| self.live.slot(execution)) {
            self.take_out(slot);
            self.live.remove(slot);
        }
        self.forget_ends();
    }

    fn has_read(&mut self, offset: i64, bytes: u64) {
        if self.marks.back().is_none_or(|(_, read)| self.read - read >= MARK_BYTES) {
            self.marks.push_back((offset, self.read));
        }
        self.read += bytes;
        self.next = offset + 1;
    }

    fn has_ended(&self, execution: ExecutionId, run: u32) -> bool {
        self.ended.get(&execution).is_some_and(|(last, _)| *last >= run)
    }

    fn mail(
        &mut self,
        execution: ExecutionId,
        run: u32,
        before: Option<Live<P>>,
        mail: Mail,
        kept: Retained<P>,
    ) -> (Option<Live<P>>, Applied) {
        match (mail, before) {
            (Mail::Cancel | Mail::Signal, Some(mut live)) => {
                live.push(mail, kept);
                (Some(live), Applied::Wanted)
            }
            (Mail::Resume, None) if self.has_ended(execution, run) => (None, Applied::Nothing),
            (Mail::Start | Mail::Resume, None) => {
                // Only an operator who resets offsets starts what has ended once more, under the same id.
                self.ended.remove(&execution);
                let place = kept.offset;
                (Some(Live::new(place, kept)), Applied::Wanted)
            }
            (Mail::Cancel | Mail::Signal, None) => {
                if let Some(orphans) = &mut self.orphans {
                    orphans.entry(execution).or_default().push((mail, kept));
                }
                (None, Applied::Nothing)
            }
            (Mail::Start | Mail::Resume, before) => (before, Applied::Nothing),
        }
    }

    fn state(
        &mut self,
        execution: ExecutionId,
        before: Option<Live<P>>,
        place: i64,
        includes: i64,
        kept: Retained<P>,
    ) -> (Option<Live<P>>, Applied) {
        let orphans = self.orphans.as_mut().and_then(|orphans| orphans.remove(&execution)).unwrap_or_default();
        let known = before.and_then(|live| live.more).map(|more| more.mail).unwrap_or_default();
        // It lies behind the mail that its run began with, whatever it says.
        let mut live = Live::new(place.min(kept.offset - 1), kept);
        for (mail, kept) in orphans.into_iter().chain(known).filter(|(_, kept)| kept.offset > includes) {
            live.push(mail, kept);
        }
        (Some(live), Applied::Moved)
    }

    fn end(
        &mut self,
        execution: ExecutionId,
        run: u32,
        before: Option<Live<P>>,
        offset: i64,
    ) -> (Option<Live<P>>, Applied) {
        if let Some(orphans) = &mut self.orphans {
            orphans.remove(&execution);
        }
        // From the middle of the log, a start that did nothing can look like one that did: the end of a later run ends that too.
        if before.as_ref().is_some_and(|live| live.run() > run) {
            return (before, Applied::Nothing);
        }
        self.ended.insert(execution, (run, offset));
        self.ends.push_back((offset, execution));
        (None, Applied::Ended)
    }

    fn take_out(&mut self, slot: Slot) -> Option<Live<P>> {
        let live = self.live.take(slot)?;
        self.oldest.remove(&(live.oldest_offset(), slot));
        self.live_bytes -= live.bytes();
        Some(live)
    }

    fn put_in(&mut self, execution: ExecutionId, slot: Option<Slot>, live: Live<P>) {
        let oldest = live.oldest_offset();
        self.live_bytes += live.bytes();
        let slot = match slot {
            Some(slot) => {
                self.live.put(slot, live);
                slot
            }
            None => self.live.insert(execution, live),
        };
        self.oldest.insert((oldest, slot));
    }

    fn forget_ends(&mut self) {
        // Until the log is restored, what is live may not have been seen yet.
        if self.orphans.is_some() {
            return;
        }
        let position = self.position();
        while let Some((offset, execution)) = self.ends.pop_front_if(|(offset, _)| *offset < position) {
            if self.ended.get(&execution).is_some_and(|(_, at)| *at == offset) {
                self.ended.remove(&execution);
            }
        }
        while self.marks.get(1).is_some_and(|(offset, _)| *offset <= position) {
            self.marks.pop_front();
        }
    }

    /// The end of the log as it was at the assignment is read: from now on, mail for what is not live does nothing.
    pub fn restored(&mut self) {
        self.orphans = None;
        self.forget_ends();
    }

    /// What a state of an execution names as included if it takes up so many pieces of its mail: all that was read, mail that
    /// did nothing among it, up to the first piece that is left.
    pub fn includes(&self, execution: ExecutionId, taken: usize) -> i64 {
        let left = self.live(execution).and_then(|live| live.mail().nth(taken));
        left.map_or(self.next, |(_, kept)| kept.offset) - 1
    }

    /// Where to read from to come to the same again, of a log that is restored: the offset to commit. What lies before it can be deleted.
    pub fn position(&self) -> i64 {
        self.oldest.first().map_or(self.next, |(offset, _)| *offset)
    }

    /// The offset after the last record that was read.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// An execution that has not ended.
    pub fn live(&self, execution: ExecutionId) -> Option<&Live<P>> {
        Some(self.at(self.slot(execution)?)?.1)
    }

    /// Where an execution that has not ended has its place.
    pub fn slot(&self, execution: ExecutionId) -> Option<Slot> {
        self.live.slot(execution)
    }

    /// Whose place that is, while it is live.
    pub fn at(&self, slot: Slot) -> Option<(ExecutionId, &Live<P>)> {
        self.live.get(slot)
    }

    /// The same, so that contents can be taken out and put in.
    pub fn live_mut(&mut self, execution: ExecutionId) -> Option<&mut Live<P>> {
        let slot = self.slot(execution)?;
        self.live.get_mut(slot)
    }

    /// All executions that have not ended, those first whose oldest record is oldest.
    pub fn all_live(&self) -> impl Iterator<Item = (ExecutionId, &Live<P>)> {
        self.oldest.iter().filter_map(|(_, slot)| self.at(*slot))
    }

    /// Hands over every execution that has not ended, in no order, so that contents can be taken out.
    pub fn each_live(&mut self, mut take: impl FnMut(ExecutionId, Slot, &mut Live<P>)) {
        self.live.iter_mut().for_each(|(execution, slot, live)| take(execution, slot, live));
    }

    /// How many executions have not ended.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// How many ends are remembered: those behind the position.
    pub fn ended_count(&self) -> usize {
        self.ends.len()
    }

    /// What the records that still matter take in the log, in bytes.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// What lies between the position and the end of the log and no longer matters, in bytes, or up to [`MARK_BYTES`] and a record more than that.
    pub fn dead_bytes(&self) -> u64 {
        let position = self.position();
        let before = self.marks.partition_point(|(offset, _)| *offset <= position);
        let mark = before.checked_sub(1).and_then(|last| self.marks.get(last));
        let from = mark.filter(|_| position < self.next).map_or(self.read, |(_, read)| *read);
        (self.read - from).saturating_sub(self.live_bytes)
    }

    /// The executions whose states are to be appended again, so that the position can move: those that are furthest back, while the dead
    /// bytes exceed [`DEAD_BYTES`] and the live ones, and as many as `room` bytes take, one at least. One that has only its first mail, because
    /// it waits since, is among them: where it stands can be written as a state as well. Those behind one of which something is being
    /// written now are appended for nothing: whoever asks leaves them out.
    pub fn stragglers(&self, room: u64) -> Vec<ExecutionId> {
        if self.dead_bytes() <= DEAD_BYTES.max(self.live_bytes) {
            return Vec::new();
        }
        let mut taken = 0;
        let fits = |(_, bytes): &(ExecutionId, u64)| {
            let first = taken == 0;
            taken += bytes;
            first || taken <= room
        };
        let live = self.all_live().map(|(execution, live)| (execution, live.bytes()));
        live.take_while(fits).map(|(execution, _)| execution).collect()
    }
}
