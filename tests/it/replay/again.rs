//! What comes back goes on from its failed step, as it was or repaired, and may fail again.

use rdkafka::message::Message as _;
use serde_json::{Value, json};

use super::project::{Failing, header, workflow};
use crate::support::broker::TestBroker;
use crate::support::ledger::Reply;

#[test]
fn only_what_had_not_succeeded_runs_again() {
    let Some(broker) = TestBroker::own() else { return };
    let events = if std::env::var_os("TIDEGATE_TEST_FULL").is_some() { 1_000 } else { 60 };
    let (failing, _instance) = Failing::new(&broker, events);
    let (listed, _) = failing.ask(&["dlq", "ls", "--step", "notify", "--limit", "5000"]);
    assert_eq!(listed.as_array().unwrap().len(), events);
    assert_eq!(failing.ask(&["dlq", "ls", "--step", "charge"]).0.as_array().unwrap().len(), 0);
    failing.notes(200);
    let plan = failing.plan(&["--workflow", "pays"]);
    let (said, code) = failing.ask(&["replay", "apply", &plan]);
    assert_eq!((said["broughtBack"].as_u64(), said["completed"].as_u64()), (Some(events as u64), Some(events as u64)));
    assert_eq!((said["underWay"].as_u64(), code), (Some(0), 0), "{said}");
    failing.assert_ended(events, 2, "completed");
    assert!(failing.calls("/charges").values().all(|calls| calls.len() == 1), "what had succeeded was called again");
    let notes = failing.calls("/notes");
    assert_eq!(notes.len(), events, "the same work has the same key");
    assert!(notes.values().all(|calls| calls.len() == 2 && calls[0].body == calls[1].body));
    assert_eq!(broker.committed(&failing.out).len(), events);
    assert!(failing.letters().is_empty());
    let (said, _) = failing.ask(&["replay", "apply", &plan]);
    assert_eq!((said["broughtBack"].as_u64(), said["notThereAnyMore"].as_u64()), (Some(0), Some(events as u64)));
    let (said, _) = failing.ask(&["replay", "status", &plan]);
    assert_eq!(
        (said["planned"].as_u64(), said["completed"].as_u64()),
        (Some(events as u64), Some(events as u64)),
        "{said}"
    );
    let replayed = format!("tidegate_replayed_total{{outcome=\"completed\"}} {events}");
    let metrics = failing.world.metrics("alone");
    let shows = |series: String| assert!(metrics.lines().any(|line| line == series), "{series}: {metrics}");
    shows(replayed);
    // Nothing has matched once more; each began twice.
    shows(format!("tidegate_events_matched_total{{workflow=\"pays\"}} {events}"));
    shows(format!("tidegate_executions_started_total{{workflow=\"pays\"}} {}", 2 * events));
}

#[test]
fn a_repaired_version_and_a_repaired_output_are_used_under_new_keys() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 3);
    failing.ledger.behave(|entry, _| Reply::now(if entry.path == "/notes" { 404 } else { 200 }));
    let refused = failing
        .ask(&["replay", "plan", "--to-version", "1.0.1", "--out", failing.world.path("no.json").to_str().unwrap()])
        .0;
    assert_eq!(refused["counts"]["planned"], 0);
    assert_eq!(refused["leftOut"][0]["reason"], "version 1.0.1 of pays is not installed; apply it first");
    failing.world.apply(&workflow("1.0.1", "/fixed", &failing.out));
    let set = r#"shape.output=[{"op":"replace","path":"/n","value":77}]"#;
    let plan = failing.plan(&["--to-version", "1.0.1", "--set", set]);
    let (said, code) = failing.ask(&["replay", "apply", &plan]);
    assert_eq!((said["completed"].as_u64(), code), (Some(3), 0), "{said}");
    let (before, after) = (failing.calls("/notes"), failing.calls("/fixed"));
    assert_eq!((before.len(), after.len()), (3, 3));
    assert!(after.keys().all(|key| !before.contains_key(key)), "other work has another key");
    let body = json!({ "n": 77, "at": "2026-01-01T00:00:00Z" });
    assert!(after.values().flatten().all(|call| serde_json::from_slice::<Value>(&call.body).unwrap() == body));
    // The last step asks the timestamp for its year: it has kept its type.
    assert_eq!(broker.committed(&failing.out).len(), 3);
    failing.assert_ended(3, 2, "completed");
}

