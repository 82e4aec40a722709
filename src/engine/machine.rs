//! The machine of one lane: events in, what they cause out.
//!
//! ```text
//!  handle_assigned · handle_revoked           partitions come with their positions and go
//!  handle_record(event or undecodable)        one record of a partition that is held
//!  poll(now) ─▶ Emitted                       one execution, one dead letter or one event done; call until None
//! ```
//!
//! An event's matches run in order of workflow id, one per `poll`, each with the position that holds once it is written. So
//! whoever drives the machine may end a batch between any two of them, and a fan-out of any size fits into bounded batches.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::batch::{AssignmentId, SourcePartition};
use super::event::{Event, SourceRecord, Undecodable};
use super::execution::{Identity, Subject};
use super::fan_out::{ConditionError, FanOut};
use super::position::Position;
use super::registry::{Compile, MatchScratch, Registry};

/// The pure part of a lane.
#[derive(Debug)]
pub struct Machine {
    identity: Arc<Identity>,
    held: FxHashMap<SourcePartition, Held>,
    next_assignment: u64,
    under_way: Option<UnderWay>,
    scratch: MatchScratch,
}

#[derive(Debug)]
struct Held {
    assignment: AssignmentId,
    position: Position,
}

/// A record whose work is under way.
#[derive(Debug)]
struct UnderWay {
    partition: SourcePartition,
    assignment: AssignmentId,
    offset: i64,
    work: Work,
    matched: u32,
}

#[derive(Debug)]
enum Work {
    /// The matches that are left.
    Event(FanOut),
    /// A record that could not be understood; None once it is dealt with.
    Undecodable(Option<Box<(SourceRecord, Undecodable)>>),
}

/// What became of a record that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Its work comes from [`Machine::poll`].
    Accepted {
        /// Workflows that match by their triggers but are not active.
        inactive: u32,
    },
    /// Its partition is not held, or the position is past it: it is somebody else's, or done.
    Stale,
}

/// One piece of what a record causes.
#[derive(Debug)]
pub struct Emitted {
    /// The record's partition.
    pub partition: SourcePartition,
    /// The assignment under which it was read.
    pub assignment: AssignmentId,
    /// The partition's position once this is written.
    pub position: Position,
    /// What is to be run and written; None if the record causes nothing (more).
    pub subject: Option<Subject>,
    /// Set on the last piece of a record: how many workflows it was run for.
    pub done: Option<u32>,
    /// A `where` that has no value for this event: no match, but worth a word.
    pub condition_error: Option<ConditionError>,
}

impl Machine {
    /// A machine that holds nothing yet.
    pub fn new(identity: Arc<Identity>) -> Machine {
        Machine {
            identity,
            held: FxHashMap::default(),
            next_assignment: 0,
            under_way: None,
            scratch: MatchScratch::default(),
        }
    }

    /// Another assignment: of a partition that this machine takes up, or of one of the journal's.
    pub fn next_assignment(&mut self) -> AssignmentId {
        self.next_assignment += 1;
        AssignmentId(self.next_assignment)
    }

    /// Takes up a partition at its committed position.
    pub fn handle_assigned(&mut self, partition: SourcePartition, position: Position) -> AssignmentId {
        let assignment = self.next_assignment();
        self.held.insert(partition, Held { assignment, position });
        assignment
    }

    /// Lets a partition go, and the record of it that is under way.
    pub fn handle_revoked(&mut self, partition: &SourcePartition) {
        self.held.remove(partition);
        if self.under_way.as_ref().is_some_and(|it| it.partition == *partition) {
            self.under_way = None;
        }
    }

    /// Takes one record of a partition that is held. Only when [`Machine::poll`] has nothing more for the one before.
    pub fn handle_record(
        &mut self,
        registry: &Registry,
        decoded: Result<Event, (SourceRecord, Undecodable)>,
    ) -> Handled {
        debug_assert!(self.under_way.is_none(), "poll until there is nothing more before the next record");
        let record = match &decoded {
            Ok(event) => &event.record,
            Err((record, _)) => record,
        };
        let partition = SourcePartition { topic: record.origin.topic.clone(), partition: record.origin.partition };
        let offset = record.origin.offset;
        let Some(held) = self.held.get(&partition).filter(|held| held.position.next_offset <= offset) else {
            return Handled::Stale;
        };
        // The position names a workflow only of the event it stands at; an event that retention took is gone with it.
        let after = held.position.after.clone().filter(|_| held.position.next_offset == offset);
        let assignment = held.assignment;
        let mut inactive = 0;
        let work = match decoded {
            Err(undecodable) => Work::Undecodable(Some(Box::new(undecodable))),
            Ok(event) => {
                let fan_out = FanOut::of(registry, &mut self.scratch, Arc::new(event), after.as_ref());
                inactive = self.scratch.inactive().len() as u32;
                Work::Event(fan_out)
            }
        };
        self.under_way = Some(UnderWay { partition, assignment, offset, work, matched: 0 });
        Handled::Accepted { inactive }
    }

    /// The next piece of what the last record causes; None when there is nothing more.
    pub fn poll(&mut self, compile: Compile<'_>, now_ms: i64) -> Option<Emitted> {
        let mut under_way = self.under_way.take()?;
        let mut condition_error = None;
        let subject = match &mut under_way.work {
            Work::Undecodable(left) => left.take().map(|it| Subject::undecodable(*it, now_ms)),
            Work::Event(left) => left.next(&self.identity, compile, now_ms, &mut condition_error),
        };
        under_way.matched += u32::from(matches!(subject, Some(Subject::Execution(_))));
        let more = matches!(&under_way.work, Work::Event(left) if left.has_more());
        let position = match subject.as_ref().and_then(Subject::workflow).filter(|_| more) {
            Some(workflow) => Position::inside(under_way.offset, workflow.id.clone()),
            None => Position::at(under_way.offset + 1),
        };
        if let Some(held) = self.held.get_mut(&under_way.partition) {
            held.position = position.clone();
        }
        let emitted = Emitted {
            partition: under_way.partition.clone(),
            assignment: under_way.assignment,
            position,
            subject,
            done: (!more).then_some(under_way.matched),
            condition_error,
        };
        if more {
            self.under_way = Some(under_way);
        }
        Some(emitted)
    }

    /// Where the partition stands, if it is held.
    pub fn position(&self, partition: &SourcePartition) -> Option<&Position> {
        self.held.get(partition).map(|held| &held.position)
    }
}
