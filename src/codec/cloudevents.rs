//! CloudEvents 1.0 on Kafka, in both modes of its binding (CloudEvents Kafka Protocol Binding 1.0.2).
//!
//! A `content-type` of `application/cloudevents…` makes a record *structured*: the whole event is its value. Any other record
//! is *binary*: attributes are `ce_*` headers, the data is the value, `content-type` is the data's own. Of duplicate headers the
//! last one counts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::event::{Attributes, parse, utf8};
use crate::engine::event::SourceRecord;
use crate::engine::value::{Value, ValueRef, View};

/// The only version there is.
const SPEC_VERSION: &str = "1.0";
/// The media type that nearly all events have.
const JSON: &str = "application/json";
const STRUCTURED: &str = "application/cloudevents";
const STRUCTURED_BATCH: &str = "application/cloudevents-batch";

/// Understands a record in either mode.
pub(super) fn read(record: &SourceRecord) -> Result<Attributes, String> {
    let headers = Headers::of(record);
    let content_type = headers.content_type.map_or(Ok(""), |value| utf8(value, "content-type"))?;
    let is = |prefix: &str| content_type.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
    if is(STRUCTURED_BATCH) {
        return Err("a batch of CloudEvents is not allowed on Kafka; send one event a record".into());
    }
    if is(STRUCTURED) { structured(record, content_type) } else { binary(record, &headers, content_type) }
}

/// The headers that mean something, found in one pass.
#[derive(Default)]
struct Headers<'a> {
    content_type: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    fn of(record: &'a SourceRecord) -> Headers<'a> {
        let mut headers = Headers::default();
        for (name, value) in record.headers() {
            let slot = match name {
                b"content-type" => &mut headers.content_type,
                b"ce_specversion" => &mut headers.version,
                b"ce_id" => &mut headers.id,
                b"ce_source" => &mut headers.source,
                b"ce_type" => &mut headers.kind,
                b"ce_subject" => &mut headers.subject,
                b"ce_time" => &mut headers.time,
                _ => continue,
            };
            *slot = value;
        }
        headers
    }
}

fn binary(record: &SourceRecord, headers: &Headers<'_>, content_type: &str) -> Result<Attributes, String> {
    check_version(required_header(headers.version, "ce_specversion")?)?;
    Ok(Attributes {
        id: required_header(headers.id, "ce_id")?.into(),
        kind: required_header(headers.kind, "ce_type")?.into(),
        source: required_header(headers.source, "ce_source")?.into(),
        subject: headers.subject.map(|value| utf8(value, "ce_subject")).transpose()?.map(Arc::from),
        time: headers.time.map(|value| utf8(value, "ce_time")).transpose()?.map(Arc::from),
        schema: None,
        key: None,
        data: match record.value_bytes() {
            None => Value::Null,
            // What has neither bytes nor a type is how producers without null values say that there is no data.
            Some(bytes) if bytes.is_empty() && content_type.is_empty() => Value::Null,
            Some(bytes) => data_of(bytes, content_type)?,
        },
    })
}

fn required_header<'a>(value: Option<&'a [u8]>, name: &str) -> Result<&'a str, String> {
    match value.map(|value| utf8(value, name)).transpose()? {
        None => Err(format!("the header {name} is missing; a CloudEvent in binary mode needs it")),
        Some("") => Err(format!("the header {name} is empty; a CloudEvent in binary mode needs it")),
        Some(text) => Ok(text),
    }
}

/// Data by its content type: JSON (the default) is parsed, text is text, anything else is bytes.
fn data_of(bytes: Bytes, content_type: &str) -> Result<Value, String> {
    // A search for parameters that are not there takes longer than everything else here.
    if content_type == JSON {
        return parse(bytes);
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let ends_with = |suffix: &str| {
        let at = media_type.len().checked_sub(suffix.len());
        at.and_then(|at| media_type.get(at..)).is_some_and(|it| it.eq_ignore_ascii_case(suffix))
    };
    if media_type.is_empty() || media_type.eq_ignore_ascii_case(JSON) || ends_with("+json") {
        return parse(bytes);
    }
    if media_type.get(..5).is_some_and(|it| it.eq_ignore_ascii_case("text/")) {
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("the value is {media_type}, but not UTF-8"))?;
        return Ok(Value::text(text));
    }
    Ok(Value::Bytes(bytes))
}

