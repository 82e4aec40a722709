//! What most verbs begin with.

use std::path::PathBuf;

use anyhow::anyhow;

use super::args::Common;
use super::output::warn;
use crate::app::cluster;
use crate::definition::{Definition, Diagnostic, read_files};
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

/// The definitions in files and folders; what is odd in them is said.
pub(super) fn definitions(paths: &[PathBuf]) -> anyhow::Result<Vec<Definition>> {
    let definitions = read_files(paths).map_err(|mistakes| refused(&mistakes))?;
    definitions.iter().flat_map(|definition| &definition.warnings).for_each(warn);
    Ok(definitions)
}

/// Mistakes as one error, a line each.
fn refused(mistakes: &[Diagnostic]) -> anyhow::Error {
    anyhow!("{} mistakes\n{}", mistakes.len(), joined(mistakes))
}

/// One line each.
pub(super) fn joined<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
