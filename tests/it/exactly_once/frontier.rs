//! The frontier: how far a group says it is at one moment, and whether everything before it was recorded at that moment.
//!
//! The committed offsets are read first and the ends of the executions topic after them. Whatever was committed together with those
//! offsets therefore lies below those ends, and since a place in a log never changes, it can be looked for there later: a record that was
//! written after that moment lies beyond the ends and fills no gap. Looking later also means that nobody waits for transactions that a
//! killed instance left open.

use std::collections::{BTreeMap, HashMap};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::broker::TestBroker;
use crate::support::clients::CALL;
use crate::support::wait;

/// What the metadata beside a committed offset starts with.
const METADATA: &str = "tidegate:1;topic=";
/// What comes before the last workflow that is done, if the event at the offset is done in part.
const AFTER: &str = ";after=";

/// How far one partition's events are done, as the group says; ordered by progress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// The first event that is not wholly done.
    pub next_offset: i64,
    /// The last workflow that is done for that event.
    pub after: Option<String>,
}

/// How far a group is in every partition of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// Per partition of the source; what the group has no offset for is not there.
    pub done: BTreeMap<i32, Done>,
    /// Per partition of the executions topic: the offset after its last record, whatever becomes of that.
    ends: BTreeMap<i32, i64>,
}

/// An execution: the event's partition and offset, and the workflow.
type Execution = (i32, i64, String);

/// Where each execution is recorded for a reader of committed records: partition and offset of the executions topic.
#[derive(Debug, Default)]
pub struct Recorded(HashMap<Execution, (i32, i64)>);

impl Frontier {
    /// Where a group is now in a source of so many partitions.
    #[track_caller]
    pub fn of(broker: &TestBroker, group: &str, (source, partitions): (&str, i32), executions: &str) -> Frontier {
        // Of open transactions nothing is known yet, and their offsets need not be waited for.
        let client = broker.consumer(group, &[("isolation.level", "read_uncommitted")]);
        let done = wait::until("the committed offsets", || committed(&client, source, partitions));
        let ends = wait::until("the ends of the executions", || ends(&client, executions));
        Frontier { done, ends }
    }

    /// How many events are wholly done, if the source starts at offset 0.
    pub fn events(&self) -> usize {
        self.done.values().map(|it| usize::try_from(it.next_offset).expect("an offset")).sum()
    }

    /// Whether some event is done in part.
    pub fn is_inside_an_event(&self) -> bool {
        self.done.values().any(|it| it.after.is_some())
    }

    /// Executions that the group says are done and that were not recorded, if every event matches the same workflows.
    pub fn gaps(&self, recorded: &Recorded, matching: &[String]) -> Vec<Execution> {
        let mut gaps = Vec::new();
        for (&partition, done) in &self.done {
            let whole = (0..done.next_offset).flat_map(|offset| matching.iter().map(move |id| (offset, id)));
            let in_part = matching.iter().filter(|id| done.after.as_ref().is_some_and(|after| *id <= after));
            for (offset, id) in whole.chain(in_part.map(|id| (done.next_offset, id))) {
                let execution = (partition, offset, id.clone());
                if !self.saw(recorded.0.get(&execution)) {
                    gaps.push(execution);
                }
            }
        }
        gaps
    }

    fn saw(&self, place: Option<&(i32, i64)>) -> bool {
        place.is_some_and(|(partition, offset)| self.ends.get(partition).is_some_and(|end| offset < end))
    }

    /// Partitions that went back between this frontier and a later one.
    pub fn went_back(&self, later: &Frontier) -> Vec<i32> {
        let before = self.done.iter();
        before
            .filter(|(partition, done)| later.done.get(partition) < Some(*done))
            .map(|(partition, _)| *partition)
            .collect()
    }
}

impl Recorded {
    /// Of the records of the executions topic.
    pub fn of(messages: &[OwnedMessage]) -> Recorded {
        let mut recorded = Recorded::default();
        for message in messages {
            let record: serde_json::Value = serde_json::from_slice(message.payload().expect("a value")).expect("JSON");
            let number = |name: &str| record["event"][name].as_i64().expect("a number");
            let partition = i32::try_from(number("partition")).expect("a partition");
            let workflow = record["workflowId"].as_str().expect("an id").to_owned();
            // What is recorded twice is found by another check; here the first place counts.
            let place = (message.partition(), message.offset());
            recorded.0.entry((partition, number("offset"), workflow)).or_insert(place);
        }
        recorded
    }
}

