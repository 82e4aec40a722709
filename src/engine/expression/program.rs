//! Compiled expressions: a tree in which names are already places and functions already code.

use std::sync::Arc;

use super::evaluate::Evaluator;
use super::failure::{EvaluationError, Failure, Problem, type_name};
use super::functions::Function;
use super::load::{Load, Segment};
use super::operators::{Arithmetic, Comparison};
use super::pattern::Pattern;
use super::{Budget, Scope};
use crate::engine::limits;
use crate::engine::value::{Value, View};

/// A compiled expression. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Box<str>,
    root: Expression,
    calls_always: bool,
}

/// The expression nests deeper than [`limits::EXPRESSION_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

impl Program {
    /// A program that always has this value.
    pub fn literal(value: Value) -> Program {
        let root = Expression { at: 0, kind: Kind::Literal(value) };
        Program { shared: Arc::new(Shared { source: "".into(), root, calls_always: false }) }
    }

    /// A program of an expression; `source` is only quoted in errors.
    pub fn new(source: &str, root: Expression, calls_always: bool) -> Result<Program, TooDeep> {
        if !root.depth_within(limits::EXPRESSION_DEPTH) {
            return Err(TooDeep);
        }
        Ok(Program { shared: Arc::new(Shared { source: source.into(), root, calls_always }) })
    }

    /// Whether the expression calls `always()`, which lets a step run although something it depends on was skipped.
    pub fn calls_always(&self) -> bool {
        self.shared.calls_always
    }

    /// The text it was compiled from; empty for a literal.
    pub fn source(&self) -> &str {
        &self.shared.source
    }

