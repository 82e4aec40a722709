//! Events that are sent by hand: NDJSON, a CloudEvent per line, or `{topic, key, headers, value}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::engine::run::is_topic_name;
use crate::engine::wire::WireRecord;
use crate::settings::{Settings, SourceFormat, TopicSelector};

/// The largest file that is read at once.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Reads a file of events; every line that is none is told.
pub fn read(path: &std::path::Path, settings: &Settings) -> Result<Vec<WireRecord>, Vec<BadLine>> {
    let file = path.display().to_string();
    let bad = |line, message: String| vec![BadLine { file: file.clone(), line, message }];
    let size = std::fs::metadata(path).map_err(|error| bad(0, error.to_string()))?.len();
    if size > FILE_BYTES {
        return Err(bad(0, format!("the file has {size} bytes; split it into files of at most {FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(0, error.to_string()))?;
    let (mut records, mut mistakes) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match parse(line, settings) {
            Ok(record) => records.push(record),
            Err(message) => mistakes.push(BadLine { file: file.clone(), line: number + 1, message }),
        }
    }
    if mistakes.is_empty() { Ok(records) } else { Err(mistakes) }
}

/// `{topic, key, headers, value}`, not understood further: what is sent are the bytes as they stand in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    topic: Option<String>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// What tells a CloudEvent from the other form.
#[derive(Deserialize)]
struct CloudEvent {
    specversion: Option<serde::de::IgnoredAny>,
    partitionkey: Option<String>,
}

/// Reads one event.
pub fn parse(line: &str, settings: &Settings) -> Result<WireRecord, String> {
    let line = line.trim();
    serde_json::from_str::<serde::de::IgnoredAny>(line).map_err(|error| format!("this is no JSON: {error}"))?;
    if !line.starts_with('{') {
        return Err("an event is a JSON object: a CloudEvent, or {topic, key, headers, value}".into());
    }
    let event: CloudEvent = serde_json::from_str(line).map_err(|error| format!("this is no CloudEvent: {error}"))?;
    if event.specversion.is_some() {
        let header = (Bytes::from_static(b"content-type"), Some(Bytes::from_static(b"application/cloudevents+json")));
        let key = event.partitionkey.map(Bytes::from);
        return Ok(record(&cloudevents_topic(settings)?, key, Some(line.to_owned().into()), vec![header]));
    }
    let Line { topic, key, headers, value } = serde_json::from_str(line)
        .map_err(|error| format!("{error}; give topic, key, headers and value, or a CloudEvent"))?;
    let topic = topic.ok_or("`topic` is missing; name a source topic")?;
    if !is_topic_name(&topic) {
        return Err(format!("`{topic}` is no name of a topic; use 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`"));
    }
    let headers = headers.into_iter().map(|(name, value)| (Bytes::from(name), content(value)));
    Ok(record(&topic, key.and_then(content), value.and_then(content), headers.collect()))
}

/// The first source that takes CloudEvents and is a name.
fn cloudevents_topic(settings: &Settings) -> Result<String, String> {
    let mut sources = settings.sources.iter();
    let found = sources.find_map(|source| match (&source.format, &source.topic) {
        (SourceFormat::CloudEvents, TopicSelector::Name(name)) => Some(name.clone()),
        _ => None,
    });
    found.ok_or_else(|| "no source takes CloudEvents; name the topic as {\"topic\": …, \"value\": …}".into())
}

/// Strings as the text they hold, null as null, anything else as it is written: numbers keep every digit, objects their order.
fn content(value: &RawValue) -> Option<Bytes> {
    match value.get() {
        "null" => None,
        written => {
            let text = serde_json::from_str::<String>(written).unwrap_or_else(|_| written.to_owned());
            Some(text.into())
        }
    }
}

fn record(topic: &str, key: Option<Bytes>, value: Option<Bytes>, headers: Vec<(Bytes, Option<Bytes>)>) -> WireRecord {
    WireRecord {
        topic: Arc::from(topic),
        partition: None,
        key,
        value,
        headers: headers.into_iter().collect(),
        step: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FixedEnvironment;

    fn settings() -> Settings {
        let text =
            "[kafka]\n\"bootstrap.servers\" = \"a:1\"\n[[sources]]\ntopic = \"webhooks\"\nformat = \"cloudevents\"\n";
        let environment = FixedEnvironment::default();
        Settings::parse("t.toml", text, std::path::Path::new("."), &environment, &Default::default()).unwrap()
    }

    /// Topic, key and value of a line, or why it is none.
    fn read(line: &str) -> Result<(String, Option<String>, Option<String>), String> {
        let text = |bytes: Option<Bytes>| bytes.map(|it| String::from_utf8(it.to_vec()).unwrap());
        parse(line, &settings()).map(|it| (it.topic.to_string(), text(it.key), text(it.value)))
    }

    #[track_caller]
    fn check(line: &str, topic: &str, key: Option<&str>, value: Option<&str>) {
        assert_eq!(read(line), Ok((topic.into(), key.map(Into::into), value.map(Into::into))), "{line}");
    }

    #[test]
    fn values_are_sent_as_they_are_written() {
        check(
            r#"{"topic":"a","value":{"b":1,"a":18446744073709551616.10}}"#,
            "a",
            None,
            Some(r#"{"b":1,"a":18446744073709551616.10}"#),
        );
        check(r#"{"topic":"a","key":"k","value":"te\"xt"}"#, "a", Some("k"), Some("te\"xt"));
        check(r#"{"topic":"a","key":7,"value":null}"#, "a", Some("7"), None);
        check(r#"{"topic":"a"}"#, "a", None, None);
        let event = r#"{"specversion":"1.0","id":"1","partitionkey":"p","data":1.0}"#;
        check(event, "webhooks", Some("p"), Some(event));
    }

    #[test]
    fn what_is_no_event_is_refused_with_what_would_be_right() {
        let wrong = |line: &str, words: &str| {
            let message = read(line).unwrap_err();
            assert!(message.contains(words), "{message}");
        };
        wrong("{oops", "no JSON");
        wrong("[1]", "JSON object");
        wrong(r#"{"tpic":"a"}"#, "`tpic`");
        wrong(r#"{"value":1}"#, "`topic` is missing");
        wrong(r#"{"topic":"a b"}"#, "no name of a topic");
        wrong(r#"{"topic":"a","headers":[1]}"#, "headers");
    }
}
