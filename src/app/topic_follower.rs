//! A thread that follows one system topic for as long as an instance runs, through all that can happen to the topic and its brokers.

use std::sync::Arc;
use std::time::Duration;

use super::topic_watch::SystemTopics;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::ReadError;
use crate::lane::StopSignal;

/// The pause after the topic could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A thread that follows a topic.
pub struct TopicFollower {
    name: &'static str,
    thread: std::thread::JoinHandle<()>,
}

impl TopicFollower {
    /// Starts following. `follow` reads the topic from its beginning and then on, until the question that it is given says that it is over;
    /// it is called again whenever it could not go on. Another topic that is created under the same name is not followed. `meanwhile` is
    /// called each time before it is tried again, for what depends on time and not on the topic.
    pub fn start(
        name: &'static str,
        (clients, topic): (ClientSettings, String),
        system: Arc<SystemTopics>,
        stop: Arc<StopSignal>,
        mut follow: impl FnMut(&ClientSettings, &str, &dyn Fn() -> bool) -> Result<(), ReadError> + Send + 'static,
        mut meanwhile: impl FnMut() + Send + 'static,
    ) -> std::io::Result<TopicFollower> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            while !stop.is_set() {
                // A question that is not answered now is asked again: reading would fail as well.
                let followed = match system.is_gone_now(&clients, &topic) {
                    Ok(true) => Ok(()),
                    Ok(false) => follow(&clients, &topic, &|| stop.is_set() || system.is_gone(&topic)),
                    Err(error) => Err(ReadError::Broker { topic: topic.clone(), cause: error.to_string() }),
                };
                if let Err(error) = followed {
                    tracing::warn!(topic, cause = %error, "the {name} cannot be followed; trying again");
                }
                meanwhile();
                stop.wait(RETRY_PAUSE);
            }
        })?;
        Ok(TopicFollower { name, thread })
    }

    /// Waits for its end, after the signal was set.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread that follows the {} panicked", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;

    use super::*;

    /// Far longer than two rounds take.
    const ROUNDS_WITHIN: Duration = Duration::from_secs(60);

    #[test]
    fn a_topic_that_is_another_one_is_not_followed_and_time_passes_all_the_same() {
        let system = Arc::new(SystemTopics::new(BTreeMap::from([("control".to_owned(), [1; 16])])));
        system.compare(&BTreeMap::from([("control".to_owned(), [2; 16])]));
        let servers = BTreeMap::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
        let place = (ClientSettings::new(servers).expect("settings"), "control".to_owned());
        let follow = |_: &ClientSettings, topic: &str, _: &dyn Fn() -> bool| panic!("{topic} was followed");
        let stop = Arc::new(StopSignal::default());
        let (round, rounds) = mpsc::channel();
        let meanwhile = move || _ = round.send(());
        let follower = TopicFollower::start("topic", place, system, stop.clone(), follow, meanwhile).expect("a thread");
        for _ in 0..2 {
            rounds.recv_timeout(ROUNDS_WITHIN).expect("a round");
        }
        stop.set();
        follower.join();
    }
}
