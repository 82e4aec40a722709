//! Nodes: a document as a tree in which every part knows where it is written. YAML and JSON become the same tree.

use std::sync::Arc;

use super::limits;
use crate::engine::value::Value;

/// A part of a document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The byte of the source at which it starts.
    pub at: usize,
    pub kind: Kind,
}

/// What a node is. Nothing is guessed from spelling beyond YAML's core schema: `no` is a text.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// A number without fraction above `i64::MAX`.
    UInt(u64),
    /// Never NaN or infinite.
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    /// Fields, no name twice.
    Map(Vec<Field>),
}

/// A string and where its characters are written.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub value: Arc<str>,
    /// The byte of the source at which the node starts: the quote, or the header of a block.
    pub at: usize,
    /// The byte of the source at which the characters start.
    pub start: usize,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub name: Arc<str>,
    /// The byte of the source at which the name starts.
    pub at: usize,
    pub value: Node,
}

impl Node {
    /// The same document with the fields of every object in the order of canonical JSON, so that a plan is the same whether
    /// it is compiled from the file or from the topic.
    pub fn sorted(mut self) -> Node {
        match &mut self.kind {
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) | Kind::Text(_) => {}
            Kind::List(items) => *items = std::mem::take(items).into_iter().map(Node::sorted).collect(),
            Kind::Map(fields) => {
                fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                for field in fields {
                    let value = std::mem::replace(&mut field.value, Node { at: 0, kind: Kind::Null });
                    field.value = value.sorted();
                }
            }
        }
        self
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&Text> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// The items, if it is a list; else none.
    pub fn items(&self) -> &[Node] {
        if let Kind::List(items) = &self.kind { items } else { &[] }
    }

    /// The value of a field, if it is an object that has it.
    pub fn field(&self, name: &str) -> Option<&Node> {
        let Kind::Map(fields) = &self.kind else { return None };
        fields.iter().find(|field| *field.name == *name).map(|field| &field.value)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// The number, if it is one without fraction and sign.
    pub fn unsigned(&self) -> Option<u64> {
        match self.kind {
            Kind::Int(number) => u64::try_from(number).ok(),
            Kind::UInt(number) => Some(number),
            Kind::Null | Kind::Bool(_) | Kind::Float(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// What it is, for messages: what was found instead of what should be there.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "null".into(),
            Kind::Bool(it) => format!("the bool {it}"),
            Kind::Int(it) => format!("the number {it}"),
            Kind::UInt(it) => format!("the number {it}"),
            Kind::Float(it) => format!("the number {it:?}"),
            Kind::Text(text) => format!("the text {}", quote(&text.value)),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "an object".into(),
        }
    }

    /// The value, without places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(it) => Value::Bool(*it),
            Kind::Int(it) => Value::Int(*it),
            Kind::UInt(it) => Value::UInt(*it),
            Kind::Float(it) => Value::Float(*it),
            Kind::Text(text) => Value::Text(text.value.clone()),
            Kind::List(items) => Value::List(items.iter().map(Node::to_value).collect()),
            Kind::Map(fields) => Value::map(fields.iter().map(|it| (it.name.clone(), it.value.to_value())).collect()),
        }
    }

    /// The place of the part that a JSON pointer names: of the field's name if it is one. As far as the pointer leads.
    pub fn place_of(&self, pointer: &str) -> usize {
        let (mut node, mut at) = (self, self.at);
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            let next = match &node.kind {
                Kind::Map(fields) => fields.iter().find(|it| *it.name == *name).map(|it| (&it.value, it.at)),
                Kind::List(items) => name.parse().ok().and_then(|it: usize| items.get(it)).map(|it| (it, it.at)),
                Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) | Kind::Text(_) => None,
            };
            let Some(next) = next else { break };
            (node, at) = next;
        }
        at
    }
}

/// A text in quotes for a message, shortened if it is long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(limits::QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
