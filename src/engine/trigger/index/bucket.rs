//! Triggers that one look-up leads to.

use super::access::Access;
use super::field_index::FieldIndex;
use super::keys::Keys;
use super::{Search, TriggerKey};

/// Up to this many triggers of one type are all verified for each event: that costs no more than looking fields up, and
/// types with few triggers, which are most, need no index of fields.
const VERIFIED_WITHIN_TYPE: usize = 2;
/// The same for triggers that share the value of a field too. There are many more such places, so that each may hold some more
/// before it gets an index of its own.
const VERIFIED_WITHIN_FIELD: usize = 4;

/// The triggers of one event type, or those among them that share the value of a field.
///
/// Where many share it, they are told apart by what else they ask for. So an event has to verify only triggers of which several
/// clauses hold, however many have each of them.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Triggers that every event that gets here may match.
    plain: Keys,
    /// Triggers that only events with certain fields can match.
    by_field: Option<Box<FieldIndex>>,
}

impl Bucket {
    /// Files a trigger, once however often it is told to.
    pub fn insert(&mut self, key: TriggerKey, access: &Access<'_>) {
        if self.plain.contains(key) || self.by_field.as_ref().is_some_and(|it| it.contains(key)) {
            return;
        }
        let verified_each_time = if access.is_whole() { VERIFIED_WITHIN_TYPE } else { VERIFIED_WITHIN_FIELD };
        if !access.is_exhausted() && self.plain.len() >= verified_each_time {
            let by_field = self.by_field.get_or_insert_default();
            if by_field.insert(key, access) {
                return;
            }
            self.by_field.take_if(|it| it.is_empty());
        }
        self.plain.insert(key);
    }

    /// Takes a trigger out, if it is there. `access` are all ways into it.
    pub fn remove(&mut self, key: TriggerKey, access: &Access<'_>) {
        let Some(by_field) = &mut self.by_field else { return self.plain.remove(key) };
        if !by_field.remove(key, access) {
            self.plain.remove(key);
        }
        self.by_field.take_if(|it| it.is_empty());
    }

    pub fn collect(&self, search: &mut Search<'_>) {
        self.plain.push_to(&mut search.found.keys);
        if let Some(by_field) = &self.by_field {
            by_field.collect(search);
        }
    }

    /// How many triggers lie here.
    pub fn len(&self) -> usize {
        self.plain.len() + self.by_field.as_ref().map_or(0, |it| it.len())
    }

    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.by_field.is_none()
    }

    pub fn heap_bytes(&self) -> usize {
        let of_fields = self.by_field.as_ref().map_or(0, |it| size_of::<FieldIndex>() + it.heap_bytes());
        self.plain.heap_bytes() + of_fields
    }
}
