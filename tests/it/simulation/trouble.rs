//! What befalls executions in a part of the seeds: somebody cancels them, what they need is missing for a while, and sub-workflows have to end
//! in time.
//!
//! All of it is drawn from a generator of its own, so that the other seeds are the runs that they were.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tidegate::bench::workload::Random;
use tidegate::engine::checkpoint::{Checkpoint, Content};
use tidegate::engine::event::SourceRecord;
use tidegate::engine::execution::{Left, Subject};
use tidegate::engine::ids::ExecutionId;
use tidegate::engine::journal::{Entry, Mail};
use tidegate::engine::record::{ExecutionStatus, JournalRecord, Output};
use tidegate::engine::value::Value;
use tidegate::engine::workflow::WorkflowId;

use super::broken::Broken;
use super::kin::{self, Kin};
use super::log::FakeLog;
use super::plans::IN_TIME;
use super::waiting;

/// One seed of so many is one with trouble.
const ONE_OF: u64 = 4;
/// How often something is missing, and when the last time begins at the latest: in the end everything is there.
const TIMES: usize = 14;
const LAST_BEGINS_MS: usize = 5_000;
/// How long a sub-workflow may take: hardly ever enough, now and then, and as a rule.
const TIMEOUTS_MS: [u64; 3] = [60, 400, 2_500];
/// The workflows of which a version may be missing: those of parents, of children, and of those that stand in a line.
const MAY_BE_MISSING: [&str; 6] = ["waits-", "again-", "order-", "calls-", "brief-", "patient-"];

/// What an instance lacks for a while.
struct Missing {
    from_ms: i64,
    until_ms: i64,
    /// None: all of them lack it.
    instance: Option<usize>,
    what: What,
}

enum What {
    /// That with which the records of every third offset are understood.
    Schema(i64),
    /// A version of the workflow whose name begins so; and whether it is known that it will come.
    Version(&'static str, bool),
}

/// The trouble of one seed.
pub struct Trouble {
    missing: Vec<Missing>,
    /// How long a sub-workflow of a step that does not wait for long may take.
    pub timeout: Duration,
    /// What executions are to each other, of those that are run alone; see [`kin`].
    pub alone: RefCell<Kin>,
    /// Runs that a lane has ended because they were cancelled, and the lane in one of its lives.
    given_up: RefCell<HashSet<(String, u64, ExecutionId, u32)>>,
    /// How often what happened.
    pub counts: RefCell<BTreeMap<&'static str, u32>>,
}

/// A lane in one of its lives, and what it sees.
pub struct Seer<'a> {
    /// Its name, and which life it is.
    pub lane: (&'a str, u64),
    /// Up to where it has read all of the journal's partition.
    pub read_to: i64,
    pub now_ms: i64,
}

impl Trouble {
    /// That of a seed, if it is one with trouble; and what it goes on to draw from.
    pub fn of(seed: u64) -> Option<(Trouble, Random)> {
        if seed % ONE_OF != ONE_OF - 1 {
            return None;
        }
        let mut random = Random::new(seed ^ 0x5DEE_CE66_D1CE_4E5B);
        let missing = (0..TIMES).map(|_| Missing::new(&mut random)).collect();
        let timeout = Duration::from_millis(TIMEOUTS_MS[random.below(TIMEOUTS_MS.len())]);
        let (alone, given_up, counts) = (RefCell::default(), RefCell::default(), RefCell::default());
        Some((Trouble { missing, timeout, alone, given_up, counts }, random))
    }

    fn now(&self, instance: usize, now_ms: i64) -> impl Iterator<Item = &What> {
        let is_it = move |it: &&Missing| {
            (it.from_ms..it.until_ms).contains(&now_ms) && it.instance.is_none_or(|only| only == instance)
        };
        self.missing.iter().filter(is_it).map(|it| &it.what)
    }

    /// Whether an instance has what a record is understood with.
    pub fn is_ready(&self, instance: usize, record: &SourceRecord, now_ms: i64) -> bool {
        let lacks = |it: &What| matches!(it, What::Schema(third) if record.origin.offset % 3 == *third);
        !self.now(instance, now_ms).any(lacks)
    }

    /// Whether an instance has the version of a workflow.
    pub fn is_there(&self, instance: usize, workflow: &WorkflowId, now_ms: i64) -> bool {
        let lacks = |it: &What| matches!(it, What::Version(name, _) if workflow.as_str().starts_with(name));
        !self.now(instance, now_ms).any(lacks)
    }

