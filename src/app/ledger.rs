//! How the group has started on its sources, kept on the `control` topic: there it outlives the group's offsets, which expire, and go
//! with their topic.
//!
//! Asked inside rebalances. What is remembered answers nearly always; the topic is read again only when a partition comes without an
//! offset that fits, which is when another instance may have written meanwhile. Every call is bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sources::SourceTable;
use crate::codec::source_start::SourceStart;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, LogRecord};
use crate::kafka::sender::Sender;
use crate::kafka::start::{Sources, Start, Started};
use crate::lane::now_ms;

/// How long reading the topic may take: longer than it ever does, and shorter than the group waits for a member.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// How long writing to it may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Topics that are remembered; a pattern may find new ones for ever.
const TOPICS_KEPT: usize = 100_000;

/// The sources of an instance, with what its group has written down of them.
pub struct Ledger {
    table: Arc<SourceTable>,
    clients: ClientSettings,
    topic: Arc<str>,
    group: String,
    known: Mutex<HashMap<String, Started>>,
}

impl Ledger {
    /// The ledger of a group on a control topic. Nothing is asked yet.
    pub fn new(table: Arc<SourceTable>, clients: ClientSettings, topic: Arc<str>, group: String) -> Ledger {
        Ledger { table, clients, topic, group, known: Mutex::default() }
    }

    fn read(&self) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("reading how sources were started: {error}");
        let mut found: HashMap<String, Started> = HashMap::new();
        let opened = LogReader::open(&self.clients, &[&self.topic], From::Beginning);
        let mut reader = opened.map_err(|error| cannot(&error))?;
        let read = reader.read_to_end(READ_WITHIN, |record| self.take_up(&mut found, &record));
        read.map_err(|error| cannot(&error))?;
        *self.known() = found;
        Ok(())
    }

    fn take_up(&self, found: &mut HashMap<String, Started>, record: &LogRecord) {
        let key = record.key.as_deref().unwrap_or_default();
        if !SourceStart::is_key(key) {
            return;
        }
        let Some(value) = &record.value else {
            let ours = format!("source/{}/", self.group);
            let topic = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&ours));
            topic.map(|topic| found.remove(topic));
            return;
        };
        match SourceStart::decode(value) {
            Ok(start) if start.group == self.group && found.len() < TOPICS_KEPT => {
                let SourceStart { topic, topic_id, starts, positions, settled, group: _ } = start;
                found.insert(topic, Started { topic_id, starts, positions, settled });
            }
            Ok(_) => {}
            Err(cause) => {
                let offset = record.offset;
                tracing::warn!(topic = %self.topic, offset, cause, "how a source was started cannot be read");
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Started>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources for Ledger {
    fn start_of(&self, topic: &str) -> (Start, Vec<String>) {
        self.table.start_of(topic)
    }

    fn is_confirmed(&self, topic: &str, token: &str) -> bool {
        self.table.is_confirmed(topic, token)
    }

    fn started(&self, topics: &[&str], now: bool) -> Result<BTreeMap<String, Started>, String> {
        if now {
            self.read()?;
        }
        let known = self.known();
        let found = topics.iter().filter_map(|topic| Some(((*topic).to_owned(), known.get(*topic)?.clone())));
        Ok(found.collect())
    }

    fn write_down(&self, started: &[(&str, Started)]) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| {
            format!("writing down on {} how sources were started: {error}; may this user write there?", self.topic)
        };
        let deadline = Instant::now() + WRITE_WITHIN;
        let mut sender = Sender::new(&self.clients).map_err(|error| cannot(&error))?;
        for (place, (topic, started)) in started.iter().enumerate() {
            let Started { topic_id, starts, positions, settled } = started.clone();
            let (group, topic) = (self.group.clone(), (*topic).to_owned());
            let record =
                SourceStart { group, topic, topic_id, starts, positions, settled }.encode(&self.topic, now_ms());
            sender.send(&record, place + 1, deadline).map_err(|error| cannot(&error))?;
        }
        sender.finish(deadline, |_| ()).map_err(|error| cannot(&error))?;
        let mut known = self.known();
        for (topic, started) in started {
            if known.len() < TOPICS_KEPT || known.contains_key(*topic) {
                known.insert((*topic).to_owned(), started.clone());
            }
        }
        Ok(())
    }
}
