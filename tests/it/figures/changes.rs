//! Definitions that change while events pass: nothing is lost, nothing is done twice, and nobody waits.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rdkafka::message::Message as _;
use tidegate::definition::{Installed, Record, Syntax, parse, plan_apply};
use tidegate::engine::wire::WireRecord;
use tidegate::kafka::client::ClientSettings;
use tidegate::kafka::producer::TransactionalProducer;

use super::load::{Done, execution, send_event};
use super::tail::Tail;
use super::{Promise, copying, is_full};
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, unique};
use crate::support::wait;

/// How much longer than without changes the longest pause may be, and the longest way of an event through the instance.
const PAUSE: Promise = Promise { release: Duration::from_millis(50), debug: Duration::from_secs(2) };
/// Definitions that change a second, and how many of them in one transaction: real Kafka does not take a hundred transactions a second from
/// one producer while everything else runs beside it on two cores.
const CHANGES_PER_SECOND: usize = 100;
const CHANGES_AT_ONCE: usize = 10;
/// How many of them must be managed in a second: a debug build beside others may fall behind.
const CHANGES_AT_LEAST: usize = if cfg!(debug_assertions) { 50 } else { 95 };
/// Events a second.
const EVENTS_PER_SECOND: u32 = 200;
/// How many workflows change in turn that no event matches. One that every event matches changes every tenth time.
const BYSTANDERS: usize = 50;
const HOT_EVERY: usize = 10;
/// How long the instance works before it is measured: the first events find everything cold.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long it is measured without changes.
const CALM: Duration = Duration::from_secs(5);
/// How long one transaction may take.
const TRANSACTION: Duration = Duration::from_secs(10);

/// What a phase of the run took at most.
#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    /// Between two events that were seen done, one after the other.
    gap: Duration,
    /// From sending an event to seeing it done.
    way: Duration,
}

/// Writes definitions as `apply` does, all that are given in one transaction, and keeps its producer.
struct Writer {
    producer: TransactionalProducer,
    installed: Installed,
    topic: String,
}

impl Writer {
    fn new(broker: &TestBroker, topic: String) -> Writer {
        let user = [("bootstrap.servers".to_owned(), broker.bootstrap().to_owned())].into();
        let clients = ClientSettings::new(user).unwrap();
        let producer = TransactionalProducer::new(&clients, &unique("writer")).unwrap();
        wait::until("the writer may write", || producer.init().ok());
        Writer { producer, installed: Installed::default(), topic }
    }

    fn apply(&mut self, yamls: &[String]) {
        let read = |yaml: &String| parse(Path::new("changed.yaml"), yaml.as_bytes(), Syntax::Yaml).unwrap();
        let changes = plan_apply(&self.installed, &yamls.iter().map(read).collect::<Vec<_>>());
        let deadline = Instant::now() + TRANSACTION;
        self.producer.begin().unwrap();
        for (token, record) in changes.iter().flat_map(|change| &change.records).enumerate() {
            self.producer.send(&self.wire(record), token, deadline).unwrap();
            self.installed.take_up(record.clone());
        }
        self.producer.wait_for_deliveries(deadline).unwrap();
        wait::until("the change is committed", || self.producer.commit().ok());
    }

    fn wire(&self, record: &Record) -> WireRecord {
        WireRecord {
            topic: self.topic.as_str().into(),
            partition: Some(0),
            key: Some(record.key().into()),
            value: record.value().map(Bytes::from),
            headers: Default::default(),
            step: None,
        }
    }
}

fn microseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// Calls `act` so many times a second, at times that do not move when a call takes long, until it says that it has done enough.
fn steadily(per_second: u32, mut act: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut number = 0;
    while act() {
        number += 1;
        let due = started + Duration::from_secs(1) * number / per_second;
        wait::pass(due.saturating_duration_since(Instant::now()));
    }
}

/// What was seen of the unchanged workflow: when, of which event, and how long after that was sent.
type Seen = Vec<(Instant, usize, Duration)>;

/// Reads what the unchanged workflow writes, until all events are through.
fn watch(tail: &Tail, events: usize) -> Seen {
    let mut seen = Vec::with_capacity(events);
    let within = Duration::from_secs(120);
    tail.until("every event is through", within, |message| {
        let sent: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let way = microseconds().saturating_sub(sent["sent"].as_u64().unwrap());
        let number = std::str::from_utf8(message.key().unwrap()).unwrap().parse().unwrap();
        seen.push((Instant::now(), number, Duration::from_micros(way)));
        seen.len() == events - 1
    });
    seen
}

