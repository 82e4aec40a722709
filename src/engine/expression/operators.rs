//! Arithmetic and comparison. Numbers of different types mix: with a double the result is a double, an int and a uint give
//! whichever the result fits. No result is rounded silently out of range: overflow, division by zero and results that are
//! not finite are errors.

use std::cmp::Ordering;

use bytes::Bytes;

use super::Budget;
use super::evaluate::{Evaluator, Operand, Outcome, of_types};
use super::failure::{Failure, Problem};
use super::program::Expression;
use crate::engine::value::{self, Number, Value, View};

/// What starting a new string costs, as bytes.
const START_BYTES: usize = 64;

/// Operators of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`, also of strings, bytes, lists, timestamps and durations.
    Add,
    /// `-`, also of timestamps and durations.
    Subtract,
    /// `*`
    Multiply,
    /// `/`, of whole numbers towards zero.
    Divide,
    /// `%`, of whole numbers only.
    Modulo,
}

impl Arithmetic {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
        }
    }
}

/// Operators of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

pub(super) fn compare(
    comparison: Comparison,
    left: View<'_>,
    right: View<'_>,
    budget: &mut Budget,
) -> Result<bool, Problem> {
    charge_equality(left, right, budget)?;
    let order = match comparison {
        Comparison::Equal => return Ok(value::equal(left, right)),
        Comparison::NotEqual => return Ok(!value::equal(left, right)),
        Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
            value::compare(left, right).ok_or(Problem::Types)?
        }
    };
    Ok(match comparison {
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
    })
}

/// Takes what comparing the two costs at most, before it is done.
#[inline]
pub(super) fn charge_equality(left: View<'_>, right: View<'_>, budget: &mut Budget) -> Result<(), Problem> {
    match (left, right) {
        (View::Text(left), View::Text(right)) => budget.take_bytes(left.len().min(right.len())),
        (View::Bytes(left), View::Bytes(right)) => budget.take_bytes(left.len().min(right.len())),
        (View::List(_), View::List(_)) => charge_size(left, budget),
        // Fields are looked up in the other object, large ones through an index that is built first.
        (View::Map(map), View::Map(_)) => {
            budget.take(map.len() as u64 * 2)?;
            charge_size(left, budget)
        }
        _ => budget.take(1),
    }
}

/// Takes a unit for every item, field and 16 bytes of a value.
pub(super) fn charge_size(view: View<'_>, budget: &mut Budget) -> Result<(), Problem> {
    match view {
        View::Text(text) => budget.take_bytes(text.len()),
        View::Bytes(bytes) => budget.take_bytes(bytes.len()),
        View::List(list) => {
            budget.take(1)?;
            list.iter().try_for_each(|item| charge_size(item.view(), budget))
        }
        View::Map(map) => {
            budget.take(1)?;
            map.iter().try_for_each(|(name, field)| {
                budget.take_bytes(name.len())?;
                charge_size(field.view(), budget)
            })
        }
        View::Null
        | View::Bool(_)
        | View::Int(_)
        | View::UInt(_)
        | View::Float(_)
        | View::Timestamp(_)
        | View::Duration(_) => budget.take(1),
    }
}

impl<'a> Evaluator<'a, '_> {
    /// A chain of operators from left to right. Strings that are joined one after the other grow in one buffer, so that a
    /// long chain costs what its result is long.
    #[inline(never)]
    pub(super) fn arithmetic(&mut self, first: &'a Expression, rest: &'a [(Arithmetic, Expression)]) -> Outcome<'a> {
        let mut left = self.evaluate(first)?;
        let mut joined: Option<String> = None;
        for (operator, operand) in rest {
            let at = operand.at;
            let right = self.evaluate(operand)?;
            let left_view = joined.as_deref().map_or_else(|| left.view(), View::Text);
            if let (Arithmetic::Add, View::Text(text), View::Text(more)) = (operator, left_view, right.view()) {
                let fresh = if joined.is_some() { 0 } else { text.len() + START_BYTES };
                self.budget.take_bytes(fresh + more.len()).map_err(|problem| Failure { at, problem })?;
                joined.get_or_insert_with(|| String::from(left.view().as_text().unwrap_or_default())).push_str(more);
                continue;
            }
            let value = apply(*operator, left_view, right.view(), self.budget)
                .map_err(|problem| of_types(at, problem, operator.symbol(), &[left_view, right.view()]))?;
            left = Operand::Owned(value);
            joined = None;
        }
        Ok(joined.map_or(left, |text| Operand::Owned(Value::text(text))))
    }
}

