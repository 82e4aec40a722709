//! Avro records: how they name their schema, what is made of a schema once, and what is made of a record with it.
//!
//! ```text
//!  bytes, headers ─▶ frame ─▶ which schema, and the datum ──┐
//!  text of a schema ─▶ schema: parsed, vetted, compiled ────┴─▶ decode ─▶ Value
//!                                                    └───── Value ─▶ encode ─▶ datum
//! ```
//!
//! The schema that a record was written with decides its fields; there is no reader's schema. What is read is never trusted: a datum of a
//! few bytes can claim lists of any length and any depth, so nothing is allocated for a claim, nothing recurses, and every value counts
//! against the same limits as a JSON document.

use std::fmt::Debug;
use std::sync::Arc;

mod datum;
mod decode;
mod encode;
mod fit;
pub mod frame;
mod logical;
mod schema;
#[cfg(test)]
mod tests;
mod underlying;

pub(super) use datum::Datum;
pub use decode::decode;
pub use encode::encode;
pub use frame::SchemaKey;
pub use schema::{Refused, WriterSchema};

/// Where the schemas of records are found. Asked for every record, so it must not block.
pub trait Schemas: Debug + Send + Sync {
    /// The schema of that key, if it is known; one that is not is looked for from now on.
    fn find(&self, key: SchemaKey) -> Found;
}

/// What records of a schema are read with.
#[derive(Debug)]
pub struct RecordSchema {
    /// The language of the schema. Those of several may lie in one topic, framed alike.
    pub language: Language,
    /// A subject that has it, where a source asks for that.
    pub subject: Option<Arc<str>>,
}

impl RecordSchema {
    /// Its full name, if it has one.
    pub fn name(&self) -> Option<&Arc<str>> {
        match &self.language {
            Language::Avro(schema) => schema.name(),
            Language::Json => None,
        }
    }
}

/// The language of a schema, with what its records are read with.
#[derive(Debug)]
pub enum Language {
    /// They are Avro.
    Avro(WriterSchema),
    /// They are JSON, and whoever wrote them has seen to it that they fit their JSON Schema.
    Json,
}

/// What is known of a schema.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is here.
    Here(Arc<RecordSchema>),
    /// Its records cannot be read: there is no such schema, or it is refused. Says why.
    Not(Arc<str>),
    /// It is not looked for at the moment: so many that there are not were asked for lately. Says so.
    Unasked(Arc<str>),
    /// Nobody knows so far, or the registry cannot be asked.
    Later,
}
