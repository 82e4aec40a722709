//! The registry: the workflows that are installed, each in its active version, and which of them an event starts.
//!
//! Reads take `&self`, so that lanes can share a registry behind a lock; a change touches one workflow only. What a workflow
//! does is compiled when it is first needed: most of a large installation never matches anything.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::event::Event;
use super::limits;
use super::plan::Plan;
use super::trigger::{Candidates, TriggerIndex, TriggerKey};
use super::workflow::{ContentHash, Status, Workflow, WorkflowId};

/// Compiles a definition's bytes to a plan; an error is a message for the author of the definition.
pub type Compile<'a> = &'a dyn Fn(&Workflow, &[u8]) -> Result<Arc<Plan>, String>;

/// The installed workflows.
#[derive(Debug, Default)]
pub struct Registry {
    slots: Vec<Option<Arc<Entry>>>,
    free: Vec<u32>,
    by_id: BTreeMap<WorkflowId, u32>,
    index: TriggerIndex,
    /// How often a workflow was installed as stopped, or was stopped.
    stops: u64,
}

/// An installed workflow in its active version. An execution that holds one is not touched by later changes.
#[derive(Debug)]
pub struct Entry {
    workflow: Arc<Workflow>,
    status: Status,
    definition: Arc<[u8]>,
    plan: Arc<OnceLock<Result<Arc<Plan>, Arc<str>>>>,
}

/// A workflow that is about to be installed. Made without the registry, so that nobody waits for it.
#[derive(Debug)]
pub struct Prepared {
    workflow: Arc<Workflow>,
    definition: Arc<[u8]>,
    plan: Arc<OnceLock<Result<Arc<Plan>, Arc<str>>>>,
}

/// Why a workflow was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// There are [`limits::WORKFLOWS`] of them.
    #[error("{} workflows are installed, the most there can be; remove some first", limits::WORKFLOWS)]
    Full,
    /// The workflow has more than [`limits::TRIGGERS_PER_WORKFLOW`].
    #[error("the workflow has {0} triggers; at most {most} are allowed", most = limits::TRIGGERS_PER_WORKFLOW)]
    TooManyTriggers(usize),
}

/// What an event matched. Made once and used again for every event.
#[derive(Debug, Default)]
pub struct MatchScratch {
    candidates: Candidates,
    triggers: Vec<u16>,
    matches: Vec<Match>,
    inactive: Vec<Arc<Entry>>,
}

/// An active workflow that an event matched.
#[derive(Debug)]
pub struct Match {
    entry: Arc<Entry>,
    triggers: Range<usize>,
}

impl Registry {
    /// A registry without workflows.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Installs a workflow, in place of the version that is installed now; returns what it replaced. `definition` is
    /// what its plan will be compiled from. Equal content keeps the plan that was compiled.
    pub fn apply(
        &mut self,
        workflow: Arc<Workflow>,
        definition: Arc<[u8]>,
    ) -> Result<Option<Arc<Entry>>, RegistryError> {
        self.install(Prepared::new(workflow, definition))
    }

    /// Installs what was prepared; see [`Registry::apply`].
    pub fn install(&mut self, prepared: Prepared) -> Result<Option<Arc<Entry>>, RegistryError> {
        let Prepared { workflow, definition, plan } = prepared;
        if workflow.triggers.len() > limits::TRIGGERS_PER_WORKFLOW {
            return Err(RegistryError::TooManyTriggers(workflow.triggers.len()));
        }
        let is_new = !self.by_id.contains_key(&workflow.id);
        if is_new && self.by_id.len() >= limits::WORKFLOWS {
            return Err(RegistryError::Full);
        }
        let replaced = self.remove(&workflow.id);
        let plan = match &replaced {
            Some(old) if old.workflow.content_hash == workflow.content_hash => old.plan.clone(),
            Some(_) | None => plan,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        for (key, trigger) in keys(slot).zip(&workflow.triggers) {
            self.index.insert(key, trigger);
        }
        self.by_id.insert(workflow.id.clone(), slot);
        let status = workflow.status;
        self.stops += u64::from(status == Status::Stopped);
        self.slots[slot as usize] = Some(Arc::new(Entry { workflow, status, definition, plan }));
        Ok(replaced)
    }

    /// A number that rises whenever there is another workflow whose executions are to end.
    pub fn stops(&self) -> u64 {
        self.stops
    }

    /// Takes a workflow out and returns it; None if it was not installed.
    pub fn remove(&mut self, id: &WorkflowId) -> Option<Arc<Entry>> {
        let slot = self.by_id.remove(id)?;
        let entry = self.slots[slot as usize].take()?;
        for (key, trigger) in keys(slot).zip(&entry.workflow.triggers) {
            self.index.remove(key, trigger);
        }
        self.free.push(slot);
        if self.by_id.is_empty() {
            *self = Registry { stops: self.stops, ..Registry::default() };
        }
        Some(entry)
    }

    /// Changes whether a workflow takes part; false if it is not installed.
    pub fn set_status(&mut self, id: &WorkflowId, status: Status) -> bool {
        let slot = self.by_id.get(id).and_then(|slot| self.slots.get_mut(*slot as usize));
        let Some(Some(entry)) = slot else { return false };
        if entry.status != status {
            self.stops += u64::from(status == Status::Stopped);
            let Entry { workflow, status: _, definition, plan } = &**entry;
            let (workflow, definition, plan) = (workflow.clone(), definition.clone(), plan.clone());
            *entry = Arc::new(Entry { workflow, status, definition, plan });
        }
        true
    }

    /// The workflow of that id.
    pub fn get(&self, id: &WorkflowId) -> Option<&Arc<Entry>> {
        self.entry(*self.by_id.get(id)?)
    }

    /// All workflows in the order of their ids.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_id.values().filter_map(|slot| self.entry(*slot))
    }

