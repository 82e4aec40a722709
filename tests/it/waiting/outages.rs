//! Targets that are away, busy, or fail now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::message::Message as _;

use super::{assert_completed, by_key, connector, two_calls};
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::world::World;
use crate::support::admin;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Ledger, Reply};
use crate::support::wait;

/// How long a target takes that hangs: longer than any test looks.
const HANGS: Duration = Duration::from_secs(200);

/// A workflow whose steps wait for such a target.
fn patient(out: &str) -> String {
    two_calls("pays", "target", out).replace("timeout: 5s", "timeout: 5m")
}

#[test]
fn failures_that_pass_are_tried_again() {
    let Some(broker) = TestBroker::own() else { return };
    let events = 300;
    // Two of three steps fail once or twice, in each of the ways in which a call can that may pass.
    let mut attempts: HashMap<String, usize> = HashMap::new();
    let ledger = Ledger::start(move |entry, _| {
        let attempt = attempts.entry(entry.key.clone()).or_default();
        *attempt += 1;
        let sum: usize = entry.key.bytes().map(usize::from).sum();
        if *attempt > sum % 3 { Reply::now(200) } else { Reply::now([503, 500, 0][sum / 3 % 3]) }
    });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "concurrency = 8\nbreaker = { failureThreshold = 100 }");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    assert_completed(&world, "pays", events);
    let entries = ledger.entries();
    let by_key = by_key(&entries);
    assert_eq!(by_key.len(), 2 * events);
    let attempts = |key: &str| 1 + key.bytes().map(usize::from).sum::<usize>() % 3;
    assert!(by_key.iter().all(|(key, calls)| calls.len() == attempts(key)), "as often as it takes, and no more");
    // Each attempt is counted, and each step by how long it took with all of them.
    let metrics = world.metrics("alone");
    let sum = |series: &str| -> usize {
        let of = metrics.lines().filter_map(|line| line.strip_prefix("tidegate_")?.strip_prefix(series));
        of.filter(|rest| !rest.contains("\"ship\""))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as usize
    };
    let failed = metrics
        .lines()
        .filter(|line| line.starts_with("tidegate_step_attempts_total") && line.contains("outcome=\"failed\""));
    let failed: usize = failed.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
    assert_eq!((sum("step_attempts_total{"), failed), (entries.len(), entries.len() - 2 * events), "{metrics}");
    assert_eq!((sum("step_duration_seconds_count{"), sum("events_matched_total{")), (2 * events, events), "{metrics}");
    assert!(sum("step_duration_seconds_sum{") > 0, "{metrics}");
}

#[test]
fn an_open_breaker_parks_its_own_work_and_nothing_else() {
    let Some(broker) = TestBroker::own() else { return };
    let (down, up) = (Ledger::start(|_, _| Reply::now(503)), Ledger::start(|_, _| Reply::now(200)));
    let out = broker.topic("out", 6);
    let breaker = "concurrency = 4\nbreaker = { failureThreshold = 3, recoveryTimeoutMs = 1000 }";
    let settings = connector("down", &down, breaker) + &connector("up", &up, "");
    // To be held back by it is no error that could be tried again: to name it so makes no difference.
    let named =
        |policy: String| policy.replace("maxDelayMs: 500", "maxDelayMs: 500, retryableErrors: [5xx, breaker-open]");
    let workflows = [named(two_calls("parked", "down", &out)), two_calls("pays", "up", &out)];
    let world = World::with(&broker, &workflows, &settings);
    let _instance = world.instance("alone");
    let (events, started) = (200, Instant::now());
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    let executions = world.topic("executions");
    // What needs the target that is up ends; the rest has begun and waits.
    world.wait_for(&executions, 3 * events);
    wait::pass(Duration::from_secs(3));
    // Until it opens, and then one a second.
    let (attempts, seconds) = (down.len(), started.elapsed().as_secs() as usize);
    assert!(attempts <= 12 + seconds, "{attempts} calls of a target that is down, in {seconds} s");
    let ended: Vec<String> = broker.committed(&executions).iter().map(execution_name).collect();
    assert_eq!(ended.iter().filter(|it| it.contains(" parked ") && !it.ends_with(" running")).count(), 0);
    let shown = |state: &str| {
        let series = format!("tidegate_circuit_breaker_state{{connector=\"down\",state=\"{state}\"}} 1");
        world.metrics("alone").lines().any(|line| line == series)
    };
    wait::until("the open breaker is shown", || shown("open").then_some(()));
    down.behave(|_, _| Reply::now(200));
    wait::until("the closed breaker is shown", || shown("closed").then_some(()));
    world.wait_for(&executions, 4 * events);
    let ended: Vec<String> = broker.committed(&executions).iter().map(execution_name).collect();
    assert_eq!(ended.iter().filter(|it| it.ends_with(" parked completed")).count(), events);
    assert!(by_key(&down.entries()).len() == 2 * events);
    // Every change of the breaker is told, and each begins where the one before ended.
    let alerts = broker.committed(&world.topic("alerts"));
    let told = alerts.iter().map(|it| serde_json::from_slice(it.payload().expect("a value")).expect("JSON"));
    let turns: Vec<serde_json::Value> = told.filter(|it: &serde_json::Value| it["subject"] == "down").collect();
    let turn = |it: &serde_json::Value, name: &str| it["breaker"][name].as_str().map(str::to_owned);
    assert!(turns.windows(2).all(|it| turn(&it[0], "to") == turn(&it[1], "from")), "{turns:?}");
    let (first, last) = (&turns[0], &turns[turns.len() - 1]);
    assert_eq!((turn(first, "from").as_deref(), turn(first, "to").as_deref()), (Some("closed"), Some("open")));
    assert_eq!((turn(last, "from").as_deref(), turn(last, "to").as_deref()), (Some("half_open"), Some("closed")));
    assert_eq!((&first["state"], &last["state"]), (&"raised".into(), &"cleared".into()));
}

