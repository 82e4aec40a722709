//! The triggers of one event type that their fields tell apart.

use std::sync::Arc;

use super::access::{Access, Choice, Probe};
use super::table::{Table, TextMap};
use super::value_index::ValueIndex;
use super::{Search, TriggerKey};
use crate::engine::trigger::scalar::Scalar;
use crate::engine::trigger::subject::Subject;
use crate::engine::value::Value;

/// With more named fields than this, an object is walked by its own fields instead of being asked for each.
const FIELDS_ASKED_FOR: usize = 16;

/// Triggers by the values of fields.
#[derive(Debug, Default)]
pub(super) struct FieldIndex {
    root: FieldTree,
    /// The leaves under which each trigger is filed, since the best choice changes while triggers come and go.
    choices: Table<TriggerKey, Option<Choice>>,
}

/// The fields that some trigger is filed under, as a tree of their names.
#[derive(Debug, Default)]
struct FieldTree {
    children: TextMap<FieldTree>,
    values: Option<Box<ValueIndex>>,
}

impl FieldIndex {
    /// Files a trigger under its most selective clause; false if no clause leads to it.
    pub fn insert(&mut self, key: TriggerKey, access: &Access<'_>) -> bool {
        let cost = |path: &[Arc<str>], probe: &Probe| self.root.cost(path, probe);
        let Some(choice) = access.choose(&cost) else { return false };
        let rest = access.without(&choice);
        access.for_each(&choice, |path, probe| self.root.insert(path, probe, key, &rest));
        *self.choices.entry_or_default(&key) = Some(choice);
        true
    }

    /// Takes a trigger out; false if it is not here.
    pub fn remove(&mut self, key: TriggerKey, access: &Access<'_>) -> bool {
        let mut choice = None;
        self.choices.update(&key, |it| {
            choice = it.take();
            true
        });
        let Some(choice) = choice else { return false };
        access.for_each(&choice, |path, probe| self.root.remove(path, probe, key, access));
        true
    }

    pub fn collect(&self, search: &mut Search<'_>) {
        self.root.collect(&Subject::Event(search.event), false, search);
    }

    pub fn contains(&self, key: TriggerKey) -> bool {
        self.choices.get(&key).is_some()
    }

    /// How many triggers lie here.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        let of_choice = |choice: &Option<Choice>| choice.as_ref().map_or(0, Choice::heap_bytes);
        self.root.heap_bytes() + self.choices.heap_bytes(of_choice)
    }
}

impl FieldTree {
    fn find(&self, path: &[Arc<str>]) -> Option<&ValueIndex> {
        match path {
            [] => self.values.as_deref(),
            [name, rest @ ..] => self.children.get(&**name)?.find(rest),
        }
    }

    /// What filing under the probe costs an event: how likely it gets there, and how many triggers it finds there. Triggers that
    /// share a value can be told apart further, so that a crowd weighs little; ranges that hold one number cannot.
    fn cost(&self, path: &[Arc<str>], probe: &Probe) -> u64 {
        let crowd = self.find(path).map_or(0, |values| values.crowd(probe)) as u64;
        let levels = u64::from((crowd + 1).ilog2()) + 1;
        match probe {
            Probe::Literal(_) | Probe::Folded(_) => levels,
            Probe::Prefix(_) | Probe::PrefixFolded(_) | Probe::Suffix(_) | Probe::SuffixFolded(_) => 2 * levels,
            Probe::Network(_) => 4 * levels,
            Probe::Range(..) => 16 * (crowd + 1),
            Probe::Presence => 64 * levels,
        }
    }

    fn insert(&mut self, path: &[Arc<str>], probe: &Probe, key: TriggerKey, rest: &Access<'_>) {
        match path {
            [] => self.values.get_or_insert_default().insert(probe, key, rest),
            [name, below @ ..] => self.children.entry_or_default(name).insert(below, probe, key, rest),
        }
    }

    fn remove(&mut self, path: &[Arc<str>], probe: &Probe, key: TriggerKey, access: &Access<'_>) {
        match path {
            [] => {
                if let Some(values) = &mut self.values {
                    values.remove(probe, key, access);
                }
                self.values.take_if(|values| values.is_empty());
            }
            [name, rest @ ..] => self.children.update(&**name, |child| {
                child.remove(rest, probe, key, access);
                child.values.is_none() && child.children.is_empty()
            }),
        }
    }

    fn collect(&self, subject: &Subject<'_>, in_list: bool, search: &mut Search<'_>) {
        match subject {
            Subject::Value(value) => self.collect_value(value, in_list, search),
            Subject::Headers(event) if self.children.len() > FIELDS_ASKED_FOR => {
                for (name, value) in event.record.headers() {
                    search.found.probes += 1;
                    let child = std::str::from_utf8(name).ok().and_then(|name| self.children.get(name));
                    if let Some(values) = child.and_then(|child| child.values.as_ref()) {
                        values.collect(&value.map_or(Scalar::Null, Scalar::of_bytes), true, search);
                    }
                }
            }
            Subject::Event(_) | Subject::Headers(_) => {
                for (name, child) in self.children.iter() {
                    child.collect(&subject.field(name), in_list, search);
                }
            }
            Subject::Header(..) | Subject::Text(_) | Subject::Bytes(_) => {
                let Some(values) = &self.values else { return };
                let in_list = matches!(subject, Subject::Header(..));
                subject.any_scalar(&mut |scalar| {
                    values.collect(&scalar, in_list, search);
                    false
                });
            }
            Subject::Missing => {}
        }
    }

    fn collect_value(&self, value: &Value, in_list: bool, search: &mut Search<'_>) {
        if let Some(scalar) = Scalar::of(value) {
            if let Some(values) = &self.values {
                values.collect(&scalar, in_list, search);
            }
        } else if let Some(items) = value.items() {
            items.for_each(|item| self.collect_value(&item, true, search));
        } else if self.children.len() <= FIELDS_ASKED_FOR {
            for (name, child) in self.children.iter() {
                search.found.probes += 1;
                if let Some(field) = value.get(name) {
                    child.collect_value(&field, in_list, search);
                }
            }
        } else {
            // A field that is written twice is looked up twice; only its last value counts when the trigger is verified.
            for (name, field) in value.fields().into_iter().flatten() {
                search.found.probes += 1;
                if let Some(child) = self.children.get(&*name) {
                    child.collect_value(&field, true, search);
                }
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        let of_values = self.values.as_ref().map_or(0, |it| size_of::<ValueIndex>() + it.heap_bytes());
        self.children.heap_bytes(FieldTree::heap_bytes) + of_values
    }
}
