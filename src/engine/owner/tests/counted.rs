//! What an owner says of what executions wait for.

use super::*;
use crate::engine::plan::{Approval, Turns};

#[track_caller]
fn waits(world: &World, expected: &[(WaitReason, u64)]) {
    let counts = world.owner.waiting();
    let found: Vec<_> = WaitReason::ALL.map(|it| (it, counts.of(it))).into_iter().filter(|it| it.1 > 0).collect();
    assert_eq!(found, expected);
}

#[test]
pub(super) fn an_execution_counts_as_what_it_waits_for_until_it_ends() {
    let mut world = World::new("/");
    world.start();
    waits(&world, &[]);
    world.go();
    // The delay beside it comes later in the order.
    waits(&world, &[(WaitReason::Connector, 1)]);
    let call = world.call_after(3_000).unwrap();
    world.go();
    waits(&world, &[(WaitReason::Calling, 1)]);
    world.answer(&call, 503);
    waits(&world, &[(WaitReason::Timer, 1)]);
    world.definition = None;
    world.assign();
    waits(&world, &[]);
    world.go();
    waits(&world, &[(WaitReason::Definition, 1)]);
    world.definition = Some(definition("/"));
    let call = world.call_after(4_000).unwrap();
    world.is_committed = false;
    world.answer(&call, 200);
    waits(&world, &[]);
    world.commit(u64::MAX);
    world.go();
    waits(&world, &[]);
    assert_eq!(world.owner.live(), 0);
}

#[test]
pub(super) fn one_that_queues_counts_as_that_and_what_goes_with_its_partition_as_nothing() {
    let mut world = World::new("/");
    let Definition { workflow, plan } = definition("/");
    let mut plan = Arc::into_inner(plan).unwrap();
    plan.turns = Turns { concurrency: 1, by_key: false, wait_max: None };
    world.definition = Some(Definition { workflow, plan: Arc::new(plan) });
    for offset in 0..3 {
        let Definition { workflow, plan } = world.definition.clone().unwrap();
        let execution = Execution::new(&world.identity, workflow, plan, event(offset), world.now_ms);
        let left = Subject::Execution(Box::new(execution)).leave(world.now_ms);
        world.take(&left);
    }
    world.go();
    waits(&world, &[(WaitReason::Connector, 1), (WaitReason::Turn, 2)]);
    world.owner.handle_revoked(0);
    waits(&world, &[]);
}

#[test]
pub(super) fn a_decision_that_is_waited_for_counts_as_that_with_and_without_an_end() {
    for timeout in [None, Some(Duration::from_secs(60))] {
        let mut world = World::new("/");
        let approval = Approval { timeout, on_timeout: OnError::Fail, message: None };
        let step = Step {
            id: "review".into(),
            action: Action::Wait(Wait::Approval(approval)),
            dependencies: Vec::new(),
            when: None,
            on_error: OnError::Fail,
            order: 0,
        };
        let Definition { workflow, .. } = definition("/");
        let plan = Arc::new(Plan::new(vec![step]).unwrap());
        world.definition = Some(Definition { workflow: workflow.clone(), plan: plan.clone() });
        let execution = Execution::new(&world.identity, workflow, plan, event(7), world.now_ms);
        world.take(&Subject::Execution(Box::new(execution)).leave(world.now_ms));
        world.go();
        waits(&world, &[(WaitReason::Approval, 1)]);
    }
}
