//! Consumer groups, classic protocol (KIP-62, static members of KIP-345, offsets of KIP-447).
//!
//! ```text
//!  Empty ──join──▶ Preparing ──all have joined, or time is up──▶ Completing ──leader's sync──▶ Stable
//!    ▲                 ▲  ▲                                          │                            │
//!    └──last left──────┘  └──────────── join · leave · time-out ─────┴────────────────────────────┘
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot::{Receiver, Sender, channel};

use super::producer::PartitionKey;

/// Member ids that were handed out and not used yet.
const IDS_PENDING: usize = 10_000;

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub phase: Phase,
    pub generation: i32,
    pub protocol_type: StrBytes,
    pub protocol: Option<StrBytes>,
    leader: String,
    pub members: BTreeMap<String, Member>,
    rebalance_until: Option<Instant>,
    not_before: Option<Instant>,
    pub offsets: BTreeMap<PartitionKey, CommittedOffset>,
    pending_ids: HashSet<String>,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// No members.
    #[default]
    Empty,
    /// Members are to join.
    Preparing,
    /// All have joined; the leader is to assign.
    Completing,
    /// Everybody has an assignment.
    Stable,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Preparing => "PreparingRebalance",
            Phase::Completing => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }
}

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub instance: Option<String>,
    pub client: String,
    session: Duration,
    rebalance: Duration,
    protocols: Vec<(StrBytes, Bytes)>,
    seen: Instant,
    join: Option<Sender<JoinGroupResponse>>,
    sync: Option<Sender<SyncGroupResponse>>,
    pub assignment: Bytes,
}

impl Member {
    pub(super) fn metadata(&self, protocol: Option<&StrBytes>) -> Bytes {
        let known = self.protocols.iter().find(|it| Some(&it.0) == protocol);
        known.map(|it| it.1.clone()).unwrap_or_default()
    }

    fn supports(&self, protocol: &StrBytes) -> bool {
        self.protocols.iter().any(|it| it.0 == *protocol)
    }
}

/// What a join brings beside the request.
#[derive(Debug)]
pub(super) struct Joining {
    pub version: i16,
    pub client: String,
    pub initial_delay: Duration,
}

impl Group {
    /// A member joins. The answer comes when the group is ready for it.
    pub(super) fn join(&mut self, request: JoinGroupRequest, joining: Joining) -> Receiver<JoinGroupResponse> {
        let (answer, receiver) = channel();
        let now = Instant::now();
        let protocols: Vec<_> = request.protocols.iter().map(|it| (it.name.clone(), it.metadata.clone())).collect();
        let id = match self.admit(&request, &protocols, &joining) {
            Ok(Admitted::As(id)) => id,
            Ok(Admitted::InPlaceOf(old)) => {
                let response = self.replace_static(&old, &joining.client, protocols, now);
                let _ = answer.send(response);
                return receiver;
            }
            Err((error, id)) => {
                let _ = answer.send(refusal(error, &id));
                return receiver;
            }
        };
        // A static member that has come back under a new id has to join again: the leader may be about to assign to the one before.
        if let Some(member) = self.members.get(&id).filter(|_| !request.member_id.is_empty()) {
            let unchanged = member.protocols == protocols;
            let follower = self.phase == Phase::Stable && id != self.leader;
            if unchanged && (follower || self.phase == Phase::Completing) {
                let _ = answer.send(self.answer(&id));
                return receiver;
            }
        }
        self.protocol_type = request.protocol_type.clone();
        let rebalance =
            if request.rebalance_timeout_ms > 0 { request.rebalance_timeout_ms } else { request.session_timeout_ms };
        let member = Member {
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
            client: joining.client,
            session: millis(request.session_timeout_ms),
            rebalance: millis(rebalance),
            protocols,
            seen: now,
            join: Some(answer),
            sync: None,
            assignment: self.members.get(&id).map(|it| it.assignment.clone()).unwrap_or_default(),
        };
        self.members.insert(id, member);
        self.prepare(now, joining.initial_delay);
        self.complete_if_ready(now);
        receiver
    }

    /// Whether somebody may join, and under which id.
    fn admit(
        &mut self,
        request: &JoinGroupRequest,
        protocols: &[(StrBytes, Bytes)],
        joining: &Joining,
    ) -> Result<Admitted, (ResponseError, String)> {
        let id = request.member_id.to_string();
        let instance = request.group_instance_id.as_ref().map(ToString::to_string);
        let same_instance = instance.as_ref().and_then(|instance| self.id_of_instance(instance));
        let incompatible = |(other, member): (&String, &Member)| {
            *other != id && Some(other) != same_instance.as_ref() && !protocols.iter().any(|it| member.supports(&it.0))
        };
        if protocols.is_empty() || self.members.iter().any(incompatible) {
            return Err((ResponseError::InconsistentGroupProtocol, id));
        }
        if id.is_empty() {
            let fresh = format!("{}-{}", joining.client, uuid::Uuid::new_v4());
            return match same_instance {
                Some(old) if self.phase == Phase::Stable && self.keeps_protocol(protocols) => {
                    Ok(Admitted::InPlaceOf(old))
                }
                Some(old) => {
                    self.rename(&old, &fresh);
                    Ok(Admitted::As(fresh))
                }
                None if joining.version >= 4 && instance.is_none() => {
                    if self.pending_ids.len() >= IDS_PENDING {
                        self.pending_ids.clear();
                    }
                    self.pending_ids.insert(fresh.clone());
                    Err((ResponseError::MemberIdRequired, fresh))
                }
                None => Ok(Admitted::As(fresh)),
            };
        }
        match same_instance {
            Some(known) if known != id => Err((ResponseError::FencedInstanceId, id)),
            _ if self.members.contains_key(&id) || self.pending_ids.remove(&id) => Ok(Admitted::As(id)),
            _ => Err((ResponseError::UnknownMemberId, id)),
        }
    }

