//! Walking a compiled expression. Recurses once a level, which [`crate::engine::limits::EXPRESSION_DEPTH`] bounds; loops are
//! bounded by the budget.

use std::sync::Arc;

use super::failure::{Failure, Problem, type_name};
use super::functions::Function;
use super::load::{self, Segment};
use super::operators;
use super::program::{Expression, Kind};
use super::{Budget, Scope};
use crate::engine::value::{Value, ValueRef, View, equal};

/// What a part of an expression evaluates to: borrowed where it can be, so that comparing fields of an event with constants
/// neither copies nor counts references.
#[derive(Clone, Debug)]
pub enum Operand<'a> {
    /// A value that was computed.
    Owned(Value),
    /// A value of the scope or of the program.
    Borrowed(ValueRef<'a>),
    /// A string of the scope.
    Text(&'a str),
    /// A shared string of the scope.
    Shared(&'a Arc<str>),
}

impl Operand<'_> {
    /// What it is.
    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        match self {
            Operand::Owned(value) => value.view(),
            Operand::Borrowed(value) => value.view(),
            Operand::Text(text) => View::Text(text),
            Operand::Shared(text) => View::Text(text),
        }
    }

    /// The value itself.
    pub(super) fn into_value(self) -> Value {
        match self {
            Operand::Owned(value) => value,
            Operand::Borrowed(value) => value.to_value(),
            Operand::Text(text) => Value::text(text),
            Operand::Shared(text) => Value::Text(text.clone()),
        }
    }
}

impl From<bool> for Operand<'_> {
    fn from(truth: bool) -> Self {
        Operand::Owned(Value::Bool(truth))
    }
}

/// The result of a part of an expression.
pub(super) type Outcome<'a> = Result<Operand<'a>, Failure>;

/// One evaluation.
pub(super) struct Evaluator<'a, 'b> {
    pub(super) scope: Scope<'a>,
    pub(super) budget: &'b mut Budget,
    /// The variables of the comprehensions around the current part, the outermost first.
    pub(super) locals: Vec<Value>,
}

impl<'a, 'b> Evaluator<'a, 'b> {
    pub(super) fn new(scope: Scope<'a>, budget: &'b mut Budget) -> Self {
        Evaluator { scope, budget, locals: Vec::new() }
    }

    /// The truth of a comparison of what lies in the scope and constants, which is what most tests are made of: nothing is
    /// moved, only looked at. None for any other expression and for one that fails; [`Evaluator::evaluate`] knows the rest.
    #[inline]
    pub(super) fn quick_truth(&mut self, expression: &'a Expression) -> Option<bool> {
        match &expression.kind {
            Kind::Compare(comparison, parts) => {
                let (left, right) = (self.peek(&parts[0])?, self.peek(&parts[1])?);
                self.budget.take(1).ok()?;
                operators::compare(*comparison, left, right, self.budget).ok()
            }
            _ => None,
        }
    }

