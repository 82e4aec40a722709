//! What an owner gives up, and what it is told to end.

use super::*;
use crate::engine::signal::{Decision, Signal, Told};

#[test]
pub(super) fn who_takes_up_what_was_released_need_not_wait_and_who_released_it_calls_no_more() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    let (calls, last) = world.owner.release(0, world.now_ms);
    let (_, _, position) = last.unwrap();
    assert_eq!((calls, position.is_released), (vec![call.id], true));
    assert!(world.owner.connectors(world.now_ms).is_empty(), "it was given up");
    assert!(world.owner.renewals(world.now_ms + 10_000).is_empty());
    world.owner = Owner::new(world.identity.clone(), LEASE_MS, world.budget);
    let from = Position { is_released: true, ..Position::at(0) };
    world.owner.handle_assigned(World::partition(), AssignmentId(1), &from, world.now_ms);
    (0..world.log.len()).for_each(|offset| world.feed(offset));
    world.owner.handle_restored(0, world.now_ms);
    // Its own position comes first: from then on nothing says any more that it was released.
    world.is_committed = false;
    world.go();
    assert_eq!(world.pushed.as_ref().map(|position| position.is_released), Some(false));
    assert!(world.owner.connectors(world.now_ms).is_empty(), "it may not call before that");
    world.is_committed = true;
    world.commit(0);
    assert_eq!(world.call_after(200).map(|call| call.execution), Some(call.execution));
}

/// What an owner says of a partition that it takes up at such a position, and gives up after so long.
#[track_caller]
fn check_release(is_released: bool, after_ms: i64, expected: bool) {
    let mut world = World::new("/");
    let from = Position { is_released, ..Position::at(0) };
    world.owner = Owner::new(world.identity.clone(), LEASE_MS, world.budget);
    world.owner.handle_assigned(World::partition(), AssignmentId(1), &from, world.now_ms);
    world.owner.handle_restored(0, world.now_ms);
    let (_, last) = world.owner.release(0, world.now_ms + after_ms);
    assert_eq!(last.map(|(_, _, position)| position.is_released), Some(expected), "{is_released} after {after_ms} ms");
}

#[test]
pub(super) fn who_gives_up_before_the_lease_of_the_one_before_is_over_does_not_say_that_nobody_calls() {
    check_release(false, LEASE_MS - 1, false);
    check_release(false, LEASE_MS, true);
    check_release(true, 0, true);
}

#[test]
pub(super) fn a_workflow_that_is_stopped_ends_its_executions() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    world.go();
    world.said.clear();
    world.is_stopped = true;
    world.owner.handle_stopped(&WorkflowId::new("other").unwrap());
    world.go();
    world.says(&[]);
    world.owner.handle_stopped(&WorkflowId::new("w").unwrap());
    world.go();
    world.says(&["dead letter cancelled permanent: its workflow was stopped", "cancelled"]);
    assert_eq!(world.owner.take_aborted(), [call.id]);
}

/// What ends an execution ends it whether it can be understood at that time or not: `lacks` takes away what it needs, `ends` ends it. Its call has failed
/// once before, and it takes up what else it was told.
#[track_caller]
fn check_ends_without(lacks: impl Fn(&mut World), ends: impl Fn(&mut World, ExecutionId), says: &[&str]) {
    let mut world = World::new("/");
    let execution = world.start();
    let call = world.call_after(3_000).unwrap();
    world.answer(&call, 503);
    world.go();
    world.said.clear();
    lacks(&mut world);
    // A new owner knows no more of it than what was written.
    world.assign();
    world.now_ms += LEASE_MS;
    world.go();
    world.says(&[]);
    ends(&mut world, execution);
    world.go();
    world.says(says);
    let letter = world.letters.pop().unwrap();
    assert_eq!((letter.failure.step.as_deref(), letter.attempts), (Some("charge"), 1));
    assert!(world.call_after(700_000).is_none(), "it is over");
}

