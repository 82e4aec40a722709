//! The text of a definition and its places: bytes to lines and columns, and offsets inside strings to where they are written.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Mistake};
use super::limits;
use super::node::Text;

/// The text of one document.
#[derive(Debug)]
pub(super) struct Source<'a> {
    path: PathBuf,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Takes the text as it will be parsed, without a byte order mark.
    pub fn new(path: &Path, text: &'a str) -> Source<'a> {
        let bytes = text.as_bytes();
        let ends_line = |at: usize| bytes[at] == b'\n' || bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
        let line_starts = std::iter::once(0).chain((0..bytes.len()).filter(|at| ends_line(*at)).map(|at| at + 1));
        Source { path: path.to_owned(), text, line_starts: line_starts.collect() }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The number or other plain word that is written at a byte.
    pub fn word(&self, offset: usize) -> &'a str {
        let rest = self.text.get(offset..).unwrap_or_default();
        let ends = |it: char| it.is_whitespace() || matches!(it, ',' | '}' | ']' | '#');
        &rest[..rest.find(ends).unwrap_or(rest.len())]
    }

    /// Line and column of a byte, both from 1, the column in characters.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// The byte of the source at which the byte `offset` of a string is written.
    ///
    /// Whatever its style, a string and its source differ in white space only (folding, indentation), so characters that
    /// are none are paired one by one. Where they differ (escapes), the place is that of the whole string.
    pub fn inside(&self, text: &Text, offset: usize) -> usize {
        let is_written = |it: &(usize, char)| !it.1.is_whitespace();
        let offset = text.value.floor_char_boundary(offset);
        let wanted = text.value[..offset].chars().filter(|it| !it.is_whitespace()).count();
        let Some(written) = self.text.get(text.start..) else { return text.at };
        let mut written = written.char_indices().filter(is_written);
        let mut value = text.value.char_indices().filter(is_written);
        let mut after = text.start;
        for _ in 0..wanted {
            match (written.next(), value.next()) {
                (Some((at, there)), Some((_, here))) if there == here => after = text.start + at + there.len_utf8(),
                _ => return text.at,
            }
        }
        let next_is_written = text.value[offset..].chars().next().is_some_and(|it| !it.is_whitespace());
        match written.next() {
            Some((at, _)) if next_is_written => text.start + at,
            _ => after,
        }
    }

    /// Mistakes with their places, by place, up to the limit.
    pub fn diagnostics(&self, mut mistakes: Vec<Mistake>) -> Vec<Diagnostic> {
        mistakes.sort_by_key(|mistake| mistake.offset);
        mistakes.dedup();
        let unlisted = mistakes.len().saturating_sub(limits::MISTAKES_PER_FILE);
        mistakes.truncate(limits::MISTAKES_PER_FILE);
        let mut diagnostics: Vec<_> = mistakes.into_iter().map(|mistake| self.diagnostic(mistake)).collect();
        if let (Some(last), 1..) = (diagnostics.last(), unlisted) {
            let message = format!("{unlisted} more follow");
            diagnostics.push(Diagnostic { message, remedy: Some("mend these first".into()), ..last.clone() });
        }
        diagnostics
    }

    fn diagnostic(&self, mistake: Mistake) -> Diagnostic {
        let (line, column) = self.place(mistake.offset);
        let Mistake { offset: _, message, remedy } = mistake;
        Diagnostic { path: self.path.clone(), line, column, message, remedy }
    }
}