fn longest(seen: &Seen, events: Range<usize>) -> Longest {
    let of_phase: Vec<_> = seen.iter().filter(|(_, number, _)| events.contains(number)).collect();
    let gap = of_phase.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    let way = of_phase.iter().map(|(_, _, way)| *way).max();
    Longest { gap: gap.expect("two events"), way: way.expect("an event") }
}

/// Every event's executions of the unchanged workflow and of the one that changed, each once.
fn check_executions(tail: &Tail, events: usize) {
    let mut done: HashMap<String, Done> =
        ["steady", "hot"].map(|id| (id.to_owned(), Done::none_of(events))).into_iter().collect();
    tail.until("all executions are recorded", Duration::from_secs(60), |message| {
        let (number, workflow) = execution(message);
        done.get_mut(&workflow).expect("a workflow that events match").mark(number);
        done.values().all(Done::is_complete)
    });
    tail.until_quiet(Duration::from_millis(500), |message| panic!("one too many: {:?}", execution(message)));
}

/// Changes definitions for so long; returns how many times.
fn change(writer: &mut Writer, lasting: Duration, hot: impl Fn(usize) -> String) -> usize {
    let (started, mut changes) = (Instant::now(), 0);
    steadily((CHANGES_PER_SECOND / CHANGES_AT_ONCE) as u32, || {
        let next = changes..changes + CHANGES_AT_ONCE;
        let definitions = next.map(|number| match number % HOT_EVERY {
            0 => hot(number + 1),
            _ => copying(
                &format!("bystander-{}", number % BYSTANDERS),
                &format!("1.0.{number}"),
                "never.sent",
                "nowhere",
            ),
        });
        writer.apply(&definitions.collect::<Vec<_>>());
        changes += CHANGES_AT_ONCE;
        started.elapsed() < lasting
    });
    changes
}

#[test]
fn definitions_that_change_all_the_time_lose_nothing_and_hold_up_nothing() {
    let Some(broker) = TestBroker::shared() else { return };
    let changing = Duration::from_secs(if is_full() { 30 } else { 8 });
    let (out, hot_out) = (broker.topic("out", 6), broker.topic("hot-out", 6));
    let hot = |number: usize| copying("hot", &format!("1.0.{number}"), "a.x", &hot_out);
    let world = World::new(broker, &[copying("steady", "1.0.0", "a.x", &out)]);
    let mut writer = Writer::new(broker, world.topic("workflows"));
    writer.apply(&[hot(0)]);
    let _instance = world.instance("alone");
    let events = (WARM_UP + CALM + changing).as_secs() as usize * EVENTS_PER_SECOND as usize;
    let producer = broker.producer(&[]);
    // Connections are made and everything is found before the clock starts.
    send_event(&producer, &world.source, 0, "a.x", "{\"sent\":0}");
    let tail = Tail::new(broker, &out);
    tail.until("the instance works", Duration::from_secs(60), |_| true);
    let sent = AtomicUsize::new(1);
    let (seen, calm, changes) = std::thread::scope(|threads| {
        let watching = threads.spawn(|| watch(&tail, events));
        threads.spawn(|| {
            steadily(EVENTS_PER_SECOND, || {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                send_event(&producer, &world.source, number, "a.x", &format!("{{\"sent\":{}}}", microseconds()));
                number + 1 < events
            });
            deliver(&producer);
        });
        wait::pass(WARM_UP);
        let from = sent.load(Ordering::Relaxed);
        wait::pass(CALM);
        let calm = from..sent.load(Ordering::Relaxed);
        let changes = change(&mut writer, changing, hot);
        (watching.join().expect("all is seen"), calm, changes)
    });
    let (without, with) = (longest(&seen, calm.clone()), longest(&seen, calm.end..events));
    println!("{changes} changes in {changing:?}; longest without them {without:?}, with them {with:?}");
    check_executions(&Tail::new(broker, &world.topic("executions")), events);
    assert!(changes >= CHANGES_AT_LEAST * changing.as_secs() as usize, "{changes} changes in {changing:?}");
    let bound = PAUSE.bound();
    assert!(with.gap <= without.gap + bound && with.way <= without.way + bound, "{with:?} against {without:?}");
}
