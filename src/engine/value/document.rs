//! Decoded documents: a text and a flat tape of nodes over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Value, ValueRef};

/// Objects with more fields than this look for duplicate keys in a sorted map; smaller ones compare the few names whose
/// fingerprints collide, which is faster but quadratic.
const PAIRWISE_FIELDS: usize = 32;

/// A decoded JSON document: its text and a tape of nodes in the order of the text.
#[derive(Debug)]
pub struct Document {
    /// What the spans of unescaped strings point into.
    text: Bytes,
    /// Strings that had escapes, unescaped, one after the other.
    unescaped: String,
    nodes: Vec<Node>,
    /// How deep lists and objects nest.
    depth: usize,
    /// Whether a field was dropped because its name came again.
    has_dropped: bool,
    /// Whether the text is what the document would be as JSON.
    is_json: bool,
}

/// One entry of the tape. A list is followed by its items; an object by key, value, key, value. `end` is the index after
/// the last entry that belongs to the list or object, so skipping a subtree is one step.
#[derive(Clone, Copy, Debug)]
pub enum Node {
    /// JSON null.
    Null,
    /// A truth value.
    Bool(bool),
    /// See [`Value::Int`].
    Int(i64),
    /// See [`Value::UInt`].
    UInt(u64),
    /// See [`Value::Float`].
    Float(f64),
    /// A string: a span of the text, or of the unescaped strings. Only [`DocumentBuilder::text`] makes one.
    Text(Span),
    /// A list of `count` items.
    List {
        /// Items.
        count: u32,
        /// Index after the last entry of the list.
        end: u32,
    },
    /// An object of `count` fields.
    Map {
        /// Fields.
        count: u32,
        /// Index after the last entry of the object.
        end: u32,
    },
}

/// Where a string lies.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: u32,
    len: u32,
    unescaped: bool,
}

/// A string, list or object of a [`Document`]. The document stays alive as long as a reference into it does.
#[derive(Clone, Debug)]
pub struct NodeRef {
    pub(super) document: Arc<Document>,
    pub(super) index: u32,
}

impl NodeRef {
    pub(super) fn depth_within(&self, limit: usize) -> bool {
        self.document.depth <= limit || self.document.depth_below(self.index, limit)
    }
}

/// Builds a [`Document`] in the order of its text.
#[derive(Debug)]
pub struct DocumentBuilder {
    document: Document,
    open: usize,
}

impl DocumentBuilder {
    /// A builder over `text`, which may have 4 GiB at most: what lies behind is not kept.
    pub fn new(text: Bytes) -> Self {
        let nodes = Vec::with_capacity(text.len() / 16 + 4);
        let (unescaped, has_dropped, is_json) = (String::new(), false, true);
        let document = Document { text, unescaped, nodes, depth: 0, has_dropped, is_json };
        DocumentBuilder { document, open: 0 }
    }

    /// A builder over bytes that are no JSON; strings may lie in them all the same.
    pub fn of_bytes(bytes: Bytes) -> Self {
        let mut builder = DocumentBuilder::new(bytes);
        builder.document.is_json = false;
        builder
    }

    /// How many entries the tape has.
    pub fn len(&self) -> usize {
        self.document.nodes.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.document.nodes.is_empty()
    }

    /// Adds a scalar. Strings, lists and objects have methods of their own; here they become null.
    pub fn scalar(&mut self, node: Node) {
        self.document.nodes.push(match node {
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::UInt(_) | Node::Float(_) => node,
            Node::Text { .. } | Node::List { .. } | Node::Map { .. } => Node::Null,
        });
    }

    /// How many bytes of strings were copied.
    pub fn copied_bytes(&self) -> usize {
        self.document.unescaped.len()
    }

    /// Adds a string. One that lies inside the text is kept as a span of it, any other is copied.
    pub fn text(&mut self, text: &str) {
        self.text_for_again(text);
    }

    /// The same. Returns what can be added [again](DocumentBuilder::again).
    pub fn text_for_again(&mut self, text: &str) -> Node {
        let base = self.document.text.as_ptr() as usize;
        let at = text.as_ptr() as usize;
        let inside = at >= base && at + text.len() <= base + self.document.text.len();
        let start = if inside {
            at - base
        } else {
            self.document.unescaped.push_str(text);
            self.document.unescaped.len() - text.len()
        };
        let node = match (u32::try_from(start), u32::try_from(text.len())) {
            (Ok(start), Ok(len)) => Node::Text(Span { start, len, unescaped: !inside }),
            _ => Node::Null,
        };
        self.document.nodes.push(node);
        node
    }

