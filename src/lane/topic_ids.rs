//! The ids of the topics that lanes hold, compared with what the cluster says of their names.
//!
//! A topic that is deleted and created again gives no signal: a consumer may go on in the new one at the old offset. So lanes say here
//! what they hold, somebody asks the cluster now and then and says what it answered, and a lane that holds another topic than is there
//! starts again, which then refuses the topic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::batch::SourcePartition;
use crate::engine::event::Topic;

/// Shared by the lanes of an instance and whoever asks the cluster.
#[derive(Debug, Default)]
pub struct TopicIds {
    /// Rises whenever a topic was seen to be another one: cheap to look at between polls.
    changes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What each lane holds. Bounded by what is assigned.
    held: HashMap<Arc<str>, Vec<Arc<Topic>>>,
    /// The ids that were seen for names under which another topic is held.
    seen: HashMap<Arc<str>, [u8; 16]>,
}

impl TopicIds {
    /// A lane holds these partitions from now on, and no others.
    pub fn hold(&self, lane: &Arc<str>, partitions: &[SourcePartition]) {
        let mut topics: Vec<Arc<Topic>> = partitions.iter().map(|it| it.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        let mut state = self.state();
        let before = state.held.insert(lane.clone(), topics).unwrap_or_default();
        let State { held, seen } = &mut *state;
        // A lane asks for the ids of what it takes up: that is newer than what was seen before.
        let taken_up = held[lane].iter().filter(|topic| !before.contains(topic));
        for topic in taken_up {
            seen.remove(&topic.name);
        }
        seen.retain(|name, _| held.values().flatten().any(|topic| topic.name == *name));
    }

    /// The names of all topics that are held.
    pub fn held(&self) -> Vec<Arc<str>> {
        let state = self.state();
        let mut names: Vec<Arc<str>> = state.held.values().flatten().map(|topic| topic.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The cluster says that the topic of this name has this id. Returns whether some lane holds another one.
    pub fn saw(&self, name: &str, id: [u8; 16]) -> bool {
        let mut state = self.state();
        let other = state.held.values().flatten().find(|topic| *topic.name == *name && topic.id != id);
        let Some(name) = other.map(|topic| topic.name.clone()) else { return false };
        state.seen.insert(name, id);
        self.changes.fetch_add(1, Ordering::Release);
        true
    }

    /// Rises whenever a held topic was seen to be another one.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether the cluster has another topic under this one's name.
    pub fn is_gone(&self, topic: &Topic) -> bool {
        self.state().seen.get(&topic.name).is_some_and(|id| *id != topic.id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock is let go, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 16] = [1; 16];
    const NEW: [u8; 16] = [2; 16];

    fn partition(id: [u8; 16]) -> SourcePartition {
        SourcePartition { topic: Arc::new(Topic { name: "events".into(), id }), partition: 0 }
    }

    #[test]
    fn a_topic_that_became_another_one_is_gone_until_the_new_one_is_taken_up() {
        let (ids, lane) = (TopicIds::default(), Arc::from("host-0"));
        ids.hold(&lane, &[partition(OLD)]);
        assert_eq!(ids.held(), ["events".into()]);
        assert!(!ids.saw("events", OLD) && !ids.saw("others", NEW) && ids.changes() == 0);
        assert!(ids.saw("events", NEW) && ids.changes() == 1);
        assert!(ids.is_gone(&partition(OLD).topic) && !ids.is_gone(&partition(NEW).topic));
        // The lane says again what it holds: that is no news.
        ids.hold(&lane, &[partition(OLD)]);
        assert!(ids.is_gone(&partition(OLD).topic));
        ids.hold(&lane, &[partition(NEW)]);
        assert!(!ids.is_gone(&partition(OLD).topic));
    }

    #[test]
    fn what_no_lane_holds_is_not_asked_for() {
        let (ids, lane) = (TopicIds::default(), Arc::from("host-0"));
        ids.hold(&lane, &[partition(OLD)]);
        ids.hold(&lane, &[]);
        assert!(ids.held().is_empty() && !ids.saw("events", NEW));
    }
}
