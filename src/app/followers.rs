//! What follows topics while an instance runs: its definitions, and what operators want of circuit breakers.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::definitions;
use super::installing::Installing;
use super::subjects::Subjects;
use super::topic_follower::TopicFollower;
use super::topic_watch::SystemTopics;
use super::versions::Versions;
use super::{cluster, overrides};
use crate::engine::registry::Registry;
use crate::kafka::client::ClientSettings;
use crate::lane::{Gates, StopSignal};
use crate::settings::Settings;
use crate::telemetry::health::Health;

/// How often a start that waits looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The threads that follow.
pub struct Followers {
    definitions: TopicFollower,
    /// None where there is no connector to decide over.
    overrides: Option<TopicFollower>,
}

/// What is followed, and who is told of it.
pub struct Followed<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The Kafka clients' settings.
    pub clients: &'a ClientSettings,
    /// The system topics as they were at the start.
    pub system: &'a Arc<SystemTopics>,
    /// The installed workflows.
    pub registry: &'a Arc<RwLock<Registry>>,
    /// Every version of them.
    pub versions: &'a Arc<Versions>,
    /// The subjects that they name.
    pub subjects: &'a Subjects,
    /// The gates of the connectors.
    pub gates: Arc<Gates>,
    /// Told when the definitions are read.
    pub health: &'a Health,
}

impl Followers {
    /// Starts them, and waits until both topics were read whole: a lane that starts before would match nothing, or call what must not be
    /// called. None if it was stopped before that.
    pub fn start(followed: Followed<'_>, stop: &Arc<StopSignal>) -> std::io::Result<Option<Followers>> {
        let Followed { settings, clients, system, registry, versions, subjects, gates, health } = followed;
        let (registry, versions, subjects) = (registry.clone(), versions.clone(), subjects.clone());
        let (definitions_read, overrides_read) = (Arc::new(StopSignal::default()), Arc::new(StopSignal::default()));
        let (for_health, signal) = (health.clone(), definitions_read.clone());
        let definitions = definitions::start_following(
            (clients.clone(), cluster::topic(settings, "workflows")),
            system.clone(),
            Installing { registry, versions, subjects, stop: stop.clone() },
            move |done| {
                for_health.set_definitions_caught_up(done);
                signal.set();
            },
        )?;
        let overrides = if settings.connectors.is_empty() {
            overrides_read.set();
            None
        } else {
            let (topic, signal) = (cluster::topic(settings, "control"), overrides_read.clone());
            let caught_up = move || signal.set();
            let place = (clients.clone(), topic);
            Some(overrides::start_following(place, system.clone(), gates, stop.clone(), caught_up)?)
        };
        let followers = Followers { definitions, overrides };
        while !(definitions_read.wait(LOOK_EVERY) && overrides_read.wait(LOOK_EVERY)) {
            if stop.is_set() {
                followers.join();
                return Ok(None);
            }
        }
        Ok(Some(followers))
    }

    /// Waits for their end, after the signal was set.
    pub fn join(self) {
        self.definitions.join();
        if let Some(overrides) = self.overrides {
            overrides.join();
        }
    }
}