    /// Adds a string once more that was copied when it was added first. Anything else becomes null.
    pub fn again(&mut self, node: Node) {
        let was_copied = matches!(node, Node::Text(Span { unescaped: true, .. }));
        self.document.nodes.push(if was_copied { node } else { Node::Null });
    }

    /// Opens a list or an object; give what it returns to [`DocumentBuilder::close_list`] or [`DocumentBuilder::close_map`].
    pub fn open(&mut self) -> usize {
        self.open += 1;
        self.document.depth = self.document.depth.max(self.open);
        self.document.nodes.push(Node::Null);
        self.document.nodes.len() - 1
    }

    /// Closes the list that was opened at `at` and has `count` items.
    pub fn close_list(&mut self, at: usize, count: u32) {
        self.open = self.open.saturating_sub(1);
        self.document.nodes[at] = Node::List { count, end: self.document.nodes.len() as u32 };
    }

    /// Closes the object that was opened at `at` and has `count` fields, which are known to have different names.
    pub fn close_record(&mut self, at: usize, count: u32) {
        self.open = self.open.saturating_sub(1);
        self.document.nodes[at] = Node::Map { count, end: self.document.nodes.len() as u32 };
    }

    /// Closes the object that was opened at `at` and has `count` fields. Of fields with the same name the last one stays.
    pub fn close_map(&mut self, at: usize, count: u32) {
        self.open = self.open.saturating_sub(1);
        let mut count = count;
        self.document.nodes[at] = Node::Map { count, end: self.document.nodes.len() as u32 };
        if self.document.may_have_duplicates(at as u32) {
            let dropped = self.document.drop_duplicates(at as u32);
            self.document.has_dropped |= dropped > 0;
            count -= dropped;
            self.document.nodes[at] = Node::Map { count, end: self.document.nodes.len() as u32 };
        }
    }

    /// The value of the whole document.
    pub fn finish(self) -> Value {
        ValueRef::node(&Arc::new(self.document), 0).to_value()
    }
}

impl Document {
    /// The entry at `index`; null past the end.
    #[inline]
    pub(super) fn node(&self, index: u32) -> Node {
        self.nodes.get(index as usize).copied().unwrap_or(Node::Null)
    }

    /// The string at `index`; empty if there is none.
    #[inline]
    pub(super) fn text(&self, index: u32) -> &str {
        match self.node(index) {
            Node::Text(span) => self.span(span),
            _ => "",
        }
    }

    /// Whether the entry at `index` is this string. Most are not, which their lengths and first bytes say.
    #[inline]
    pub(super) fn is_text(&self, index: u32, text: &str) -> bool {
        let Node::Text(span) = self.node(index) else { return false };
        let Some(first) = text.as_bytes().first() else { return span.len == 0 };
        let from = if span.unescaped { self.unescaped.as_bytes() } else { &self.text };
        span.len as usize == text.len() && from.get(span.start as usize) == Some(first) && self.span(span) == text
    }

