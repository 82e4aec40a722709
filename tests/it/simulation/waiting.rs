//! Executions that wait, in a lane of the simulated cluster: the real owner, around the fake journal and a fake target.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidegate::engine::batch::{AssignmentId, Dependency};
use tidegate::engine::checkpoint::Content;
use tidegate::engine::execution::{Left, Subject};
use tidegate::engine::gate::Barrier;
use tidegate::engine::ids::ExecutionId;
use tidegate::engine::journal::{Entry, Record};
use tidegate::engine::owner::{Around, Call, Commit, Owner, Replaced, Tried};
use tidegate::engine::position::Position;
use tidegate::engine::record::{DeadLetter, JournalRecord, Output};
use tidegate::engine::run::Refusal;

use super::attempts::{self, Attempts};
use super::cluster::{JOURNAL, Shared, wrote_of};
use super::connector::Seen;
use super::control::Wish;
use super::log::{FakeLog, Line, Wrote};
use super::outages::{self, Answered, Outages};
use super::plans::ORDERED;
use super::policies::Policies;

/// How long calls may start after a commit: far less than in life, as is every time here. So short that leases run out while nothing is
/// wrong, and so long that a new owner would call in time if it did not wait.
pub const LEASES_MS: [i64; 2] = [60, 2_000];

/// Who starts calls: a lane in one of its lives, under one assignment.
pub type Tenure = (String, u64, AssignmentId);

/// Which instance makes a call, and in whose place; None if the lane does not hold its partition.
pub struct Placed {
    /// The number of the instance.
    pub instance: usize,
    /// Its lane.
    pub tenure: Option<Tenure>,
}

/// A call that is under way, as its target knows it.
struct UnderWay {
    /// The instance, and the connector.
    seen: (usize, Arc<str>),
    step: attempts::Step,
}

/// The target of all calls, and what it has seen.
pub struct Target {
    /// Who took up each partition of the journal, in that order, and whether it has called for it.
    tenures: RefCell<HashMap<u16, Vec<(Tenure, bool)>>>,
    /// The executions of each key that is ordered, in the order in which they were called first, with the run and the place of the event.
    ordered: RefCell<HashMap<Vec<u8>, Vec<Began>>>,
    /// What was wrong.
    pub violations: RefCell<Vec<String>>,
    /// How many calls were made.
    pub calls: RefCell<u32>,
    /// How many records were read from the journal again.
    pub read_again: RefCell<u32>,
    /// How often which part of a gate kept a call waiting.
    pub parked: RefCell<BTreeMap<&'static str, u32>>,
    /// When connectors are down.
    pub outages: Outages,
    /// What connectors are held to.
    pub policies: Policies,
    /// What connectors have seen of each instance.
    seen: RefCell<BTreeMap<(usize, Arc<str>), Seen>>,
    under_way: RefCell<HashMap<u64, UnderWay>>,
    attempts: RefCell<Attempts>,
}

/// An execution that was called, its run, and the partition and the offset of its event.
type Began = (ExecutionId, u32, (i32, i64));

impl Target {
    /// One that was not called so far.
    pub fn new(policies: Policies, outages: Outages) -> Target {
        Target {
            tenures: RefCell::default(),
            ordered: RefCell::default(),
            violations: RefCell::default(),
            calls: RefCell::default(),
            read_again: RefCell::default(),
            parked: RefCell::default(),
            outages,
            policies,
            seen: RefCell::default(),
            under_way: RefCell::default(),
            attempts: RefCell::default(),
        }
    }

    /// An instance was killed and starts again. Whether it knows which breakers were open.
    pub fn starts_again(&self, instance: usize, remembers: bool, now_ms: i64) {
        for ((number, _), seen) in &mut *self.seen.borrow_mut() {
            if *number == instance {
                *seen = seen.start_again(remembers, now_ms);
            }
        }
        self.under_way.borrow_mut().retain(|_, it| it.seen.0 != instance);
    }

    fn complain(&self, wrong: Option<String>, call: &str, now_ms: i64) {
        self.violations.borrow_mut().extend(wrong.map(|wrong| format!("{call} at {now_ms}: {wrong}")));
    }

