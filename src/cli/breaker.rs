//! `tidegate breaker`: what operators want of circuit breakers, and where they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::args::{Breaker, BreakerWish, Common, OutputFormat};
use super::output::{rows, talk};
use super::records::Readable;
use super::{DONE, setup};
use crate::app::breakers::{self, Present, Said};
use crate::app::{cluster, overrides};
use crate::codec::breaker_override::{BreakerOverride, TEXT_BYTES};
use crate::engine::breaker::Override;
use crate::engine::value::milliseconds_text;
use crate::engine::wire::WireRecord;
use crate::kafka::admin::Admin;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::ReadError;
use crate::lane::now_ms;
use crate::settings::Settings;

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
        "since": milliseconds_text(wanted.since_ms), "until": wanted.expires_ms.map(milliseconds_text) })
}

fn list(common: &Common, settings: &Settings, clients: &ClientSettings, topic: &str) -> anyhow::Result<()> {
    let is_known = |connector: &str| settings.connectors.contains_key(connector);
    let now_ms = now_ms();
    let mut readable = Readable::new(settings);
    let present = Present::of(clients, &settings.group)?;
    let alerts = cluster::topic(settings, "alerts");
    let mut known = breakers::read(clients, (topic, &alerts), &present, is_known, |record| readable.translate(record))?;
    let mut told = Vec::new();
    for connector in settings.connectors.keys() {
        let breaker = known.remove(connector).unwrap_or_default();
        if common.output == OutputFormat::Table {
            let wanted = breaker.wanted.as_ref().filter(|wanted| wanted.holds(now_ms));
            told.extend(lines(&row(connector, wanted), &breaker.said));
        } else {
            let mut document = breaker.document(now_ms);
            document["connector"] = connector.as_str().into();
            told.push(document);
        }
    }
    let columns = ["connector", "override", "until", "by", "reason", "instance", "state", "since"];
    rows(common.output, &columns, &told);
    readable.whole()
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
