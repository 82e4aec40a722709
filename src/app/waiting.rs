//! What an instance's lanes need for executions that wait: the journal, versions of workflows, gates and calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::problems::{self, BREAKER, BREAKER_STORE, RETRY_AFTER};
use super::purge::Done;
use super::versions::Versions;
use crate::breaker_store::{BreakerStore, Snapshot, asked};
use crate::codec::journal;
use crate::codec::record::SystemTopic;
use crate::engine::breaker::{BreakerState, Transition};
use crate::engine::checkpoint::Content;
use crate::engine::gate::{GatePolicy, LaneId, Rate};
use crate::engine::record::JournalRecord;
use crate::engine::value::milliseconds_text;
use crate::lane::{Caller, Gates, Steady, Turned, Waiting};
use crate::settings::Settings;
use crate::telemetry::health::{Health, Turn};
use crate::telemetry::metrics::Metrics;

/// What a record takes in a batch beside what it weighs, with room to spare.
const OVERHEAD_BYTES: usize = 2 * 1024;

/// How many times the weight of a checkpoint its record may take at most: what weighs less than that part of the limit fits.
const FAR: usize = 8;

/// Shared by the lanes of an instance.
pub struct SharedWaiting {
    journal: SystemTopic,
    versions: Arc<Versions>,
    gates: Arc<Gates>,
    caller: Arc<dyn Caller>,
    clock: Steady,
    done: Arc<Done>,
    /// None where there is no connector, and so no circuit breaker.
    breakers: Option<Arc<BreakerStore>>,
    memory_bytes: usize,
    live: Vec<Arc<AtomicUsize>>,
}

impl SharedWaiting {
    /// For so many lanes.
    pub fn new(
        settings: &Settings,
        journal: SystemTopic,
        versions: Arc<Versions>,
        caller: Arc<dyn Caller>,
        done: Arc<Done>,
        (health, metrics): (Health, Metrics),
    ) -> SharedWaiting {
        let clock = Steady::default();
        let (breakers, known) = if settings.connectors.is_empty() {
            (None, Snapshot::new())
        } else {
            let (for_health, shown) = (health.clone(), metrics.clone());
            let told = move |wrong: Option<&str>| tell_store(&for_health, &shown, wrong);
            let (store, known) = BreakerStore::open(&settings.data_dir, told);
            (Some(Arc::new(store)), known)
        };
        let policies = settings.connectors.iter().map(|(name, connector)| {
            let rate = connector.rate.and_then(Rate::per_second);
            let policy = GatePolicy { concurrency: connector.concurrency, rate, breaker: connector.breaker };
            (Arc::from(name.as_str()), (policy, known.get(name).copied()))
        });
        let states = BreakerState::ALL.map(BreakerState::name);
        let (shown, store, for_health) = (metrics.clone(), breakers.clone(), health.clone());
        let told = move |connector: &str, turned: Turned| {
            shown.breaker_changed(connector, &states, turned.transition.to.name());
            tell(&for_health, connector, turned);
            if let Some(store) = &store {
                store.put(connector, turned.open_until_ms);
            }
        };
        let (for_health, store) = (health.clone(), breakers.clone());
        let waits = move |connector: &str, until_ms: Option<u64>| {
            tell_wait(&for_health, connector, until_ms);
            if let Some(store) = &store {
                store.put(&asked(connector), until_ms);
            }
        };
        let gates = Gates::new(policies.collect::<BTreeMap<_, _>>(), clock, Box::new(told));
        let gates = Arc::new(gates.telling_waits(Box::new(waits)));
        for (connector, state) in gates.states() {
            if let Some(until_ms) = known.get(&asked(&connector)) {
                gates.leave_alone(&connector, *until_ms);
            }
            metrics.breaker_stands(&connector, &states, state.name());
            if state == BreakerState::Open {
                // As it was when the instance ended before.
                health.raise(BREAKER, &connector, &open(known.get(&*connector).copied()), SystemTime::now());
            }
        }
        let live = (0..settings.lanes.get()).map(|_| Arc::new(AtomicUsize::new(1))).collect();
        let memory_bytes = settings.limits.waiting_bytes;
        SharedWaiting { journal, versions, gates, caller, clock, done, breakers, memory_bytes, live }
    }

    /// For one of the lanes.
    pub fn of_lane(&self, number: usize) -> Waiting {
        let (journal, versions, done) = (self.journal.clone(), self.versions.clone(), self.done.clone());
        let coming = versions.clone();
        Waiting {
            topic: self.journal.name.clone(),
            read: Box::new(|record| journal::decode(record).map_err(|damaged| damaged.to_string())),
            fits: Box::new(move |record| fits(&journal, record)),
            definition: Box::new(move |id, version| versions.find(id, version)),
            is_on_its_way: Box::new(move |id, version| coming.is_on_its_way(id, version)),
            gates: self.gates.clone(),
            caller: self.caller.clone(),
            clock: self.clock,
            lane: LaneId(u32::try_from(number).unwrap_or(u32::MAX)),
            done_before: Box::new(move |partition, offset| done.before(partition, offset)),
            memory_bytes: self.memory_bytes,
            live: self.live.get(number).cloned().unwrap_or_default(),
        }
    }

