//! `tidegate validate`: definitions and settings, without a broker.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::{Common, OutputFormat, Paths};
use super::output::{document, green, line, red, yellow};
use super::{DONE, FAILED};
use crate::app::cluster;
use crate::app::definitions::check_connectors;
use crate::definition::{Diagnostic, read_files};
use crate::settings::{Overrides, ProcessEnvironment, References, Settings};

pub(super) fn run(common: &Common, args: &Paths) -> anyhow::Result<u8> {
    let is_settings = |path: &PathBuf| path.extension().is_some_and(|it| it == "toml");
    let (settings, definitions): (Vec<PathBuf>, Vec<PathBuf>) = args.paths.iter().cloned().partition(is_settings);
    let mut mistakes: Vec<Value> = Vec::new();
    let mut sound: Vec<Value> = Vec::new();
    let mut warnings: Vec<Diagnostic> = Vec::new();
    let mut read_settings: Vec<Settings> = Vec::new();
    let lines = |message: &str| message.lines().map(|line| json!({ "message": line })).collect::<Vec<_>>();
    for path in settings {
        match check_settings(&path) {
            Ok(settings) => {
                sound.push(json!({ "file": path.display().to_string(), "kind": "settings" }));
                read_settings.push(settings);
            }
            Err(message) => mistakes.extend(lines(&message)),
        }
    }
    if !definitions.is_empty() {
        match read_files(&definitions) {
            Ok(read) => {
                sound.extend(read.iter().map(|definition| {
                    json!({ "kind": "workflow", "id": definition.workflow.id.as_str(), "version": &*definition.workflow.version })
                }));
                // Settings that were named are those that the definitions are for.
                let checked = read_settings.iter().map(|settings| check_connectors(settings, &read));
                mistakes.extend(checked.filter_map(Result::err).flat_map(|error| lines(&error.to_string())));
                warnings.extend(read.into_iter().flat_map(|definition| definition.warnings));
            }
            Err(found) => mistakes.extend(found.iter().map(as_json)),
        }
    }
    match common.output {
        OutputFormat::Table => {
            for mistake in &mistakes {
                line(mistake["message"].as_str().unwrap_or_default());
            }
            warnings.iter().for_each(|warning| line(&format!("{} {warning}", yellow("warning:"))));
            let verdict = if mistakes.is_empty() { green("valid") } else { red("not valid") };
            line(&format!("{verdict}: {} sound, {} mistakes", sound.len(), mistakes.len()));
        }
        OutputFormat::Json | OutputFormat::Yaml => {
            let valid = mistakes.is_empty();
            let warnings: Vec<Value> = warnings.iter().map(as_json).collect();
            document(
                common.output,
                &json!({ "valid": valid, "sound": sound, "mistakes": mistakes, "warnings": warnings }),
            );
        }
    }
    Ok(if mistakes.is_empty() { DONE } else { FAILED })
}

fn as_json(told: &Diagnostic) -> Value {
    json!({ "path": told.path.display().to_string(), "line": told.line, "column": told.column,
        "what": told.message, "remedy": told.remedy, "message": told.to_string() })
}

/// Checks settings on a machine that need not have the secrets that they name.
fn check_settings(path: &std::path::Path) -> Result<Settings, String> {
    let overrides = Overrides { references: References::CheckForm, ..Overrides::default() };
    let settings = Settings::load(path, &ProcessEnvironment, &overrides).map_err(|error| error.to_string())?;
    let refused = cluster::clients(&settings).err().map(|errors| {
        errors.iter().map(|error| format!("{}: [kafka] {error}", path.display())).collect::<Vec<_>>().join("\n")
    });
    refused.map_or(Ok(settings), Err)
}
