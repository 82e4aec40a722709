//! What the `workflows` topic says: every version of every workflow, and which one is in use. Built by reading the topic
//! from its beginning and taking up each record in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::head::HeadError;
use super::record::{Pointer, Record, VersionRecord};
use crate::engine::workflow::{Workflow, WorkflowId};

/// The workflows of an environment, in all their versions.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    workflows: BTreeMap<WorkflowId, InstalledWorkflow>,
}

/// A workflow of an environment.
#[derive(Clone, Debug, Default)]
pub struct InstalledWorkflow {
    /// The version in use; None if only versions are known yet.
    pub pointer: Option<Pointer>,
    /// Every version by its name.
    pub versions: BTreeMap<Arc<str>, VersionRecord>,
}

/// The version of a workflow that is in use, as an instance installs it.
#[derive(Clone, Debug)]
pub struct InUse {
    /// Its head, with the pointer's status.
    pub workflow: Workflow,
    /// Its document, from which its plan is compiled.
    pub document: Arc<[u8]>,
}

/// Why the version in use of a workflow cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// The pointer names a version that was not read (yet).
    #[error("version {version} is in use but is not in the topic; apply the workflow again")]
    NoVersion {
        /// The version.
        version: Arc<str>,
    },
    /// The pointer means another content than the version has.
    #[error("version {version} has another content than the one that was put in use; apply the workflow again")]
    OtherContent {
        /// The version.
        version: Arc<str>,
    },
    /// The document is no definition.
    #[error("version {version} cannot be read")]
    Head {
        /// The version.
        version: Arc<str>,
        /// What is wrong with it.
        #[source]
        source: HeadError,
    },
}

impl Installed {
    /// Takes up the next record of the topic.
    pub fn take_up(&mut self, record: Record) {
        let id = record.id().clone();
        let workflow = self.workflows.entry(id.clone()).or_default();
        match record {
            Record::Version(version) => {
                workflow.versions.insert(version.version.clone(), version);
            }
            Record::Pointer(_, pointer) => workflow.pointer = Some(pointer),
            Record::NoVersion(_, version) => {
                workflow.versions.remove(&version);
            }
            Record::NoPointer(_) => workflow.pointer = None,
        }
        if workflow.pointer.is_none() && workflow.versions.is_empty() {
            self.workflows.remove(&id);
        }
    }

    /// A workflow by its id.
    pub fn get(&self, id: &WorkflowId) -> Option<&InstalledWorkflow> {
        self.workflows.get(id)
    }

    /// Every workflow, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&WorkflowId, &InstalledWorkflow)> {
        self.workflows.iter()
    }

    /// How many workflows there are.
    pub fn len(&self) -> usize {
        self.workflows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.workflows.is_empty()
    }
}

impl InstalledWorkflow {
    /// What an instance installs; None if no version is in use.
    pub fn in_use(&self) -> Result<Option<InUse>, InstalledError> {
        let Some(pointer) = &self.pointer else { return Ok(None) };
        let version = pointer.version.clone();
        let Some(record) = self.versions.get(&pointer.version) else {
            return Err(InstalledError::NoVersion { version });
        };
        if record.content_hash != pointer.content_hash {
            return Err(InstalledError::OtherContent { version });
        }
        let head = record.head().map_err(|source| InstalledError::Head { version, source })?;
        let workflow = Workflow { status: pointer.status, ..head };
        Ok(Some(InUse { workflow, document: record.document.clone() }))
    }
}
