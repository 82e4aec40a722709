//! Functions of numbers: CEL's `math` extension.

use std::cmp::Ordering;

use super::{Function, MANY, function};
use crate::engine::expression::Budget;
use crate::engine::expression::failure::Problem;
use crate::engine::expression::operators::{compare_numbers, finite};
use crate::engine::value::{Value, ValueRef, View};

pub(super) const FUNCTIONS: &[Function] = &[
    function("math.greatest", (1, MANY), |arguments, budget| extreme(arguments, budget, Ordering::Greater)),
    function("math.least", (1, MANY), |arguments, budget| extreme(arguments, budget, Ordering::Less)),
    function("math.abs", (1, 1), absolute),
    function("math.sign", (1, 1), sign),
    function("math.ceil", (1, 1), |arguments, _| rounded(arguments, f64::ceil)),
    function("math.floor", (1, 1), |arguments, _| rounded(arguments, f64::floor)),
    // Halves away from zero, as CEL says.
    function("math.round", (1, 1), |arguments, _| rounded(arguments, f64::round)),
    function("math.trunc", (1, 1), |arguments, _| rounded(arguments, f64::trunc)),
];

fn extreme(arguments: &[View<'_>], budget: &mut Budget, wanted: Ordering) -> Result<Value, Problem> {
    match arguments {
        [View::List(list)] => {
            budget.take(list.len() as u64)?;
            let numbers: Vec<View<'_>> = list.iter().map(ValueRef::view).collect();
            best(&numbers, wanted)
        }
        numbers => best(numbers, wanted),
    }
}

fn best(numbers: &[View<'_>], wanted: Ordering) -> Result<Value, Problem> {
    let (first, rest) = numbers.split_first().ok_or_else(|| Problem::other("an empty list has no extreme"))?;
    let mut best = *first;
    compare_numbers(best, best)?;
    for number in rest {
        if compare_numbers(*number, best)? == wanted {
            best = *number;
        }
    }
    number_value(best)
}

fn number_value(view: View<'_>) -> Result<Value, Problem> {
    match view {
        View::Int(it) => Ok(Value::Int(it)),
        View::UInt(it) => Ok(Value::UInt(it)),
        View::Float(it) => finite(it),
        _ => Err(Problem::Types),
    }
}

fn absolute(arguments: &[View<'_>], _: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Int(it)] => {
            it.checked_abs().map(Value::Int).ok_or_else(|| Problem::other("the result does not fit 64 bits"))
        }
        [View::UInt(it)] => Ok(Value::UInt(*it)),
        [View::Float(it)] => Ok(Value::Float(it.abs())),
        _ => Err(Problem::Types),
    }
}

fn sign(arguments: &[View<'_>], _: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Int(it)] => Ok(Value::Int(it.signum())),
        [View::UInt(it)] => Ok(Value::UInt((*it).min(1))),
        [View::Float(it)] => Ok(Value::Float(if *it == 0.0 { 0.0 } else { it.signum() })),
        _ => Err(Problem::Types),
    }
}

/// A whole number is its own ceiling, so that these work whether JSON wrote `2` or `2.0`.
fn rounded(arguments: &[View<'_>], round: fn(f64) -> f64) -> Result<Value, Problem> {
    match arguments {
        [View::Float(it)] => finite(round(*it)),
        [View::Int(it)] => Ok(Value::Int(*it)),
        [View::UInt(it)] => Ok(Value::UInt(*it)),
        _ => Err(Problem::Types),
    }
}
