//! The edge to Kafka: clients, and what they need to know to be exactly-once.

pub mod admin;
pub mod client;
pub mod consumer;
pub mod group;
pub mod group_offsets;
mod log;
pub mod log_reader;
pub mod native;
mod pause;
pub mod producer;
pub mod record_reader;
pub mod sender;
pub mod start;
pub mod topic_files;
pub mod topic_reader;
pub mod topics;
pub mod transaction;
