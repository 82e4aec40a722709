//! A registry that gives no answer, or none that helps.

use std::time::{Duration, Instant};

use super::{FORMAT, PAID, datum, framed, order, send};
use crate::exactly_once::records::{execution_name, send_events};
use crate::exactly_once::verdict::Verdict;
use crate::exactly_once::world::World;
use crate::support::admin;
use crate::support::broker::TestBroker;
use crate::support::registry::{Mode, Registry};
use crate::support::wait;

/// How long a registry is away.
const AWAY: Duration = Duration::from_secs(2);
/// By when what waited goes on after it is back.
const BACK_WITHIN: Duration = Duration::from_secs(10);

fn workflow(id: &str, event: &str, steps: &str) -> String {
    format!("id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: {event}\nsteps:\n{steps}")
}

const NOTE: &str = "  - id: note\n    type: log\n    config: { level: debug, message: seen }\n";

fn records(id: u32, numbers: std::ops::Range<usize>) -> Vec<(usize, Vec<u8>)> {
    numbers.map(|number| (number, framed(id, &datum(PAID, order(number, 1_000, None))))).collect()
}

#[test]
fn an_outage_holds_up_the_sources_that_need_it_and_makes_no_dead_letters() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    let other = broker.topic("other", 6);
    let settings = format!(
        "[[sources]]\ntopic = \"{other}\"\nformat = \"cloudevents\"\nstart = \"earliest\"\n{}",
        registry.settings()
    );
    let workflows = [workflow("paid", "com.example.*", NOTE), workflow("other", "a.x", NOTE)];
    let mut world = World::with(&broker, &workflows, &settings);
    world.format = FORMAT.into();
    let _instance = world.instance("alone");
    let (executions, producer) = (world.topic("executions"), broker.producer(&[]));
    let mut done = 0;
    let modes = [
        Mode::Status(503),
        Mode::Status(500),
        Mode::Status(429),
        Mode::Status(401),
        Mode::Nonsense,
        Mode::Refuses,
        Mode::Hangs,
    ];
    for (number, mode) in modes.into_iter().enumerate() {
        let id = 10 + number as u32;
        registry.answers(mode);
        registry.knows(&format!("ids/{id}"), PAID, "AVRO");
        send(&producer, &world.source, &records(id, 100 * number..100 * number + 60), None);
        send_events(&producer, &other, 20 * number..20 * number + 20, |_| Some("a.x"));
        world.wait_for(&executions, done + 20);
        if mode != Mode::Hangs {
            wait::until("the outage is told", || {
                admin::get(&world.log("alone"), "/readyz").contains("registry").then_some(())
            });
        }
        wait::pass(AWAY);
        assert_eq!(broker.committed(&executions).len(), done + 20, "{mode:?}: nothing else goes on");
        registry.answers(Mode::Up);
        let back = Instant::now();
        done += 80;
        world.wait_for(&executions, done);
        assert!(back.elapsed() < BACK_WITHIN, "{mode:?}: {:?}", back.elapsed());
    }
    wait::until("the end of the outage is told", || {
        (!admin::get(&world.log("alone"), "/readyz").contains("registry")).then_some(())
    });
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
    let expected: Vec<String> = (0..modes.len())
        .flat_map(|number| {
            let paid = (100 * number..100 * number + 60).map(|it| format!("{it} paid completed"));
            paid.chain((20 * number..20 * number + 20).map(|it| format!("{it} other completed")))
        })
        .collect();
    let verdict = world.check(&executions, &expected, execution_name);
    assert_eq!(verdict, Verdict::default(), "each once");
    assert_eq!(world.log_lines_with("alone", "starts again"), 0, "the lane had to start again");
}

#[test]
fn what_waits_goes_on_after_a_restart_that_the_registry_is_late_for() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    registry.knows("ids/1", PAID, "AVRO");
    let pause = "  - id: pause\n    type: delay\n    config: { for: 3s }\n";
    let mut world = World::with(&broker, &[workflow("paid", "com.example.*", pause)], &registry.settings());
    world.format = FORMAT.into();
    let mut instance = world.instance("alone");
    let (executions, events) = (world.topic("executions"), 60);
    send(&broker.producer(&[]), &world.source, &records(1, 0..events), None);
    world.wait_for(&executions, events);
    instance.kill();
    registry.answers(Mode::Status(503));
    instance = world.instance("alone");
    wait::until("the registry is asked", || {
        registry.answers(Mode::Status(503));
        (registry.asked().len() >= 3).then_some(())
    });
    wait::pass(2 * AWAY);
    assert_eq!(broker.committed(&executions).len(), events, "nothing goes on without the schema");
    registry.answers(Mode::Up);
    world.wait_for(&executions, 2 * events);
    assert_eq!(broker.committed(&world.topic("dead-letters")).len(), 0);
    assert!(instance.is_alive());
}

