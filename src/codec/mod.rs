//! Bytes to events, and records to bytes.
//!
//! ```text
//!  SourceRecord ─▶ event (cloudevents · plain · avro) ─▶ engine::event::Event, or why not
//!  what an operator should know ─▶ alert ─▶ engine::wire::WireRecord
//!  engine::execution::Left ─▶ record (step · execution · produced · dead_letter) ─▶ engine::wire::WireRecord
//! ```

pub mod alert;
pub mod avro;
pub mod breaker_override;
mod cloudevents;
pub mod dead_letter;
pub mod event;
mod execution;
pub mod journal;
pub mod json;
mod object;
pub mod plain;
mod produced;
pub mod record;
pub mod source_start;
mod step;
pub mod trace;
