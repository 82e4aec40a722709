//! What the lanes of an instance refuse to read, told once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::problems::{self, OFFSET_UNUSABLE, OFFSETS_EXPIRED, TOPIC_RECREATED};
use crate::engine::batch::SourcePartition;
use crate::kafka::start::Refusal;
use crate::telemetry::health::Health;

/// A kind of problem and its subject.
type About = (&'static str, String);

/// Which lanes refuse what.
#[derive(Debug)]
pub struct Refusals {
    health: Health,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<About, BTreeSet<usize>>,
    confirmed: BTreeSet<About>,
}

impl Refusals {
    /// Nothing is refused yet.
    pub fn new(health: Health) -> Refusals {
        Refusals { health, state: Mutex::default() }
    }

    /// All that a lane refuses now. A topic is a problem while any lane refuses it.
    pub fn set(&self, lane: usize, refused: &[(SourcePartition, Refusal)]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        let mut still = BTreeSet::new();
        for (partition, refusal) in refused {
            let about = about(partition, refusal);
            if still.insert(about.clone()) {
                let message = format!("{}: {refusal}", partition.topic.name);
                self.health.raise(about.0, &about.1, &message, now);
                state.lanes.entry(about).or_default().insert(lane);
            }
        }
        state.lanes.retain(|about, lanes| {
            if !still.contains(about) && lanes.remove(&lane) && lanes.is_empty() {
                self.health.clear(about.0, &about.1, now);
            }
            !lanes.is_empty()
        });
    }

    /// A start was confirmed. Told once, for all partitions.
    pub fn confirm(&self, partition: &SourcePartition, refusal: &Refusal) {
        let about = about(partition, refusal);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.confirmed.insert(about.clone()) {
            let topic = &*partition.topic.name;
            tracing::info!(topic, "the start on the source was confirmed; confirm_start has no effect any more");
            self.health.settle(about.0, &about.1, &format!("{topic}: the start was confirmed"), SystemTime::now());
        }
    }
}

fn about(partition: &SourcePartition, refusal: &Refusal) -> About {
    let kind = match refusal {
        Refusal::Recreated { .. } => TOPIC_RECREATED,
        Refusal::Expired { .. } => OFFSETS_EXPIRED,
        Refusal::Position(_) | Refusal::BeyondEnd { .. } => OFFSET_UNUSABLE,
    };
    (kind, problems::source(&partition.topic.name))
}
