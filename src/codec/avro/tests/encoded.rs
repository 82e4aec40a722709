//! Values that are written: the library reads them, and they come back as they were.

use std::time::{Duration, Instant};

use apache_avro::types::Value as Avro;
use bytes::Bytes;
use proptest::prelude::*;

use super::{Schema, logical, order, read, schema, text, written};
use crate::codec::avro::{decode, encode};
use crate::codec::json::{self, Limits};
use crate::engine::expression::Budget;
use crate::engine::limits;
use crate::engine::value::Value;

fn value(json: &str) -> Value {
    json::parse(Bytes::copy_from_slice(json.as_bytes()), &Limits::default()).unwrap()
}

fn encoded(schema_text: &str, value: &Value) -> Result<Vec<u8>, String> {
    let mut into = b"before".to_vec();
    let result = encode(&schema(schema_text), value, &mut Budget::new(limits::EXECUTION_BUDGET), &mut into);
    assert_eq!(&into[..6], b"before");
    if result.is_err() {
        assert_eq!(into.len(), 6, "nothing is left of what does not fit");
    }
    result.map(|()| into.split_off(6))
}

/// JSON is written as the library writes this value.
#[track_caller]
fn check(schema_text: &str, json: &str, expected: Avro) {
    assert_eq!(encoded(schema_text, &value(json)), Ok(written(schema_text, expected)), "{schema_text} {json}");
}

#[track_caller]
fn refused(schema_text: &str, json: &str, words: &str) {
    let message = encoded(schema_text, &value(json)).unwrap_err();
    assert!(message.contains(words), "{schema_text} {json}: {message}");
}

fn decimal(precision: u32, scale: u32) -> String {
    format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#)
}

