//! What a cache knows, and which look-ups are due. No I/O, and no clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::flood::Flood;
use super::pause::Pause;
use super::{ASKERS, CacheLimits, LOOK_UPS, Look, Outage, SEEN, UNKNOWN_FOR, UNKNOWN_PER_WINDOW, UNKNOWN_WINDOW};
use crate::codec::avro::SchemaKey;

/// What an entry costs beside the text of its schema.
const ENTRY_BYTES: usize = 256;

/// A look-up that starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub key: SchemaKey,
    /// Who asks; None for a warm start.
    asker: Option<usize>,
    /// The failed attempts before it.
    attempt: u32,
}

/// Whether a look-up of a warm start is made.
pub(super) enum Due {
    Start(Start),
    /// The schema is known, or somebody looks it up already.
    Needless,
    /// Neither this nor another one.
    Ended,
}

/// What a look-up has brought.
pub(super) enum Brought<T> {
    /// A schema, and the bytes of its text.
    Known(Arc<T>, usize),
    Refused(Arc<str>),
    Unknown(Arc<str>),
    Outage(Arc<str>),
}

/// A look-up that has ended.
pub(super) struct Arrival<T> {
    pub start: Start,
    pub brought: Brought<T>,
}

enum Kept<T> {
    Known(Arc<T>),
    Refused(Arc<str>),
}

struct Entry<T> {
    kept: Kept<T>,
    bytes: usize,
    /// When it was used last, in looks.
    used: u64,
}

struct Unknown {
    until: Instant,
    message: Arc<str>,
}

/// The state of a cache.
pub(super) struct State<T> {
    limits: CacheLimits,
    entries: HashMap<SchemaKey, Entry<T>>,
    /// The bytes of the entries.
    bytes: usize,
    /// Counts looks.
    looks: u64,
    /// Bounded by how many may become unknown within the time for which they are kept.
    unknown: HashMap<SchemaKey, Unknown>,
    /// Look-ups that have not ended.
    under_way: HashSet<SchemaKey>,
    /// Look-ups that have ended since the last call with a time: [`LOOK_UPS`], and those of warm starts.
    arrived: Vec<Arrival<T>>,
    /// Of each asker that has asked for something unknown.
    floods: HashMap<usize, Flood>,
    pause: Pause,
    /// The key whose look-up failed last.
    failed: Option<SchemaKey>,
    /// Another one was turned away since because of the outage.
    is_waited_for: bool,
    /// A warm start has met a schema that the registry does not know.
    is_cold: bool,
}

impl<T> State<T> {
    pub fn new(limits: CacheLimits) -> State<T> {
        State {
            limits,
            entries: HashMap::new(),
            bytes: 0,
            looks: 0,
            unknown: HashMap::new(),
            under_way: HashSet::new(),
            arrived: Vec::new(),
            floods: HashMap::new(),
            pause: Pause::default(),
            failed: None,
            is_waited_for: false,
            is_cold: false,
        }
    }

    /// What is known of a schema, and the look-up that is to be started.
    pub fn look(&mut self, key: SchemaKey, asker: usize, now: Instant) -> (Look<T>, Option<Start>) {
        let asker = asker.min(ASKERS - 1);
        self.take_in(now);
        if let Some(look) = self.known(key, now) {
            return (look, None);
        }
        let wait = |until| (Look::Pending { until }, None);
        if self.under_way.contains(&key) || self.under_way.len() >= LOOK_UPS {
            return wait(None);
        }
        if let Some(until) = self.pause.until(now) {
            self.is_waited_for |= self.failed != Some(key);
            return wait(Some(until));
        }
        if self.pause.outage().is_some() {
            // Of an outage one look-up finds out whether it is over.
            if !self.under_way.is_empty() {
                self.is_waited_for |= self.failed != Some(key);
                return wait(None);
            }
            // What failed last may be all that does: others that wait have their turn before it.
            if self.failed == Some(key) && std::mem::take(&mut self.is_waited_for) {
                return wait(Some(now));
            }
        }
        let flood = self.floods.entry(asker).or_default();
        let unknown = flood.count(now);
        if let Some(until) = flood.until() {
            return (Look::Flooded { until, message: flooded(key) }, None);
        }
        // Each that is under way may turn out to be unknown.
        if unknown + self.under_way.len() >= UNKNOWN_PER_WINDOW {
            return wait(None);
        }
        (Look::Pending { until: None }, Some(self.start(key, Some(asker))))
    }

