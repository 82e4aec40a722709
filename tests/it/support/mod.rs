//! What integration tests share: brokers, clients, waiting, skipping.

pub mod admin;
pub mod broker;
pub mod clients;
pub mod embedded;
pub mod kafka;
pub mod late_broker;
pub mod late_proxy;
pub mod ledger;
pub mod process;
pub mod real_registry;
pub mod registry;
pub mod skip;
pub mod topic_id;
pub mod wait;
pub mod wire;

/// Whether the full sizes are wanted.
pub fn is_full() -> bool {
    std::env::var_os("TIDEGATE_TEST_FULL").is_some()
}
