//! What a step that waits is told: a decision of somebody, or how a sub-workflow has ended.

use std::sync::Arc;

use super::ids::ExecutionId;
use super::record::{ExecutionStatus, Failure};
use super::value::Value;

/// The longest name and the longest comment of who decides, in bytes: they become outputs.
pub const DECISION_TEXT_BYTES: usize = 4 * 1024;

/// What a step is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// The step that waits for it.
    pub step: Arc<str>,
    /// What it is told.
    pub told: Told,
}

/// What a step is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// What somebody has decided, for an approval.
    Decision {
        /// The decision.
        decision: Decision,
        /// Who has decided; empty if nobody says.
        by: Arc<str>,
        /// Why; empty if nobody says.
        comment: Arc<str>,
    },
    /// How a sub-workflow has ended.
    Child {
        /// The execution that has ended; another one than the step waits for says nothing.
        execution: ExecutionId,
        /// How.
        status: ExecutionStatus,
        /// The output of its last step.
        output: Value,
        /// Why it did not complete.
        failure: Option<Failure>,
    },
}

/// What can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Approved,
    /// No.
    Rejected,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Decision; 2] = [Decision::Approved, Decision::Rejected];

    /// The name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Approved => "approved",
            Decision::Rejected => "rejected",
        }
    }
}