    /// How many workflows are installed.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no workflow is installed.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The index of triggers, for its size.
    pub fn index(&self) -> &TriggerIndex {
        &self.index
    }

    /// Finds every workflow of which some trigger matches the event. The `where` conditions are left to the caller: they
    /// are part of the plan.
    pub fn matching(&self, event: &Event, scratch: &mut MatchScratch) {
        let MatchScratch { candidates, triggers, matches, inactive } = scratch;
        triggers.clear();
        matches.clear();
        inactive.clear();
        self.index.candidates(event, candidates);
        for of_one_workflow in candidates.keys().chunk_by(|a, b| a.slot == b.slot) {
            let Some(entry) = of_one_workflow.first().and_then(|key| self.entry(key.slot)) else { continue };
            let start = triggers.len();
            let holds =
                |position: &u16| entry.workflow.triggers.get(usize::from(*position))?.matches(event).then_some(());
            triggers.extend(of_one_workflow.iter().map(|key| key.trigger).filter(|it| holds(it).is_some()));
            if triggers.len() == start {
                continue;
            }
            match entry.status {
                Status::Active => matches.push(Match { entry: entry.clone(), triggers: start..triggers.len() }),
                Status::Draft | Status::Paused | Status::Stopped => inactive.push(entry.clone()),
            }
        }
        matches.sort_unstable_by(|a, b| a.entry.workflow.id.cmp(&b.entry.workflow.id));
        inactive.sort_unstable_by(|a, b| a.workflow.id.cmp(&b.workflow.id));
    }

    fn entry(&self, slot: u32) -> Option<&Arc<Entry>> {
        self.slots.get(slot as usize)?.as_ref()
    }
}

impl Prepared {
    /// A workflow whose plan is compiled by the first who asks for it.
    pub fn new(workflow: Arc<Workflow>, definition: Arc<[u8]>) -> Prepared {
        Prepared { workflow, definition, plan: Arc::default() }
    }

    /// What makes its version. Equal content needs no plan of its own.
    pub fn content_hash(&self) -> ContentHash {
        self.workflow.content_hash
    }

    /// Compiles the plan now, so that the first event that matches does not wait for it.
    pub fn compile(&self, compile: Compile<'_>) {
        self.plan.get_or_init(|| compile(&self.workflow, &self.definition).map_err(Arc::from));
    }
}

impl Entry {
    /// The workflow.
    pub fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// Whether it takes part: what its definition says, or [`Registry::set_status`] said since.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The bytes that were installed with it.
    pub fn definition(&self) -> &Arc<[u8]> {
        &self.definition
    }

    /// Whether anybody has asked for its plan: events match it.
    pub fn is_compiled(&self) -> bool {
        self.plan.get().is_some()
    }

    /// What the workflow does, compiled by the first who asks; an error is as lasting as the definition.
    pub fn plan(&self, compile: Compile<'_>) -> Result<Arc<Plan>, Arc<str>> {
        self.plan.get_or_init(|| compile(&self.workflow, &self.definition).map_err(Arc::from)).clone()
    }
}

impl MatchScratch {
    /// The active workflows that matched, in the order of their ids.
    pub fn matches(&self) -> &[Match] {
        &self.matches
    }

    /// The positions of a match's triggers that hold, ascending, at least one. The execution belongs to the first of them
    /// whose `where` holds too.
    pub fn triggers(&self, it: &Match) -> &[u16] {
        &self.triggers[it.triggers.clone()]
    }

    /// The workflows that matched and are not active, in the order of their ids: they are counted only.
    pub fn inactive(&self) -> &[Arc<Entry>] {
        &self.inactive
    }
}

impl Match {
    /// The workflow that matched.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

fn keys(slot: u32) -> impl Iterator<Item = TriggerKey> {
    (0..=u16::MAX).map(move |trigger| TriggerKey { slot, trigger })
}
