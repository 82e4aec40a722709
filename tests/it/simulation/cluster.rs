//! A whole cluster in one thread: lanes, log, crashes, stalls, late answers; everything from one seed.
//!
//! After every commit it is checked that no offset is past an event whose executions are not all recorded; at the end that
//! every execution, result and dead letter that had to be written was written once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::batch::SourcePartition;
use tidegate::engine::event::{Event, Origin, SourceRecord, Topic};
use tidegate::engine::execution::{Identity, StepResults, Subject};
use tidegate::engine::expression::Template;
use tidegate::engine::machine::Machine;
use tidegate::engine::plan::{Action, OnError, Plan, Produce, Step};
use tidegate::engine::position::Position;
use tidegate::engine::record::Output;
use tidegate::engine::registry::Registry;
use tidegate::engine::trigger::{Trigger, TypePattern};
use tidegate::engine::value::Value;
use tidegate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

use super::lane::{Broken, Lane};
use super::log::{FakeLog, Line};

/// What all lanes of a cluster share, and what the checker knows.
pub struct Shared {
    /// Environment and journal.
    pub identity: Arc<Identity>,
    /// The workflows.
    pub registry: Registry,
    /// Requests that end a transaction and are still on their way: transactional id and epoch.
    pub late: RefCell<Vec<(String, u32)>>,
    topic: Arc<Topic>,
    events: Vec<Vec<Event>>,
    plan: Arc<Plan>,
    refusing_plan: Arc<Plan>,
}

/// What one run of a cluster came to.
#[derive(Debug)]
pub struct Verdict {
    /// What was wrong; empty if nothing.
    pub violations: Vec<String>,
    /// Restarts by reason.
    pub restarts: BTreeMap<&'static str, u32>,
    /// Kills and stalls that happened.
    pub faults: u32,
}

/// The id of the source topic.
pub const TOPIC_ID: [u8; 16] = [1; 16];
const PARTITIONS: i32 = 4;
const EVENTS_PER_PARTITION: i64 = 12;
/// Steps with faults, then steps without in which everything must come to an end.
const STEPS: u32 = 1_500;
const STEPS_TO_REST: u32 = 60_000;

/// Runs one cluster.
pub fn run(seed: u64, broken: Broken) -> Verdict {
    let mut random = Random::new(seed);
    let shared = Shared::new(&mut random);
    let expected = shared.expected();
    let mut log = FakeLog::new(PARTITIONS);
    let mut lanes: Vec<Lane> = (0..1 + random.below(3)).map(|it| Lane::new(format!("lane-{it}"), broken)).collect();
    let mut violations = Vec::new();
    let (mut now_ms, mut faults, mut checked) = (0_i64, 0, 0);
    for step in 0..STEPS + STEPS_TO_REST {
        let calm = step >= STEPS;
        now_ms += random.below(4) as i64;
        log.tick(now_ms);
        let at = random.below(lanes.len());
        let lane = &mut lanes[at];
        if !calm && random.below(60) == 0 {
            faults += 1;
            match random.below(2) {
                0 => lane.kill(now_ms, &mut random),
                _ => lane.stopped_until_ms = now_ms + random.below(400) as i64,
            }
        }
        lane.step(&shared, &mut log, &mut random, now_ms);
        if random.below(30) == 0
            && let Some((id, epoch)) = shared.late.borrow_mut().pop()
        {
            let _ = log.end(&id, epoch, true);
        }
        if log.committed.len() != checked {
            checked = log.committed.len();
            violations.extend(shared.gaps(&log, &expected));
        }
        if !violations.is_empty() || (calm && shared.is_done(&log) && lanes.iter().all(|it| !it.is_busy())) {
            break;
        }
    }
    violations.extend(shared.differences(&log, &expected));
    let mut restarts = BTreeMap::new();
    for (reason, count) in lanes.iter().flat_map(|it| &it.restarts) {
        *restarts.entry(*reason).or_default() += count;
    }
    Verdict { violations, restarts, faults }
}

