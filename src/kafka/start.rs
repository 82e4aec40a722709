//! Where a partition starts: at its committed offset, or where the source's `start` says, once; and when it must not start by itself.
//!
//! ```text
//!  the group knows the topic?  offsets?   then
//!  no                          none       new: all partitions get a position by `start`, written down before the first record is read
//!  yes, the same topic         some       on from there; a partition without one takes what was written down, a later one its beginning
//!  yes, the same topic         none       they have expired, or were deleted: refused until `start` is confirmed
//!  yes, another topic          any        it was deleted and created again: refused likewise
//! ```
//!
//! What the group knows is written down outside its offsets ([`Started`]), because offsets expire, and go with their topic. A refusal
//! is about one topic; the others go on. It is confirmed by a token that is good for this one start and for no later one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::consumer::{Committed, Member};
use crate::engine::batch::SourcePartition;
use crate::engine::event::Topic;
use crate::engine::position::{BadPosition, Position};

/// Where a source starts that the group has never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the newest record.
    Latest,
    /// At the oldest record.
    Earliest,
}

/// How a group has started on a topic, as it is written down before the first record is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The topic's id: another topic of the same name is another one.
    pub topic_id: [u8; 16],
    /// How often the group has started on a topic of this name: 1, and one more for every confirmation.
    pub starts: u32,
    /// Where each partition started that was there then; empty where that is not known.
    pub positions: Vec<i64>,
    /// Whether offsets were committed since, so that there must be some.
    pub settled: bool,
}

/// Why a topic is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The topic is another one than the group has read.
    #[error(
        "the topic was deleted and created again, and nothing is read from it; to begin on the new one where `start` says, write \
         confirm_start = \"{token}\" under its [[sources]] and start the instance again"
    )]
    Recreated {
        /// Confirms it.
        token: String,
    },
    /// The group has read the topic, and has no offset on it any more.
    #[error(
        "the group has read this topic before, but its offsets have expired or were deleted, and nothing is read from it; to begin again \
         where `start` says, write confirm_start = \"{token}\" under its [[sources]] and start the instance again"
    )]
    Expired {
        /// Confirms it.
        token: String,
    },
    /// A committed offset carries what this version does not understand.
    #[error(transparent)]
    Position(BadPosition),
    /// A committed offset does not exist yet.
    #[error(
        "the committed offset of partition {partition} is {committed}, but its log ends at {high}: the log was truncated; stop the \
         instances and reset the group's offset of this partition"
    )]
    BeyondEnd {
        /// The partition's number.
        partition: i32,
        /// The committed offset.
        committed: i64,
        /// Where the log ends.
        high: i64,
    },
}

/// Where a partition starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The position.
    pub position: Position,
    /// Whether it must be committed before anything is read: it is not what is committed.
    pub commit: bool,
    /// Records that were deleted before they were read, as a range of offsets, the end not included.
    pub lost: Option<(i64, i64)>,
    /// What an operator confirmed with this start.
    pub confirmed: Option<Refusal>,
}

/// What the group knows, and what was configured.
pub trait Sources {
    /// The `start` of the source that a topic belongs to, and the other topics that the same pattern has found so far.
    fn start_of(&self, topic: &str) -> (Start, Vec<String>);

    /// Whether an operator has confirmed a start with this token.
    fn is_confirmed(&self, topic: &str, token: &str) -> bool;

    /// How the group started on topics; those on which it never did are left out. `now` asks for what is true now, and may take a few
    /// seconds; else what is remembered will do.
    fn started(&self, topics: &[&str], now: bool) -> Result<BTreeMap<String, Started>, String>;

    /// Writes down how the group started on topics. Done when it returns.
    fn write_down(&self, started: &[(&str, Started)]) -> Result<(), String>;
}

/// The positions from which partitions of the journal are read: what is committed, or the beginning of the log.
pub fn journal(partitions: &[SourcePartition], member: &Member<'_>) -> Result<Vec<Position>, String> {
    let Some(topic) = partitions.first().map(|first| &first.topic) else { return Ok(Vec::new()) };
    let numbers: Vec<i32> = partitions.iter().map(|it| it.partition).collect();
    let committed = member.committed(&topic.name, &numbers)?;
    let from = |it: Option<Committed>| of_journal(it, &topic.id).map_err(|bad| format!("{}: {bad}", topic.name));
    committed.into_iter().map(from).collect()
}

fn of_journal(committed: Option<Committed>, topic_id: &[u8; 16]) -> Result<Position, BadPosition> {
    committed.map_or(Ok(Position::never_held()), |committed| committed.position(topic_id))
}

/// What is known of a topic as a whole.
#[derive(Clone, Debug)]
pub struct TopicFacts {
    /// The topic's id.
    pub id: [u8; 16],
    /// Whether the group has an offset on any partition.
    pub any_committed: bool,
    /// What the group has written down.
    pub started: Option<Started>,
    /// What the group has committed for the partitions that are about to be read.
    pub committed: Vec<Option<Committed>>,
}