    /// Whether a schema is looked up at a warm start.
    pub fn warm(&mut self, key: SchemaKey) -> Due {
        let has_arrived = self.arrived.iter().any(|it| it.start.key == key);
        let is_known = self.entries.contains_key(&key) || self.unknown.contains_key(&key);
        if is_known || has_arrived || self.under_way.contains(&key) {
            return Due::Needless;
        }
        let ends = |it: &Arrival<T>| match it.brought {
            Brought::Outage(_) => true,
            Brought::Unknown(_) => it.start.asker.is_none(),
            Brought::Known(..) | Brought::Refused(_) => false,
        };
        if self.is_cold || self.pause.outage().is_some() || self.arrived.iter().any(ends) {
            return Due::Ended;
        }
        Due::Start(self.start(key, None))
    }

    /// A look-up has ended.
    pub fn arrive(&mut self, arrival: Arrival<T>) {
        self.under_way.remove(&arrival.start.key);
        self.arrived.push(arrival);
    }

    /// Takes in what has arrived.
    pub fn take_in(&mut self, now: Instant) {
        for Arrival { start, brought } in std::mem::take(&mut self.arrived) {
            match brought {
                Brought::Known(compiled, bytes) => self.keep(start.key, Kept::Known(compiled), bytes),
                Brought::Refused(message) => {
                    let bytes = message.len();
                    self.keep(start.key, Kept::Refused(message), bytes);
                }
                Brought::Unknown(message) => {
                    self.pause.answered();
                    match start.asker {
                        Some(asker) => self.floods.entry(asker).or_default().add(now),
                        None => self.is_cold = true,
                    }
                    self.unknown.retain(|_, it| now < it.until);
                    self.unknown.insert(start.key, Unknown { until: now + UNKNOWN_FOR, message });
                }
                Brought::Outage(message) => {
                    self.failed = Some(start.key);
                    self.pause.failed(start.attempt, message, now);
                }
            }
        }
    }

    /// The outage, if there is one.
    pub fn outage(&self) -> Option<Outage> {
        self.pause.outage().cloned()
    }

    /// Whether an outage lasts of which nobody finds out whether it is over.
    pub fn is_forgotten(&mut self, now: Instant) -> bool {
        self.take_in(now);
        self.pause.outage().is_some() && self.under_way.is_empty() && self.pause.until(now).is_none()
    }

    /// The registry answers.
    pub fn answered(&mut self) {
        self.pause.answered();
    }

    /// The schemas that were used last, most recently used first.
    pub fn seen(&self) -> Vec<SchemaKey> {
        let known = self.entries.iter().filter(|(_, it)| matches!(it.kept, Kept::Known(_)));
        let mut seen: Vec<_> = known.map(|(key, it)| (it.used, *key)).collect();
        seen.sort_unstable_by(|one, other| other.cmp(one));
        seen.into_iter().take(SEEN).map(|(_, key)| key).collect()
    }

    fn known(&mut self, key: SchemaKey, now: Instant) -> Option<Look<T>> {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.looks += 1;
            entry.used = self.looks;
            return Some(match &entry.kept {
                Kept::Known(compiled) => Look::Known(compiled.clone()),
                Kept::Refused(message) => Look::Refused(message.clone()),
            });
        }
        let unknown = self.unknown.get(&key).filter(|it| now < it.until)?;
        Some(Look::Unknown(unknown.message.clone()))
    }

    fn start(&mut self, key: SchemaKey, asker: Option<usize>) -> Start {
        self.under_way.insert(key);
        Start { key, asker, attempt: self.pause.attempt() }
    }

    /// Keeps what the registry has, and lets go what was used least recently. Finding it takes a walk over all, which is little beside
    /// the look-up that led here; a look takes none.
    fn keep(&mut self, key: SchemaKey, kept: Kept<T>, bytes: usize) {
        self.pause.answered();
        self.unknown.remove(&key);
        self.looks += 1;
        let entry = Entry { kept, bytes: bytes + ENTRY_BYTES, used: self.looks };
        self.bytes += entry.bytes;
        let before = self.entries.insert(key, entry);
        self.bytes -= before.map_or(0, |it| it.bytes);
        // The one that has just come stays, however large: it is bounded by itself, and a record waits for it.
        while self.entries.len() > 1 && (self.entries.len() > self.limits.schemas || self.bytes > self.limits.bytes) {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, it)| it.used).map(|(key, _)| *key) else { return };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |it| it.bytes);
        }
    }
}

fn flooded(key: SchemaKey) -> Arc<str> {
    format!(
        "schema {key} is not asked for: {UNKNOWN_PER_WINDOW} schemas were unknown to the registry within {} s; see who writes records \
         with schemas that are not registered",
        UNKNOWN_WINDOW.as_secs()
    )
    .into()
}
