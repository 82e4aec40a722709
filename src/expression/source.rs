//! The source text before it is parsed: bounds that keep the parser's recursion small, and where `${{ }}` begins and ends.

use super::CompileError;
use crate::engine::limits;

/// Checks what can be checked without parsing: length, nesting of brackets, number of operators.
pub(super) fn check(source: &str) -> Result<(), CompileError> {
    if source.trim().is_empty() {
        return Err(CompileError::new(0, "the expression is empty"));
    }
    if source.len() > limits::EXPRESSION_BYTES {
        let message = format!("the expression has {} bytes; it may have {}", source.len(), limits::EXPRESSION_BYTES);
        return Err(CompileError::new(0, message).help("compute parts of it in transform steps that come before"));
    }
    let (mut depth, mut operators) = (0_usize, 0_usize);
    for (at, byte) in Code::new(source) {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                operators += usize::from(byte == b'[');
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'&' | b'|' | b'?' | b'.' => operators += 1,
            _ => {}
        }
        if depth > limits::EXPRESSION_BRACKETS {
            let message = format!("brackets nest deeper than {} levels", limits::EXPRESSION_BRACKETS);
            return Err(CompileError::new(at, message));
        }
        if operators > limits::EXPRESSION_OPERATORS {
            let message = format!("the expression has more than {} operators and dots", limits::EXPRESSION_OPERATORS);
            return Err(CompileError::new(at, message).help("compute parts of it in transform steps that come before"));
        }
    }
    Ok(())
}

/// A part of a string with `${{ }}`.
pub(super) enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// What stands between `${{` and `}}`.
    Expression {
        /// Where it begins in the string.
        offset: usize,
        /// Its source.
        source: &'a str,
    },
}

/// The parts of a string in order. `$${{` is the text `${{`.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Result<Piece<'_>, CompileError>> {
    const OPEN: &str = "${{";
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let Some(found) = rest.find(OPEN) else {
            at = text.len();
            return Some(Ok(Piece::Text(rest)));
        };
        let escaped = rest[..found].ends_with('$');
        if found > 0 && !escaped {
            at += found;
            return Some(Ok(Piece::Text(&rest[..found])));
        }
        if escaped {
            // The text up to the first `$` first, then the rest of `$${{` without it.
            let kept = if found > 1 { &rest[..found - 1] } else { &rest[found..found + OPEN.len()] };
            at += if found > 1 { found - 1 } else { found + OPEN.len() };
            return Some(Ok(Piece::Text(kept)));
        }
        let offset = at + OPEN.len();
        let inner = &text[offset..];
        let Some(end) = end_of_expression(inner) else {
            let error =
                CompileError::new(at, "`${{` without `}}`").help("close it, or write `$${{` for the text `${{`");
            at = text.len();
            return Some(Err(error));
        };
        at = offset + end + 2;
        Some(Ok(Piece::Expression { offset, source: &inner[..end] }))
    })
}

/// Where the `}}` lies that ends an expression: not one inside of its strings or of its own objects.
fn end_of_expression(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in Code::new(source) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b'}' if depth == 0 && source[at..].starts_with("}}") => return Some(at),
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    // Brackets that do not match: take the first end there is, and let the parser say what is wrong.
    source.find("}}")
}

/// The bytes of a source outside of strings and comments.
struct Code<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the word before `at` starts: `r` and `b` in front of a quote belong to the string.
    word: usize,
}

impl<'a> Code<'a> {
    fn new(source: &'a str) -> Self {
        Code { bytes: source.as_bytes(), at: 0, word: 0 }
    }

    /// Moves behind the string whose first quote is at `at`.
    fn skip_string(&mut self) {
        let quote = self.bytes[self.at];
        let prefix = &self.bytes[self.word..self.at];
        let raw = prefix.len() <= 2 && prefix.iter().any(|it| matches!(it, b'r' | b'R')) || quote == b'`';
        let triple = self.bytes[self.at..].starts_with(&[quote; 3]);
        let end: &[u8] = if triple { &[quote; 3] } else { &[quote] };
        self.at += end.len();
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            if rest.starts_with(end) {
                self.at += end.len();
                return;
            }
            // A string of one line that is not closed ends with its line; the parser will say so.
            if !triple && rest[0] == b'\n' {
                return;
            }
            self.at += if rest[0] == b'\\' && !raw { 2 } else { 1 };
        }
    }
}

impl Iterator for Code<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                b'"' | b'\'' | b'`' => {
                    self.skip_string();
                    self.word = self.at;
                }
                b'/' if self.bytes.get(self.at + 1) == Some(&b'/') => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(|&it| it == b'\n').unwrap_or(rest.len());
                }
                _ => {
                    self.at += 1;
                    if !byte.is_ascii_alphanumeric() && byte != b'_' {
                        self.word = self.at;
                    }
                    return Some((self.at - 1, byte));
                }
            }
        }
    }
}
