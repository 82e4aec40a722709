//! Sub-workflows that have failed, and their parents with them: what comes back together goes on where it failed.

use std::collections::HashMap;

use rdkafka::message::Message as _;
use serde_json::{Value, json};

use super::project::unresolved;
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Entry, Ledger, Reply};

const EVENTS: usize = 4;

/// A workflow that starts another one, and then says what that came to.
fn starts(id: &str, version: &str, event: &str, other: &str) -> String {
    format!(
        "id: {id}\nversion: {version}\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n  - id: call\n    type: workflow\n    config: {{ id: {other}, \
         input: \"${{{{ event.data }}}}\" }}\n  - id: after\n    type: transform\n    dependencies: [call]\n    config: {{ output: \"${{{{ \
         steps.call.output.status }}}}\" }}\n"
    )
}

/// The one that is started last: it charges, and then notifies.
fn charges(first: &str, notes: &str, version: &str) -> String {
    let step = |id: &str, path: &str, after: &str| {
        format!(
            "  - id: {id}\n    type: http\n    dependencies: [{after}]\n    config: {{ connector: target, method: POST, path: {path}, body: \"${{{{ event.id \
             }}}}\" }}\n"
        )
    };
    let steps = [step(first, "/charges", ""), step("notify", notes, first)].concat();
    format!("id: charges\nversion: {version}\nstatus: active\ntriggers:\n  - event: never\nsteps:\n{steps}")
}

/// Calls by path, and by key.
fn calls(ledger: &Ledger) -> HashMap<String, HashMap<String, Vec<Entry>>> {
    let mut calls: HashMap<String, HashMap<String, Vec<Entry>>> = HashMap::new();
    for entry in ledger.entries() {
        calls.entry(entry.path.clone()).or_default().entry(entry.key.clone()).or_default().push(entry);
    }
    calls
}

/// A parent, its sub-workflow and that one's own have failed for each event, because notes are refused. `then` goes on from there.
fn failed(then: impl FnOnce(&World<'_>, &Ledger)) {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|entry, _| Reply::now(if entry.path == "/notes" { 404 } else { 200 }));
    let workflows = [
        starts("parent", "1.0.0", "a.x", "middle"),
        starts("middle", "1.0.0", "never", "charges"),
        charges("charge", "/notes", "1.0.0"),
    ];
    let settings = format!("[connectors.target]\nkind = \"http\"\nurl = \"{}\"\n", ledger.url());
    let world = World::with(&broker, &workflows, &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..EVENTS, |_| Some("a.x"));
    world.wait_for(&world.topic("dead-letters"), 3 * EVENTS);
    then(&world, &ledger);
}

/// Brings everything back as `orders` say.
fn replayed(world: &World<'_>, orders: &[&str]) -> Value {
    let apply = [&["replay", "apply", "--yes", "-o", "json"], orders].concat();
    let applied = world.output("operator", &apply);
    serde_json::from_slice(&applied.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&applied.stderr)))
}

/// Does `repair`, brings everything back as `orders` say, which must complete all of it, and lets `check` look at the calls.
#[track_caller]
fn check(
    repair: impl Fn(&World<'_>, &Ledger),
    orders: &[&str],
    check: impl Fn(HashMap<String, HashMap<String, Vec<Entry>>>),
) {
    failed(|world, ledger| {
        repair(world, ledger);
        let said = replayed(world, orders);
        assert_eq!((&said["broughtBack"], &said["completed"]), (&json!(EVENTS), &json!(EVENTS)), "{said}");
        assert!(unresolved(world).is_empty(), "the letters of all three are resolved");
        let records = world.broker.committed(&world.topic("executions"));
        let names: Vec<String> = records.iter().map(execution_name).collect();
        let mut completed: Vec<&String> = names.iter().filter(|name| name.contains("completed")).collect();
        assert_eq!(completed.len(), 3 * EVENTS, "{names:?}");
        completed.sort();
        completed.dedup();
        assert_eq!(completed.len(), 3 * EVENTS, "each once: {names:?}");
        check(calls(ledger));
    });
}

#[test]
fn a_family_that_failed_goes_on_from_the_step_that_failed() {
    let mend = |_: &World<'_>, ledger: &Ledger| ledger.behave(|_, _| Reply::now(200));
    check(mend, &[], |calls| {
        let (charges, notes) = (&calls["/charges"], &calls["/notes"]);
        assert_eq!((charges.len(), notes.len()), (EVENTS, EVENTS), "the same work has the same key");
        assert!(charges.values().all(|calls| calls.len() == 1), "what had succeeded was called again");
        assert!(notes.values().all(|calls| calls.len() == 2 && calls[0].body == calls[1].body));
    });
}

#[test]
fn a_sub_workflow_whose_version_was_replaced_goes_on_in_the_one_in_use() {
    let replace = |world: &World<'_>, _: &Ledger| world.apply(&charges("charge", "/fixed", "1.0.1"));
    check(replace, &[], |calls| {
        assert!(calls["/charges"].values().all(|calls| calls.len() == 1), "what had succeeded was called again");
        assert_eq!((calls["/notes"].len(), calls["/fixed"].len()), (EVENTS, EVENTS));
        assert!(calls["/fixed"].keys().all(|key| !calls["/notes"].contains_key(key)), "other work has another key");
    });
}

#[test]
fn a_parent_that_is_repaired_starts_its_sub_workflow_anew() {
    let repair = |world: &World<'_>, ledger: &Ledger| {
        ledger.behave(|_, _| Reply::now(200));
        world.apply(&starts("parent", "1.0.1", "a.x", "middle"));
    };
    check(repair, &["--workflow", "parent", "--to-version", "1.0.1"], |calls| {
        assert_eq!((calls["/charges"].len(), calls["/notes"].len()), (2 * EVENTS, 2 * EVENTS));
    });
}

#[test]
fn a_family_of_which_one_cannot_come_back_stays_as_it_is() {
    failed(|world, ledger| {
        world.apply(&charges("other", "/fixed", "1.0.1"));
        let before = ledger.len();
        let said = replayed(world, &[]);
        assert_eq!((&said["broughtBack"], &said["leftOut"][0]["count"]), (&json!(0), &json!(EVENTS)), "{said}");
        let reason = said["leftOut"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("the sub-workflow of its step `call` cannot come back with it"), "{reason}");
        assert!(
            reason.ends_with("its step `charge` has run, but version 1.0.1 of charges has none of that name"),
            "{reason}"
        );
        assert_eq!((unresolved(world).len(), ledger.len()), (3 * EVENTS, before), "nothing was done");
    });
}

#[test]
fn a_family_that_is_planned_one_by_one_comes_back_together() {
    failed(|world, ledger| {
        ledger.behave(|_, _| Reply::now(200));
        let letters = unresolved(world);
        let ids: Vec<String> =
            letters.iter().map(|it| String::from_utf8_lossy(it.key().unwrap()).into_owned()).collect();
        let named: Vec<&str> = ids.iter().flat_map(|id| ["--id", id]).collect();
        let said = replayed(world, &named);
        let told = ["planned", "broughtBack", "notThereAnyMore", "completed"].map(|name| said[name].as_u64().unwrap());
        assert_eq!(told, [3 * EVENTS, EVENTS, 2 * EVENTS, EVENTS].map(|count| count as u64), "{said}");
        assert!(unresolved(world).is_empty());
        assert!(
            calls(ledger)["/charges"].values().all(|calls| calls.len() == 1),
            "what had succeeded was called again"
        );
        assert_eq!(calls(ledger)["/charges"].len(), EVENTS, "a sub-workflow was started anew");
    });
}
