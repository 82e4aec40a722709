//! A whole cluster in one thread: lanes, log, crashes, stalls, late answers; everything from one seed.
//!
//! After every commit it is checked that no offset is past an event whose executions are not all recorded; at the end that
//! every execution, result and dead letter that had to be written was written once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::batch::SourcePartition;
use tidegate::engine::event::{Event, Origin, SourceRecord, Topic, Undecodable};
use tidegate::engine::execution::{Identity, Left, StepResults, Subject};
use tidegate::engine::fan_out::{self, Found};
use tidegate::engine::ids::ExecutionId;
use tidegate::engine::journal::Entry;
use tidegate::engine::machine::Machine;
use tidegate::engine::owner::Definition;
use tidegate::engine::plan::Plan;
use tidegate::engine::position::Position;
use tidegate::engine::record::{Output, Reason};
use tidegate::engine::registry::Registry;
use tidegate::engine::trigger::{Trigger, TypePattern};
use tidegate::engine::value::Value;
use tidegate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

use super::broken::Broken;
use super::control::Control;
use super::faults;
use super::kin;
use super::log::{CommittedOffset, FakeLog, Line, Wrote};
use super::others::Others;
use super::outages::Outages;
use super::plans::{self, ORDERED, ordered, plan_of, plans};
use super::policies;
use super::purge::Purge;
use super::replay;
use super::trouble::Trouble;
use super::waiting::{self, LEASES_MS, Target};

/// What all lanes of a cluster share, and what the checker knows.
pub struct Shared {
    /// Environment and journal.
    pub identity: Arc<Identity>,
    /// The workflows.
    pub registry: Registry,
    /// Requests that end a transaction and are still on their way: transactional id and epoch.
    pub late: RefCell<Vec<(String, u32)>>,
    /// Whether nothing befalls anybody any more; see [`STEPS_IN_PEACE`].
    pub is_in_peace: Cell<bool>,
    /// What steps call.
    pub target: Target,
    /// What executions that wait may take in the memory of a lane, in bytes.
    pub waiting_bytes: usize,
    /// How long calls may start after a commit.
    pub lease_ms: i64,
    /// What befalls executions, in some seeds.
    pub trouble: Option<Trouble>,
    /// Who deletes what of the journal is of no use any more, in some seeds.
    pub purge: Option<Purge>,
    /// What operators want of circuit breakers, in some seeds.
    pub control: Option<Control>,
    broken: Broken,
    topic: Arc<Topic>,
    journal: Arc<Topic>,
    events: Vec<Vec<Event>>,
    plans: BTreeMap<&'static str, Arc<Plan>>,
}

/// What must be written for each event and workflow; and the execution, if it waits.
type First = HashMap<(i32, i64, WorkflowId), (Vec<Line>, Option<ExecutionId>)>;

/// All that must be written.
struct Wanted {
    first: First,
    /// What comes of dead letters that are brought back.
    later: Vec<Line>,
}

/// What one run of a cluster came to.
#[derive(Debug)]
pub struct Verdict {
    /// What was wrong; empty if nothing.
    pub violations: Vec<String>,
    /// Restarts by reason.
    pub restarts: BTreeMap<&'static str, u32>,
    /// How often which part of a gate kept a call waiting.
    pub parked: BTreeMap<&'static str, u32>,
    /// Kills and stalls that happened.
    pub faults: u32,
    /// Calls that were made.
    pub calls: u32,
    /// Records of executions that were read from the journal again.
    pub read_again: u32,
    /// Dead letters that were brought back for certain.
    pub brought_back: u32,
    /// What befell executions, the journal and circuit breakers, how often.
    pub befell: BTreeMap<&'static str, u32>,
}

