//! A consumer group as its coordinator describes it, and how its members are made to join again.
//!
//! Who lets partitions go in a cooperative rebalance joins once more, and only then are they given to somebody. A static member that starts
//! again in between does not join once more: it takes its place back, with what was left to it, and nobody is disturbed (KIP-345, KIP-429).
//! The group is stable then, and the partitions are with nobody until something else makes it rebalance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Buf as _;
use rdkafka::groups::{GroupInfo, GroupMemberInfo};

use super::client::{ClientError, ClientSettings};
use super::consumer::{Consumer, Member, PollError, Rebalance};
use super::native::GroupMetadata;
use crate::engine::batch::SourcePartition;
use crate::engine::position::Position;

/// How long a guest waits for the group to let it in: members join again when they have let go of what they must.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// How long one look of a guest waits.
const POLL: Duration = Duration::from_millis(100);

/// Partitions by topic.
type Partitions = BTreeMap<String, Vec<i32>>;

/// What the members of a stable group hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    members: BTreeMap<String, Partitions>,
}

impl Holdings {
    /// None while the group rebalances, has no members, or has one whose assignment is not understood.
    pub(super) fn of(group: &GroupInfo) -> Option<Holdings> {
        if group.state() != "Stable" {
            return None;
        }
        let held = |it: &GroupMemberInfo| Some((it.id().to_owned(), assignment(it.assignment().unwrap_or_default())?));
        Some(Holdings { members: group.members().iter().map(held).collect::<Option<_>>()? })
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The topics of which somebody holds something.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.members.values().flat_map(|held| held.keys().map(String::as_str))
    }

    /// Of topics with so many partitions each: those that nobody holds.
    pub fn held_by_nobody(&self, topics: &BTreeMap<String, usize>) -> Vec<(String, i32)> {
        let mut free = Vec::new();
        for (topic, count) in topics {
            let mut held = vec![false; *count];
            for partition in self.members.values().filter_map(|it| it.get(topic)).flatten() {
                if let Some(held) = usize::try_from(*partition).ok().and_then(|it| held.get_mut(it)) {
                    *held = true;
                }
            }
            let numbered = (0..).zip(held);
            free.extend(numbered.filter(|(_, is_held)| !is_held).map(|(number, _)| (topic.clone(), number)));
        }
        free
    }
}

/// Reads an assignment as the consumer protocol writes it: version, topics with their partitions, and what the assignor adds. None if it is
/// none.
fn assignment(mut bytes: &[u8]) -> Option<Partitions> {
    let mut assigned = Partitions::new();
    if bytes.is_empty() {
        return Some(assigned);
    }
    let _version = bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let partitions = assigned.entry(std::str::from_utf8(name).ok()?.to_owned()).or_default();
        for _ in 0..bytes.try_get_i32().ok()? {
            partitions.push(bytes.try_get_i32().ok()?);
        }
    }
    Some(assigned)
}

/// Makes the members of a group join again, and so assign what is with nobody: joins as one that wants only `topic`, of which they want
/// nothing, and leaves. Nobody gives up anything for it, if they share partitions out cooperatively. Returns whether the group let it in
/// before `is_over`.
pub fn make_members_join(
    clients: &ClientSettings,
    (group, topic): (&str, &str),
    is_over: impl Fn() -> bool,
) -> Result<bool, ClientError> {
    let guest = Arc::new(Guest::default());
    let consumer = Consumer::join(clients, group, None, &[topic.to_owned()], guest.clone(), || ())?;
    let until = Instant::now() + JOIN_WITHIN;
    while !guest.is_in() && Instant::now() < until && !is_over() {
        match consumer.poll(1, POLL, drop) {
            Ok(_)
            | Err(
                PollError::Away(_) | PollError::Trouble(_) | PollError::NotAuthorized(_) | PollError::OffsetOutOfRange,
            ) => {}
            Err(PollError::Fenced(_) | PollError::Fatal(_)) => break,
        }
    }
    consumer.close();
    Ok(guest.is_in())
}

/// A member that reads nothing.
#[derive(Default)]
struct Guest {
    is_in: AtomicBool,
}

impl Guest {
    fn is_in(&self) -> bool {
        self.is_in.load(Ordering::Acquire)
    }
}

impl Rebalance for Guest {
    fn assigned(&self, partitions: &[SourcePartition], _member: &Member<'_>) -> Result<Vec<Option<Position>>, String> {
        Ok(vec![None; partitions.len()])
    }

    fn joined(&self, _metadata: GroupMetadata) {
        self.is_in.store(true, Ordering::Release);
    }

    fn revoked(&self, _partitions: &[SourcePartition], _member: &Member<'_>, _lost: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topics with partitions.
    type Held<'a> = &'a [(&'a str, &'a [i32])];

    fn holdings(members: &[(&str, Held<'_>)]) -> Holdings {
        let held = |held: Held<'_>| held.iter().map(|(topic, of)| ((*topic).to_owned(), of.to_vec())).collect();
        Holdings { members: members.iter().map(|(id, of)| ((*id).to_owned(), held(of))).collect() }
    }

    #[track_caller]
    fn check_free(members: &[(&str, Held<'_>)], topics: &[(&str, usize)], free: &[(&str, i32)]) {
        let topics = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let found = holdings(members).held_by_nobody(&topics);
        assert_eq!(found.iter().map(|(topic, of)| (topic.as_str(), *of)).collect::<Vec<_>>(), free);
    }

    #[test]
    fn what_nobody_holds_is_found() {
        check_free(&[("m", &[("a", &[0, 1])])], &[("a", 2)], &[]);
        check_free(
            &[("m", &[("a", &[0])]), ("n", &[("a", &[2]), ("b", &[])])],
            &[("a", 4), ("b", 1)],
            &[("a", 1), ("a", 3), ("b", 0)],
        );
        // A partition that the cluster does not know, such as one of a topic that was made anew, harms nobody.
        check_free(&[("m", &[("a", &[7, -1, 0])])], &[("a", 1)], &[]);
        check_free(&[], &[("a", 1)], &[("a", 0)]);
    }

    #[track_caller]
    fn check_assignment(bytes: &[u8], expected: Option<Held<'_>>) {
        let expected = expected.map(|it| it.iter().map(|(topic, of)| ((*topic).to_owned(), of.to_vec())).collect());
        assert_eq!(assignment(bytes), expected);
    }

    #[test]
    fn assignments_are_read_as_the_protocol_writes_them() {
        let whole = [0, 1, 0, 0, 0, 1, 0, 2, b'a', b'b', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 255, 255, 255, 255];
        check_assignment(&whole, Some(&[("ab", &[0, 9])]));
        check_assignment(&[0, 1, 0, 0, 0, 0, 255, 255, 255, 255], Some(&[]));
        check_assignment(&[], Some(&[]));
        for length in 1..22 {
            check_assignment(&whole[..length], None);
        }
        // Counts that promise more than there is allocate nothing.
        check_assignment(&[0, 1, 127, 255, 255, 255], None);
        check_assignment(&[0, 1, 0, 0, 0, 1, 255, 255], None);
        check_assignment(&[0, 1, 0, 0, 0, 1, 0, 1, 255, 0, 0, 0, 0], None);
    }
}
