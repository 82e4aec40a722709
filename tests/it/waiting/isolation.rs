//! One target that is down delays its own work alone: the throughput and the latency of the others stay what they were.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{connector, is_full};
use crate::exactly_once::records::{execution_name, hand_over, wait_for_delivery};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Ledger, Reply};
use crate::support::wait;

/// Events a second, each of which makes one call of either target.
const RATE: usize = 40;
/// What a latency may grow by beside the promised third: little, but much more on a machine that also carries other tests.
fn slack() -> Duration {
    Duration::from_millis(if is_full() { 50 } else { 1_000 })
}

/// Calls of the target that is down at once: how many may fail together before its breaker is open.
const AT_ONCE: usize = 4;

/// A workflow of one call.
fn one_call(id: &str, connector: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: a.x\nconfig:\n  retryPolicy: {{ maxRetries: 6, baseDelayMs: 20, maxDelayMs: 500 }}\n\
         steps:\n  - id: call\n    type: http\n    config: {{ connector: {connector}, method: POST, path: /calls, body: {{ n: \"${{{{ event.data.n }}}}\" }} }}\n"
    )
}

/// When the calls of events were made first.
fn calls(ledger: &Ledger) -> HashMap<usize, Instant> {
    let mut first: HashMap<usize, Instant> = HashMap::new();
    for entry in ledger.entries() {
        let body: serde_json::Value = serde_json::from_slice(&entry.body).unwrap();
        first.entry(body["n"].as_u64().unwrap() as usize).or_insert(entry.at);
    }
    first
}

/// How long the calls of some events took from when those were sent: one for each event, the shortest first.
fn latencies(ledger: &Ledger, sent: &HashMap<usize, Instant>, numbers: std::ops::Range<usize>) -> Vec<Duration> {
    let first = calls(ledger);
    let mut latencies: Vec<Duration> =
        numbers.filter_map(|number| Some(first.get(&number)?.duration_since(sent[&number]))).collect();
    latencies.sort_unstable();
    latencies
}

fn p99(latencies: &[Duration]) -> Duration {
    latencies[latencies.len() * 99 / 100]
}

#[test]
fn a_target_that_is_down_delays_nobody_else() {
    let Some(broker) = TestBroker::own() else { return };
    let (before, down) = if is_full() { (60, 300) } else { (10, 20) };
    let (a, b) = (Ledger::start(|_, _| Reply::now(200)), Ledger::start(|_, _| Reply::now(200)));
    let breaker = "breaker = { failureThreshold = 5, recoveryTimeoutMs = 2000 }";
    let settings = connector("a", &a, &format!("concurrency = {AT_ONCE}\n{breaker}")) + &connector("b", &b, breaker);
    let world = World::with(&broker, &[one_call("to-a", "a"), one_call("to-b", "b")], &settings);
    let _instance = world.instance("alone");
    let producer = broker.producer(&[]);
    let mut sent: HashMap<usize, Instant> = HashMap::new();
    let mut next = 0;
    // At a steady rate, whatever becomes of them.
    let mut send = |seconds: usize| {
        let first = next;
        let started = Instant::now();
        for number in 0..seconds * RATE {
            wait::pass(
                (started + Duration::from_secs(1) / RATE as u32 * number as u32)
                    .saturating_duration_since(Instant::now()),
            );
            sent.insert(next, Instant::now());
            // Whoever waited for each delivery would not keep the rate.
            hand_over(&producer, &world.source, next, &format!("{{\"n\":{next}}}"));
            producer.poll(Duration::ZERO);
            next += 1;
        }
        wait_for_delivery(&producer);
        let late = started.elapsed().saturating_sub(Duration::from_secs(seconds as u64));
        assert!(late < Duration::from_secs(2), "the rate was not kept: {late:?} late");
        first..next
    };
    // The first commit, the first connection and the first wait for a lease are not what is measured.
    send(10);
    let calm = send(before);
    a.behave(|_, _| Reply::now(503));
    let attempts = a.len();
    let outage = send(down);
    let attempts = a.len() - attempts;
    a.behave(|_, _| Reply::now(200));
    let healed = Instant::now();
    let executions = world.topic("executions");
    let ended = || broker.committed(&executions).iter().filter(|it| execution_name(it).ends_with("completed")).count();
    wait::within(
        Duration::from_secs(down as u64 + 60),
        Duration::from_millis(if is_full() { 2_000 } else { 200 }),
        || "all end",
        || (ended() >= 2 * next).then_some(()),
    );
    let drained = healed.elapsed();
    let (calm_latencies, outage_latencies) = (latencies(&b, &sent, calm), latencies(&b, &sent, outage.clone()));
    let called = calls(&b);
    let in_time = outage.clone().filter(|number| called.get(number).is_some_and(|at| *at <= healed)).count();
    println!(
        "b: p99 {:?} before and {:?} while a was down for {down} s, {} of {} called; a: {attempts} attempts, drained in {drained:?}",
        p99(&calm_latencies),
        p99(&outage_latencies),
        in_time,
        outage.len()
    );
    assert!(in_time * 100 >= outage.len() * 95, "{in_time} of {} were called while a was down", outage.len());
    assert!(p99(&outage_latencies) <= p99(&calm_latencies).mul_f64(1.3) + slack());
    // Five to open it, those that were under way with them, and then one every two seconds.
    assert!(attempts < 5 + AT_ONCE + down / 2 + 1, "{attempts} attempts");
    assert!(drained <= Duration::from_secs(down as u64), "it took longer than the outage: {drained:?}");
    assert_eq!(ended(), 2 * next);
}
