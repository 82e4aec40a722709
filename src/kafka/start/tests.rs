//! Where partitions start, by what is known; and two members that start at the same moment.

use std::sync::{Mutex, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaError;

use super::super::consumer::Ask;
use super::*;

const ID: [u8; 16] = [9; 16];
const OTHER: [u8; 16] = [8; 16];

fn committed(offset: i64, id: Option<[u8; 16]>) -> Option<Committed> {
    let metadata = id.map(|id| Position::at(offset).metadata(&id)).unwrap_or_default();
    Some(Committed { offset, metadata })
}

fn started(topic_id: [u8; 16], settled: bool) -> Option<Started> {
    Some(Started { topic_id, starts: 1, positions: vec![12, 3], settled })
}

fn facts(started: Option<Started>, committed: Option<Committed>) -> TopicFacts {
    TopicFacts { id: ID, any_committed: committed.is_some(), started, committed: vec![committed] }
}

#[track_caller]
fn check_standing(facts: &TopicFacts, expected: Standing) {
    assert_eq!(facts.standing(), expected, "{facts:?}");
}

#[test]
fn a_topic_is_new_only_where_nothing_is_known_of_it() {
    check_standing(&facts(None, None), Standing::New);
    check_standing(&facts(None, committed(5, None)), Standing::Known);
    check_standing(&facts(None, committed(5, Some(ID))), Standing::Known);
    check_standing(&facts(None, committed(5, Some(OTHER))), Standing::Recreated);
}

#[test]
fn offsets_that_must_be_there_and_are_not_have_expired() {
    check_standing(&facts(started(ID, true), None), Standing::Expired);
    check_standing(&facts(started(ID, false), None), Standing::Known);
    check_standing(&TopicFacts { any_committed: true, ..facts(started(ID, true), None) }, Standing::Known);
    check_standing(&facts(started(ID, true), committed(5, None)), Standing::Known);
}

#[test]
fn another_topic_of_the_name_is_noticed_with_and_without_offsets() {
    check_standing(&facts(started(OTHER, true), None), Standing::Recreated);
    check_standing(&facts(started(OTHER, true), committed(5, None)), Standing::Recreated);
    check_standing(&facts(started(OTHER, true), committed(5, Some(OTHER))), Standing::Recreated);
    // What is written down may be behind, offsets never are.
    check_standing(&facts(started(OTHER, true), committed(5, Some(ID))), Standing::Known);
    // Somebody has confirmed; the offset is from before that.
    check_standing(&facts(started(ID, true), committed(5, Some(OTHER))), Standing::Known);
}

#[test]
fn a_token_is_good_for_one_start_on_one_topic() {
    assert_eq!(facts(None, None).token(), format!("{}.1", "09".repeat(16)));
    assert_eq!(facts(started(OTHER, true), None).token(), format!("{}.2", "09".repeat(16)));
}

#[track_caller]
fn check(facts: &TopicFacts, partition: i32, offset: i64, commit: bool, lost: Option<(i64, i64)>) {
    let expected = Decision { position: Position::at(offset), commit, lost, confirmed: None };
    assert_eq!(facts.decide(0, partition, (10, 20)), Ok(expected), "{facts:?}");
}

#[test]
fn a_committed_offset_is_taken_and_what_was_lost_is_said() {
    check(&facts(None, committed(15, None)), 0, 15, false, None);
    check(&facts(None, committed(20, Some(ID))), 0, 20, false, None);
    check(&facts(None, committed(3, Some(ID))), 0, 10, true, Some((3, 10)));
}

#[test]
fn a_partition_without_an_offset_starts_where_the_topic_was_started() {
    check(&facts(started(ID, true), None), 0, 12, true, None);
    check(&facts(started(ID, true), None), 1, 10, true, Some((3, 10)));
    check(&facts(started(ID, true), None), 2, 10, true, None);
    check(&facts(started(ID, true), committed(15, Some(OTHER))), 0, 12, true, None);
    check(&facts(None, None), 0, 10, true, None);
}

#[test]
fn an_offset_that_cannot_be_right_is_refused() {
    let beyond = facts(None, committed(21, None)).decide(0, 4, (10, 20));
    assert_eq!(beyond, Err(Refusal::BeyondEnd { partition: 4, committed: 21, high: 20 }));
    let unknown = Some(Committed { offset: 15, metadata: "tidegate:9;x".into() });
    let refused = facts(None, unknown).decide(0, 0, (10, 20));
    assert!(matches!(refused, Err(Refusal::Position(_))), "{refused:?}");
}

/// A topic of two partitions that a group has never read, and another member that starts on partition 0 the moment after somebody has
/// asked for what is written down.
#[derive(Default)]
struct Race {
    written: Mutex<BTreeMap<String, Started>>,
    committed: Mutex<BTreeMap<i32, i64>>,
    asked: Mutex<u32>,
}

const HIGH: i64 = 10;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sources for Race {
    fn start_of(&self, _: &str) -> (Start, Vec<String>) {
        (Start::Latest, Vec::new())
    }

    fn is_confirmed(&self, _: &str, _: &str) -> bool {
        false
    }

    fn started(&self, _: &[&str], now: bool) -> Result<BTreeMap<String, Started>, String> {
        let found = lock(&self.written).clone();
        let mut asked = lock(&self.asked);
        *asked += u32::from(now);
        if *asked == 1 && now {
            let started = Started { topic_id: ID, starts: 1, positions: vec![HIGH, HIGH], settled: true };
            lock(&self.written).insert("webhooks".into(), started);
            lock(&self.committed).insert(0, HIGH);
        }
        Ok(found)
    }

    fn write_down(&self, started: &[(&str, Started)]) -> Result<(), String> {
        lock(&self.written).extend(started.iter().map(|(topic, started)| ((*topic).to_owned(), started.clone())));
        Ok(())
    }
}

impl Ask for Race {
    fn committed(&self, list: TopicPartitionList) -> Result<TopicPartitionList, KafkaError> {
        for (partition, offset) in lock(&self.committed).iter() {
            if let Some(mut element) = list.find_partition("webhooks", *partition) {
                element.set_offset(rdkafka::Offset::Offset(*offset))?;
                element.set_metadata(Position::at(*offset).metadata(&ID));
            }
        }
        Ok(list)
    }

    fn watermarks(&self, _: &str, _: i32) -> Result<(i64, i64), KafkaError> {
        Ok((0, HIGH))
    }

    fn commit(&self, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut committed = lock(&self.committed);
        for element in list.elements() {
            committed.insert(element.partition(), element.offset().to_raw().unwrap_or(-1));
        }
        Ok(())
    }

    fn partitions(&self, _: &str) -> Result<Vec<i32>, KafkaError> {
        Ok(vec![0, 1])
    }

    fn native(&self) -> *mut rdkafka::types::RDKafka {
        std::ptr::null_mut()
    }
}

#[test]
fn members_that_start_at_the_same_moment_start_at_the_same_place() {
    let race = Race::default();
    let topic = Arc::new(Topic { name: "webhooks".into(), id: ID });
    let outcome = resolve(&[SourcePartition { topic, partition: 1 }], &Member { ask: &race }, &race);
    let expected = Decision { position: Position::at(HIGH), commit: true, lost: None, confirmed: None };
    assert_eq!(outcome, Ok(vec![Ok(expected)]));
    assert_eq!(lock(&race.committed).get(&1), Some(&HIGH));
}

#[test]
fn a_partition_of_the_journal_for_which_nothing_was_committed_was_never_held() {
    let waits_for = |committed| of_journal(committed, &ID).map(|it| (it.next_offset, !it.is_released));
    assert_eq!(waits_for(None), Ok((0, false)), "nobody has a lease");
    assert_eq!(waits_for(committed(0, Some(ID))), Ok((0, true)), "whoever has committed that may have one");
}
