//! Functions of lists and objects.

use super::{Function, function, method, position};
use crate::engine::expression::Budget;
use crate::engine::expression::failure::Problem;
use crate::engine::expression::operators::charge_equality;
use crate::engine::value::{Value, View, compare, equal};

pub(super) const FUNCTIONS: &[Function] = &[
    function("size", (1, 1), size),
    method("size", (1, 1), size),
    method("slice", (3, 3), slice),
    method("flatten", (1, 1), flatten),
    method("distinct", (1, 1), distinct),
    method("sort", (1, 1), sort),
    function("lists.range", (1, 1), range),
];

/// The largest list whose items may be told apart: that compares every item with every other.
const DISTINCT_ITEMS: usize = 10_000;

fn size(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let size = match arguments {
        [View::Text(text)] => {
            budget.take_bytes(text.len())?;
            text.chars().count()
        }
        [View::Bytes(bytes)] => bytes.len(),
        [View::List(list)] => list.len(),
        [View::Map(map)] => map.len(),
        _ => return Err(Problem::Types),
    };
    Ok(Value::Int(size as i64))
}

fn slice(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::List(list), from, to] = arguments else { return Err(Problem::Types) };
    let (from, to) = (position(*from)?, position(*to)?);
    if from > to || to > list.len() {
        let message = format!("slice({from}, {to}) is out of range in a list of {} items", list.len());
        return Err(Problem::other(message));
    }
    budget.take(to as u64)?;
    Ok(Value::List(list.iter().skip(from).take(to - from).map(|item| item.to_value()).collect()))
}

/// One level.
fn flatten(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::List(list)] = arguments else { return Err(Problem::Types) };
    let mut items = Vec::new();
    for item in list.iter() {
        match item.view() {
            View::List(inner) => {
                budget.take(inner.len() as u64 + 1)?;
                items.extend(inner.iter().map(|item| item.to_value()));
            }
            _ => {
                budget.take(1)?;
                items.push(item.to_value());
            }
        }
    }
    Ok(Value::List(items.into()))
}

fn distinct(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::List(list)] = arguments else { return Err(Problem::Types) };
    if list.len() > DISTINCT_ITEMS {
        return Err(Problem::other(format!("distinct() takes at most {DISTINCT_ITEMS} items")));
    }
    let mut items: Vec<Value> = Vec::new();
    'items: for item in list.iter() {
        for kept in &items {
            charge_equality(kept.view(), item.view(), budget)?;
            if equal(kept.view(), item.view()) {
                continue 'items;
            }
        }
        budget.take(1)?;
        items.push(item.to_value());
    }
    Ok(Value::List(items.into()))
}

fn sort(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::List(list)] = arguments else { return Err(Problem::Types) };
    let mut items: Vec<Value> = Vec::with_capacity(list.len());
    // A sort compares each item with about as many others as the length has binary digits.
    let comparisons = u64::from(list.len().max(1).ilog2()) + 1;
    for item in list.iter() {
        let bytes = item.view().as_text().map_or(0, str::len);
        budget.take(comparisons.saturating_mul(1 + bytes as u64 / 16))?;
        items.push(item.to_value());
    }
    // Every item must have an order with the first one; then all of them have one with each other.
    let comparable = |item: &Value| items.first().is_some_and(|first| compare(first.view(), item.view()).is_some());
    if !items.iter().all(comparable) {
        return Err(Problem::other("sort() takes items of one type: numbers, strings, bools, times"));
    }
    items.sort_by(|left, right| compare(left.view(), right.view()).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Value::List(items.into()))
}

fn range(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [count] = arguments else { return Err(Problem::Types) };
    let count = position(*count)?;
    budget.take(count as u64)?;
    Ok(Value::List((0..count as i64).map(Value::Int).collect()))
}
