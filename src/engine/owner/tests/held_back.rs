//! What an owner does with executions that wait for their turn.

use super::*;
use crate::engine::plan::Turns;

/// A world whose workflow calls, and holds executions back.
fn world(turns: Turns) -> World {
    let mut world = World::new("/");
    world.hold_back(turns);
    world
}

/// A world whose workflow calls, one after the other for each key, and that keeps no more than so much in memory.
pub(super) fn by_key(budget: usize) -> World {
    BUDGET.set(budget);
    world(BY_KEY)
}

impl World {
    fn hold_back(&mut self, turns: Turns) {
        let Definition { workflow, plan } = definition("/");
        let mut plan = Arc::into_inner(plan).unwrap();
        plan.turns = turns;
        self.definition = Some(Definition { workflow, plan: Arc::new(plan) });
    }

    /// An event with a key comes.
    pub(super) fn comes(&mut self, offset: i64, key: &str) -> ExecutionId {
        let Definition { workflow, plan } = self.definition.clone().unwrap();
        let topic = Arc::new(Topic { name: "events".into(), id: [1; 16] });
        let origin = Origin { topic, partition: 0, offset };
        let event = decode(SourceRecord::new(origin, 0, Some(key.as_bytes()), None, [])).unwrap();
        let execution = Execution::new(&self.identity, workflow, plan, Arc::new(event), self.now_ms);
        let id = execution.id;
        let left = Subject::Execution(Box::new(execution)).leave(self.now_ms);
        self.take(&left);
        self.go();
        id
    }

    /// The executions that are called now.
    pub(super) fn calls(&mut self) -> Vec<Call> {
        let first = self.call_after(3_000);
        let next = std::iter::from_fn(|| self.call_after(100));
        first.into_iter().chain(next).collect()
    }
}

const BY_KEY: Turns = Turns { concurrency: 0, by_key: true, wait_max: None };

fn named(calls: &[Call]) -> Vec<ExecutionId> {
    calls.iter().map(|call| call.execution).collect()
}

#[test]
pub(super) fn those_of_a_key_run_one_by_one_in_order() {
    let mut world = world(BY_KEY);
    let [first, second, other] = [(1, "a"), (2, "a"), (3, "b")].map(|(offset, key)| world.comes(offset, key));
    assert_eq!(world.said.iter().filter(|it| *it == "pending").count(), 3);
    let calls = world.calls();
    assert_eq!(named(&calls), [first, other]);
    // A failure that is tried again keeps its turn.
    world.answer(&calls[0], 503);
    let again = world.calls();
    assert_eq!(named(&again), [first]);
    // A new owner knows whose turn it is.
    world.assign();
    let again = world.calls();
    assert_eq!(named(&again), [first, other]);
    world.answer(&again[0], 404);
    assert_eq!(named(&world.calls()), [second], "a failure frees its key");
}

#[test]
pub(super) fn nobody_passes_one_that_cannot_be_understood_yet() {
    let mut world = world(BY_KEY);
    world.unready = Some(1);
    let [first, second, other] = [(1, "a"), (2, "a"), (3, "b")].map(|(offset, key)| world.comes(offset, key));
    assert_eq!(named(&world.calls()), [other]);
    // Nor does anybody after a restart.
    world.assign();
    assert_eq!(named(&world.calls()), [other]);
    world.unready = None;
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.answer(&calls[0], 200);
    assert_eq!(named(&world.calls()), [second]);
}

#[test]
pub(super) fn nobody_passes_one_whose_version_is_not_there_yet() {
    let mut world = world(BY_KEY);
    let old = world.definition.clone().unwrap();
    let workflow = Arc::new(Workflow { version: "2".into(), ..(*old.workflow).clone() });
    world.definition = Some(Definition { workflow, ..old.clone() });
    world.missing = Some("2");
    let first = world.comes(1, "a");
    world.definition = Some(old);
    let second = world.comes(2, "a");
    assert_eq!(named(&world.calls()), []);
    world.assign();
    assert_eq!(named(&world.calls()), []);
    world.missing = None;
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.answer(&calls[0], 200);
    assert_eq!(named(&world.calls()), [second]);
    // One whose version is on its way waits as long as that takes; one whose version never comes fails, and is in nobody's way then.
    let old = world.definition.clone().unwrap();
    let workflow = Arc::new(Workflow { version: "3".into(), ..(*old.workflow).clone() });
    world.definition = Some(Definition { workflow, ..old.clone() });
    world.missing = Some("3");
    world.comes(3, "b");
    world.definition = Some(old);
    let after_it = world.comes(4, "b");
    world.is_on_its_way = true;
    assert!(world.call_after(UNKNOWN_DEFINITION_MS + 2_000).is_none() && world.letters.is_empty());
    let began = world.began;
    world.is_on_its_way = false;
    world.call_after(UNKNOWN_DEFINITION_MS + 2_000).into_iter().for_each(|call| assert_eq!(call.execution, after_it));
    assert_eq!(
        (world.letters.len(), world.began - began),
        (1, 2),
        "one failed before it ran, and the one behind it began"
    );
}

#[test]
pub(super) fn a_replayed_one_queues_at_the_end() {
    let mut world = world(BY_KEY);
    let [first, second] = [1, 2].map(|offset| world.comes(offset, "a"));
    let calls = world.calls();
    world.answer(&calls[0], 404);
    let mail = crate::engine::replay::resume(world.letters[0].clone(), &Default::default(), 1, world.now_ms);
    world.append(mail);
    let calls = world.calls();
    assert_eq!(named(&calls), [second]);
    world.answer(&calls[0], 200);
    assert_eq!(named(&world.calls()), [first]);
}