#[test]
fn plain_types_are_written_as_the_library_writes_them() {
    check(r#""null""#, "null", Avro::Null);
    check(r#""boolean""#, "true", Avro::Boolean(true));
    check(r#""int""#, "-2147483648", Avro::Int(i32::MIN));
    check(r#""long""#, "9223372036854775807", Avro::Long(i64::MAX));
    check(r#""long""#, "-9223372036854775808", Avro::Long(i64::MIN));
    check(r#""long""#, "3.0", Avro::Long(3));
    check(r#""float""#, "0.5", Avro::Float(0.5));
    check(r#""double""#, "7", Avro::Double(7.0));
    check(r#""double""#, r#""-Infinity""#, Avro::Double(f64::NEG_INFINITY));
    check(r#""string""#, r#""ä\"\n""#, Avro::String("ä\"\n".into()));
    check(r#""bytes""#, r#""AP8B""#, Avro::Bytes(vec![0, 255, 1]));
    check(r#"{"type":"fixed","name":"f","size":2}"#, r#""AQI=""#, Avro::Fixed(2, vec![1, 2]));
    check(r#"{"type":"enum","name":"e","symbols":["A","B"]}"#, r#""B""#, Avro::Enum(1, "B".into()));
    check(r#"{"type":"array","items":"int"}"#, "[1,2]", Avro::Array(vec![Avro::Int(1), Avro::Int(2)]));
    check(r#"{"type":"array","items":"int"}"#, "[]", Avro::Array(vec![]));
    check(r#"{"type":"map","values":"int"}"#, r#"{"a":1}"#, Avro::Map([("a".into(), Avro::Int(1))].into()));
    let bytes = encoded(r#""bytes""#, &Value::Bytes(Bytes::from_static(&[1, 2])));
    assert_eq!(bytes, Ok(vec![4, 1, 2]), "bytes are bytes");
}

#[test]
fn logical_types_are_written_of_what_expressions_have() {
    check(&logical("int", "date"), r#""1969-12-31""#, Avro::Date(-1));
    check(&logical("int", "date"), "20000", Avro::Date(20_000));
    check(&logical("int", "time-millis"), r#""01:00:00.123""#, Avro::TimeMillis(3_600_123));
    check(&logical("int", "time-millis"), r#""01:00:00""#, Avro::TimeMillis(3_600_000));
    check(&logical("long", "time-micros"), r#""00:00:00.000001""#, Avro::TimeMicros(1));
    check(&logical("long", "timestamp-millis"), r#""1969-12-31T23:59:59.999Z""#, Avro::TimestampMillis(-1));
    check(
        &logical("long", "timestamp-millis"),
        r#""2024-02-29T13:00:00.0019+01:00""#,
        Avro::TimestampMillis(1_709_208_000_001),
    );
    check(&logical("long", "timestamp-nanos"), r#""1970-01-01T00:00:00.000000001Z""#, Avro::TimestampNanos(1));
    check(&logical("long", "local-timestamp-millis"), r#""1970-01-01T00:00:01""#, Avro::LocalTimestampMillis(1_000));
    let uuid = "936da01f-9abd-4d9d-80c7-02af85c822a8";
    let fixed = r#"{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}"#;
    check(fixed, &format!("\"{uuid}\""), Avro::Uuid(uuid.parse().unwrap()));
    let duration = r#"{"type":"fixed","name":"d","size":12,"logicalType":"duration"}"#;
    let span = |text: &str| encoded(duration, &Value::text(text));
    assert_eq!(span("P14M3DT1.500S"), Ok(vec![14, 0, 0, 0, 3, 0, 0, 0, 0xdc, 5, 0, 0]));
    assert_eq!(span("P1Y1W"), Ok(vec![12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(span("PT1M"), Ok(vec![0, 0, 0, 0, 0, 0, 0, 0, 0x60, 0xea, 0, 0]));
    let moment = |name: &str, nanos| encoded(&logical("long", name), &Value::Timestamp(nanos));
    assert_eq!(moment("timestamp-millis", -1), Ok(vec![1]), "cut to what was before");
    assert_eq!(encoded(&logical("int", "date"), &Value::Timestamp(-1)), Ok(vec![1]));
}

#[test]
fn decimals_are_exact() {
    let bytes = |bytes: &[u8]| Avro::Decimal(apache_avro::Decimal::from(bytes));
    check(&decimal(15, 2), "12.34", bytes(&[4, 210]));
    check(&decimal(15, 2), r#""-0.01""#, bytes(&[0xff]));
    check(&decimal(15, 2), "0", bytes(&[0]));
    check(&decimal(15, 2), r#""1.5000""#, bytes(&[0, 150]));
    check(&decimal(15, 0), "128", bytes(&[0, 128]));
    check(&decimal(15, 0), "-128", bytes(&[128]));
    check(&decimal(39, 1), r#""-17014118346046923173168730371588410572.8""#, bytes(&i128::MIN.to_be_bytes()));
    let fixed = r#"{"type":{"type":"fixed","name":"d","size":3},"logicalType":"decimal","precision":5,"scale":1}"#;
    check(fixed, r#""-0.2""#, bytes(&[0xff, 0xff, 0xfe]));
    refused(&decimal(4, 2), "1.005", "has more than the 2 digits behind the point");
    refused(&decimal(4, 2), "100", "has more than the 4 digits of its type");
    refused(&decimal(4, 2), r#""1e2""#, "`1e2` is not a decimal like -12.50");
    refused(&decimal(4, 2), r#""""#, "is not a decimal");
}

#[test]
fn moments_far_away_come_back() {
    for ms in [-68_718_197_538_192, 300_000_000_000_000, -62_167_219_200_001, 253_402_300_800_000] {
        for name in ["timestamp-millis", "local-timestamp-millis"] {
            let text = logical("long", name);
            let mut datum = Vec::new();
            crate::codec::avro::datum::long(&mut datum, ms);
            let value = decode(&schema(&text), &Bytes::from(datum.clone())).unwrap();
            assert_eq!(encoded(&text, &value), Ok(datum), "{name} {value:?}");
        }
    }
    for days in [-1_000_000, 5_000_000] {
        let text = logical("int", "date");
        let datum = written(&text, Avro::Date(days));
        let value = decode(&schema(&text), &Bytes::from(datum.clone())).unwrap();
        assert_eq!(encoded(&text, &value), Ok(datum), "{value:?}");
    }
}

proptest! {
    #[test]
    fn a_decimal_comes_back(number: i128, scale in 0_usize..45) {
        let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
        let (whole, behind) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        let shown = format!("{}{whole}{point}{behind}", if number < 0 { "-" } else { "" });
        let schema_text = decimal(60, scale as u32);
        let datum = encoded(&schema_text, &Value::text(&*shown)).unwrap();
        prop_assert_eq!(read(&schema(&schema_text), datum.clone()), Ok(format!("\"{shown}\"")));
        let big = logical("bytes", "big-decimal");
        let datum = encoded(&big, &Value::text(&*shown)).unwrap();
        let back = read(&schema(&big), datum).unwrap();
        prop_assert_eq!(back.trim_matches('"'), shown);
    }
}

const LIST: &str = r#"{"type":"record","name":"List","fields":[{"name":"next","type":["null","List"]}]}"#;

#[test]
fn what_does_not_fit_says_what_and_where() {
    let record = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":
        {"type":"record","name":"I","fields":[{"name":"n","type":"int"}]}}},{"name":"s","type":["null","string"],"default":null}]}"#;
    refused(record, r#"{"a":[{"n":1},{"n":"x"}]}"#, "`x` is not a whole number, as the schema has it, in /a/1/n");
    refused(record, r#"{"a":[{"n":1.5}]}"#, "1.5 is no whole number, in /a/0/n");
    refused(record, r#"{"a":[{"n":3000000000}]}"#, "3000000000 is larger than any int");
    refused(record, r#"{"a":[{}]}"#, "the field is missing, and has no default, in /a/0/n");
    refused(record, r#"{"a":[],"b":1}"#, "the schema has no field `b`; it has a, s");
    refused(record, r#"{"a":[],"s":1}"#, "1 is not a string, as the schema has it, in /s");
    refused(record, "[]", "a list is not an object");
    refused(r#"["int","string"]"#, "true", "a truth value fits none of the 2 types of its union");
    refused(r#"{"type":"enum","name":"e","symbols":["A","B"]}"#, r#""C""#, "`C` is none of the symbols A, B");
    refused(r#""bytes""#, r#""~""#, "the text is no base64");
    refused(r#"{"type":"fixed","name":"f","size":2}"#, r#""AQ==""#, "there are 1 bytes, where the schema wants 2");
    refused(r#""float""#, "1e39", "is larger than any float");
    refused(r#""null""#, "0", "0 is not null");
    for (kind, name, wrong) in [
        ("int", "date", "2024-02-30"),
        ("int", "time-millis", "24:00:00"),
        ("long", "timestamp-millis", "2024-02-29T12:00:00"),
        ("long", "local-timestamp-millis", "2024-02-29T12:00:00Z"),
    ] {
        refused(&logical(kind, name), &format!("\"{wrong}\""), &format!("`{wrong}` is not a"));
    }
    let duration = r#"{"type":"fixed","name":"d","size":12,"logicalType":"duration"}"#;
    for wrong in ["", "P", "P1", "1D", "PT1D", "P1S", "P-1D", "PT1.2M", "P99999999999Y", "PTT1S", "PT1.xS", "PT1.2.3S"]
    {
        refused(duration, &format!("\"{wrong}\""), "is not a duration");
    }
}

#[test]
fn a_field_that_is_not_given_is_its_default() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"id","type":"string"},
        {"name":"b","type":"bytes","default":"\u00ff\u0001"},
        {"name":"u","type":["int","null"],"default":7},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"},"default":"B"},
        {"name":"r","type":{"type":"record","name":"I","fields":[{"name":"n","type":"int","default":1},{"name":"m","type":"int"}]},
         "default":{"m":2}},
        {"name":"l","type":{"type":"array","items":"int"},"default":[]}]}"#;
    let full = r#"{"id":"x","b":"/wE=","u":7,"e":"B","r":{"n":1,"m":2},"l":[]}"#;
    let datum = encoded(text, &value(r#"{"id":"x"}"#)).unwrap();
    assert_eq!(read(&schema(text), datum.clone()).as_deref(), Ok(full));
    assert_eq!(encoded(text, &value(full)), Ok(datum));
}

#[test]
fn the_default_of_a_logical_type_is_its_bytes() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2},"default":"0"},
        {"name":"f","type":{"type":{"type":"fixed","name":"F","size":2},"logicalType":"decimal","precision":4,"scale":2},
         "default":"\u0001\u0000"},
        {"name":"t","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"},
         "default":"\u0001\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000"},
        {"name":"u","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"},
         "default":"0123456789abcdef"}]}"#;
    let datum = encoded(text, &value("{}")).unwrap();
    let read = read(&schema(text), datum).unwrap();
    assert_eq!(read, r#"{"d":0.48,"f":2.56,"t":"P1M","u":"30313233-3435-3637-3839-616263646566"}"#);
}

#[test]
fn of_a_union_the_branch_is_taken_that_a_value_is() {
    let chosen = |branches: &str, json: &str| encoded(branches, &value(json)).unwrap()[0] / 2;
    let decimal = decimal(9, 2);
    assert_eq!(chosen(r#"["null","bytes","string"]"#, r#""test""#), 2, "which is base64, too");
    assert_eq!(chosen(r#"["bytes","null"]"#, r#""test""#), 0);
    assert_eq!(chosen(&format!(r#"[{decimal},"string"]"#), r#""007""#), 1);
    assert_eq!(chosen(&format!(r#"[{decimal},"null"]"#), r#""007""#), 0);
    assert_eq!(chosen(r#"["float","double"]"#, "0.1"), 1);
    assert_eq!(chosen(r#"["double","long"]"#, "9007199254740993"), 1);
    assert_eq!(chosen(r#"["int","double"]"#, "3.0"), 1);
    assert_eq!(chosen(r#"["int","long"]"#, "3000000000"), 1);
    assert_eq!(
        chosen(
            r#"[{"type":"map","values":"int"},{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}]"#,
            r#"{"a":1}"#
        ),
        1
    );
    let bytes = Value::Bytes(Bytes::from_static(&[1]));
    assert_eq!(encoded(r#"["string","bytes"]"#, &bytes), Ok(vec![2, 2, 1]));
    refused(r#"["null","int","string"]"#, "1.5", "1.5 is no whole number");
}

#[test]
fn what_a_number_or_a_type_cannot_hold_is_refused() {
    refused(
        &decimal(39, 2),
        "12345678901234567890.12",
        "has more digits than a number of JSON holds exactly; pass it as text",
    );
    let exact = encoded(&decimal(39, 2), &Value::text("12345678901234567890.12")).unwrap();
    assert_eq!(read(&schema(&decimal(39, 2)), exact).as_deref(), Ok(r#""12345678901234567890.12""#));
    let huge =
        r#"{"type":{"type":"fixed","name":"F","size":2147483647},"logicalType":"decimal","precision":9,"scale":0}"#;
    refused(huge, "1", "the type of a decimal has more than");
    refused(&logical("bytes", "big-decimal"), &format!("\"{}\"", "9".repeat(400)), "has more than 300 digits");
}

#[test]
fn many_fields_are_looked_through_once() {
    let fields: Vec<String> = (0..5_000).map(|it| format!(r#"{{"name":"f{it}","type":"int"}}"#)).collect();
    let text = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
    let given: Vec<String> = (0..5_000).rev().map(|it| format!(r#""f{it}":{it}"#)).collect();
    let (schema, value) = (schema(&text), value(&format!("{{{}}}", given.join(","))));
    let started = Instant::now();
    encode(&schema, &value, &mut Budget::new(limits::EXECUTION_BUDGET), &mut Vec::new()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn unions_within_each_other_end() {
    // Of each level two branches are tried, and of each of them all levels below.
    let level = |number: usize, inner: &str| {
        format!(
            r#"[{{"type":"record","name":"A{number}","fields":[{{"name":"x","type":{inner}}}]}},
                {{"type":"record","name":"B{number}","fields":[{{"name":"x","type":"{}"}}]}}]"#,
            "string"
        )
    };
    let mut text = r#""int""#.to_owned();
    let mut json = r#""no""#.to_owned();
    for number in 0..25 {
        text = level(number, &text);
        json = format!(r#"{{"x":{json}}}"#);
    }
    assert!(encoded(&text, &value(&json)).is_ok(), "the innermost is a string of a B");
    let started = Instant::now();
    let list = (0..60).fold("null".to_owned(), |inner, _| format!(r#"{{"next":{inner}}}"#));
    let datum = encoded(LIST, &value(&list)).unwrap();
    assert_eq!(read(&schema(LIST), datum).as_deref(), Ok(&*list), "a union is no level");
    let deep = (0..110).fold(Value::Null, |inner, _| Value::map(vec![("next".into(), inner)]));
    assert!(encoded(LIST, &deep).unwrap_err().contains("nests deeper than 100 levels"));
    // One that fits nowhere is tried twice as often on every level.
    let twice = r#"{"type":"record","name":"T","fields":[{"name":"next","type":["null","string","T",
        {"type":"record","name":"U","fields":[{"name":"next","type":["T","U","int"]}]}]}]}"#;
    let list = (0..45).fold("true".to_owned(), |inner, _| format!(r#"{{"next":{inner}}}"#));
    let message = encoded(twice, &value(&list)).unwrap_err();
    assert!(message.contains("too much work"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn an_order_that_the_library_has_written_is_written_again_byte_by_byte() {
    for amount in [None, Some(12.5)] {
        let datum = written(super::ORDER, order("o-1", amount, 3));
        let schema = schema(super::ORDER);
        let value = decode(&schema, &Bytes::from(datum.clone())).unwrap();
        assert_eq!(encoded(super::ORDER, &value), Ok(datum));
    }
}

/// A schema, and JSON that fits it.
fn pairs() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|it| (r#""boolean""#.to_owned(), it.to_string())),
        any::<i32>().prop_map(|it| (r#""int""#.to_owned(), it.to_string())),
        any::<i64>().prop_map(|it| (r#""long""#.to_owned(), it.to_string())),
        (-1e6..1e6_f64).prop_map(|it| (r#""double""#.to_owned(), format!("{it:?}"))),
        "[a-zA-Zäß ]{0,8}".prop_map(|it| (r#""string""#.to_owned(), format!("\"{it}\""))),
        Just((r#"["null","string"]"#.to_owned(), "null".to_owned())),
        (-100_000..100_000_i64).prop_map(|days| {
            let day = chrono::DateTime::from_timestamp(days * 86_400, 0).unwrap().format("%Y-%m-%d");
            (logical("int", "date"), format!("\"{day}\""))
        }),
        (0..253_402_300_799_999_i64).prop_map(|ms| {
            let time = chrono::DateTime::from_timestamp_millis(ms).unwrap();
            let text = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            (logical("long", "timestamp-millis"), format!("\"{text}\""))
        }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let items = (inner.clone(), 0..4_usize).prop_map(|((schema, json), count)| {
            (format!(r#"{{"type":"array","items":{schema}}}"#), format!("[{}]", vec![json; count].join(",")))
        });
        let fields = prop::collection::vec(inner.clone(), 0..5).prop_map(|fields| {
            let schema = fields.iter().enumerate().map(|(at, (it, _))| format!(r#"{{"name":"f{at}","type":{it}}}"#));
            let json = fields.iter().enumerate().map(|(at, (_, it))| format!(r#""f{at}":{it}"#));
            // The name is replaced by one of its own below: names come once in a schema.
            let schema =
                format!(r#"{{"type":"record","name":"@","fields":[{}]}}"#, schema.collect::<Vec<_>>().join(","));
            (schema, format!("{{{}}}", json.collect::<Vec<_>>().join(",")))
        });
        let values = inner.prop_map(|(schema, json)| {
            (format!(r#"{{"type":"map","values":{schema}}}"#), format!(r#"{{"k":{json}}}"#))
        });
        prop_oneof![items, fields, values]
    })
    .prop_map(|(schema, json)| {
        let mut parts = schema.split('@');
        let first = parts.next().unwrap_or_default().to_owned();
        (parts.enumerate().fold(first, |schema, (number, part)| format!("{schema}R{number}{part}")), json)
    })
}

proptest! {
    #[test]
    fn what_is_written_the_library_reads_and_comes_back((schema_text, json) in pairs()) {
        let value = value(&json);
        let datum = encoded(&schema_text, &value).unwrap();
        let library = Schema::parse_str(&schema_text).unwrap();
        let mut rest = &datum[..];
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&library).build().unwrap();
        let by_library = reader.read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert!(by_library.validate(&library));
        prop_assert_eq!(read(&schema(&schema_text), datum).unwrap(), text(&value));
    }
}
