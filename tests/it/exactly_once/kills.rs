//! Instances that are killed, or stopped for longer than their session lasts.

use std::time::Duration;

use tidegate::bench::workload::Random;

use super::records::send_events;
use super::world::World;
use super::{MATCHING, assert_exactly_once, events, five_workflows, is_full};
use crate::support::broker::TestBroker;
use crate::support::wait;

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
    let mut frontiers = Vec::new();
    let mut killed_at_work = 0;
    for round in 0..kills {
        let sent = events * (round + 1) / kills;
        // Some of it finds the victim about to join again, the rest at work.
        let (first, last) = (sent - events / kills / 2, sent - events / kills / 4);
        send_events(&producer, &world.source, events * round / kills..first, |_| Some("a.x"));
        wait::pass(Duration::from_millis(400 + random.below(1600) as u64));
        send_events(&producer, &world.source, first..last, |_| Some("a.x"));
        wait::pass(Duration::from_millis(random.below(100) as u64));
        // The kill follows on the heels of these, so that a victim of any speed has some of them in hand.
        send_events(&producer, &world.source, last..sent, |_| Some("a.x"));
        victim.kill();
        let frontier = world.frontier();
        killed_at_work += usize::from(frontier.events() < sent);
        frontiers.push(frontier);
        victim = world.instance("victim");
    }
    assert_exactly_once(&world, &out, 0..events);
    world.assert_no_gaps(&frontiers, &MATCHING.map(str::to_owned));
    println!("{kills} kills, {killed_at_work} of them with work left");
    assert!(killed_at_work > 0, "no kill came while events were in hand");
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
    wait::pass(Duration::from_secs(17));
    stopped.signal(libc::SIGCONT);
    assert_exactly_once(&world, &out, 0..events);
    assert!(stopped.is_alive());
}
