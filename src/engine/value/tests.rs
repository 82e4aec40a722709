//! Tests of values through their public doors.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;

use super::{DocumentBuilder, Node, Value, compare, equal, hash, write_json};

fn json(value: &Value) -> String {
    let mut text = Vec::new();
    write_json(value, &mut text);
    String::from_utf8(text).unwrap()
}

fn hash_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(value.view(), &mut hasher);
    hasher.finish()
}

#[track_caller]
fn check_order(left: Value, right: Value, expected: Option<Ordering>) {
    assert_eq!(compare(left.view(), right.view()), expected, "{left:?} {right:?}");
    assert_eq!(compare(right.view(), left.view()), expected.map(Ordering::reverse), "{right:?} {left:?}");
    assert_eq!(equal(left.view(), right.view()), expected == Some(Ordering::Equal), "{left:?} == {right:?}");
    if expected == Some(Ordering::Equal) {
        assert_eq!(hash_of(&left), hash_of(&right), "{left:?} {right:?}");
    }
}

#[test]
fn numbers_compare_exactly_whatever_their_types() {
    check_order(Value::Int(1), Value::UInt(1), Some(Ordering::Equal));
    check_order(Value::Int(1), Value::Float(1.0), Some(Ordering::Equal));
    check_order(Value::Int(-1), Value::UInt(u64::MAX), Some(Ordering::Less));
    check_order(Value::Int(9_007_199_254_740_993), Value::Float(9_007_199_254_740_992.0), Some(Ordering::Greater));
    check_order(Value::UInt(u64::MAX), Value::Float(18_446_744_073_709_551_616.0), Some(Ordering::Less));
    check_order(Value::Int(i64::MIN), Value::Float(-9_223_372_036_854_775_808.0), Some(Ordering::Equal));
    check_order(Value::Int(1), Value::Float(1.5), Some(Ordering::Less));
    check_order(Value::Int(-1), Value::Float(-1.5), Some(Ordering::Greater));
    check_order(Value::Int(0), Value::Float(-0.0), Some(Ordering::Equal));
    check_order(Value::Int(0), Value::Float(1e300), Some(Ordering::Less));
    check_order(Value::Int(0), Value::Float(f64::NAN), None);
}

#[test]
fn values_of_different_kinds_are_unequal_and_have_no_order() {
    check_order(Value::text("1"), Value::Int(1), None);
    check_order(Value::Null, Value::Bool(false), None);
    check_order(Value::Timestamp(1), Value::Duration(1), None);
    check_order(Value::text("a"), Value::text("b"), Some(Ordering::Less));
    check_order(Value::Bool(false), Value::Bool(true), Some(Ordering::Less));
}

#[test]
fn objects_are_equal_whatever_the_order_of_their_fields() {
    let of = |names: &[&str]| Value::map(names.iter().map(|&it| (it.into(), Value::text(it))).collect());
    assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
    assert_eq!(hash_of(&of(&["a", "b"])), hash_of(&of(&["b", "a"])));
    assert_ne!(of(&["a", "b"]), of(&["a", "c"]));
    let names: Vec<String> = (0..100).map(|it| it.to_string()).collect();
    let forward: Vec<&str> = names.iter().map(String::as_str).collect();
    let backward: Vec<&str> = forward.iter().rev().copied().collect();
    assert_eq!(of(&forward), of(&backward));
}

#[test]
fn of_duplicate_keys_the_last_one_stays() {
    let mut builder = DocumentBuilder::new(Bytes::new());
    let outer = builder.open();
    for (name, inner) in [("a", true), ("b", false), ("a", false), ("c", true)] {
        builder.text(name);
        if inner {
            let list = builder.open();
            builder.scalar(Node::Int(1));
            builder.close_list(list, 1);
        } else {
            builder.text(name);
        }
    }
    builder.close_map(outer, 4);
    let value = builder.finish();
    assert_eq!(json(&value), r#"{"b":"b","a":"a","c":[1]}"#);
    assert_eq!(value.len(), Some(3));
    assert_eq!(value.get("c").and_then(|list| list.at(0)), Some(Value::Int(1)));
}

#[test]
fn duplicates_are_found_in_large_objects_too() {
    let mut builder = DocumentBuilder::new(Bytes::new());
    let outer = builder.open();
    for index in 0..200 {
        builder.text(&(index % 150).to_string());
        builder.scalar(Node::Int(index));
    }
    builder.close_map(outer, 200);
    let value = builder.finish();
    assert_eq!(value.len(), Some(150));
    assert_eq!(value.get("10"), Some(Value::Int(160)));
    assert_eq!(value.get("149"), Some(Value::Int(149)));
}

#[test]
fn every_byte_that_needs_it_is_escaped_wherever_it_stands() {
    for shift in 0..12 {
        for byte in 0..0x80_u8 {
            let text = format!("{}{}é{}", "x".repeat(shift), byte as char, "y".repeat(9));
            let written = json(&Value::text(text.as_str()));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}

#[test]
fn what_json_lacks_is_written_as_text() {
    assert_eq!(json(&Value::Timestamp(1_500_000_000)), r#""1970-01-01T00:00:01.500Z""#);
    assert_eq!(json(&Value::Duration(-1_500_000_000)), r#""-1.5s""#);
    assert_eq!(json(&Value::Duration(i64::MIN)), r#""-9223372036.854775808s""#);
    assert_eq!(json(&Value::Bytes(Bytes::from_static(b"\xff\x00"))), r#""/wA=""#);
    assert_eq!(json(&Value::Float(f64::INFINITY)), "null");
    assert_eq!(json(&Value::Float(119.0)), "119.0");
}

#[test]
fn depth_counts_lists_and_objects() {
    let mut value = Value::Int(1);
    for depth in 0..5 {
        assert!(value.depth_within(depth));
        assert!(depth == 0 || !value.depth_within(depth - 1));
        value = Value::List(vec![value].into());
    }
    let mut builder = DocumentBuilder::new(Bytes::new());
    let outer = builder.open();
    builder.scalar(Node::Int(1));
    let inner = builder.open();
    builder.scalar(Node::Int(1));
    builder.close_list(inner, 1);
    builder.close_list(outer, 2);
    let document = builder.finish();
    assert!(document.depth_within(2) && !document.depth_within(1));
    assert!(document.at(1).unwrap().depth_within(1));
}