#[test]
pub(super) fn no_more_run_at_once_than_may_whatever_their_keys() {
    let mut world = world(Turns { concurrency: 2, by_key: true, wait_max: None });
    let ids = [(1, "a"), (2, "a"), (3, "b"), (4, "c")].map(|(offset, key)| world.comes(offset, key));
    let calls = world.calls();
    assert_eq!(named(&calls), [ids[0], ids[2]]);
    world.answer(&calls[1], 200);
    let calls = world.calls();
    assert_eq!(named(&calls), [ids[3]], "the second of the first key has room, but not its turn");
}

#[test]
pub(super) fn one_that_is_cancelled_while_it_queues_holds_nobody_back() {
    let mut world = world(BY_KEY);
    let [first, second, third] = [1, 2, 3].map(|offset| world.comes(offset, "a"));
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.append(JournalRecord { execution: second, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
    world.go();
    world.answer(&calls[0], 200);
    assert_eq!(named(&world.calls()), [third]);
    assert_eq!(world.said.iter().filter(|it| *it == "cancelled").count(), 1);
}

#[test]
pub(super) fn one_that_waits_too_long_for_its_turn_fails_and_the_time_of_the_others_counts_from_their_turn() {
    let mut world = world(Turns { wait_max: Some(Duration::from_secs(10)), ..BY_KEY });
    let [first, second] = [1, 2].map(|offset| world.comes(offset, "a"));
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.said.clear();
    assert!(world.call_after(10_000).is_none());
    let waited = "it waited longer for its turn than its queueTimeout of 10000 ms";
    world.says(&[&format!("dead letter timeout permanent: {waited}"), "failed"]);
    assert!(world.letters.iter().all(|letter| letter.execution.as_ref().unwrap().id == second));
}

#[test]
pub(super) fn one_that_queues_is_appended_again_as_it_is() {
    let mut world = world(BY_KEY);
    world.record_bytes = 8 * 1024 * 1024;
    let [first, second] = [1, 2].map(|offset| world.comes(offset, "a"));
    for offset in 10..60 {
        let id = world.comes(offset, &format!("key {offset}"));
        let calls = world.calls();
        calls.iter().filter(|call| call.execution == id).for_each(|call| {
            world.answer(call, 200);
        });
    }
    let appended = world.log.iter().filter(|it| it.execution == second).count();
    assert!(appended > 1, "it was not appended again");
    world.assign();
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.answer(&calls[0], 200);
    assert_eq!(named(&world.calls()), [second]);
}

#[test]
pub(super) fn events_without_a_key_are_not_ordered() {
    let mut world = world(BY_KEY);
    let Definition { workflow, plan } = world.definition.clone().unwrap();
    let ids = [1, 2].map(|offset| {
        let execution = Execution::new(&world.identity, workflow.clone(), plan.clone(), event(offset), world.now_ms);
        let id = execution.id;
        world.take(&Subject::Execution(Box::new(execution)).leave(world.now_ms));
        id
    });
    world.go();
    let mut called = named(&world.calls());
    called.sort_unstable();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(called, expected);
}

/// One that runs in a version that is not there after a restore, and one that queues behind it in another.
fn one_in_a_version_that_comes_late() -> (World, ExecutionId, ExecutionId) {
    let mut world = world(BY_KEY);
    let first = world.comes(1, "a");
    assert_eq!(named(&world.calls()), [first]);
    let Definition { workflow, plan } = world.definition.clone().unwrap();
    let next = Workflow { version: "2".into(), ..(*workflow).clone() };
    world.definition = Some(Definition { workflow: Arc::new(next), plan });
    let second = world.comes(2, "a");
    world.missing = Some("1");
    world.assign();
    assert_eq!(named(&world.calls()), []);
    (world, first, second)
}

#[test]
pub(super) fn one_that_runs_in_a_version_that_comes_late_holds_the_others_back_all_the_same() {
    let (mut world, first, second) = one_in_a_version_that_comes_late();
    world.missing = None;
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.answer(&calls[0], 200);
    assert_eq!(named(&world.calls()), [second]);
}

#[test]
pub(super) fn one_that_runs_in_a_version_that_never_comes_holds_nobody_back_once_it_ends() {
    let (mut world, _, second) = one_in_a_version_that_comes_late();
    world.now_ms += UNKNOWN_DEFINITION_MS;
    let calls = world.calls();
    assert_eq!((named(&calls), world.letters.len()), (vec![second], 1));
}

#[test]
pub(super) fn one_whose_turn_comes_while_it_is_cancelled_hands_it_on() {
    let mut world = world(BY_KEY);
    let [first, second, third] = [1, 2, 3].map(|offset| world.comes(offset, "a"));
    let calls = world.calls();
    assert_eq!(named(&calls), [first]);
    world.is_committed = false;
    world.answer(&calls[0], 200);
    let end_of_first = world.sequence;
    world.append(JournalRecord { execution: second, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
    world.go();
    assert!(world.sequence > end_of_first);
    world.commit(end_of_first);
    world.is_committed = true;
    world.commit(world.sequence);
    assert_eq!(named(&world.calls()), [third]);
}
