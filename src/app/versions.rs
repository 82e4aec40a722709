//! Every version of every workflow that is installed, for executions that go on with the one they began with.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use crate::definition::{Installed, VersionRecord};
use crate::engine::owner::Definition;
use crate::engine::plan::Plan;
use crate::engine::workflow::WorkflowId;

/// The versions, by workflow and name. Their documents are shared with whoever follows the topic; what they do is compiled when an
/// execution first needs it.
pub struct Versions {
    all: RwLock<FxHashMap<WorkflowId, OfWorkflow>>,
    compile: Box<Compile>,
}

/// Makes a plan of a document; the error is for its author.
pub type Compile = dyn Fn(&[u8]) -> Result<Arc<Plan>, String> + Send + Sync;

/// The versions of a workflow.
#[derive(Default)]
struct OfWorkflow {
    ready: FxHashMap<Arc<str>, Arc<Version>>,
    /// Installed, and not ready.
    on_their_way: Vec<Arc<str>>,
}

struct Version {
    record: VersionRecord,
    compiled: OnceLock<Result<Definition, String>>,
}

impl Versions {
    /// No versions yet.
    pub fn new(compile: Box<Compile>) -> Versions {
        Versions { all: RwLock::default(), compile }
    }

    /// Takes up the versions of a workflow as they are installed, those that are ready; others are not there yet.
    pub fn take_up(&self, installed: &Installed, id: &WorkflowId, is_ready: impl Fn(&str) -> bool) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let Some(workflow) = installed.get(id) else {
            all.remove(id);
            return;
        };
        let OfWorkflow { ready: known, on_their_way } = all.entry(id.clone()).or_default();
        *on_their_way = workflow.versions.keys().filter(|version| !is_ready(version)).cloned().collect();
        known.retain(|version, _| workflow.versions.contains_key(version) && is_ready(version));
        for (name, record) in workflow.versions.iter().filter(|(version, _)| is_ready(version)) {
            let is_known = known.get(name).is_some_and(|it| it.record.content_hash == record.content_hash);
            if !is_known {
                let version = Version { record: record.clone(), compiled: OnceLock::new() };
                known.insert(name.clone(), Arc::new(version));
            }
        }
    }

    /// A version, ready to run: None if it is not installed (yet); an error if this version of Tidegate cannot run it.
    pub fn find(&self, id: &WorkflowId, version: &str) -> Option<Result<Definition, String>> {
        let found = self.all.read().unwrap_or_else(PoisonError::into_inner).get(id)?.ready.get(version)?.clone();
        Some(found.compiled.get_or_init(|| found.compile(&*self.compile)).clone())
    }

    /// Whether a version is installed and was not ready when it was taken up.
    pub fn is_on_its_way(&self, id: &WorkflowId, version: &str) -> bool {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(id).is_some_and(|of| of.on_their_way.iter().any(|it| **it == *version))
    }
}

impl Version {
    fn compile(&self, compile: &Compile) -> Result<Definition, String> {
        let workflow = Arc::new(self.record.head().map_err(|error| error.to_string())?);
        let plan = compile(&self.record.document)?;
        Ok(Definition { workflow, plan })
    }
}
