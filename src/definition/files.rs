//! Definition files: found, read within their limit, and checked against each other.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Refused};
use super::{Definition, Syntax, limits, parse, too_large};
use crate::engine::limits as engine_limits;
use crate::engine::workflow::WorkflowId;

/// The directory of a project that holds its workflows.
const WORKFLOWS_DIRECTORY: &str = "workflows";

/// Reads every definition that the paths name. Either all are right, or everything that is wrong with any is returned. A
/// directory stands for the `*.yaml`, `*.yml` and `*.json` in it or in its `workflows`.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<Definition>, Vec<Diagnostic>> {
    let (mut definitions, mut diagnostics) = (Vec::<Definition>::new(), Vec::new());
    let mut files: HashMap<WorkflowId, PathBuf> = HashMap::new();
    for path in find_files(paths)? {
        match read_file(&path) {
            Ok(definition) => {
                let id = definition.workflow.id.clone();
                match files.get(&id) {
                    Some(other) => diagnostics.push(duplicate(&path, other, &definition)),
                    None => {
                        files.insert(id, path);
                        definitions.push(definition);
                    }
                }
            }
            Err(refused) => diagnostics.extend(refused.diagnostics),
        }
    }
    diagnostics.sort();
    if diagnostics.is_empty() { Ok(definitions) } else { Err(diagnostics) }
}

/// Reads one definition from a file, JSON if its name ends in `.json`, else YAML.
pub fn read_file(path: &Path) -> Result<Definition, Refused> {
    let refused = |diagnostic| Refused { diagnostics: vec![diagnostic] };
    let unreadable = |error: std::io::Error| {
        refused(Diagnostic::of_file(path, format!("the file cannot be read: {error}"), "check its path and rights"))
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        // A pipe or a device would be waited for, for ever.
        return Err(refused(Diagnostic::of_file(path, "this is not a file", "name a file or a directory")));
    }
    let most = engine_limits::DEFINITION_BYTES as u64;
    if metadata.len() > most {
        return Err(refused(too_large(path, metadata.len())));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // The file may have grown since; one byte more than allowed is enough to refuse it.
    file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    parse(path, &bytes, syntax(path).unwrap_or(Syntax::Yaml))
}

/// The definition files that the paths name, in order: a file as it is, of a directory those whose names say so.
pub fn find_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Vec<Diagnostic>> {
    let (mut files, mut diagnostics) = (Vec::<PathBuf>::new(), Vec::new());
    for path in paths {
        if !path.is_dir() {
            match syntax(path) {
                Some(_) => files.push(path.clone()),
                None => {
                    let message = "the name of the file does not say what it is";
                    diagnostics.push(Diagnostic::of_file(path, message, "name it *.yaml, *.yml or *.json"));
                }
            }
            continue;
        }
        match of_directory(path) {
            Ok(found) => files.extend(found),
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    // A file may be named by itself and by its directory.
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    if diagnostics.is_empty() { Ok(files) } else { Err(diagnostics) }
}

fn of_directory(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let inner = path.join(WORKFLOWS_DIRECTORY);
    let directory = if inner.is_dir() { inner } else { path.to_owned() };
    let unreadable = |error: std::io::Error| {
        Diagnostic::of_file(&directory, format!("the directory cannot be read: {error}"), "check its path and rights")
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let is_hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && syntax(&file).is_some() && !file.is_dir() {
            files.push(file);
        }
        if files.len() > limits::FILES {
            let message = format!("the directory has more than {} definitions", limits::FILES);
            return Err(Diagnostic::of_file(&directory, message, "split it into several projects"));
        }
    }
    if files.is_empty() {
        let remedy = format!("put workflows into {}", path.join(WORKFLOWS_DIRECTORY).join("*.yaml").display());
        return Err(Diagnostic::of_file(&directory, "the directory holds no definitions", remedy));
    }
    files.sort();
    Ok(files)
}

fn syntax(path: &Path) -> Option<Syntax> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "yaml" | "yml" => Some(Syntax::Yaml),
        "json" => Some(Syntax::Json),
        _ => None,
    }
}

fn duplicate(path: &Path, other: &Path, definition: &Definition) -> Diagnostic {
    let (line, column) = definition.id_place;
    let message = format!("{} defines the workflow {} too", other.display(), definition.workflow.id.as_str());
    let remedy = Some("give one of them another id, or remove its file".into());
    Diagnostic { path: path.to_owned(), line, column, message, remedy }
}