#[test]
fn what_fails_again_is_a_dead_letter_of_its_next_run_until_it_is_quarantined() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 12);
    let first = header(&failing.letters()[0], "first-failure");
    let plan = failing.plan(&[]);
    let (said, code) = failing.ask(&["replay", "apply", &plan, "--canary", "3"]);
    assert_eq!((said["broughtBack"].as_u64(), said["failedAgain"].as_u64(), code), (Some(3), Some(3), 1), "{said}");
    assert!(said["stopped"].as_str().unwrap().starts_with("3 of 3 that have ended failed again or were"), "{said}");
    let again: Vec<_> = failing.letters().into_iter().filter(|letter| header(letter, "run") == "2").collect();
    assert_eq!((again.len(), failing.letters().len()), (3, 12));
    for letter in again {
        assert_eq!((header(&letter, "returns").as_str(), header(&letter, "step").as_str()), ("1", "notify"));
        assert!(header(&letter, "first-failure") < header(&letter, "last-failure"));
        assert!(header(&letter, "causes").starts_with("run 1: notify: target answered 404"), "{letter:?}");
        assert_eq!(header(&letter, "first-failure")[..16], first[..16]);
    }
    let once = failing
        .ask(&["replay", "plan", "--max-returns", "1", "--out", failing.world.path("p.json").to_str().unwrap()])
        .0;
    assert_eq!((once["counts"]["planned"].as_u64(), once["counts"]["leftOut"].as_u64()), (Some(9), Some(3)));
    assert!(once["leftOut"][0]["reason"].as_str().unwrap().starts_with("quarantined: it came back 1 times"), "{once}");
}

#[test]
fn an_output_that_is_set_to_what_it_is_makes_no_new_keys() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 3);
    failing.notes(200);
    let plan = failing.plan(&["--set", r#"shape.output=[{"op":"test","path":"/at","value":"2026-01-01T00:00:00Z"}]"#]);
    let (said, code) = failing.ask(&["replay", "apply", &plan]);
    assert_eq!((said["completed"].as_u64(), code), (Some(3), 0), "{said}");
    assert_eq!(failing.calls("/notes").len(), 3, "the same work has the same key");
}

#[test]
fn a_version_whose_limits_another_owner_keeps_is_not_gone_on_with() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 12);
    let limited =
        |version: &str| workflow(version, "/notes", &failing.out).replace("config:\n", "config:\n  concurrency: 1\n");
    failing.world.apply(&limited("1.0.1"));
    failing.world.apply(&workflow("1.0.2", "/notes", &failing.out));
    let (to, out) = (|version| ["replay", "plan", "--to-version", version], failing.world.path("plan.json"));
    let plan = |version| failing.ask(&[&to(version)[..], &["--out", out.to_str().unwrap()]].concat()).0;
    let refused = plan("1.0.1");
    // One or two may lie where the limit is kept by chance: one of 24 partitions.
    assert!(refused["counts"]["leftOut"].as_u64().unwrap() >= 8, "{refused}");
    let why = refused["leftOut"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("version 1.0.1 of pays lets its executions run in turns"), "{refused}");
    assert_eq!(plan("1.0.2")["counts"]["planned"], 12);
}

/// Mail is made before it may be written; what an execution may take must not pass meanwhile.
#[test]
fn what_waits_to_come_back_has_not_started() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 4);
    failing.notes(200);
    let plan = failing.plan(&[]);
    let (said, code) = failing.ask(&["replay", "apply", &plan, "--concurrency", "1"]);
    assert_eq!((said["completed"].as_u64(), code), (Some(4), 0), "{said}");
    let records = failing.world.broker.committed(&failing.world.topic("executions"));
    let told = records.iter().map(|record| serde_json::from_slice::<Value>(record.payload().unwrap()).unwrap());
    let again = told.filter(|it| it["run"] == 2 && it["status"] == "completed");
    let time = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    let mut spans: Vec<_> = again.map(|it| (time(&it, "startTime"), time(&it, "endTime"))).collect();
    spans.sort();
    assert_eq!(spans.len(), 4, "{spans:?}");
    for (before, after) in spans.iter().zip(&spans[1..]) {
        assert!(after.0 >= before.1, "one started before the one before had ended: {spans:?}");
    }
}

#[test]
fn a_replay_keeps_its_rate_and_its_concurrency() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 12);
    failing.ledger.behave(|_, _| Reply { after: std::time::Duration::from_millis(300), ..Reply::now(200) });
    let plan = failing.plan(&[]);
    let started = std::time::Instant::now();
    let (said, code) = failing.ask(&["replay", "apply", &plan, "--rate", "4", "--concurrency", "2"]);
    assert_eq!((said["completed"].as_u64(), code), (Some(12), 0), "{said}");
    assert!(started.elapsed().as_secs_f64() > 11.0 / 4.0, "faster than its rate");
    assert!(failing.ledger.most_under_way() <= 2, "{} at once", failing.ledger.most_under_way());
}
