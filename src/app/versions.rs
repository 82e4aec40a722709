//! Every version of every workflow that is installed, for executions that go on with the one they began with.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::definitions;
use crate::definition::{Installed, VersionRecord};
use crate::engine::owner::Definition;
use crate::engine::workflow::WorkflowId;

/// The versions, by workflow and name. Their documents are shared with whoever follows the topic; what they do is compiled when an
/// execution first needs it.
#[derive(Default)]
pub struct Versions(RwLock<FxHashMap<WorkflowId, ByName>>);

type ByName = FxHashMap<Arc<str>, Arc<Version>>;

struct Version {
    record: VersionRecord,
    compiled: OnceLock<Result<Definition, String>>,
}

impl Versions {
    /// Takes up the versions of a workflow as they are installed.
    pub fn take_up(&self, installed: &Installed, id: &WorkflowId) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(workflow) = installed.get(id) else {
            all.remove(id);
            return;
        };
        let known = all.entry(id.clone()).or_default();
        known.retain(|version, _| workflow.versions.contains_key(version));
        for (name, record) in &workflow.versions {
            let is_known = known.get(name).is_some_and(|it| it.record.content_hash == record.content_hash);
            if !is_known {
                let version = Version { record: record.clone(), compiled: OnceLock::new() };
                known.insert(name.clone(), Arc::new(version));
            }
        }
    }

    /// A version, ready to run: None if it is not installed (yet); an error if this version of Tidegate cannot run it.
    pub fn find(&self, id: &WorkflowId, version: &str) -> Option<Result<Definition, String>> {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(id)?.get(version)?.clone();
        Some(found.compiled.get_or_init(|| found.compile()).clone())
    }
}

impl Version {
    fn compile(&self) -> Result<Definition, String> {
        let workflow = Arc::new(self.record.head().map_err(|error| error.to_string())?);
        let plan = definitions::compile(&workflow, &self.record.document)?;
        Ok(Definition { workflow, plan })
    }
}
