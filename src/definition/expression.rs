//! The expressions of a definition: compiled where they stand, their mistakes at the character.

use std::sync::Arc;

use super::node::{Kind, Node, Text};
use super::reader::Reader;
use crate::engine::expression::{Program, Template};
use crate::engine::value::Value;
use crate::expression::{CompileError, Names, compile, compile_text};

impl Reader<'_> {
    /// A field that is bare CEL: `if`, `when`, `where`.
    pub fn condition(&mut self, name: &str, node: &Node, names: &Names<'_>) -> Option<Program> {
        let text = match &node.kind {
            Kind::Bool(truth) => return Some(Program::literal(Value::Bool(*truth))),
            Kind::Text(text) => text,
            Kind::Null | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => {
                let message = format!("`{name}` is {}, not a condition", node.describe());
                return self.wrong(node.at, message, "write an expression such as `event.data.total > 100`");
            }
        };
        if text.value.trim_start().starts_with("${{") {
            let bare = text.value.trim().trim_start_matches("${{").trim_end_matches("}}").trim();
            let message = format!("`{name}` is an expression as it is, without `${{{{ }}}}`");
            return self.wrong(node.at, message, format!("write `{name}: {bare}`"));
        }
        if !self.count_expression(text) {
            return None;
        }
        let compiled = compile(&text.value, names);
        self.compiled(text, compiled)
    }

    /// Any value, with `${{ }}` in its texts.
    pub fn template(&mut self, node: &Node, names: &Names<'_>) -> Option<Template> {
        if !holds_expression(node) {
            return Some(Template::Literal(node.to_value()));
        }
        match &node.kind {
            Kind::Text(text) => self.template_text(text, names),
            Kind::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.template(item, names)).collect();
                items.into_iter().collect::<Option<_>>().map(Template::List)
            }
            Kind::Map(fields) => {
                let mut compiled: Vec<(Arc<str>, Template)> = Vec::with_capacity(fields.len());
                for field in fields {
                    if field.name.contains("${{") {
                        let message = "the name of a field cannot be an expression";
                        self.wrong::<()>(field.at, message, "write the name, or build the object with CEL");
                    }
                    compiled.extend(self.template(&field.value, names).map(|value| (field.name.clone(), value)));
                }
                (compiled.len() == fields.len()).then_some(Template::Map(compiled))
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) => None,
        }
    }

    fn template_text(&mut self, text: &Text, names: &Names<'_>) -> Option<Template> {
        if text.value.contains("${{") && !self.count_expression(text) {
            return None;
        }
        let compiled = compile_text(&text.value, names);
        self.compiled(text, compiled)
    }

    fn compiled<T>(&mut self, text: &Text, compiled: Result<T, CompileError>) -> Option<T> {
        match compiled {
            Ok(it) => Some(it),
            Err(CompileError { offset, message, help }) => self.wrong_inside(text, offset, &message, help),
        }
    }
}

fn holds_expression(node: &Node) -> bool {
    match &node.kind {
        Kind::Text(text) => text.value.contains("${{"),
        Kind::List(items) => items.iter().any(holds_expression),
        Kind::Map(fields) => fields.iter().any(|it| it.name.contains("${{") || holds_expression(&it.value)),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) => false,
    }
}
