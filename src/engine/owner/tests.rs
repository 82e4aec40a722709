//! One owner, step by step: what it does with mail, answers, time and commits.

mod away;
mod brought_back;
mod held_back;
mod told;

use std::time::Duration;

use super::*;
use crate::engine::call::{Expected, HttpCall};
use crate::engine::event::{Event, Origin, SourceRecord, Topic, Undecodable};
use crate::engine::execution::{Left, StepResults};
use crate::engine::expression::Template;
use crate::engine::fan_out::Found;
use crate::engine::journal::{Entry, Record};
use crate::engine::plan::{OnError, Step};
use crate::engine::record::{DeadLetter, JournalRecord, Output};
use crate::engine::retry::{FailedCall, RetryPolicy};
use crate::engine::value::Value;
use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

/// A workflow that waits a second and calls at the same time.
fn definition(path: &str) -> Definition {
    definition_with(path, None)
}

fn definition_with(path: &str, timeout: Option<Duration>) -> Definition {
    let call = HttpCall {
        connector: "billing".into(),
        method: "GET".into(),
        path: Template::Literal(Value::text(path)),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        expect: vec![Expected::Class(2)],
        timeout: Duration::from_secs(1),
        retry: RetryPolicy { max_retries: 1, jitter_factor: 0.0, ..RetryPolicy::default() },
    };
    let step = |id: &str, wait| Step {
        id: id.into(),
        action: Action::Wait(wait),
        dependencies: Vec::new(),
        when: None,
        on_error: OnError::Fail,
        order: 0,
    };
    let steps = vec![step("pause", Wait::Delay(Duration::from_secs(1))), step("charge", Wait::Http(Box::new(call)))];
    let workflow = Workflow {
        id: WorkflowId::new("w").unwrap(),
        version: "1".into(),
        status: Status::Active,
        content_hash: ContentHash([0; 32]),
        triggers: Vec::new(),
    };
    let mut plan = Plan::new(steps).unwrap();
    plan.timeout = timeout;
    Definition { workflow: Arc::new(workflow), plan: Arc::new(plan) }
}

fn event(offset: i64) -> Arc<Event> {
    let topic = Arc::new(Topic { name: "events".into(), id: [1; 16] });
    let origin = Origin { topic, partition: 0, offset };
    Arc::new(decode(SourceRecord::new(origin, 0, None, None, [])).unwrap())
}

fn decode(record: SourceRecord) -> Result<Event, (SourceRecord, Undecodable)> {
    let nothing = || Arc::from("");
    let (id, kind, source) = (nothing(), nothing(), nothing());
    Ok(Event { record, id, kind, source, subject: None, time: None, data: Value::Null })
}

/// The first of so many workflows, called a, b …, behind the one that is done.
fn next_match(identity: &Identity, event: Arc<Event>, after: Option<&WorkflowId>, count: usize) -> Found {
    let next = after.map_or(0, |done| usize::from(done.as_str().as_bytes()[0] - b'a') + 1);
    let Definition { workflow, .. } = definition("/");
    let id = WorkflowId::new(&char::from(b'a' + next as u8).to_string()).unwrap();
    let workflow = Arc::new(Workflow { id, ..(*workflow).clone() });
    let plan = Arc::new(Plan::new(Vec::new()).unwrap());
    let subject = (next < count).then(|| Execution::new(identity, workflow, plan, event, 0));
    Found { subject: subject.map(|it| Subject::Execution(Box::new(it))), has_more: next + 1 < count }
}

/// An owner of the only partition of a journal, and the log that it writes.
struct World {
    owner: Owner,
    identity: Arc<Identity>,
    definition: Option<Definition>,
    journal_takes: usize,
    log: Vec<JournalRecord>,
    now_ms: i64,
    /// What was written since it was asked last.
    said: Vec<String>,
    is_committed: bool,
    /// What each record weighs.
    record_bytes: u64,
    /// The dead letters that were written.
    letters: Vec<DeadLetter>,
    /// How many workflows match a record that is read again; None if it is not understood.
    matches: Option<usize>,
    /// The workflow `child`, which others start.
    child: Option<Definition>,
    /// What may stay in memory.
    budget: usize,
    /// How many records were read again.
    fetched: usize,
    /// What is written is not read before it is asked for.
    is_unread: bool,
    /// Whether what is wanted is read again at once.
    is_fetching: bool,
}