#[test]
fn a_flood_of_unknown_ids_asks_little_and_holds_nobody_up() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    registry.knows("ids/1", PAID, "AVRO");
    let mut world = World::with(&broker, &[workflow("paid", "com.example.*", NOTE)], &registry.settings());
    world.format = FORMAT.into();
    let _instance = world.instance("alone");
    let mut all = records(1, 0..300);
    // Every other record names a schema that there is not.
    for (number, (_, value)) in all.iter_mut().enumerate().filter(|(number, _)| number / 6 % 2 == 1) {
        value[1..5].copy_from_slice(&(1_000_000 + number as u32).to_be_bytes());
    }
    let started = Instant::now();
    send(&broker.producer(&[]), &world.source, &all, None);
    world.wait_for(&world.topic("executions"), 150);
    world.wait_for(&world.topic("dead-letters"), 150);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let asked = registry.asked().iter().filter(|path| path.starts_with("/schemas/ids/1000")).count();
    assert!(asked <= 20, "{asked} look-ups");
}

#[test]
fn partitions_that_were_given_away_meanwhile_and_came_back_are_read_on() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    registry.knows("ids/1", PAID, "AVRO");
    registry.answers(Mode::Status(503));
    let mut world = World::with(&broker, &[workflow("paid", "com.example.*", NOTE)], &registry.settings());
    world.format = FORMAT.into();
    let mut first = world.instance("first");
    let (executions, producer) = (world.topic("executions"), broker.producer(&[]));
    send(&producer, &world.source, &records(1, 0..60), None);
    wait::until("the registry is asked", || (registry.asked().len() > 3).then_some(()));
    let second = world.instance("second");
    wait::until("the other one holds partitions", || {
        (world.log_lines_with("second", "holds its partitions") > 0).then_some(())
    });
    wait::pass(AWAY);
    second.signal(libc::SIGTERM);
    wait::until("it has left", || (world.log_lines_with("first", "holds its partitions") >= 3).then_some(()));
    registry.answers(Mode::Up);
    world.wait_for(&executions, 60);
    let expected: Vec<String> = (0..60).map(|it| format!("{it} paid completed")).collect();
    assert_eq!(world.check(&executions, &expected, execution_name), Verdict::default(), "each once");
    assert!(first.is_alive());
    assert_eq!(world.log_lines_with("first", "starts again"), 0, "the lane had to start again");
}

#[test]
fn what_was_seen_last_is_asked_for_before_records_need_it() {
    let Some(broker) = TestBroker::own() else { return };
    let registry = Registry::start();
    registry.knows("ids/7", PAID, "AVRO");
    let data_dir = tempfile::tempdir().unwrap();
    let settings = registry.settings();
    let mut world = World::with(&broker, &[workflow("paid", "com.example.*", NOTE)], &settings);
    world.format = FORMAT.into();
    let folder = data_dir.path().to_str().unwrap();
    let start = || world.instance_with("alone", &[("TIDEGATE_DATA_DIR", folder)]);
    let mut instance = start();
    send(&broker.producer(&[]), &world.source, &records(7, 0..10), None);
    world.wait_for(&world.topic("executions"), 10);
    wait::until("it is written down", || data_dir.path().join("schemas.json").exists().then_some(()));
    instance.kill();
    let asked = || registry.asked().iter().filter(|path| path.ends_with("/schemas/ids/7")).count();
    let before = asked();
    instance = start();
    wait::until("it is asked for, although no record needs it", || (asked() > before).then_some(()));
    send(&broker.producer(&[]), &world.source, &records(7, 10..20), None);
    world.wait_for(&world.topic("executions"), 20);
    assert_eq!(asked(), before + 1, "once");
    assert!(instance.is_alive());
}
