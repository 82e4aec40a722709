//! Data of which bytes were changed, left out and put in: each of them is a value or says what it is, soon and in little memory.

use std::time::{Duration, Instant};

use apache_avro::types::Value;
use tidegate::bench::workload::Random;
use tidegate::codec::avro::{WriterSchema, decode};

use super::{PAID_2, datum, order};
use crate::support::is_full;

/// The longest that one may take.
const LONGEST: Duration = Duration::from_millis(100);
/// What everything follows from.
const SEED: u64 = 20_261_128;

const TREE: &str = r#"{"type":"record","name":"Tree","fields":[
    {"name":"value","type":["null","int","string",{"type":"fixed","name":"F","size":3}]},
    {"name":"nulls","type":{"type":"array","items":"null"}},
    {"name":"names","type":{"type":"map","values":["null",{"type":"enum","name":"E","symbols":["A","B"]}]}},
    {"name":"children","type":{"type":"array","items":"Tree"}}]}"#;

fn tree(random: &mut Random, depth: usize) -> Value {
    let value = match random.below(4) {
        0 => Value::Union(0, Box::new(Value::Null)),
        1 => Value::Union(1, Box::new(Value::Int(random.next_u64() as i32))),
        2 => Value::Union(2, Box::new(Value::String("täxt".repeat(random.below(5))))),
        _ => Value::Union(3, Box::new(Value::Fixed(3, vec![1, 2, 3]))),
    };
    let count = if depth == 0 { 0 } else { random.below(4) };
    let symbol = Value::Union(1, Box::new(Value::Enum(1, "B".into())));
    Value::Record(vec![
        ("value".into(), value),
        ("nulls".into(), Value::Array(vec![Value::Null; random.below(5)])),
        ("names".into(), Value::Map((0..random.below(4)).map(|it| (format!("n{it}"), symbol.clone())).collect())),
        ("children".into(), Value::Array((0..count).map(|_| tree(random, depth - 1)).collect())),
    ])
}

fn mutate(random: &mut Random, datum: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let place = random.below(datum.len() + 1);
        let byte = [0, 1, 2, 0x7f, 0x80, 0xff, random.next_u64() as u8][random.below(7)];
        match random.below(4) {
            0 if place < datum.len() => datum[place] = byte,
            1 if place < datum.len() => drop(datum.remove(place)),
            // The longest numbers, which claim the most.
            2 => drop(datum.splice(place..place, [0xfe, 0xff, 0xff, 0xff, byte & 0x0f])),
            _ => datum.insert(place, byte),
        }
    }
}

#[test]
fn whatever_a_datum_claims_it_is_read_soon() {
    println!("seed {SEED}");
    let mut random = Random::new(SEED);
    let schemas = [TREE, PAID_2].map(|text| WriterSchema::parse(text, &[]).unwrap());
    let count = if is_full() { 1_000_000 } else { 50_000 };
    let (mut read, mut longest) = (0, Duration::ZERO);
    for number in 0..count {
        let place = random.below(2);
        let mut bytes = match place {
            0 => datum(TREE, tree(&mut random, 3)),
            _ => datum(PAID_2, order(number, 1_000, Some(Some(0)))),
        };
        mutate(&mut random, &mut bytes);
        let started = Instant::now();
        let value = decode(&schemas[place], &bytes.into());
        longest = longest.max(started.elapsed());
        read += usize::from(value.is_ok());
    }
    println!("{read} of {count} are values, {longest:?} at most");
    assert!(read > count / 100 && read < count * 9 / 10, "{read} of {count} are values");
    assert!(longest < LONGEST, "{longest:?}");
}