/// The id of the source topic.
pub const TOPIC_ID: [u8; 16] = [1; 16];
const PARTITIONS: i32 = 4;
/// Between two events of a partition, so that some come while others wait.
const EVENT_EVERY_MS: i64 = 120;
/// Partitions of the journal.
pub const JOURNAL: u16 = 2;
/// What the group calls partition 0 of the journal.
const JOURNAL_BASE: i32 = 100;
const EVENTS_PER_PARTITION: i64 = 9;
/// Steps with many faults, in which hardly anything is done, then steps with some, in which most is, then steps without kills and stalls,
/// in which everything comes to an end as a rule.
const STEPS_WITH_MANY: u32 = 1_500;
const STEPS: u32 = 6_000;
const STEPS_TO_REST: u32 = 60_000;
/// Chance leaves a lane alone for so long now and then that the group puts it out, and leaves others in doubt what became of a commit, so that
/// they start again. Each of them has to wait for the lease of the one before, and where that happens often enough nobody ever calls. In so many
/// steps more neither happens, and everything must come to an end.
const STEPS_IN_PEACE: u32 = 20_000;

/// Runs one cluster.
pub fn run(seed: u64, broken: Broken) -> Verdict {
    let mut random = Random::new(seed);
    let (trouble, drawn) = Trouble::of(seed).unzip();
    let mut others = Others::new(drawn, broken);
    let shared = Shared::new((seed, &mut random), broken, trouble);
    let expected = shared.expected();
    let journal = (0..JOURNAL).map(|it| JOURNAL_BASE + i32::from(it));
    let mut log = FakeLog::new((0..PARTITIONS).chain(journal).collect());
    let mut lanes = faults::lanes(&shared, &mut random, broken);
    let mut violations = Vec::new();
    let (mut now_ms, mut faults, mut checked) = (0_i64, 0, 0);
    for step in 0..STEPS + STEPS_TO_REST + STEPS_IN_PEACE {
        let calm = step >= STEPS;
        let in_peace = step >= STEPS + STEPS_TO_REST;
        shared.is_in_peace.set(in_peace);
        now_ms += random.below(4) as i64;
        log.tick(now_ms);
        let at = random.below(lanes.len());
        let fault_every = if step < STEPS_WITH_MANY { 60 } else { 400 };
        if !calm && lanes[at].is_between_halves(now_ms) && random.below(15) == 0 {
            faults += 1;
            faults::stall(&mut lanes, at, &mut random, now_ms);
        } else if !calm && random.below(fault_every) == 0 {
            faults += 1;
            faults::strike(&mut lanes, at, &shared, &mut random, now_ms);
        }
        let lane = &mut lanes[at];
        if in_peace && log.is_silent(&lane.name, now_ms) {
            lane.keep_up(&shared, &mut log, &mut random, now_ms);
        } else {
            lane.step(&shared, &mut log, &mut random, now_ms);
        }
        others.step(&shared, &mut log, &mut random, (&lanes, calm, faults), now_ms);
        if log.committed.len() != checked {
            checked = log.committed.len();
            violations.extend(shared.gaps(&log, &expected));
        }
        violations.append(&mut shared.target.violations.borrow_mut());
        if !violations.is_empty() || (calm && shared.is_done(&log) && lanes.iter().all(|it| !it.is_busy())) {
            break;
        }
    }
    // What is missing where a run was broken off says nothing.
    if violations.is_empty() {
        violations.extend(faults::leaks(&mut lanes, &shared, &log, &mut random, now_ms));
        violations.extend(shared.differences(&log, &expected));
        violations.extend(shared.trouble.iter().flat_map(|_| kin::violations(&log)));
    }
    let mut restarts = BTreeMap::new();
    for (reason, count) in lanes.iter().flat_map(|it| &it.restarts) {
        *restarts.entry(*reason).or_default() += count;
    }
    let (calls, read_again) = (*shared.target.calls.borrow(), *shared.target.read_again.borrow());
    let parked = shared.target.parked.take();
    let befell = shared.counts();
    Verdict { violations, restarts, parked, faults, calls, read_again, brought_back: others.brought_back(), befell }
}

