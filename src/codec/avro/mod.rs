//! Avro records: how they name their schema, what is made of a schema once, and what is made of a record with it.
//!
//! ```text
//!  bytes, headers ─▶ frame ─▶ which schema, and the datum ──┐
//!  text of a schema ─▶ schema: parsed, vetted, compiled ────┴─▶ decode ─▶ Value
//! ```
//!
//! The schema that a record was written with decides its fields; there is no reader's schema. What is read is never trusted: a datum of a
//! few bytes can claim lists of any length and any depth, so nothing is allocated for a claim, nothing recurses, and every value counts
//! against the same limits as a JSON document.

mod decode;
pub mod frame;
mod logical;
mod schema;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use schema::{Refused, WriterSchema};