thread_local! {
    /// What the worlds of a test keep in memory, in bytes.
    static BUDGET: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

impl World {
    fn new(path: &str) -> World {
        let identity = Identity { environment: "test".into(), journal_partitions: 1, step_results: StepResults::All };
        let identity = Arc::new(identity);
        let mut world = World {
            owner: Owner::new(identity.clone(), LEASE_MS, BUDGET.get()),
            identity,
            definition: Some(definition(path)),
            journal_takes: usize::MAX,
            log: Vec::new(),
            now_ms: 0,
            said: Vec::new(),
            is_committed: true,
            record_bytes: 10,
            letters: Vec::new(),
            matches: Some(0),
            child: None,
            budget: BUDGET.get(),
            fetched: 0,
            is_unread: false,
            is_fetching: true,
        };
        world.assign();
        world
    }

    fn partition() -> SourcePartition {
        SourcePartition { topic: Arc::new(Topic { name: "journal".into(), id: [2; 16] }), partition: 0 }
    }

    /// A new owner, which reads the log from its beginning.
    fn assign(&mut self) {
        self.owner = Owner::new(self.identity.clone(), LEASE_MS, self.budget);
        self.owner.handle_assigned(World::partition(), AssignmentId(1), 0, self.now_ms);
        (0..self.log.len()).for_each(|offset| self.feed(offset));
        self.owner.handle_restored(0, self.now_ms);
    }

    /// A new owner, which does not see what was written last: it was not committed.
    fn assign_without_last(&mut self) {
        self.log.pop();
        self.assign();
    }

    fn feed(&mut self, offset: usize) {
        self.owner.handle_record(self.record(offset), self.now_ms);
    }

    /// A record of the log as its owner reads it.
    fn record(&self, offset: usize) -> Record<Content> {
        let JournalRecord { execution, run, entry, content } = self.log[offset].clone();
        Record { offset: offset as i64, bytes: self.record_bytes, execution, run, entry, content }
    }

    /// Reads what is wanted. False if nothing is.
    fn fetch(&mut self) -> bool {
        let wanted = self.owner.wanted();
        self.fetched += wanted.len();
        wanted.iter().for_each(|(_, offset)| self.owner.handle_fetched(self.record(*offset as usize)));
        !wanted.is_empty()
    }

    fn append(&mut self, record: JournalRecord) {
        self.log.push(record);
        if !self.is_unread {
            self.feed(self.log.len() - 1);
        }
    }

    /// The event comes: its execution is mailed.
    fn start(&mut self) -> ExecutionId {
        self.start_for(7)
    }

    fn start_for(&mut self, offset: i64) -> ExecutionId {
        let Definition { workflow, plan } = definition("/");
        let execution = Execution::new(&self.identity, workflow, plan, event(offset), self.now_ms);
        let id = execution.id;
        let left = Subject::Execution(Box::new(execution)).leave(self.now_ms);
        self.take(&left);
        id
    }

    fn take(&mut self, left: &Left) {
        for (_, output) in &left.outputs {
            match output {
                Output::Journal(record) => self.append((**record).clone()),
                Output::StepResult(result) => {
                    let step = &result.step;
                    self.said.push(format!("{} {} after {}", step.id, step.status.name(), step.attempts));
                }
                Output::Execution(record) => self.said.push(record.status.name().to_owned()),
                Output::DeadLetter(letter) => {
                    self.letters.push((**letter).clone());
                    let (reason, failure) = (letter.reason.name(), &letter.failure);
                    self.said.push(format!("dead letter {reason} {}: {}", failure.class.name(), failure.message));
                }
                Output::Produced(_) => {}
            }
        }
    }

    /// Finds definitions.
    fn definitions(&self) -> impl Fn(&WorkflowId, &str) -> Option<Result<Definition, String>> + use<> {
        let (definition, child) = (self.definition.clone(), self.child.clone());
        move |id, _| if id.as_str() == "child" { child.clone() } else { definition.clone() }.map(Ok)
    }

    /// Everything that goes on now is written, and committed unless that is held up.
    fn go(&mut self) {
        let (now_ms, takes) = (self.now_ms, self.journal_takes);
        let found = self.definitions();
        let (identity, matches) = (self.identity.clone(), self.matches);
        let matching = move |event: Arc<Event>, after: Option<&WorkflowId>, _: i64| {
            next_match(&identity, event, after, matches.unwrap_or_default())
        };
        let decode = |record: SourceRecord| match matches {
            Some(_) => decode(record),
            None => Err((record, Undecodable { message: "no JSON".into() })),
        };
        let fits = |_: &JournalRecord| if takes == 0 { Err("too large for the journal".to_owned()) } else { Ok(()) };
        let around = Around {
            definition: &found,
            decode: &decode,
            next_match: &matching,
            fits: &fits,
            now_ms,
            steady_ms: now_ms,
        };
        loop {
            while let Some(emitted) = self.owner.poll(&around) {
                self.take(&emitted.left);
                if self.is_committed {
                    self.commit(emitted.sequence);
                }
            }
            if !self.is_fetching || !self.fetch() {
                break;
            }
        }
        if !self.owner.renewals(now_ms).is_empty() && self.is_committed {
            self.commit(0);
        }
    }

    fn commit(&mut self, sequence: u64) {
        let named = [Dependency { partition: World::partition(), assignment: AssignmentId(1) }];
        let sent_ms = self.now_ms;
        self.owner.handle_committed(Commit { sequence, sent_ms, named: &named, replaced: &[] });
    }

    /// The call that may start now, after a while in which everything that can happen does.
    fn call_after(&mut self, passes_ms: i64) -> Option<Call> {
        for _ in 0..passes_ms / 100 {
            self.now_ms += 100;
            self.go();
        }
        let (found, now_ms) = (self.definitions(), self.now_ms);
        let around = Around {
            definition: &found,
            decode: &decode,
            next_match: &|_, _, _| Found { subject: None, has_more: false },
            fits: &|_| Ok(()),
            now_ms,
            steady_ms: now_ms,
        };
        let connector = self.owner.connectors(now_ms).pop_first()?;
        self.owner.start_call(&connector, &around)
    }

    fn answer(&mut self, call: &Call, status: u16) -> Consequence {
        let answer = Answer::Http { status, headers: Value::Null, body: Value::Null, retry_after_ms: None };
        let consequence = self.owner.handle_answer(call.id, answer, 0.0, self.now_ms);
        self.go();
        consequence
    }

    #[track_caller]
    fn says(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.said), expected);
    }
}

