//! Rules of the code base as tests: who may name whom, how long things get, what has no place. Each rule is shown to find a breach.

mod rules;
mod source;

use source::{Source, blank, rust_sources, shipped_texts};

type Rule = fn(&Source) -> Vec<String>;

/// Fails with every breach of a rule.
#[track_caller]
fn holds(rule: Rule, sources: &[Source]) {
    assert!(sources.len() > 3, "there is something to look at");
    let breaches: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Fails unless the rule finds exactly so many breaches in a forged file.
#[track_caller]
fn finds(rule: Rule, path: &str, text: &str, expected: usize) {
    let breaches = rule(&Source::new(path, text));
    assert_eq!(breaches.len(), expected, "{breaches:#?} in\n{text}");
}

#[test]
fn modules_name_only_what_lies_below_them() {
    holds(rules::layers, &rust_sources());
}

#[test]
fn a_breach_of_the_layers_is_found() {
    let layers = rules::layers;
    finds(layers, "src/engine/event.rs", "use crate::kafka::Topic;", 1);
    finds(layers, "src/engine.rs", "fn f() { crate::lane::run() }", 1);
    finds(layers, "src/codec/json.rs", "use crate::{engine::{value, event}, kafka, telemetry::metrics};", 2);
    finds(layers, "src/codec/json.rs", "use super::super::kafka;", 1);
    finds(layers, "src/codec/mod.rs", "use super::kafka;", 1);
    finds(layers, "src/mystery/mod.rs", "", 1);
    finds(layers, "src/codec/json.rs", "use crate::engine::event;\nuse super::kafka_headers;\n// crate::kafka", 0);
    finds(layers, "src/codec/json.rs", "#[cfg(test)]\nmod tests {\n    use crate::kafka;\n}", 0);
    finds(layers, "src/app/mod.rs", "use crate::{engine, kafka, lane};", 0);
}

#[test]
fn the_engine_is_pure() {
    holds(rules::purity, &rust_sources());
}

#[test]
fn a_breach_of_purity_is_found() {
    let purity = rules::purity;
    finds(purity, "src/engine/a.rs", "use std::time::{Duration, Instant};", 1);
    finds(purity, "src/engine/a.rs", "fn f() { std::thread::spawn(g); }", 1);
    finds(purity, "src/engine/a.rs", "#[derive(Clone, Serialize)]\nstruct A;", 1);
    finds(purity, "src/engine/a.rs", "async fn f() { tokio::spawn(g()); }", 2);
    finds(purity, "src/engine/a.rs", "/// An Instant.\nfn operand(random: Duration) {}", 0);
    finds(purity, "src/lane/a.rs", "use std::time::Instant;", 0);
}

#[test]
fn files_and_functions_are_short() {
    holds(rules::size, &rust_sources());
}

#[test]
fn what_is_too_long_is_found() {
    let size = rules::size;
    finds(size, "src/a.rs", &"\n".repeat(rules::FILE_LINES), 0);
    finds(size, "src/a.rs", &"\n".repeat(rules::FILE_LINES + 1), 1);
    let function = |lines: usize| {
        format!("fn f(a: [u8; 3]) -> u8\nwhere u8: Copy {{\n{}}}\n", "    g(\"}\");\n".repeat(lines - 3))
    };
    finds(size, "src/a.rs", &function(rules::FUNCTION_LINES), 0);
    finds(size, "src/a.rs", &function(rules::FUNCTION_LINES + 1), 1);
    let generic = function(rules::FUNCTION_LINES + 1).replace("fn f(", "fn f<A, B>(");
    finds(size, "src/a.rs", &generic, 1);
    let trait_items = format!("trait T {{\n    fn f(&self);\n{}}}\n", "    const A: fn(u8);\n".repeat(100));
    finds(size, "src/a.rs", &trait_items, 0);
}

#[test]
fn metrics_are_defined_in_one_file() {
    holds(rules::metric_names, &rust_sources());
}

#[test]
fn a_stray_metric_is_found() {
    let metric_names = rules::metric_names;
    finds(metric_names, "src/lane/a.rs", "metrics::counter!(\"x\").increment(1);", 1);
    finds(metric_names, "src/lane/a.rs", concat!("const NAME: &str = \"tide", "gate_lag\";"), 1);
    finds(metric_names, "src/telemetry/metrics.rs", concat!("const NAME: &str = \"tide", "gate_lag\";"), 0);
}

#[test]
fn nothing_is_unfinished_ignored_or_asleep() {
    holds(rules::unfinished, &rust_sources());
}

#[test]
fn what_is_unfinished_is_found() {
    let unfinished = rules::unfinished;
    finds(unfinished, "src/a.rs", "fn f() { todo!() }", 1);
    finds(unfinished, "tests/it/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() { std::thread::sleep(A) }", 2);
    finds(unfinished, "tests/it/support/wait.rs", "fn f() { std::thread::sleep(A) }", 0);
    finds(unfinished, "tests/it/support/process.rs", "fn f() { std::thread::sleep(A) }", 1);
    finds(unfinished, "tests/it/a.rs", "fn f() { std::thread::park_timeout(A) }", 1);
    finds(unfinished, "src/a.rs", "fn f() { std::thread::park_timeout(A) }", 0);
    finds(unfinished, "src/a.rs", "// todo!\nconst A: &str = \"todo!\";", 0);
}

#[test]
fn what_is_unsafe_is_where_it_is_known() {
    holds(rules::unchecked, &rust_sources());
}

#[test]
fn what_is_unsafe_elsewhere_is_found() {
    let unchecked = rules::unchecked;
    finds(unchecked, "src/lane/a.rs", "fn f() { unsafe { g() } }\nunsafe impl Send for A {}", 2);
    finds(unchecked, "src/lane/a.rs", "// unsafe\nconst A: &str = \"unsafe\";", 0);
    finds(unchecked, "src/kafka/native.rs", "fn f() { unsafe { g() } }", 0);
}

#[test]
fn every_file_says_what_it_is() {
    holds(rules::introduction, &rust_sources());
}

#[test]
fn a_file_that_says_nothing_is_found() {
    finds(rules::introduction, "src/a.rs", "use a;\n//! Late.", 1);
    finds(rules::introduction, "src/a.rs", "//!\n", 1);
    finds(rules::introduction, "src/a.rs", "//! A noun.\n", 0);
}

#[test]
fn texts_speak_of_the_product() {
    holds(rules::foreign_words, &shipped_texts());
}

#[test]
fn a_foreign_word_is_found() {
    finds(rules::foreign_words, "README.md", concat!("see /wo", "rk/x and the Proto", "type\n"), 2);
    finds(rules::foreign_words, "README.md", "see the network/x\n", 0);
}

#[test]
fn comments_and_literals_are_no_code() {
    let check = |text: &str, expected: &str| assert_eq!(blank(text), expected, "of {text}");
    check("a // b\nc", "a     \nc");
    check("a /* b\n */ c", "a     \n    c");
    check(r#"f("\"{", b)"#, "f(     , b)");
    check("r#\"a\"{\"# b", "         b");
    check("br\"{\" r#type", "      r#type");
    check("'{' '\\'' 'ü' &'a T<'a>", "              &'a T<'a>");
}