#[test]
fn what_is_not_there_fails_at_once_and_says_so() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|entry, _| Reply::now(if entry.path.ends_with("/notes") { 404 } else { 200 }));
    let out = broker.topic("out", 6);
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &connector("target", &ledger, ""));
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..3, |_| Some("a.x"));
    world.wait_for(&world.topic("dead-letters"), 3);
    for letter in broker.committed(&world.topic("dead-letters")) {
        let header = |name: &str| header(&letter, name);
        assert_eq!(
            (header("tidegate-dlq-step").as_str(), header("tidegate-dlq-error-class").as_str()),
            ("notify", "config")
        );
        assert_eq!(header("tidegate-dlq-error-message"), "target answered 404, not 2xx");
    }
    assert_eq!(ledger.len(), 6);
}

#[test]
fn an_execution_that_takes_too_long_is_ended() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply { after: Duration::from_secs(4), ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let workflow =
        two_calls("pays", "target", &out).replace("config:\n  retryPolicy", "config:\n  timeout: 1s\n  retryPolicy");
    let world = World::with(&broker, &[workflow], &connector("target", &ledger, ""));
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..3, |_| Some("a.x"));
    world.wait_for(&world.topic("dead-letters"), 3);
    for letter in broker.committed(&world.topic("dead-letters")) {
        assert_eq!(header(&letter, "tidegate-dlq-reason"), "timeout");
    }
    let ended: Vec<String> = broker.committed(&world.topic("executions")).iter().map(execution_name).collect();
    assert_eq!(ended.iter().filter(|it| it.ends_with(" pays failed")).count(), 3);
}

#[test]
fn an_execution_that_is_cancelled_ends_and_its_call_is_broken_off() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply { after: HANGS, ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let world = World::with(&broker, &[patient(&out)], &connector("target", &ledger, ""));
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..1, |_| Some("a.x"));
    wait::until("the call", || (ledger.len() > 0).then_some(()));
    let executions = world.topic("executions");
    let id = String::from_utf8(broker.committed(&executions)[0].key().expect("a key").to_vec()).expect("text");
    world.command("operator", &["cancel", "execution", &id]);
    let ended: Vec<String> = broker.committed(&executions).iter().map(execution_name).collect();
    assert_eq!(ended, ["0 pays running", "0 pays cancelled"]);
    assert_eq!(ledger.len(), 1, "nothing more is called");
}

fn header(message: &rdkafka::message::OwnedMessage, name: &str) -> String {
    use rdkafka::message::Headers as _;
    let found = message.headers().and_then(|headers| headers.iter().find(|it| it.key == name));
    String::from_utf8_lossy(found.and_then(|it| it.value).unwrap_or_default()).into_owned()
}

