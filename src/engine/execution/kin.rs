//! Sub-workflows: what the end of an execution means for the one that has started it, and for those that it has started.

use std::sync::Arc;

use super::journal_output;
use crate::engine::checkpoint::{Content, Parent, StepWait};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Entry, Mail};
use crate::engine::record::{ExecutionStatus, Failure, JournalRecord, Output};
use crate::engine::signal::{Signal, Told};
use crate::engine::value::Value;

/// How an execution has ended, for its parent.
pub(super) struct Ended<'a> {
    pub execution: ExecutionId,
    pub status: ExecutionStatus,
    /// The output of its last step.
    pub output: Value,
    pub failure: Option<&'a Failure>,
}

/// Mail that ends a sub-workflow; one that has ended already it does nothing to.
pub(super) fn cancelled(execution: ExecutionId) -> Output {
    let entry = Entry::Mail(Mail::Cancel);
    journal_output(&JournalRecord { execution, run: super::FIRST_RUN, entry, content: Content::None })
}

/// Tells the parent, and cancels the children that are still waited for.
pub(super) fn mail(parent: Option<&Parent>, waits: &[StepWait], ended: &Ended<'_>) -> Vec<Output> {
    let to_parent = parent.map(|Parent { execution, run, step, .. }| {
        let Ended { execution: child, status, output, failure } = ended;
        let told = Told::Child {
            execution: *child,
            status: *status,
            output: output.clone(),
            failure: failure.map(|it| (*it).clone()),
        };
        let content = Content::Signal(Arc::new(Signal { step: step.clone(), told }));
        JournalRecord { execution: *execution, run: *run, entry: Entry::Mail(Mail::Signal), content }
    });
    let cancelled = waits.iter().filter_map(|wait| wait.child).map(cancelled);
    to_parent.iter().map(journal_output).chain(cancelled).collect()
}
