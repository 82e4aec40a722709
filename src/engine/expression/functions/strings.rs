//! Functions of strings. Positions count characters (code points), as CEL does.

use std::sync::Arc;

use super::{Function, function, method, position};
use crate::engine::expression::Budget;
use crate::engine::expression::budget::ALLOCATION;
use crate::engine::expression::failure::Problem;
use crate::engine::expression::pattern::Pattern;
use crate::engine::value::{Value, View};

pub(super) const FUNCTIONS: &[Function] = &[
    method("contains", (2, 2), |arguments, budget| search(arguments, budget, |text, part| text.contains(part))),
    method("startsWith", (2, 2), |arguments, budget| search(arguments, budget, |text, part| text.starts_with(part))),
    method("endsWith", (2, 2), |arguments, budget| search(arguments, budget, |text, part| text.ends_with(part))),
    method("matches", (2, 2), matches),
    function("matches", (2, 2), matches),
    method("lowerAscii", (1, 1), |arguments, budget| {
        change(arguments, budget, |text| text.to_ascii_lowercase().into())
    }),
    method("upperAscii", (1, 1), |arguments, budget| {
        change(arguments, budget, |text| text.to_ascii_uppercase().into())
    }),
    method("trim", (1, 1), |arguments, budget| change(arguments, budget, |text| text.trim().into())),
    method("reverse", (1, 1), reverse),
    method("charAt", (2, 2), char_at),
    method("substring", (2, 3), substring),
    method("indexOf", (2, 3), index_of),
    method("lastIndexOf", (2, 2), last_index_of),
    method("replace", (3, 4), replace),
    method("split", (2, 3), split),
    method("join", (1, 2), join),
];

fn search(arguments: &[View<'_>], budget: &mut Budget, found: fn(&str, &str) -> bool) -> Result<Value, Problem> {
    let [View::Text(text), View::Text(part)] = arguments else { return Err(Problem::Types) };
    budget.take_bytes(text.len() + part.len())?;
    Ok(Value::Bool(found(text, part)))
}

fn change(arguments: &[View<'_>], budget: &mut Budget, changed: fn(&str) -> Arc<str>) -> Result<Value, Problem> {
    let [View::Text(text)] = arguments else { return Err(Problem::Types) };
    budget.take_bytes(text.len())?;
    Ok(Value::Text(changed(text)))
}

/// With a pattern that is computed; literal patterns are compiled with the expression.
fn matches(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::Text(text), View::Text(pattern)] = arguments else { return Err(Problem::Types) };
    Pattern::of_data(pattern, budget)?.is_match(text, budget).map(Value::Bool)
}

fn reverse(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Text(text)] => {
            budget.take_bytes(text.len() * 2)?;
            Ok(Value::text(text.chars().rev().collect::<String>()))
        }
        [View::List(list)] => {
            budget.take(list.len() as u64)?;
            let mut items: Vec<_> = list.iter().map(|item| item.to_value()).collect();
            items.reverse();
            Ok(Value::List(items.into()))
        }
        _ => Err(Problem::Types),
    }
}

/// The byte at which the character at `position` starts; the length for the position after the last one.
fn byte_at(text: &str, position: usize) -> Result<usize, Problem> {
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(position).ok_or_else(|| {
        Problem::other(format!(
            "position {position} is out of range in a string of {} characters",
            text.chars().count()
        ))
    })
}

fn char_at(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::Text(text), at] = arguments else { return Err(Problem::Types) };
    budget.take_bytes(text.len())?;
    let start = byte_at(text, position(*at)?)?;
    Ok(Value::text(text[start..].chars().next().map(String::from).unwrap_or_default()))
}

fn substring(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let (View::Text(text), from, to) = (match arguments {
        [text, from] => (*text, *from, None),
        [text, from, to] => (*text, *from, Some(*to)),
        _ => return Err(Problem::Types),
    }) else {
        return Err(Problem::Types);
    };
    budget.take_bytes(text.len())?;
    let start = byte_at(text, position(from)?)?;
    let end = to.map_or(Ok(text.len()), |to| byte_at(text, position(to)?))?;
    let part = text.get(start..end).ok_or_else(|| Problem::other("substring() ends before it starts"))?;
    Ok(Value::text(part))
}

fn index_of(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let (text, part, from) = match arguments {
        [View::Text(text), View::Text(part)] => (text, part, 0),
        [View::Text(text), View::Text(part), from] => (text, part, position(*from)?),
        _ => return Err(Problem::Types),
    };
    budget.take_bytes((text.len() + part.len()) * 2)?;
    let start = byte_at(text, from)?;
    let found = text[start..].find(part).map(|at| text[..start + at].chars().count() as i64);
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn last_index_of(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::Text(text), View::Text(part)] = arguments else { return Err(Problem::Types) };
    budget.take_bytes((text.len() + part.len()) * 2)?;
    let found = text.rfind(part).map(|at| text[..at].chars().count() as i64);
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn replace(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let (text, old, new, limit) = match arguments {
        [View::Text(text), View::Text(old), View::Text(new)] => (text, old, new, usize::MAX),
        // CEL: a negative limit is no limit.
        [View::Text(text), View::Text(old), View::Text(new), View::Int(limit)] => {
            (text, old, new, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return Err(Problem::Types),
    };
    budget.take_bytes(text.len() + old.len())?;
    // Counted before anything is built, so that a result of any size is refused before it exists.
    let count = text.matches(old).take(limit).count();
    budget.take_bytes(count.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(Value::text(text.replacen(old, new, limit)))
}

fn split(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let (text, separator, limit) = match arguments {
        [View::Text(text), View::Text(separator)] => (text, separator, usize::MAX),
        [View::Text(text), View::Text(separator), View::Int(limit)] => {
            (text, separator, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return Err(Problem::Types),
    };
    budget.take_bytes((text.len() + separator.len()) * 2)?;
    let mut parts = Vec::new();
    let mut add = |part: &str| {
        // A part is an allocation of its own.
        budget.take(ALLOCATION)?;
        parts.push(Value::text(part));
        Ok(())
    };
    if separator.is_empty() {
        let mut rest = *text;
        let mut count = 0;
        while let Some(first) = rest.chars().next()
            && count < limit
        {
            count += 1;
            let (part, after) = rest.split_at(if count == limit { rest.len() } else { first.len_utf8() });
            add(part)?;
            rest = after;
        }
    } else {
        text.splitn(limit, separator).try_for_each(&mut add)?;
    }
    Ok(Value::List(parts.into()))
}

fn join(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let (list, separator) = match arguments {
        [View::List(list)] => (list, ""),
        [View::List(list), View::Text(separator)] => (list, *separator),
        _ => return Err(Problem::Types),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let View::Text(text) = item.view() else {
            return Err(Problem::other(format!("join() takes a list of strings; item {index} is none, use string()")));
        };
        budget.take_bytes(text.len() + separator.len())?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Value::text(joined))
}
