//! Admin calls, each within a bounded time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::groups::GroupInfo;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{ClientError, ClientSettings};
use super::group::Holdings;
use super::native::{self, TopicDescription};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new topic may take until it can be used.
const CREATED_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked whether it can.
const WAIT_POLL: Duration = Duration::from_millis(20);

/// A client for admin calls.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    /// How many partitions it has.
    pub partitions: i32,
    /// Its settings, defaults included.
    pub settings: BTreeMap<String, String>,
    /// Partitions that have no leader right now: they can be neither read nor written.
    pub leaderless: Vec<i32>,
}

/// Why an admin call failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster did not answer; try again.
    #[error("no answer from the brokers: {0}")]
    Unreachable(String),
    /// A right is missing: grant it.
    #[error("not authorized to {what}: {cause}; grant this user the right")]
    NotAuthorized {
        /// What was asked.
        what: String,
        /// Why not, in Kafka's words.
        cause: String,
    },
    /// The cluster refused.
    #[error("{what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why not, in Kafka's words.
        cause: String,
    },
}

impl Admin {
    /// A client with these settings. Nothing is asked yet.
    pub fn new(settings: &ClientSettings) -> Result<Admin, AdminError> {
        let client = settings.plain().create().map_err(ClientError::from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| AdminError::Unreachable(error.to_string()))?;
        Ok(Admin { client, runtime })
    }

    /// The topics among `names` that exist.
    pub fn topics(&self, names: &[&str]) -> Result<BTreeMap<String, TopicState>, AdminError> {
        self.topics_where(|name| names.contains(&name))
    }

