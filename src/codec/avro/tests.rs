//! Data that the library has written, data that nobody should have, and schemas.

mod encoded;

use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use bytes::Bytes;
use proptest::prelude::*;

use super::{WriterSchema, decode};
use crate::codec::json;
use crate::engine::value::Value;

fn schema(text: &str) -> WriterSchema {
    WriterSchema::parse(text, &[]).unwrap()
}

/// What a datum is as JSON.
fn read(schema: &WriterSchema, datum: impl Into<Bytes>) -> Result<String, String> {
    decode(schema, &datum.into()).map(|value| text(&value))
}

fn text(value: &Value) -> String {
    let mut text = Vec::new();
    json::write(value, &mut text);
    String::from_utf8(text).unwrap()
}

fn written(text: &str, value: Avro) -> Vec<u8> {
    let schema = Schema::parse_str(text).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

/// A value that the library writes is this JSON.
fn check(schema_text: &str, value: Avro, expected: &str) {
    assert_eq!(read(&schema(schema_text), written(schema_text, value)).as_deref(), Ok(expected), "{schema_text}");
}

fn logical(kind: &str, name: &str) -> String {
    format!(r#"{{"type":"{kind}","logicalType":"{name}"}}"#)
}

#[test]
fn plain_types_are_what_they_are_called() {
    check(r#""null""#, Avro::Null, "null");
    check(r#""boolean""#, Avro::Boolean(true), "true");
    check(r#""int""#, Avro::Int(i32::MIN), "-2147483648");
    check(r#""long""#, Avro::Long(i64::MIN), "-9223372036854775808");
    check(r#""long""#, Avro::Long(i64::MAX), "9223372036854775807");
    check(r#""float""#, Avro::Float(0.5), "0.5");
    check(r#""double""#, Avro::Double(-1e300), "-1e300");
    check(r#""double""#, Avro::Double(f64::NAN), r#""NaN""#);
    check(r#""float""#, Avro::Float(f32::NEG_INFINITY), r#""-Infinity""#);
    check(r#""string""#, Avro::String("ä\"\n".into()), r#""ä\"\n""#);
    check(r#""bytes""#, Avro::Bytes(vec![0, 255, 1]), r#""AP8B""#);
    check(r#"{"type":"fixed","name":"f","size":2}"#, Avro::Fixed(2, vec![1, 2]), r#""AQI=""#);
    check(r#"{"type":"enum","name":"e","symbols":["A","B"]}"#, Avro::Enum(1, "B".into()), r#""B""#);
    check(r#"{"type":"array","items":"int"}"#, Avro::Array(vec![Avro::Int(1), Avro::Int(2)]), "[1,2]");
    check(r#"{"type":"map","values":"int"}"#, Avro::Map([("a".into(), Avro::Int(1))].into()), r#"{"a":1}"#);
    check(r#"["null","string"]"#, Avro::Union(1, Box::new(Avro::String("x".into()))), r#""x""#);
    check(r#"["null","string"]"#, Avro::Union(0, Box::new(Avro::Null)), "null");
}

#[test]
fn logical_types_are_what_a_json_event_would_have() {
    check(&logical("int", "date"), Avro::Date(20_000), r#""2024-10-04""#);
    check(&logical("int", "date"), Avro::Date(-1), r#""1969-12-31""#);
    check(&logical("int", "time-millis"), Avro::TimeMillis(3_600_123), r#""01:00:00.123""#);
    check(&logical("long", "time-micros"), Avro::TimeMicros(1), r#""00:00:00.000001""#);
    check(&logical("long", "timestamp-millis"), Avro::TimestampMillis(-1), r#""1969-12-31T23:59:59.999Z""#);
    let end_of_time = 253_402_300_799_000;
    check(&logical("long", "timestamp-millis"), Avro::TimestampMillis(end_of_time), r#""9999-12-31T23:59:59.000Z""#);
    check(&logical("long", "timestamp-micros"), Avro::TimestampMicros(1_000_001), r#""1970-01-01T00:00:01.000001Z""#);
    check(&logical("long", "timestamp-nanos"), Avro::TimestampNanos(1), r#""1970-01-01T00:00:00.000000001Z""#);
    check(&logical("long", "local-timestamp-millis"), Avro::LocalTimestampMillis(0), r#""1970-01-01T00:00:00.000""#);
    let uuid = "936da01f-9abd-4d9d-80c7-02af85c822a8";
    check(&logical("string", "uuid"), Avro::Uuid(uuid.parse().unwrap()), &format!("\"{uuid}\""));
    let fixed = r#"{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}"#;
    check(fixed, Avro::Uuid(uuid.parse().unwrap()), &format!("\"{uuid}\""));
    let duration = schema(r#"{"type":"fixed","name":"d","size":12,"logicalType":"duration"}"#);
    let read_duration = |bytes: [u8; 12]| read(&duration, bytes.to_vec()).unwrap();
    assert_eq!(read_duration([14, 0, 0, 0, 3, 0, 0, 0, 0xdc, 5, 0, 0]), r#""P14M3DT1.500S""#);
    assert_eq!(read_duration([0; 12]), r#""PT0S""#);
    assert_eq!(read_duration([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), r#""P1D""#);
}

#[test]
fn decimals_are_numbers_where_a_double_holds_them_and_exact_text_where_not() {
    let of = |precision: u32, scale: u32| {
        format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#)
    };
    let unscaled = |bytes: &[u8]| Avro::Decimal(Decimal::from(bytes));
    check(&of(15, 2), unscaled(&[4, 210]), "12.34");
    check(&of(15, 2), unscaled(&[0xff]), "-0.01");
    check(&of(15, 0), unscaled(&[0]), "0");
    check(&of(5, 0), unscaled(&[4, 210]), "1234");
    check(&of(4, 3), unscaled(&[1]), "0.001");
    let message = read(&schema(&of(3, 2)), [vec![16], vec![0x7f; 8]].concat()).unwrap_err();
    assert!(message.contains("has more digits than its precision"), "{message}");
    check(&of(16, 2), unscaled(&[4, 210]), r#""12.34""#);
    check(&of(38, 3), unscaled(&[0x80]), r#""-0.128""#);
    let large = i128::MIN.to_be_bytes();
    check(&of(39, 1), unscaled(&large), r#""-17014118346046923173168730371588410572.8""#);
    let fixed = r#"{"type":{"type":"fixed","name":"d","size":3},"logicalType":"decimal","precision":20,"scale":1}"#;
    check(fixed, unscaled(&[0xff, 0xff, 0xfe]), r#""-0.2""#);
}

proptest! {
    #[test]
    fn a_decimal_is_its_number(number: i128, scale in 0_u32..40) {
        let schema = schema(&format!(r#"{{"type":"bytes","logicalType":"decimal","precision":40,"scale":{scale}}}"#));
        let datum = [vec![32], number.to_be_bytes().to_vec()].concat();
        let shown = read(&schema, datum).unwrap();
        let shown = shown.trim_matches('"');
        let (whole, behind) = shown.split_once('.').unwrap_or((shown, ""));
        prop_assert_eq!(behind.len(), scale as usize);
        prop_assert!(whole.trim_start_matches('-') == "0" || !whole.trim_start_matches('-').starts_with('0'));
        prop_assert_eq!(format!("{whole}{behind}").parse::<i128>().unwrap(), number);
    }
}

const ORDER: &str = r#"{"type":"record","name":"OrderPaid","namespace":"com.example","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":["null","double"],"default":null},
    {"name":"customer","type":{"type":"record","name":"Customer","fields":[
        {"name":"name","type":"string"},
        {"name":"tier","type":{"type":"enum","name":"Tier","symbols":["GOLD","SILVER"]}}]}},
    {"name":"others","type":{"type":"array","items":"Customer"}},
    {"name":"tiers","type":{"type":"map","values":"com.example.Tier"}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

fn customer(name: &str, tier: u32) -> Avro {
    let tier = Avro::Enum(tier, ["GOLD", "SILVER"][tier as usize].into());
    Avro::Record(vec![("name".into(), Avro::String(name.into())), ("tier".into(), tier)])
}

fn order(id: &str, amount: Option<f64>, others: usize) -> Avro {
    let amount = match amount {
        Some(amount) => Avro::Union(1, Box::new(Avro::Double(amount))),
        None => Avro::Union(0, Box::new(Avro::Null)),
    };
    Avro::Record(vec![
        ("id".into(), Avro::String(id.into())),
        ("amount".into(), amount),
        ("customer".into(), customer("Ann", 0)),
        ("others".into(), Avro::Array((0..others).map(|_| customer("Bob", 1)).collect())),
        ("tiers".into(), Avro::Map([("b".into(), Avro::Enum(0, "GOLD".into()))].into())),
        ("at".into(), Avro::TimestampMillis(1)),
    ])
}

#[test]
fn a_record_is_an_object_with_its_fields_in_order() {
    let expected = r#"{"id":"o-1","amount":12.5,"customer":{"name":"Ann","tier":"GOLD"},"others":[{"name":"Bob","tier":"SILVER"},{"name":"Bob","tier":"SILVER"}],"tiers":{"b":"GOLD"},"at":"1970-01-01T00:00:00.001Z"}"#;
    check(ORDER, order("o-1", Some(12.5), 2), expected);
    let schema = schema(ORDER);
    assert_eq!(schema.name().map(|name| &**name), Some("com.example.OrderPaid"));
    let value = decode(&schema, &written(ORDER, order("o-1", None, 1)).into()).unwrap();
    let customer = value.get("others").unwrap();
    assert_eq!(text(&customer), r#"[{"name":"Bob","tier":"SILVER"}]"#, "names that came before are the same names");
    assert!(value.weight() > 100);
}

#[test]
fn a_type_may_be_defined_by_what_the_schema_refers_to() {
    let customer =
        r#"{"type":"record","name":"Customer","namespace":"com.example","fields":[{"name":"name","type":"string"}]}"#;
    let order = r#"{"type":"record","name":"Order","namespace":"com.shop","fields":[
        {"name":"from","type":"com.example.Customer"},{"name":"to","type":"com.example.Customer"}]}"#;
    let schema = WriterSchema::parse(order, &[customer]).unwrap();
    assert_eq!(schema.name().map(|name| &**name), Some("com.shop.Order"));
    assert_eq!(read(&schema, &b"\x02a\x02b"[..]).unwrap(), r#"{"from":{"name":"a"},"to":{"name":"b"}}"#);
    let message = WriterSchema::parse(order, &[]).unwrap_err().to_string();
    assert!(message.contains("com.example.Customer"), "{message}");
}

/// A list whose items are lists.
const LINKED: &str =
    r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"n","type":["null","L"]}]}"#;

#[test]
fn records_may_contain_themselves_as_deep_as_documents_nest() {
    let schema = schema(LINKED);
    assert_eq!(read(&schema, vec![2, 2, 4, 0]).unwrap(), r#"{"v":1,"n":{"v":2,"n":null}}"#);
    let deep = |levels: usize| [[2, 2].repeat(levels - 1), vec![2, 0]].concat();
    assert!(read(&schema, deep(64)).is_ok());
    let message = read(&schema, deep(65)).unwrap_err();
    assert!(message.contains("nest deeper than 64 levels") && message.contains("/n/n"), "{message}");
    assert!(read(&schema, deep(1_000_000)).is_err());
}

#[test]
fn schemas_that_could_not_be_read_within_limits_are_refused() {
    let refused = |text: &str, words: &str| {
        let message = WriterSchema::parse(text, &[]).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refused("", "cannot be read");
    refused("{", "cannot be read");
    refused(r#""float64""#, "float64");
    refused(r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#, "contains itself in any case");
    let nested =
        |levels: usize| format!(r#"{}"int"{}"#, r#"{"type":"array","items":"#.repeat(levels), "}".repeat(levels));
    assert!(WriterSchema::parse(&nested(64), &[]).is_ok());
    refused(&nested(65), "nests deeper than 64 levels");
    refused(&nested(500), "nests 500 brackets deep");
    refused(&"[".repeat(100_000), "brackets deep");
    refused(
        &format!(r#"{{"type":"enum","name":"e","doc":"{}","symbols":["A"]}}"#, "x".repeat(1 << 20)),
        "bytes; it may have",
    );
    let symbols: Vec<String> = (0..60_000).map(|number| format!("\"S{number}\"")).collect();
    let fields = format!(
        r#"{{"type":"record","name":"r","fields":[{{"name":"f","type":{{"type":"enum","name":"e","symbols":[{}]}}}}]}}"#,
        symbols.join(",")
    );
    refused(&fields, "more than 50000 types, fields and symbols");
    refused(r#"{"type":"bytes","logicalType":"decimal","precision":4000,"scale":2000}"#, "has the scale 2000");
}

#[test]
fn data_that_nobody_should_have_say_what_they_are() {
    let refused = |schema_text: &str, datum: &[u8], words: &str| {
        let message = read(&schema(schema_text), datum.to_vec()).unwrap_err();
        assert!(message.contains(words), "{message}");
    };
    refused(r#""int""#, &[], "ends too early: 0 bytes are left, and more are needed, at byte 0");
    refused(r#""int""#, &[2, 2, 2, 2], "3 bytes are behind it");
    refused(r#""int""#, &[0xfe, 0xff, 0xff, 0xff, 0xff, 1], "larger than any");
    refused(r#""long""#, &[0xff; 11], "more than 64 bits");
    refused(r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "more than 64 bits");
    refused(r#""boolean""#, &[2], "neither 0 nor 1");
    refused(r#""string""#, &[2, 0xff], "not UTF-8");
    refused(r#""string""#, &[1], "-1 bytes are none");
    refused(r#""bytes""#, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "ends too early");
    refused(r#"["null","int"]"#, &[4], "has none with the number 2");
    refused(r#"["null","int"]"#, &[1], "has none with the number -1");
    refused(r#"{"type":"enum","name":"e","symbols":["A"]}"#, &[2], "1 symbols has none with the number 1");
    refused(r#"{"type":"array","items":"int"}"#, &[0xfe, 0xff, 0xff, 0xff, 0x0f], "more items, but there are 0 bytes");
    refused(r#"{"type":"array","items":"int"}"#, &[1, 2, 2], "ends too early");
    refused(r#"{"type":"array","items":"null"}"#, &[0xd2, 0x0f], "1000 items that take no bytes");
    refused(r#"{"type":"map","values":"null"}"#, &[0xfe, 0xff, 0xff, 0xff, 0x0f], "more items");
    refused(&logical("int", "date"), &[0xfe, 0xff, 0xff, 0xff, 0x0f], "a date is 2147483647");
    refused(&logical("int", "time-millis"), &[1], "a time of day is -1");
    let long = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    refused(&logical("long", "timestamp-millis"), &long, "a timestamp is 9223372036854775807");
    refused(ORDER, &[2, b'a', 2, 0, 0], "in /amount");
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#;
    refused(decimal, &[vec![0x82, 2], vec![1; 129]].concat(), "has 129 bytes; it may have 128");
}

#[test]
fn small_data_cannot_claim_much() {
    // Nested lists of nulls: each block is as long as may be.
    let nulls = r#"{"type":"array","items":{"type":"array","items":"null"}}"#;
    let block = [vec![0xd0, 0x0f], vec![0]].concat();
    let datum = [vec![0x80, 0x89, 0x7a], block.repeat(1_000_000), vec![0]].concat();
    let started = Instant::now();
    let message = read(&schema(nulls), datum).unwrap_err();
    assert!(message.contains("more than 1000000 values and names"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // A record of nothing but long names.
    let name = "n".repeat(500);
    let fields: Vec<String> = (0..1_000).map(|it| format!(r#"{{"name":"{name}{it}","type":"null"}}"#)).collect();
    let wide = format!(
        r#"{{"type":"array","items":{{"type":"record","name":"r","fields":[{{"name":"b","type":"boolean"}},{}]}}}}"#,
        fields.join(",")
    );
    let items = 400_u32;
    let datum = [vec![0xa0, 0x06], vec![0; items as usize], vec![0]].concat();
    let value = decode(&schema(&wide), &datum.into()).unwrap();
    let Value::Node(_) = &value else { panic!("{value:?}") };
    assert!(format!("{value:?}").len() < 40_000_000, "names are held once");
}

#[test]
fn names_stay_what_they_are_behind_a_map_that_names_a_field_twice() {
    let schema = schema(
        r#"{"type":"array","items":{"type":"map","values":["null",{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}]}}"#,
    );
    // [{"a": null, "a": {"x": 1}}, {"b": {"x": 2}}]
    let datum = [4, 4, 2, b'a', 0, 2, b'a', 2, 2, 0, 2, 2, b'b', 2, 4, 0, 0];
    assert_eq!(read(&schema, datum.to_vec()).unwrap(), r#"[{"a":{"x":1}},{"b":{"x":2}}]"#);
}

#[test]
fn small_numbers_cannot_become_much_text() {
    let decimals = r#"{"type":"array","items":{"type":"bytes","logicalType":"decimal","precision":1000,"scale":1000}}"#;
    let datum = [vec![0x80, 0x89, 0x7a], vec![0; 1_000_000], vec![0]].concat();
    let message = read(&schema(decimals), datum).unwrap_err();
    assert!(message.contains("bytes of text"), "{message}");
}

#[test]
fn defaults_and_namespaces_of_older_schemas_are_no_matter() {
    let odd = r#"{"type":"record","name":"A","namespace":"com.x","fields":[
        {"name":"n","type":"int","default":"0"},
        {"name":"b","type":{"type":"record","name":"B","namespace":"","fields":[{"name":"s","type":"string"}]}},
        {"name":"c","type":{"type":"record","name":"com.x.B","fields":[{"name":"i","type":"int"}]}},
        {"name":"d","type":"B"}]}"#;
    let found = WriterSchema::parse(odd, &[]).map(|schema| read(&schema, vec![2, 2, b'q', 4, 6]));
    assert_eq!(found.unwrap().unwrap(), r#"{"n":1,"b":{"s":"q"},"c":{"i":2},"d":{"i":3}}"#);
}

#[test]
fn schemas_that_refer_to_each_other_in_a_long_chain_end_no_process() {
    let nested = |name: &str, inner: &str, levels: usize| {
        let (open, close) = (r#"{"type":"array","items":"#.repeat(levels), "}".repeat(levels));
        format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"f","type":{open}{inner}{close}}}]}}"#)
    };
    let chain = |count: usize, levels: usize| {
        let texts: Vec<String> = (0..count)
            .map(|number| {
                let inner = if number + 1 == count { "\"int\"".to_owned() } else { format!("\"R{}\"", number + 1) };
                nested(&format!("R{number}"), &inner, levels)
            })
            .collect();
        let references: Vec<&str> = texts[1..].iter().map(String::as_str).collect();
        WriterSchema::parse(&texts[0], &references)
    };
    assert!(chain(12, 1).is_ok());
    let message = chain(14, 60).unwrap_err().to_string();
    assert!(message.contains("nests deeper than 64 levels"), "{message}");
    let message = chain(64, 60).unwrap_err().to_string();
    assert!(message.contains("brackets deep together"), "{message}");
}

/// Schemas, and a datum of each.
fn samples() -> Vec<(WriterSchema, Vec<u8>)> {
    let union = r#"{"type":"array","items":["null","int","string",{"type":"map","values":"double"}]}"#;
    let mixed = Avro::Array(vec![
        Avro::Union(1, Box::new(Avro::Int(7))),
        Avro::Union(2, Box::new(Avro::String("seven".into()))),
        Avro::Union(3, Box::new(Avro::Map([("x".into(), Avro::Double(0.5))].into()))),
        Avro::Union(0, Box::new(Avro::Null)),
    ]);
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":40,"scale":2}"#;
    let number = Avro::Decimal(Decimal::from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    vec![
        (schema(ORDER), written(ORDER, order("o-1", Some(12.5), 3))),
        (schema(union), written(union, mixed)),
        (schema(LINKED), vec![2, 2, 4, 2, 6, 0]),
        (schema(decimal), written(decimal, number)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_changed_in_a_datum_is_a_value_or_said(
        sample in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<Option<prop::sample::Index>>(),
        behind in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let (schema, mut datum) = samples().swap_remove(sample);
        for (place, byte) in changes {
            let place = place.index(datum.len());
            datum[place] = byte;
        }
        if let Some(cut) = cut {
            datum.truncate(cut.index(datum.len() + 1));
        }
        datum.extend(behind);
        let started = Instant::now();
        if let Ok(value) = decode(&schema, &datum.into()) {
            // It can be written, and read again as JSON.
            let text = text(&value);
            prop_assert!(json::parse(text.clone().into(), &json::Limits::default()).is_ok(), "{}", text);
        }
        prop_assert!(started.elapsed() < Duration::from_millis(500));
    }

    #[test]
    fn what_the_library_writes_is_read_as_the_library_reads_it(
        id in ".*",
        amount in any::<Option<f64>>().prop_filter("finite", |it| it.is_none_or(f64::is_finite)),
        others in 0_usize..20,
    ) {
        let datum = written(ORDER, order(&id, amount, others));
        let value = decode(&schema(ORDER), &datum.clone().into()).unwrap();
        let known = Schema::parse_str(ORDER).unwrap();
        let theirs = GenericDatumReader::builder(&known).build().unwrap().read_value(&mut &datum[..]).unwrap();
        let Avro::Record(fields) = theirs else { panic!() };
        prop_assert_eq!(&fields[0].1, &Avro::String(id.clone()));
        prop_assert_eq!(value.get("id"), Some(Value::text(id)));
        prop_assert_eq!(value.get("amount"), Some(amount.map_or(Value::Null, Value::Float)));
        let list = value.get("others").unwrap();
        prop_assert_eq!(text(&list).matches("SILVER").count(), others);
    }
}
