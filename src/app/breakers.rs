//! What can be known of circuit breakers from outside: what operators want of them, and what instances said last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{overrides, problems};
use crate::codec::alert::AlertState;
use crate::codec::breaker_override::BreakerOverride;
use crate::engine::value::milliseconds_text;
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, LogRecord, ReadError};

/// How many alerts are looked at from the end of each partition: more than instances have said of breakers since they were compacted.
const ALERTS: i64 = 100_000;
/// How long reading them may take.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// What is known of the breaker of a connector.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// What an operator wants of it.
    pub wanted: Option<BreakerOverride>,
    /// What instances said last. One that never said anything is not listed: its breaker was never open.
    pub said: BTreeMap<String, Said>,
    /// What its target has asked for, as instances say it: no calls until a moment.
    pub asked: BTreeMap<String, String>,
}

/// What an instance said last of a breaker.
#[derive(Clone, Debug)]
pub struct Said {
    /// `open`, `half-open` or `closed`.
    pub state: &'static str,
    /// Since when, RFC 3339.
    pub since: String,
    /// What that means for calls.
    pub message: String,
}

/// The instances that are in a group now, as far as that can be known.
pub struct Present(Option<BTreeSet<String>>);

impl Present {
    /// Asks who the members of a group are. Where that cannot be told, because it has none, its coordinator says nothing of them, or they have
    /// names of the user's, everybody counts as there.
    pub fn of(clients: &ClientSettings, group: &str) -> Result<Present, AdminError> {
        if clients.names_clients() {
            return Ok(Present(None));
        }
        let members = Admin::new(clients)?.group_clients(group)?;
        // A lane is called by its instance and its number.
        let instance = |lane: &String| {
            let (instance, number) = lane.rsplit_once('-')?;
            number.parse::<u32>().is_ok().then(|| instance.to_owned())
        };
        let instances: Option<BTreeSet<String>> = members.iter().map(instance).collect();
        Ok(Present(instances.filter(|it| !it.is_empty())))
    }

    /// Whether an instance is there.
    fn has(&self, instance: &str) -> bool {
        self.0.as_ref().is_none_or(|instances| instances.contains(instance))
    }
}

/// What is known of those of the connectors that `is_known` names, if anything is. `translate` makes JSON of alerts in Avro. What an instance
/// said that is not `present` any more counts for nothing.
pub fn read(
    clients: &ClientSettings,
    (control, alerts): (&str, &str),
    present: &Present,
    is_known: impl Fn(&str) -> bool,
    mut translate: impl FnMut(&mut LogRecord),
) -> Result<BTreeMap<String, Breaker>, ReadError> {
    let mut found: BTreeMap<String, Breaker> = BTreeMap::new();
    for (connector, wanted) in overrides::read(clients, control, &is_known)? {
        found.entry(connector).or_default().wanted = Some(wanted);
    }
    let mut reader = LogReader::open(clients, &[alerts], From::Tail(ALERTS))?;
    reader.read_to_end(READ_WITHIN, |mut record| {
        translate(&mut record);
        let alert = record.value.as_deref().and_then(AlertState::decode);
        let Some(alert) = alert.filter(|alert| present.has(&alert.instance)) else { return };
        let connector =
            problems::connector_of(&alert.subject).filter(|it| alert.name == problems::RETRY_AFTER && is_known(it));
        if let Some(connector) = connector {
            let asked = &mut found.entry(connector.to_owned()).or_default().asked;
            match alert.state.as_str() {
                "raised" => drop(asked.insert(alert.instance, alert.message)),
                _ => drop(asked.remove(&alert.instance)),
            }
        } else if alert.name == problems::BREAKER && is_known(&alert.subject) {
            let state = match (alert.breaker.as_ref().map(|turned| &*turned.to), &*alert.state) {
                (Some("half_open"), _) => "half-open",
                (_, "raised") => "open",
                _ => "closed",
            };
            let breaker = found.entry(alert.subject).or_default();
            breaker.said.insert(alert.instance, Said { state, since: alert.time, message: alert.message });
        }
    })?;
    Ok(found)
}

impl Breaker {
    /// What holds now, as one document.
    pub fn document(&self, now_ms: i64) -> Value {
        let wanted = self.wanted.as_ref().filter(|wanted| wanted.holds(now_ms));
        let wanted = wanted.map(|wanted| {
            json!({ "state": wanted.state(), "reason": wanted.reason, "by": wanted.by, "since": milliseconds_text(wanted.since_ms),
                "until": wanted.expires_ms.map(milliseconds_text) })
        });
        let instance = |(instance, said): (&String, &Said)| json!({ "instance": instance, "state": said.state, "since": said.since, "message": said.message });
        json!({ "override": wanted, "instances": self.said.iter().map(instance).collect::<Vec<_>>() })
    }
}
