//! Templates: values with expressions in them.

use std::sync::Arc;

use super::failure::type_name;
use super::{Budget, EvaluationError, Program, Scope};
use crate::engine::limits;
use crate::engine::value::{Value, View, duration_text, timestamp_text, write_json};

/// A value with expressions in it.
#[derive(Clone, Debug)]
pub enum Template {
    /// A value without expressions.
    Literal(Value),
    /// A string that is one `${{ }}`: keeps the value's type.
    Program(Program),
    /// A string with `${{ }}` among other text: joined as text.
    Text(Vec<Template>),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Map(Vec<(Arc<str>, Template)>),
}

impl Template {
    /// The value with every expression replaced by its value.
    pub fn render(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Value, EvaluationError> {
        let value = self.render_part(scope, budget)?;
        if value.depth_within(limits::VALUE_DEPTH) {
            return Ok(value);
        }
        let limit = limits::VALUE_DEPTH;
        Err(EvaluationError { message: format!("lists and objects nest deeper than {limit} levels in the result") })
    }

    fn render_part(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Value, EvaluationError> {
        budget.spend(1)?;
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Program(program) => program.evaluate(scope, budget),
            Template::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Template::Literal(Value::Text(literal)) => {
                            budget.take_bytes(literal.len())?;
                            text.push_str(literal);
                        }
                        part => push_text(part.render_part(scope, budget)?.view(), &mut text, budget)?,
                    }
                }
                Ok(Value::text(text))
            }
            Template::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| item.render_part(scope, budget)).collect();
                Ok(Value::List(items?.into()))
            }
            Template::Map(fields) => {
                let mut rendered = Vec::with_capacity(fields.len());
                for (name, field) in fields {
                    rendered.push((name.clone(), field.render_part(scope, budget)?));
                }
                Ok(Value::map(rendered))
            }
        }
    }

    /// Whether it holds no expression, so that it is the same for every event.
    pub fn is_literal(&self) -> bool {
        match self {
            Template::Literal(_) => true,
            Template::Program(_) => false,
            Template::Text(parts) | Template::List(parts) => parts.iter().all(Template::is_literal),
            Template::Map(fields) => fields.iter().all(|(_, field)| field.is_literal()),
        }
    }
}

/// Appends a value as text: strings as they are, null as nothing, numbers in decimal (`119`, not `119.0`), lists and objects
/// as JSON. Bytes must be UTF-8.
fn push_text(view: View<'_>, text: &mut String, budget: &mut Budget) -> Result<(), EvaluationError> {
    match view {
        View::Null => {}
        View::Text(it) => {
            budget.take_bytes(it.len())?;
            text.push_str(it);
        }
        View::Bool(_) | View::Int(_) | View::UInt(_) | View::Float(_) | View::Timestamp(_) | View::Duration(_) => {
            budget.take(SCALAR_TEXT)?;
            text.push_str(&scalar_text(view).unwrap_or_default());
        }
        View::Bytes(bytes) => {
            budget.take_bytes(bytes.len())?;
            let it = std::str::from_utf8(bytes).map_err(|_| EvaluationError {
                message: format!("{} in a text that are not UTF-8; use base64.encode()", type_name(view)),
            })?;
            text.push_str(it);
        }
        View::List(_) | View::Map(_) => {
            super::operators::charge_size(view, budget)?;
            let mut json = Vec::new();
            write_json(view, &mut json);
            text.push_str(&String::from_utf8_lossy(&json));
        }
    }
    Ok(())
}

/// What rendering a scalar costs: dates are the slowest.
pub(super) const SCALAR_TEXT: u64 = 16;

/// A scalar that is no string as text; None for anything else.
pub(super) fn scalar_text(view: View<'_>) -> Option<String> {
    match view {
        View::Bool(it) => Some(it.to_string()),
        View::Int(it) => Some(it.to_string()),
        View::UInt(it) => Some(it.to_string()),
        // As JavaScript and JSON writers do: digits where they are readable, else an exponent.
        View::Float(it) if it == 0.0 || (1e-7..1e21).contains(&it.abs()) => Some(it.to_string()),
        View::Float(it) => Some(ryu::Buffer::new().format(it).to_owned()),
        View::Timestamp(it) => Some(timestamp_text(it)),
        View::Duration(it) => Some(duration_text(it)),
        View::Null | View::Text(_) | View::Bytes(_) | View::List(_) | View::Map(_) => None,
    }
}
