//! Executions that wait: what they call is called for what is recorded, and goes on wherever it has to. On the embedded broker, and on
//! real Kafka with `TIDEGATE_TEST_BROKER=kafka`; `TIDEGATE_TEST_FULL=1` for the full sizes.

mod damaged;
mod delays;
mod disks;
mod effects;
mod isolation;
mod leases;
mod order;
mod outages;
mod overrides;
mod takeover;
mod told;
mod why;

use std::collections::HashMap;

use crate::exactly_once::records::execution_name;
use crate::exactly_once::verdict::Verdict;
use crate::exactly_once::world::World;
use crate::support::is_full;
use crate::support::ledger::{Entry, Ledger};

/// The settings of a connector.
fn connector(name: &str, ledger: &Ledger, rest: &str) -> String {
    format!("[connectors.{name}]\nkind = \"http\"\nurl = \"{}/base\"\n{rest}\n", ledger.url())
}

/// A workflow that makes two calls, one after the other, and then writes to a topic.
fn two_calls(id: &str, connector: &str, out: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nconfig:\n  retryPolicy: {{ baseDelayMs: 20, maxDelayMs: 500 }}\n\
         steps:\n  - id: charge\n    type: http\n    timeout: 5s\n    config:\n      connector: {connector}\n      method: POST\n      path: /charges\n\
         \x20     body: {{ n: \"${{{{ event.data.n }}}}\" }}\n  - id: notify\n    type: http\n    timeout: 5s\n    dependencies: [charge]\n    config:\n\
         \x20     connector: {connector}\n      method: POST\n      path: /notes\n      body: {{ ok: \"${{{{ steps.charge.output.body.ok }}}}\", n: \"${{{{ event.data.n }}}}\" }}\n\
         \x20 - id: ship\n    type: produce\n    dependencies: [notify]\n    config: {{ topic: {out}, key: \"${{{{ event.key }}}}\", value: \"${{{{ event.data }}}}\" }}\n"
    )
}

/// Checks that every event led to one execution of a workflow that waited and completed, each said once.
#[track_caller]
fn assert_completed(world: &World<'_>, workflow: &str, events: usize) {
    let executions = world.topic("executions");
    world.wait_for(&executions, 2 * events);
    let of = |number: usize| ["running", "completed"].map(|status| format!("{number} {workflow} {status}"));
    let expected: Vec<String> = (0..events).flat_map(of).collect();
    assert_eq!(world.check(&executions, &expected, execution_name), Verdict::default());
    assert_eq!(world.broker.committed(&world.topic("dead-letters")).len(), 0);
}

/// The calls by their key: those of one step of one execution.
fn by_key(entries: &[Entry]) -> HashMap<String, Vec<Entry>> {
    let mut by_key: HashMap<String, Vec<Entry>> = HashMap::new();
    for entry in entries {
        by_key.entry(entry.key.clone()).or_default().push(entry.clone());
    }
    by_key
}