impl Shared {
    /// How often what befell executions, the journal and circuit breakers.
    fn counts(&self) -> BTreeMap<&'static str, u32> {
        let trouble = self.trouble.iter().map(|it| &it.counts);
        let counts =
            trouble.chain(self.purge.iter().map(|it| &it.counts)).chain(self.control.iter().map(|it| &it.counts));
        counts.flat_map(RefCell::take).collect()
    }

    /// The first match of an event behind the workflow that is done.
    pub fn next_match(&self, event: Arc<Event>, after: Option<&WorkflowId>, now_ms: i64) -> Found {
        fan_out::next_match(&self.identity, &self.registry, &self.compile(), (event, after), now_ms)
    }

    fn new((seed, random): (u64, &mut Random), broken: Broken, trouble: Option<Trouble>) -> Shared {
        let topic = Arc::new(Topic { name: "events".into(), id: TOPIC_ID });
        let mut registry = Registry::new();
        let events = ["*", "a.*", "a.x", "b.**", "*", "a.**", "b.**", "a.y", "a.x", "a.x", "a.y", "a.x", "c"];
        let names = [
            "flow", "flow", "flow", "flow", "refused", "flow", "waits", "again", "gone", "order", "calls", "brief",
            "patient",
        ];
        let in_time = trouble.iter().flat_map(|trouble| plans::in_time(trouble.timeout));
        let count = if trouble.is_some() { names.len() } else { names.len() - plans::IN_TIME.len() };
        for (number, (name, event)) in names.into_iter().zip(events).enumerate().take(count) {
            let id = WorkflowId::new(&format!("{name}-{number}")).unwrap();
            let workflow = Workflow {
                id,
                version: "1".into(),
                status: Status::Active,
                content_hash: ContentHash([number as u8; 32]),
                triggers: vec![Trigger {
                    event: TypePattern::parse(event).unwrap(),
                    topic: None,
                    source: None,
                    schema: None,
                    pattern: None,
                }],
            };
            registry.apply(Arc::new(workflow), Arc::from(&b""[..])).unwrap();
        }
        let events = (0..PARTITIONS)
            .map(|partition| (0..EVENTS_PER_PARTITION).map(|offset| event(&topic, partition, offset, random)).collect())
            .collect();
        Shared {
            identity: Arc::new(Identity {
                environment: "simulation".into(),
                journal_partitions: JOURNAL,
                step_results: StepResults::All,
            }),
            registry,
            broken,
            late: RefCell::default(),
            is_in_peace: Cell::default(),
            target: Target::new(policies::policies(seed, random), Outages::new(random)),
            // Nothing, a few executions, and all of them.
            waiting_bytes: [0, 10_000, usize::MAX][random.below(3)],
            lease_ms: LEASES_MS[random.below(2)],
            plans: plans().into_iter().chain(in_time).collect(),
            trouble,
            purge: Purge::of(seed, broken),
            control: Control::of(seed, broken),
            topic,
            journal: Arc::new(Topic { name: "journal".into(), id: TOPIC_ID }),
            events,
        }
    }

    /// Compiles a workflow to the plan that its name begins with.
    pub fn compile(&self) -> impl Fn(&Workflow, &[u8]) -> Result<Arc<Plan>, String> {
        let plans = self.plans.clone();
        move |workflow, _| Ok(plan_of(&plans, &workflow.id))
    }

    /// The version of a workflow, ready to run.
    pub fn definition(&self, id: &WorkflowId) -> Option<Definition> {
        let workflow = self.registry.get(id)?.workflow().clone();
        let is_unheld = self.broken == Broken::AnyOrder && id.as_str().starts_with(ORDERED);
        Some(Definition { workflow, plan: if is_unheld { ordered(false) } else { plan_of(&self.plans, id) } })
    }

    /// What the group calls a partition.
    pub fn key(&self, partition: &SourcePartition) -> i32 {
        if partition.topic == self.journal { JOURNAL_BASE + partition.partition } else { partition.partition }
    }

    /// The partition of the journal that the group calls so, if it is one.
    pub fn journal_number(key: i32) -> Option<u16> {
        u16::try_from(key - JOURNAL_BASE).ok()
    }

    /// A partition of the journal.
    pub fn journal_partition(&self, number: u16) -> SourcePartition {
        SourcePartition { topic: self.journal.clone(), partition: i32::from(number) }
    }

    /// A partition of the source.
    pub fn partition(&self, partition: i32) -> SourcePartition {
        SourcePartition { topic: self.topic.clone(), partition }
    }

    /// The event at an offset, if there is one by now.
    pub fn event(&self, partition: i32, offset: i64, now_ms: i64) -> Option<Event> {
        if now_ms < offset * EVENT_EVERY_MS {
            return None;
        }
        self.events[partition as usize].get(offset as usize).cloned()
    }

    /// What a single lane without faults writes for each event and workflow, with refused executions already failed.
    fn expected(&self) -> Wanted {
        let mut machine = Machine::new(self.identity.clone());
        let (mut expected, mut letters) = (HashMap::new(), Vec::new());
        for (partition, events) in self.events.iter().enumerate() {
            machine.handle_assigned(self.partition(partition as i32), Position::at(0));
            for event in events {
                let offset = event.record.origin.offset;
                machine.handle_record(&self.registry, read(event.clone()));
                while let Some(emitted) = machine.poll(&self.compile(), 0) {
                    let Some(subject) = emitted.subject else { continue };
                    let left = subject.leave(0);
                    let (subject, left) = waiting::refuse(subject, left, 0);
                    let (mut lines, mut start) = (Vec::new(), None);
                    for wrote in wrote_of(&subject, &left) {
                        match wrote {
                            Wrote::Line(line) => lines.push(line),
                            Wrote::Journal(record) => start = Some(record),
                            Wrote::Letter(_, letter) => letters.extend(letter.map(|it| *it)),
                        }
                    }
                    let waits = start.as_ref().map(|start| start.execution);
                    if let Some(start) = start {
                        waiting::finish_alone(self, start, &mut lines, &mut letters);
                    }
                    let nothing = || WorkflowId::new("undecodable").unwrap();
                    let workflow = subject.workflow().map_or_else(nothing, |it| it.id.clone());
                    let event = (partition as i32, offset, workflow);
                    expected.insert(event, (lines, waits));
                }
            }
        }
        Wanted { first: expected, later: replay::expected(self, letters) }
    }

    /// Events that the committed offsets are past, and whose executions are not all recorded. What waits is recorded in the journal.
    fn gaps(&self, log: &FakeLog, expected: &Wanted) -> Vec<String> {
        let positions: BTreeMap<i32, Position> = (0..PARTITIONS)
            .filter_map(|partition| {
                let CommittedOffset { offset, metadata } = log.offsets.get(&partition)?;
                Some((partition, Position::from_committed(*offset, metadata, &TOPIC_ID).unwrap()))
            })
            .collect();
        let past = |partition: i32, offset: i64, workflow: &WorkflowId| {
            let Some(position) = positions.get(&partition) else { return false };
            offset < position.next_offset
                || (offset == position.next_offset && position.after.as_ref().is_some_and(|done| workflow <= done))
        };
        let is_recorded = |(lines, waits): &(Vec<Line>, Option<ExecutionId>)| match waits {
            None => lines.iter().all(|line| log.seen.contains(line)),
            Some(execution) => log.stands.contains_key(execution),
        };
        let missing = expected
            .first
            .iter()
            .filter(|((partition, offset, workflow), what)| past(*partition, *offset, workflow) && !is_recorded(what));
        missing.map(|(event, _)| format!("the offset is past {event:?}, which is not recorded")).collect()
    }

    /// What was written and should not have been, or should have been and was not, once everything is at rest.
    fn differences(&self, log: &FakeLog, expected: &Wanted) -> Vec<String> {
        let mut counts: HashMap<&Line, i32> = HashMap::new();
        for line in &log.committed {
            *counts.entry(line).or_default() += 1;
        }
        for line in expected.first.values().flat_map(|(lines, _)| lines).chain(&expected.later) {
            *counts.entry(line).or_default() -= 1;
        }
        let uncertain = self.trouble.as_ref().map(|trouble| kin::uncertain(log, &trouble.alone.borrow()));
        let is_known = |line: &Line| uncertain.as_ref().is_none_or(|uncertain| !kin::is_of(line, uncertain));
        let wrong = counts.into_iter().filter(|(line, count)| *count != 0 && is_known(line));
        wrong.map(|(line, count)| format!("{line:?}: {count:+} against what had to be written")).collect()
    }

    fn is_done(&self, log: &FakeLog) -> bool {
        replay::is_done(log)
            && log.stands.values().all(|record| record.entry == Entry::End)
            && (0..PARTITIONS).all(|it| log.offsets.get(&it).is_some_and(|it| it.offset == EVENTS_PER_PARTITION))
    }
}