fn apply(operator: Arithmetic, left: View<'_>, right: View<'_>, budget: &mut Budget) -> Result<Value, Problem> {
    match (left, right) {
        (View::Int(left), View::Int(right)) => whole(operator, left.into(), right.into(), Kind::Int),
        (View::UInt(left), View::UInt(right)) => whole(operator, left.into(), right.into(), Kind::UInt),
        (View::Int(left), View::UInt(right)) => whole(operator, left.into(), right.into(), Kind::Either),
        (View::UInt(left), View::Int(right)) => whole(operator, left.into(), right.into(), Kind::Either),
        (View::Float(left), View::Float(right)) => double(operator, left, right),
        (View::Float(left), View::Int(right)) => double(operator, left, right as f64),
        (View::Float(left), View::UInt(right)) => double(operator, left, right as f64),
        (View::Int(left), View::Float(right)) => double(operator, left as f64, right),
        (View::UInt(left), View::Float(right)) => double(operator, left as f64, right),
        _ => match operator {
            Arithmetic::Add => add(left, right, budget),
            Arithmetic::Subtract => subtract(left, right),
            Arithmetic::Multiply | Arithmetic::Divide | Arithmetic::Modulo => Err(Problem::Types),
        },
    }
}

/// Which type the result of whole numbers has.
#[derive(Clone, Copy)]
enum Kind {
    Int,
    UInt,
    Either,
}

/// Whole numbers of 64 bits, in 128 bits, where nothing overflows.
fn whole(operator: Arithmetic, left: i128, right: i128, kind: Kind) -> Result<Value, Problem> {
    let result = match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        // At most 2^64 · 2^64, one more than 128 bits with sign hold.
        Arithmetic::Multiply => left.checked_mul(right).ok_or_else(overflow)?,
        Arithmetic::Divide | Arithmetic::Modulo if right == 0 => return Err(Problem::other("division by zero")),
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
    };
    let int = || i64::try_from(result).ok().map(Value::Int);
    let uint = || u64::try_from(result).ok().map(Value::UInt);
    match kind {
        Kind::Int => int(),
        Kind::UInt => uint(),
        Kind::Either => int().or_else(uint),
    }
    .ok_or_else(overflow)
}

fn overflow() -> Problem {
    Problem::other("the result does not fit 64 bits")
}

fn double(operator: Arithmetic, left: f64, right: f64) -> Result<Value, Problem> {
    match operator {
        Arithmetic::Add => finite(left + right),
        Arithmetic::Subtract => finite(left - right),
        Arithmetic::Multiply => finite(left * right),
        Arithmetic::Divide if right == 0.0 => Err(Problem::other("division by zero")),
        Arithmetic::Divide => finite(left / right),
        Arithmetic::Modulo => Err(Problem::other("`%` takes whole numbers only")),
    }
}

/// The double, unless it is no finite number.
pub(super) fn finite(result: f64) -> Result<Value, Problem> {
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(Problem::other("the result is not a finite number")) }
}

fn add(left: View<'_>, right: View<'_>, budget: &mut Budget) -> Result<Value, Problem> {
    match (left, right) {
        (View::Text(left), View::Text(right)) => {
            budget.take_bytes(left.len() + right.len())?;
            Ok(Value::text([left, right].concat()))
        }
        (View::Bytes(left), View::Bytes(right)) => {
            budget.take_bytes(left.len() + right.len())?;
            Ok(Value::Bytes(Bytes::from([left, right].concat())))
        }
        (View::List(left), View::List(right)) => {
            budget.take_items(left.len() + right.len())?;
            let items: Vec<_> = left.iter().chain(right.iter()).map(|item| item.to_value()).collect();
            Ok(Value::List(items.into()))
        }
        (View::Timestamp(left), View::Duration(right)) | (View::Duration(left), View::Timestamp(right)) => {
            left.checked_add(right).map(Value::Timestamp).ok_or_else(out_of_time)
        }
        (View::Duration(left), View::Duration(right)) => {
            left.checked_add(right).map(Value::Duration).ok_or_else(out_of_time)
        }
        _ => Err(Problem::Types),
    }
}

fn subtract(left: View<'_>, right: View<'_>) -> Result<Value, Problem> {
    match (left, right) {
        (View::Timestamp(left), View::Timestamp(right)) | (View::Duration(left), View::Duration(right)) => {
            left.checked_sub(right).map(Value::Duration).ok_or_else(out_of_time)
        }
        (View::Timestamp(left), View::Duration(right)) => {
            left.checked_sub(right).map(Value::Timestamp).ok_or_else(out_of_time)
        }
        _ => Err(Problem::Types),
    }
}

/// Why a timestamp or a duration does not exist.
pub(super) fn out_of_time() -> Problem {
    Problem::other("the result is out of range: timestamps reach from 1677 to 2262, durations 292 years")
}

pub(super) fn negate(view: View<'_>) -> Result<Value, Problem> {
    match view {
        View::Int(it) => it.checked_neg().map(Value::Int).ok_or_else(overflow),
        View::Float(it) => Ok(Value::Float(-it)),
        View::Duration(it) => it.checked_neg().map(Value::Duration).ok_or_else(out_of_time),
        _ => Err(Problem::Types),
    }
}

/// The order of two numbers, if both are.
pub(super) fn compare_numbers(left: View<'_>, right: View<'_>) -> Result<Ordering, Problem> {
    let (left, right) = (Number::of(left).ok_or(Problem::Types)?, Number::of(right).ok_or(Problem::Types)?);
    left.compare(right).ok_or(Problem::Types)
}
