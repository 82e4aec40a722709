//! All that fuzzing has kept.

#[path = "../../fuzz/avro.rs"]
mod fuzzed;

use std::path::Path;

/// Runs every file of a corpus; returns how many there are.
fn run(target: &str, with: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        with(&std::fs::read(&path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn what_fuzzing_has_kept_is_read_without_a_fault() {
    assert!(run("avro_datum", fuzzed::datum) >= 50);
    assert!(run("avro_schema", fuzzed::schema) >= 50);
}