    /// A lane of an instance asks for a call of a connector, and what keeps it waiting if anything does.
    pub fn asked(&self, (instance, connector): (usize, &Arc<str>), barrier: Option<Barrier>, now_ms: i64) {
        let wrong = self.with((instance, connector), |seen| seen.asked(barrier, now_ms));
        self.complain(wrong, &format!("a call of {connector} by instance {instance}"), now_ms);
    }

    /// An instance has read what an operator wants of a connector.
    pub fn forced(&self, (instance, connector): (usize, &Arc<str>), wish: Wish, now_ms: i64) {
        self.with((instance, connector), |seen| seen.forced(wish, now_ms));
    }

    /// An instance has looked whether what operators want has ended.
    pub fn lapse(&self, instance: usize, now_ms: i64) {
        let mut all = self.seen.borrow_mut();
        all.iter_mut().filter(|((it, _), _)| *it == instance).for_each(|(_, seen)| seen.lapse(now_ms));
    }

    fn with<T>(&self, (instance, connector): (usize, &Arc<str>), act: impl FnOnce(&mut Seen) -> T) -> T {
        let new = || Seen::new(self.policies[connector]);
        act(self.seen.borrow_mut().entry((instance, connector.clone())).or_insert_with(new))
    }

    /// A call has come. Returns its number.
    pub fn called(&self, call: &Call, Placed { instance, tenure }: Placed, log: &FakeLog, now_ms: i64) -> u64 {
        let number = u64::from(*self.calls.borrow());
        let name = format!("{}/{} of {} by instance {instance}", call.execution, call.step, call.connector);
        let Some(tenure) = tenure else {
            self.complain(Some("its lane does not hold its partition".to_owned()), &name, now_ms);
            return number;
        };
        let seen = (instance, call.connector.clone());
        let wrong = self.with((instance, &call.connector), |seen| seen.started(number, now_ms));
        self.complain(wrong, &name, now_ms);
        let run = log.stands.get(&call.execution).map_or(0, |record| record.run);
        let step = (call.execution, run, call.step.clone());
        let wrong = self.attempts.borrow_mut().called(step.clone(), number, (call.attempt, &tenure), now_ms);
        self.complain(wrong, &name, now_ms);
        self.under_way.borrow_mut().insert(number, UnderWay { seen, step });
        self.called_by(call, tenure, log);
        number
    }

    /// A call was broken off.
    pub fn broken_off(&self, number: u64) {
        let Some(UnderWay { seen, .. }) = self.under_way.borrow_mut().remove(&number) else { return };
        self.seen.borrow_mut().entry(seen).and_modify(|seen| seen.broken_off(number));
    }

    /// An answer has come to who called.
    pub fn answered(&self, number: u64, answered: &Answered, now_ms: i64) {
        let Some(UnderWay { seen, step }) = self.under_way.borrow_mut().remove(&number) else { return };
        let Answered { said, retry_after_ms, is_retried, .. } = answered;
        let mut all = self.seen.borrow_mut();
        let Some(seen) = all.get_mut(&seen) else { return };
        let is_probe = seen.answered(number, *said, *retry_after_ms, now_ms);
        if *is_retried && !is_probe {
            self.attempts.borrow_mut().failed(&step, number, *retry_after_ms, now_ms);
        }
    }