#[test]
fn a_call_starts_under_a_lease_and_its_answer_is_written() {
    let mut world = World::new("/");
    world.start();
    world.says(&["running"]);
    assert!(world.call_after(LEASE_MS - 100).is_none(), "the owner before may still call");
    let call = world.call_after(1_000).unwrap();
    world.says(&["pause completed after 1"]);
    assert_eq!((&*call.connector, &*call.step, call.attempt), ("billing", "charge", 1));
    assert_eq!(world.answer(&call, 200), Consequence::None);
    world.says(&["charge completed after 1", "completed"]);
    assert_eq!(world.owner.live(), 0);
    assert_eq!(world.log.last().unwrap().entry, Entry::End);
    assert_eq!(world.answer(&call, 200), Consequence::None, "an answer that comes twice is nothing");
    world.says(&[]);
}

#[test]
fn a_failed_call_is_made_again_with_the_same_key_by_whoever_owns_it_then() {
    let mut world = World::new("/");
    world.start();
    let first = world.call_after(3_000).unwrap();
    world.answer(&first, 503);
    world.said.clear();
    assert!(world.call_after(100).is_none(), "the delay is not over");
    world.assign();
    let second = world.call_after(4_000).unwrap();
    assert_eq!((second.attempt, &second.idempotency_key), (2, &first.idempotency_key));
    world.answer(&second, 503);
    world.says(&["charge failed after 2", "dead letter step retryable: billing answered 503, not 2xx", "failed"]);
}

#[test]
fn nothing_starts_before_what_was_written_is_committed() {
    let mut world = World::new("/");
    world.start();
    world.is_committed = false;
    assert!(world.call_after(5_000).is_none());
    world.says(&["running", "pause completed after 1"]);
    world.is_committed = true;
    world.commit(1);
    assert!(world.call_after(1_000).is_some());
}

#[test]
fn refused_credentials_cost_no_attempt() {
    let mut world = World::new("/");
    world.start();
    for _ in 0..5 {
        let call = world.call_after(3_000).unwrap();
        assert_eq!(call.attempt, 1);
        assert_eq!(world.answer(&call, 401), Consequence::Hold);
    }
    world.says(&["running", "pause completed after 1"]);
}

#[test]
fn one_whose_credentials_are_refused_lets_others_go_first() {
    let mut world = World::new("/");
    let refused = world.start_for(1);
    let call = world.call_after(3_000).unwrap();
    assert_eq!((call.execution, world.answer(&call, 403)), (refused, Consequence::Hold));
    let other = world.start_for(2);
    world.go();
    let next = world.call_after(100).unwrap();
    assert_eq!(next.execution, other, "though the other came later");
    assert_eq!(world.call_after(100).map(|call| call.execution), Some(refused));
}