    #[inline]
    fn peek(&mut self, expression: &'a Expression) -> Option<View<'a>> {
        match &expression.kind {
            Kind::Literal(value) => Some(value.view()),
            Kind::Load(load) => {
                self.budget.take(1).ok()?;
                load.peek(&self.scope, self.budget)
            }
            _ => None,
        }
    }

    /// The value of a part.
    pub(super) fn evaluate(&mut self, expression: &'a Expression) -> Outcome<'a> {
        let at = expression.at;
        self.budget.take(1).map_err(|problem| Failure { at, problem })?;
        match &expression.kind {
            Kind::Literal(value) => Ok(Operand::Borrowed(value.into())),
            Kind::Load(load) => load.read(&self.scope, self.budget).map_err(|problem| Failure { at, problem }),
            Kind::Local(slot, _) => Ok(Operand::Owned(self.locals.get(*slot).cloned().unwrap_or_default())),
            Kind::Compare(comparison, parts) => {
                let left = self.evaluate(&parts[0])?;
                let right = self.evaluate(&parts[1])?;
                operators::compare(*comparison, left.view(), right.view(), self.budget)
                    .map(Operand::from)
                    .map_err(|problem| of_types(at, problem, comparison.symbol(), &[left.view(), right.view()]))
            }
            Kind::And(parts) => self.connect(at, parts, false),
            Kind::Or(parts) => self.connect(at, parts, true),
            Kind::Arithmetic(first, rest) => self.arithmetic(first, rest),
            Kind::Not(operand) => match self.evaluate(operand)?.view() {
                View::Bool(truth) => Ok((!truth).into()),
                other => Err(of_types(at, Problem::Types, "!", &[other])),
            },
            Kind::Negate(operand) => {
                let operand = self.evaluate(operand)?;
                operators::negate(operand.view())
                    .map(Operand::Owned)
                    .map_err(|problem| of_types(at, problem, "-", &[operand.view()]))
            }
            Kind::Conditional(parts) => match self.evaluate(&parts[0])?.view() {
                View::Bool(true) => self.evaluate(&parts[1]),
                View::Bool(false) => self.evaluate(&parts[2]),
                other => Err(of_types(at, Problem::Types, "? :", &[other])),
            },
            Kind::Select(operand, segment) => self.select(at, operand, segment),
            Kind::Index(parts) => self.index(at, parts),
            Kind::Has(operand, field) => self.has(at, operand, field),
            Kind::In(parts) => self.contains(at, parts),
            Kind::List(items) => self.list(at, items),
            Kind::Map(entries) => self.map(at, entries),
            Kind::Call(function, arguments) => self.call(at, function, arguments),
            Kind::Matches(text, pattern) => {
                let text = self.evaluate(text)?;
                match text.view() {
                    View::Text(it) => {
                        pattern.is_match(it, self.budget).map(Operand::from).map_err(|problem| Failure { at, problem })
                    }
                    other => Err(of_types(at, Problem::Types, "matches()", &[other, View::Text("")])),
                }
            }
            Kind::Comprehension(comprehension) => self.comprehension(at, comprehension),
        }
    }

    /// `&&` and `||` as CEL defines them: an operand that decides the result absorbs the failures of the others, whatever
    /// their order. `decisive` is true for `||`.
    #[inline(never)]
    fn connect(&mut self, at: u32, parts: &'a [Expression], decisive: bool) -> Outcome<'a> {
        let symbol = if decisive { "||" } else { "&&" };
        let mut failed = None;
        for part in parts {
            match self.quick_truth(part) {
                Some(truth) if truth == decisive => return Ok(decisive.into()),
                Some(_) => continue,
                None => {}
            }
            match self.evaluate(part) {
                Ok(operand) => match operand.view() {
                    View::Bool(truth) if truth == decisive => return Ok(decisive.into()),
                    View::Bool(_) => {}
                    other => {
                        failed.get_or_insert_with(|| of_types(at, Problem::Types, symbol, &[other]));
                    }
                },
                Err(failure) if matches!(failure.problem, Problem::Budget) => return Err(failure),
                Err(failure) => {
                    failed.get_or_insert(failure);
                }
            }
        }
        failed.map_or(Ok((!decisive).into()), Err)
    }

    #[inline(never)]
    fn select(&mut self, at: u32, operand: &'a Expression, segment: &Segment) -> Outcome<'a> {
        let value = self.evaluate(operand)?;
        self.step(at, operand, &value, segment)
    }

    #[inline(never)]
    fn index(&mut self, at: u32, parts: &'a [Expression; 2]) -> Outcome<'a> {
        let operand = self.evaluate(&parts[0])?;
        let index = self.evaluate(&parts[1])?;
        let segment = match (operand.view(), index.view()) {
            (View::Map(_), View::Text(name)) => Segment::Field(name.into()),
            (View::List(_) | View::Map(_), other) => match whole(other) {
                Some(position) => Segment::Item(position),
                None => return Err(of_types(at, Problem::Types, "[ ]", &[operand.view(), other])),
            },
            (operand, index) => return Err(of_types(at, Problem::Types, "[ ]", &[operand, index])),
        };
        self.step(at, &parts[0], &operand, &segment)
    }

    #[inline(never)]
    fn has(&mut self, at: u32, operand: &'a Expression, field: &Arc<str>) -> Outcome<'a> {
        if let Kind::Load(load) = &operand.kind
            && load.is_headers()
        {
            let headers = self.scope.event.record.headers().len() as u64;
            self.budget.take(headers).map_err(|problem| Failure { at, problem })?;
            return Ok(load::find_header(self.scope.event, field).is_some().into());
        }
        let value = self.evaluate(operand)?;
        let found = match value.view() {
            view @ View::Map(_) => {
                load::step(view, &Segment::Field(field.clone()), self.budget).map(|found| found.is_some())
            }
            other => Err(load::not_an_object(place_of(operand), other, field)),
        };
        found.map(Operand::from).map_err(|problem| Failure { at, problem })
    }

    #[inline(never)]
    fn contains(&mut self, at: u32, parts: &'a [Expression; 2]) -> Outcome<'a> {
        let item = self.evaluate(&parts[0])?;
        let range = self.evaluate(&parts[1])?;
        let failure = |problem| Failure { at, problem };
        match (item.view(), range.view()) {
            (item, View::List(list)) => {
                for other in list.iter() {
                    operators::charge_equality(item, other.view(), self.budget).map_err(failure)?;
                    if equal(item, other.view()) {
                        return Ok(true.into());
                    }
                }
                Ok(false.into())
            }
            (View::Text(name), View::Map(map)) => {
                load::charge_walk(map.len(), self.budget).map_err(failure)?;
                Ok(map.get(name).is_some().into())
            }
            (item, range) => Err(of_types(at, Problem::Types, "in", &[item, range])),
        }
    }

    #[inline(never)]
    fn list(&mut self, at: u32, items: &'a [Expression]) -> Outcome<'a> {
        self.budget.take_items(items.len()).map_err(|problem| Failure { at, problem })?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.evaluate(item)?.into_value());
        }
        Ok(Operand::Owned(Value::List(values.into())))
    }

    #[inline(never)]
    fn map(&mut self, at: u32, entries: &'a [(Expression, Expression)]) -> Outcome<'a> {
        self.budget.take_items(entries.len() * 2).map_err(|problem| Failure { at, problem })?;
        let mut fields: Vec<(Arc<str>, Value)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = match self.evaluate(key)?.into_value() {
                Value::Text(text) => text,
                other => match other.view() {
                    View::Text(text) => text.into(),
                    other => {
                        let message = format!("the keys of objects are strings, not {}", type_name(other));
                        return Err(Failure { at: key.at, problem: Problem::other(message) });
                    }
                },
            };
            let value = self.evaluate(value)?.into_value();
            fields.push((key, value));
        }
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("the key `{}` comes twice", pair[0]);
            return Err(Failure { at, problem: Problem::other(message) });
        }
        Ok(Operand::Owned(Value::map(fields)))
    }

    #[inline(never)]
    fn call(&mut self, at: u32, function: &'static Function, arguments: &'a [Expression]) -> Outcome<'a> {
        let finish = |views: &[View<'_>], budget: &mut Budget| {
            (function.run)(views, budget).map(Operand::Owned).map_err(|problem| match problem {
                Problem::Types => of_types(at, problem, &format!("{}()", function.name), views),
                other => Failure { at, problem: other },
            })
        };
        // The usual numbers of arguments need no list.
        match arguments {
            [one] => {
                let one = self.evaluate(one)?;
                finish(&[one.view()], self.budget)
            }
            [one, two] => {
                let one = self.evaluate(one)?;
                let two = self.evaluate(two)?;
                finish(&[one.view(), two.view()], self.budget)
            }
            _ => {
                let operands: Vec<_> =
                    arguments.iter().map(|argument| self.evaluate(argument)).collect::<Result<_, _>>()?;
                let views: Vec<_> = operands.iter().map(Operand::view).collect();
                finish(&views, self.budget)
            }
        }
    }

    /// One step of a path from the value of `parent`.
    fn step(&mut self, at: u32, parent: &Expression, operand: &Operand<'a>, segment: &Segment) -> Outcome<'a> {
        let found = match operand {
            Operand::Borrowed(value) => {
                load::step(value.view(), segment, self.budget).map(|found| found.map(Operand::Borrowed))
            }
            other => load::step(other.view(), segment, self.budget)
                .map(|found| found.map(|value| Operand::Owned(value.to_value()))),
        };
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Failure { at, problem: load::not_found(place_of(parent), operand.view(), segment) }),
            Err(problem) => Err(Failure { at, problem }),
        }
    }
}

/// A failure of an operator or a function, with the types of its operands where that is the problem.
pub(super) fn of_types(at: u32, problem: Problem, name: &str, operands: &[View<'_>]) -> Failure {
    let Problem::Types = problem else { return Failure { at, problem } };
    let types: Vec<_> = operands.iter().map(|it| type_name(*it)).collect();
    Failure { at, problem: Problem::other(format!("`{name}` does not take {}", types.join(" and "))) }
}

/// How errors call the value of a part.
fn place_of(expression: &Expression) -> &str {
    match &expression.kind {
        Kind::Load(load) => load.text(),
        Kind::Local(_, name) => name,
        _ => "the value",
    }
}

/// A number without fraction as an index; CEL lets `1.0` be one.
fn whole(view: View<'_>) -> Option<i64> {
    match view {
        View::Int(it) => Some(it),
        View::UInt(it) => i64::try_from(it).ok(),
        View::Float(it) if it.fract() == 0.0 && it.abs() < 9e15 => Some(it as i64),
        _ => None,
    }
}
