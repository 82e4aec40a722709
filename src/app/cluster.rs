//! What an instance needs of its cluster before it starts: clients, topics, and what is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::record::{Encoder, Encoding, SystemTopic};
use crate::kafka::admin::{Admin, AdminError, TopicState};
use crate::kafka::client::{ClientSettings, SettingError};
use crate::kafka::topics::{self, Finding, TopicPlan};
use crate::lane::StopSignal;
use crate::settings::{GroupProtocol, Settings, TopicSelector};

/// The pause before an absent cluster is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// The Kafka clients' settings.
pub fn clients(settings: &Settings) -> Result<ClientSettings, Vec<SettingError>> {
    let exposed = |(name, value): (&String, &crate::settings::Secret)| (name.clone(), value.expose().to_owned());
    let mut properties: BTreeMap<String, String> = settings.kafka.properties.iter().map(exposed).collect();
    properties.insert("bootstrap.servers".into(), settings.kafka.bootstrap_servers.clone());
    if settings.group_protocol == GroupProtocol::Consumer {
        properties.insert("group.protocol".into(), "consumer".into());
    }
    ClientSettings::new(properties)
}

/// How the system topics are named and created.
pub fn topic_plan(settings: &Settings) -> TopicPlan {
    TopicPlan {
        prefix: settings.topic_prefix.clone(),
        partitions: settings.topics.partitions,
        journal_partitions: settings.topics.journal_partitions,
        replication: settings.topics.replication,
    }
}

/// The name of a system topic.
pub fn topic(settings: &Settings, name: &str) -> String {
    format!("{}{name}", settings.topic_prefix)
}

/// What an instance knows of the system topics.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Writes records to them.
    pub encoder: Encoder,
    /// How many partitions the journal has.
    pub journal_partitions: u16,
    /// The ids of all system topics, by name.
    pub system_ids: BTreeMap<String, [u8; 16]>,
}

/// Why the system topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster does not answer, or refuses.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Topics are not as they must be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Topics(Vec<Finding>),
    /// It was stopped while it waited for the cluster.
    #[error("stopped before the cluster answered")]
    Stopped,
}

/// Looks at the system topics. All must be there and set as their files say.
pub fn look(settings: &Settings, clients: &ClientSettings) -> Result<Cluster, ClusterError> {
    let admin = Admin::new(clients)?;
    let (findings, found) = check_topics(settings, &admin)?;
    let fatal: Vec<Finding> = findings.into_iter().filter(|finding| finding.fatal).collect();
    if !fatal.is_empty() {
        return Err(ClusterError::Topics(fatal));
    }
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let system_ids = admin.topic_ids(&names)?;
    let state = |name: &str| found.get(&topic(settings, name)).cloned().unwrap_or_default();
    let system = |name: &str| system_topic(&topic(settings, name), &state(name));
    Ok(Cluster {
        encoder: Encoder {
            environment: settings.environment.as_str().into(),
            step_results: system("step-results"),
            executions: system("executions"),
            dead_letters: system("dead-letters"),
            journal: system("journal"),
            encoding: Encoding::Json,
        },
        system_ids,
        journal_partitions: u16::try_from(state("journal").partitions).unwrap_or(u16::MAX).max(1),
    })
}

/// What is wrong with the system topics and the sources, and the system topics as they are.
pub fn check_topics(
    settings: &Settings,
    admin: &Admin,
) -> Result<(Vec<Finding>, BTreeMap<String, TopicState>), AdminError> {
    let plan = topic_plan(settings);
    let (mut findings, found) = topics::check(admin, &plan)?;
    let is_source = |name: &str| settings.source_of(name).is_some();
    findings.extend(topics::check_sources(admin, &plan, &named_sources(settings), is_source)?);
    Ok((findings, found))
}

/// The sources that are names and no patterns.
pub fn named_sources(settings: &Settings) -> Vec<&str> {
    let named = settings.sources.iter().filter_map(|source| match &source.topic {
        TopicSelector::Name(name) => Some(name.as_str()),
        TopicSelector::Pattern { .. } => None,
    });
    named.collect()
}

fn system_topic(name: &str, state: &TopicState) -> SystemTopic {
    /// Kafka's own default.
    const MAX_MESSAGE_BYTES: usize = 1_048_588;
    let limit = state.settings.get("max.message.bytes").and_then(|it| it.parse().ok());
    SystemTopic {
        name: Arc::from(name),
        partitions: state.partitions,
        max_message_bytes: limit.unwrap_or(MAX_MESSAGE_BYTES),
    }
}

/// Looks at the system topics until they can be used: a cluster that is away may come back, a topic may be created. What is wrong is
/// told each time it changes.
pub fn wait_for(
    settings: &Settings,
    clients: &ClientSettings,
    stop: &StopSignal,
    mut told: impl FnMut(&ClusterError),
) -> Result<Cluster, ClusterError> {
    let mut last = String::new();
    loop {
        match look(settings, clients) {
            Ok(cluster) => return Ok(cluster),
            Err(error) => {
                let message = error.to_string();
                if message != last {
                    told(&error);
                    last = message;
                }
            }
        }
        if stop.wait(RETRY_PAUSE) {
            return Err(ClusterError::Stopped);
        }
    }
}
