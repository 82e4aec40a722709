//! What an owner gives up, and what it is told to end.

use super::*;

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
