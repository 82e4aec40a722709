//! The triggers of one event type.

use super::access::Access;
use super::field_index::FieldIndex;
use super::keys::Keys;
use super::{Candidates, TriggerKey};
use crate::engine::event::Event;
use crate::engine::trigger::Trigger;

/// Up to this many triggers of one type are all verified for each event: that costs no more than looking fields up, and
/// types with few triggers, which are most, need no index of fields.
const VERIFIED_EACH_TIME: usize = 2;

/// The triggers of one event type.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Triggers that every event of the type may match.
    plain: Keys,
    /// Triggers that only events with certain fields can match.
    by_field: Option<Box<FieldIndex>>,
}

impl Bucket {
    pub fn insert(&mut self, key: TriggerKey, trigger: &Trigger) {
        let tells_apart = trigger.topic.is_some() || trigger.source.is_some() || trigger.pattern.is_some();
        if tells_apart && self.plain.len() >= VERIFIED_EACH_TIME {
            let by_field = self.by_field.get_or_insert_default();
            if by_field.insert(key, &Access::of(trigger)) {
                return;
            }
            self.by_field.take_if(|it| it.is_empty());
        }
        self.plain.insert(key);
    }

    pub fn remove(&mut self, key: TriggerKey, trigger: &Trigger) {
        let Some(by_field) = &mut self.by_field else { return self.plain.remove(key) };
        if !by_field.remove(key, &Access::of(trigger)) {
            self.plain.remove(key);
        }
        self.by_field.take_if(|it| it.is_empty());
    }

    pub fn collect(&self, event: &Event, candidates: &mut Candidates) {
        self.plain.push_to(&mut candidates.keys);
        if let Some(by_field) = &self.by_field {
            by_field.collect(event, candidates);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.by_field.is_none()
    }

    pub fn heap_bytes(&self) -> usize {
        let of_fields = self.by_field.as_ref().map_or(0, |it| size_of::<FieldIndex>() + it.heap_bytes());
        self.plain.heap_bytes() + of_fields
    }
}
