//! What is done with any bytes: by the fuzz targets, and by the tests with all that is kept in `corpus/`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate::codec::avro::{WriterSchema, decode, encode, frame};
use tidegate::codec::json;
use tidegate::engine::expression::Budget;
use tidegate::engine::value::Value;

/// The longest that anything of so many bytes may take, with the checks of a fuzzer or of a debug build.
const WITHIN: Duration = Duration::from_secs(2);

/// Schemas of every kind of type. The first byte of an input chooses one.
const SCHEMAS: [&str; 8] = [
    r#"{"type":"record","name":"All","fields":[{"name":"n","type":"null"},{"name":"b","type":"boolean"},{"name":"i","type":"int"},
        {"name":"l","type":"long"},{"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"y","type":"bytes"},
        {"name":"s","type":"string"},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B","C"]}},
        {"name":"x","type":{"type":"fixed","name":"F","size":3}},{"name":"u","type":["null","long","string"]}]}"#,
    r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]},{"name":"v","type":"int"}]}"#,
    r#"{"type":"array","items":{"type":"map","values":["null","string","double"]}}"#,
    r#"{"type":"array","items":"null"}"#,
    r#"{"type":"record","name":"Logical","fields":[{"name":"a","type":{"type":"int","logicalType":"date"}},
        {"name":"b","type":{"type":"int","logicalType":"time-millis"}},{"name":"c","type":{"type":"long","logicalType":"time-micros"}},
        {"name":"d","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"e","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"f","type":{"type":"long","logicalType":"local-timestamp-nanos"}},{"name":"g","type":{"type":"string","logicalType":"uuid"}},
        {"name":"h","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}}]}"#,
    r#"{"type":"record","name":"Decimals","fields":[{"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
        {"name":"b","type":{"type":"bytes","logicalType":"decimal","precision":300,"scale":20}},
        {"name":"c","type":{"type":{"type":"fixed","name":"F","size":9},"logicalType":"decimal","precision":20,"scale":5}},
        {"name":"d","type":{"type":"bytes","logicalType":"big-decimal"}}]}"#,
    r#"{"type":"map","values":{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"m","type":["null",
        {"type":"map","values":"R"}]}]}}}"#,
    r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
];

/// Reads a datum with one of the schemas. What is read is written again, and read as the same.
pub fn datum(input: &[u8]) {
    let Some((choice, datum)) = input.split_first() else { return };
    let text = SCHEMAS[usize::from(*choice) % SCHEMAS.len()];
    let schema = WriterSchema::parse(text, &[]).expect("the schemas are good");
    check(&schema, datum, true);
    // How a record names its schema is read of anything, too.
    let _ = frame::read(None, &Bytes::copy_from_slice(datum));
    let _ = frame::read(Some(datum), &Bytes::new());
}

/// Reads a schema up to the first byte 0, and what is behind it as a datum.
pub fn schema(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let Ok(text) = std::str::from_utf8(&input[..end]) else { return };
    let started = Instant::now();
    let parsed = WriterSchema::parse(text, &[]);
    assert!(started.elapsed() < WITHIN, "the schema took {:?}", started.elapsed());
    if let Ok(schema) = parsed {
        check(&schema, input.get(end + 1..).unwrap_or_default(), false);
    }
}

fn text(value: &Value) -> String {
    let mut text = Vec::new();
    json::write(value, &mut text);
    String::from_utf8(text).expect("JSON is UTF-8")
}

fn check(schema: &WriterSchema, datum: &[u8], comes_back: bool) {
    let started = Instant::now();
    let Ok(value) = decode(schema, &Bytes::copy_from_slice(datum)) else {
        assert!(started.elapsed() < WITHIN, "the datum took {:?}", started.elapsed());
        return;
    };
    let mut again = Vec::new();
    let written = encode(schema, &value, &mut Budget::new(u64::MAX), &mut again);
    assert!(started.elapsed() < WITHIN, "the datum took {:?} both ways", started.elapsed());
    if comes_back {
        if let Err(what) = written {
            // A decimal may be longer than its schema says, and is read all the same.
            assert!(what.contains("digits of its type"), "what was read fits its schema: {what}");
            return;
        }
        let value_again = decode(schema, &again.into()).expect("what was written is read");
        assert_eq!(text(&value), text(&value_again), "it comes back as it was");
    }
}