    /// Whether it is known of a version that it will come.
    pub fn is_on_its_way(&self, instance: usize, workflow: &WorkflowId, now_ms: i64) -> bool {
        let will_come = |it: &What| matches!(it, What::Version(name, true) if workflow.as_str().starts_with(name));
        self.now(instance, now_ms).any(will_come)
    }

    /// Whether an instance lacks something with which an execution goes on.
    pub fn lacks(&self, instance: usize, checkpoint: &Checkpoint, now_ms: i64) -> bool {
        !self.is_ready(instance, &checkpoint.record, now_ms) || !self.is_there(instance, &checkpoint.workflow, now_ms)
    }

    /// Notes that something happened.
    pub fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    /// An owner hands something out. What is wrong with that: what it has read asks for nothing else than that the run ends as cancelled, or a
    /// step has failed before its time was over.
    pub fn emitted(&self, subject: &Subject, left: &Left, log: &FakeLog, seer: &Seer<'_>) -> Vec<String> {
        let (Some(execution), Some(run)) = (waiting::execution_of(subject), subject.run()) else { return Vec::new() };
        let mut wrong = Vec::new();
        let (lane, life) = seer.lane;
        let is_cancelled = left.status == Some(ExecutionStatus::Cancelled);
        if is_cancelled {
            self.given_up.borrow_mut().insert((lane.to_owned(), life, execution, run));
        } else if kin::is_cancelled_before(log, (execution, run), seer.read_to) {
            let status = left.status.map(ExecutionStatus::name);
            wrong.push(format!(
                "run {run} of {execution} was cancelled before {}, and comes to {status:?}",
                seer.read_to
            ));
        }
        for (_, output) in &left.outputs {
            let Output::StepResult(result) = output else { continue };
            let is_in_time = IN_TIME.iter().any(|name| result.workflow.id.as_str().starts_with(name));
            if is_in_time && result.step.output != Value::Null {
                self.count("ended in time");
            }
            let why = result.step.failure.as_ref().map_or("", |failure| &failure.message);
            if !why.contains(NOT_IN_TIME) {
                continue;
            }
            self.count("timed out");
            let due_ms = result.step.started_ms + self.timeout.as_millis() as i64;
            if seer.now_ms < due_ms {
                wrong.push(format!("{execution}/{} timed out at {}, before {due_ms}", result.step.id, seer.now_ms));
            }
        }
        wrong
    }

    /// A call starts. What is wrong with that: its lane has ended the execution already.
    pub fn called(&self, execution: ExecutionId, run: u32, lane: (&str, u64)) -> Option<String> {
        let given_up = self.given_up.borrow().contains(&(lane.0.to_owned(), lane.1, execution, run));
        given_up.then(|| format!("run {run} was called for after its lane had ended it as cancelled"))
    }
}

/// What a step says that has not ended in time.
const NOT_IN_TIME: &str = "did not end within the step's `timeout`";

impl Missing {
    fn new(random: &mut Random) -> Missing {
        let from_ms = random.below(LAST_BEGINS_MS) as i64;
        let until_ms = from_ms + 100 + random.below(900) as i64;
        let instance = Some(random.below(4)).filter(|it| *it < 3);
        let what = match random.below(2) {
            0 => What::Schema(random.below(3) as i64),
            _ => What::Version(MAY_BE_MISSING[random.below(MAY_BE_MISSING.len())], random.below(2) == 0),
        };
        Missing { from_ms, until_ms, instance, what }
    }
}

/// Whether a lane that breaks this rule forgets a record: mail that cancels what it could not go on with.
pub fn is_forgotten(
    broken: Broken,
    (trouble, instance): (Option<&Trouble>, usize),
    record: &JournalRecord,
    log: &FakeLog,
    now_ms: i64,
) -> bool {
    let (Broken::CancelIsForgotten, Some(trouble)) = (broken, trouble) else { return false };
    let stands = log.stands.get(&record.execution).map(|it| &it.content);
    let lacks = matches!(stands, Some(Content::Checkpoint(it)) if trouble.lacks(instance, it, now_ms));
    record.entry == Entry::Mail(Mail::Cancel) && lacks
}

/// Leaves out what ends a sub-workflow that did not end in time.
pub fn leave_child(left: &mut Left) {
    let is_late = |output: &Output| matches!(output, Output::StepResult(it) if it.step.failure.as_ref().is_some_and(|it| it.message.contains(NOT_IN_TIME)));
    if left.outputs.iter().any(|(_, output)| is_late(output)) {
        let cancels = |output: &Output| matches!(output, Output::Journal(it) if it.entry == Entry::Mail(Mail::Cancel));
        left.outputs.retain(|(_, output)| !cancels(output));
    }
}
