//! A plan: what a workflow does, compiled once. Valid by construction: [`Plan::new`] checks ids, references and cycles and
//! puts the steps in the order in which they run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::call::HttpCall;
use super::expression::{Program, Template};
use super::limits;
use super::serializer::Subject;
use super::value::Value;
use super::workflow::WorkflowId;

/// What a workflow does.
#[derive(Debug)]
pub struct Plan {
    steps: Vec<Step>,
    order: Vec<usize>,
    /// `config.vars`.
    pub vars: Value,
    /// The `where` of each trigger, in the order of the workflow's triggers.
    pub conditions: Vec<Option<Program>>,
    /// How long an execution that waits may take, while nothing of it is parked; None = no limit of its own.
    pub timeout: Option<Duration>,
    /// How old an execution that waits may become, parked or not.
    pub age_max: Duration,
    /// Whose turn it is among the executions of the workflow.
    pub turns: Turns,
}

/// Whose turn it is among the executions of a workflow. What has to wait for its turn is mailed to the journal before anything of it runs:
/// one owner decides for all that stand in one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// How many may run at once; 0 = any number.
    pub concurrency: u32,
    /// Those of one event key run one by one, in order. Events without a key are not ordered.
    pub by_key: bool,
    /// How long an execution may wait for its turn; None = as long as its age lets it.
    pub wait_max: Option<Duration>,
}

impl Turns {
    /// Whether an execution of an event with this key stands in a line.
    pub fn hold_back(&self, key: Option<&[u8]>) -> bool {
        self.concurrency > 0 || (self.by_key && key.is_some())
    }
}

/// One step of a plan.
#[derive(Debug)]
pub struct Step {
    /// Its id, unique in the plan.
    pub id: Arc<str>,
    /// What it does.
    pub action: Action,
    /// What must have ended before it.
    pub dependencies: Vec<Dependency>,
    /// Runs only if this is true.
    pub when: Option<Program>,
    /// What its failure means.
    pub on_error: OnError,
    /// Breaks ties between steps that could run; then the position in the file does.
    pub order: i64,
}

/// An edge of the DAG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Index of the step that must have ended.
    pub step: usize,
    /// For a switch: the case that must have been chosen; any other skips the dependent.
    pub case: Option<Arc<str>>,
}

/// What a failed step does to its execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The execution ends as failed, with a dead letter.
    #[default]
    Fail,
    /// The step counts as ended; its output is null.
    Continue,
}

/// What a step does: all but [`Action::Wait`] in place.
#[derive(Debug)]
pub enum Action {
    /// Computes a value.
    Transform {
        /// The value.
        output: Template,
    },
    /// False skips every step that depends on it.
    Condition {
        /// The test.
        test: Program,
    },
    /// Chooses the first case whose test is true.
    Switch {
        /// The cases by name.
        cases: Vec<(Arc<str>, Program)>,
        /// The case when no test is true.
        default: Option<Arc<str>>,
    },
    /// Writes a record, in the transaction of the execution.
    Produce(Produce),
    /// Writes a line to the instance's log.
    Log {
        /// How important it is.
        level: LogLevel,
        /// The line.
        message: Template,
    },
    /// Fails the step on purpose.
    Fail {
        /// Why.
        message: Template,
        /// What kind of failure it counts as.
        class: ErrorClass,
    },
    /// Waits for what is not there yet; the execution goes on when it has come.
    Wait(Wait),
}

/// A decision that somebody is asked for.
#[derive(Debug)]
pub struct Approval {
    /// How long it is waited for, the step's own time-out included; None = as long as the execution may wait.
    pub timeout: Option<Duration>,
    /// What it means if nobody decides in time: `Continue` goes on without a decision.
    pub on_timeout: OnError,
    /// What is asked.
    pub message: Option<Template>,
}

/// Another workflow that is started.
#[derive(Debug)]
pub struct ChildCall {
    /// The workflow.
    pub workflow: WorkflowId,
    /// Its version; None = the one in use.
    pub version: Option<Arc<str>>,
    /// What it gets as `event.data`; None = null.
    pub input: Option<Template>,
    /// How long its end is waited for; None = as long as the execution may wait. After that it is cancelled.
    pub timeout: Option<Duration>,
}

/// What a step waits for.
#[derive(Debug)]
pub enum Wait {
    /// So much time, from when the step's turn comes.
    Delay(Duration),
    /// A point in time: a timestamp, or text in RFC 3339. One that is past is no wait.
    Until(Template),
    /// Somebody's decision.
    Approval(Approval),
    /// The end of another workflow, which it starts.
    Workflow(ChildCall),
    /// The answer of a connector.
    Http(Box<HttpCall>),
}

impl Action {
    /// The name of the step's type in definitions.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Transform { .. } => "transform",
            Action::Condition { .. } => "condition",
            Action::Switch { .. } => "switch",
            Action::Produce(_) => "produce",
            Action::Log { .. } => "log",
            Action::Fail { .. } => "fail",
            Action::Wait(Wait::Delay(_) | Wait::Until(_)) => "delay",
            Action::Wait(Wait::Approval(_)) => "approval",
            Action::Wait(Wait::Workflow(_)) => "workflow",
            Action::Wait(Wait::Http(_)) => "http",
        }
    }

    /// How long it waits at most, where that is written down.
    fn longest_wait(&self) -> Option<Duration> {
        match self {
            Action::Wait(Wait::Delay(delay)) => Some(*delay),
            Action::Wait(Wait::Approval(Approval { timeout, .. }) | Wait::Workflow(ChildCall { timeout, .. })) => {
                *timeout
            }
            _ => None,
        }
    }

    /// The name of the connector that it calls, if it calls one.
    pub fn connector(&self) -> Option<&Arc<str>> {
        match self {
            Action::Wait(Wait::Http(call)) => Some(&call.connector),
            Action::Transform { .. }
            | Action::Condition { .. }
            | Action::Switch { .. }
            | Action::Produce(_)
            | Action::Log { .. }
            | Action::Fail { .. }
            | Action::Wait(Wait::Delay(_) | Wait::Until(_) | Wait::Approval(_) | Wait::Workflow(_)) => None,
        }
    }
}

