//! What most verbs begin with.

use anyhow::anyhow;

use super::args::Common;
use crate::app::cluster;
use crate::definition::Diagnostic;
use crate::kafka::client::ClientSettings;
use crate::settings::{Overrides, ProcessEnvironment, Settings};

/// The settings of the file that was named.
pub(super) fn settings(common: &Common) -> anyhow::Result<Settings> {
    Ok(Settings::load(&common.config, &ProcessEnvironment, &Overrides::default())?)
}

/// The settings, and those of the Kafka clients.
pub(super) fn with_clients(common: &Common) -> anyhow::Result<(Settings, ClientSettings)> {
    let settings = settings(common)?;
    let clients = cluster::clients(&settings).map_err(|errors| anyhow!(joined(&errors)))?;
    Ok((settings, clients))
}

/// Mistakes as one error, a line each.
pub(super) fn refused(mistakes: &[Diagnostic]) -> anyhow::Error {
    anyhow!("{} mistakes\n{}", mistakes.len(), joined(mistakes))
}

/// One line each.
pub(super) fn joined<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
