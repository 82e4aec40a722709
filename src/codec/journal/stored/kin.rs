//! What later formats store of a checkpoint, and signals.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Damaged, OUTPUT_TOKENS, StoredFailure, Token, bounded, execution_id, tokens, tokens_of};
use crate::engine::checkpoint::{Checkpoint, History, Parent, StepWait};
use crate::engine::limits;
use crate::engine::record::ExecutionStatus;
use crate::engine::signal::{Decision, Signal, Told};

/// What the first format lacks of a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct StoredKin<'a> {
    edition: u32,
    first_failure_ms: Option<i64>,
    causes: &'a str,
    #[serde(borrow)]
    parent: Option<StoredParent<'a>>,
    /// Steps that wait for sub-workflows, and those.
    #[serde(deserialize_with = "bounded::<_, _, { limits::STEPS_PER_WORKFLOW }>")]
    children: Vec<(&'a str, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct StoredParent<'a> {
    execution: String,
    run: u32,
    step: &'a str,
    #[serde(borrow, deserialize_with = "bounded::<_, _, OUTPUT_TOKENS>")]
    input: Vec<Token<'a>>,
    depth: u32,
}

/// The order of the variants is the format.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum StoredSignal<'a> {
    Decision {
        step: &'a str,
        decision: &'a str,
        by: &'a str,
        comment: &'a str,
    },
    Child {
        step: &'a str,
        execution: String,
        status: &'a str,
        #[serde(borrow, deserialize_with = "bounded::<_, _, OUTPUT_TOKENS>")]
        output: Vec<Token<'a>>,
        failure: Option<StoredFailure<'a>>,
    },
}

impl Default for StoredKin<'_> {
    fn default() -> Self {
        StoredKin { edition: 1, first_failure_ms: None, causes: "", parent: None, children: Vec::new() }
    }
}

impl<'a> StoredKin<'a> {
    pub(super) fn of(checkpoint: &'a Checkpoint) -> StoredKin<'a> {
        let History { edition, first_failure_ms, causes } = &checkpoint.history;
        let parent = checkpoint.parent.as_deref().map(|parent| StoredParent {
            execution: parent.execution.to_string(),
            run: parent.run,
            step: &parent.step,
            input: tokens_of(&parent.input),
            depth: parent.depth,
        });
        let child = |wait: &'a StepWait| Some((&*wait.step, wait.child?.to_string()));
        let children = checkpoint.waits.iter().filter_map(child).collect();
        StoredKin { edition: *edition, first_failure_ms: *first_failure_ms, causes, parent, children }
    }

    /// Whether there is nothing that the first format lacks.
    pub(super) fn is_empty(&self) -> bool {
        self.history() == History::default() && self.parent.is_none() && self.children.is_empty()
    }

    fn history(&self) -> History {
        let StoredKin { edition, first_failure_ms, causes, .. } = self;
        History { edition: *edition, first_failure_ms: *first_failure_ms, causes: (*causes).into() }
    }

    pub(super) fn added_to(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint, Damaged> {
        checkpoint.history = self.history();
        if let Some(StoredParent { execution, run, step, input, depth }) = &self.parent {
            let (execution, input) = (execution_id(execution)?, tokens::read(input)?);
            let (run, step, depth) = (*run, Arc::from(*step), *depth);
            checkpoint.parent = Some(Arc::new(Parent { execution, run, step, input, depth }));
        }
        for (step, child) in &self.children {
            let wait = checkpoint.waits.iter_mut().find(|wait| &*wait.step == *step);
            let wait = wait.ok_or_else(|| Damaged("a step that does not wait has a sub-workflow".into()))?;
            wait.child = Some(execution_id(child)?);
        }
        Ok(checkpoint)
    }
}

impl<'a> StoredSignal<'a> {
    pub(super) fn of(Signal { step, told }: &'a Signal) -> StoredSignal<'a> {
        match told {
            Told::Decision { decision, by, comment } => {
                StoredSignal::Decision { step, decision: decision.name(), by, comment }
            }
            Told::Child { execution, status, output, failure } => StoredSignal::Child {
                step,
                execution: execution.to_string(),
                status: status.name(),
                output: tokens_of(output),
                failure: failure.as_ref().map(StoredFailure::of),
            },
        }
    }

    pub(super) fn read(&self) -> Result<Signal, Damaged> {
        let unknown = |what: &str| Damaged(format!("a signal has an unknown {what}"));
        Ok(match self {
            StoredSignal::Decision { step, decision, by, comment } => {
                let decision = Decision::ALL.into_iter().find(|it| it.name() == *decision);
                let decision = decision.ok_or_else(|| unknown("decision"))?;
                let told = Told::Decision { decision, by: (*by).into(), comment: (*comment).into() };
                Signal { step: (*step).into(), told }
            }
            StoredSignal::Child { step, execution, status, output, failure } => {
                let status = ExecutionStatus::ALL.into_iter().find(|it| it.name() == *status);
                let told = Told::Child {
                    execution: execution_id(execution)?,
                    status: status.ok_or_else(|| unknown("status"))?,
                    output: tokens::read(output)?,
                    failure: failure.as_ref().map(StoredFailure::failure).transpose()?,
                };
                Signal { step: (*step).into(), told }
            }
        })
    }
}
