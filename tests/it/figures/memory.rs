//! How much memory an instance has, idle and while it works off a long lag.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer as _;
use tidegate::lane::PIPELINE_BYTES;

use super::load::{Done, execution, send_event};
use super::process::{Resident, cpu_time};
use super::tail::Tail;
use super::{copying, is_full};
use crate::exactly_once::world::World;
use crate::support::broker::{Kind, TestBroker};
use crate::support::clients::deliver;
use crate::support::wait;

const MEGABYTE: u64 = 1_000_000;

/// Resident memory of an idle instance with [`INSTALLED`] workflows and two lanes: anonymous and file-backed pages together, as `ps` shows it,
/// though the kernel could drop the latter. A debug build keeps to it too; its binary only has more of the latter.
const IDLE_BYTES: u64 = 80 * MEGABYTE;
/// How many workflows the idle instance has.
const INSTALLED: usize = 1_000;
/// What an idle instance may use of one core. A debug build needs half as much again for the same, and more when its caches are cold
/// because others use the machine.
const IDLE_SHARE: f64 = if cfg!(debug_assertions) { 0.02 } else { 0.01 };
/// How long it is measured.
const IDLE_WINDOW: Duration = Duration::from_secs(10);

/// Bytes of an event of the lag.
const BODY_BYTES: usize = 1_024;
/// The share of the lag until every queue has been full once.
const WARM_UP: f64 = 0.2;
/// What an instance with one lane has when its queues are full: what is in flight, what the client has fetched ahead, 16 MiB in its queue and
/// as much on the way into it, and what it has idle.
const FULL_BYTES: u64 = PIPELINE_BYTES as u64 + 2 * 16 * 1024 * 1024 + 40 * MEGABYTE;
/// Anonymous memory of an instance at work: full queues, and half as much again for what allocators keep.
const WORKING_BYTES: u64 = FULL_BYTES / 2 * 3;
/// How much more an instance may have in the second half of the work than in the first. How full its queues are follows the broker's moods:
/// filling them late is no growth.
const GROWTH: f64 = 1.1;
const GROWTH_BYTES: u64 = 8 * MEGABYTE;
/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// A workflow as users write them: a trigger with a pattern, and three steps with expressions.
fn typical(number: usize, out: &str) -> String {
    format!(
        "id: typical-{number}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: shop.area-{area}.thing-{number}\n    match:\n      \
         data: {{ country: [DE, FR], amount: [{{ numeric: [\">\", 10] }}] }}\nsteps:\n  - id: shape\n    type: transform\n    config:\n\
         \x20     output: {{ order: \"${{{{ event.data.id }}}}\", label: \"${{{{ event.data.country }}}}-{number}\", gross: \"${{{{ event.data.amount * 1.19 }}}}\" }}\n\
         \x20 - id: large\n    type: condition\n    dependencies: [shape]\n    config: {{ if: steps.shape.output.gross > 100.0 }}\n\
         \x20 - id: announce\n    type: produce\n    dependencies: [large]\n    config: {{ topic: {out}, key: \"${{{{ event.key }}}}\", value: \"${{{{ steps.shape.output }}}}\" }}\n",
        area = number % 10,
    )
}

#[test]
fn an_idle_instance_with_many_workflows_is_small_and_quiet() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 6);
    let workflows: Vec<String> = (0..INSTALLED).map(|number| typical(number, &out)).collect();
    let world = World::new(broker, &workflows);
    let instance = world.instance_with("idle", &[("TIDEGATE_LANES", "2")]);
    wait::until("both lanes hold partitions", || {
        (world.log("idle").matches("the lane holds its partitions").count() >= 2).then_some(())
    });
    let (before, started) = (cpu_time(instance.id()), Instant::now());
    wait::pass(IDLE_WINDOW);
    let share = (cpu_time(instance.id()) - before).as_secs_f64() / started.elapsed().as_secs_f64();
    let resident = Resident::of(instance.id());
    println!("idle: {resident:?}, {:.2} % of a core", share * 100.0);
    assert!(world.log("idle").contains(&format!("\"workflows\":{INSTALLED}")), "{}", world.log("idle"));
    assert!(resident.total() <= IDLE_BYTES, "{resident:?}");
    assert!(share <= IDLE_SHARE, "{share}");
}

#[test]
fn memory_stays_flat_while_a_long_lag_is_worked_off() {
    let Some(broker) = TestBroker::own() else { return };
    let events = match (is_full(), broker.kind()) {
        (false, _) => 100_000,
        (true, Kind::Kafka) => 5_000_000,
        // It has its records in memory too, and its partitions keep 256 MiB each.
        (true, Kind::Embedded) => 1_000_000,
    };
    let out = broker.topic("out", 6);
    let world = World::new(&broker, &[copying("copy", "1.0.0", "a.x", &out)]);
    let producer = broker.producer(&[]);
    let filler = "x".repeat(BODY_BYTES - 30);
    for number in 0..events {
        send_event(&producer, &world.source, number, "a.x", &format!("{{\"n\":{number},\"filler\":\"{filler}\"}}"));
    }
    deliver(&producer);
    assert_eq!(producer.in_flight_count(), 0);
    let instance = world.instance("alone");
    let mut done = Done::none_of(events);
    let (mut samples, mut sampled) = (Vec::new(), Instant::now());
    let tail = Tail::new(&broker, &world.topic("executions"));
    let (started, within) = (Instant::now(), Duration::from_secs(120 + events as u64 / 500));
    while !done.is_complete() {
        assert!(started.elapsed() < within, "{} of {events} events after {within:?}", done.count());
        tail.next(|message| done.mark(execution(message).0));
        if sampled.elapsed() >= SAMPLE_EVERY {
            sampled = Instant::now();
            samples.push((done.count(), Resident::of(instance.id())));
        }
    }
    println!("{events} events in {:?}", started.elapsed());
    let warm = (events as f64 * WARM_UP) as usize;
    let half = warm + (events - warm) / 2;
    let most = |from: usize, to: usize| {
        let there = samples.iter().filter(|(done, _)| (from..to).contains(done));
        there.map(|(_, resident)| resident.anonymous).max().expect("the work takes long enough for samples")
    };
    let (first, second) = (most(warm, half), most(half, events + 1));
    println!(
        "{events} events in {:?}; MB in the warm-up {}, in the first half {}, in the second {}",
        started.elapsed(),
        most(0, warm) / MEGABYTE,
        first / MEGABYTE,
        second / MEGABYTE
    );
    assert!(first.max(second) <= WORKING_BYTES, "{first} and {second} bytes");
    let grown = (first.max(FULL_BYTES) as f64 * GROWTH) as u64 + GROWTH_BYTES;
    assert!(second <= grown, "{second} bytes after {first}");
}
