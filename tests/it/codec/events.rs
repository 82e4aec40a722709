//! Records however broken: each is an event, or a reason that says what is wrong.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate::codec::event::Format;
use tidegate::codec::plain::{Locator, Places, Pointer};
use tidegate::engine::event::{Event, Undecodable};
use tidegate::engine::execution::Subject;
use tidegate::engine::limits;
use tidegate::engine::value::write_json;

use super::samples::{self, BINARY, Header, record};

fn json() -> Format {
    let pointer = |text| Pointer::parse(text).unwrap();
    let kind = Locator::Pointer(pointer("/event"));
    Format::Json(Places { kind, id: Some(Locator::Header("id".into())), data: pointer("") })
}

/// Type, id and data of an event.
fn tell(decoded: Result<Event, Undecodable>) -> Result<String, String> {
    let event = decoded.map_err(|why| why.message)?;
    let mut data = Vec::new();
    write_json(&event.data, &mut data);
    Ok(format!("{} {} {}", event.kind, event.id, String::from_utf8(data).unwrap()))
}

#[track_caller]
fn check(format: &Format, value: Option<&[u8]>, headers: &[Header<'_>], expected: Result<&str, &str>) {
    let key = [0xff];
    let decoded = format.decode(record(Some(&key), value, headers));
    let decoded = decoded.map_err(|(record, why)| {
        assert_eq!(record.value(), value, "the record comes back as it was");
        assert_eq!(record.headers().collect::<Vec<_>>(), headers, "the record comes back as it was");
        why
    });
    match (tell(decoded), expected) {
        (Ok(event), Ok(expected)) => assert_eq!(event, expected),
        (Err(message), Err(part)) => {
            assert!(message.contains(part), "`{message}` does not say `{part}`");
            assert!(message.len() <= limits::ERROR_MESSAGE_BYTES, "{} bytes", message.len());
        }
        (Ok(event), Err(part)) => panic!("{event:.200} instead of an error that says `{part}`"),
        (Err(message), Ok(expected)) => panic!("`{message}` instead of {expected}"),
    }
}

#[test]
fn values_of_plain_json_however_broken() {
    let check = |value: &[u8], expected| check(&json(), Some(value), &[], expected);
    let at =
        |depth: usize| [br#"{"event":"a","x":"#, &b"["[..].repeat(depth)[..], &b"]".repeat(depth)[..], b"}"].concat();
    check(br#"{"event":"a"}"#, Ok(r#"a  {"event":"a"}"#));
    check(b"", Err("no JSON document"));
    check(b"\0", Err("no JSON document"));
    check(b"1", Err("type is missing"));
    check(b"\xff\xfe", Err("not UTF-8 at line 1, column 1"));
    check(b"{\"event\":\"\xc3\x28\"}", Err("not UTF-8"));
    check(br#"{"event":"\ud800"}"#, Err("no JSON document"));
    check(br#"{"event":"a"} x"#, Err("no JSON document"));
    check(br#"{"event":"a","n":1e999999}"#, Err("number out of range"));
    check(br#"{"event":"a","n":NaN}"#, Err("no JSON document"));
    check(&b"[".repeat(100_000), Err("deeper than 64 levels"));
    check(&at(100_000), Err("deeper than 64 levels"));
    check(&at(64), Err("deeper than 64 levels"));
    assert!(json().decode(record(None, Some(&at(63)), &[])).is_ok());
    check(br#"{"event":""}"#, Err("there is nothing at /event"));
    check(br#"{"event":null}"#, Err("there is nothing at /event"));
    check(br#"{"event":["a"]}"#, Err("type at /event is no string"));
    check(br#"{"event":"a","event":"b"}"#, Ok(r#"b  {"event":"b"}"#));
    check(br#"{"event":18446744073709551615}"#, Ok(r#"18446744073709551615  {"event":18446744073709551615}"#));
    check(format!(r#"{{"event":"{}"}}"#, "a".repeat(4097)).as_bytes(), Err("type has 4097 bytes; it may have 4096"));
    check(&vec![b' '; limits::DOCUMENT_BYTES + 1], Err("it may have 67108864"));
    check(&[b"[".as_slice(), &b"0,".repeat(limits::DOCUMENT_NODES), b"0]"].concat(), Err("more than 1000000 values"));
}

#[test]
fn plain_json_needs_a_value_and_readable_headers_where_it_looks() {
    let good: &[u8] = br#"{"event":"a"}"#;
    check(&json(), None, &[], Err("the value is null"));
    check(&json(), Some(good), &[(b"id", Some(b"1")), (b"id", Some(b"2"))], Ok(r#"a 2 {"event":"a"}"#));
    check(&json(), Some(good), &[(b"id", Some(b"1")), (b"id", None)], Ok(r#"a  {"event":"a"}"#));
    check(&json(), Some(good), &[(b"id", Some(b"\xff"))], Err("the header id is not UTF-8"));
    check(&json(), Some(good), &[(b"\xff\0", Some(b"\xff")), (b"", None)], Ok(r#"a  {"event":"a"}"#));
    let many = |count| vec![(&b"h"[..], Some(&b"v"[..])); count];
    check(&json(), Some(good), &many(1_000), Ok(r#"a  {"event":"a"}"#));
    check(&json(), Some(good), &many(10_000), Err("10000 headers; it may have 1000"));
}

#[test]
fn cloud_events_in_binary_mode_however_broken() {
    let check = |value: Option<&[u8]>, more: &[Header<'_>], expected| {
        check(&Format::CloudEvents, value, &[&BINARY[..], more].concat(), expected);
    };
    check(None, &[], Ok("orders.paid e-1 null"));
    check(Some(b""), &[], Ok("orders.paid e-1 null"));
    check(Some(b""), &[(b"content-type", Some(b"application/json"))], Err("no JSON document"));
    check(Some(b"\0"), &[], Err("no JSON document"));
    check(Some(b"\0"), &[(b"content-type", Some(b"application/octet-stream"))], Ok(r#"orders.paid e-1 "AA==""#));
    check(Some(b"{}"), &[(b"content-type", Some(b"\xff"))], Err("the header content-type is not UTF-8"));
    check(Some(b"{}"), &[(b"ce_id", None)], Err("the header ce_id is missing"));
    check(Some(b"{}"), &[(b"ce_id", Some(b""))], Err("the header ce_id is empty"));
    check(Some(b"{}"), &[(b"ce_type", Some(b""))], Err("the header ce_type is empty"));
    check(Some(b"{}"), &[(b"ce_type", Some(b"\xff"))], Err("the header ce_type is not UTF-8"));
    check(Some(b"{}"), &[(b"ce_ext", Some(b"\xff"))], Ok("orders.paid e-1 {}"));
    check(Some(b"{}"), &[(b"ce_specversion", Some(b"0.3"))], Err("specversion is `0.3`, but only 1.0"));
    check(Some(b"{}"), &[(b"ce_specversion", Some(&b"9".repeat(5000)))], Err("specversion is `999"));
    check(Some(b"{}"), &[(b"ce_source", Some(&b"s".repeat(5000)))], Err("source has 5000 bytes"));
    check(Some(&b"[".repeat(100_000)), &[], Err("deeper than 64 levels"));
    for missing in 0..BINARY.len() {
        let mut headers = BINARY.to_vec();
        let (name, _) = headers.remove(missing);
        let name = std::str::from_utf8(name).unwrap();
        self::check(&Format::CloudEvents, Some(b"{}"), &headers, Err(&format!("the header {name} is missing")));
    }
}

#[test]
fn cloud_events_in_structured_mode_however_broken() {
    let check = |value: &str, expected| {
        let mode: Header<'_> = (b"content-type", Some(b"application/cloudevents+json; charset=UTF-8"));
        check(&Format::CloudEvents, Some(value.as_bytes()), &[mode], expected);
    };
    let with = |fields: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{fields}}}"#);
    check(&with(""), Ok("t 1 null"));
    check(&with(r#","data":{"a":1},"id":"2""#), Ok(r#"t 2 {"a":1}"#));
    check(&with(r#","data_base64":"!""#), Err("data_base64 is no base64"));
    check(&with(r#","data_base64":7"#), Err("data_base64 is no string"));
    check(&with(r#","type":"""#), Err("the attribute type is empty"));
    check(&with(r#","source":null"#), Err("the attribute source is missing"));
    check(&with(r#","id":7"#), Err("the attribute id is no string"));
    check(&with(r#","specversion":"2.0""#), Err("specversion is `2.0`"));
    check(&with(r#","time":[]"#), Err("the attribute time is no string"));
    check("7", Err("JSON object"));
    check("", Err("no JSON document"));
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let texts = [
        "",
        "1.0",
        "e-1",
        "\"",
        "{}",
        "[",
        "[1]",
        "text/plain",
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch",
        r#"{"event":"a"}"#,
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#,
    ];
    let known = proptest::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec());
    proptest::option::weighted(0.9, prop_oneof![known, proptest::collection::vec(any::<u8>(), 0..40)])
}

fn headers() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let names = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "content-type", "id"];
    let known = proptest::sample::select(names.to_vec()).prop_map(|name| name.as_bytes().to_vec());
    let name = prop_oneof![4 => known, 1 => proptest::collection::vec(any::<u8>(), 0..10)];
    proptest::collection::vec((name, bytes()), 0..12)
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_have_a_reason(value in bytes(), headers in headers(), binary in any::<bool>()) {
        let extra = headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref()));
        let headers: Vec<Header<'_>> = BINARY.into_iter().filter(|_| binary).chain(extra).collect();
        for format in [Format::CloudEvents, json()] {
            match format.decode(record(None, value.as_deref(), &headers)) {
                Ok(event) => {
                    prop_assert!(!event.kind.is_empty());
                    let event = Arc::new(event);
                    let outputs = vec![samples::step_result(&event, samples::step("a", event.data.clone()))];
                    let records = samples::encode(&samples::encoder(64 * 1024), &event, outputs);
                    let written: serde_json::Value = serde_json::from_slice(records[0].value.as_deref().unwrap()).unwrap();
                    prop_assert_eq!(&written["stepId"], "a");
                }
                Err((back, why)) => {
                    prop_assert!(!why.message.is_empty() && why.message.len() <= limits::ERROR_MESSAGE_BYTES);
                    prop_assert_eq!(back.value(), value.as_deref());
                    prop_assert_eq!(back.headers().collect::<Vec<_>>(), headers.clone());
                    let message = why.message.clone();
                    let subject = Subject::undecodable((back, why), samples::END_MS);
                    let letters = samples::encoder(64 * 1024).encode(&subject, subject.leave(samples::END_MS));
                    prop_assert_eq!(letters.len(), 1);
                    prop_assert_eq!(samples::header(&letters[0], "tidegate-dlq-reason"), Some(&b"decode"[..]));
                    prop_assert_eq!(samples::header(&letters[0], "tidegate-dlq-error-message"), Some(message.as_bytes()));
                    prop_assert_eq!(letters[0].value.as_deref(), Some(value.as_deref().unwrap_or_default()));
                }
            }
        }
    }
}
