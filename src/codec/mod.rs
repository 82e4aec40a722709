//! Bytes to events, and records to bytes.
//!
//! ```text
//!  SourceRecord ─▶ event (cloudevents · plain · avro) ─▶ engine::event::Event, or why not
//!  what an operator should know ─▶ alert ─▶ engine::wire::WireRecord
//!  engine::execution::Left ─▶ record (step · execution · produced · dead_letter) ─▶ engine::wire::WireRecord
//! ```
//!
//! What writes a kind of record names its `fields` once; `object` makes JSON of them, `avro::Datum` makes Avro.

pub mod alert;
pub mod avro;
pub mod breaker_override;
mod cloudevents;
pub mod dead_letter;
pub mod event;
mod execution;
mod fields;
pub mod journal;
pub mod json;
mod object;
pub mod plain;
mod produced;
pub mod readable;
pub mod record;
pub mod source_start;
mod step;
pub mod trace;