/// What a subject writes, as the log knows it.
pub fn wrote_of(subject: &Subject, left: &Left) -> Vec<Wrote> {
    let line = |topic: &str, key: String| Wrote::Line(Line { topic: topic.to_owned(), key });
    let of = |output: &Output| match output {
        Output::StepResult(result) => {
            line("step-results", format!("{}/{}/{}", result.execution, result.run, result.step.id))
        }
        Output::Execution(record) => {
            line("executions", format!("{} {} {}", record.execution, record.run, record.status.name()))
        }
        Output::DeadLetter(letter) => Wrote::Letter(letter.id, Some(letter.clone())),
        Output::Produced(produced) => {
            let origin = &produced.event.record.origin;
            let (place, run) = (format!("{}@{}", origin.partition, origin.offset), subject.run());
            let (workflow, execution) = (subject.workflow().map(|it| &it.id), waiting::execution_of(subject));
            line(&produced.record.topic, format!("{place} {workflow:?} {run:?} {}", execution.unwrap()))
        }
        Output::Journal(record) => Wrote::Journal((**record).clone()),
    };
    let letter = |output: &Output| match output {
        Output::DeadLetter(letter) => {
            let is_cancelled = letter.reason == Reason::Cancelled;
            let why = if is_cancelled { "cancelled" } else { "failed" };
            let of = letter.execution.as_ref().map(|it| format!(" {} {} {why}", it.id, it.run)).unwrap_or_default();
            Some(line("dead-letters", format!("{} {}{of}", letter.id, letter.returns)))
        }
        _ => None,
    };
    left.outputs.iter().flat_map(|(_, output)| [Some(of(output)), letter(output)].into_iter().flatten()).collect()
}

fn event(topic: &Arc<Topic>, partition: i32, offset: i64, random: &mut Random) -> Event {
    let kind = ["a.x", "a.y", "b.z", "c", POISON][random.below(5)];
    let origin = Origin { topic: topic.clone(), partition, offset };
    let key = [b'0' + (offset % 2) as u8];
    decode(SourceRecord::new(origin, 0, Some(&key), Some(kind.as_bytes()), []))
}

/// The value of a record that cannot be understood where it comes from, and can be when it is brought back: until then it was mended.
const POISON: &str = "a.y!";

/// An event as a lane reads it from its source.
pub fn read(event: Event) -> Result<Event, (SourceRecord, Undecodable)> {
    match event.record.value() {
        Some(value) if value == POISON.as_bytes() => Err((event.record, Undecodable { message: "poison".into() })),
        Some(_) | None => Ok(event),
    }
}

/// The event of a record, whose value is the event's type.
pub fn decode(record: SourceRecord) -> Event {
    let kind = String::from_utf8_lossy(record.value().unwrap_or_default()).trim_end_matches('!').into();
    Event {
        record,
        id: "".into(),
        kind,
        source: "".into(),
        subject: None,
        time: None,
        schema: None,
        key: None,
        data: Value::Null,
    }
}