    #[inline]
    pub(super) fn span(&self, span: Span) -> &str {
        let range = span.start as usize..span.start as usize + span.len as usize;
        if span.unescaped {
            return self.unescaped.get(range).unwrap_or_default();
        }
        let bytes = self.text.get(range).unwrap_or_default();
        // SAFETY: only `DocumentBuilder::text` makes a span of the text, from a `&str` that lay inside `self.text`; those
        // bytes are immutable and have been alive since, so they are still valid UTF-8.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    /// The JSON text of the entry at `index`, if it is at hand and says nothing that the entry does not: that of a whole document
    /// whose objects name each field once.
    pub(super) fn source(&self, index: u32) -> Option<Bytes> {
        self.is_source(index)
            .then(|| self.text.trim_ascii())
            .filter(|text| !text.is_empty())
            .map(|text| self.text.slice_ref(text))
    }

    /// Whether the entry at `index` is the whole document, a list or an object, and nothing of it was dropped.
    fn is_source(&self, index: u32) -> bool {
        index == 0 && self.is_json && !self.has_dropped && matches!(self.node(0), Node::List { .. } | Node::Map { .. })
    }

    /// About how many bytes the entry at `index` and all that belongs to it take as JSON.
    pub(super) fn weight(&self, index: u32) -> usize {
        if self.is_source(index) {
            return self.text.len();
        }
        let weight = |node: &Node| match node {
            Node::Null | Node::Bool(_) => 6,
            Node::Int(_) | Node::UInt(_) | Node::Float(_) => 13,
            Node::Text(span) => span.len as usize + 3,
            Node::List { .. } | Node::Map { .. } => 3,
        };
        let nodes = self.nodes.get(index as usize..self.after(index) as usize);
        nodes.unwrap_or_default().iter().map(weight).sum()
    }

    /// The index after the entry at `index` and all that belongs to it.
    #[inline]
    pub(super) fn after(&self, index: u32) -> u32 {
        match self.node(index) {
            Node::List { end, .. } | Node::Map { end, .. } => end,
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::UInt(_) | Node::Float(_) | Node::Text(_) => index + 1,
        }
    }

    /// Whether the entry at `index` nests at most `limit` deep, found without recursion.
    fn depth_below(&self, index: u32, limit: usize) -> bool {
        let mut ends: Vec<u32> = Vec::new();
        for at in index..self.after(index) {
            while ends.last().is_some_and(|&end| end <= at) {
                ends.pop();
            }
            if let Node::List { end, .. } | Node::Map { end, .. } = self.node(at) {
                ends.push(end);
            }
            if ends.len() > limit {
                return false;
            }
        }
        true
    }

    /// The indices of the keys of the object at `index`.
    fn keys(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let end = self.after(index);
        let mut at = index + 1;
        std::iter::from_fn(move || {
            let key = (at < end).then_some(at)?;
            at = self.after(key + 1);
            Some(key)
        })
    }

    /// A quick look: false is certain, true means that the names have to be sorted.
    fn may_have_duplicates(&self, index: u32) -> bool {
        let Node::Map { count, .. } = self.node(index) else { return false };
        if count as usize > PAIRWISE_FIELDS {
            return true;
        }
        let mut seen = 0_u64;
        for (position, key) in self.keys(index).enumerate() {
            let name = self.text(key);
            let bit = 1 << (fingerprint(name) & 63);
            if seen & bit != 0 && self.keys(index).take(position).any(|earlier| self.text(earlier) == name) {
                return true;
            }
            seen |= bit;
        }
        false
    }

    /// Removes every field of the object at `index`, the last of the tape, whose name comes again later. Returns how many.
    fn drop_duplicates(&mut self, index: u32) -> u32 {
        let mut last = BTreeMap::new();
        for key in self.keys(index) {
            last.insert(self.text(key), key);
        }
        let dropped: Vec<(u32, u32)> = self
            .keys(index)
            .filter(|&key| last.get(self.text(key)) != Some(&key))
            .map(|key| (key, self.after(key + 1)))
            .collect();
        if dropped.is_empty() {
            return 0;
        }
        let mut ranges = dropped.iter().peekable();
        let mut gone = 0;
        let mut to = index as usize + 1;
        for from in index as usize + 1..self.nodes.len() {
            while ranges.peek().is_some_and(|(_, end)| *end as usize <= from) {
                ranges.next();
            }
            if ranges.peek().is_some_and(|(start, _)| *start as usize <= from) {
                gone += 1;
                continue;
            }
            // A list or object that stays moves forward as a whole: nothing inside of it is dropped here.
            self.nodes[to] = match self.nodes[from] {
                Node::List { count, end } => Node::List { count, end: end - gone },
                Node::Map { count, end } => Node::Map { count, end: end - gone },
                node @ (Node::Null | Node::Bool(_) | Node::Int(_) | Node::UInt(_) | Node::Float(_) | Node::Text(_)) => {
                    node
                }
            };
            to += 1;
        }
        self.nodes.truncate(to);
        dropped.len() as u32
    }
}

/// Tells most names of one object apart.
fn fingerprint(name: &str) -> usize {
    let bytes = name.as_bytes();
    let first = bytes.first().copied().unwrap_or_default() as usize;
    let last = bytes.last().copied().unwrap_or_default() as usize;
    let middle = bytes.get(bytes.len() / 2).copied().unwrap_or_default() as usize;
    bytes.len().wrapping_mul(7) ^ first.wrapping_mul(31) ^ last.wrapping_mul(5) ^ middle.wrapping_mul(17)
}
