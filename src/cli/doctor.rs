//! `tidegate doctor`: what is wrong with this set-up, and how to mend it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::args::Common;
use super::output::{rows, talk};
use super::{DONE, FAILED, setup};
use crate::app::record_schemas::{self, RecordSchema, Registration};
use crate::app::{cluster, definitions, schemas};
use crate::kafka::admin::Admin;
use crate::kafka::client::ClientSettings;
use crate::kafka::group_offsets::{GroupOffsets, Standing};
use crate::settings::{Encoding, Settings};

pub(super) fn run(common: &Common) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let mut findings = Vec::new();
    let mut found = |subject: &str, what: &str, remedy: &str| {
        findings.push(json!({ "subject": subject, "finding": what, "remedy": remedy }));
    };
    let admin = Admin::new(&clients)?;
    match admin.brokers() {
        Err(error) => {
            let servers = clients.bootstrap_servers();
            found("brokers", &error.to_string(), &format!("is {servers} right, reachable from here, and running?"));
        }
        Ok(brokers) => {
            talk(&format!("tidegate {}; brokers {}", env!("CARGO_PKG_VERSION"), brokers.join(", ")));
            check_topics(&settings, &admin, &mut found);
            let subjects = check_definitions(&settings, &clients, &mut found);
            check_schemas(&settings, &subjects, &mut found);
            check_group(&settings, &clients, &admin, &mut found);
        }
    }
    rows(common.output, &["subject", "finding", "remedy"], &findings);
    if findings.is_empty() {
        talk("nothing is wrong");
    }
    Ok(if findings.is_empty() { DONE } else { FAILED })
}

type Found<'a> = dyn FnMut(&str, &str, &str) + 'a;

fn check_topics(settings: &Settings, admin: &Admin, found: &mut Found<'_>) {
    if settings.sources.is_empty() {
        found("sources", "nothing is consumed", "add [[sources]] to the settings");
    }
    match cluster::check_topics(settings, admin) {
        Ok((wrong, _)) => wrong.iter().for_each(|it| found(&it.topic, &it.what, &it.remedy)),
        Err(error) => found("topics", &error.to_string(), "is the cluster reachable, and may topics be described?"),
    }
}

/// A registry that does not answer, schemas of records that it does not have or does not take, and subjects of steps without a schema.
fn check_schemas(settings: &Settings, subjects: &BTreeSet<Arc<str>>, found: &mut Found<'_>) {
    let Some(registry) = &settings.registry else { return };
    let mut missing = Vec::new();
    let mut ask = || -> anyhow::Result<Vec<(RecordSchema, Registration)>> {
        let client = schemas::client(registry)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            anyhow::ensure!(client.answers().await, "no URL of it answers as a registry does");
            for subject in subjects {
                match client.latest(subject).await {
                    Ok(Some(_)) => {}
                    Ok(None) => missing.push((subject, "it has no schema".to_owned())),
                    Err(error) => missing.push((subject, error.to_string())),
                }
            }
            match settings.records.encoding {
                Encoding::Json => Ok(Vec::new()),
                Encoding::Avro => Ok(record_schemas::look(&client, settings).await?),
            }
        })
    };
    let asked = ask();
    for (subject, what) in missing {
        let remedy = "register a schema under it; steps that name it fail until then";
        found(subject, &what, remedy);
    }
    match asked {
        Err(error) => found(
            "registry",
            &format!("{error:#}"),
            "see that the url and the headers of [registry] are right, and that it is reachable from here",
        ),
        Ok(schemas) => {
            for (RecordSchema { subject, .. }, registration) in schemas {
                match registration {
                    Registration::Missing if !registry.auto_register => {
                        found(&subject, "is not registered", "run `tidegate schemas register`");
                    }
                    Registration::Incompatible(_) => {
                        let what = "is not compatible with what is registered there";
                        found(&subject, what, "run `tidegate schemas check` to see why");
                    }
                    Registration::There(_) | Registration::Missing => {}
                }
            }
        }
    }
}

/// Workflows that cannot be used; returns the subjects that the steps of the others name.
fn check_definitions(settings: &Settings, clients: &ClientSettings, found: &mut Found<'_>) -> BTreeSet<Arc<str>> {
    let mut subjects = BTreeSet::new();
    match definitions::read_installed(clients, &cluster::topic(settings, "workflows")) {
        Ok(installed) if installed.is_empty() => {
            found("workflows", "none is applied", "run `tidegate apply workflows/`");
        }
        Ok(installed) => {
            for (id, workflow) in installed.iter() {
                match workflow.in_use() {
                    Ok(in_use) => {
                        subjects.extend(in_use.iter().flat_map(|it| definitions::subjects_of(&it.document)));
                    }
                    Err(error) => {
                        let remedy = "apply the workflow again with this version of tidegate";
                        found(id.as_str(), &error.to_string(), remedy);
                    }
                }
            }
        }
        Err(error) => found("workflows", &error.to_string(), "run `tidegate topics check`"),
    }
    subjects
}

/// Records that wait while nobody reads: an instance is missing, or cannot get on.
fn check_group(settings: &Settings, clients: &ClientSettings, admin: &Admin, found: &mut Found<'_>) {
    let may = "is the cluster reachable, and may the group be described?";
    let members = match admin.group_members(&settings.group) {
        Ok(members) => members.unwrap_or(0),
        Err(error) => return found("group", &error.to_string(), may),
    };
    let offsets = GroupOffsets::of(clients, &settings.group).map_err(|error| error.to_string());
    let sources = cluster::named_sources(settings);
    match offsets.and_then(|it| it.standings(&sources).map_err(|error| error.to_string())) {
        Err(error) => found("group", &error, may),
        Ok(standings) => {
            let lag: i64 = standings.iter().map(Standing::lag).sum();
            let group = &settings.group;
            talk(&format!("the group {group} has {members} members and {lag} records to do"));
            if lag > 0 && members == 0 {
                let what = format!("{lag} records wait and the group {group} has no members");
                found("group", &what, "start an instance with `tidegate run`");
            }
        }
    }
}