/// The fields that mean something, found in one pass. Of duplicate fields the last one counts.
#[derive(Default)]
struct Fields<'a> {
    version: Option<ValueRef<'a>>,
    id: Option<ValueRef<'a>>,
    source: Option<ValueRef<'a>>,
    kind: Option<ValueRef<'a>>,
    subject: Option<ValueRef<'a>>,
    time: Option<ValueRef<'a>>,
    content_type: Option<ValueRef<'a>>,
    data: Option<ValueRef<'a>>,
    data_base64: Option<ValueRef<'a>>,
}

impl<'a> Fields<'a> {
    fn of(document: &'a Value) -> Result<Fields<'a>, String> {
        let View::Map(map) = document.view() else {
            return Err("a structured CloudEvent is a JSON object, but the value is none".into());
        };
        let mut fields = Fields::default();
        for (name, value) in map.iter() {
            let slot = match name {
                "specversion" => &mut fields.version,
                "id" => &mut fields.id,
                "source" => &mut fields.source,
                "type" => &mut fields.kind,
                "subject" => &mut fields.subject,
                "time" => &mut fields.time,
                "datacontenttype" => &mut fields.content_type,
                "data" => &mut fields.data,
                "data_base64" => &mut fields.data_base64,
                _ => continue,
            };
            *slot = Some(value);
        }
        Ok(fields)
    }
}

fn structured(record: &SourceRecord, content_type: &str) -> Result<Attributes, String> {
    let format = content_type[STRUCTURED.len()..].split(';').next().unwrap_or_default().trim();
    if !format.is_empty() && !format.eq_ignore_ascii_case("+json") {
        return Err(format!("the content type is {STRUCTURED}{format}; send {STRUCTURED}+json"));
    }
    let text = record.value_bytes().ok_or("the value is null, but a structured CloudEvent is its value")?;
    let document = parse(text)?;
    let fields = Fields::of(&document)?;
    check_version(required(fields.version, "specversion")?)?;
    Ok(Attributes {
        id: required(fields.id, "id")?.into(),
        kind: required(fields.kind, "type")?.into(),
        source: required(fields.source, "source")?.into(),
        subject: attribute(fields.subject, "subject")?.map(Arc::from),
        time: attribute(fields.time, "time")?.map(Arc::from),
        schema: None,
        key: None,
        data: structured_data(&fields)?,
    })
}

fn structured_data(fields: &Fields<'_>) -> Result<Value, String> {
    let encoded = match (fields.data, fields.data_base64) {
        (Some(_), Some(_)) => return Err("the event has both data and data_base64; only one is allowed".into()),
        (Some(data), None) => return Ok(data.to_value()),
        (None, None) => return Ok(Value::Null),
        (None, Some(encoded)) => encoded.view().as_text().ok_or("the attribute data_base64 is no string")?,
    };
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("data_base64 is no base64: {error}"))?;
    // Whoever encodes data without saying what it is means bytes.
    let content_type = attribute(fields.content_type, "datacontenttype")?.unwrap_or("application/octet-stream");
    data_of(bytes.into(), content_type)
}

fn attribute<'a>(value: Option<ValueRef<'a>>, name: &str) -> Result<Option<&'a str>, String> {
    match value.map(ValueRef::view) {
        None | Some(View::Null) => Ok(None),
        Some(View::Text(text)) => Ok(Some(text)),
        Some(_) => Err(format!("the attribute {name} is no string")),
    }
}

fn required<'a>(value: Option<ValueRef<'a>>, name: &str) -> Result<&'a str, String> {
    match attribute(value, name)? {
        None => Err(format!("the attribute {name} is missing; every CloudEvent needs it")),
        Some("") => Err(format!("the attribute {name} is empty; every CloudEvent needs it")),
        Some(text) => Ok(text),
    }
}

fn check_version(version: &str) -> Result<(), String> {
    if version == SPEC_VERSION {
        return Ok(());
    }
    Err(format!("specversion is `{version}`, but only {SPEC_VERSION} is understood"))
}

#[cfg(test)]
mod tests {
    use super::super::event::Format;
    use super::*;
    use crate::engine::event::{Origin, Topic};

    type Headers<'a> = &'a [(&'a str, &'a [u8])];