    /// The topics whose names are `wanted`.
    pub fn topics_where(&self, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, TopicState>, AdminError> {
        // All topics at once: asking for a name could create it.
        let metadata = self.client.inner().fetch_metadata(None, CALL_TIMEOUT);
        let metadata = metadata.map_err(|error| AdminError::Unreachable(error.to_string()))?;
        let known = metadata.topics().iter().filter(|it| wanted(it.name()) && it.error().is_none());
        let mut found: BTreeMap<String, TopicState> = known
            .map(|it| {
                let leaderless = it.partitions().iter().filter(|it| it.leader() < 0).map(|it| it.id()).collect();
                let partitions = it.partitions().len() as i32;
                (it.name().to_owned(), TopicState { partitions, settings: BTreeMap::new(), leaderless })
            })
            .collect();
        let resources: Vec<String> = found.keys().cloned().collect();
        if resources.is_empty() {
            return Ok(found);
        }
        let specifiers: Vec<_> = resources.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let described = self.runtime.block_on(self.client.describe_configs(&specifiers, &options()));
        for (name, described) in
            resources.iter().zip(described.map_err(|error| unreachable("describe topics", &error))?)
        {
            let described = described.map_err(|code| refused(&format!("describe {name}"), code))?;
            if let Some(state) = found.get_mut(name) {
                let settings = described.entries.into_iter();
                state.settings = settings.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            }
        }
        Ok(found)
    }

    /// Deletes what lies before offsets of partitions of a topic. Done for those that are answered; the error is the first of the others.
    pub fn delete_records(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<(), AdminError> {
        let what = format!("delete records of {topic}");
        let mut list = TopicPartitionList::with_capacity(before.len());
        for (partition, offset) in before {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
            added.map_err(|error| AdminError::Refused { what: what.clone(), cause: error.to_string() })?;
        }
        let deleted = self.runtime.block_on(self.client.delete_records(&list, &options()));
        let deleted = deleted.map_err(|error| unreachable(&what, &error))?;
        for element in deleted.elements() {
            if let Err(error) = element.error() {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                return Err(refused(&what, code));
            }
        }
        Ok(())
    }

    /// The ids of the topics among `names` that exist and may be described.
    pub fn topic_ids(&self, names: &[&str]) -> Result<BTreeMap<String, [u8; 16]>, AdminError> {
        Ok(self.describe(names)?.into_iter().map(|topic| (topic.name, topic.id)).collect())
    }

    /// How many partitions the topics among `names` have that exist and may be described.
    pub fn partition_counts(&self, names: &[&str]) -> Result<BTreeMap<String, usize>, AdminError> {
        Ok(self.describe(names)?.into_iter().map(|topic| (topic.name, topic.partitions)).collect())
    }

    fn describe(&self, names: &[&str]) -> Result<Vec<TopicDescription>, AdminError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let described = native::describe_topics(self.client.inner().native_ptr(), names, CALL_TIMEOUT);
        described.map_err(|code| refused("describe topics", code))
    }

    /// Creates a topic and waits until it can be used; one that is there already is fine.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), AdminError> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (name, value) in settings {
            topic = topic.set(name, value);
        }
        let created = self.runtime.block_on(self.client.create_topics(&[topic], &options()));
        let results = created.map_err(|error| unreachable("create topics", &error))?;
        match results.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => self.wait_for(name),
            Some(Err((_, code))) => Err(refused(&format!("create {name}"), code)),
        }
    }

    /// Waits until a topic that was created can be used: the controller answers before the brokers know of it.
    fn wait_for(&self, name: &str) -> Result<(), AdminError> {
        let deadline = Instant::now() + CREATED_WITHIN;
        loop {
            let metadata = self.client.inner().fetch_metadata(None, CALL_TIMEOUT);
            let metadata = metadata.map_err(|error| AdminError::Unreachable(error.to_string()))?;
            let topic = metadata.topics().iter().find(|it| it.name() == name);
            let partitions = topic.map_or(&[][..], |it| it.partitions());
            if !partitions.is_empty() && partitions.iter().all(|it| it.leader() >= 0) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let within = CREATED_WITHIN.as_secs();
                let message = format!("the topic {name} was created, but has no leaders after {within} s");
                return Err(AdminError::Unreachable(message));
            }
            std::thread::park_timeout(WAIT_POLL);
        }
    }

    /// The brokers that are alive, as `HOST:PORT`.
    pub fn brokers(&self) -> Result<Vec<String>, AdminError> {
        let metadata = self.client.inner().fetch_metadata(None, CALL_TIMEOUT);
        let metadata = metadata.map_err(|error| AdminError::Unreachable(error.to_string()))?;
        Ok(metadata.brokers().iter().map(|it| format!("{}:{}", it.host(), it.port())).collect())
    }

    /// How many members a group has; None if the cluster does not know it.
    pub fn group_members(&self, group: &str) -> Result<Option<usize>, AdminError> {
        self.group(group, |found| found.filter(|it| it.state() != "Dead").map(|it| it.members().len()))
    }

    /// What the members of a group call themselves. Nobody, where the coordinator assigns (KIP-848): such groups are not described so.
    pub fn group_clients(&self, group: &str) -> Result<BTreeSet<String>, AdminError> {
        self.group(group, |found| {
            found.map_or_else(BTreeSet::new, |it| it.members().iter().map(|it| it.client_id().to_owned()).collect())
        })
    }

    /// What the members of a group hold; None while it rebalances or has no members.
    pub fn group_holdings(&self, group: &str) -> Result<Option<Holdings>, AdminError> {
        self.group(group, |found| found.and_then(Holdings::of))
    }

    fn group<T>(&self, name: &str, read: impl FnOnce(Option<&GroupInfo>) -> T) -> Result<T, AdminError> {
        let list = self.client.inner().fetch_group_list(Some(name), CALL_TIMEOUT);
        let list = list.map_err(|error| AdminError::Unreachable(error.to_string()))?;
        Ok(read(list.groups().iter().find(|it| it.name() == name)))
    }

    /// Deletes topics; those that are not there are fine.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), AdminError> {
        let deleted = self.runtime.block_on(self.client.delete_topics(names, &options()));
        for result in deleted.map_err(|error| unreachable("delete topics", &error))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((name, code)) => return Err(refused(&format!("delete {name}"), code)),
            }
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL_TIMEOUT)).operation_timeout(Some(CALL_TIMEOUT))
}

fn unreachable(what: &str, error: &dyn std::fmt::Display) -> AdminError {
    AdminError::Unreachable(format!("{what}: {error}"))
}

fn refused(what: &str, code: RDKafkaErrorCode) -> AdminError {
    let (what, cause) = (what.to_owned(), code.to_string());
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            AdminError::NotAuthorized { what, cause }
        }
        _ => AdminError::Refused { what, cause },
    }
}