/// The record that a produce step writes.
#[derive(Debug)]
pub struct Produce {
    /// The topic's name.
    pub topic: Template,
    /// The key; null and absent are a null key. Strings as they are, anything else as JSON.
    pub key: Option<Template>,
    /// The value; null is a tombstone. Strings as they are, anything else as JSON, unless a subject's schema says how.
    pub value: Template,
    /// Whose schema the value is written with.
    pub subject: Option<Subject>,
    /// Headers in order; a null value is a null header.
    pub headers: Vec<(Arc<str>, Template)>,
    /// The partition; else the key chooses as Java clients do (murmur2).
    pub partition: Option<Template>,
}

/// Levels of a log step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Details.
    Debug,
    /// Normal.
    Info,
    /// Worth a look.
    Warn,
    /// Wrong.
    Error,
}

/// Kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same again fails again.
    Permanent,
    /// The same again may work later.
    Retryable,
    /// Somebody must change a setting, a topic or a right first.
    Config,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [ErrorClass; 3] = [ErrorClass::Permanent, ErrorClass::Retryable, ErrorClass::Config];

    /// The name used in definitions and records.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorClass::Permanent => "permanent",
            ErrorClass::Retryable => "retryable",
            ErrorClass::Config => "config",
        }
    }
}

/// Why steps are no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// More steps than [`limits::STEPS_PER_WORKFLOW`].
    TooManySteps,
    /// Two steps have this id.
    DuplicateId(Arc<str>),
    /// The step at this index depends on a step that does not exist, or on itself.
    BadDependency {
        /// Index of the step.
        step: usize,
        /// Position in its dependencies.
        dependency: usize,
    },
    /// These steps wait for each other, in this order.
    Cycle(Vec<Arc<str>>),
}

impl Plan {
    /// Checks the steps and puts them in order: a step comes after all it depends on; among those that could run, `order`
    /// decides and then the position in the file.
    pub fn new(steps: Vec<Step>) -> Result<Plan, PlanError> {
        if steps.len() > limits::STEPS_PER_WORKFLOW {
            return Err(PlanError::TooManySteps);
        }
        for (index, step) in steps.iter().enumerate() {
            if steps[..index].iter().any(|other| other.id == step.id) {
                return Err(PlanError::DuplicateId(step.id.clone()));
            }
            let bad = |it: &Dependency| it.step >= steps.len() || it.step == index;
            if let Some(dependency) = step.dependencies.iter().position(bad) {
                return Err(PlanError::BadDependency { step: index, dependency });
            }
        }
        let order = run_order(&steps)?;
        let waits = steps.iter().filter_map(|step| step.action.longest_wait());
        let waits = waits.fold(Duration::ZERO, |all, wait| all.saturating_add(wait));
        Ok(Plan {
            steps,
            order,
            vars: Value::Null,
            conditions: Vec::new(),
            timeout: None,
            age_max: age_beside(waits),
            turns: Turns::default(),
        })
    }

    /// The steps, in the order of the file; dependencies are indices into this.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Index of the step that comes last; None if there is none.
    pub fn last_step(&self) -> Option<usize> {
        self.order.last().copied()
    }

    /// Indices of the steps in the order in which they run.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The subjects whose schemas its steps write values with.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Produce(produce) => produce.subject.as_ref(),
            _ => None,
        })
    }

    /// The names of the connectors that its steps call, each once. Whether there are such connectors only the settings know.
    pub fn connectors(&self) -> impl Iterator<Item = &Arc<str>> {
        let names: BTreeSet<&Arc<str>> = self.steps.iter().filter_map(|step| step.action.connector()).collect();
        names.into_iter()
    }
}

/// How old an execution may become that may wait for so long, if nobody says it.
pub fn age_beside(longest: Duration) -> Duration {
    limits::EXECUTION_AGE.max(longest.saturating_mul(2))
}

fn run_order(steps: &[Step]) -> Result<Vec<usize>, PlanError> {
    let mut done = vec![false; steps.len()];
    let mut order = Vec::with_capacity(steps.len());
    while order.len() < steps.len() {
        let ready = (0..steps.len())
            .filter(|&index| !done[index] && steps[index].dependencies.iter().all(|it| done[it.step]))
            .min_by_key(|&index| (steps[index].order, index));
        let Some(next) = ready else { return Err(PlanError::Cycle(find_cycle(steps, &done))) };
        done[next] = true;
        order.push(next);
    }
    Ok(order)
}

/// Follows unfinished dependencies until a step comes again: every step that is not done has one.
fn find_cycle(steps: &[Step], done: &[bool]) -> Vec<Arc<str>> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = done.iter().position(|it| !it);
    while let Some(index) = at {
        if let Some(start) = path.iter().position(|&it| it == index) {
            return path[start..].iter().map(|&it| steps[it].id.clone()).collect();
        }
        path.push(index);
        at = steps[index].dependencies.iter().map(|it| it.step).find(|&it| !done[it]);
    }
    Vec::new()
}
