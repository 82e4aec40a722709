//! Borrowed values: looking at a value without counting a reference or copying a byte.

use std::sync::Arc;

use super::document::{Document, Node, NodeRef};
use super::{Map, Value};

/// A value that somebody else keeps alive.
#[derive(Clone, Copy, Debug)]
pub struct ValueRef<'a>(Inner<'a>);

#[derive(Clone, Copy, Debug)]
enum Inner<'a> {
    Value(&'a Value),
    Node(&'a Arc<Document>, u32),
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// See [`Value::Null`].
    Null,
    /// See [`Value::Bool`].
    Bool(bool),
    /// See [`Value::Int`].
    Int(i64),
    /// See [`Value::UInt`].
    UInt(u64),
    /// See [`Value::Float`].
    Float(f64),
    /// See [`Value::Text`].
    Text(&'a str),
    /// See [`Value::Bytes`].
    Bytes(&'a [u8]),
    /// See [`Value::Timestamp`].
    Timestamp(i64),
    /// See [`Value::Duration`].
    Duration(i64),
    /// See [`Value::List`].
    List(ListView<'a>),
    /// See [`Value::Map`].
    Map(MapView<'a>),
}

impl<'a> View<'a> {
    /// The string, if it is one.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            View::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        ValueRef(match value {
            Value::Node(node) => Inner::Node(&node.document, node.index),
            other => Inner::Value(other),
        })
    }
}

impl<'a> From<&'a Value> for View<'a> {
    fn from(value: &'a Value) -> Self {
        value.view()
    }
}

impl<'a> From<ValueRef<'a>> for View<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        value.view()
    }
}

impl<'a> ValueRef<'a> {
    pub(super) fn node(document: &'a Arc<Document>, index: u32) -> Self {
        ValueRef(Inner::Node(document, index))
    }

    /// What the value is.
    #[inline]
    pub fn view(self) -> View<'a> {
        match self.0 {
            Inner::Value(value) => view_of(value),
            Inner::Node(document, index) => match document.node(index) {
                Node::Null => View::Null,
                Node::Bool(it) => View::Bool(it),
                Node::Int(it) => View::Int(it),
                Node::UInt(it) => View::UInt(it),
                Node::Float(it) => View::Float(it),
                Node::Text(span) => View::Text(document.span(span)),
                Node::List { count, .. } => View::List(ListView(ListInner::Node { document, index, count })),
                Node::Map { count, .. } => View::Map(MapView(MapInner::Node { document, index, count })),
            },
        }
    }

    /// The value itself: one more reference to what it refers to.
    pub fn to_value(self) -> Value {
        match self.0 {
            Inner::Value(value) => value.clone(),
            Inner::Node(document, index) => match document.node(index) {
                Node::Null => Value::Null,
                Node::Bool(it) => Value::Bool(it),
                Node::Int(it) => Value::Int(it),
                Node::UInt(it) => Value::UInt(it),
                Node::Float(it) => Value::Float(it),
                Node::Text(_) | Node::List { .. } | Node::Map { .. } => {
                    Value::Node(NodeRef { document: document.clone(), index })
                }
            },
        }
    }

    /// The field of an object by name; None if this is no object or has no such field.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        match self.view() {
            View::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The item of a list by position; None if this is no list or has no such item.
    pub fn at(self, position: usize) -> Option<ValueRef<'a>> {
        match self.view() {
            View::List(list) => list.get(position),
            _ => None,
        }
    }
}

fn view_of(value: &Value) -> View<'_> {
    match value {
        Value::Null => View::Null,
        Value::Bool(it) => View::Bool(*it),
        Value::Int(it) => View::Int(*it),
        Value::UInt(it) => View::UInt(*it),
        Value::Float(it) => View::Float(*it),
        Value::Text(it) => View::Text(it),
        Value::Bytes(it) => View::Bytes(it),
        Value::Timestamp(it) => View::Timestamp(*it),
        Value::Duration(it) => View::Duration(*it),
        Value::List(items) => View::List(ListView(ListInner::Values(items))),
        Value::Map(map) => View::Map(MapView(MapInner::Map(map))),
        Value::Node(node) => ValueRef::node(&node.document, node.index).view(),
    }
}

