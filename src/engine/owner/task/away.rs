//! An execution whose checkpoint is not in memory: what its owner must know of it until its turn comes.
//!
//! Its run, its place, and where its checkpoint lies are in the journal's log. The rest follows from the checkpoint once that is read again.

use std::sync::Arc;

use super::{Stage, Stands, Task};
use crate::engine::checkpoint::Checkpoint;
use crate::engine::owner::reason::WaitReason;
use crate::engine::owner::turns::{Stand, Turn};
use crate::engine::workflow::WorkflowId;

/// Stands for not being parked. Whoever runs for 49 days before that counts as parked a little earlier.
const NOT_PARKED: u32 = u32::MAX;

/// What is kept of a task that is put away. There may be millions, so it is small.
#[derive(Debug)]
pub(in super::super) struct Away {
    /// From when its time-out counts, what it was parked since included.
    counts_from_ms: i64,
    /// What few have.
    more: Option<Box<More>>,
    /// How long after that moment it was parked, if it is.
    parked_after_ms: u32,
    /// Which of the first steps that wait do so for their connectors, a bit each. Of a step that has none, it is seen again.
    queued: u8,
    turn: AwayTurn,
    straggler: Straggler,
    counted_as: Option<WaitReason>,
}

/// What is kept beside that of those that stand in a line, or went behind others.
#[derive(Debug)]
struct More {
    /// Its place among those that wait for its connector, if that is another one than its own.
    back: Option<i64>,
    /// Its line, if it stands in one.
    stand: Option<Arc<Stand>>,
}

/// Whether it is its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AwayTurn {
    /// It was taken up after a restore and was not looked at since: it stands in no line yet, and no timer runs for it.
    Unseen,
    /// Nobody has asked yet.
    Unasked,
    Queues,
    /// It runs, or stands in no line.
    Runs,
    /// It runs, and could not be asked.
    Unplaced,
}

/// Whether its state is to be appended again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Straggler {
    No,
    /// That was done, and its oldest record does not move meanwhile.
    Was,
    Is,
}

impl Away {
    /// One that a restore has come to.
    pub(in super::super) fn restored(now_ms: i64) -> Away {
        Away {
            counts_from_ms: now_ms,
            more: None,
            parked_after_ms: NOT_PARKED,
            queued: 0,
            turn: AwayTurn::Unseen,
            straggler: Straggler::No,
            counted_as: None,
        }
    }

    pub(in super::super) fn counted_as(&self) -> Option<WaitReason> {
        self.counted_as
    }

    pub(in super::super) fn is_unseen(&self) -> bool {
        self.turn == AwayTurn::Unseen
    }

    /// Whether it may be one of that workflow: of one that stands in no line, that is not known.
    pub(in super::super) fn may_be_of(&self, workflow: &WorkflowId) -> bool {
        let stand = self.more.as_ref().and_then(|more| more.stand.as_ref());
        stand.is_none_or(|stand| stand.workflow == *workflow)
    }

    /// Its state is to be appended again. False if that was asked for already.
    pub(in super::super) fn append_again(&mut self) -> bool {
        let is_first = self.straggler == Straggler::No;
        if is_first {
            self.straggler = Straggler::Is;
        }
        is_first
    }
}

impl Task {
    /// Whether its checkpoint can be read again from the record that the log knows of it, and nothing of it is under way. One that has no place
    /// in a line yet takes it first, so that none that came later is before it.
    pub(in super::super) fn can_go_away(&self) -> bool {
        self.is_settled()
            && self.to_come == 0
            && !self.has_changed()
            && self.signals.is_empty()
            && !(self.begins && self.turn == Turn::Unknown)
            && !self.stages.iter().any(|stage| matches!(stage, Stage::Calling(_)))
    }

