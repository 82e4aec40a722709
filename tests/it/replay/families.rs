//! Sub-workflows that have failed, and their parents with them: what comes back together goes on where it failed.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::Message as _;
use serde_json::{Value, json};

use super::project::unresolved;
use crate::exactly_once::records::{execution_name, send_keyed_events};
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
    failed_from(starts("parent", "1.0.0", "a.x", "middle"), then);
}

/// The same, with another parent.
fn failed_from(parent: String, then: impl FnOnce(&World<'_>, &Ledger)) {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|entry, _| Reply::now(if entry.path == "/notes" { 404 } else { 200 }));
    let workflows = [parent, starts("middle", "1.0.0", "never", "charges"), charges("charge", "/notes", "1.0.0")];
    let settings = format!("[connectors.target]\nkind = \"http\"\nurl = \"{}\"\n", ledger.url());
    let world = World::with(&broker, &workflows, &settings);
    let _instance = world.instance("alone");
    send_keyed_events(&broker.producer(&[]), &world.source, 0..EVENTS, 1);
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

/// The event that a call is for.
fn event_of(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.body).unwrap().trim_matches('"')
}

/// Where the executions of the parent run in turns, families go on from the step that failed all the same, and the parents queue behind those
/// that have come meanwhile.
#[track_caller]
fn check_in_turns(config: &str) {
    let parent =
        starts("parent", "1.0.0", "a.x", "middle").replace("\nsteps:", &format!("\nconfig: {{ {config} }}\nsteps:"));
    let done = "  - id: done\n    type: http\n    dependencies: [after]\n    config: { connector: target, method: POST, path: /done, body: \"${{ event.id }}\" }\n";
    failed_from(parent + done, |world, ledger| {
        // Two more come. The first of them takes a while, and the other one queues behind it.
        let is_slow = |entry: &Entry| entry.path == "/notes" && event_of(entry) == "4";
        ledger.behave(move |entry, _| {
            let after = if is_slow(entry) { Duration::from_secs(3) } else { Duration::ZERO };
            Reply { after, ..Reply::now(200) }
        });
        send_keyed_events(&world.broker.producer(&[]), &world.source, EVENTS..EVENTS + 2, 1);
        // Of each that failed the parent was pending and all three ran and ended; of these two the parents are pending, and three of one run.
        world.wait_for(&world.topic("executions"), 7 * EVENTS + 5);
        let said = replayed(world, &[]);
        assert_eq!((&said["broughtBack"], &said["completed"]), (&json!(EVENTS), &json!(EVENTS)), "{said}");
        assert!(unresolved(world).is_empty(), "the letters of all three are resolved");
        let all = EVENTS + 2;
        let calls_by_path = calls(ledger);
        let [charges, notes, done] = ["/charges", "/notes", "/done"].map(|path| &calls_by_path[path]);
        assert_eq!([charges.len(), notes.len(), done.len()], [all; 3], "the same work has the same key");
        assert!(charges.values().all(|calls| calls.len() == 1), "what had succeeded was called again");
        assert_eq!(notes.values().map(Vec::len).sum::<usize>(), all + EVENTS);
        let entries = ledger.entries();
        let mut order: Vec<&str> = entries.iter().filter(|it| it.path == "/done").map(event_of).collect();
        assert_eq!(order[..2], ["4", "5"], "those that came back are behind those that were there: {order:?}");
        order.sort_unstable();
        assert_eq!(order, ["0", "1", "2", "3", "4", "5"], "each once");
        let records = world.broker.committed(&world.topic("executions"));
        let names: Vec<String> = records.iter().map(execution_name).collect();
        let completed = |name: &&String| name.ends_with("parent completed");
        assert_eq!(names.iter().filter(completed).count(), all, "{names:?}");
    });
}

#[test]
fn a_family_whose_parents_run_one_at_a_time_goes_on_in_turn() {
    check_in_turns("concurrency: 1");
}

#[test]
fn a_family_whose_parents_are_ordered_by_key_goes_on_in_turn() {
    check_in_turns("ordering: key");
}
