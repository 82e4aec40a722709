//! What executions wait for, counted as it changes: each is counted when it was looked at, so that nobody has to walk all of them.

use super::task::{Stage, Task};
use crate::engine::checkpoint::StepWait;
use crate::engine::plan::{Action, Plan, Wait};

/// What an execution waits for. One that waits for several things counts as the first of them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// The answer to a call that is under way.
    Calling,
    /// A permit of the gate of a connector.
    Connector,
    /// A point in time: a delay, or the next attempt of a call.
    Timer,
    /// Another workflow that it has started.
    Workflow,
    /// Somebody's decision.
    Approval,
    /// Its turn among the executions of its workflow.
    Turn,
    /// A version that is not installed here: its own, or that of a sub-workflow.
    Definition,
}

impl WaitReason {
    /// Every reason.
    pub const ALL: [WaitReason; 7] = [
        WaitReason::Calling,
        WaitReason::Connector,
        WaitReason::Timer,
        WaitReason::Workflow,
        WaitReason::Approval,
        WaitReason::Turn,
        WaitReason::Definition,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            WaitReason::Calling => "calling",
            WaitReason::Connector => "connector",
            WaitReason::Timer => "timer",
            WaitReason::Workflow => "workflow",
            WaitReason::Approval => "approval",
            WaitReason::Turn => "turn",
            WaitReason::Definition => "definition",
        }
    }
}

/// How many executions wait for what. Those that go on, or of which something is being written, wait for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitCounts([u64; WaitReason::ALL.len()]);

impl WaitCounts {
    /// How many wait for this.
    pub fn of(&self, reason: WaitReason) -> u64 {
        self.0[reason as usize]
    }

    /// An execution that waited for the first waits for the second now.
    pub(super) fn change(&mut self, before: Option<WaitReason>, after: Option<WaitReason>) {
        if let Some(before) = before {
            self.0[before as usize] -= 1;
        }
        if let Some(after) = after {
            self.0[after as usize] += 1;
        }
    }

    /// All of both.
    pub(super) fn and(mut self, other: &WaitCounts) -> WaitCounts {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
        self
    }
}

impl Task {
    /// What the steps wait for of one whose turn it is and that does not go on.
    pub(super) fn waits_for(&self, plan: &Plan) -> Option<WaitReason> {
        self.standing().filter_map(|(wait, stage)| reason(wait, stage, plan)).min()
    }
}

fn reason(wait: &StepWait, stage: Stage, plan: &Plan) -> Option<WaitReason> {
    let step = plan.steps().iter().find(|step| step.id == wait.step)?;
    let Action::Wait(kind) = &step.action else { return None };
    match (kind, stage) {
        (Wait::Approval(_), _) => Some(WaitReason::Approval),
        // It is not open as long as what it is to start is not there.
        (Wait::Workflow(_), _) if wait.child.is_none() => Some(WaitReason::Definition),
        (Wait::Workflow(_), _) => Some(WaitReason::Workflow),
        (_, Stage::Calling(_)) => Some(WaitReason::Calling),
        (_, Stage::Queued) => Some(WaitReason::Connector),
        (_, Stage::Timer(_)) => Some(WaitReason::Timer),
        (Wait::Delay(_) | Wait::Until(_) | Wait::Http(_), Stage::New) => None,
    }
}
