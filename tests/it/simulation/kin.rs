//! What the journal says once everything is at rest: that every run that was begun has ended once and as it had to, whatever came of it, and that
//! nothing waits on that nobody waits for.
//!
//! What a run was to come to is known only of those that nobody has cancelled, and whose kin nobody has. Of the others it is known what must not
//! be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate::engine::checkpoint::{Checkpoint, Content};
use tidegate::engine::ids::ExecutionId;
use tidegate::engine::journal::{Entry, Mail};
use tidegate::engine::record::JournalRecord;
use tidegate::engine::workflow::WorkflowId;

use super::cluster::JOURNAL;
use super::log::{Decided, FakeLog, Line};
use super::plans::IN_TIME;

type Run = (ExecutionId, u32);

/// The workflows of executions, and what has started those that no event has.
#[derive(Clone, Default)]
pub struct Kin(HashMap<ExecutionId, (WorkflowId, Option<ExecutionId>)>);

impl Kin {
    /// Takes note of what begins.
    pub fn born(&mut self, record: &JournalRecord) {
        if let (Entry::Mail(Mail::Start | Mail::Resume), Content::Checkpoint(it)) = (record.entry, &record.content) {
            let parent = it.parent.as_ref().map(|parent| parent.execution);
            self.0.insert(record.execution, (it.workflow.clone(), parent));
        }
    }

    /// All that is kin of these, they included.
    fn of(&self, executions: &mut BTreeSet<ExecutionId>) {
        let mut before = 0;
        while executions.len() > before {
            before = executions.len();
            for (execution, (_, parent)) in &self.0 {
                let Some(parent) = parent else { continue };
                if executions.contains(execution) || executions.contains(parent) {
                    executions.extend([*execution, *parent]);
                }
            }
        }
    }
}

/// Whether one of these executions has written a line, every one of which names its execution.
pub fn is_of(line: &Line, executions: &BTreeSet<String>) -> bool {
    line.key.split([' ', '/']).any(|word| executions.contains(word))
}

/// Those of which nobody knows what they had to come to: they were cancelled, or have to end in time, or are kin of such.
pub fn uncertain(log: &FakeLog, alone: &Kin) -> BTreeSet<String> {
    let mut kin = alone.clone();
    let mut executions = BTreeSet::new();
    for Decided { record, .. } in all(log) {
        kin.born(record);
        if record.entry == Entry::Mail(Mail::Cancel) {
            executions.insert(record.execution);
        }
    }
    let is_in_time = |workflow: &WorkflowId| IN_TIME.iter().any(|name| workflow.as_str().starts_with(name));
    executions.extend(kin.0.iter().filter(|(_, (workflow, _))| is_in_time(workflow)).map(|(execution, _)| *execution));
    kin.of(&mut executions);
    executions.iter().map(ToString::to_string).collect()
}

fn all(log: &FakeLog) -> impl Iterator<Item = Decided<'_>> {
    (0..JOURNAL).flat_map(|partition| log.decided(partition))
}

/// What a partition of the journal says, read in order.
#[derive(Default)]
struct Told {
    live: BTreeMap<ExecutionId, u32>,
    begun: BTreeSet<Run>,
    /// Where the mail lies that cancels it.
    cancelled: BTreeMap<Run, i64>,
    /// By when the end was committed.
    ended: BTreeMap<Run, u64>,
    violations: Vec<String>,
}

impl Told {
    fn take(&mut self, Decided { offset, order, record, .. }: Decided<'_>) {
        let JournalRecord { execution, run, entry, content } = record;
        match entry {
            Entry::Mail(Mail::Start | Mail::Resume) if !self.live.contains_key(execution) => {
                if self.ended.keys().any(|(it, last)| it == execution && last >= run) {
                    return;
                }
                self.live.insert(*execution, *run);
                if matches!(content, Content::Checkpoint(_)) {
                    self.begun.insert((*execution, *run));
                }
            }
            Entry::Mail(Mail::Cancel) => {
                if let Some(run) = self.live.get(execution) {
                    self.cancelled.entry((*execution, *run)).or_insert(offset);
                }
            }
            Entry::Mail(_) => {}
            Entry::State { includes, .. } => {
                let cancelled = self.cancelled.get(&(*execution, *run)).filter(|at| *at <= includes);
                self.violations.extend(cancelled.map(|at| {
                    format!("run {run} of {execution} goes on at {offset} as if it had not been cancelled at {at}")
                }));
            }
            Entry::End => {
                if self.live.get(execution) != Some(run) {
                    self.violations.push(format!("run {run} of {execution} ends at {offset}, but is not live"));
                }
                self.live.remove(execution);
                self.ended.insert((*execution, *run), order);
            }
        }
    }
}

