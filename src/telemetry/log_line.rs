//! One line of the log: bounded, and free of anything that could forge a second line or drive a terminal.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::Level;
use tracing::field::{Field, Visit};

/// The longest value of a field or message, in bytes before escaping.
pub(super) const VALUE_BYTES: usize = 4096;
/// The most fields of a line, those of its spans included.
pub(super) const FIELDS: usize = 48;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, the level coloured or not.
    Human {
        /// Whether the level is coloured.
        coloured: bool,
    },
    /// A JSON object a line.
    Json,
}

/// What an event or a span says.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    /// The target of a record that came from the `log` facade.
    pub(super) foreign_target: Option<String>,
    pub(super) values: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds those of a span around; the own ones win.
    pub(super) fn inherit(&mut self, outer: &Fields) {
        for (name, value) in &outer.values {
            if self.values.len() < FIELDS && !self.values.iter().any(|(known, _)| known == name) {
                self.values.push((name, value.clone()));
            }
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            ("log.target", Value::String(target)) => self.foreign_target = Some(target),
            (name, _) if name.starts_with("log.") => {}
            (name, value) => {
                if let Some((_, known)) = self.values.iter_mut().find(|(known, _)| *known == name) {
                    *known = value;
                } else if self.values.len() < FIELDS {
                    self.values.push((name, value));
                }
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(bounded(format_args!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(bounded(format_args!("{value}"))));
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let mut text = bounded(format_args!("{error}"));
        let mut source = error.source();
        // A chain of causes can be circular only by a mistake of a library; it is cut like any long value.
        while let Some(cause) = source.filter(|_| text.len() < VALUE_BYTES) {
            text = bounded(format_args!("{text}: {cause}"));
            source = cause.source();
        }
        self.put(field, Value::String(bounded(format_args!("{text}"))));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// A whole line with its newline.
pub(super) fn line(format: LogFormat, timestamp: &str, level: Level, target: &str, fields: &Fields) -> String {
    match format {
        LogFormat::Human { coloured } => human_line(coloured, timestamp, level, target, fields),
        LogFormat::Json => json_line(timestamp, level, target, fields),
    }
}

fn human_line(coloured: bool, timestamp: &str, level: Level, target: &str, fields: &Fields) -> String {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    let level = if coloured { format!("\u{1b}[{colour}m{level:5}\u{1b}[0m") } else { format!("{level:5}") };
    let mut line = format!("{timestamp} {level} {}: {}", escaped(target), escaped(&fields.message));
    for (name, value) in &fields.values {
        let value = match value {
            Value::String(text) if is_plain(text) => text.clone(),
            Value::String(text) => format!("\"{}\"", escaped(&text.replace('\\', r"\\").replace('"', "\\\""))),
            other => other.to_string(),
        };
        // Writing into a String cannot fail.
        let _ = write!(line, " {name}={value}");
    }
    line.push('\n');
    line
}

fn json_line(timestamp: &str, level: Level, target: &str, fields: &Fields) -> String {
    let values: serde_json::Map<_, _> =
        fields.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let level = level.as_str().to_ascii_lowercase();
    let mut object =
        serde_json::json!({ "timestamp": timestamp, "level": level, "target": target, "message": fields.message });
    if !values.is_empty() {
        object["fields"] = Value::Object(values);
    }
    // What JSON itself does not escape stands inside strings only, so it may be replaced in the text.
    let mut line = String::new();
    for letter in object.to_string().chars() {
        if is_unsafe(letter) {
            let _ = write!(line, "\\u{:04x}", u32::from(letter));
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
    line
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_unsafe(letter) {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// What ends a line, drives a terminal, or reverses the direction of text. All of it fits `\uXXXX`.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| !letter.is_whitespace() && !is_unsafe(letter) && !matches!(letter, '"' | '=' | '\\'))
}

/// Formats at most [`VALUE_BYTES`]; what formats itself endlessly is stopped.
fn bounded(arguments: fmt::Arguments<'_>) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = VALUE_BYTES - self.0.len();
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(&text[..text.floor_char_boundary(room)]);
            Err(fmt::Error)
        }
    }
    let mut text = Bounded(String::new());
    let whole = text.write_fmt(arguments).is_ok();
    if whole { text.0 } else { format!("{}… (cut)", text.0) }
}
