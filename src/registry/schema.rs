//! A schema as its registry has it, with all that it refers to.

use std::sync::Arc;

/// A registered schema. Its text was not parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its text.
    pub text: Arc<str>,
    /// The language of its text, and of those it refers to.
    pub kind: SchemaKind,
    /// All that it refers to, directly or not, once each, each behind those that it refers to itself.
    pub references: Vec<Reference>,
    /// A subject under which it is registered, if the registry says one. It may be registered under others too.
    pub subject: Option<Arc<str>>,
}

impl RegisteredSchema {
    /// The bytes of its text and of what it refers to.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.references.iter().map(Reference::bytes).sum::<usize>()
    }
}

/// Languages of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// Apache Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

/// A schema that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// As it is called where it is referred to: a full name in Avro, a URL in JSON Schema, a path of an import in Protobuf.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

impl Reference {
    /// The bytes of its name and its text.
    pub(super) fn bytes(&self) -> usize {
        self.name.len() + self.text.len()
    }
}