impl Shared {
    fn new(random: &mut Random) -> Shared {
        let topic = Arc::new(Topic { name: "events".into(), id: TOPIC_ID });
        let mut registry = Registry::new();
        for (number, event) in ["*", "a.*", "a.x", "b.**", "*", "a.**"].iter().enumerate() {
            let id = WorkflowId::new(&format!("{}-{number}", if number == 4 { "refused" } else { "flow" })).unwrap();
            let workflow = Workflow {
                id,
                version: "1".into(),
                status: Status::Active,
                content_hash: ContentHash([number as u8; 32]),
                triggers: vec![Trigger {
                    event: TypePattern::parse(event).unwrap(),
                    topic: None,
                    source: None,
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
                journal_partitions: 8,
                step_results: StepResults::All,
            }),
            registry,
            late: RefCell::default(),
            topic,
            events,
            plan: plan("shipped"),
            refusing_plan: plan("refuses"),
        }
    }

    /// Compiles any workflow to one step that produces; the one called `refused-…` produces what the log refuses.
    pub fn compile(&self) -> impl Fn(&Workflow, &[u8]) -> Result<Arc<Plan>, String> {
        let (plan, refusing) = (self.plan.clone(), self.refusing_plan.clone());
        move |workflow, _| Ok(if workflow.id.as_str().starts_with("refused") { refusing.clone() } else { plan.clone() })
    }

    /// A partition of the source.
    pub fn partition(&self, partition: i32) -> SourcePartition {
        SourcePartition { topic: self.topic.clone(), partition }
    }

    /// The event at an offset, if there is one.
    pub fn event(&self, partition: i32, offset: i64) -> Option<Event> {
        self.events[partition as usize].get(offset as usize).cloned()
    }

    /// What a single lane without faults writes for each event and workflow, with refused executions already failed.
    fn expected(&self) -> HashMap<(i32, i64, WorkflowId), Vec<Line>> {
        let mut machine = Machine::new(self.identity.clone());
        let mut expected = HashMap::new();
        for (partition, events) in self.events.iter().enumerate() {
            machine.handle_assigned(self.partition(partition as i32), Position::at(0));
            for event in events {
                let offset = event.record.origin.offset;
                machine.handle_record(&self.registry, Ok(event.clone()));
                while let Some(emitted) = machine.poll(&self.compile(), 0) {
                    let Some(subject) = emitted.subject else { continue };
                    let mut lines = lines_of(&subject, 0);
                    if lines.iter().any(|line| line.topic == "refuses") {
                        let refusal = tidegate::engine::run::Refusal { step: 0, message: "refused".into() };
                        lines = lines_of(&subject.refused(&[refusal]).unwrap(), 0);
                    }
                    expected.insert((partition as i32, offset, subject.workflow().unwrap().id.clone()), lines);
                }
            }
        }
        expected
    }

    /// Events that the committed offsets are past, and whose executions are not all recorded.
    fn gaps(&self, log: &FakeLog, expected: &HashMap<(i32, i64, WorkflowId), Vec<Line>>) -> Vec<String> {
        let written: HashSet<&Line> = log.committed.iter().collect();
        let past = |partition: i32, offset: i64, workflow: &WorkflowId| {
            let Some(committed) = log.offsets.get(&partition) else { return false };
            let position = Position::from_committed(committed.offset, &committed.metadata, &TOPIC_ID).unwrap();
            offset < position.next_offset
                || (offset == position.next_offset && position.after.is_some_and(|done| *workflow <= done))
        };
        let missing = expected.iter().filter(|((partition, offset, workflow), lines)| {
            past(*partition, *offset, workflow) && !lines.iter().all(|line| written.contains(line))
        });
        missing.map(|(event, _)| format!("the offset is past {event:?}, which is not recorded")).collect()
    }

    /// What was written and should not have been, or should have been and was not, once everything is at rest.
    fn differences(&self, log: &FakeLog, expected: &HashMap<(i32, i64, WorkflowId), Vec<Line>>) -> Vec<String> {
        let mut counts: HashMap<&Line, i32> = HashMap::new();
        for line in &log.committed {
            *counts.entry(line).or_default() += 1;
        }
        for line in expected.values().flatten() {
            *counts.entry(line).or_default() -= 1;
        }
        let wrong = counts.into_iter().filter(|(_, count)| *count != 0);
        wrong.map(|(line, count)| format!("{line:?}: {count:+} against what had to be written")).collect()
    }

    fn is_done(&self, log: &FakeLog) -> bool {
        (0..PARTITIONS).all(|it| log.offsets.get(&it).is_some_and(|it| it.offset == EVENTS_PER_PARTITION))
    }
}

/// What a subject writes, as the log knows it.
pub fn lines_of(subject: &Subject, now_ms: i64) -> Vec<Line> {
    let line = |topic: &str, key: String| Line { topic: topic.to_owned(), key };
    let of = |output: &Output| match output {
        Output::StepResult(result) => line("step-results", format!("{}/{}", result.execution, result.step.id)),
        Output::Execution(record) => line("executions", format!("{} {}", record.execution, record.status.name())),
        Output::DeadLetter(letter) => line("dead-letters", letter.id.to_string()),
        Output::Produced(produced) => {
            let origin = &produced.event.record.origin;
            line(&produced.record.topic, format!("{}@{} {:?}", origin.partition, origin.offset, subject.workflow()))
        }
    };
    subject.leave(now_ms).outputs.iter().map(|(_, output)| of(output)).collect()
}

fn event(topic: &Arc<Topic>, partition: i32, offset: i64, random: &mut Random) -> Event {
    let kind = ["a.x", "a.y", "b.z", "c"][random.below(4)];
    let origin = Origin { topic: topic.clone(), partition, offset };
    decode(SourceRecord::new(origin, 0, None, Some(kind.as_bytes()), []))
}

/// The event of a record, whose value is the event's type.
pub fn decode(record: SourceRecord) -> Event {
    let kind = String::from_utf8_lossy(record.value().unwrap_or_default()).into();
    Event { record, id: "".into(), kind, source: "".into(), subject: None, time: None, data: Value::Null }
}

fn plan(topic: &str) -> Arc<Plan> {
    let produce = Produce {
        topic: Template::Literal(Value::text(topic)),
        key: None,
        value: Template::Literal(Value::Null),
        headers: Vec::new(),
        partition: None,
    };
    let step = Step {
        id: "ship".into(),
        action: Action::Produce(produce),
        dependencies: Vec::new(),
        when: None,
        on_error: OnError::Fail,
        order: 0,
    };
    Arc::new(Plan::new(vec![step]).unwrap())
}
