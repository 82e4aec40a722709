//! Changes: what applying definitions would do to what is installed. Pure, so that `diff`, `apply --dry-run` and `apply`
//! say and do the same.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use similar::TextDiff;

use super::Definition;
use super::installed::{Installed, InstalledWorkflow};
use super::record::{Pointer, Record, VersionRecord};
use crate::engine::workflow::{Status, WorkflowId};

/// The longest that one diff may look for the smallest difference; then it takes a larger one.
const DIFF_TIME: Duration = Duration::from_millis(500);
/// Lines that a diff shows around what differs.
const DIFF_CONTEXT_LINES: usize = 3;

/// What applying a definition, or deleting a workflow, does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The workflow.
    pub id: WorkflowId,
    /// The version that will be in use.
    pub version: Arc<str>,
    /// The status that it will have.
    pub status: Status,
    /// What happens.
    pub kind: ChangeKind,
    /// What to write to the `workflows` topic, in this order and in one transaction with the other changes.
    pub records: Vec<Record>,
}

/// What happens to a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is installed for the first time.
    Created,
    /// It gets a new version.
    NewVersion {
        /// What was in use before.
        from: Option<Pointer>,
    },
    /// Another version that is there already, or another status, comes into use.
    Moved {
        /// What was in use before.
        from: Option<Pointer>,
    },
    /// Nothing.
    Unchanged,
    /// The version is there with another content, and versions never change.
    Refused,
}

/// What applying the definitions does, in their order.
pub fn plan_apply(current: &Installed, wanted: &[Definition]) -> Vec<Change> {
    wanted.iter().map(|definition| apply_one(current.get(&definition.workflow.id), definition)).collect()
}

/// What deleting a workflow does: it is stopped, and its versions stay for the executions that name them. None if it is not
/// installed.
pub fn plan_delete(current: &Installed, id: &WorkflowId) -> Option<Change> {
    let from = current.get(id)?.pointer.clone()?;
    let pointer = Pointer { status: Status::Stopped, ..from.clone() };
    Some(match from == pointer {
        true => change(id, &pointer, ChangeKind::Unchanged, Vec::new()),
        false => {
            let records = vec![Record::Pointer(id.clone(), pointer.clone())];
            change(id, &pointer, ChangeKind::Moved { from: Some(from) }, records)
        }
    })
}

/// What would change, as text: a line for each change and, where a document changes, its fields as a unified diff. Empty if
/// nothing changes.
pub fn diff(current: &Installed, wanted: &[Definition]) -> String {
    let mut out = String::new();
    for (change, definition) in plan_apply(current, wanted).iter().zip(wanted) {
        if change.kind == ChangeKind::Unchanged {
            continue;
        }
        out.push_str(&format!("{change}\n"));
        let installed = current.get(&change.id);
        let old = match change.kind {
            ChangeKind::Refused => installed.and_then(|it| it.versions.get(&change.version)),
            ChangeKind::Created | ChangeKind::NewVersion { .. } | ChangeKind::Moved { .. } | ChangeKind::Unchanged => {
                let pointer = installed.and_then(|it| it.pointer.as_ref());
                installed.zip(pointer).and_then(|(it, pointer)| it.versions.get(&pointer.version))
            }
        };
        let old_name = old.map_or("nothing".into(), |it| format!("{}@{}", it.id.as_str(), it.version));
        let old_text = old.map_or_else(String::new, |it| lines(&it.document));
        let new_name = format!("{}@{}", change.id.as_str(), change.version);
        out.push_str(&unified(&old_text, &lines(&definition.canonical), &old_name, &new_name));
    }
    out
}

fn apply_one(installed: Option<&InstalledWorkflow>, definition: &Definition) -> Change {
    let workflow = &definition.workflow;
    let (id, version) = (&workflow.id, workflow.version.clone());
    let pointer = Pointer { version, status: workflow.status, content_hash: definition.content_hash };
    let from = installed.and_then(|it| it.pointer.clone());
    match installed.and_then(|it| it.versions.get(&pointer.version)) {
        Some(there) if there.content_hash != definition.content_hash => {
            change(id, &pointer, ChangeKind::Refused, Vec::new())
        }
        Some(_) if from.as_ref() == Some(&pointer) => change(id, &pointer, ChangeKind::Unchanged, Vec::new()),
        Some(_) => {
            let records = vec![Record::Pointer(id.clone(), pointer.clone())];
            change(id, &pointer, ChangeKind::Moved { from }, records)
        }
        None => {
            let (id, document) = (id.clone(), definition.canonical.as_slice().into());
            let (version, content_hash) = (pointer.version.clone(), pointer.content_hash);
            let version = Record::Version(VersionRecord { id: id.clone(), version, document, content_hash });
            let records = vec![version, Record::Pointer(id.clone(), pointer.clone())];
            let kind = if installed.is_none() { ChangeKind::Created } else { ChangeKind::NewVersion { from } };
            change(&id, &pointer, kind, records)
        }
    }
}

fn change(id: &WorkflowId, pointer: &Pointer, kind: ChangeKind, records: Vec<Record>) -> Change {
    Change { id: id.clone(), version: pointer.version.clone(), status: pointer.status, kind, records }
}

/// A sentence for people: what happens, or why it does not.
impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, version, status) = (self.id.as_str(), &self.version, self.status.name());
        let before = |from: &Option<Pointer>| match from {
            Some(from) => format!("{} {}", from.version, from.status.name()),
            None => "not in use".into(),
        };
        match &self.kind {
            ChangeKind::Created => write!(formatter, "{id}: created, {version} {status}"),
            ChangeKind::NewVersion { from } => {
                write!(formatter, "{id}: new version, {} → {version} {status}", before(from))
            }
            ChangeKind::Moved { from } => write!(formatter, "{id}: {} → {version} {status}", before(from)),
            ChangeKind::Unchanged => write!(formatter, "{id}: unchanged, {version} {status}"),
            ChangeKind::Refused => write!(
                formatter,
                "{id}: refused, version {version} is already applied with other content; raise the version"
            ),
        }
    }
}

/// A document with one field a line.
fn lines(document: &[u8]) -> String {
    let parsed = serde_json::from_slice::<serde_json::Value>(document);
    let pretty = parsed.and_then(|value| serde_json::to_string_pretty(&value));
    pretty.unwrap_or_else(|_| String::from_utf8_lossy(document).into_owned()) + "\n"
}

fn unified(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(old, new);
    diff.unified_diff().context_radius(DIFF_CONTEXT_LINES).header(old_name, new_name).to_string()
}