    fn id_of_instance(&self, instance: &str) -> Option<String> {
        let found = self.members.iter().find(|(_, member)| member.instance.as_deref() == Some(instance));
        found.map(|(id, _)| id.clone())
    }

    /// Whether the group would choose the same protocol again if a static member came back with these.
    fn keeps_protocol(&self, protocols: &[(StrBytes, Bytes)]) -> bool {
        self.protocol.as_ref().is_some_and(|chosen| protocols.iter().any(|it| it.0 == *chosen))
    }

    /// A static member came back: it takes its old place under a new id, and nobody else is disturbed (KIP-345).
    fn replace_static(
        &mut self,
        old: &str,
        client: &str,
        protocols: Vec<(StrBytes, Bytes)>,
        now: Instant,
    ) -> JoinGroupResponse {
        let fresh = format!("{client}-{}", uuid::Uuid::new_v4());
        let leader_before = self.leader.clone();
        self.rename(old, &fresh);
        if let Some(member) = self.members.get_mut(&fresh) {
            (member.protocols, member.seen, member.client) = (protocols, now, client.to_owned());
        }
        // Naming the leader as it was keeps whoever came back from assigning: its old assignment still counts.
        self.header(&fresh).with_leader(text(&leader_before))
    }

    /// Gives a member another id; whoever waits under the old one is fenced.
    fn rename(&mut self, old: &str, fresh: &str) {
        let Some(mut member) = self.members.remove(old) else { return };
        if let Some(join) = member.join.take() {
            let _ = join.send(refusal(ResponseError::FencedInstanceId, old));
        }
        if let Some(sync) = member.sync.take() {
            let _ = sync.send(SyncGroupResponse::default().with_error_code(ResponseError::FencedInstanceId.code()));
        }
        if self.leader == old {
            self.leader = fresh.to_owned();
        }
        self.members.insert(fresh.to_owned(), member);
    }