/// The items of a list.
#[derive(Clone, Copy, Debug)]
pub struct ListView<'a>(ListInner<'a>);

#[derive(Clone, Copy, Debug)]
enum ListInner<'a> {
    Values(&'a [Value]),
    Node { document: &'a Arc<Document>, index: u32, count: u32 },
}

impl<'a> ListView<'a> {
    /// How many items it has.
    pub fn len(self) -> usize {
        match self.0 {
            ListInner::Values(items) => items.len(),
            ListInner::Node { count, .. } => count as usize,
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    pub fn iter(self) -> ListIter<'a> {
        ListIter { list: self, at: self.start(), left: self.len() }
    }

    /// The item at `position`. In a document this walks the items before it.
    pub fn get(self, position: usize) -> Option<ValueRef<'a>> {
        match self.0 {
            ListInner::Values(items) => items.get(position).map(ValueRef::from),
            ListInner::Node { .. } if position < self.len() => self.iter().nth(position),
            ListInner::Node { .. } => None,
        }
    }

    /// Where it lies, if it is part of a document.
    pub(super) fn node(self) -> Option<(&'a Document, u32)> {
        match self.0 {
            ListInner::Values(_) => None,
            ListInner::Node { document, index, .. } => Some((document, index)),
        }
    }

    fn start(self) -> u32 {
        match self.0 {
            ListInner::Values(_) => 0,
            ListInner::Node { index, .. } => index + 1,
        }
    }
}

/// Walks the items of a list.
#[derive(Clone, Debug)]
pub struct ListIter<'a> {
    list: ListView<'a>,
    at: u32,
    left: usize,
}

impl<'a> Iterator for ListIter<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.list.0 {
            ListInner::Values(items) => {
                let item = items.get(self.at as usize)?;
                self.at += 1;
                Some(item.into())
            }
            ListInner::Node { document, .. } => {
                let item = ValueRef::node(document, self.at);
                self.at = document.after(self.at);
                Some(item)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ListIter<'_> {}

/// The fields of an object.
#[derive(Clone, Copy, Debug)]
pub struct MapView<'a>(MapInner<'a>);

#[derive(Clone, Copy, Debug)]
enum MapInner<'a> {
    Map(&'a Map),
    Node { document: &'a Arc<Document>, index: u32, count: u32 },
}

impl<'a> MapView<'a> {
    /// How many fields it has.
    pub fn len(self) -> usize {
        match self.0 {
            MapInner::Map(map) => map.0.len(),
            MapInner::Node { count, .. } => count as usize,
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Where it lies, if it is part of a document.
    pub(super) fn node(self) -> Option<(&'a Document, u32)> {
        match self.0 {
            MapInner::Map(_) => None,
            MapInner::Node { document, index, .. } => Some((document, index)),
        }
    }

    /// The fields in the order written.
    pub fn iter(self) -> MapIter<'a> {
        let at = match self.0 {
            MapInner::Map(_) => 0,
            MapInner::Node { index, .. } => index + 1,
        };
        MapIter { map: self, at, left: self.len() }
    }

    /// The field of that name, the last one if it was written twice. Walks the fields: objects of events are small.
    #[inline]
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        match self.0 {
            MapInner::Map(map) => map.get(key).map(ValueRef::from),
            MapInner::Node { document, index, count } => {
                let mut at = index + 1;
                for _ in 0..count {
                    if document.is_text(at, key) {
                        return Some(ValueRef::node(document, at + 1));
                    }
                    at = document.after(at + 1);
                }
                None
            }
        }
    }
}

/// Walks the fields of an object.
#[derive(Clone, Debug)]
pub struct MapIter<'a> {
    map: MapView<'a>,
    at: u32,
    left: usize,
}

impl<'a> Iterator for MapIter<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.map.0 {
            MapInner::Map(map) => {
                let (name, value) = map.0.get(self.at as usize)?;
                self.at += 1;
                Some((name, value.into()))
            }
            MapInner::Node { document, .. } => {
                let name = document.text(self.at);
                let value = ValueRef::node(document, self.at + 1);
                self.at = document.after(self.at + 1);
                Some((name, value))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for MapIter<'_> {}
