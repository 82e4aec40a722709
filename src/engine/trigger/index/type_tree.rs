//! Event types with wildcards, as a tree of their segments.

use std::sync::Arc;

use super::access::Access;
use super::bucket::Bucket;
use super::table::TextMap;
use super::{Search, TriggerKey};
use crate::engine::trigger::type_pattern::Segment;

/// The triggers whose types start with the segments that lead here.
#[derive(Debug, Default)]
pub(super) struct TypeTree {
    exact: TextMap<TypeTree>,
    any: Option<Box<TypeTree>>,
    /// Types that end here.
    here: Bucket,
    /// Types that end in `**` here: at least one segment follows.
    below: Bucket,
}

impl TypeTree {
    /// Where triggers of such a type lie.
    pub fn bucket(&mut self, segments: &[Segment<'_>], open: bool) -> &mut Bucket {
        match segments {
            [] => self.here(open),
            [Segment::Any, rest @ ..] => self.any.get_or_insert_default().bucket(rest, open),
            [Segment::Exact(name), rest @ ..] => self.exact.entry_or_default(&Arc::from(*name)).bucket(rest, open),
        }
    }

    pub fn remove(&mut self, segments: &[Segment<'_>], open: bool, key: TriggerKey, access: &Access<'_>) {
        match segments {
            [] => self.here(open).remove(key, access),
            [Segment::Any, rest @ ..] => {
                if let Some(any) = &mut self.any {
                    any.remove(rest, open, key, access);
                }
                self.any.take_if(|any| any.is_empty());
            }
            [Segment::Exact(name), rest @ ..] => self.exact.update(*name, |child| {
                child.remove(rest, open, key, access);
                child.is_empty()
            }),
        }
    }

    pub fn collect(&self, search: &mut Search<'_>) {
        if !self.is_empty() {
            self.descend(Some(&search.event.kind), search);
        }
    }

    fn descend(&self, rest: Option<&str>, search: &mut Search<'_>) {
        let Some(rest) = rest else { return self.here.collect(search) };
        self.below.collect(search);
        let (segment, rest) = rest.split_once('.').map_or((rest, None), |(segment, rest)| (segment, Some(rest)));
        search.found.probes += 1;
        if let Some(child) = self.exact.get(segment) {
            child.descend(rest, search);
        }
        if let Some(child) = &self.any {
            child.descend(rest, search);
        }
    }

    fn here(&mut self, open: bool) -> &mut Bucket {
        if open { &mut self.below } else { &mut self.here }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any.is_none() && self.here.is_empty() && self.below.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        let in_any = self.any.as_ref().map_or(0, |any| size_of::<TypeTree>() + any.heap_bytes());
        // The name of a child is shared with nothing: its text and two counts.
        let in_names: usize = self.exact.iter().map(|(name, _)| name.len() + 2 * size_of::<usize>()).sum();
        let in_exact = self.exact.heap_bytes(TypeTree::heap_bytes);
        in_exact + in_names + in_any + self.here.heap_bytes() + self.below.heap_bytes()
    }
}