    /// Of a key one execution runs at a time, and those of one partition begin in order. One that is brought back comes last.
    fn called_in_order(&self, call: &Call, log: &FakeLog) {
        let ordered = matches!(&log.stands[&call.execution].content, Content::Checkpoint(it) if it.workflow.as_str().starts_with(ORDERED));
        if !ordered {
            return;
        }
        let (run, origin) = (log.stands[&call.execution].run, &call.record.origin);
        let place = (origin.partition, origin.offset);
        let key = call.record.key().unwrap_or_default().to_vec();
        let mut ordered = self.ordered.borrow_mut();
        let began = ordered.entry(key).or_default();
        if !began.contains(&(call.execution, run, place)) {
            let name = format!("run {run} of {} of {place:?}", call.execution);
            let is_later = |it: &&Began| run == 1 && it.1 == 1 && it.2.0 == place.0 && it.2.1 > place.1;
            if let Some(later) = began.iter().find(is_later) {
                self.violations.borrow_mut().push(format!("{name} began after {later:?}"));
            }
            began.push((call.execution, run, place));
        }
        let runs = |it: &&Began| {
            let stands = &log.stands[&it.0];
            it.0 != call.execution && stands.run == it.1 && stands.entry != Entry::End
        };
        if let Some(other) = began.iter().find(runs) {
            self.violations.borrow_mut().push(format!("{} runs at the same time as {other:?}", call.execution));
        }
    }

    fn called_by(&self, call: &Call, tenure: Tenure, log: &FakeLog) {
        self.called_in_order(call, log);
        *self.calls.borrow_mut() += 1;
        let name = format!("{}/{}", call.execution, call.step);
        let mut violations = self.violations.borrow_mut();
        // What is committed says that this step waits, and how often it was tried: every attempt but this one.
        let stands = log.stands.get(&call.execution).map(|record| &record.content);
        let waits = match stands {
            Some(Content::Checkpoint(checkpoint)) => checkpoint.waits.iter().find(|wait| wait.step == call.step),
            Some(Content::None | Content::Signal(_) | Content::Redrive(_)) | None => None,
        };
        if log.stands.get(&call.execution).is_some_and(|it| it.entry == Entry::End) {
            violations.push(format!("{name} was called by {tenure:?} after its execution had ended"));
        } else if waits.map(|wait| wait.attempts + 1) != Some(call.attempt) {
            violations.push(format!("{name} was called for attempt {}, but stands at {waits:?}", call.attempt));
        }
        let mut tenures = self.tenures.borrow_mut();
        let tenures = tenures.entry(call.execution.journal_partition).or_default();
        let place = tenures.iter().position(|(it, _)| *it == tenure).expect("who calls has taken it up");
        if let Some((later, _)) = tenures[place + 1..].iter().find(|(_, has_called)| *has_called) {
            violations.push(format!("{name} was called by {tenure:?} after {later:?} had called in its place"));
        }
        tenures[place].1 = true;
    }

    /// Whether nobody has taken up a partition of the journal after this one.
    pub fn holds(&self, number: u16, tenure: &Tenure) -> bool {
        self.tenures.borrow().get(&number).and_then(|tenures| tenures.last()).is_some_and(|(last, _)| last == tenure)
    }

    /// From now on this one holds a partition of the journal, as far as it knows.
    pub fn taken_up(&self, number: u16, tenure: Tenure) {
        self.tenures.borrow_mut().entry(number).or_default().push((tenure, false));
    }
}

/// A record of the journal as its owner reads it.
pub fn record(offset: i64, record: JournalRecord) -> Record<Content> {
    let JournalRecord { execution, run, entry, content } = record;
    // So much that a few that have ended make others be appended again.
    Record { offset, bytes: 8 * 1024 * 1024, execution, run, entry, content }
}

