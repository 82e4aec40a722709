//! What an owner does with work that is brought back.

use super::*;
use crate::engine::record::ExecutionStatus;
use crate::engine::replay::{self, ChildAgain, Repair};
use crate::engine::signal::{Signal, Told};

/// The mail that brings back what the last dead letter is about.
fn resumed(world: &World, version: &str) -> JournalRecord {
    let repair = Repair { version: Some(version.into()), ..Repair::default() };
    replay::resume(world.letters.last().unwrap().clone(), &repair, 1, world.now_ms)
}

#[test]
pub(super) fn a_failed_execution_goes_on_from_its_failed_step() {
    let mut world = World::new("/");
    world.start();
    let first = world.call_after(3_000).unwrap();
    world.answer(&first, 404);
    world.said.clear();
    let mail = resumed(&world, "1");
    world.append(mail);
    world.go();
    world.says(&["running"]);
    let again = world.call_after(3_000).unwrap();
    assert_eq!((again.execution, again.attempt), (first.execution, 1));
    assert_eq!(again.idempotency_key, first.idempotency_key, "the same work has the same key");
    world.said.clear();
    world.answer(&again, 200);
    world.says(&["charge completed after 1", "completed"]);
    assert_eq!(world.log.last().map(|it| (it.run, it.entry)), Some((2, Entry::End)));
    world.assign();
    assert_eq!(world.owner.live(), 0);
}

#[test]
pub(super) fn a_repaired_version_is_another_edition_and_a_new_owner_knows() {
    let mut world = World::new("/");
    world.start();
    let first = world.call_after(3_000).unwrap();
    world.answer(&first, 404);
    let mail = resumed(&world, "2");
    world.append(mail);
    world.assign();
    world.said.clear();
    let again = world.call_after(3_000).unwrap();
    assert_ne!(again.idempotency_key, first.idempotency_key);
    world.says(&["running"]);
    world.assign();
    let same = world.call_after(3_000).unwrap();
    assert_eq!(same.idempotency_key, again.idempotency_key);
    world.answer(&same, 404);
    let letter = world.letters.last().unwrap();
    let execution = letter.execution.as_ref().unwrap();
    assert_eq!((execution.run, letter.returns, execution.history.edition), (2, 1, 2));
    assert_eq!(letter.first_failure_ms, world.letters[0].last_failure_ms);
    assert!(execution.history.causes.starts_with("run 1: charge: "), "{}", execution.history.causes);
}

#[test]
pub(super) fn what_was_brought_back_already_is_not_brought_back_again() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    world.answer(&call, 404);
    let mail = resumed(&world, "1");
    world.append(mail.clone());
    world.append(mail);
    world.said.clear();
    let call = world.call_after(3_000).unwrap();
    world.answer(&call, 200);
    world.says(&["running", "charge completed after 1", "completed"]);
}

/// A record that could not be understood comes back; so many workflows match it, if it is understood now.
#[track_caller]
fn check_redrive(matches: Option<usize>, expected: &[&str]) {
    let mut world = World::new("/");
    let record = event(7).record.clone();
    let undecodable = (record, Undecodable { message: "no JSON".into() });
    let left = Subject::undecodable(undecodable, 5).leave(5);
    world.take(&left);
    let mail = replay::resume(world.letters[0].clone(), &Repair::default(), 1, 10);
    world.append(mail);
    // What is not committed is not done: a new owner does it, and what is committed it does not do again.
    world.matches = matches;
    world.is_committed = false;
    world.said.clear();
    world.go();
    world.assign_without_last();
    world.said.clear();
    world.is_committed = true;
    world.go();
    world.assign();
    world.go();
    world.says(expected);
    assert_eq!(world.log.last().map(|it| it.entry), Some(Entry::End));
}

#[test]
pub(super) fn a_record_that_is_understood_now_runs_every_workflow_that_matches_it_once() {
    check_redrive(Some(0), &[]);
    check_redrive(Some(1), &["completed"]);
    check_redrive(Some(3), &["completed", "completed", "completed"]);
}

#[test]
pub(super) fn a_record_that_is_not_understood_is_a_dead_letter_again() {
    check_redrive(None, &["dead letter decode permanent: no JSON"]);
}

/// A parent whose sub-workflow has failed, and so has it; both come back together. Returns the call that failed, and what is mailed for the parent
/// and for the sub-workflow.
fn family() -> (World, Call, JournalRecord, JournalRecord) {
    let mut world = World::new("/");
    let Definition { workflow, plan } = definition("/");
    let workflow = Arc::new(Workflow { id: WorkflowId::new("child").unwrap(), ..(*workflow).clone() });
    world.child = Some(Definition { workflow, plan });
    world.definition = Some(told::waits("w", told::child_call()));
    world.begins();
    let call = world.call_after(3_000).unwrap();
    world.answer(&call, 404);
    world.go();
    let [child, parent] = &world.letters[..] else { panic!("both have failed") };
    let execution = child.execution.as_ref().unwrap().id;
    let children = vec![ChildAgain { step: "wait".into(), execution, timeout: None }];
    let repair = Repair { children, ..Repair::default() };
    let of_parent = replay::resume(parent.clone(), &repair, 1, world.now_ms);
    let of_child = replay::resume(child.clone(), &Repair::default(), 1, world.now_ms);
    world.said.clear();
    (world, call, of_parent, of_child)
}

#[test]
pub(super) fn a_sub_workflow_that_comes_back_with_its_parent_goes_on_where_it_failed() {
    let (mut world, call, of_parent, of_child) = family();
    world.append(of_parent);
    world.append(of_child);
    // What is known of both outlives their owner, before and after they are taken up.
    world.assign();
    world.go();
    world.says(&["running", "running"]);
    world.assign();
    let again = world.call_after(3_000).unwrap();
    assert_eq!((again.execution, &again.idempotency_key), (call.execution, &call.idempotency_key));
    world.said.clear();
    world.answer(&again, 200);
    world.go();
    let of_both =
        ["charge completed after 1", "completed", "wait completed after 1", "after completed after 1", "completed"];
    world.says(&of_both);
    world.assign();
    assert_eq!((world.owner.live(), world.call_after(5_000).is_none()), (0, true));
}

#[test]
pub(super) fn a_sub_workflow_that_ends_before_its_parent_begins_again_is_heard() {
    for is_restored in [false, true] {
        let (mut world, call, of_parent, _) = family();
        let told = Told::Child {
            execution: call.execution,
            status: ExecutionStatus::Completed,
            output: Value::Int(1),
            failure: None,
        };
        let content = Content::Signal(Arc::new(Signal { step: "wait".into(), told }));
        let execution = of_parent.execution;
        world.append(of_parent);
        world.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Signal), content });
        if is_restored {
            world.assign();
        }
        world.go();
        world.says(&["wait completed after 1", "after completed after 1", "completed"]);
        world.assign();
        assert_eq!(world.owner.live(), 0);
    }
}

#[test]
pub(super) fn a_parent_that_came_back_and_is_cancelled_cancels_its_sub_workflow() {
    let (mut world, _, of_parent, of_child) = family();
    let execution = of_parent.execution;
    world.append(of_parent);
    world.append(of_child);
    world.go();
    world.said.clear();
    world.append(JournalRecord { execution, run: 2, entry: Entry::Mail(Mail::Cancel), content: Content::None });
    world.go();
    let cancelled = "dead letter cancelled permanent: it was cancelled";
    world.says(&[cancelled, "cancelled", cancelled, "cancelled"]);
    assert_eq!(world.owner.live(), 0);
}
