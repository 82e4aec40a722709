//! The triggers of one event type that their fields tell apart.

use std::sync::Arc;

use super::access::{Access, Choice, Probe};
use super::table::{Table, TextMap};
use super::value_index::ValueIndex;
use super::{Candidates, TriggerKey};
use crate::engine::event::Event;
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
        let Some((_, choice)) = access.choose(&cost) else { return false };
        access.for_each(&choice, |path, probe| self.root.insert(path, probe, key));
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
        access.for_each(&choice, |path, probe| self.root.remove(path, probe, key));
        true
    }

    pub fn collect(&self, event: &Event, candidates: &mut Candidates) {
        self.root.collect(&Subject::Event(event), false, candidates);
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

    /// What filing under the probe costs an event: how many triggers it will lead to, and how likely it gets there.
    fn cost(&self, path: &[Arc<str>], probe: &Probe) -> u64 {
        let crowd = self.find(path).map_or(0, |values| values.crowd(probe)) as u64;
        let likelihood = match probe {
            Probe::Literal(_) | Probe::Folded(_) => 1,
            Probe::Prefix(_) | Probe::PrefixFolded(_) | Probe::Suffix(_) | Probe::SuffixFolded(_) => 2,
            Probe::Network(_) => 4,
            Probe::Range(..) => 16,
            Probe::Presence => 64,
        };
        (crowd + 1) * likelihood
    }

    fn insert(&mut self, path: &[Arc<str>], probe: &Probe, key: TriggerKey) {
        match path {
            [] => self.values.get_or_insert_default().insert(probe, key),
            [name, rest @ ..] => self.children.entry_or_default(name).insert(rest, probe, key),
        }
    }

    fn remove(&mut self, path: &[Arc<str>], probe: &Probe, key: TriggerKey) {
        match path {
            [] => {
                if let Some(values) = &mut self.values {
                    values.remove(probe, key);
                }
                self.values.take_if(|values| values.is_empty());
            }
            [name, rest @ ..] => self.children.update(&**name, |child| {
                child.remove(rest, probe, key);
                child.values.is_none() && child.children.is_empty()
            }),
        }
    }

    fn collect(&self, subject: &Subject<'_>, in_list: bool, candidates: &mut Candidates) {
        match subject {
            Subject::Value(value) => self.collect_value(value, in_list, candidates),
            Subject::Headers(event) if self.children.len() > FIELDS_ASKED_FOR => {
                for (name, value) in event.record.headers() {
                    candidates.probes += 1;
                    let child = std::str::from_utf8(name).ok().and_then(|name| self.children.get(name));
                    if let Some(values) = child.and_then(|child| child.values.as_ref()) {
                        values.collect(&value.map_or(Scalar::Null, Scalar::of_bytes), true, candidates);
                    }
                }
            }
            Subject::Event(_) | Subject::Headers(_) => {
                for (name, child) in self.children.iter() {
                    child.collect(&subject.field(name), in_list, candidates);
                }
            }
            Subject::Header(..) | Subject::Text(_) | Subject::Bytes(_) => {
                let Some(values) = &self.values else { return };
                let in_list = matches!(subject, Subject::Header(..));
                subject.any_scalar(&mut |scalar| {
                    values.collect(&scalar, in_list, candidates);
                    false
                });
            }
            Subject::Missing => {}
        }
    }

    fn collect_value(&self, value: &Value, in_list: bool, candidates: &mut Candidates) {
        if let Some(scalar) = Scalar::of(value) {
            if let Some(values) = &self.values {
                values.collect(&scalar, in_list, candidates);
            }
        } else if let Some(items) = value.items() {
            items.for_each(|item| self.collect_value(&item, true, candidates));
        } else if self.children.len() <= FIELDS_ASKED_FOR {
            for (name, child) in self.children.iter() {
                candidates.probes += 1;
                if let Some(field) = value.get(name) {
                    child.collect_value(&field, in_list, candidates);
                }
            }
        } else {
            // A field that is written twice is looked up twice; only its last value counts when the trigger is verified.
            for (name, field) in value.fields().into_iter().flatten() {
                candidates.probes += 1;
                if let Some(child) = self.children.get(&*name) {
                    child.collect_value(&field, true, candidates);
                }
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        let of_values = self.values.as_ref().map_or(0, |it| size_of::<ValueIndex>() + it.heap_bytes());
        self.children.heap_bytes(FieldTree::heap_bytes) + of_values
    }
}
