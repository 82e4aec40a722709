//! `tidegate breaker`: what operators want of circuit breakers, and where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::args::{Breaker, BreakerWish, Common, OutputFormat};
use super::output::{rows, talk};
use super::{DONE, setup};
use crate::app::{cluster, overrides, problems};
use crate::codec::alert::AlertState;
use crate::codec::breaker_override::{BreakerOverride, TEXT_BYTES};
use crate::dead_letter::now_ms;
use crate::engine::breaker::Override;
use crate::engine::wire::WireRecord;
use crate::kafka::admin::Admin;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, ReadError};
use crate::settings::Settings;

/// How many alerts are looked at from the end of each partition: more than instances have said of breakers since they were compacted.
const ALERTS: i64 = 100_000;
/// How long reading them may take.
const READ_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(common: &Common, args: &Breaker) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let topic: Arc<str> = cluster::topic(&settings, "control").into();
    match args {
        Breaker::Ls => list(common, &settings, &clients, &topic)?,
        Breaker::Open(wish) => force(common, (&settings, &clients, &topic), wish, Override::Open)?,
        Breaker::Close(wish) => force(common, (&settings, &clients, &topic), wish, Override::Close)?,
        Breaker::Reset { connector } => {
            check_connector(common, &settings, connector)?;
            write(&clients, &BreakerOverride::tombstone(connector, &topic))?;
            rows(common.output, &COLUMNS, &[row(connector, None)]);
            talk(&format!("nobody decides over {connector} any more; where somebody did, its next call does"));
        }
    }
    Ok(DONE)
}

/// What is shown of an override.
const COLUMNS: [&str; 6] = ["connector", "state", "reason", "by", "since", "until"];

fn force(
    common: &Common,
    (settings, clients, topic): (&Settings, &ClientSettings, &Arc<str>),
    args: &BreakerWish,
    wish: Override,
) -> anyhow::Result<()> {
    let connector = &args.connector;
    check_connector(common, settings, connector)?;
    let since_ms = now_ms();
    let lasts_ms = i64::try_from(args.lasts.as_millis()).unwrap_or(i64::MAX);
    let expires_ms = Some(since_ms.saturating_add(lasts_ms));
    let by = args.by.clone().unwrap_or_else(user);
    let wanted = BreakerOverride { wish, reason: args.reason.clone(), by, since_ms, expires_ms };
    write(clients, &wanted.encode(connector, topic))?;
    rows(common.output, &COLUMNS, &[row(connector, Some(&wanted))]);
    let what = match wish {
        Override::Open => "no instance calls it; what needs it is parked",
        Override::Close => "every instance calls it, however many calls fail",
    };
    talk(&format!(
        "{what}, until the time is over or `tidegate breaker reset {connector}`; then its next call decides"
    ));
    Ok(())
}

/// Refuses a connector that these settings do not have. Those of the instances are believed to be the same.
fn check_connector(common: &Common, settings: &Settings, connector: &str) -> anyhow::Result<()> {
    if settings.connectors.contains_key(connector) {
        return Ok(());
    }
    let known: Vec<&str> = settings.connectors.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "no connector".to_owned() } else { known.join(", ") };
    bail!("{} has no [connectors.{connector}]; it has {known}", common.config.display())
}

/// Who runs this, as far as the environment tells.
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|it| (1..=TEXT_BYTES).contains(&it.len())).unwrap_or_else(|| "unknown".to_owned())
}

fn write(clients: &ClientSettings, record: &WireRecord) -> anyhow::Result<()> {
    // A topic that is not there is said so, instead of after a time-out.
    if Admin::new(clients)?.topics(&[&record.topic])?.is_empty() {
        return Err(ReadError::NoTopic(record.topic.to_string()).into());
    }
    overrides::write(clients, record).with_context(|| format!("writing to {}; may this user?", record.topic))
}

fn row(connector: &str, wanted: Option<&BreakerOverride>) -> Value {
    let Some(wanted) = wanted else { return json!({ "connector": connector, "state": null }) };
    json!({ "connector": connector, "state": wanted.state(), "reason": wanted.reason, "by": wanted.by,
        "since": rfc3339(wanted.since_ms), "until": wanted.expires_ms.map(rfc3339) })
}

fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// What an instance said last of a breaker.
struct Said {
    state: &'static str,
    since: String,
}

/// What instances said last, by connector and instance.
type SaidBy = BTreeMap<String, BTreeMap<String, Said>>;

fn list(common: &Common, settings: &Settings, clients: &ClientSettings, topic: &str) -> anyhow::Result<()> {
    let is_known = |connector: &str| settings.connectors.contains_key(connector);
    let now_ms = now_ms();
    let mut wanted = overrides::read(clients, topic, is_known)?;
    wanted.retain(|_, wanted| wanted.holds(now_ms));
    let said = said(clients, &cluster::topic(settings, "alerts"), is_known)?;
    let (none, mut told) = (BTreeMap::new(), Vec::new());
    for connector in settings.connectors.keys() {
        let row = row(connector, wanted.get(connector));
        let said = said.get(connector).unwrap_or(&none);
        if common.output == OutputFormat::Table {
            told.extend(lines(&row, said));
        } else {
            told.push(whole(row, said));
        }
    }
    let columns = ["connector", "override", "until", "by", "reason", "instance", "state", "since"];
    rows(common.output, &columns, &told);
    Ok(())
}

/// One line for each instance that said something, or one.
fn lines(row: &Value, said: &BTreeMap<String, Said>) -> Vec<Value> {
    let line = |said: Option<(&String, &Said)>| {
        json!({ "connector": row["connector"], "override": row["state"], "until": row["until"], "by": row["by"],
            "reason": row["reason"], "instance": said.map(|it| it.0), "state": said.map(|it| it.1.state),
            "since": said.map(|it| &it.1.since) })
    };
    if said.is_empty() { vec![line(None)] } else { said.iter().map(|it| line(Some(it))).collect() }
}

fn whole(mut row: Value, said: &BTreeMap<String, Said>) -> Value {
    let connector = row["connector"].take();
    if let Some(fields) = row.as_object_mut() {
        fields.remove("connector");
    }
    let is_forced = !row["state"].is_null();
    let instance =
        |(instance, said): (&String, &Said)| json!({ "instance": instance, "state": said.state, "since": said.since });
    json!({ "connector": connector, "override": is_forced.then_some(row),
        "instances": said.iter().map(instance).collect::<Vec<_>>() })
}

/// What instances said last. One that never said anything is not listed: its breaker was never open.
fn said(clients: &ClientSettings, topic: &str, is_known: impl Fn(&str) -> bool) -> Result<SaidBy, ReadError> {
    let mut found = SaidBy::new();
    let mut reader = LogReader::open(clients, &[topic], From::Tail(ALERTS))?;
    reader.read_to_end(READ_WITHIN, |record| {
        let Some(alert) = record.value.as_deref().and_then(AlertState::decode) else { return };
        if alert.name == problems::BREAKER && is_known(&alert.subject) {
            let state = if alert.state == "raised" { "open" } else { "closed" };
            let of_connector = found.entry(alert.subject).or_default();
            of_connector.insert(alert.instance, Said { state, since: alert.time });
        }
    })?;
    Ok(found)
}
