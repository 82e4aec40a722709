//! What a broker must do for us, checked the same way on the embedded broker and on a real Kafka: where they differ, the embedded one is
//! wrong. `TIDEGATE_TEST_BROKER=kafka` runs all of it on Kafka.

mod admin;
mod compaction;
mod crash;
mod ends;
mod faults;
mod fencing;
mod groups;
mod hostile;
mod java;
mod kcat;
mod offsets;
mod records;
mod refusals;
mod static_members;
mod transactions;

/// The broker that all of these share, or the end of the test.
macro_rules! broker {
    () => {
        match crate::support::broker::TestBroker::shared() {
            Some(broker) => broker,
            None => return,
        }
    };
}
use broker;
