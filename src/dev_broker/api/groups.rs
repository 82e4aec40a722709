//! Groups: their members, and what admin tools ask of them.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::super::Shared;
use super::super::group::{Group, Joining};
use super::{Caller, code, text};

/// Session time-outs that real brokers take by default, milliseconds.
const SESSION_TIMEOUTS_MS: std::ops::RangeInclusive<i32> = 6_000..=1_800_000;

/// A member joins; the answer comes with the next generation.
pub(super) async fn join(shared: &Shared, ask: JoinGroupRequest, caller: Caller) -> JoinGroupResponse {
    let refused = |error: ResponseError| {
        JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_generation_id(-1)
            .with_protocol_name(Some(text("")))
    };
    if !SESSION_TIMEOUTS_MS.contains(&ask.session_timeout_ms) {
        return refused(ResponseError::InvalidSessionTimeout);
    }
    if ask.group_id.is_empty() {
        return refused(ResponseError::InvalidGroupId);
    }
    let joining = Joining {
        version: caller.version,
        client: caller.client,
        initial_delay: shared.options.initial_rebalance_delay,
    };
    let group = ask.group_id.to_string();
    let answer = shared.state().group(&group).join(ask, joining);
    answer.await.unwrap_or_else(|_| refused(ResponseError::UnknownMemberId))
}

/// A member asks for its assignment.
pub(super) async fn sync(shared: &Shared, ask: SyncGroupRequest) -> SyncGroupResponse {
    let group = ask.group_id.to_string();
    let answer = shared.state().group(&group).sync(ask);
    let again = ResponseError::RebalanceInProgress.code();
    answer.await.unwrap_or_else(|_| SyncGroupResponse::default().with_error_code(again))
}

/// A member is alive.
pub(super) fn heartbeat(shared: &Shared, ask: HeartbeatRequest) -> HeartbeatResponse {
    let mut state = shared.state();
    let group = state.group(&ask.group_id);
    let result = group.heartbeat(&ask.member_id, ask.generation_id, ask.group_instance_id.as_deref());
    HeartbeatResponse::default().with_error_code(code(&result))
}

/// Members leave.
pub(super) fn leave(shared: &Shared, ask: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    let mut state = shared.state();
    let group = state.group(&ask.group_id);
    if version < 3 {
        let result = group.leave(&ask.member_id, None);
        return LeaveGroupResponse::default().with_error_code(code(&result));
    }
    let members = ask.members.iter().map(|member| {
        let result = group.leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code(&result))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

/// All groups.
pub(super) fn list(shared: &Shared) -> ListGroupsResponse {
    let state = shared.state();
    let groups = state.groups.iter().map(|(name, group)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(name)))
            .with_protocol_type(group.protocol_type.clone())
            .with_group_state(text(group.phase.name()))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

/// Some groups with their members.
pub(super) fn describe(shared: &Shared, ask: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let state = shared.state();
    let groups = ask.groups.iter().map(|name| {
        let answer = DescribedGroup::default().with_group_id(name.clone());
        match state.groups.get(name.as_str()) {
            None => answer.with_group_state(text("Dead")),
            Some(group) => answer
                .with_group_state(text(group.phase.name()))
                .with_protocol_type(group.protocol_type.clone())
                .with_protocol_data(group.protocol.clone().unwrap_or_default())
                .with_members(members(group)),
        }
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn members(group: &Group) -> Vec<DescribedGroupMember> {
    let members = group.members.iter().map(|(id, member)| {
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_client_id(text(&member.client))
            .with_client_host(text("/127.0.0.1"))
            .with_member_metadata(member.metadata(group.protocol.as_ref()))
            .with_member_assignment(member.assignment.clone())
    });
    members.collect()
}

/// Deletes groups that have no members.
pub(super) fn delete(shared: &Shared, ask: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut state = shared.state();
    let mut results = Vec::with_capacity(ask.groups_names.len());
    for name in &ask.groups_names {
        let result = match state.groups.get(name.as_str()) {
            None => Err(ResponseError::GroupIdNotFound),
            Some(group) if !group.members.is_empty() => Err(ResponseError::NonEmptyGroup),
            Some(_) => {
                state.delete_group(name);
                Ok(())
            }
        };
        results.push(DeletableGroupResult::default().with_group_id(name.clone()).with_error_code(code(&result)));
    }
    DeleteGroupsResponse::default().with_results(results)
}