    /// What is kept of it, and the timers that need not run meanwhile: one tells that its turn has come. `oldest` is its oldest record.
    pub(in super::super) fn put_away(self, oldest: i64) -> (Away, Vec<i64>) {
        let mut timers: Vec<i64> = self.timers().collect();
        timers.sort_unstable();
        timers.dedup();
        let others = timers.split_off(timers.len().min(1));
        let is_queued = |number: usize| self.stages.get(number) == Some(&Stage::Queued);
        let queued =
            (0..u8::BITS).filter(|number| is_queued(*number as usize)).fold(0, |bits, number| bits | 1 << number);
        let counts_from_ms = self.counts_from_ms.saturating_add(self.parked_ms);
        let parked_after = |since_ms: i64| (since_ms - counts_from_ms).clamp(0, i64::from(NOT_PARKED - 1)) as u32;
        let stand = match &self.turn {
            Turn::Queues(stand) | Turn::Runs(stand) => Some(stand.clone()),
            Turn::Unknown | Turn::Unplaced | Turn::Free => None,
        };
        let away = Away {
            counts_from_ms,
            parked_after_ms: self.parked_since_ms.map_or(NOT_PARKED, parked_after),
            queued,
            turn: match &self.turn {
                Turn::Unknown if self.is_unseen => AwayTurn::Unseen,
                Turn::Unknown => AwayTurn::Unasked,
                Turn::Queues(_) => AwayTurn::Queues,
                Turn::Unplaced => AwayTurn::Unplaced,
                Turn::Free | Turn::Runs(_) => AwayTurn::Runs,
            },
            more: (stand.is_some() || self.back.is_some()).then(|| Box::new(More { back: self.back, stand })),
            counted_as: self.counted_as,
            straggler: if self.appended_from == Some(oldest) { Straggler::Was } else { Straggler::No },
        };
        (away, others)
    }

    /// The same task with its checkpoint. Its timers are asked for once more.
    pub(in super::super) fn back(
        (stands, is_brought_back): (Stands, bool),
        checkpoint: Arc<Checkpoint>,
        away: Away,
        oldest: i64,
    ) -> Task {
        let mut task = Task::new(stands, checkpoint, is_brought_back, away.counts_from_ms);
        for (number, stage) in task.stages.iter_mut().enumerate().take(u8::BITS as usize) {
            if away.queued & (1 << number) != 0 {
                *stage = Stage::Queued;
            }
        }
        let is_parked = away.parked_after_ms != NOT_PARKED;
        task.parked_since_ms = is_parked.then(|| away.counts_from_ms + i64::from(away.parked_after_ms));
        let (back, stand) = away.more.map_or((None, None), |more| (more.back, more.stand));
        task.back = back;
        task.is_unseen = away.turn == AwayTurn::Unseen;
        task.is_straggler = away.straggler == Straggler::Is;
        task.appended_from = (away.straggler != Straggler::No).then_some(oldest);
        task.counted_as = away.counted_as;
        task.turn = match (away.turn, stand) {
            (AwayTurn::Queues, Some(stand)) => Turn::Queues(stand),
            (AwayTurn::Runs, Some(stand)) => Turn::Runs(stand),
            (AwayTurn::Runs, None) => Turn::Free,
            (AwayTurn::Unplaced, _) => Turn::Unplaced,
            (AwayTurn::Unseen | AwayTurn::Unasked | AwayTurn::Queues, _) => Turn::Unknown,
        };
        task
    }

    /// When it is to be looked at, as far as it has asked for that.
    fn timers(&self) -> impl Iterator<Item = i64> {
        let due = |stage: &Stage| if let Stage::Timer(due_ms) = stage { Some(*due_ms) } else { None };
        self.stages.iter().filter_map(due).chain(self.looked_for_ms).chain(self.looks_again_ms)
    }

    /// When its turn comes, as far as that is known: now, if it is still to be looked at. What queues comes last, because its turn is seen
    /// before.
    pub(in super::super) fn turn_ms(&self) -> i64 {
        if !self.is_looked_at {
            return i64::MIN;
        }
        if self.is_parked() || matches!(self.turn, Turn::Queues(_)) {
            return i64::MAX;
        }
        self.timers().min().unwrap_or(i64::MAX)
    }

    /// Whether a step of it waits for its connector.
    pub(in super::super) fn is_parked(&self) -> bool {
        self.stages.contains(&Stage::Queued)
    }
}
