//! Loops of expressions: `all`, `exists`, `exists_one`, `filter`, `map` and their forms with two variables.

use std::sync::Arc;

use super::budget;
use super::evaluate::{Evaluator, Operand, Outcome, of_types};
use super::failure::{Failure, Problem};
use super::program::{Comprehension, Fold};
use crate::engine::value::{Value, ValueRef, View};

/// What a comprehension has made so far.
struct Folded {
    /// For `all` and `exists`: the first failure, which a decisive item still absorbs.
    failed: Option<Failure>,
    /// For `exists_one`.
    count: usize,
    items: Vec<Value>,
    fields: Vec<(Arc<str>, Value)>,
}

impl<'a> Evaluator<'a, '_> {
    #[inline(never)]
    pub(super) fn comprehension(&mut self, at: u32, comprehension: &'a Comprehension) -> Outcome<'a> {
        let range = self.evaluate(&comprehension.range)?;
        self.budget.take(budget::ALLOCATION).map_err(|problem| Failure { at, problem })?;
        let mut folded = Folded { failed: None, count: 0, items: Vec::new(), fields: Vec::new() };
        let depth = self.locals.len();
        let mut decided = None;
        match range.view() {
            View::List(list) => {
                for (position, item) in list.iter().enumerate() {
                    let key = comprehension.two_variables.then(|| Value::Int(position as i64));
                    decided = self.turn(at, comprehension, key, item, &mut folded)?;
                    if decided.is_some() {
                        break;
                    }
                }
            }
            View::Map(map) => {
                for (name, field) in map.iter() {
                    let name = Value::text(name);
                    decided = if comprehension.two_variables {
                        self.turn(at, comprehension, Some(name), field, &mut folded)?
                    } else {
                        self.turn(at, comprehension, None, (&name).into(), &mut folded)?
                    };
                    if decided.is_some() {
                        break;
                    }
                }
            }
            other => return Err(of_types(at, Problem::Types, fold_name(comprehension.fold), &[other])),
        }
        self.locals.truncate(depth);
        match (decided, folded.failed) {
            (Some(truth), _) => Ok(truth.into()),
            (None, Some(failure)) => Err(failure),
            (None, None) => Ok(Operand::Owned(match comprehension.fold {
                Fold::All => Value::Bool(true),
                Fold::Exists => Value::Bool(false),
                Fold::ExistsOne => Value::Bool(folded.count == 1),
                Fold::Filter | Fold::List => Value::List(folded.items.into()),
                Fold::Map => Value::map(folded.fields),
            })),
        }
    }

    /// One item. Returns the result if this item decides it.
    fn turn(
        &mut self,
        at: u32,
        comprehension: &'a Comprehension,
        key: Option<Value>,
        item: ValueRef<'_>,
        folded: &mut Folded,
    ) -> Result<Option<bool>, Failure> {
        // Keeping the item and what is made of it.
        self.budget.take(2).map_err(|problem| Failure { at, problem })?;
        let depth = self.locals.len();
        let name = match (&key, comprehension.fold) {
            (Some(key), Fold::Map) => Some(key.clone()),
            _ => None,
        };
        self.locals.extend(key);
        self.locals.push(item.to_value());
        let wanted = match &comprehension.filter {
            Some(filter) => self.truth(filter, comprehension.fold),
            None => Ok(true),
        };
        let outcome = match (wanted, comprehension.fold) {
            (Err(failure), _) => Err(failure),
            (Ok(false), _) => {
                self.locals.truncate(depth);
                return Ok(None);
            }
            (Ok(true), Fold::List | Fold::Map) => self.evaluate(&comprehension.body).map(Operand::into_value),
            (Ok(true), Fold::All | Fold::Exists | Fold::ExistsOne | Fold::Filter) => {
                self.truth(&comprehension.body, comprehension.fold).map(Value::Bool)
            }
        };
        self.locals.truncate(depth);
        match (comprehension.fold, outcome) {
            (Fold::All | Fold::Exists, Err(failure)) if !matches!(failure.problem, Problem::Budget) => {
                folded.failed.get_or_insert(failure);
                return Ok(None);
            }
            (_, Err(failure)) => return Err(failure),
            (Fold::All, Ok(Value::Bool(false))) => return Ok(Some(false)),
            (Fold::Exists, Ok(Value::Bool(true))) => return Ok(Some(true)),
            (Fold::All | Fold::Exists, Ok(_)) => {}
            (Fold::ExistsOne, Ok(value)) => folded.count += usize::from(matches!(value, Value::Bool(true))),
            (Fold::Filter, Ok(Value::Bool(true))) => folded.items.push(item.to_value()),
            (Fold::Filter, Ok(_)) => {}
            (Fold::List, Ok(value)) => folded.items.push(value),
            (Fold::Map, Ok(value)) => match name.as_ref().and_then(Value::as_str) {
                Some(name) => folded.fields.push((name.into(), value)),
                None => {
                    let problem = Problem::other("transformMap() takes an object, not list");
                    return Err(Failure { at, problem });
                }
            },
        }
        Ok(None)
    }

    fn truth(&mut self, test: &'a super::Expression, fold: Fold) -> Result<bool, Failure> {
        if let Some(truth) = self.quick_truth(test) {
            return Ok(truth);
        }
        match self.evaluate(test)?.view() {
            View::Bool(truth) => Ok(truth),
            other => Err(of_types(test.at, Problem::Types, fold_name(fold), &[other])),
        }
    }
}

fn fold_name(fold: Fold) -> &'static str {
    match fold {
        Fold::All => "all()",
        Fold::Exists => "exists()",
        Fold::ExistsOne => "exists_one()",
        Fold::Filter => "filter()",
        Fold::List => "map()",
        Fold::Map => "transformMap()",
    }
}
