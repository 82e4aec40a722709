//! Schemas, and data behind them.

#![no_main]

#[path = "../avro.rs"]
#[allow(dead_code)]
mod avro;

libfuzzer_sys::fuzz_target!(|input: &[u8]| avro::schema(input));
