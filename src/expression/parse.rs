//! Calling the parser of the `cel` crate, on a stack that it cannot exhaust, and putting its errors into words.

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::{Env, ParseError};

use super::CompileError;

/// The parser and the visitors of its tree recurse several times for each bracket and each operator of a chain; measured
/// at the limits of [`crate::engine::limits`] they need less than a quarter of this in an unoptimised build. Only pages that
/// are touched cost memory.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// How the parser starts the messages that come from the grammar.
const SYNTAX: &str = "Syntax error: ";

/// Runs `work` on a thread of its own with a large stack. A panic of the parser, of which none is known, becomes an error.
pub(super) fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, CompileError> + Send,
) -> Result<T, CompileError> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("expression".into()).stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => {
                thread.join().unwrap_or_else(|_| Err(CompileError::new(0, "the parser failed on this expression")))
            }
            Err(error) => Err(CompileError::new(0, format!("no thread to compile the expression on: {error}"))),
        }
    })
}

/// A parsed expression and where its parts stand.
pub(super) struct Parsed {
    pub(super) root: IdedExpr,
    info: SourceInfo,
}

impl Parsed {
    /// Where a part stands in the source, in bytes.
    pub(super) fn offset(&self, part: &IdedExpr) -> usize {
        self.info.offset_for(part.id).map_or(0, |(start, _)| start as usize)
    }
}

/// Parses a source that [`super::source::check`] has passed. Macros are left as the calls they are.
pub(super) fn parse(source: &str) -> Result<Parsed, CompileError> {
    let parser = Env::default().with_optional_support(false).parser().enable_ident_escape_syntax(true);
    match parser.parse_with_source_info(source) {
        Ok((root, info)) => Ok(Parsed { root, info }),
        Err(errors) => {
            // What the grammar says is clearer than what the visitors of a broken tree miss.
            let first = errors.errors.into_iter().min_by_key(|error| (!error.msg.starts_with(SYNTAX), error.pos));
            Err(first.map_or_else(
                || CompileError::new(0, "the expression cannot be read"),
                |error| in_words(source, &error),
            ))
        }
    }
}

fn in_words(source: &str, error: &ParseError) -> CompileError {
    let offset = offset_of(source, error.pos);
    let message = error.msg.strip_prefix(SYNTAX).unwrap_or(&error.msg);
    let quoted = |start: &str| message.strip_prefix(start).and_then(quoted_input);
    if let Some(input) = quoted("mismatched input").or_else(|| quoted("extraneous input")) {
        if input == "<EOF>" {
            return CompileError::new(source.trim_end().len(), "the expression ends too early");
        }
        return with_hint(CompileError::new(offset, format!("unexpected `{input}`")), source, offset);
    }
    if let Some(missing) = quoted("missing") {
        return CompileError::new(offset, format!("`{missing}` is missing"));
    }
    if let Some(input) = quoted("token recognition error at:") {
        let error = match input.chars().next() {
            Some('"' | '\'') => CompileError::new(offset, "the string has no end, or an escape that does not exist")
                .help("close it on its line; a backslash is `\\\\`"),
            _ => CompileError::new(offset, format!("unexpected `{}`", input.trim_end())),
        };
        return with_hint(error, source, offset);
    }
    let unclear = ["no viable alternative", "Incomplete", "No `"];
    if unclear.iter().any(|start| message.starts_with(start)) {
        let error = CompileError::new(offset, "this cannot be read as an expression");
        return with_hint(error, source, offset);
    }
    if message.contains("Recursion limit") {
        return CompileError::new(0, "the expression nests too deep");
    }
    CompileError::new(offset, message.to_owned())
}

/// The input that an error quotes: `'x' expecting {'a', 'b'}` quotes x. It may hold quotes of its own.
fn quoted_input(rest: &str) -> Option<String> {
    let rest = rest.trim_start().strip_prefix('\'')?;
    let end = rest.find("' expecting").or_else(|| rest.find("' at '")).or_else(|| rest.rfind('\''))?;
    // Enough to recognise it.
    const QUOTED_CHARS: usize = 30;
    Some(rest[..end].chars().take(QUOTED_CHARS).collect())
}

/// What the usual slips should have been.
fn with_hint(error: CompileError, source: &str, offset: usize) -> CompileError {
    const HINTS: [(&str, &str); 8] = [
        ("===", "equality is `==`"),
        ("=", "equality is `==`"),
        ("and", "and is written `&&`"),
        ("or", "or is written `||`"),
        ("not", "not is written `!`"),
        ("&", "and is written `&&`"),
        ("|", "or is written `||`"),
        ("${{", "this field is an expression already: leave `${{ }}` out"),
    ];
    let rest = source.get(offset..).unwrap_or_default();
    let hint = HINTS.iter().find(|(slip, _)| {
        let after = rest.strip_prefix(slip).map(|after| after.as_bytes().first().copied());
        let word = slip.as_bytes()[0].is_ascii_alphabetic();
        after.is_some_and(|next| !word || next.is_none_or(|next| !next.is_ascii_alphanumeric()))
    });
    match hint {
        Some((_, hint)) if error.help.is_none() => error.help(*hint),
        _ => error,
    }
}

/// Line and column, both from 1 and in characters, as an offset in bytes.
fn offset_of(source: &str, (line, column): (isize, isize)) -> usize {
    let (line, column) = (usize::try_from(line - 1).unwrap_or(0), usize::try_from(column - 1).unwrap_or(0));
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &source[start.min(source.len())..];
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}