#[test]
fn an_instance_that_starts_again_remembers_that_a_target_is_down() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(503));
    let out = broker.topic("out", 6);
    let breaker = "concurrency = 1\nbreaker = { failureThreshold = 2, recoveryTimeoutMs = 600000 }";
    let workflow = two_calls("pays", "target", &out);
    let world = World::with(&broker, &[workflow], &connector("target", &ledger, breaker));
    let mut instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..10, |_| Some("a.x"));
    wait::until("the breaker opens", || (world.log_lines_with("alone", "a circuit breaker changes") > 0).then_some(()));
    let open = |world: &World<'_>| {
        let series = "tidegate_circuit_breaker_state{connector=\"target\",state=\"open\"} 1";
        world.metrics("alone").lines().any(|line| line == series)
    };
    let calls = ledger.len();
    // What was put is on the disk a moment later.
    wait::pass(Duration::from_secs(1));
    instance.kill();
    instance = world.instance("alone");
    wait::until("the instance is there again", || open(&world).then_some(()));
    let problems = admin::get(&world.log("alone"), "/readyz");
    assert!(problems.contains("its circuit breaker is open"), "{problems}");
    // Long enough for the lease of the instance before to be over.
    wait::pass(Duration::from_secs(5));
    assert_eq!(ledger.len(), calls, "a target that is down was called");
    assert!(instance.is_alive());
}

#[test]
fn a_workflow_that_is_stopped_ends_what_waits() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply { after: HANGS, ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let world = World::with(&broker, &[patient(&out)], &connector("target", &ledger, ""));
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..3, |_| Some("a.x"));
    wait::until("the calls", || (ledger.len() == 3).then_some(()));
    world.apply(&patient(&out).replace("status: active", "status: stopped"));
    let executions = world.topic("executions");
    world.wait_for(&executions, 6);
    let ended: Vec<String> = broker.committed(&executions).iter().map(execution_name).collect();
    assert_eq!(ended.iter().filter(|it| it.ends_with(" pays cancelled")).count(), 3, "{ended:?}");
}

#[test]
fn three_retries_end_nearly_all_that_fails_now_and_then() {
    let Some(broker) = TestBroker::own() else { return };
    let events = 400;
    // Three of ten calls fail, by a sequence that is the same in every run.
    let mut random = tidegate::bench::workload::Random::new(7);
    let ledger = Ledger::start(move |_, _| Reply::now(if random.below(10) < 3 { 503 } else { 200 }));
    let out = broker.topic("out", 6);
    let workflow = two_calls("pays", "target", &out).replace("baseDelayMs: 20,", "maxRetries: 3, baseDelayMs: 20,");
    let world =
        World::with(&broker, &[workflow], &connector("target", &ledger, "breaker = { failureThreshold = 100 }"));
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 2 * events);
    let steps = by_key(&ledger.entries());
    let failed_once = steps.values().filter(|calls| calls.len() > 1).count();
    let given_up = broker.committed(&world.topic("dead-letters")).len();
    println!("{failed_once} of {} steps failed at first, {given_up} for good", steps.len());
    // Computed: 0.3³ of those that failed once, 2.7 %.
    assert!(failed_once > 100 && given_up * 100 <= failed_once * 20, "{given_up} of {failed_once}");
    assert!(steps.values().all(|calls| calls.len() <= 4));
}

#[test]
fn what_a_target_asks_for_counts_for_all_calls_of_its_connector() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, before| match before {
        0 => Reply { retry_after: Some(3), ..Reply::now(429) },
        _ => Reply::now(200),
    });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "concurrency = 1");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..20, |_| Some("a.x"));
    assert_completed(&world, "pays", 20);
    let entries = ledger.entries();
    let gap = entries[1].at.duration_since(entries[0].at);
    assert!(gap >= Duration::from_secs(3), "the next call came {gap:?} after a target had asked for 3 s");
}

#[test]
fn calls_come_at_their_rate_while_nothing_else_goes_on() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(200));
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "rate = 10");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instance = world.instance("alone");
    let events = 30;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    assert_completed(&world, "pays", events);
    let entries = ledger.entries();
    let took = entries[entries.len() - 1].at.duration_since(entries[0].at);
    println!("{} calls in {took:?}", entries.len());
    assert!(took >= Duration::from_millis(5_700), "faster than its rate: {took:?}");
    // Whoever has to be woken for each of them takes 250 ms a call.
    assert!(took < Duration::from_secs(9), "slower than its rate: {took:?}");
}

