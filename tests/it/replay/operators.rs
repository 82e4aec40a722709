//! Several who replay, and some who are killed.

use std::time::Duration;

use super::project::Failing;
use crate::support::broker::TestBroker;
use crate::support::wait;

#[test]
fn nothing_comes_back_twice_whoever_replays_it_and_is_killed() {
    let Some(broker) = TestBroker::own() else { return };
    let events = if std::env::var_os("TIDEGATE_TEST_FULL").is_some() { 1_000 } else { 80 };
    let (failing, _instance) = Failing::new(&broker, events);
    failing.notes(200);
    let plan = failing.plan(&[]);
    // One is killed in the middle of it.
    let rate = (events / 10).to_string();
    let mut killed = failing.world.start("killed", &["replay", "apply", &plan, "--rate", &rate]);
    wait::until("some have come back", || (failing.letters().len() < events * 3 / 4).then_some(()));
    killed.kill();
    assert!(failing.letters().len() > events / 10, "it was killed too late to show anything");
    // Two go on at the same time: whoever comes later goes on, the other one is told.
    let both = ["one", "two"].map(|name| failing.world.start(name, &["replay", "apply", &plan, "--rate", &rate]));
    wait::pass(Duration::from_secs(1));
    drop(both);
    wait::within(
        Duration::from_secs(60),
        Duration::from_millis(500),
        || "all come back",
        || {
            let (said, code) = failing.ask(&["replay", "apply", &plan]);
            (code == 0 && said["stopped"].is_null() && failing.letters().is_empty()).then_some(())
        },
    );
    failing.assert_ended(events, 2, "completed");
    let notes = failing.calls("/notes");
    assert!(
        notes.len() == events && notes.values().all(|calls| calls.len() == 2),
        "each is called once more, and no more"
    );
    let (said, _) = failing.ask(&["replay", "status", &plan]);
    assert_eq!((said["completed"].as_u64(), said["waiting"].as_u64()), (Some(events as u64), Some(0)), "{said}");
}

#[test]
fn whoever_comes_later_goes_on_and_the_other_is_told() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 40);
    failing.notes(200);
    let plan = failing.plan(&[]);
    let mut first = failing.world.start("first", &["replay", "apply", &plan, "--rate", "2"]);
    wait::until("some have come back", || (failing.letters().len() < 39).then_some(()));
    let (said, code) = failing.ask(&["replay", "apply", &plan]);
    assert_eq!((code, said["stopped"].is_null()), (0, true), "{said}");
    wait::until("the first has ended", || (!first.is_alive()).then_some(()));
    let log = failing.world.log("first");
    assert!(log.contains("somebody else began to replay in this environment and goes first"), "{log}");
    failing.assert_ended(40, 2, "completed");
}

#[test]
fn a_plan_for_another_place_is_refused() {
    let Some(broker) = TestBroker::own() else { return };
    let (failing, _instance) = Failing::new(&broker, 1);
    let plan = failing.plan(&[]);
    let text = std::fs::read_to_string(&plan).unwrap();
    let other = failing.world.path("other.yaml").to_str().unwrap().to_owned();
    let check = |from: &str, to: &str, part: &str| {
        std::fs::write(&other, text.replacen(from, to, 1)).unwrap();
        let output = failing.world.output("operator", &["replay", "apply", &other]);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && why.contains(part), "{why}");
    };
    check("environment: ", "environment: x", "the plan is for the environment x");
    check("format: 1", "format: 2", "a plan of format 2");
    check("filter:", "fliter:", "unknown field `fliter`");
    assert_eq!(failing.letters().len(), 1);
}