/// Does something with what an owner asks: by the time of day, and by the clock of leases. Whoever is no instance lacks nothing.
pub fn around<T>(
    shared: &Shared,
    instance: Option<usize>,
    (now_ms, steady_ms): (i64, i64),
    act: impl FnOnce(&Around<'_>) -> T,
) -> T {
    let trouble = shared.trouble.as_ref().zip(instance);
    let around = Around {
        definition: &|id, _| {
            let is_there = trouble.is_none_or(|(it, instance)| it.is_there(instance, id, steady_ms));
            shared.definition(id).filter(|_| is_there).map(Ok)
        },
        is_on_its_way: &|id, _| trouble.is_some_and(|(it, instance)| it.is_on_its_way(instance, id, steady_ms)),
        decode: &|record| Ok(super::cluster::decode(record)),
        is_ready: &|record, _| trouble.is_none_or(|(it, instance)| it.is_ready(instance, record, steady_ms)),
        is_stopped: &|_| false,
        next_match: &|event, after, now_ms| shared.next_match(event, after, now_ms),
        fits: &|_| Ok(()),
        now_ms,
        steady_ms,
    };
    act(&around)
}

/// What is written for mail until everything that came of it has ended, by one owner without faults; and the dead letters.
pub fn finish_alone(shared: &Shared, mail: JournalRecord, lines: &mut Vec<Line>, letters: &mut Vec<DeadLetter>) {
    let mut owner = Owner::new(shared.identity.clone(), shared.lease_ms, usize::MAX);
    let assignment = AssignmentId(1);
    let partitions = (0..JOURNAL).map(|number| shared.journal_partition(number));
    let named: Vec<Dependency> = partitions.map(|partition| Dependency { partition, assignment }).collect();
    for Dependency { partition, .. } in &named {
        owner.handle_assigned(partition.clone(), assignment, &Position::at(0), 0);
        owner.handle_restored(partition.partition, 0);
    }
    let (mut offset, mut now_ms) = (0, 0);
    let mut feed = |owner: &mut Owner, it: JournalRecord| {
        shared.trouble.iter().for_each(|trouble| trouble.alone.borrow_mut().born(&it));
        owner.handle_record(record(offset, it), 0);
        offset += 1;
    };
    feed(&mut owner, mail);
    while owner.live() > 0 {
        now_ms += 5;
        assert!(now_ms < 100_000, "an execution without faults does not end");
        while let Some(emitted) = around(shared, None, (now_ms, now_ms), |around| owner.poll(around)) {
            let (subject, left) = refuse(emitted.subject, emitted.left, now_ms);
            let replaced: Vec<Replaced> = execution_of(&subject)
                .map(|execution| Replaced { execution, checkpoint: left.checkpoint.clone() })
                .into_iter()
                .collect();
            let (sequence, sent_ms) = (emitted.sequence, now_ms);
            owner.handle_committed(Commit { sequence, sent_ms, named: &named, replaced: &replaced });
            for wrote in wrote_of(&subject, &left) {
                match wrote {
                    Wrote::Line(line) => lines.push(line),
                    Wrote::Journal(record) => feed(&mut owner, record),
                    Wrote::Letter(_, letter) => letters.extend(letter.map(|it| *it)),
                }
            }
        }
        if !owner.renewals(now_ms).is_empty() {
            owner.handle_committed(Commit { sequence: 0, sent_ms: now_ms, named: &named, replaced: &[] });
        }
        for connector in owner.connectors(now_ms) {
            if let Some(call) = around(shared, None, (now_ms, now_ms), |around| owner.start_call(&connector, around)) {
                owner.handle_answer(call.id, outages::alone(&call), Tried::default(), now_ms);
            }
        }
    }
}

/// The execution of a subject that has one.
pub fn execution_of(subject: &Subject) -> Option<ExecutionId> {
    match subject {
        Subject::Execution(execution) => Some(execution.id),
        Subject::Unrunnable(unrunnable) => Some(unrunnable.id),
        Subject::Again(again) => Some(again.journal.execution),
        Subject::Undecodable(_) | Subject::Unmatched(_) => None,
    }
}

/// The same as the log takes it: without what it refuses.
pub fn refuse(subject: Subject, left: Left, now_ms: i64) -> (Subject, Left) {
    let steps: Vec<usize> = wrote_steps(&left);
    let refusals: Vec<Refusal> = steps.iter().map(|step| Refusal { step: *step, message: "refused".into() }).collect();
    match subject.refused(&refusals) {
        Some(other) => {
            let left = other.leave(now_ms);
            (other, left)
        }
        None => (subject, left),
    }
}

/// The steps that wrote what the log refuses.
fn wrote_steps(left: &Left) -> Vec<usize> {
    let refused = left
        .outputs
        .iter()
        .filter(|(_, output)| matches!(output, Output::Produced(produced) if &*produced.record.topic == "refuses"));
    refused.filter_map(|(step, _)| *step).collect()
}
