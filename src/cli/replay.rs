//! `tidegate replay`: brings dead letters back.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::args::{Common, OutputFormat, Replay, ReplayOrders, ReplayPace};
use super::dlq::{desk, filter};
use super::output::{document, line, rows, talk};
use super::progress::Progress;
use super::{DONE, FAILED};
use crate::app::{cluster, definitions};
use crate::dead_letter::apply::{Summary, apply};
use crate::dead_letter::plan::{self, Bar, FORMAT, Group, Orders, Plan};
use crate::dead_letter::status::status;
use crate::dead_letter::{Desk, Pace};
use crate::definition::Installed;
use crate::lane::now_ms;
use crate::settings::Settings;

/// The largest plan that is read: one with as many items as a plan may have is far smaller.
const PLAN_BYTES: u64 = 256 * 1024 * 1024;
/// Groups that are shown; the plan has them all.
const GROUPS_SHOWN: usize = 20;
/// The longest bar of the histogram.
const BAR_WIDTH: usize = 40;

pub(super) fn run(common: &Common, args: &Replay) -> anyhow::Result<u8> {
    match args {
        Replay::Plan { orders, out } => {
            let (settings, desk) = desk(common)?;
            let installed = installed(&settings, &desk)?;
            let plan = make(&desk, &installed, orders)?;
            write(&plan, out)?;
            show(common, &plan);
            talk(&format!("the plan is in {}; bring it back with `tidegate replay apply {0}`", out.display()));
            Ok(DONE)
        }
        Replay::Apply { plan, orders, pace, .. } => {
            let (settings, desk) = desk(common)?;
            let installed = installed(&settings, &desk)?;
            let plan = match plan {
                Some(path) => read(path)?,
                None => make(&desk, &installed, orders)?,
            };
            carry_out(common, (&desk, &installed), &plan, pace)
        }
        Replay::Status { plan } => {
            let (_, desk) = desk(common)?;
            let mut progress = Progress::new("reading");
            let found = status(&desk, &read(plan)?, |count| progress.at(count))?;
            drop(progress);
            let told = json!({ "planned": found.planned, "waiting": found.waiting, "completed": found.ended.completed,
                "failedAgain": found.ended.failed, "cancelled": found.ended.cancelled, "redriven": found.redriven,
                "undecodableAgain": found.undecodable_again, "underWay": found.under_way });
            document(common.output, &told);
            Ok(DONE)
        }
    }
}

fn installed(settings: &Settings, desk: &Desk) -> anyhow::Result<Installed> {
    Ok(definitions::read_installed(&desk.clients, &cluster::topic(settings, "workflows"))?)
}

fn make(desk: &Desk, installed: &Installed, args: &ReplayOrders) -> anyhow::Result<Plan> {
    let set = args.set.iter().map(|text| repair(text)).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let orders = Orders { to_version: args.to_version.clone(), set, max_returns: args.max_returns };
    let mut progress = Progress::new(format!("reading {}", desk.dead_letters.name));
    Ok(plan::make(desk, installed, (filter(&args.filter), orders, args.limit), now_ms(), |count| progress.at(count))?)
}

/// A repair as it is typed: `STEP.output=PATCH`.
fn repair(text: &str) -> anyhow::Result<(String, json_patch::Patch)> {
    const EXAMPLE: &str =
        r#"write STEP.output=PATCH, such as shape.output=[{"op":"replace","path":"/amount","value":5}]"#;
    let (place, patch) = text.split_once('=').with_context(|| format!("`{text}` is no repair; {EXAMPLE}"))?;
    let step = place.strip_suffix(".output").with_context(|| format!("`{place}` is no output of a step; {EXAMPLE}"))?;
    let patch =
        serde_json::from_str(patch).with_context(|| format!("what `{place}` is set to is no JSON Patch; {EXAMPLE}"))?;
    Ok((step.to_owned(), patch))
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn write(plan: &Plan, path: &Path) -> anyhow::Result<()> {
    let text = if is_json(path) { serde_json::to_string_pretty(plan)? } else { serde_yaml_ng::to_string(plan)? };
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Plan> {
    let reading = || format!("reading the plan {}", path.display());
    let bytes = std::fs::metadata(path).with_context(reading)?.len();
    if bytes > PLAN_BYTES {
        bail!("{} has {bytes} bytes, more than a plan can have", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(reading)?;
    let plan: Plan = if is_json(path) {
        serde_json::from_str(&text).with_context(reading)?
    } else {
        serde_yaml_ng::from_str(&text).with_context(reading)?
    };
    if plan.format != FORMAT {
        bail!(
            "{} is a plan of format {}, and this version understands {FORMAT}; make it again",
            path.display(),
            plan.format
        );
    }
    Ok(plan)
}

/// What a plan comes to, for whoever decides.
fn show(common: &Common, plan: &Plan) {
    if common.output != OutputFormat::Table {
        let mut told = serde_json::to_value(plan).unwrap_or_default();
        if let Some(fields) = told.as_object_mut() {
            fields.remove("items");
        }
        document(common.output, &told);
        return;
    }
    let Plan { counts, groups, histogram, left_out, .. } = plan;
    let shown: Vec<Value> = groups.iter().take(GROUPS_SHOWN).map(group_row).collect();
    rows(OutputFormat::Table, &["count", "workflow", "version", "step", "reason", "class"], &shown);
    let most = histogram.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    line("");
    for Bar { from, count } in histogram {
        line(&format!("{from}  {count:>7}  {}", "█".repeat((count * BAR_WIDTH).div_ceil(most))));
    }
    line("");
    line(&format!("{} come back, {} do not, of {} that were meant", counts.planned, counts.left_out, counts.found));
    for left_out in left_out {
        line(&format!("  {} × {} ({})", left_out.count, left_out.reason, left_out.ids.join(" ")));
    }
    if counts.unreadable > 0 {
        line(&format!("{} records of the topic are no dead letters; `tidegate dlq ls` says which", counts.unreadable));
    }
}

fn group_row(group: &Group) -> Value {
    json!({ "count": group.count, "workflow": group.workflow, "version": group.version, "step": group.step,
        "reason": group.reason, "class": group.class })
}

fn carry_out(
    common: &Common,
    (desk, installed): (&Desk, &Installed),
    plan: &Plan,
    args: &ReplayPace,
) -> anyhow::Result<u8> {
    let ReplayPace { rate, concurrency, canary, stop_above, patience, wait } = args.clone();
    let pace = Pace { rate, concurrency, canary, stop_above, patience, wait };
    let mut progress = Progress::new(format!("brought back, of {}", plan.items.len()));
    let summary = apply(desk, installed, plan, pace, &mut |summary| progress.at(summary.brought_back));
    drop(progress);
    let summary = summary?;
    let Summary { planned, brought_back, gone, left_out, ended, under_way, stopped } = &summary;
    let told = json!({ "planned": planned, "broughtBack": brought_back, "notThereAnyMore": gone, "completed": ended.completed,
        "failedAgain": ended.failed, "cancelled": ended.cancelled, "underWay": under_way, "leftOut": left_out, "stopped": stopped });
    document(common.output, &told);
    Ok(if summary.is_well() { DONE } else { FAILED })
}