/// Whether mail that cancels a run lies before an offset, and behind its beginning.
pub fn is_cancelled_before(log: &FakeLog, run: Run, read_to: i64) -> bool {
    let mut told = Told::default();
    let records = log.decided(run.0.journal_partition);
    let its = records.filter(|it| it.record.execution == run.0 && it.offset < read_to);
    its.for_each(|it| told.take(it));
    told.cancelled.contains_key(&run)
}

/// What is wrong with all that was written.
pub fn violations(log: &FakeLog) -> Vec<String> {
    let mut told = Told::default();
    all(log).for_each(|it| told.take(it));
    let mut wrong = std::mem::take(&mut told.violations);
    wrong.extend(told.live.iter().map(|(execution, run)| format!("run {run} of {execution} waits on")));
    wrong.extend(twice(log));
    wrong.extend(ends(log, &told));
    wrong.extend(children(log, &told));
    wrong
}

/// Nothing is written twice.
fn twice(log: &FakeLog) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for Line { topic, key } in &log.committed {
        *counts.entry((topic, key)).or_default() += 1;
    }
    let many = counts.into_iter().filter(|(_, count)| *count > 1);
    many.map(|(line, count)| format!("{line:?} was written {count} times")).collect()
}

/// Every run that was begun has one end, and a dead letter if that is not its completion; as cancelled it ends only if it was.
fn ends(log: &FakeLog, told: &Told) -> Vec<String> {
    let mut statuses: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut letters: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Line { topic, key } in &log.committed {
        let words: Vec<&str> = key.split(' ').collect();
        match (&**topic, &words[..]) {
            ("executions", [execution, run, status]) => statuses.entry((execution, run)).or_default().push(status),
            ("dead-letters", [_, _, execution, run, reason]) => {
                letters.entry((execution, run)).or_default().push(reason);
            }
            _ => {}
        }
    }
    let begun: Vec<_> = told.begun.iter().map(|(execution, run)| (execution.to_string(), run.to_string())).collect();
    let begun = begun.iter().map(|(execution, run)| (&**execution, &**run));
    let cancelled: BTreeSet<_> = told.cancelled.keys().map(|(it, run)| (it.to_string(), run.to_string())).collect();
    let runs: BTreeSet<_> = statuses.keys().copied().chain(begun).collect();
    let mut wrong = Vec::new();
    for (execution, run) in runs {
        let of = |map: &BTreeMap<_, Vec<_>>| map.get(&(execution, run)).cloned().unwrap_or_default();
        let ended: Vec<&str> = of(&statuses).into_iter().filter(|it| !["pending", "running"].contains(it)).collect();
        let left = of(&letters);
        let is_right = match (&ended[..], &left[..]) {
            (["completed"], []) => true,
            (["failed"], [reason]) => *reason != "cancelled",
            (["cancelled"], ["cancelled"]) => cancelled.contains(&(execution.to_owned(), run.to_owned())),
            _ => false,
        };
        if !is_right {
            wrong.push(format!("run {run} of {execution} ended as {ended:?}, with the dead letters {left:?}"));
        }
    }
    wrong
}

/// A child that is not waited for any more had ended before, or is cancelled by what ends the waiting; and nothing else but somebody cancels one.
fn children(log: &FakeLog, told: &Told) -> Vec<String> {
    let (mut waits, mut parents) = (BTreeMap::new(), BTreeMap::new());
    let (mut gone, mut cancels, mut states) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for Decided { order, id, record, .. } in all(log) {
        let execution = record.execution;
        let now = match (record.entry, &record.content) {
            (Entry::Mail(Mail::Cancel), _) => {
                cancels.insert((order, execution, id));
                continue;
            }
            (Entry::Mail(Mail::Signal), _) => continue,
            (_, Content::Checkpoint(it)) => {
                parents.extend(it.parent.as_ref().map(|parent| (execution, parent.execution)));
                children_of(it)
            }
            _ => BTreeSet::new(),
        };
        let before: BTreeSet<ExecutionId> = waits.insert(execution, now.clone()).unwrap_or_default();
        gone.extend(before.difference(&now).map(|child| (order, *child)));
        states.insert((order, execution), now);
    }
    let mut wrong = Vec::new();
    for (order, child) in gone {
        let had_ended = told.ended.get(&(child, 1)).is_some_and(|ended| *ended <= order);
        let is_cancelled = cancels.iter().any(|(at, it, _)| (*at, *it) == (order, child));
        if !had_ended && !is_cancelled {
            wrong.push(format!("nobody waits for {child} any more, which had not ended and was not cancelled"));
        }
    }
    for (order, child, id) in cancels.into_iter().filter(|(.., id)| *id != super::canceller::ID) {
        let Some(parent) = parents.get(&child) else { continue };
        if states.get(&(order, *parent)).is_none_or(|waits| waits.contains(&child)) {
            wrong.push(format!("{id} cancelled {child}, for which {parent} waits"));
        }
    }
    wrong
}

fn children_of(checkpoint: &Checkpoint) -> BTreeSet<ExecutionId> {
    checkpoint.waits.iter().filter_map(|wait| wait.child).collect()
}
