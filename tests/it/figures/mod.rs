//! The figures that the product promises: memory, how it stands changes while it works, how soon it is back. On the embedded broker, and
//! on real Kafka with `TIDEGATE_TEST_BROKER=kafka`; `TIDEGATE_TEST_FULL=1` for the full sizes.
//!
//! A figure is promised of a release build on a machine that has nothing else to do. A debug build beside other tests is held to a looser
//! bound, which stands beside the promise under a name of its own.

mod changes;
mod gates;
mod load;
mod memory;
mod process;
mod restart;
mod tail;

use crate::support::is_full;
use std::time::Duration;

/// A duration that is promised, and what a debug build on a busy machine is held to.
struct Promise {
    release: Duration,
    debug: Duration,
}

impl Promise {
    /// What this build is held to.
    fn bound(&self) -> Duration {
        if cfg!(debug_assertions) { self.debug } else { self.release }
    }
}

/// A workflow with one step, which copies the event's data to a topic.
fn copying(id: &str, version: &str, event: &str, topic: &str) -> String {
    format!(
        "id: {id}\nversion: {version}\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n  - id: ship\n    type: produce\n    config:\n\
         \x20     topic: {topic}\n      key: \"${{{{ event.key }}}}\"\n      value: \"${{{{ event.data }}}}\"\n"
    )
}
