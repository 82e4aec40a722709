//! `tidegate send`: events to source topics.

use std::collections::BTreeSet;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use serde_json::json;

use super::args::{Common, OutputFormat, Send};
use super::output::{document, talk};
use super::progress::Progress;
use super::{DONE, setup};
use crate::app::dev::send_records;
use crate::app::events_file;
use crate::engine::wire::WireRecord;
use crate::kafka::admin::Admin;
use crate::kafka::client::ClientSettings;
use crate::settings::{Settings, TopicSelector};

pub(super) fn run(common: &Common, args: &Send) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let records = match &args.file {
        Some(file) => events_file::read(file, &settings).map_err(|mistakes| anyhow!(setup::joined(&mistakes)))?,
        None => vec![one(args, &settings)?],
    };
    check_topics(&clients, &records)?;
    let mut progress = Progress::new("sending");
    send_records(&clients, &records, |done| progress.at(done))?;
    drop(progress);
    match common.output {
        OutputFormat::Json | OutputFormat::Yaml => document(common.output, &json!({ "sent": records.len() })),
        OutputFormat::Table => talk(&format!("sent {} events", records.len())),
    }
    Ok(DONE)
}

/// Refuses topics that are not there: a broker may create what is asked for by mistake, and nobody would read it.
fn check_topics(clients: &ClientSettings, records: &[WireRecord]) -> anyhow::Result<()> {
    let names: BTreeSet<&str> = records.iter().map(|record| &*record.topic).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let there = Admin::new(clients)?.topics(&names)?;
    match names.iter().find(|name| !there.contains_key(**name)) {
        Some(missing) => bail!("the topic {missing} does not exist; create it, or correct its name"),
        None => Ok(()),
    }
}

fn one(args: &Send, settings: &Settings) -> anyhow::Result<WireRecord> {
    let value = args.value.as_deref().context("give --value or --file")?;
    if args.topic.is_none() && args.key.is_none() && args.headers.is_empty() && value.contains("\"specversion\"") {
        return events_file::parse(value, settings).map_err(|message| anyhow!(message));
    }
    let named = settings.sources.iter().find_map(|source| match &source.topic {
        TopicSelector::Name(name) => Some(name.clone()),
        TopicSelector::Pattern { .. } => None,
    });
    let topic = args.topic.clone().or(named).context("no source is a name; give --topic")?;
    let headers = args.headers.iter().map(|header| {
        let (name, value) = header.split_once('=').with_context(|| format!("`{header}` is not NAME=VALUE"))?;
        Ok((Bytes::from(name.to_owned()), Some(Bytes::from(value.to_owned()))))
    });
    Ok(WireRecord {
        topic: topic.as_str().into(),
        partition: None,
        key: args.key.clone().map(Bytes::from),
        value: Some(value.to_owned().into()),
        headers: headers.collect::<anyhow::Result<_>>()?,
        step: None,
    })
}
