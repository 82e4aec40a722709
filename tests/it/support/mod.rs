//! What integration tests share: brokers, clients, waiting, skipping.

pub mod broker;
pub mod clients;
pub mod embedded;
pub mod kafka;
pub mod process;
pub mod skip;
pub mod topic_id;
pub mod wait;
