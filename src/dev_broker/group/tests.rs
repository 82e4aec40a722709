//! What a client alone cannot bring about at will: members that come back at a certain moment of a rebalance.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

fn join(group: &mut Group, id: &str, instance: &str) -> Receiver<JoinGroupResponse> {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_member_id(text(id))
        .with_group_instance_id(Some(text(instance)))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocols(vec![protocol]);
    group.join(request, Joining { version: 5, client: instance.to_owned(), initial_delay: Duration::ZERO })
}

fn sync(group: &mut Group, id: &str, generation: i32, assigned: &[&str]) -> Receiver<SyncGroupResponse> {
    let assignment = |id: &&str| {
        let bytes = Bytes::copy_from_slice(id.as_bytes());
        SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(bytes)
    };
    let assignments = assigned.iter().map(assignment).collect();
    let request = SyncGroupRequest::default().with_member_id(text(id)).with_generation_id(generation);
    group.sync(request.with_assignments(assignments))
}

/// A group of two whose leader is to assign, and their ids.
fn completing() -> (Group, [String; 2]) {
    let mut group = Group::default();
    let mut first = join(&mut group, "", "one");
    group.tick(Instant::now());
    let first_id = first.try_recv().unwrap().member_id.to_string();
    let mut second = join(&mut group, "", "two");
    let mut again = join(&mut group, &first_id, "one");
    let (again, second) = (again.try_recv().unwrap(), second.try_recv().unwrap());
    assert_eq!((&*again.leader, group.phase), (&*first_id, Phase::Completing));
    (group, [first_id, second.member_id.to_string()])
}

/// Kafka's `GroupCoordinator` does so because the leader may have been told of the id that the member had before.
#[test]
fn a_static_member_that_comes_back_before_the_leader_has_assigned_is_not_left_without_an_assignment() {
    let (mut group, [leader, before]) = completing();
    let generation = group.generation;
    let mut back = join(&mut group, "", "two");
    let mut assigned = sync(&mut group, &leader, generation, &[&leader, &before]);
    assert_eq!(assigned.try_recv().unwrap().error_code, ResponseError::RebalanceInProgress.code());
    assert_eq!(back.try_recv().unwrap_err(), TryRecvError::Empty, "all join once more");
    let mut again = join(&mut group, &leader, "one");
    let (back, again) = (back.try_recv().unwrap(), again.try_recv().unwrap());
    assert_eq!((back.generation_id, again.generation_id), (generation + 1, generation + 1));
    let mut waits = sync(&mut group, &back.member_id, generation + 1, &[]);
    sync(&mut group, &leader, generation + 1, &[&leader, &back.member_id]);
    assert_eq!(waits.try_recv().unwrap().assignment, back.member_id.as_bytes());
}
