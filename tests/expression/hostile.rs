//! Hostile expressions: none may take long, overflow the stack, exhaust memory or panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate::engine::expression::Budget;
use tidegate::engine::limits;
use tidegate::expression::{Names, compile, compile_text};

use crate::support::{DATA, STEPS, compiled, evaluate_over, with_scope};

/// A generous bound for an unoptimised build on a busy machine; released code is 10 to 30 times as fast.
const PATIENCE: Duration = Duration::from_secs(10);

#[track_caller]
fn check_refused(source: &str, expected: &str) {
    let started = Instant::now();
    let error = compiled(source).map(|_| ()).expect_err("it compiles");
    assert!(error.message.contains(expected), "{error:?}");
    assert!(error.offset <= source.len() && source.is_char_boundary(error.offset));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

/// Over `data`, the source ends within the budget and in time, by a value or by an error.
#[track_caller]
fn check_bounded(data: &str, source: &str) -> Result<tidegate::engine::value::Value, String> {
    let started = Instant::now();
    let outcome = evaluate_over(data, source).map_err(|error| error.message);
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    outcome
}

#[track_caller]
fn check_too_much(data: &str, source: &str) {
    let error = check_bounded(data, source).expect_err("it ends");
    assert!(error.contains("too much work"), "{error}");
}

#[test]
fn sources_that_are_too_long_too_deep_or_too_chained_are_refused() {
    check_refused(&"1".repeat(1 << 20), "it may have 4096");
    for (open, close) in [("(", ")"), ("[", "]"), ("{'a':", "}"), ("size(", ")"), ("!(", ")"), ("-(", ")")] {
        let depth = limits::EXPRESSION_BRACKETS;
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        check_refused(&nested(depth + 1), "brackets nest deeper than 32 levels");
        check_refused(&nested(600), "brackets nest deeper than 32 levels");
        let _ = compiled(&nested(depth));
    }
    check_refused(&"(".repeat(2000), "brackets nest deeper");
    check_refused(&format!("1{}", "+1".repeat(1000)), "more than 512 operators");
    check_refused(&format!("event{}", ".a".repeat(1000)), "more than 512 operators");
    check_refused(&format!("1{}", "[0]".repeat(1000)), "more than 512 operators");
    check_refused(&"true ? 1 : ".repeat(300), "");
    check_refused("@#$%^&*", "");
    check_refused(&"1 2 ".repeat(1000), "unexpected `2`");
    check_refused("\u{0}", "");
    check_refused(&"\"".repeat(4095), "");
}

#[test]
fn the_longest_chains_that_are_allowed_work() {
    let operators = limits::EXPRESSION_OPERATORS;
    assert!(check_bounded(DATA, &format!("1{}", "+1".repeat(operators))).is_ok());
    assert!(check_bounded(DATA, &format!("'a'{}", "+'a'".repeat(operators))).is_ok());
    assert!(check_bounded(DATA, &format!("true{}", "&&true".repeat(operators / 2))).is_ok());
    assert!(check_bounded(DATA, &format!("{}true", "!".repeat(operators))).is_ok());
    assert!(check_bounded(DATA, &format!("{}1", "-".repeat(operators))).is_ok());
    assert!(check_bounded(DATA, &format!("[1{}]", ",1".repeat(2000))).is_ok());
    assert!(check_bounded(DATA, &format!("event.data{}", ".a".repeat(operators - 1))).is_err());
    for chain in ["[0]", " < 1", ".size()", " in []", ".map(x, x)"] {
        let _ = compiled(&format!("[1]{}", chain.repeat(operators / chain.len())));
    }
}

#[test]
fn the_deepest_expression_needs_little_stack() {
    const STACK_BYTES: usize = 512 * 1024;
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let brackets = limits::EXPRESSION_BRACKETS;
    let sources = [
        nested("(true ? ", "1", " : 0)", brackets),
        nested("(1 + ", "1", ")", brackets),
        nested("(1 + [", "2", "][0] * 2)", brackets / 2 - 1),
        nested("[", "1", "]", brackets),
        nested("(!!(1 < 0) || !", "true", ")", brackets - 1),
        nested("math.abs(-(", "1", "))", brackets / 2),
        nested("{'a': ", "1", "}.a", brackets - 1),
        format!("[1]{}", ".map(x, x)".repeat(60)),
        format!("'a'{}", ".trim()".repeat(60)),
        "false ? 0 : ".repeat(60) + "1",
    ];
    for source in sources {
        let program = compiled(&source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        let lane = std::thread::Builder::new().stack_size(STACK_BYTES);
        let run = || with_scope(DATA, |scope| program.evaluate(scope, &mut Budget::new(100_000)).map(|_| ()));
        let ended = std::thread::scope(|scope| lane.spawn_scoped(scope, run).unwrap().join().unwrap());
        assert_eq!(ended, Ok(()), "{source}");
    }
}

#[test]
fn loops_nest_two_levels() {
    assert!(compiled("[1].all(a, [1].all(b, true))").is_ok());
    assert!(compiled("[1].map(a, a).map(b, b).map(c, c)").is_ok());
    check_refused("[1].all(a, [1].all(b, [1].all(c, true)))", "loops nest deeper than 2 levels");
}

#[test]
fn loops_end_with_the_budget() {
    let many = format!("[{}]", vec!["1"; 20_000].join(","));
    let data = format!(r#"{{"many": {many}}}"#);
    check_too_much(&data, "event.data.many.all(a, event.data.many.all(b, a == b))");
    check_too_much(&data, "event.data.many.exists(a, event.data.many.exists(b, b == 2))");
    check_too_much(&data, "event.data.many.map(a, event.data.many + [a])");
    check_too_much(&data, "event.data.many.filter(a, event.data.many[19999] == 2)");
    check_too_much(&data, "event.data.many.all(a, event.data.many == event.data.many)");
    check_too_much(&data, "event.data.many.all(a, !(2 in event.data.many)) || true");
    check_too_much(&data, "lists.range(1000000000)");
    assert!(check_bounded(&data, "event.data.many.all(a, a == 1)").is_ok());
}

#[test]
fn wide_objects_are_charged_for_the_walk_to_a_field() {
    let fields: Vec<String> = (0..50_000).map(|it| format!(r#""f{it}":{it}"#)).collect();
    let data = format!(r#"{{"wide": {{{}}}}}"#, fields.join(","));
    check_too_much(&data, "event.data.wide.all(k, event.data.wide.f49999 == 49999)");
    check_too_much(&data, "event.data.wide.all(k, event.data.wide[k] >= 0)");
    check_too_much(&data, "event.data.wide.all(k, k in event.data.wide)");
    check_too_much(&data, "event.data.wide.all(k, has(event.data.wide.gone) || true)");
    assert!(check_bounded(&data, "event.data.wide == event.data.wide").is_ok());
}

#[test]
fn strings_cannot_be_doubled_without_end() {
    let data = format!(r#"{{"text": "{}"}}"#, "x".repeat(100_000));
    let doubled = "[0, 1, 2, 3, 4, 5, 6, 7].map(i, event.data.text.split('').map(c, event.data.text))";
    check_too_much(&data, &format!("{doubled}.map(l, l.join())"));
    check_too_much(&data, "event.data.text.replace('x', event.data.text)");
    check_too_much(&data, "event.data.text.replace('', event.data.text)");
    check_too_much(&data, "event.data.text.split('').join(event.data.text)");
    check_too_much(&data, "event.data.text.split('').map(c, event.data.text + c)");
    let tenfold = format!("event.data.text{}", ".replace('x', 'xxxxxxxxxx')".repeat(8));
    check_too_much(&data, &tenfold);
    let joined = format!("size({})", ["event.data.text"; 120].join(" + "));
    assert!(check_bounded(&data, &joined).is_ok());
}

#[test]
fn templates_are_within_the_budget_too() {
    let data = format!(r#"{{"text": "{}"}}"#, "x".repeat(1_000_000));
    let template = compile_text(&"${{ event.data.text }} ".repeat(100), &Names::of_step(&STEPS)).unwrap();
    let rendered = with_scope(&data, |scope| template.render(scope, &mut Budget::new(limits::EXECUTION_BUDGET)));
    assert!(rendered.unwrap_err().message.contains("too much work"));
}

#[test]
fn one_budget_bounds_all_expressions_of_an_execution() {
    let program = compiled("lists.range(1000).all(x, x >= 0)").unwrap();
    with_scope(DATA, |scope| {
        let mut budget = Budget::new(20_000);
        let ran = (0..100).take_while(|_| program.evaluate(scope, &mut budget).is_ok()).count();
        assert!((2..20).contains(&ran), "{ran}");
        assert_eq!(budget.left(), 0);
        assert!(program.evaluate(scope, &mut budget).is_err());
    });
}

#[test]
fn patterns_are_bounded_in_source_size_and_search() {
    let data = format!(
        r#"{{"text": "{}", "pattern": "{}", "short": "[ab]*a[ab]{{300}}c"}}"#,
        "abbabaab".repeat(20_000),
        "(a|b)".repeat(2_000)
    );
    check_refused(&format!("'a'.matches('{}')", "a".repeat(3000)), "the pattern is longer than 512 bytes");
    check_refused("'a'.matches('((a{100}){100}){100}')", "too large when compiled");
    check_refused(&format!("'a'.matches('{}')", "(".repeat(400)), "the pattern is wrong");
    check_refused(&format!("'a'.matches(r'(?i){}')", "\\pL".repeat(160)), "too large when compiled");
    assert!(check_bounded(&data, "'a'.matches(event.data.pattern)").unwrap_err().contains("longer than 512"));
    check_too_much(&data, "event.data.text.matches('[ab]*a[ab]{300}c')");
    check_too_much(&data, "event.data.text.matches(event.data.short)");
    check_too_much(&data, "lists.range(1000).all(i, !'x'.matches('a' + string(i)))");
}

#[test]
fn deep_data_is_compared_and_rendered_without_overflowing_the_stack() {
    let depth = limits::DOCUMENT_DEPTH - 1;
    let data = format!(r#"{{"deep": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(check_bounded(&data, "event.data.deep == event.data.deep").is_ok());
    assert!(check_bounded(&data, &format!("{}event.data.deep{}", "[".repeat(30), "]".repeat(30))).is_ok());
    let wrapped = format!("[{}event.data.deep{}]", "[".repeat(30), "]".repeat(30));
    let wrapped = format!("[[0].map(x, {wrapped})].map(x, [[[[x]]]])");
    assert!(compiled(&wrapped).is_err() || check_bounded(&data, &wrapped).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_panics(source in "\\PC{0,80}") {
        let _ = compile(&source, &Names::of_step(&STEPS));
        let _ = compile_text(&source, &Names::of_step(&STEPS));
    }

    #[test]
    fn no_mix_of_tokens_panics(tokens in prop::collection::vec(prop::sample::select(vec![
        "event", ".", "data", "[", "]", "(", ")", "{", "}", "1", "'a'", "+", "-", "&&", "||", "?", ":", ",", "x", "map",
        "==", "in", "steps", "shape", "output", "size", "matches", "!", "${{", "}}", " ", "\"", "`", "b'", "r\"", "//", "\n", "é",
    ]), 0..40)) {
        let source: String = tokens.concat();
        if let Err(error) = compile(&source, &Names::of_step(&STEPS)) {
            prop_assert!(source.is_char_boundary(error.offset), "{error:?}");
        }
        if let Err(error) = compile_text(&source, &Names::of_step(&STEPS)) {
            prop_assert!(source.is_char_boundary(error.offset), "{error:?}");
        }
    }
}
