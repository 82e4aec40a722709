//! What operators want of circuit breakers, on the `control` topic: read, written, and followed while an instance runs.
//!
//! ```text
//!  tidegate breaker … ─▶ control: breaker/<connector> ─▶ follower of every instance ─▶ its gates
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::topic_follower::TopicFollower;
use super::topic_watch::SystemTopics;
use crate::codec::breaker_override::BreakerOverride;
use crate::engine::wire::WireRecord;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, LogRecord, ReadError};
use crate::kafka::sender::{SendError, Sender};
use crate::lane::{Gates, StopSignal};

/// How long reading the whole topic may take.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// How long writing to it may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long the follower waits for a record before it looks whether a wish has lapsed, or it is to stop.
const FOLLOW_POLL: Duration = Duration::from_millis(250);

/// What is wanted, by connector. Whoever reads names the connectors that there are, so there are no more than the settings have.
pub type Overrides = BTreeMap<String, BreakerOverride>;

/// What is on the topic as of now, of the connectors that `is_known` names, whether it still holds or not.
pub fn read(clients: &ClientSettings, topic: &str, is_known: impl Fn(&str) -> bool) -> Result<Overrides, ReadError> {
    let mut reader = LogReader::open(clients, &[topic], From::Beginning)?;
    read_to_end(&mut reader, is_known)
}

fn read_to_end(reader: &mut LogReader, is_known: impl Fn(&str) -> bool) -> Result<Overrides, ReadError> {
    let mut overrides = Overrides::new();
    reader.read_to_end(READ_WITHIN, |record| {
        if let Some((connector, wanted)) = understand(&record, &is_known) {
            match wanted {
                Some(wanted) => drop(overrides.insert(connector.to_owned(), wanted)),
                None => drop(overrides.remove(connector)),
            }
        }
    })?;
    Ok(overrides)
}

/// Writes one record of an operator.
pub fn write(clients: &ClientSettings, record: &WireRecord) -> Result<(), SendError> {
    let deadline = Instant::now() + WRITE_WITHIN;
    let mut sender = Sender::new(clients)?;
    sender.send(record, 1, deadline)?;
    sender.finish(deadline, |_| ())
}

/// The connector that a record is about, and what is wanted of it from now on. None if it is somebody else's, or cannot be read: that
/// changes nothing.
fn understand(record: &LogRecord, is_known: impl Fn(&str) -> bool) -> Option<(&str, Option<BreakerOverride>)> {
    let connector = BreakerOverride::connector(record.key.as_deref()?)?;
    if !is_known(connector) {
        tracing::info!(topic = %record.topic, offset = record.offset, connector, "a circuit breaker is decided over that is not ours");
        return None;
    }
    match record.value.as_deref().map(BreakerOverride::decode).transpose() {
        Ok(wanted) => Some((connector, wanted)),
        Err(cause) => {
            let offset = record.offset;
            tracing::warn!(topic = %record.topic, offset, connector, cause, "what is wanted of a circuit breaker cannot be read");
            None
        }
    }
}

/// Follows the `control` topic and keeps gates as it says. `caught_up` is called each time everything that was there is applied. What was
/// wanted stays until it lapses, whatever becomes of the topic.
pub fn start_following(
    (clients, topic): (ClientSettings, String),
    system: Arc<SystemTopics>,
    gates: Arc<Gates>,
    stop: Arc<StopSignal>,
    mut caught_up: impl FnMut() + Send + 'static,
) -> std::io::Result<TopicFollower> {
    let (mut wanted, told) = (Overrides::new(), gates.clone());
    let follow = move |clients: &ClientSettings, topic: &str, is_over: &dyn Fn() -> bool| {
        let mut applied = Applied { gates: &told, wanted: &mut wanted };
        follow(clients, topic, &mut applied, &mut caught_up, is_over)
    };
    TopicFollower::start("circuit breakers", (clients, topic), system, stop, follow, move || gates.lapse())
}

fn follow(
    clients: &ClientSettings,
    topic: &str,
    applied: &mut Applied<'_>,
    caught_up: &mut impl FnMut(),
    is_over: &dyn Fn() -> bool,
) -> Result<(), ReadError> {
    let gates = applied.gates;
    let is_known = |connector: &str| gates.has(connector);
    let mut reader = LogReader::open(clients, &[topic], From::Beginning)?;
    applied.all(read_to_end(&mut reader, is_known)?);
    caught_up();
    while !is_over() {
        if let Some(record) = reader.poll(FOLLOW_POLL)?
            && let Some((connector, wanted)) = understand(&record, is_known)
        {
            applied.one(connector, wanted);
        }
        gates.lapse();
    }
    Ok(())
}

