//! From the tree of the parser to the tree of the engine.

use std::sync::Arc;

use bytes::Bytes;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::names::{Names, Path};
use super::parse::{self, Parsed};
use super::{CompileError, nearest};
use crate::engine::expression::{
    Arithmetic, Comparison, Expression, Kind, Pattern, Program, Segment, TooDeep, functions,
};
use crate::engine::limits;
use crate::engine::value::Value;

/// Namespaces of functions: `math.greatest(…)` is no method of something called `math`.
const NAMESPACES: [&str; 3] = ["math", "base64", "lists"];

/// Compiles a source that [`super::source::check`] has passed.
pub(super) fn program(source: &str, names: &Names<'_>) -> Result<Program, CompileError> {
    let parsed = parse::parse(source)?;
    let mut compiler = Compiler { parsed: &parsed, names, locals: Vec::new(), comprehensions: 0, calls_always: false };
    let root = compiler.expression(&parsed.root)?;
    Program::new(source, root, compiler.calls_always).map_err(|TooDeep| {
        CompileError::new(0, format!("the expression nests deeper than {} levels", limits::EXPRESSION_DEPTH))
    })
}

pub(super) struct Compiler<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) names: &'a Names<'a>,
    /// The variables of the comprehensions around the current part, the outermost first.
    pub(super) locals: Vec<Arc<str>>,
    /// How many comprehensions are around the current part.
    pub(super) comprehensions: usize,
    calls_always: bool,
}

