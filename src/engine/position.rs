//! Positions: how far a partition's events are done, and how that is written into the group's committed offsets.
//!
//! A batch may end inside an event. The committed offset then stays at the event, and its metadata names the last workflow
//! that is done; whoever reads the event next goes on after it. Matches run in order of workflow id, so one id says it all.

use super::workflow::WorkflowId;

/// How far the events of one partition are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset of the first event that is not wholly done.
    pub next_offset: i64,
    /// The last workflow that is done for that event; None if none is.
    pub after: Option<WorkflowId>,
    /// Of a partition of the journal: whoever held it has given it up and starts no call for it any more, so that whoever takes it up next
    /// need not wait until that is sure.
    pub is_released: bool,
}

/// What a position's metadata starts with. Offsets that other tools committed have none of ours.
const PREFIX: &str = "tidegate:";
/// The version of the form that follows the prefix.
const VERSION: &str = "1";
/// What a position's metadata ends with that was released.
const RELEASED: &str = "released";

/// A committed offset from which it must not go on by itself: events could be run twice, or skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPosition {
    /// Metadata that only another version of Tidegate understands.
    #[error(
        "the committed offset carries metadata `{metadata}`, which this version does not understand; \
         run the version that wrote it, or reset the group's offset"
    )]
    UnknownMetadata {
        /// The metadata as committed.
        metadata: String,
    },
    /// The offset belongs to a topic of the same name that was deleted.
    #[error("the topic was deleted and created again since the offset was committed")]
    TopicRecreated,
}

impl Position {
    /// A position at the start of the event at `next_offset`.
    pub fn at(next_offset: i64) -> Position {
        Position { next_offset, after: None, is_released: false }
    }

    /// Where a partition of the journal begins for which the group has committed nothing. A lease is given by a commit that names the
    /// partition, so whoever may have held it before has none, and is out of the group by now: nobody has to be waited for.
    pub fn never_held() -> Position {
        Position { is_released: true, ..Position::at(0) }
    }

    /// A position inside an event, behind a workflow that is done for it.
    pub fn inside(next_offset: i64, after: WorkflowId) -> Position {
        Position { after: Some(after), ..Position::at(next_offset) }
    }

    /// The metadata to commit beside the offset: the topic's id, by which a topic that was deleted and created again is
    /// known, and the last workflow done. Far below the 4 096 bytes that brokers take.
    pub fn metadata(&self, topic_id: &[u8; 16]) -> String {
        let topic = u128::from_be_bytes(*topic_id);
        match &self.after {
            Some(id) => format!("{PREFIX}{VERSION};topic={topic:032x};after={}", id.as_str()),
            None if self.is_released => format!("{PREFIX}{VERSION};topic={topic:032x};{RELEASED}"),
            None => format!("{PREFIX}{VERSION};topic={topic:032x}"),
        }
    }

    /// Whether metadata beside a committed offset is of this form, so that it names the topic.
    pub fn is_ours(metadata: &str) -> bool {
        metadata.starts_with(PREFIX)
    }

    /// Reads a committed offset. Metadata that is not ours means nothing; ours of another form, or of another topic, is refused.
    pub fn from_committed(next_offset: i64, metadata: &str, topic_id: &[u8; 16]) -> Result<Position, BadPosition> {
        let Some(ours) = metadata.strip_prefix(PREFIX) else { return Ok(Position::at(next_offset)) };
        let unknown = || BadPosition::UnknownMetadata { metadata: metadata.chars().take(200).collect() };
        let fields = ours.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix(";topic=")).ok_or_else(unknown)?;
        let (topic, after, is_released) = match fields.split_once(';') {
            Some((topic, RELEASED)) => (topic, None, true),
            Some((topic, rest)) => {
                let after = rest.strip_prefix("after=").and_then(WorkflowId::new);
                (topic, Some(after.ok_or_else(unknown)?), false)
            }
            None => (fields, None, false),
        };
        match u128::from_str_radix(topic, 16) {
            Ok(topic) if topic.to_be_bytes() == *topic_id => Ok(Position { next_offset, after, is_released }),
            Ok(_) => Err(BadPosition::TopicRecreated),
            Err(_) => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [3; 16];
    const HEX: &str = "03030303030303030303030303030303";

    #[track_caller]
    fn check(metadata: &str, expected: Result<Option<&str>, bool>) {
        let read = Position::from_committed(7, metadata, &ID);
        let is_recreated = |error| error == BadPosition::TopicRecreated;
        let expected = expected.map(|id| match id {
            Some(RELEASED) => Position { is_released: true, ..Position::at(7) },
            id => Position { after: id.and_then(WorkflowId::new), ..Position::at(7) },
        });
        assert_eq!(read.map_err(is_recreated), expected, "{metadata}");
    }

    #[test]
    fn committed_metadata_is_read_back_or_refused() {
        check("", Ok(None));
        check("somebody else's", Ok(None));
        check(&format!("tidegate:1;topic={HEX}"), Ok(None));
        check(&format!("tidegate:1;topic={HEX};after=order-paid"), Ok(Some("order-paid")));
        check(&format!("tidegate:1;topic={HEX};released"), Ok(Some(RELEASED)));
        check(&format!("tidegate:1;topic={HEX};released;after=a"), Err(false));
        check(&format!("tidegate:1;topic={HEX};after="), Err(false));
        check(&format!("tidegate:1;topic={HEX};after=Not An Id"), Err(false));
        check(&format!("tidegate:2;topic={HEX}"), Err(false));
        check("tidegate:1;topic=xyz", Err(false));
        check("tidegate:1;topic=04030303030303030303030303030303;after=a", Err(true));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for after in [None, WorkflowId::new("a"), WorkflowId::new(&"z".repeat(64))] {
            let position = Position { after, ..Position::at(42) };
            assert!(position.metadata(&ID).len() <= 4096);
            assert_eq!(Position::from_committed(42, &position.metadata(&ID), &ID), Ok(position));
        }
    }
}