/// What gates were told last. The topic is read again from its beginning whenever it could not be read on, and that alone changes nothing.
struct Applied<'g> {
    gates: &'g Gates,
    wanted: &'g mut Overrides,
}

impl Applied<'_> {
    /// What is wanted of every connector: nothing, where the topic says nothing any more.
    fn all(&mut self, mut overrides: Overrides) {
        let ended: Vec<String> = self.wanted.keys().filter(|name| !overrides.contains_key(*name)).cloned().collect();
        ended.iter().for_each(|connector| self.one(connector, None));
        while let Some((connector, wanted)) = overrides.pop_first() {
            self.one(&connector, Some(wanted));
        }
    }

    fn one(&mut self, connector: &str, wanted: Option<BreakerOverride>) {
        if self.wanted.get(connector) == wanted.as_ref() {
            return;
        }
        let Some(wanted) = wanted else {
            tracing::info!(connector, "an operator has ended what was wanted of a circuit breaker");
            self.wanted.remove(connector);
            self.gates.force(connector, None);
            return;
        };
        let BreakerOverride { reason, by, expires_ms, .. } = &wanted;
        tracing::info!(
            connector,
            state = wanted.state(),
            reason,
            by,
            expires_ms,
            "an operator decides over a circuit breaker"
        );
        // What ends before 1970 has ended.
        let until_ms = expires_ms.map_or(u64::MAX, |it| u64::try_from(it).unwrap_or(0));
        self.gates.force(connector, Some((wanted.wish, until_ms)));
        self.wanted.insert(connector.to_owned(), wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::breaker::{BreakerPolicy, BreakerState, Override};
    use crate::engine::gate::GatePolicy;
    use crate::lane::Steady;

    fn wanted(wish: Override, expires_ms: Option<i64>) -> BreakerOverride {
        BreakerOverride { wish, reason: "a test".into(), by: "ada".into(), since_ms: 0, expires_ms }
    }

    fn record(key: &str, value: Option<&[u8]>) -> LogRecord {
        LogRecord {
            topic: "control".into(),
            partition: 0,
            offset: 7,
            timestamp_ms: 0,
            key: Some(key.into()),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_ours_and_can_be_read_is_understood() {
        let open = wanted(Override::Open, None);
        let value = open.encode("billing", &"control".into()).value.expect("it is no tombstone");
        let understood = |key: &str, value: Option<&[u8]>| {
            understand(&record(key, value), |connector| connector == "billing").map(|(_, wanted)| wanted)
        };
        assert_eq!(understood("breaker/billing", Some(&value)), Some(Some(open)));
        assert_eq!(understood("breaker/billing", None), Some(None));
        assert_eq!(understood("breaker/billing", Some(b"{\"state\":\"open\"}")), None);
        assert_eq!(understood("breaker/crm", Some(&value)), None);
        assert_eq!(understood("source/tidegate/billing", Some(&value)), None);
        assert_eq!(understand(&LogRecord { key: None, ..record("", None) }, |_| true), None);
    }

    #[test]
    fn gates_follow_what_is_said_last_and_a_second_reading_changes_nothing() {
        let policy = GatePolicy { concurrency: 1, rate: None, breaker: BreakerPolicy::simple(1, 1_000) };
        let policies = ["billing", "crm"].map(|name| (Arc::from(name), (policy, None)));
        let gates = Gates::new(policies.into(), Steady::default(), Box::new(|_, _| ()));
        let states = || gates.states().into_iter().map(|(_, state)| state).collect::<Vec<_>>();
        let mut known = Overrides::new();
        let mut applied = Applied { gates: &gates, wanted: &mut known };
        let open = || BTreeMap::from([("billing".to_owned(), wanted(Override::Open, None))]);
        applied.all(open());
        assert_eq!(states(), [BreakerState::ForcedOpen, BreakerState::Closed]);
        applied.one("crm", Some(wanted(Override::Open, Some(1))));
        assert_eq!(states(), [BreakerState::ForcedOpen, BreakerState::Closed], "it has expired");
        applied.all(open());
        applied.one("billing", Some(wanted(Override::Close, None)));
        assert_eq!(states(), [BreakerState::Disabled, BreakerState::Closed]);
        applied.all(Overrides::new());
        assert_eq!(states(), [BreakerState::HalfOpen, BreakerState::Closed]);
    }
}