    fn decode(headers: Headers<'_>, value: Option<&[u8]>) -> Result<String, String> {
        let topic = Arc::new(Topic { name: "t".into(), id: [0; 16] });
        let origin = Origin { topic, partition: 0, offset: 0 };
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(*value)));
        let record = SourceRecord::new(origin, -1, None, value, headers);
        match Format::CloudEvents.decode(record) {
            Ok(event) => {
                let mut data = Vec::new();
                crate::engine::value::write_json(&event.data, &mut data);
                Ok(format!("{} {} {} {}", event.kind, event.id, event.source, String::from_utf8(data).unwrap()))
            }
            Err((_, undecodable)) => Err(undecodable.message),
        }
    }

    #[track_caller]
    fn check(headers: Headers<'_>, value: Option<&[u8]>, expected: Result<&str, &str>) {
        match (decode(headers, value), expected) {
            (Ok(event), Ok(expected)) => assert_eq!(event, expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message} does not contain {part}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    const BINARY: [(&str, &[u8]); 4] =
        [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"a.b")];

    #[test]
    fn binary_mode_reads_headers_and_data_by_its_type() {
        check(&BINARY, Some(b"{\"n\":1}"), Ok("a.b 1 /s {\"n\":1}"));
        check(&BINARY, None, Ok("a.b 1 /s null"));
        let with = |kind: &'static [u8]| [&BINARY[..], &[("content-type", kind)]].concat();
        check(&with(b"text/plain"), Some("ä".as_bytes()), Ok("a.b 1 /s \"ä\""));
        check(&with(b"application/vnd.x+json; charset=utf-8"), Some(b"[]"), Ok("a.b 1 /s []"));
        check(&with(b"image/png"), Some(b"\x01"), Ok("a.b 1 /s \"AQ==\""));
        check(&with(b"text/plain"), Some(b"\xff"), Err("not UTF-8"));
        let twice = [&BINARY[..], &[("ce_id", &b"2"[..])]].concat();
        check(&twice, None, Ok("a.b 2 /s null"));
    }

    #[test]
    fn what_binary_mode_needs_is_named_when_it_is_missing() {
        for name in ["ce_specversion", "ce_id", "ce_source", "ce_type"] {
            let without: Vec<_> = BINARY.into_iter().filter(|it| it.0 != name).collect();
            check(&without, Some(b"{}"), Err(name));
        }
        let mut wrong = BINARY;
        wrong[0].1 = b"0.3";
        check(&wrong, Some(b"{}"), Err("specversion is `0.3`"));
        wrong = BINARY;
        wrong[3].1 = b"\xff\xfe";
        check(&wrong, Some(b"{}"), Err("the header ce_type is not UTF-8"));
        wrong[3].1 = b"";
        check(&wrong, Some(b"{}"), Err("the header ce_type is empty"));
    }

    #[test]
    fn structured_mode_reads_the_document() {
        let mode: Headers<'_> = &[("content-type", b"application/CloudEvents+json; charset=UTF-8")];
        let event = br#"{"specversion":"1.0","id":"7","source":"/s","type":"x","data":{"a":[1]},"ext":"e"}"#;
        check(mode, Some(event), Ok("x 7 /s {\"a\":[1]}"));
        let base64 = br#"{"specversion":"1.0","id":"7","source":"/s","type":"x","data_base64":"AQ=="}"#;
        check(mode, Some(base64), Ok("x 7 /s \"AQ==\""));
        let typed = br#"{"specversion":"1.0","id":"7","source":"/s","type":"x","datacontenttype":"a/b+JSON","data_base64":"e30="}"#;
        check(mode, Some(typed), Ok("x 7 /s {}"));
        let twice = br#"{"specversion":"1.0","id":"7","id":"8","source":"/s","type":"x","data":1,"data_base64":""}"#;
        check(mode, Some(twice), Err("only one is allowed"));
        check(mode, None, Err("value is null"));
        check(mode, Some(b"[]"), Err("JSON object"));
        check(mode, Some(b"{\"specversion\":\"1.0\",\"id\":7}"), Err("no string"));
        check(mode, Some(b"{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/\"}"), Err("type is missing"));
        check(&[("content-type", b"application/cloudevents+avro")], Some(b""), Err("+avro"));
        check(&[("content-type", b"application/cloudevents-batch+json")], Some(b"[]"), Err("batch"));
    }
}