/// How a topic stands to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The group reads it.
    Known,
    /// The group has never read it.
    New,
    /// The group has read another topic of this name.
    Recreated,
    /// The group has read it and has lost its offsets.
    Expired,
}

impl TopicFacts {
    /// How the topic stands to its group.
    pub fn standing(&self) -> Standing {
        let read = self.committed.iter().flatten();
        let offsets: Vec<_> = read.map(|it| (&it.metadata, it.position(&self.id))).collect();
        let of_another = offsets.iter().any(|(_, position)| *position == Err(BadPosition::TopicRecreated));
        let of_this = offsets.iter().any(|(metadata, position)| position.is_ok() && Position::is_ours(metadata));
        match &self.started {
            // Offsets of another topic are what was there before somebody confirmed.
            Some(started) if started.topic_id == self.id => match self.any_committed || !started.settled {
                true => Standing::Known,
                false => Standing::Expired,
            },
            Some(_) if of_this => Standing::Known,
            Some(_) => Standing::Recreated,
            None if of_another => Standing::Recreated,
            None if self.any_committed => Standing::Known,
            None => Standing::New,
        }
    }

    /// What confirms the next start: which topic, and the how manieth start of the group on this name.
    pub fn token(&self) -> String {
        let starts = self.started.as_ref().map_or(0, |started| started.starts);
        format!("{:032x}.{}", u128::from_be_bytes(self.id), starts.saturating_add(1))
    }

    /// Where a partition of a known topic starts. `place` is its place among the committed offsets.
    pub fn decide(&self, place: usize, partition: i32, (low, high): (i64, i64)) -> Result<Decision, Refusal> {
        let fresh = |offset: i64| {
            let lost = (offset < low).then_some((offset, low));
            Decision { position: Position::at(offset.max(low)), commit: true, lost, confirmed: None }
        };
        let started = self.started.as_ref().filter(|started| started.topic_id == self.id);
        // A partition that was added later starts at its beginning.
        let at_start = || {
            let first = started.and_then(|it| it.positions.get(usize::try_from(partition).ok()?).copied());
            first.map_or(fresh(low), fresh)
        };
        let Some(committed) = self.committed.get(place).and_then(Option::as_ref) else { return Ok(at_start()) };
        match committed.position(&self.id) {
            Err(BadPosition::TopicRecreated) => Ok(at_start()),
            Err(error @ BadPosition::UnknownMetadata { .. }) => Err(Refusal::Position(error)),
            Ok(position) if position.next_offset > high => {
                Err(Refusal::BeyondEnd { partition, committed: position.next_offset, high })
            }
            Ok(position) if position.next_offset < low => Ok(fresh(position.next_offset)),
            Ok(position) => Ok(Decision { position, commit: false, lost: None, confirmed: None }),
        }
    }
}

/// A topic that is about to be read.
struct Arrival {
    topic: Arc<Topic>,
    partitions: Vec<i32>,
    facts: TopicFacts,
    /// Where every partition starts, if this is a start; and what was confirmed with it.
    fresh: Option<(Vec<i64>, Option<Refusal>)>,
    refused: Option<Refusal>,
}

/// Asks for what is known of the partitions, decides, and commits what must be committed before anything is read. A refusal is of its
/// partition alone, or of all partitions of its topic.
pub fn resolve(
    partitions: &[SourcePartition],
    member: &Member<'_>,
    sources: &dyn Sources,
) -> Result<Vec<Result<Decision, Refusal>>, String> {
    let mut arrivals = look(partitions, member, sources)?;
    for arrival in arrivals.values_mut() {
        arrival.judge(member, sources)?;
    }
    write_down(&arrivals, sources, false)?;
    let mut outcomes = Vec::with_capacity(partitions.len());
    let mut to_commit = Vec::new();
    for source in partitions {
        let arrival = arrivals.get(&*source.topic.name).ok_or("a topic came without being asked for")?;
        let outcome = arrival.outcome(source.partition, member)?;
        if let Some(decision) = outcome.as_ref().ok().filter(|decision| decision.commit) {
            to_commit.push((source.clone(), decision.position.clone()));
        }
        outcomes.push(outcome);
    }
    if !to_commit.is_empty() {
        member.commit(&to_commit)?;
    }
    write_down(&arrivals, sources, true)?;
    Ok(outcomes)
}