    /// The gates of the connectors.
    pub fn gates(&self) -> Arc<Gates> {
        self.gates.clone()
    }

    /// The instance ends: what is known of circuit breakers is written, if that takes no longer than a moment.
    pub fn close(&self) {
        if let Some(breakers) = &self.breakers {
            breakers.close();
        }
    }

    /// How many executions wait in all lanes; more than there are while a partition is read for the first time.
    pub fn live(&self) -> usize {
        self.live.iter().map(|live| live.load(Ordering::Relaxed)).sum()
    }
}

fn fits(topic: &SystemTopic, record: &JournalRecord) -> Result<(), String> {
    // What is far smaller is not written twice to know it.
    if let Content::Checkpoint(checkpoint) = &record.content
        && checkpoint.weight() <= topic.max_message_bytes / FAR
    {
        return Ok(());
    }
    let bytes = journal::encode(&topic.name, record).size_bytes();
    if bytes + OVERHEAD_BYTES <= topic.max_message_bytes {
        return Ok(());
    }
    Err(format!(
        "where the execution stands takes {bytes} bytes, more than the topic {} takes ({}); output less, pass a reference, or raise \
         the topic's max.message.bytes",
        topic.name, topic.max_message_bytes
    ))
}

/// What the instance says of a circuit breaker that is open, and of one that an operator holds open.
const FORCED_OPEN: &str =
    "an operator holds its circuit breaker open: calls wait, and are made when that ends; see `tidegate breaker ls`";
const REFUSED: &str = "its target refuses our credentials (401 or 403): calls wait, one asks again each minute; mend `headers` of its settings";
const HALF_OPEN: &str =
    "its circuit breaker is half-open: a call decides whether it closes, and the others wait for that";
const CLOSED: &str = "its circuit breaker is closed: calls are made";

/// The same of one that is open until a moment of the gates' clock.
fn open(until_ms: Option<u64>) -> String {
    let until_ms = until_ms.and_then(|until_ms| i64::try_from(until_ms).ok());
    let until = until_ms.map_or(String::new(), |until_ms| format!(" until {}", milliseconds_text(until_ms)));
    format!("its circuit breaker is open{until}: calls wait, and one decides then whether it closes")
}

/// What is wrong when circuit breakers cannot be kept on disk, as the subject of a problem.
const COPY: &str = "breakers";

/// Says what a target has asked for, or that it is over.
fn tell_wait(health: &Health, connector: &str, until_ms: Option<u64>) {
    let (subject, now) = (problems::connector(connector), SystemTime::now());
    match until_ms {
        Some(until_ms) => {
            let until = milliseconds_text(i64::try_from(until_ms).unwrap_or(i64::MAX));
            let message = format!("its target asked for no calls until {until}: they wait, and are made then");
            // Asked once more, it is told once more.
            health.clear(RETRY_AFTER, &subject, now);
            health.raise(RETRY_AFTER, &subject, &message, now);
        }
        None => health.clear(RETRY_AFTER, &subject, now),
    }
}

/// Says what is wrong with the copy of circuit breakers on disk, or that it is over. Nothing waits for it, so the instance stays ready.
fn tell_store(health: &Health, metrics: &Metrics, wrong: Option<&str>) {
    match wrong {
        Some(cause) => {
            let message = format!(
                "circuit breakers are not kept in `data_dir` as they should be, until one changes and can be written; nothing else is \
                 held up, but an instance that starts again calls targets that are down: {cause}"
            );
            health.raise(BREAKER_STORE, COPY, &message, SystemTime::now());
        }
        None => health.clear(BREAKER_STORE, COPY, SystemTime::now()),
    }
    metrics.breaker_store_degraded(wrong.is_some());
}

/// Says what a circuit breaker does.
fn tell(health: &Health, connector: &str, turned: Turned) {
    let Turned { transition: Transition { from, to }, open_until_ms, is_refused } = turned;
    tracing::info!(connector, from = from.name(), to = to.name(), "a circuit breaker changes");
    let open = open(open_until_ms);
    let said = match (from, to) {
        (_, BreakerState::Open) if is_refused => (true, REFUSED),
        (_, BreakerState::Open) => (true, &*open),
        (_, BreakerState::ForcedOpen) => (true, FORCED_OPEN),
        // That it was open is what is known so far.
        (BreakerState::Open, BreakerState::HalfOpen) => (true, HALF_OPEN),
        // Nothing is known to be wrong once an operator holds it no more, however long nobody calls.
        (_, BreakerState::HalfOpen) => (false, HALF_OPEN),
        (_, BreakerState::Closed | BreakerState::Disabled) => (false, CLOSED),
    };
    health.turned(BREAKER, connector, said, Turn { from: from.name(), to: to.name() }, SystemTime::now());
}
