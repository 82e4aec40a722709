//! Tidegate: exactly-once workflows from Kafka.
//!
//! ```text
//!  source topics ──▶ lane ── decode ─▶ match ─▶ run steps in place ──▶ step results · executions · dead letters · user topics
//!                     └── positions ─────────── one transaction per batch ────────────┘
//! ```
//!
//! `ARCHITECTURE.md` walks one event through the files. The modules in reading order:

#![warn(missing_docs)]

// Every rule of the product, and no I/O.
pub mod engine;

// What all calls over HTTP have in common.
pub mod net;

// The edges: text to programs, bytes to events and back, Kafka, calls, settings, what operators see, a broker for development.
pub mod breaker_store;
pub mod codec;
pub mod connector;
pub mod dev_broker;
pub mod expression;
pub mod kafka;
pub mod registry;
pub mod settings;
pub mod telemetry;

// What workflow files mean, and the loop around the engine.
pub mod definition;
pub mod lane;

// The replay tool.
pub mod dead_letter;

// Instances, the reference jobs, and the command line over them.
pub mod app;
pub mod bench;
pub mod cli;
