//! Where a partition starts: at its committed offset, or where the source's `start` says, once.
//!
//! `start` counts when the group has no committed offset on any partition of the topic. A partition that appears later starts
//! at its beginning; so does a topic that a pattern matches while the group already reads another topic of that pattern.
//! What retention took unread is reported; a committed offset that cannot be right is refused, never guessed around.

use std::collections::BTreeMap;

use super::consumer::{Committed, Member};
use crate::engine::batch::SourcePartition;
use crate::engine::position::{BadPosition, Position};

/// Where a source starts that the group has never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the newest record.
    Latest,
    /// At the oldest record.
    Earliest,
}

/// What is known of a partition that is about to be read.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the group committed for it.
    pub committed: Option<Committed>,
    /// Whether the group has an offset on any partition of the topic, or reads another topic of the same pattern.
    pub known_before: bool,
    /// The first offset of the log.
    pub low: i64,
    /// The offset after the last record.
    pub high: i64,
    /// The source's `start`.
    pub start: Start,
}

/// Where a partition starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The position.
    pub position: Position,
    /// Whether it must be committed before anything is read: it is not what is committed.
    pub commit: bool,
    /// Records that were deleted before they were read, as a range of offsets.
    pub lost: Option<(i64, i64)>,
}

/// Why a partition cannot be started by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The committed offset cannot be used.
    #[error(transparent)]
    Position(#[from] BadPosition),
    /// The committed offset does not exist yet.
    #[error(
        "the committed offset is {committed}, but the log ends at {high}: the topic was recreated or truncated; \
         confirm by resetting the group's offset of this topic"
    )]
    BeyondEnd {
        /// The committed offset.
        committed: i64,
        /// Where the log ends.
        high: i64,
    },
}

/// Decides where a partition starts.
pub fn decide(facts: &Facts, topic_id: &[u8; 16]) -> Result<Decision, StartError> {
    let fresh = |offset| Decision { position: Position::at(offset), commit: true, lost: None };
    let Facts { low, high, .. } = *facts;
    let Some(Committed { offset, metadata }) = &facts.committed else {
        return Ok(match (facts.known_before, facts.start) {
            (true, _) | (false, Start::Earliest) => fresh(low),
            (false, Start::Latest) => fresh(high),
        });
    };
    let position = Position::from_committed(*offset, metadata, topic_id)?;
    if *offset > high {
        return Err(StartError::BeyondEnd { committed: *offset, high });
    }
    if *offset < low {
        return Ok(Decision { lost: Some((*offset, low)), ..fresh(low) });
    }
    Ok(Decision { position, commit: false, lost: None })
}

/// The sources, as far as starting needs them.
pub trait Sources {
    /// The `start` of the source that a topic belongs to, and the other topics that the same pattern has found so far.
    fn start_of(&self, topic: &str) -> (Start, Vec<String>);
}

/// Asks for what is known of the partitions, decides, and commits what must be committed before anything is read.
pub fn resolve(
    partitions: &[SourcePartition],
    member: &Member<'_>,
    sources: &dyn Sources,
) -> Result<Vec<Decision>, String> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for SourcePartition { topic, partition } in partitions {
        by_topic.entry(&topic.name).or_default().push(*partition);
    }
    let mut known: BTreeMap<(&str, i32), (Option<Committed>, bool, Start)> = BTreeMap::new();
    for (topic, wanted) in &by_topic {
        let (start, siblings) = sources.start_of(topic);
        let committed = member.committed(topic, wanted)?;
        let mut known_before = committed.iter().any(Option::is_some);
        for other in std::iter::once(*topic).chain(siblings.iter().map(String::as_str)) {
            if !known_before && committed.iter().any(Option::is_none) {
                let all = member.committed(other, &member.partitions(other)?)?;
                known_before = all.iter().any(Option::is_some);
            }
        }
        for (partition, committed) in wanted.iter().zip(committed) {
            known.insert((topic, *partition), (committed, known_before, start));
        }
    }
    let mut decisions = Vec::with_capacity(partitions.len());
    let mut to_commit = Vec::new();
    for source in partitions {
        let name = &*source.topic.name;
        let (committed, known_before, start) =
            known.remove(&(name, source.partition)).ok_or("a partition came twice")?;
        let (low, high) = member.watermarks(name, source.partition)?;
        let facts = Facts { committed, known_before, low, high, start };
        let decision = decide(&facts, &source.topic.id)
            .map_err(|error| format!("{name}-{} cannot be started: {error}", source.partition))?;
        if decision.commit {
            to_commit.push((source.clone(), decision.position.clone()));
        }
        decisions.push(decision);
    }
    if !to_commit.is_empty() {
        member.commit(&to_commit)?;
    }
    Ok(decisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [9; 16];

    fn facts(committed: Option<i64>, known_before: bool, start: Start) -> Facts {
        let committed = committed.map(|offset| Committed { offset, metadata: String::new() });
        Facts { committed, known_before, low: 10, high: 20, start }
    }

    #[track_caller]
    fn check(facts: Facts, offset: i64, commit: bool, lost: Option<(i64, i64)>) {
        let expected = Decision { position: Position::at(offset), commit, lost };
        assert_eq!(decide(&facts, &ID), Ok(expected), "{facts:?}");
    }

    #[test]
    fn start_counts_once_and_later_partitions_begin_at_the_beginning() {
        check(facts(None, false, Start::Latest), 20, true, None);
        check(facts(None, false, Start::Earliest), 10, true, None);
        check(facts(None, true, Start::Latest), 10, true, None);
        check(facts(None, true, Start::Earliest), 10, true, None);
    }

    #[test]
    fn a_committed_offset_is_taken_and_what_was_lost_is_said() {
        check(facts(Some(15), true, Start::Latest), 15, false, None);
        check(facts(Some(20), true, Start::Latest), 20, false, None);
        check(facts(Some(3), true, Start::Latest), 10, true, Some((3, 10)));
    }

    #[test]
    fn an_offset_that_cannot_be_right_is_refused() {
        let beyond = decide(&facts(Some(21), true, Start::Latest), &ID);
        assert_eq!(beyond, Err(StartError::BeyondEnd { committed: 21, high: 20 }));
        let mut recreated = facts(Some(15), true, Start::Latest);
        recreated.committed = Some(Committed { offset: 15, metadata: Position::at(15).metadata(&[8; 16]) });
        assert_eq!(decide(&recreated, &ID), Err(StartError::Position(BadPosition::TopicRecreated)));
    }
}