    /// The value, if the expression is nothing but a literal.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.shared.root.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The value of the expression.
    pub fn evaluate(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Value, EvaluationError> {
        let outcome = Evaluator::new(*scope, budget).evaluate(&self.shared.root).map(|operand| operand.into_value());
        let value = outcome.map_err(|failure| self.describe(&failure))?;
        if value.depth_within(limits::VALUE_DEPTH) {
            return Ok(value);
        }
        let message = format!("lists and objects nest deeper than {} levels in the result", limits::VALUE_DEPTH);
        Err(self.describe(&Failure { at: 0, problem: Problem::other(message) }))
    }

    /// The truth of the expression; anything but a bool is an error.
    pub fn test(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<bool, EvaluationError> {
        let mut evaluator = Evaluator::new(*scope, budget);
        if let Some(truth) = evaluator.quick_truth(&self.shared.root) {
            return Ok(truth);
        }
        let outcome = evaluator.evaluate(&self.shared.root);
        let operand = outcome.map_err(|failure| self.describe(&failure))?;
        match operand.view() {
            View::Bool(truth) => Ok(truth),
            other => {
                let message = format!("the result is {}, not bool", type_name(other));
                Err(self.describe(&Failure { at: 0, problem: Problem::other(message) }))
            }
        }
    }

    fn describe(&self, failure: &Failure) -> EvaluationError {
        // Long enough to recognise the expression, short enough for a log line.
        const QUOTED_CHARS: usize = 60;
        let source = &*self.shared.source;
        let before = source.get(..failure.at as usize).unwrap_or_default();
        let column = before.chars().count() + 1;
        // Start of the quote: far enough back to show what leads to the place.
        let skipped = column.saturating_sub(QUOTED_CHARS / 2);
        let skipped = if source.chars().count() <= QUOTED_CHARS { 0 } else { skipped };
        let quoted: String = source.chars().skip(skipped).take(QUOTED_CHARS).collect();
        let (head, tail) = (skipped > 0, source.chars().count() > skipped + QUOTED_CHARS);
        let (head, tail) = (if head { "…" } else { "" }, if tail { "…" } else { "" });
        let message = format!("{}, at column {column} of `{head}{quoted}{tail}`", failure.problem);
        EvaluationError { message }
    }
}

/// A part of an expression, and where it stands.
#[derive(Clone, Debug)]
pub struct Expression {
    /// Byte offset in the source, for errors.
    pub at: u32,
    /// What it is.
    pub kind: Kind,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A constant.
    Literal(Value),
    /// A value of the scope.
    Load(Load),
    /// A variable of an enclosing comprehension: its slot, counted from the outermost, and its name.
    Local(usize, Arc<str>),
    /// `operand.a[0]` where the operand is computed.
    Select(Box<Expression>, Segment),
    /// `operand[index]` where the index is computed.
    Index(Box<[Expression; 2]>),
    /// `has(operand.field)`.
    Has(Box<Expression>, Arc<str>),
    /// `!operand`.
    Not(Box<Expression>),
    /// `-operand`.
    Negate(Box<Expression>),
    /// `first + b - c * …`, from left to right.
    Arithmetic(Box<Expression>, Box<[(Arithmetic, Expression)]>),
    /// `left < right` and the like.
    Compare(Comparison, Box<[Expression; 2]>),
    /// `left in right`.
    In(Box<[Expression; 2]>),
    /// `a && b && …`.
    And(Box<[Expression]>),
    /// `a || b || …`.
    Or(Box<[Expression]>),
    /// `test ? then : otherwise`.
    Conditional(Box<[Expression; 3]>),
    /// `[a, b]`.
    List(Box<[Expression]>),
    /// `{a: b}`.
    Map(Box<[(Expression, Expression)]>),
    /// A function and its arguments, the receiver first.
    Call(&'static Function, Box<[Expression]>),
    /// `text.matches(pattern)` with a literal pattern.
    Matches(Box<Expression>, Pattern),
    /// `range.all(x, …)` and the like.
    Comprehension(Box<Comprehension>),
}

/// A loop over a list, or over the keys of an object.
#[derive(Clone, Debug)]
pub struct Comprehension {
    /// What it makes of the items.
    pub fold: Fold,
    /// The list or object.
    pub range: Expression,
    /// Whether it has two variables: position and item, or key and field.
    pub two_variables: bool,
    /// Which items count; None = all.
    pub filter: Option<Expression>,
    /// What is computed for each item.
    pub body: Expression,
}

/// What a comprehension makes of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Whether the body is true for all.
    All,
    /// Whether it is true for one at least.
    Exists,
    /// Whether it is true for exactly one.
    ExistsOne,
    /// The items for which it is true.
    Filter,
    /// The list of its values.
    List,
    /// The object of its values by key.
    Map,
}

impl Expression {
    /// Whether it nests at most `limit` deep.
    fn depth_within(&self, limit: usize) -> bool {
        let Some(limit) = limit.checked_sub(1) else { return false };
        let all = |parts: &[Expression]| parts.iter().all(|part| part.depth_within(limit));
        match &self.kind {
            Kind::Literal(_) | Kind::Load(_) | Kind::Local(..) => true,
            Kind::Select(operand, _)
            | Kind::Has(operand, _)
            | Kind::Not(operand)
            | Kind::Negate(operand)
            | Kind::Matches(operand, _) => operand.depth_within(limit),
            Kind::Arithmetic(first, rest) => {
                first.depth_within(limit) && rest.iter().all(|(_, operand)| operand.depth_within(limit))
            }
            Kind::Index(parts) | Kind::Compare(_, parts) | Kind::In(parts) => all(&**parts),
            Kind::Conditional(parts) => all(&**parts),
            Kind::And(parts) | Kind::Or(parts) | Kind::List(parts) | Kind::Call(_, parts) => all(parts),
            Kind::Map(entries) => {
                entries.iter().all(|(key, value)| key.depth_within(limit) && value.depth_within(limit))
            }
            Kind::Comprehension(it) => {
                it.range.depth_within(limit)
                    && it.body.depth_within(limit)
                    && it.filter.as_ref().is_none_or(|filter| filter.depth_within(limit))
            }
        }
    }
}
