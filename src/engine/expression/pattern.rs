//! Regular expressions. They search in time linear in the text, but the factor grows with the pattern: each pattern is put
//! into the smallest class of compiled size that it fits, and what a byte costs follows from the class.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::Budget;
use super::failure::Problem;
use crate::engine::limits;

/// Compiled sizes in bytes, and for each the units that searching a byte costs. Measured: the worst patterns of a class,
/// which defeat every shortcut, stay below 50 ns a unit.
const CLASSES: [Class; 2] = [
    Class { compiled_bytes: 16 * 1024, per_byte: 32 },
    Class { compiled_bytes: limits::PATTERN_COMPILED_BYTES, per_byte: 190 },
];

/// The units that building a pattern costs for each byte of its source, measured likewise.
const TO_BUILD_PER_BYTE: u64 = 1_500;

#[derive(Debug)]
struct Class {
    compiled_bytes: usize,
    per_byte: u64,
}

/// A compiled regular expression (RE2 syntax, as CEL asks for).
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Arc<Regex>,
    per_byte: u64,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Its source is longer than [`limits::PATTERN_BYTES`].
    #[error("the pattern is longer than {} bytes", limits::PATTERN_BYTES)]
    TooLong,
    /// Compiled it is larger than [`limits::PATTERN_COMPILED_BYTES`].
    #[error("the pattern is too large when compiled; repeat less, or use narrower classes like [0-9] for \\d")]
    TooLarge,
    /// It breaks the syntax.
    #[error("the pattern is wrong: {0}")]
    Syntax(String),
}

impl Pattern {
    /// Compiles a pattern that is part of an expression.
    pub fn new(source: &str) -> Result<Pattern, PatternError> {
        let unlimited = &mut Budget::new(u64::MAX);
        Pattern::build(source, unlimited).unwrap_or(Err(PatternError::TooLarge))
    }

    /// Compiles a pattern that came from data, out of the budget.
    pub(super) fn of_data(source: &str, budget: &mut Budget) -> Result<Pattern, Problem> {
        Pattern::build(source, budget)?.map_err(|error| Problem::other(error.to_string()))
    }

    /// Whether some part of `text` matches.
    pub(super) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, Problem> {
        budget.take(1 + (text.len() as u64).saturating_mul(self.per_byte))?;
        Ok(self.regex.is_match(text))
    }

    fn build(source: &str, budget: &mut Budget) -> Result<Result<Pattern, PatternError>, Problem> {
        if source.len() > limits::PATTERN_BYTES {
            return Ok(Err(PatternError::TooLong));
        }
        for class in &CLASSES {
            budget.take((1 + source.len() as u64) * TO_BUILD_PER_BYTE)?;
            let built =
                RegexBuilder::new(source).size_limit(class.compiled_bytes).dfa_size_limit(class.compiled_bytes).build();
            match built {
                Ok(regex) => return Ok(Ok(Pattern { regex: Arc::new(regex), per_byte: class.per_byte })),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Ok(Err(PatternError::Syntax(last_line(&error.to_string())))),
            }
        }
        Ok(Err(PatternError::TooLarge))
    }
}

/// The cause at the end of the many lines in which `regex` draws a mistake.
fn last_line(message: &str) -> String {
    let line = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    line.trim().trim_start_matches("error: ").to_owned()
}