#[test]
fn what_a_target_asks_for_is_told_and_explains_what_waits() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, before| match before {
        0 => Reply { retry_after: Some(25), ..Reply::now(429) },
        _ => Reply::now(200),
    });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "concurrency = 1");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..2, |_| Some("a.x"));
    let alerts = || -> Vec<serde_json::Value> {
        let all = broker.committed(&world.topic("alerts"));
        let all = all.iter().map(|it| serde_json::from_slice(it.payload().expect("a value")).expect("JSON"));
        all.filter(|it: &serde_json::Value| it["alert"] == "retry-after").collect()
    };
    let raised = wait::until("the alert", || alerts().pop());
    assert_eq!((&raised["subject"], &raised["state"]), (&"connector/target".into(), &"raised".into()));
    let executions = broker.committed(&world.topic("executions"));
    let ids = executions.iter().map(|it| String::from_utf8(it.key().expect("a key").to_vec()).expect("text"));
    let why: Vec<String> = ids
        .map(|id| {
            let told = world.output("operator", &["describe", "execution", &id, "-o", "json"]);
            let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
            told["waiting"][0]["why"].as_str().expect("it waits").to_owned()
        })
        .collect();
    let asked = why.iter().filter(|it| it.starts_with("connector target, its target asked for no calls until "));
    let again = why.iter().filter(|it| it.starts_with("retry at "));
    assert_eq!((asked.count(), again.count()), (1, 1), "{why:?}");
    assert_completed(&world, "pays", 2);
    wait::until("it is taken back", || (alerts().pop()?["state"] == "cleared").then_some(()));
}

#[test]
fn an_instance_that_starts_again_leaves_a_target_alone_that_asked_for_it() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, before| match before {
        0 => Reply { retry_after: Some(600), ..Reply::now(503) },
        _ => Reply::now(200),
    });
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "concurrency = 1");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let mut instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..2, |_| Some("a.x"));
    let asked =
        |world: &World<'_>| admin::get(&world.log("alone"), "/readyz").contains("its target asked for no calls until ");
    wait::until("it is said", || asked(&world).then_some(()));
    // What was put is on the disk a moment later.
    wait::pass(Duration::from_secs(1));
    instance.kill();
    instance = world.instance("alone");
    wait::until("it is said again", || asked(&world).then_some(()));
    // Long enough for the lease of the instance before to be over.
    wait::pass(Duration::from_secs(5));
    assert_eq!(ledger.len(), 1, "a target that asked to be left alone was called");
    assert!(instance.is_alive());
}

#[test]
fn what_ends_an_execution_says_what_kept_it_waiting() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(503));
    let out = broker.topic("out", 6);
    let retries =
        "config:\n  maxAge: 3s\n  timeout: 2s\n  retryPolicy: { maxRetries: 100, baseDelayMs: 200, maxDelayMs: 200 }";
    let workflow = two_calls("pays", "target", &out)
        .replace("config:\n  retryPolicy: { baseDelayMs: 20, maxDelayMs: 500 }", retries);
    let settings = connector("target", &ledger, "breaker = { failureThreshold = 100 }");
    let world = World::with(&broker, &[workflow], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..2, |_| Some("a.x"));
    world.wait_for(&world.topic("dead-letters"), 2);
    for letter in broker.committed(&world.topic("dead-letters")) {
        let header = |name: &str| header(&letter, name);
        let message = header("tidegate-dlq-error-message");
        assert!(message.ends_with("; charge failed last: target answered 503, not 2xx"), "{message}");
        assert_eq!(
            (header("tidegate-dlq-reason").as_str(), header("tidegate-dlq-step").as_str()),
            ("timeout", "charge")
        );
        assert!(header("tidegate-dlq-attempts").parse::<u32>().is_ok_and(|attempts| attempts >= 3), "{letter:?}");
        assert!(header("tidegate-dlq-first-failure") < header("tidegate-dlq-last-failure"));
    }
}

#[test]
fn an_answer_that_is_expected_opens_no_breaker() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(503));
    let out = broker.topic("out", 6);
    let workflow = two_calls("pays", "target", &out)
        .replace("      method: POST\n", "      method: POST\n      expect: [2xx, 503]\n");
    let settings = connector("target", &ledger, "breaker = { failureThreshold = 2, recoveryTimeoutMs = 600000 }");
    let world = World::with(&broker, &[workflow], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..10, |_| Some("a.x"));
    assert_completed(&world, "pays", 10);
}

#[test]
fn refused_credentials_cost_nobody_an_attempt_and_are_told_as_such() {
    let Some(broker) = TestBroker::own() else { return };
    let ledger = Ledger::start(|_, _| Reply::now(401));
    let out = broker.topic("out", 6);
    let settings = connector("target", &ledger, "concurrency = 1");
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let _instance = world.instance("alone");
    send_events(&broker.producer(&[]), &world.source, 0..3, |_| Some("a.x"));
    wait::until("it is told", || {
        admin::get(&world.log("alone"), "/readyz")
            .contains("its target refuses our credentials (401 or 403)")
            .then_some(())
    });
    wait::pass(Duration::from_secs(1));
    assert_eq!((ledger.len(), broker.committed(&world.topic("dead-letters")).len()), (1, 0));
}
