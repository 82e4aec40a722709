//! Whose turn it is: executions of a workflow that limits how many run at once, or runs those of one event key one by one, in order.
//!
//! All of a workflow's executions that stand in one line have one owner, so it is exact. They stand in the order of their places, which is
//! the order in which their mail came to the journal. A line is per workflow: what limits its concurrency has all its executions in one
//! partition, and what is only ordered has all of a key's there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::engine::ids::ExecutionId;
use crate::engine::workflow::WorkflowId;

/// The place of an execution in its line.
type Place = (i64, ExecutionId);

/// Where an execution stands: in the line of its workflow, behind those of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub workflow: WorkflowId,
    /// None if it is not ordered.
    pub key: Option<Bytes>,
}

/// Whether it is an execution's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody has asked yet.
    Unknown,
    /// Nobody could ask yet, and it has begun already: until its line is known, nobody else of its workflow begins.
    Unplaced,
    /// It stands in no line.
    Free,
    /// It queues there.
    Queues(Arc<Stand>),
    /// It runs, and others wait for its end.
    Runs(Arc<Stand>),
}

/// The lines of one partition of the journal.
#[derive(Debug, Default)]
pub(super) struct Lines(FxHashMap<WorkflowId, Line>);

#[derive(Debug, Default)]
struct Line {
    /// How many may run at once, as the execution says that came last, and its place; 0 = any number.
    most: u32,
    said_at: i64,
    running: usize,
    /// Those that may run as soon as there is room, with their keys: of every key the first, if none of it runs.
    ready: BTreeMap<Place, Option<Bytes>>,
    keys: FxHashMap<Bytes, KeyLine>,
}

#[derive(Debug, Default)]
struct KeyLine {
    is_running: bool,
    waiting: BTreeSet<Place>,
}

impl Lines {
    /// An execution that has begun already is taken up.
    pub(super) fn runs(&mut self, stand: &Stand, place: Place, most: u32) {
        let line = self.line(stand, place, most);
        line.run(place, stand.key.as_ref());
    }

    /// An execution queues. Those whose turn it is now come from [`Lines::next`].
    pub(super) fn queue(&mut self, stand: &Stand, place: Place, most: u32) {
        let line = self.line(stand, place, most);
        match &stand.key {
            None => {
                line.ready.insert(place, None);
            }
            Some(key) => line.change(key, |of_key| {
                of_key.waiting.insert(place);
            }),
        }
    }

    /// Where an execution stands that says how many may run. After a restore they are not seen in the order in which they came.
    fn line(&mut self, stand: &Stand, (place, _): Place, most: u32) -> &mut Line {
        let line = self.0.entry(stand.workflow.clone()).or_default();
        if place >= line.said_at {
            (line.most, line.said_at) = (most, place);
        }
        line
    }

    /// An execution that ran or queued is over.
    pub(super) fn leave(&mut self, stand: &Stand, place: Place, ran: bool) {
        let Some(line) = self.0.get_mut(&stand.workflow) else { return };
        line.running -= usize::from(ran);
        match &stand.key {
            None => {
                line.ready.remove(&place);
            }
            Some(key) => line.change(key, |of_key| {
                of_key.waiting.remove(&place);
                of_key.is_running &= !ran;
            }),
        }
        if line.running == 0 && line.ready.is_empty() && line.keys.is_empty() {
            self.0.remove(&stand.workflow);
        }
    }

    /// The workflows that have lines.
    pub(super) fn workflows(&self) -> Vec<WorkflowId> {
        self.0.keys().cloned().collect()
    }

    /// The next execution of a workflow whose turn it is; it runs from now on.
    pub(super) fn next(&mut self, workflow: &WorkflowId) -> Option<ExecutionId> {
        let line = self.0.get_mut(workflow)?;
        if line.most > 0 && line.running >= line.most as usize {
            return None;
        }
        let (place, key) = line.ready.pop_first()?;
        line.run(place, key.as_ref());
        Some(place.1)
    }
}

impl Line {
    fn run(&mut self, place: Place, key: Option<&Bytes>) {
        self.running += 1;
        if let Some(key) = key {
            self.change(key, |of_key| {
                of_key.waiting.remove(&place);
                of_key.is_running = true;
            });
        }
    }

