//! Executions and dead letters, as they are read from their topics and shown.

use serde_json::{Map, Value, json};

use super::output::{green, red, talk};
use crate::app::record_reader::RecordReader;
use crate::kafka::log_reader::LogRecord;
use crate::settings::Settings;

/// What headers of ours start with.
const LETTER_HEADER: &str = "tidegate-dlq-";

/// Makes JSON of records in Avro, and says the first time that it cannot.
pub(super) struct Readable {
    records: RecordReader,
    has_complained: bool,
}

impl Readable {
    pub(super) fn new(settings: &Settings) -> Readable {
        Readable { records: RecordReader::new(settings), has_complained: false }
    }

    /// Fails if something could not be shown.
    pub(super) fn whole(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.has_complained, "not everything was shown: records in Avro could not be read");
        Ok(())
    }

    /// What cannot be read stays as it is, and is shown as nothing.
    pub(super) fn translate(&mut self, record: &mut LogRecord) {
        if let Err(error) = self.records.translate(record)
            && !std::mem::replace(&mut self.has_complained, true)
        {
            talk(&format!("{} {error}", red("not shown:")));
        }
    }
}

/// An execution or a dead letter as JSON; None for what is neither, a tombstone say.
pub(super) fn read(record: &LogRecord) -> Option<Value> {
    letter(record).or_else(|| execution(record))
}

/// The execution of a record.
pub(super) fn execution(record: &LogRecord) -> Option<Value> {
    let document: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    document.get("workflowId")?;
    Some(document)
}

/// The dead letter of a record: our headers, and the original bytes as text where they are text.
pub(super) fn letter(record: &LogRecord) -> Option<Value> {
    let mut fields = Map::new();
    for (name, value) in &record.headers {
        let Some(name) = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(LETTER_HEADER)) else {
            continue;
        };
        let text = value.as_deref().map(|it| String::from_utf8_lossy(it).into_owned());
        let value = match (name, text) {
            ("state", Some(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            (_, Some(text)) => Value::String(text),
            (_, None) => Value::Null,
        };
        fields.insert(camel_case(name), value);
    }
    if fields.is_empty() {
        return None;
    }
    let value = record.value.as_deref().map(|it| String::from_utf8_lossy(it).into_owned());
    fields.insert("value".into(), value.into());
    Some(json!({ "deadLetter": fields }))
}

/// What a list shows of a dead letter: not the event itself, nor the outputs of its steps, which may have megabytes.
pub(super) fn letter_summary(record: &LogRecord) -> Option<Value> {
    let mut told = letter(record)?["deadLetter"].take();
    if let Some(fields) = told.as_object_mut() {
        fields.remove("value");
        fields.remove("state");
    }
    Some(told)
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('-');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

/// One line for people.
pub(super) fn as_line(told: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(letter) = told.get("deadLetter") {
        return format!(
            "{}  {} {} {}-{} @{}: {}",
            red("dead letter"),
            text(letter, "reason"),
            text(letter, "workflow"),
            text(letter, "topic"),
            text(letter, "partition"),
            text(letter, "offset"),
            text(letter, "errorMessage")
        );
    }
    let event = told.get("event").cloned().unwrap_or_default();
    let status = text(told, "status");
    let shown = if status == "completed" { green(&status) } else { red(&status) };
    format!(
        "{shown:<11}  {} {}  {} {}  {}",
        text(told, "workflowId"),
        text(told, "workflowVersion"),
        text(&event, "type"),
        text(&event, "id"),
        text(told, "id")
    )
}
