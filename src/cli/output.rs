//! What is printed: tables for people, JSON and YAML for programs.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::args::OutputFormat;

/// The longest cell of a table; more is cut, JSON has it whole.
const CELL_CHARACTERS: usize = 60;

/// Prints rows: as a table with these columns, or as a list of objects.
pub(super) fn rows(format: OutputFormat, columns: &[&str], rows: &[Value]) {
    match format {
        OutputFormat::Table => table(columns, rows),
        OutputFormat::Json | OutputFormat::Yaml => document(format, &Value::Array(rows.to_vec())),
    }
}

/// Prints one document.
pub(super) fn document(format: OutputFormat, document: &Value) {
    let text = match format {
        OutputFormat::Json => serde_json::to_string_pretty(document).unwrap_or_default(),
        OutputFormat::Table | OutputFormat::Yaml => serde_yaml_ng::to_string(document).unwrap_or_default(),
    };
    line(text.trim_end());
}

/// Prints one line to stdout. A reader that went away ends the output, not the process with a panic.
pub(super) fn line(text: &str) {
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Prints one JSON document as one line.
pub(super) fn json_line(document: &Value) {
    line(&document.to_string());
}

/// Says something to whoever watches.
pub(super) fn talk(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says what works, and not as whoever wrote it may think.
pub(super) fn warn(warning: &impl std::fmt::Display) {
    let start = if wants_colours(std::io::stderr().is_terminal()) { "\u{1b}[33mwarning:\u{1b}[0m" } else { "warning:" };
    talk(&format!("{start} {warning}"));
}

/// Says what went wrong, with all causes.
pub(super) fn complain(error: &anyhow::Error) {
    let start = if wants_colours(std::io::stderr().is_terminal()) { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
    talk(&format!("{start} {error:#}"));
}

/// Red on a terminal.
pub(super) fn red(text: &str) -> String {
    coloured(text, "31")
}

/// Green on a terminal.
pub(super) fn green(text: &str) -> String {
    coloured(text, "32")
}

/// Yellow on a terminal.
pub(super) fn yellow(text: &str) -> String {
    coloured(text, "33")
}

/// Dim on a terminal.
pub(super) fn dim(text: &str) -> String {
    coloured(text, "2")
}

fn coloured(text: &str, code: &str) -> String {
    let wanted = wants_colours(std::io::stdout().is_terminal());
    if wanted { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Whether to colour what goes to a terminal; see no-color.org.
fn wants_colours(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

fn table(columns: &[&str], rows: &[Value]) {
    let cell = |row: &Value, column: &str| match row.get(column) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => cut(text),
        Some(other) => cut(&other.to_string()),
    };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    let width = |at: usize| {
        let longest = cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        longest.max(columns[at].chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let joined = |texts: Vec<String>| {
        let padded = texts.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    line(&dim(&joined(columns.iter().map(|column| column.to_uppercase()).collect())));
    for row in cells {
        line(&joined(row));
    }
}

/// One line of printable text: control characters come from outside and could rewrite the terminal.
fn cut(text: &str) -> String {
    let printable = |it: char| if it.is_control() { ' ' } else { it };
    let mut short: String = text.chars().map(printable).take(CELL_CHARACTERS).collect();
    if text.chars().count() > CELL_CHARACTERS {
        short.pop();
        short.push('…');
    }
    short
}