    fn header(&self, id: &str) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(Some(self.protocol_type.clone()))
            .with_protocol_name(Some(self.protocol.clone().unwrap_or_default()))
            .with_leader(text(&self.leader))
            .with_member_id(text(id))
    }

    fn answer(&self, id: &str) -> JoinGroupResponse {
        let header = self.header(id);
        if id != self.leader {
            return header;
        }
        let member = |(id, member): (&String, &Member)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance.as_deref().map(text))
                .with_metadata(member.metadata(self.protocol.as_ref()))
        };
        header.with_members(self.members.iter().map(member).collect())
    }

    fn prepare(&mut self, now: Instant, initial_delay: Duration) {
        if self.phase == Phase::Preparing {
            return;
        }
        self.not_before = (self.phase == Phase::Empty).then_some(now + initial_delay);
        self.phase = Phase::Preparing;
        let longest = self.members.values().map(|member| member.rebalance).max();
        self.rebalance_until = Some(now + longest.unwrap_or_default());
        for member in self.members.values_mut() {
            if let Some(sync) = member.sync.take() {
                let again = ResponseError::RebalanceInProgress.code();
                let _ = sync.send(SyncGroupResponse::default().with_error_code(again));
            }
        }
    }

    fn complete_if_ready(&mut self, now: Instant) {
        if self.phase != Phase::Preparing || self.not_before.is_some_and(|bound| now < bound) {
            return;
        }
        let late = self.rebalance_until.is_some_and(|bound| now >= bound);
        if !late && self.members.values().any(|member| member.join.is_none()) {
            return;
        }
        // Static members that are away keep their place until their session ends.
        self.members.retain(|_, member| member.join.is_some() || member.instance.is_some());
        self.generation += 1;
        if self.members.is_empty() {
            (self.phase, self.protocol) = (Phase::Empty, None);
            return;
        }
        let present = |member: &&String| self.members.get(*member).is_some_and(|it| it.join.is_some());
        if !present(&&self.leader) {
            self.leader = self.members.keys().find(present).cloned().unwrap_or_default();
        }
        self.protocol = self.common_protocol();
        self.phase = Phase::Completing;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.answer(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            if let Some(join) = member.join.take() {
                member.seen = now;
                let _ = join.send(answer);
            }
        }
    }

    fn common_protocol(&self) -> Option<StrBytes> {
        let leader = self.members.get(&self.leader)?;
        let known_to_all = |name: &&StrBytes| self.members.values().all(|member| member.supports(name));
        leader.protocols.iter().map(|it| &it.0).find(known_to_all).cloned()
    }

    /// A member asks for its assignment; the leader brings those of all.
    pub(super) fn sync(&mut self, request: SyncGroupRequest) -> Receiver<SyncGroupResponse> {
        let (answer, receiver) = channel();
        let id = request.member_id.to_string();
        let mut checked = self.check(&id, request.generation_id, request.group_instance_id.as_deref());
        if checked.is_ok() && self.phase == Phase::Preparing {
            checked = Err(ResponseError::RebalanceInProgress);
        }
        if let Err(error) = checked {
            let _ = answer.send(SyncGroupResponse::default().with_error_code(error.code()));
            return receiver;
        }
        let now = Instant::now();
        if self.phase == Phase::Completing && id == self.leader {
            for assigned in request.assignments {
                if let Some(member) = self.members.get_mut(assigned.member_id.as_str()) {
                    member.assignment = assigned.assignment;
                }
            }
            self.phase = Phase::Stable;
            let waiting: Vec<_> =
                self.members.values_mut().filter_map(|it| Some((it.sync.take()?, it.assignment.clone()))).collect();
            for (sync, assignment) in waiting {
                let _ = sync.send(self.assignment(assignment));
            }
        }
        let assignment = self.members.get(&id).map(|it| it.assignment.clone()).unwrap_or_default();
        let response = (self.phase == Phase::Stable).then(|| self.assignment(assignment));
        if let Some(member) = self.members.get_mut(&id) {
            member.seen = now;
            match response {
                Some(response) => drop(answer.send(response)),
                None => member.sync = Some(answer),
            }
        }
        receiver
    }

    fn assignment(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(Some(self.protocol_type.clone()))
            .with_protocol_name(self.protocol.clone())
            .with_assignment(assignment)
    }

    /// Whether this is a member in this generation. Being asked for keeps its session alive.
    fn check(&mut self, id: &str, generation: i32, instance: Option<&str>) -> Result<(), ResponseError> {
        if let Some(known) = instance.and_then(|instance| self.id_of_instance(instance))
            && known != id
        {
            return Err(ResponseError::FencedInstanceId);
        }
        let current = self.generation;
        let member = self.members.get_mut(id).ok_or(ResponseError::UnknownMemberId)?;
        if generation != current {
            return Err(ResponseError::IllegalGeneration);
        }
        member.seen = Instant::now();
        Ok(())
    }

    /// A member is alive.
    pub(super) fn heartbeat(&mut self, id: &str, generation: i32, instance: Option<&str>) -> Result<(), ResponseError> {
        self.check(id, generation, instance)?;
        if self.phase == Phase::Preparing { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }

    /// Whether offsets may be committed by this member. Only a plain commit keeps the session alive; one in a transaction does not,
    /// and one without a member id is taken from anyone, as Kafka does.
    pub(super) fn check_commit(
        &mut self,
        (id, generation): (&str, i32),
        instance: Option<&str>,
        in_transaction: bool,
    ) -> Result<(), ResponseError> {
        if generation < 0 && id.is_empty() && (in_transaction || self.members.is_empty()) {
            return Ok(());
        }
        let seen = self.members.get(id).map(|member| member.seen);
        self.check(id, generation, instance)?;
        if let (true, Some(seen), Some(member)) = (in_transaction, seen, self.members.get_mut(id)) {
            member.seen = seen;
        }
        if !in_transaction && self.phase == Phase::Completing {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// A member leaves, by its id or its instance.
    pub(super) fn leave(&mut self, id: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        let member = match instance {
            Some(instance) => self.id_of_instance(instance),
            None => self.members.contains_key(id).then(|| id.to_owned()),
        };
        let Some(member) = member else {
            self.pending_ids.remove(id);
            return Err(ResponseError::UnknownMemberId);
        };
        self.put_out(&member);
        Ok(())
    }

    fn put_out(&mut self, id: &str) {
        self.members.remove(id);
        if self.members.is_empty() && self.phase != Phase::Preparing {
            (self.phase, self.protocol) = (Phase::Empty, None);
            self.generation += 1;
            return;
        }
        let now = Instant::now();
        self.prepare(now, Duration::ZERO);
        self.complete_if_ready(now);
    }

    /// Puts out members that were silent for too long, and goes on with a rebalance that waited long enough.
    pub(super) fn tick(&mut self, now: Instant) {
        let silent = |member: &Member| {
            let waits = member.join.as_ref().is_some_and(|join| !join.is_closed());
            !waits && now.duration_since(member.seen) > member.session
        };
        let gone: Vec<String> = self.members.iter().filter(|it| silent(it.1)).map(|it| it.0.clone()).collect();
        for id in gone {
            self.put_out(&id);
        }
        self.complete_if_ready(now);
    }
}

enum Admitted {
    As(String),
    InPlaceOf(String),
}

fn refusal(error: ResponseError, id: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(Some(text("")))
        .with_member_id(text(id))
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