impl<'a> Compiler<'a> {
    pub(super) fn expression(&mut self, part: &'a IdedExpr) -> Result<Expression, CompileError> {
        let at = self.parsed.offset(part);
        let kind = match &part.expr {
            Expr::Literal(literal) => Kind::Literal(literal_value(literal)),
            Expr::Ident(_) | Expr::Select(_) => return self.path(part),
            Expr::Call(call) if call.func_name == operators::INDEX => return self.path(part),
            Expr::Call(call) => return self.call(call, at),
            Expr::List(list) => Kind::List(self.expressions(&list.elements)?),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        entries.push((self.expression(&entry.key)?, self.expression(&entry.value)?));
                    }
                }
                Kind::Map(entries.into())
            }
            Expr::Struct(message) => {
                let error = CompileError::new(at, format!("there are no message types like `{}`", message.type_name));
                return Err(error.help("an object is written {\"field\": value}"));
            }
            Expr::Comprehension(_) | Expr::Unspecified => {
                return Err(CompileError::new(at, "this cannot be read as an expression"));
            }
        };
        Ok(Expression { at: at as u32, kind })
    }

    pub(super) fn expressions(&mut self, parts: &'a [IdedExpr]) -> Result<Box<[Expression]>, CompileError> {
        parts.iter().map(|part| self.expression(part)).collect()
    }

    /// A name and what follows it. As much of it as is known becomes one load; the rest selects from what is computed.
    fn path(&mut self, part: &'a IdedExpr) -> Result<Expression, CompileError> {
        if let Some(path) = self.static_path(part) {
            return self.names.resolve(path);
        }
        let at = self.parsed.offset(part);
        let kind = match &part.expr {
            Expr::Ident(name) => {
                let slot = self.locals.iter().rposition(|it| **it == **name);
                let Some(slot) = slot else { return Err(CompileError::new(at, format!("unknown name `{name}`"))) };
                Kind::Local(slot, self.locals[slot].clone())
            }
            Expr::Select(select) => {
                Kind::Select(Box::new(self.expression(&select.operand)?), Segment::Field(select.field.as_str().into()))
            }
            Expr::Call(call) => match call.args.as_slice() {
                [operand, index] => match literal_segment(index) {
                    Some(segment) => Kind::Select(Box::new(self.expression(operand)?), segment),
                    None => Kind::Index(Box::new([self.expression(operand)?, self.expression(index)?])),
                },
                _ => return Err(CompileError::new(at, "an index takes one value")),
            },
            _ => return Err(CompileError::new(at, "this cannot be read as an expression")),
        };
        Ok(Expression { at: at as u32, kind })
    }

    /// The path that a part is, if it starts with a name of the scope and all its indices are literals.
    pub(super) fn static_path(&self, part: &'a IdedExpr) -> Option<Path<'a>> {
        let mut segments = Vec::new();
        let mut part = part;
        loop {
            let at = self.parsed.offset(part);
            match &part.expr {
                Expr::Ident(name) => {
                    // A name of the scope even where a variable is called so is written with a leading dot.
                    let plain = name.trim_start_matches('.');
                    if plain.len() == name.len() && self.locals.iter().any(|it| **it == **name) {
                        return None;
                    }
                    segments.reverse();
                    return Some(Path { name: plain, at, segments });
                }
                Expr::Select(select) => {
                    // The place of a selection is its dot.
                    segments.push((Segment::Field(select.field.as_str().into()), at + 1));
                    part = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [operand, index] = call.args.as_slice() else { return None };
                    segments.push((literal_segment(index)?, self.parsed.offset(index)));
                    part = operand;
                }
                _ => return None,
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr, at: usize) -> Result<Expression, CompileError> {
        let expression = |kind| Ok(Expression { at: at as u32, kind });
        if let Some(target) = &call.target {
            return self.method(call, target, at);
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) => {
                let mut parts = Vec::new();
                self.connected(call, &call.func_name, &mut parts)?;
                let parts = parts.into();
                expression(if call.func_name == operators::LOGICAL_AND { Kind::And(parts) } else { Kind::Or(parts) })
            }
            (operators::LOGICAL_NOT, [operand]) => expression(Kind::Not(Box::new(self.expression(operand)?))),
            (operators::NEGATE, [operand]) => expression(Kind::Negate(Box::new(self.expression(operand)?))),
            (operators::CONDITIONAL, [test, then, otherwise]) => {
                let parts = [self.expression(test)?, self.expression(then)?, self.expression(otherwise)?];
                expression(Kind::Conditional(Box::new(parts)))
            }
            (operators::IN, [item, range]) => {
                expression(Kind::In(Box::new([self.expression(item)?, self.expression(range)?])))
            }
            (name, [left, right]) if comparison(name).is_some() => {
                let parts = Box::new([self.expression(left)?, self.expression(right)?]);
                let comparison = comparison(name).unwrap_or(Comparison::Equal);
                expression(Kind::Compare(comparison, parts))
            }
            (name, [_, _]) if arithmetic(name).is_some() => self.chain(call, at),
            (operators::HAS, [tested]) => self.has(tested, at),
            ("always", []) => {
                self.calls_always = true;
                expression(Kind::Literal(Value::Bool(true)))
            }
            ("matches", [text, pattern]) => self.matches(text, pattern, at),
            (name, arguments) => self.function(name, name.len(), None, arguments, at),
        }
    }

    fn method(&mut self, call: &'a CallExpr, target: &'a IdedExpr, at: usize) -> Result<Expression, CompileError> {
        let name = call.func_name.as_str();
        if let Expr::Ident(namespace) = &target.expr
            && NAMESPACES.contains(&namespace.as_str())
            && !self.locals.iter().any(|it| **it == **namespace)
        {
            return self.function(&format!("{namespace}.{name}"), name.len(), None, &call.args, at);
        }
        if let Some(comprehension) = self.comprehension(call, target, at)? {
            return Ok(comprehension);
        }
        match call.args.as_slice() {
            [pattern] if name == "matches" => self.matches(target, pattern, at),
            arguments => self.function(name, name.len(), Some(target), arguments, at),
        }
    }

    /// All operands of `a && b && c`: the parser makes a balanced tree of them.
    fn connected(
        &mut self,
        call: &'a CallExpr,
        operator: &str,
        parts: &mut Vec<Expression>,
    ) -> Result<(), CompileError> {
        for argument in &call.args {
            match &argument.expr {
                Expr::Call(inner) if inner.func_name == operator && inner.target.is_none() => {
                    self.connected(inner, operator, parts)?;
                }
                _ => parts.push(self.expression(argument)?),
            }
        }
        Ok(())
    }

    /// `a + b - c`, which the parser nests to the left as deep as it is long.
    fn chain(&mut self, call: &'a CallExpr, at: usize) -> Result<Expression, CompileError> {
        let mut operands = Vec::new();
        let (mut call, mut place) = (call, at);
        let first = loop {
            let (Some(operator), [left, right]) = (arithmetic(&call.func_name), call.args.as_slice()) else {
                return Err(CompileError::new(place, "an operator takes two operands"));
            };
            operands.push((operator, right, place));
            match &left.expr {
                Expr::Call(inner) if inner.target.is_none() && arithmetic(&inner.func_name).is_some() => {
                    call = inner;
                    place = self.parsed.offset(left);
                }
                _ => break left,
            }
        };
        let first = Box::new(self.expression(first)?);
        let mut rest = Vec::with_capacity(operands.len());
        for (operator, operand, place) in operands.into_iter().rev() {
            // The place of an operand is that of its operator, which is what may fail.
            rest.push((operator, Expression { at: place as u32, ..self.expression(operand)? }));
        }
        Ok(Expression { at: at as u32, kind: Kind::Arithmetic(first, rest.into()) })
    }

    fn has(&mut self, tested: &'a IdedExpr, at: usize) -> Result<Expression, CompileError> {
        let Expr::Select(select) = &tested.expr else {
            let error = CompileError::new(at, "has() tests a field");
            return Err(error.help("write has(event.data.name); for a key that is no name, \"the-key\" in event.data"));
        };
        if let Some(path) = self.static_path(&select.operand) {
            let field_at = self.parsed.offset(tested) + 1;
            if let Some(known) = self.names.resolve_has(&path, &select.field, field_at)? {
                return Ok(known);
            }
        }
        let operand = Box::new(self.expression(&select.operand)?);
        Ok(Expression { at: at as u32, kind: Kind::Has(operand, select.field.as_str().into()) })
    }

    fn matches(&mut self, text: &'a IdedExpr, pattern: &'a IdedExpr, at: usize) -> Result<Expression, CompileError> {
        let text = self.expression(text)?;
        let kind = match &pattern.expr {
            Expr::Literal(LiteralValue::String(source)) => {
                let place = self.parsed.offset(pattern);
                let pattern = Pattern::new(source.inner()).map_err(|error| {
                    CompileError::new(place, error.to_string()).help("patterns are RE2 regular expressions")
                })?;
                Kind::Matches(Box::new(text), pattern)
            }
            _ => {
                let pattern = self.expression(pattern)?;
                match functions::find("matches", true) {
                    Some(function) => Kind::Call(function, Box::new([text, pattern])),
                    None => return Err(CompileError::new(at, "unknown function `matches`")),
                }
            }
        };
        Ok(Expression { at: at as u32, kind })
    }

    /// A call by name; `at` is its opening bracket, `written_len` the length of the name before it.
    fn function(
        &mut self,
        name: &str,
        written_len: usize,
        receiver: Option<&'a IdedExpr>,
        arguments: &'a [IdedExpr],
        at: usize,
    ) -> Result<Expression, CompileError> {
        let method = receiver.is_some();
        let place = at.saturating_sub(written_len);
        let Some(function) = functions::find(name, method) else { return Err(unknown_function(name, method, place)) };
        let given = arguments.len() + usize::from(method);
        if !(function.fewest..=function.most).contains(&given) {
            let counted = |count: usize| count - usize::from(method);
            let (fewest, most) = (counted(function.fewest), counted(function.most));
            let wanted = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
            let message = format!("{name}() takes {wanted} arguments, not {}", counted(given));
            return Err(CompileError::new(place, message));
        }
        let mut compiled = Vec::with_capacity(given);
        for argument in receiver.into_iter().chain(arguments) {
            compiled.push(self.expression(argument)?);
        }
        Ok(Expression { at: place as u32, kind: Kind::Call(function, compiled.into()) })
    }
}

fn unknown_function(name: &str, method: bool, at: usize) -> CompileError {
    let error = CompileError::new(at, format!("unknown function `{name}`"));
    if name == "now" {
        return error
            .help("expressions see no clock, so that a replay gives the same result; event.time is the event's");
    }
    if let Some(other) = functions::find(name, !method) {
        let form = if other.method { format!("x.{name}(…)") } else { format!("{name}(x, …)") };
        return error.help(format!("it is called as {form}"));
    }
    const MACROS: [&str; 7] = ["all", "exists", "exists_one", "filter", "map", "transformList", "transformMap"];
    if MACROS.contains(&name) {
        return error.help(format!("it is called as list.{name}(x, …) with a new name for each item"));
    }
    let known = functions::all().filter(|it| it.method == method).map(|it| it.name);
    let special: &[&str] = if method { &MACROS } else { &["has", "always"] };
    match nearest(name, known.chain(special.iter().copied())) {
        Some(near) => error.help(format!("did you mean {near}()?")),
        None => error.help("expressions have the functions of CEL: strings, math, timestamps, lists"),
    }
}

fn literal_segment(index: &IdedExpr) -> Option<Segment> {
    match &index.expr {
        Expr::Literal(LiteralValue::String(name)) => Some(Segment::Field(name.inner().into())),
        Expr::Literal(LiteralValue::Int(item)) => Some(Segment::Item(*item.inner())),
        _ => None,
    }
}

fn literal_value(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(it) => Value::Bool(*it.inner()),
        LiteralValue::Bytes(it) => Value::Bytes(Bytes::copy_from_slice(it.inner())),
        LiteralValue::Double(it) => Value::Float(*it.inner()),
        LiteralValue::Int(it) => Value::Int(*it.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(it) => Value::text(it.inner()),
        LiteralValue::UInt(it) => Value::UInt(*it.inner()),
    }
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    match name {
        operators::ADD => Some(Arithmetic::Add),
        operators::SUBSTRACT => Some(Arithmetic::Subtract),
        operators::MULTIPLY => Some(Arithmetic::Multiply),
        operators::DIVIDE => Some(Arithmetic::Divide),
        operators::MODULO => Some(Arithmetic::Modulo),
        _ => None,
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    match name {
        operators::EQUALS => Some(Comparison::Equal),
        operators::NOT_EQUALS => Some(Comparison::NotEqual),
        operators::LESS => Some(Comparison::Less),
        operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
        operators::GREATER => Some(Comparison::Greater),
        operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}
