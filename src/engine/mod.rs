//! The engine: every rule of the product, and no I/O. No clock, no randomness, no threads, no Kafka: time is an argument,
//! bytes come decoded, and what is to be written comes out as values. Nothing in it can fail for reasons outside it.
//!
//! ```text
//!  event ─▶ registry + trigger (which workflows) ─▶ machine (one at a time, with positions)
//!                                                     └─▶ run over a plan ─▶ execution (records) ─▶ batch ─▶ commit
//! ```

pub mod event;
pub mod ids;
pub mod limits;
pub mod value;

pub mod expression;
pub mod plan;
pub mod trigger;
pub mod workflow;

pub mod registry;
pub mod retry;
pub mod run;
pub mod serializer;

pub mod execution;
pub mod fan_out;
pub mod record;
pub mod wire;

pub mod batch;
pub mod breaker;
pub mod call;
pub mod checkpoint;
pub mod commit;
pub mod gate;
pub mod journal;
pub mod machine;
mod ordered;
pub mod owner;
mod pieces;
pub mod position;
pub mod replay;
pub mod signal;
