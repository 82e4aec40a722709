//! The JSON codec: hostile documents, and that what is written reads back as it was.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use tidegate::codec::json::{Limits, parse, write};
use tidegate::engine::limits;
use tidegate::engine::value::Value;

fn read(text: impl AsRef<[u8]>) -> Result<Value, String> {
    let text = Bytes::copy_from_slice(text.as_ref());
    parse(text, &Limits::default()).map_err(|error| error.to_string())
}

fn written(value: &Value) -> String {
    let mut text = Vec::new();
    write(value, &mut text);
    String::from_utf8(text).unwrap()
}

/// What is written of a part of a document; the whole would be written as it was read.
#[track_caller]
fn check(text: &str, expected: &str) {
    let list = read(format!("[{text}]")).unwrap();
    assert_eq!(written(&list.at(0).unwrap()), expected);
}

#[track_caller]
fn check_refused(text: impl AsRef<[u8]>, expected: &str) {
    let started = Instant::now();
    let error = read(text).expect_err("it is refused");
    assert!(error.contains(expected), "{error}");
    assert!(error.len() < limits::ERROR_MESSAGE_BYTES);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn documents_are_read_as_they_are() {
    check(" {\"a\" : [1, -2, 3.5, true, false, null, \"x\"]} ", r#"{"a":[1,-2,3.5,true,false,null,"x"]}"#);
    check(r#""a\"\\\/\b\f\n\r\té😀\u0001""#, r#""a\"\\/\b\f\n\r\té😀\u0001""#);
    check(r#"{"k\u0065y":1}"#, r#"{"key":1}"#);
    check("[]", "[]");
    check("{}", "{}");
    check("\"\"", "\"\"");
    check("null", "null");
    let deepest = "[".repeat(64) + &"]".repeat(64);
    assert_eq!(written(&read(&deepest).unwrap()), deepest);
}

#[test]
fn numbers_are_read_exactly() {
    check("9223372036854775807", "9223372036854775807");
    check("-9223372036854775808", "-9223372036854775808");
    check("18446744073709551615", "18446744073709551615");
    check("18446744073709551616", "1.8446744073709552e19");
    check("0.1", "0.1");
    check("1e2", "100.0");
    check("-0", "-0.0");
    check("5e-324", "5e-324");
    check("1.7976931348623157e308", "1.7976931348623157e308");
    check("1e-999999", "0.0");
    assert!(matches!(read("1"), Ok(Value::Int(1))));
    assert!(matches!(read("9223372036854775808"), Ok(Value::UInt(9_223_372_036_854_775_808))));
}

#[test]
fn of_duplicate_keys_the_last_one_counts() {
    check(r#"{"a":1,"b":{"c":1,"c":[2]},"a":{"x":3}}"#, r#"{"b":{"c":[2]},"a":{"x":3}}"#);
    check(r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#);
}

#[test]
fn a_whole_document_is_written_as_it_was_read_unless_a_field_was_dropped() {
    for exact in [r#"{"price": 1.10, "big": 12345678901234567890123, "e": 1E2}"#, "[1,\n 2.50]", "{}"] {
        assert_eq!(written(&read(format!("\u{feff}\n{exact}\n")).unwrap()), exact);
        assert_eq!(written(&read(exact).unwrap()), exact);
    }
    assert_eq!(written(&read(r#"{"a": 1.10, "b": {"a": 1, "a": 2}}"#).unwrap()), r#"{"a":1.1,"b":{"a":2}}"#);
    assert_eq!(written(&read(r#" "a\u0062" "#).unwrap()), r#""ab""#);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(written(&read("\u{feff}\"a\"").unwrap()), r#""a""#);
    check_refused("\u{feff}\u{feff}1", "expected value at line 1, column 1");
}

#[test]
fn broken_documents_are_refused_with_their_place() {
    check_refused("", "EOF while parsing a value at line 1, column 1");
    check_refused("{\"a\":\n 1,}", "trailing comma at line 2, column 4");
    check_refused("1 2", "trailing characters at line 1, column 3");
    check_refused("{} x", "trailing characters");
    check_refused("[1", "EOF while parsing a list");
    check_refused("'a'", "expected value");
    check_refused("NaN", "expected");
    check_refused("01", "invalid number");
    check_refused("1e999999", "number out of range");
    check_refused("-1e400", "number out of range");
    check_refused("\"\n\"", "control character");
    check_refused(r#""\x""#, "invalid escape");
    check_refused(r#""\ud800""#, "hex escape");
    check_refused(r#""\ud800\u0041""#, "surrogate");
    check_refused(r#""\udc00""#, "surrogate");
    check_refused(b"{\"a\":\n\"\xff\"}", "the document is not UTF-8 at line 2, column 2");
    check_refused(b"\xed\xa0\x80", "not UTF-8");
    check_refused(b"\x00\x00\x00\x00\x01{}", "expected value");
    check_refused("{1:2}", "key must be a string");
}

#[test]
fn depth_size_and_number_of_values_are_bounded() {
    let depth = "lists and objects nest deeper than 64 levels";
    check_refused("[".repeat(65) + &"]".repeat(65), depth);
    check_refused("[".repeat(100_000), depth);
    check_refused("{\"a\":".repeat(100_000), depth);
    check_refused(format!("[{}1]", "1,".repeat(limits::DOCUMENT_NODES)), "more than 1000000 values");
    let small = Limits { bytes: 3, depth: 1, nodes: 2 };
    let refused = |text: &'static str| parse(Bytes::from_static(text.as_bytes()), &small).map_err(|it| it.message);
    assert!(refused("[1]").is_ok());
    assert!(refused("1234").unwrap_err().contains("it may have 3"));
    assert!(refused("[,]").is_err());
    let small = Limits { bytes: 9, depth: 2, nodes: 2 };
    let refused = |text: &'static str| parse(Bytes::from_static(text.as_bytes()), &small).map_err(|it| it.message);
    assert!(refused("[1,2]").unwrap_err().contains("more than 2 values"));
}

#[test]
fn many_duplicate_keys_take_no_time() {
    let fields: Vec<String> = (0..200_000).map(|it| format!(r#""k{}":{it}"#, it % 100_000)).collect();
    let text = format!("{{{}}}", fields.join(","));
    let started = Instant::now();
    let value = read(text).unwrap();
    assert_eq!(value.len(), Some(100_000));
    assert!(started.elapsed() < Duration::from_secs(10));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        prop::num::f64::NORMAL.prop_map(Json::from),
        "\\PC{0,12}".prop_map(Json::from),
        "[\\x00-\\x7f]{0,20}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec(("\\PC{0,5}", inner), 0..6).prop_map(|it| Json::Object(it.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_and_means_what_serde_json_means(json in any_json()) {
        let value = read(json.to_string()).unwrap();
        let text = written(&value);
        prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&text).unwrap(), &json);
        let again = read(&text).unwrap();
        prop_assert_eq!(written(&again), text);
        prop_assert_eq!(again, value);
    }

    #[test]
    fn no_bytes_panic_and_what_is_read_is_what_serde_json_reads(
        text in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), "[\\[\\]{}:,\"0-9a-e.\\\\ -]{0,30}".prop_map(String::into_bytes)]
    ) {
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        match read(&text) {
            Ok(value) => {
                let ours: serde_json::Value = serde_json::from_str(&written(&value)).unwrap();
                prop_assert_eq!(ours, theirs.unwrap());
            }
            Err(_) => prop_assert!(theirs.is_err()),
        }
    }
}
