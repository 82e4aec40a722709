//! Diagnostics: what is wrong with a file, where, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake in a file. Diagnostics sort by file and place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Diagnostic {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The line, from 1; 0 if the mistake is the file's as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 if the mistake is the file's as a whole.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Diagnostic {
    /// A mistake of a whole file.
    pub fn of_file(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
        let (path, message, remedy) = (path.to_owned(), message.into(), Some(remedy.into()));
        Diagnostic { path, line: 0, column: 0, message, remedy }
    }
}

/// `path:line:column: message; remedy`, on one line whatever the definition holds.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.path.display())?;
        if self.line > 0 {
            write!(formatter, "{}:{}:", self.line, self.column)?;
        }
        write!(formatter, " {}", OneLine(&self.message))?;
        self.remedy.iter().try_for_each(|remedy| write!(formatter, "; {}", OneLine(remedy)))
    }
}

/// Text without control characters and line separators: a definition cannot forge lines or colour a terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\n' => formatter.write_str("\\n"),
            '\u{2028}' | '\u{2029}' => write!(formatter, "{}", character.escape_unicode()),
            _ if character.is_control() => write!(formatter, "{}", character.escape_default()),
            _ => write!(formatter, "{character}"),
        })
    }
}

/// A definition that was refused, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.diagnostics))]
pub struct Refused {
    /// Every mistake, by place; at least one.
    pub diagnostics: Vec<Diagnostic>,
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// A mistake as the readers find it: at a byte of the source, not yet at a line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub offset: usize,
    pub message: String,
    pub remedy: Option<String>,
}

impl Mistake {
    pub fn new(offset: usize, message: impl Into<String>, remedy: impl Into<String>) -> Mistake {
        Mistake { offset, message: message.into(), remedy: Some(remedy.into()) }
    }

    /// A mistake whose message has its remedy behind a semicolon, as the engine writes them.
    pub fn from_sentence(offset: usize, sentence: &str) -> Mistake {
        match sentence.split_once("; ") {
            Some((message, remedy)) => Mistake::new(offset, message, remedy),
            None => Mistake { offset, message: sentence.into(), remedy: None },
        }
    }
}
