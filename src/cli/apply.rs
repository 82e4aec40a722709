//! `tidegate diff` and `tidegate apply`: definitions against what is applied.

use serde_json::json;

use super::args::{Apply, Common, OutputFormat, Paths};
use super::output::{line, rows};
use super::{DONE, FAILED, setup};
use crate::app::{cluster, definitions};
use crate::definition::{self, Change, ChangeKind, plan_apply};

pub(super) fn diff(common: &Common, args: &Paths) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let wanted = setup::definitions(&args.paths)?;
    let installed = definitions::read_installed(&clients, &cluster::topic(&settings, "workflows"))?;
    let changes = plan_apply(&installed, &wanted);
    let differs = changes.iter().any(|change| change.kind != ChangeKind::Unchanged);
    match common.output {
        OutputFormat::Table => {
            let text = definition::diff(&installed, &wanted);
            if !text.is_empty() {
                line(text.trim_end());
            }
        }
        OutputFormat::Json | OutputFormat::Yaml => show(common, &changes),
    }
    Ok(if differs { FAILED } else { DONE })
}

pub(super) fn run(common: &Common, args: &Apply) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let wanted = setup::definitions(&args.paths.paths)?;
    let topic = cluster::topic(&settings, "workflows");
    definitions::check_connectors(&settings, &wanted)?;
    let changes = if args.dry_run {
        let changes = plan_apply(&definitions::read_installed(&clients, &topic)?, &wanted);
        let refused: Vec<Change> = changes.iter().filter(|it| it.kind == ChangeKind::Refused).cloned().collect();
        if !refused.is_empty() {
            return Err(definitions::ApplyError::Refused(refused).into());
        }
        changes
    } else {
        definitions::apply(&clients, &settings.environment, &topic, &wanted)?
    };
    show(common, &changes);
    Ok(DONE)
}

fn show(common: &Common, changes: &[Change]) {
    let told = changes.iter().map(|change| {
        let kind = match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::NewVersion { .. } => "new version",
            ChangeKind::Moved { .. } => "moved",
            ChangeKind::Unchanged => "unchanged",
            ChangeKind::Refused => "refused",
        };
        json!({ "workflow": change.id.as_str(), "version": &*change.version, "status": change.status.name(), "change": kind })
    });
    rows(common.output, &["workflow", "version", "status", "change"], &told.collect::<Vec<_>>());
}