    /// Changes what is known of a key, and who of it is ready.
    fn change(&mut self, key: &Bytes, change: impl FnOnce(&mut KeyLine)) {
        let of_key = self.keys.entry(key.clone()).or_default();
        if let Some(first) = of_key.waiting.first() {
            self.ready.remove(first);
        }
        change(of_key);
        match of_key.waiting.first() {
            Some(first) if !of_key.is_running => {
                self.ready.insert(*first, Some(key.clone()));
            }
            None if !of_key.is_running => {
                self.keys.remove(key);
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u8) -> ExecutionId {
        ExecutionId::parse(&format!("0000-{}", format!("{number:02x}").repeat(16))).unwrap()
    }

    fn stand(key: Option<u8>) -> Stand {
        Stand { workflow: WorkflowId::new("w").unwrap(), key: key.map(|key| Bytes::copy_from_slice(&[key])) }
    }

    /// Lets everybody run whose turn it is.
    fn go(lines: &mut Lines) -> Vec<ExecutionId> {
        std::iter::from_fn(|| lines.next(&WorkflowId::new("w").unwrap())).collect()
    }

    #[test]
    fn those_of_a_key_run_one_by_one_and_the_others_meanwhile() {
        let mut lines = Lines::default();
        for (number, key) in [(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, None)] {
            lines.queue(&stand(key), (i64::from(number), id(number)), 0);
        }
        assert_eq!(go(&mut lines), [id(1), id(3), id(4)]);
        lines.leave(&stand(Some(7)), (1, id(1)), true);
        assert_eq!(go(&mut lines), [id(2)]);
    }

    #[test]
    fn no_more_run_at_once_than_may_and_those_that_came_first_come_first() {
        let mut lines = Lines::default();
        lines.runs(&stand(None), (1, id(1)), 2);
        for number in [4, 3, 2] {
            lines.queue(&stand(None), (i64::from(number), id(number)), 2);
        }
        assert_eq!(go(&mut lines), [id(2)]);
        // One that gives up before its turn makes no room.
        lines.leave(&stand(None), (3, id(3)), false);
        assert_eq!(go(&mut lines), []);
        lines.leave(&stand(None), (1, id(1)), true);
        assert_eq!(go(&mut lines), [id(4)]);
    }

    #[test]
    fn how_many_may_run_is_said_by_the_one_that_came_last_whoever_is_seen_last() {
        let (before, after) = ((1, id(1)), (2, id(2)));
        for is_old_last in [true, false] {
            let mut lines = Lines::default();
            if !is_old_last {
                lines.runs(&stand(None), before, 5);
            }
            lines.queue(&stand(None), after, 1);
            if is_old_last {
                lines.runs(&stand(None), before, 5);
            }
            assert_eq!(go(&mut lines), [], "one runs already");
        }
    }

    proptest! {
        /// Whatever comes and goes: of a key one runs at a time, in order of place, never more than may, and nobody is left over.
        #[test]
        fn lines_are_kept(most in 0..4_u32, comes in proptest::collection::vec((prop::option::of(0..3_u8), 0..4_usize), 1..60)) {
            let mut lines = Lines::default();
            let (mut running, mut started) = (Vec::<(Option<u8>, Place)>::new(), Vec::new());
            let mut waiting = Vec::new();
            for (number, (key, leave)) in comes.into_iter().enumerate() {
                let place = (number as i64, id(number as u8));
                lines.queue(&stand(key), place, most);
                waiting.push((key, place));
                for round in 0..=leave {
                    if round > 0 && !running.is_empty() {
                        let (key, place) = running.remove(round % running.len());
                        lines.leave(&stand(key), place, true);
                    }
                    for started_now in go(&mut lines) {
                        let at = waiting.iter().position(|(_, place)| place.1 == started_now).unwrap();
                        let (key, place) = waiting.remove(at);
                        prop_assert!(key.is_none() || running.iter().all(|(other, _)| *other != key), "two of a key");
                        prop_assert!(waiting.iter().all(|(other, it)| *other != key || *it > place), "out of order");
                        running.push((key, place));
                        started.push(place);
                    }
                    prop_assert!(most == 0 || running.len() <= most as usize);
                }
            }
            while let Some((key, place)) = running.pop() {
                lines.leave(&stand(key), place, true);
                for started_now in go(&mut lines) {
                    let at = waiting.iter().position(|(_, place)| place.1 == started_now).unwrap();
                    running.push(waiting.remove(at));
                }
            }
            prop_assert!(waiting.is_empty() && lines.0.is_empty());
        }
    }
}
