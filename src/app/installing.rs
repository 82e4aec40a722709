//! Taking definitions up as they are installed: into the registry that lanes match with, and among the versions that executions go on with.
//!
//! A version that writes with the schema of a subject is not run before the schema registry has answered for it; whatever else is installed is
//! taken up at once, a stop of the same workflow too.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::definitions;
use super::subjects::Subjects;
use super::versions::Versions;
use crate::definition::{InUse, Installed};
use crate::engine::registry::{self, Prepared, Registry};
use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};
use crate::lane::StopSignal;

/// How often it is looked whether the registry has answered.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What definitions are taken up into.
pub struct Installing {
    /// The installed workflows.
    pub registry: Arc<RwLock<Registry>>,
    /// Every version of them.
    pub versions: Arc<Versions>,
    /// The subjects that they name.
    pub subjects: Subjects,
    /// Set to end it.
    pub stop: Arc<StopSignal>,
}

/// Takes definitions up, and knows which wait for the schema registry.
pub(super) struct TakingUp<'a> {
    installing: &'a Installing,
    /// The subjects of versions, those apart for which it has answered.
    names: HashMap<ContentHash, Vec<Arc<str>>>,
    /// Workflows with versions that wait.
    pending: BTreeSet<WorkflowId>,
    /// Those of them that are to be in use with such a version.
    held: BTreeSet<WorkflowId>,
    looked: Instant,
}

impl TakingUp<'_> {
    pub(super) fn new(installing: &Installing) -> TakingUp<'_> {
        let (pending, held) = (BTreeSet::new(), BTreeSet::new());
        TakingUp { installing, names: HashMap::new(), pending, held, looked: Instant::now() }
    }

    /// Brings one workflow to what is installed, as far as it can be run; the rest is due later.
    pub(super) fn take_up(&mut self, installed: &Installed, id: &WorkflowId) {
        let Installing { registry, versions, subjects, .. } = self.installing;
        let mut waiting = BTreeSet::new();
        for version in installed.get(id).into_iter().flat_map(|workflow| workflow.versions.values()) {
            if !self.is_ready(version.content_hash, &version.document) {
                waiting.insert(version.version.clone());
            }
        }
        versions.take_up(installed, id, |version| !waiting.contains(version));
        // What takes no part in matching is what it is to be at once.
        let in_use = installed.get(id).filter(|_| !waiting.is_empty());
        let in_use = in_use.and_then(|workflow| workflow.in_use().ok().flatten());
        let is_held = in_use.is_some_and(|InUse { workflow, .. }| {
            workflow.status == Status::Active && waiting.contains(&workflow.version)
        });
        if !is_held {
            install(installed, id, registry, subjects);
        }
        set(&mut self.held, id, is_held);
        set(&mut self.pending, id, !waiting.is_empty());
    }

    /// Whether every workflow is in use that is to be.
    pub(super) fn is_in_use_as_installed(&self) -> bool {
        self.held.is_empty()
    }

    /// The workflows that are to be looked at again.
    pub(super) fn due(&mut self) -> Vec<WorkflowId> {
        if self.pending.is_empty() || self.looked.elapsed() < LOOK_EVERY {
            return Vec::new();
        }
        self.looked = Instant::now();
        self.pending.iter().cloned().collect()
    }

    /// Whether the registry has answered for every subject that a version names.
    fn is_ready(&mut self, content_hash: ContentHash, document: &[u8]) -> bool {
        let names = match self.names.entry(content_hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let names = definitions::subjects_of(document);
                if names.is_empty() {
                    return true;
                }
                unknown.insert(names)
            }
        };
        let is_ready = self.installing.subjects.are_settled(names.iter());
        if is_ready {
            names.clear();
        }
        is_ready
    }
}

fn set(among: &mut BTreeSet<WorkflowId>, id: &WorkflowId, is_one: bool) {
    if is_one {
        among.insert(id.clone());
    } else {
        among.remove(id);
    }
}

/// Brings one workflow in the registry to what is installed. Lanes match under the same lock: it is held for the exchange only, what costs
/// time happens before and after.
fn install(installed: &Installed, id: &WorkflowId, registry: &RwLock<Registry>, subjects: &Subjects) {
    let in_use = installed.get(id).map(|workflow| workflow.in_use());
    let replaced = match in_use {
        Some(Ok(Some(InUse { workflow, document }))) => {
            let there = registry.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
            if there.as_ref().is_some_and(|entry| is_same(entry, &workflow)) {
                return;
            }
            let prepared = Prepared::new(Arc::new(workflow), document);
            // What ran before will run again: a lane that compiled it at the next event would hold up all that comes behind. The rest is
            // compiled when it is first matched, since most of a large installation never is.
            let runs = |entry: Arc<registry::Entry>| {
                entry.is_compiled() && entry.workflow().content_hash != prepared.content_hash()
            };
            if there.is_some_and(runs) {
                prepared.compile(&|_, definition| definitions::compile(subjects, definition));
            }
            registry.write().unwrap_or_else(PoisonError::into_inner).install(prepared)
        }
        // A pointer may come before its version within one transaction; the version brings it in.
        Some(Ok(None)) | None => Ok(registry.write().unwrap_or_else(PoisonError::into_inner).remove(id)),
        // What was installed before stays.
        Some(Err(error)) => {
            tracing::warn!(workflow = id.as_str(), cause = %error, "a workflow is not in use as installed");
            return;
        }
    };
    match replaced {
        Ok(replaced) => drop(replaced),
        Err(error) => tracing::error!(workflow = id.as_str(), cause = %error, "a workflow cannot be installed"),
    }
}

fn is_same(entry: &registry::Entry, wanted: &Workflow) -> bool {
    let there = entry.workflow();
    entry.status() == wanted.status && there.version == wanted.version && there.content_hash == wanted.content_hash
}