#[test]
fn a_cancel_ends_it_and_breaks_off_its_call() {
    let mut world = World::new("/");
    let execution = world.start();
    let call = world.call_after(3_000).unwrap();
    world.said.clear();
    let cancel = Entry::Mail(Mail::Cancel);
    world.append(JournalRecord { execution, run: 1, entry: cancel, content: Content::None });
    world.go();
    world.says(&["dead letter cancelled permanent: it was cancelled", "cancelled"]);
    assert_eq!(world.owner.take_aborted(), [call.id]);
    world.answer(&call, 200);
    world.says(&[]);
    world.assign();
    assert_eq!(world.owner.live(), 0);
}

#[test]
fn a_version_that_is_not_there_is_waited_for_and_then_fails_it() {
    let mut world = World::new("/");
    world.definition = None;
    world.start();
    world.said.clear();
    assert!(world.call_after(UNKNOWN_DEFINITION_MS / 2).is_none());
    world.says(&[]);
    let there = definition("/");
    world.definition = Some(there);
    assert!(world.call_after(3_000).is_some());
    world.assign();
    world.definition = None;
    world.said.clear();
    world.call_after(UNKNOWN_DEFINITION_MS + 2_000);
    world.says(&["dead letter match config: version 1 of w is not installed; apply it again", "failed"]);
    assert_eq!(world.log.last().unwrap().entry, Entry::End);
}

#[test]
fn a_path_that_leads_elsewhere_fails_the_step_before_any_call() {
    let mut world = World::new("//elsewhere");
    world.start();
    assert!(world.call_after(3_000).is_none());
    world.go();
    let said = std::mem::take(&mut world.said);
    assert!(said[3].starts_with("dead letter step permanent: `path` starts with `//`"), "{said:?}");
}

#[test]
fn what_the_journal_does_not_take_fails() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    world.said.clear();
    world.journal_takes = 0;
    world.answer(&call, 503);
    world.says(&["dead letter too-large permanent: too large for the journal", "failed"]);
}

#[test]
fn calls_of_a_partition_that_goes_are_named() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    assert_eq!(world.owner.handle_revoked(0), [call.id]);
    assert!(!matches!(call.request.body, Value::Text(_)));
    let failed = Answer::Failed { failed: FailedCall::Timeout, message: "late".into() };
    assert_eq!(world.owner.handle_answer(call.id, failed, 0.0, world.now_ms), Consequence::None);
    world.go();
    assert!(world.call_after(5_000).is_none());
}

#[test]
fn the_state_of_a_straggler_is_appended_again_so_that_the_position_moves() {
    let mut world = World::new("/");
    world.record_bytes = 10 * 1024 * 1024;
    let straggler = world.start_for(0);
    world.go();
    assert_eq!(world.owner.position(0).unwrap().next_offset, 0, "its start is all there is of it");
    // Others come and end, until more than enough of the log is dead.
    for offset in 1..12 {
        world.start_for(offset);
        world.now_ms += 1_100;
        world.go();
        let calls: Vec<Call> = std::iter::from_fn(|| world.call_after(100)).collect();
        for call in &calls {
            world.answer(call, if call.execution == straggler { 401 } else { 200 });
        }
    }
    world.go();
    let position = world.owner.position(0).unwrap().next_offset;
    assert!(position > 5, "{position} of {}", world.log.len());
    let states = world.log.iter().filter(|it| it.execution == straggler && matches!(it.entry, Entry::State { .. }));
    assert!((1..6).contains(&states.count()), "it is appended again, and not for ever");
    world.assign();
    assert_eq!(world.owner.live(), 1, "it is what is left");
}

#[test]
fn an_execution_that_takes_too_long_fails_and_time_that_it_is_parked_does_not_count() {
    let mut world = World::new("/");
    world.definition = Some(definition_with("/", Some(Duration::from_secs(10))));
    world.start();
    world.go();
    // Nobody grants it a call: it is parked.
    world.now_ms += 60_000;
    world.go();
    world.now_ms += 60_000;
    world.go();
    assert_eq!(world.said.last().map(String::as_str), Some("pause completed after 1"));
    let call = world.call_after(3_000).unwrap();
    world.said.clear();
    assert!(world.call_after(9_000).is_none());
    world.says(&[]);
    world.call_after(5_000);
    world.says(&["dead letter timeout permanent: it took longer than its timeout of 10000 ms", "failed"]);
    assert_eq!(world.owner.take_aborted(), [call.id]);
}

#[test]
fn an_execution_becomes_no_older_than_it_may_parked_or_not() {
    let mut world = World::new("/");
    world.start();
    world.now_ms += 60_000;
    world.go();
    world.said.clear();
    world.now_ms += 7 * 24 * 60 * 60 * 1000;
    world.go();
    world.says(&["dead letter timeout permanent: it is older than its maxAge of 604800 s", "failed"]);
}
