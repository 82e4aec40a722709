//! Expressions as the engine runs them: compiled programs and templates, evaluated over an event and the steps so far,
//! within a budget. Compiling their text is the `expression` module's work.
//!
//! The language is CEL with the differences that data from JSON asks for: numbers of different types may be mixed in
//! arithmetic (`amount * 1.19` works when the amount is 100), the keys of objects are strings, a result that is not a finite
//! number is an error, and timestamps reach from 1677 to 2262.
//!
//! ```text
//! program  what an expression is             load      reading the scope: event, steps, vars
//! evaluate walking it, and/or absorption     operators arithmetic and comparison
//! template values with expressions in them   functions one table per kind of function
//! budget   what bounds time and memory       failure   what can go wrong, where
//! ```

mod budget;
mod comprehension;
mod evaluate;
mod failure;
pub mod functions;
mod load;
mod operators;
mod pattern;
mod program;
mod template;

use super::event::Event;
use super::value::Value;

pub use budget::Budget;
pub use failure::EvaluationError;
pub use load::{Load, Root, Segment};
pub use operators::{Arithmetic, Comparison};
pub use pattern::{Pattern, PatternError};
pub use program::{Comprehension, Expression, Fold, Kind, Program, TooDeep};
pub use template::Template;

/// What an expression can see. Nothing else: no environment, no secrets, no clock.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The event, as `event`.
    pub event: &'a Event,
    /// The steps by their index in the plan, as `steps.<id>`.
    pub steps: &'a [StepView],
    /// The execution's id, as `execution.id`; empty while triggers are matched.
    pub execution_id: &'a str,
    /// The workflow's id, as `execution.workflowId`.
    pub workflow_id: &'a str,
    /// The workflow's version, as `execution.workflowVersion`.
    pub workflow_version: &'a str,
    /// The workflow's `config.vars`, as `vars`.
    pub vars: &'a Value,
}

/// What expressions see of a step.
#[derive(Clone, Debug, Default)]
pub struct StepView {
    /// Where the step stands.
    pub status: StepStatus,
    /// Its output; null unless it completed.
    pub output: Value,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StepStatus {
    /// Not decided yet.
    #[default]
    Pending,
    /// It ran and has an output.
    Completed,
    /// It ran and failed.
    Failed,
    /// It did not run, because of what it depends on or of its `when`.
    Skipped,
}

impl StepStatus {
    /// The name used in records and expressions.
    pub const fn name(self) -> &'static str {
        match self {
            StepStatus::Pending => "pending",
            StepStatus::Completed => "completed",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
        }
    }
}
