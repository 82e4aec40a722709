//! What can go wrong in an evaluation. Inside it a failure stays data: most are absorbed by `&&`, `||` and `exists`, or
//! counted, and only what leaves the program is put into words.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::engine::value::View;

/// Why an expression has no value for this event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvaluationError {
    /// What is wrong, with which operands, and where in the expression.
    pub message: String,
}

/// A problem and its place in the source.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// Byte offset in the source.
    pub(super) at: u32,
    pub(super) problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug)]
pub enum Problem {
    /// The budget is spent. Nothing absorbs this.
    Budget,
    /// The operands have types that this operator or function does not take; the evaluator names them.
    Types,
    /// `parent` of the path has no such field.
    NoField {
        /// The whole path, like `event.data.a.b`.
        path: Arc<str>,
        /// Where the parent ends in it.
        parent: usize,
        /// The field.
        field: Arc<str>,
    },
    /// Anything else, in words.
    Other(Cow<'static, str>),
}

impl Problem {
    /// A problem in words.
    pub(super) fn other(message: impl Into<Cow<'static, str>>) -> Problem {
        Problem::Other(message.into())
    }
}

impl From<Problem> for EvaluationError {
    fn from(problem: Problem) -> Self {
        EvaluationError { message: problem.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Budget => formatter.write_str("the expression did too much work; make it or its data smaller"),
            Problem::Types => formatter.write_str("the operands have the wrong types"),
            Problem::NoField { path, parent, field } => {
                write!(formatter, "no such field `{field}` in {}", path.get(..*parent).unwrap_or(path))
            }
            Problem::Other(message) => formatter.write_str(message),
        }
    }
}

/// The name of a value's type in CEL.
pub(super) fn type_name(view: View<'_>) -> &'static str {
    match view {
        View::Null => "null",
        View::Bool(_) => "bool",
        View::Int(_) => "int",
        View::UInt(_) => "uint",
        View::Float(_) => "double",
        View::Text(_) => "string",
        View::Bytes(_) => "bytes",
        View::Timestamp(_) => "timestamp",
        View::Duration(_) => "duration",
        View::List(_) => "list",
        View::Map(_) => "map",
    }
}
