//! The text of expressions: CEL source and strings with `${{ }}` become programs and templates that the engine evaluates.
//!
//! ```text
//! source ─ bounded (length, brackets, operators) ─▶ parsed by `cel` ─▶ names and functions resolved ─▶ Program
//! ```
//!
//! Only the parser of the `cel` crate is used. Its interpreter has no budget; the engine's evaluator has one, knows where
//! every name lies before the first event comes, and borrows from the event instead of copying it.

mod compile;
mod macros;
mod names;
mod nearest;
mod parse;
mod source;

use crate::engine::expression::{Program, Template};
use crate::engine::value::Value;

pub use names::{Names, StepName};
pub use nearest::nearest;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// Where in the text that was given, in bytes; at most its length, and at a character's start.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl CompileError {
    fn new(offset: usize, message: impl Into<String>) -> CompileError {
        CompileError { offset, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> CompileError {
        self.help = Some(help.into());
        self
    }
}

/// Compiles a bare expression, as in the fields `if`, `when` and `where`.
pub fn compile(source: &str, names: &Names<'_>) -> Result<Program, CompileError> {
    source::check(source)?;
    let error = match parse::on_large_stack(|| compile::program(source, names)) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    // The parser may point past the end, or into a character.
    let offset = (0..=error.offset.min(source.len())).rev().find(|&at| source.is_char_boundary(at)).unwrap_or(0);
    Err(CompileError { offset, ..error })
}

/// Compiles a string that may hold `${{ }}`. A string that is exactly one keeps the type of its value; any other is joined as
/// text, in which null is nothing and lists and objects are JSON. `$${{` stands for the characters `${{`.
pub fn compile_text(source: &str, names: &Names<'_>) -> Result<Template, CompileError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    for piece in source::pieces(source) {
        match piece? {
            source::Piece::Text(text) => literal.push_str(text),
            source::Piece::Expression { offset, source: inner } => {
                let shifted = |error: CompileError| CompileError { offset: offset + error.offset, ..error };
                let program = Template::Program(compile(inner, names).map_err(shifted)?);
                if !literal.is_empty() {
                    parts.push(Template::Literal(Value::text(std::mem::take(&mut literal))));
                }
                parts.push(program);
            }
        }
    }
    if parts.is_empty() {
        return Ok(Template::Literal(Value::text(literal)));
    }
    if !literal.is_empty() {
        parts.push(Template::Literal(Value::text(literal)));
    }
    match <[Template; 1]>::try_from(parts) {
        Ok([only]) => Ok(only),
        Err(parts) => Ok(Template::Text(parts)),
    }
}
