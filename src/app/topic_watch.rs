//! Looks now and then whether topics are still the ones that are read and written: one that was deleted and created again gives no
//! signal.
//!
//! A source that became another topic is said to the lanes, which start again and refuse it. A system topic that did is a problem that
//! an operator has to look at; definitions are not read from it, and those that are installed go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::problems::{self, TOPIC_RECREATED};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::client::ClientSettings;
use crate::lane::{StopSignal, TopicIds};
use crate::telemetry::health::Health;

/// How often it looks: one question to the cluster, and so long may records of another topic be taken for those of the one before.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The system topics as they were when the instance started.
#[derive(Debug)]
pub struct SystemTopics {
    topics: Vec<SystemTopic>,
}

#[derive(Debug)]
struct SystemTopic {
    name: String,
    id: [u8; 16],
    is_gone: AtomicBool,
}

impl SystemTopics {
    /// The topics by name and id.
    pub fn new(ids: BTreeMap<String, [u8; 16]>) -> SystemTopics {
        let topic = |(name, id)| SystemTopic { name, id, is_gone: AtomicBool::new(false) };
        SystemTopics { topics: ids.into_iter().map(topic).collect() }
    }

    /// Whether another topic was seen under this name.
    pub fn is_gone(&self, name: &str) -> bool {
        self.topics.iter().any(|topic| topic.name == name && topic.is_gone.load(Ordering::Acquire))
    }

    /// Whether another topic is there under this name, as the cluster says now.
    pub fn is_gone_now(&self, clients: &ClientSettings, name: &str) -> Result<bool, AdminError> {
        if !self.is_gone(name) {
            self.compare(&Admin::new(clients)?.topic_ids(&[name])?);
        }
        Ok(self.is_gone(name))
    }

    /// Takes note of what the cluster says; returns the names of those that became another topic since the last time.
    pub(super) fn compare(&self, seen: &BTreeMap<String, [u8; 16]>) -> Vec<&str> {
        let other = self.topics.iter().filter(|topic| seen.get(&topic.name).is_some_and(|id| *id != topic.id));
        other.filter(|topic| !topic.is_gone.swap(true, Ordering::AcqRel)).map(|topic| topic.name.as_str()).collect()
    }
}

/// Looks until it is told to stop.
pub struct TopicWatch {
    thread: JoinHandle<()>,
}

/// What the watch needs.
pub struct Watched {
    /// The Kafka clients' settings.
    pub clients: ClientSettings,
    /// What lanes hold.
    pub sources: Arc<TopicIds>,
    /// What the instance reads and writes itself.
    pub system: Arc<SystemTopics>,
    /// Who is told.
    pub health: Health,
}

impl TopicWatch {
    /// Starts looking.
    pub fn start(watched: Watched, stop: Arc<StopSignal>) -> std::io::Result<TopicWatch> {
        let thread = std::thread::Builder::new().name("topics".into()).spawn(move || {
            while !stop.wait(LOOK_EVERY) {
                if let Err(error) = watched.look() {
                    tracing::warn!(cause = %error, "whether topics are still the same cannot be asked; trying again");
                }
            }
        })?;
        Ok(TopicWatch { thread })
    }

    /// Waits for its end, after the signal was set.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread that watches topics panicked");
        }
    }
}

impl Watched {
    fn look(&self) -> Result<(), AdminError> {
        let sources = self.sources.held();
        let system = self.system.topics.iter().map(|topic| topic.name.as_str());
        let names: Vec<&str> = sources.iter().map(|name| &**name).chain(system).collect();
        let seen = Admin::new(&self.clients)?.topic_ids(&names)?;
        for (name, id) in &seen {
            if self.sources.saw(name, *id) {
                tracing::error!(topic = name, "a source was deleted and created again; nothing more is read from it");
            }
        }
        self.system.compare(&seen);
        for topic in self.system.topics.iter().filter(|topic| topic.is_gone.load(Ordering::Acquire)) {
            let message = format!(
                "{} was deleted and created again while the instance ran: what was in the old one is gone, and nothing is read from \
                 the new one; restore it if it must be, then start the instance again, which takes the topic as it is then",
                topic.name
            );
            self.health.raise(TOPIC_RECREATED, &problems::system_topic(&topic.name), &message, SystemTime::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_topic_that_became_another_one_is_said_once_and_stays_gone() {
        let ids = |id: u8| BTreeMap::from([("t.workflows".to_owned(), [id; 16])]);
        let topics = SystemTopics::new(ids(1));
        assert!(topics.compare(&ids(1)).is_empty() && topics.compare(&BTreeMap::new()).is_empty());
        assert_eq!(topics.compare(&ids(2)), ["t.workflows"]);
        assert!(topics.compare(&ids(2)).is_empty() && topics.compare(&ids(1)).is_empty());
        assert!(topics.is_gone("t.workflows") && !topics.is_gone("t.journal"));
    }
}
