//! The promise: every (event, workflow) is recorded once, whatever is killed, stopped or refused. On the embedded broker, and on real
//! Kafka with `TIDEGATE_TEST_BROKER=kafka`; `TIDEGATE_TEST_FULL=1` for the full sizes.

pub mod world;

use std::time::Duration;

use rdkafka::Message;
use tidegate::bench::workload::Random;
use world::{Verdict, World, execution_name, produced_name, send_events, verdict};

use crate::support::broker::TestBroker;

/// Workflows of which three match `a.x`: one exactly, one by segment, one all.
const MATCHING: [&str; 3] = ["all", "exact", "segment"];

fn workflow(id: &str, event: &str, topic: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n  - id: ship\n    type: produce\n    config:\n\
         \x20     topic: {topic}\n      key: \"${{{{ event.key }}}}\"\n      value: \"${{{{ event.data }}}}\"\n      headers: {{ workflow: {id} }}\n"
    )
}

fn five_workflows(out: &str) -> Vec<String> {
    let events = [("exact", "a.x"), ("segment", "a.*"), ("all", "'*'"), ("other", "b.x"), ("others", "c.**")];
    events.map(|(id, event)| workflow(id, event, out)).to_vec()
}

fn is_full() -> bool {
    std::env::var_os("TIDEGATE_TEST_FULL").is_some()
}

fn events() -> usize {
    if is_full() { 60_000 } else { 6_000 }
}

/// Every event's executions and produced records, once.
fn assert_exactly_once(world: &World<'_>, out: &str, events: usize) {
    world.wait_for(&world.topic("executions"), events * MATCHING.len());
    let pairs = |end: &str| -> Vec<String> {
        let of = |number: usize| MATCHING.map(|id| format!("{number} {id}{end}"));
        (0..events).flat_map(of).collect()
    };
    assert_eq!(world.check(&world.topic("executions"), &pairs(" completed"), execution_name), Verdict::default());
    assert_eq!(world.check(out, &pairs(""), produced_name), Verdict::default());
    let steps = world.broker.committed(&world.topic("step-results")).len();
    assert_eq!((steps, world.broker.committed(&world.topic("dead-letters")).len()), (events * MATCHING.len(), 0));
}

#[test]
fn the_checker_finds_what_is_missing_repeated_and_unexpected() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let found = verdict(&names(&["a", "b", "b", "x"]), &names(&["a", "b", "c"]));
    let expected = Verdict { missing: names(&["c"]), repeated: names(&["b"]), unexpected: names(&["x"]) };
    assert_eq!(found, expected);
}

#[test]
fn an_instance_that_is_killed_again_and_again_loses_and_repeats_nothing() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(broker, &five_workflows(&out));
    let seed = std::env::var("TIDEGATE_TEST_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    println!("TIDEGATE_TEST_SEED={seed}");
    let (mut random, kills, events) = (Random::new(seed), if is_full() { 20 } else { 6 }, events());
    let _steady = world.instance("steady");
    let mut victim = world.instance("victim");
    let producer = broker.producer(&[]);
    let mut killed_at_work = 0;
    for round in 0..kills {
        send_events(&producer, &world.source, events * round / kills..events * (round + 1) / kills, |_| Some("a.x"));
        std::thread::park_timeout(Duration::from_millis(400 + random.below(1600) as u64));
        victim.kill();
        killed_at_work += usize::from(world.recorded() < events * (round + 1) / kills * MATCHING.len());
        victim = world.instance("victim");
    }
    assert_exactly_once(&world, &out, events);
    println!("{kills} kills, {killed_at_work} of them with work left");
}

#[test]
fn an_instance_that_was_stopped_beyond_its_session_commits_nothing_of_before() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(broker, &five_workflows(&out));
    let events = events() / 2;
    let producer = broker.producer(&[]);
    let (mut stopped, _other) = (world.instance("stopped"), world.instance("other"));
    send_events(&producer, &world.source, 0..events / 2, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), 1);
    stopped.signal(libc::SIGSTOP);
    send_events(&producer, &world.source, events / 2..events, |_| Some("a.x"));
    // Longer than the session time-out of 15 s.
    std::thread::park_timeout(Duration::from_secs(17));
    stopped.signal(libc::SIGCONT);
    assert_exactly_once(&world, &out, events);
    assert!(stopped.is_alive());
}

#[test]
fn an_event_that_many_workflows_match_is_done_once_for_each_though_its_instance_is_killed() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let many = if is_full() { 3_000 } else { 400 };
    let workflows: Vec<String> = (0..many).map(|number| workflow(&format!("w-{number}"), "a.x", &out)).collect();
    let world = World::new(broker, &workflows);
    let events = 8;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    let mut instance = world.instance("alone");
    for _ in 0..3 {
        world.wait_for(&world.topic("executions"), 1);
        instance.kill();
        instance = world.instance("alone");
    }
    world.wait_for(&world.topic("executions"), events * many);
    let expected: Vec<String> =
        (0..events).flat_map(|event| (0..many).map(move |number| format!("{event} w-{number} completed"))).collect();
    assert_eq!(world.check(&world.topic("executions"), &expected, execution_name), Verdict::default());
}

#[test]
fn what_the_broker_refuses_is_a_dead_letter_and_the_others_go_on() {
    let Some(broker) = TestBroker::shared() else { return };
    let (out, compacted) =
        (broker.topic("out", 6), broker.topic_with("compacted", 1, &[("cleanup.policy", "compact")]));
    let null_key = workflow("null-key", "a.x", &compacted).replace("key: \"${{ event.key }}\"\n", "partition: 0\n");
    let world = World::new(broker, &[workflow("good", "a.x", &out), null_key]);
    let mut instance = world.instance("alone");
    let events = 60;
    send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
    world.wait_for(&world.topic("executions"), events * 2);
    let expected: Vec<String> = (0..events)
        .flat_map(|number| [format!("{number} good completed"), format!("{number} null-key failed")])
        .collect();
    assert_eq!(world.check(&world.topic("executions"), &expected, execution_name), Verdict::default());
    assert_eq!(world.broker.committed(&world.topic("dead-letters")).len(), events);
    assert_eq!((broker.committed(&out).len(), broker.committed(&compacted).len()), (events, 0));
    assert!(instance.is_alive());
}

#[test]
fn records_that_are_no_events_are_dead_letters_and_the_instance_goes_on() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(broker, &five_workflows(&out));
    let mut instance = world.instance("alone");
    let events = 2_000;
    let is_poison = |number: usize| number % 10 == 3;
    send_events(&broker.producer(&[]), &world.source, 0..events, |number| (!is_poison(number)).then_some("b.x"));
    let good: Vec<usize> = (0..events).filter(|number| !is_poison(*number)).collect();
    let expected: Vec<String> =
        good.iter().flat_map(|number| ["all", "other"].map(|id| format!("{number} {id} completed"))).collect();
    world.wait_for(&world.topic("executions"), expected.len());
    world.wait_for(&world.topic("dead-letters"), events - good.len());
    assert_eq!(world.check(&world.topic("executions"), &expected, execution_name), Verdict::default());
    let bytes: Vec<String> =
        (0..events).filter(|number| is_poison(*number)).map(|number| format!("{{\"n\":{number}}}")).collect();
    let letters = world.check(&world.topic("dead-letters"), &bytes, |letter| {
        String::from_utf8_lossy(letter.payload().unwrap_or_default()).into_owned()
    });
    assert_eq!(letters, Verdict::default());
    assert!(instance.is_alive());
}
