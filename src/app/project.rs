//! A project's workflow files, as `dev` keeps them applied: read, checked, given a version of their own where they were edited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::definition::{
    self, ChangeKind, Definition, Diagnostic, Installed, Syntax, find_files, plan_apply, read_file,
};

/// Workflow files and what was seen of them.
#[derive(Debug)]
pub struct Project {
    directory: PathBuf,
    seen: BTreeMap<PathBuf, (SystemTime, u64)>,
}

/// What a look at the files found.
#[derive(Debug, Default)]
pub struct Look {
    /// Definitions of files that are new or were edited.
    pub definitions: Vec<Definition>,
    /// What is wrong with files that are new or were edited.
    pub mistakes: Vec<Diagnostic>,
}

impl Project {
    /// The project in a folder.
    pub fn new(directory: &Path) -> Project {
        Project { directory: directory.to_owned(), seen: BTreeMap::new() }
    }

    /// Reads the files that are new or were edited since the last look.
    pub fn look(&mut self) -> Look {
        let mut look = Look::default();
        // A folder without workflows is empty, and may be filled while it is watched.
        let files = find_files(std::slice::from_ref(&self.directory)).unwrap_or_default();
        for path in files {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let stamp = (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len());
            if self.seen.insert(path.clone(), stamp) == Some(stamp) {
                continue;
            }
            match read_file(&path) {
                Ok(definition) => look.definitions.push(definition),
                Err(refused) => look.mistakes.extend(refused.diagnostics),
            }
        }
        look
    }
}

/// Gives definitions whose version is installed with other content a version of their own: `1.2.0` becomes `1.2.0+dev.<hash>`. Versions
/// are immutable; while a file is being edited nobody wants to count.
pub fn with_versions_of_their_own(installed: &Installed, wanted: Vec<Definition>) -> Vec<Definition> {
    let changes = plan_apply(installed, &wanted);
    let renamed = wanted.into_iter().zip(changes).map(|(definition, change)| match change.kind {
        ChangeKind::Refused => renamed(&definition).unwrap_or(definition),
        ChangeKind::Created | ChangeKind::NewVersion { .. } | ChangeKind::Moved { .. } | ChangeKind::Unchanged => {
            definition
        }
    });
    renamed.collect()
}

fn renamed(definition: &Definition) -> Option<Definition> {
    let mut document: serde_json::Value = serde_json::from_slice(&definition.canonical).ok()?;
    let hash = definition.content_hash.to_string();
    let version = format!("{}+dev.{}", definition.workflow.version, hash.get(..8)?);
    *document.get_mut("version")? = version.into();
    let path = PathBuf::from(format!("{}.json", definition.workflow.id.as_str()));
    definition::parse(&path, &serde_json::to_vec(&document).ok()?, Syntax::Json).ok()
}