#[test]
pub(super) fn what_ends_an_execution_does_so_without_its_version_and_its_schema() {
    let cancel = |world: &mut World, execution| {
        world.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
    };
    let stop = |world: &mut World, _| {
        world.is_stopped = true;
        world.owner.handle_stopped(&WorkflowId::new("w").unwrap());
    };
    let no_version = |world: &mut World| world.missing = Some("1");
    let no_schema = |world: &mut World| world.unready = Some(7);
    let cancelled =
        "dead letter cancelled permanent: it was cancelled; charge failed last: billing answered 503, not 2xx";
    let stopped =
        "dead letter cancelled permanent: its workflow was stopped; charge failed last: billing answered 503, not 2xx";
    check_ends_without(no_version, cancel, &[cancelled, "cancelled"]);
    check_ends_without(no_schema, cancel, &[cancelled, "cancelled"]);
    check_ends_without(no_version, stop, &[stopped, "cancelled"]);
    check_ends_without(no_schema, stop, &[stopped, "cancelled"]);
    let grow_old = |world: &mut World, _| {
        world.now_ms += 8 * 24 * 3_600_000;
    };
    let old = "dead letter timeout permanent: it is older than its maxAge of 604800 s; charge failed last: billing answered 503, not 2xx";
    check_ends_without(no_schema, grow_old, &[old, "failed"]);
}

#[test]
pub(super) fn who_takes_over_goes_on_with_nothing_for_which_the_owner_before_may_still_call() {
    let cancel =
        |execution| JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None };
    for lacks in [false, true] {
        let mut world = World::new("/");
        let execution = world.start();
        (0..30).for_each(|_| {
            world.now_ms += 100;
            world.go();
        });
        world.said.clear();
        let before = std::mem::replace(&mut world.owner, Owner::new(world.identity.clone(), LEASE_MS, world.budget));
        world.assign();
        world.missing = lacks.then_some("1");
        world.append(cancel(execution));
        world.go();
        world.says(&[]);
        // The owner before knows nothing of that, and calls as long as it may.
        let mut next = std::mem::replace(&mut world.owner, before);
        world.missing = None;
        assert!(world.call_after(100).is_some());
        std::mem::swap(&mut world.owner, &mut next);
        world.missing = lacks.then_some("1");
        for _ in 0..19 {
            world.now_ms += 100;
            world.go();
        }
        world.says(&["dead letter cancelled permanent: it was cancelled", "cancelled"]);
        std::mem::swap(&mut world.owner, &mut next);
        assert!(world.owner.connectors(world.now_ms).is_empty(), "it calls although its lease is over");
    }
}

#[test]
pub(super) fn a_step_that_failed_while_its_version_was_taken_away_runs_again() {
    let mut world = World::new("/");
    let execution = world.start();
    let call = world.call_after(3_000).unwrap();
    world.missing = Some("1");
    world.answer(&call, 404);
    world.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
    world.go();
    let letter = world.letters.last().unwrap();
    let finished: Vec<_> = letter.execution.as_ref().unwrap().finished.iter().map(|step| &*step.id).collect();
    assert_eq!((letter.failure.step.as_deref(), finished), (Some("charge"), vec!["pause"]));
    assert!(letter.failure.message.starts_with("it was cancelled; charge failed last: "), "{}", letter.failure.message);
}

/// A call fails and somebody cancels before its owner can look at either: what the dead letter names, and whether the step runs again.
#[track_caller]
fn check_fails_and_is_cancelled(on_error: OnError, failed: Option<&str>, finished: &[&str]) {
    let mut world = World::new("/");
    world.definition = Some(world::definition_with("/", None, on_error));
    let execution = world.start();
    let call = world.call_after(3_000).unwrap();
    let mail = |mail, content| JournalRecord { execution, run: 1, entry: Entry::Mail(mail), content };
    let told = Told::Decision { decision: Decision::Approved, by: "ops".into(), comment: "".into() };
    world.is_committed = false;
    world.append(mail(Mail::Signal, Content::Signal(Arc::new(Signal { step: "other".into(), told }))));
    world.go();
    world.answer(&call, 404);
    world.append(mail(Mail::Cancel, Content::None));
    world.is_committed = true;
    world.commit(world.sequence);
    world.go();
    let letter = world.letters.last().unwrap();
    let done: Vec<_> = letter.execution.as_ref().unwrap().finished.iter().map(|step| &*step.id).collect();
    assert_eq!((letter.failure.step.as_deref(), &done[..]), (failed, finished));
}

#[test]
pub(super) fn what_failed_when_it_was_cancelled_runs_again_unless_it_may_fail() {
    check_fails_and_is_cancelled(OnError::Fail, Some("charge"), &["pause"]);
    check_fails_and_is_cancelled(OnError::Continue, None, &["pause", "charge"]);
}