/// Asks for the offsets of every topic, and for what is written down; for what is true now only where that may decide.
fn look(
    partitions: &[SourcePartition],
    member: &Member<'_>,
    sources: &dyn Sources,
) -> Result<BTreeMap<String, Arrival>, String> {
    let mut arrivals: BTreeMap<String, Arrival> = BTreeMap::new();
    for SourcePartition { topic, partition } in partitions {
        let arrival = arrivals.entry(topic.name.to_string()).or_insert_with(|| Arrival::of(topic));
        arrival.partitions.push(*partition);
    }
    let names: Vec<String> = arrivals.keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut started = sources.started(&names, false)?;
    let mut in_doubt = false;
    for (name, arrival) in &mut arrivals {
        arrival.facts.committed = member.committed(name, &arrival.partitions)?;
        arrival.facts.any_committed = arrival.facts.committed.iter().any(Option::is_some);
        let is_whole = arrival.facts.committed.iter().flatten().all(|it| it.position(&arrival.facts.id).is_ok())
            && arrival.facts.committed.iter().all(Option::is_some);
        in_doubt |= !is_whole || started.get(name).is_none_or(|it| it.topic_id != arrival.facts.id);
    }
    if in_doubt {
        started = sources.started(&names, true)?;
    }
    for (name, arrival) in &mut arrivals {
        arrival.facts.started = started.remove(name);
        // Asked after what is written down: where that says that offsets were committed, they are seen now.
        if !arrival.facts.any_committed {
            let all = member.committed(name, &member.partitions(name)?)?;
            arrival.facts.any_committed = all.iter().any(Option::is_some);
        }
        // Another member may have started the topic since that was asked. It writes down before it commits: seen its offsets, what it
        // wrote is seen now, and without it its start would look like one that was never written down.
        if arrival.facts.any_committed && !arrival.is_written_down() {
            arrival.facts.started = sources.started(&[name], true)?.remove(name);
        }
    }
    Ok(arrivals)
}

/// Writes down the starts; `settled` once their offsets are committed. Then also topics that are read and were never written down.
fn write_down(arrivals: &BTreeMap<String, Arrival>, sources: &dyn Sources, settled: bool) -> Result<(), String> {
    let mut started = Vec::new();
    for (name, arrival) in arrivals.iter().filter(|(_, arrival)| arrival.refused.is_none()) {
        let Arrival { facts, fresh, .. } = arrival;
        let before = facts.started.as_ref();
        let starts = before.map_or(0, |it| it.starts);
        if let Some((positions, _)) = fresh {
            let positions = positions.clone();
            started.push((name.as_str(), Started { topic_id: facts.id, starts: starts + 1, positions, settled }));
        } else if let Some(before) = before.filter(|it| it.topic_id == facts.id) {
            if settled && !before.settled {
                started.push((name.as_str(), Started { settled, ..before.clone() }));
            }
        } else if settled {
            let starts = starts.max(1);
            started.push((name.as_str(), Started { topic_id: facts.id, starts, positions: Vec::new(), settled }));
        }
    }
    if started.is_empty() { Ok(()) } else { sources.write_down(&started) }
}

impl Arrival {
    /// Whether a start on this very topic is written down, as far as was asked.
    fn is_written_down(&self) -> bool {
        self.facts.started.as_ref().is_some_and(|started| started.topic_id == self.facts.id)
    }

    fn of(topic: &Arc<Topic>) -> Arrival {
        let facts = TopicFacts { id: topic.id, any_committed: false, started: None, committed: Vec::new() };
        Arrival { topic: topic.clone(), partitions: Vec::new(), facts, fresh: None, refused: None }
    }

    /// Whether the topic may be read, and whether this is a start.
    fn judge(&mut self, member: &Member<'_>, sources: &dyn Sources) -> Result<(), String> {
        let name = &*self.topic.name;
        let token = self.facts.token();
        let refusal = match self.facts.standing() {
            Standing::Known => return Ok(()),
            Standing::New => None,
            Standing::Recreated => Some(Refusal::Recreated { token: token.clone() }),
            Standing::Expired => Some(Refusal::Expired { token: token.clone() }),
        };
        if refusal.is_some() && !sources.is_confirmed(name, &token) {
            self.refused = refusal;
            return Ok(());
        }
        let (start, siblings) = sources.start_of(name);
        // A topic that a pattern finds while the group already reads another one of that pattern has appeared later.
        let mut appeared_later = false;
        for sibling in siblings.iter().filter(|_| refusal.is_none()) {
            appeared_later =
                appeared_later || member.committed(sibling, &member.partitions(sibling)?)?.iter().any(Option::is_some);
        }
        let mut positions = Vec::new();
        for partition in 0..member.partitions(name)?.len() {
            let (low, high) = member.watermarks(name, i32::try_from(partition).unwrap_or(i32::MAX))?;
            positions.push(if start == Start::Latest && !appeared_later { high } else { low });
        }
        self.fresh = Some((positions, refusal));
        Ok(())
    }

    fn outcome(&self, partition: i32, member: &Member<'_>) -> Result<Result<Decision, Refusal>, String> {
        if let Some(refusal) = &self.refused {
            return Ok(Err(refusal.clone()));
        }
        let name = &*self.topic.name;
        if let Some((positions, confirmed)) = &self.fresh {
            let offset = usize::try_from(partition).ok().and_then(|it| positions.get(it));
            let offset = *offset.ok_or_else(|| format!("{name}-{partition} is not there yet"))?;
            let confirmed = confirmed.clone();
            return Ok(Ok(Decision { position: Position::at(offset), commit: true, lost: None, confirmed }));
        }
        let place = self.partitions.iter().position(|it| *it == partition).ok_or("a partition came twice")?;
        Ok(self.facts.decide(place, partition, member.watermarks(name, partition)?))
    }
}

#[cfg(test)]
mod tests;