fn committed(client: &BaseConsumer, source: &str, partitions: i32) -> Option<BTreeMap<i32, Done>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(source, 0, partitions - 1);
    let answer = client.committed_offsets(list, CALL).ok()?;
    let mut found = BTreeMap::new();
    for element in answer.elements() {
        element.error().ok()?;
        if let Offset::Offset(next_offset) = element.offset() {
            found.insert(element.partition(), Done { next_offset, after: after(element.metadata()) });
        }
    }
    Some(found)
}

#[track_caller]
fn after(metadata: &str) -> Option<String> {
    let ours = metadata.strip_prefix(METADATA).unwrap_or_else(|| panic!("`{metadata}` beside a committed offset"));
    ours.split_once(AFTER).map(|(_, workflow)| workflow.to_owned())
}

fn ends(client: &BaseConsumer, topic: &str) -> Option<BTreeMap<i32, i64>> {
    let metadata = client.fetch_metadata(Some(topic), CALL).ok()?;
    let partitions = metadata.topics().first()?.partitions();
    let end = |partition: i32| Some((partition, client.fetch_watermarks(topic, partition, CALL).ok()?.1));
    partitions.iter().map(|it| end(it.id())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATCHING: [&str; 3] = ["all", "exact", "segment"];

    /// A group that says so of partition 4, while partition 0 of the executions ends at 100.
    fn frontier(next_offset: i64, after: Option<&str>) -> Frontier {
        let done = Done { next_offset, after: after.map(str::to_owned) };
        Frontier { done: BTreeMap::from([(4, done)]), ends: BTreeMap::from([(0, 100)]) }
    }

    /// Everything below offset 2 of partition 4, and its first workflow there.
    fn forged() -> Recorded {
        let whole = (0..2).flat_map(|offset| MATCHING.map(|id| (4, offset, id.to_owned())));
        let executions = whole.chain([(4, 2, "all".to_owned())]);
        Recorded((0..).map(|offset| (0, offset)).zip(executions).map(|(place, it)| (it, place)).collect())
    }

    #[track_caller]
    fn check(frontier: &Frontier, change: impl FnOnce(&mut Recorded), expected: &[(i64, &str)]) {
        let mut recorded = forged();
        change(&mut recorded);
        let expected: Vec<_> = expected.iter().map(|(offset, id)| (4, *offset, (*id).to_owned())).collect();
        assert_eq!(frontier.gaps(&recorded, &MATCHING.map(str::to_owned)), expected);
    }

    #[test]
    fn everything_that_is_said_to_be_done_must_be_recorded() {
        check(&frontier(2, None), |_| (), &[]);
        check(&frontier(2, Some("all")), |_| (), &[]);
        check(&frontier(2, Some("exact")), |_| (), &[(2, "exact")]);
        check(&frontier(3, None), |_| (), &[(2, "exact"), (2, "segment")]);
        let one = (4, 1, "exact".to_owned());
        check(&frontier(2, None), |recorded| _ = recorded.0.remove(&one), &[(1, "exact")]);
    }

    #[test]
    fn what_was_recorded_after_the_moment_fills_no_gap() {
        let late = (4, 0, "segment".to_owned());
        check(&frontier(2, None), |recorded| _ = recorded.0.insert(late.clone(), (0, 100)), &[(0, "segment")]);
        check(&frontier(2, None), |recorded| _ = recorded.0.insert(late.clone(), (1, 0)), &[(0, "segment")]);
    }

    #[test]
    fn a_frontier_that_goes_back_is_found() {
        let inside = frontier(2, Some("exact"));
        assert_eq!(inside.went_back(&frontier(2, Some("segment"))), [0; 0]);
        assert_eq!(inside.went_back(&frontier(3, None)), [0; 0]);
        for earlier in [frontier(2, Some("all")), frontier(2, None), frontier(1, Some("segment"))] {
            assert_eq!(inside.went_back(&earlier), [4]);
        }
        assert_eq!(inside.went_back(&Frontier { done: BTreeMap::new(), ends: BTreeMap::new() }), [4]);
    }
}
