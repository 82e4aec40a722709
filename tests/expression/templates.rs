//! Strings with `${{ }}`.

use std::sync::Arc;

use tidegate::engine::expression::{Budget, Template};
use tidegate::engine::limits;
use tidegate::engine::value::Value;
use tidegate::expression::{CompileError, Names, compile_text};

use crate::support::{DATA, STEPS, json_text, with_scope};

fn compiled(text: &str) -> Result<Template, CompileError> {
    compile_text(text, &Names::of_step(&STEPS))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let template = compiled(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let rendered = with_scope(DATA, |scope| template.render(scope, &mut Budget::new(limits::EXECUTION_BUDGET)));
    assert_eq!(json_text(&rendered.unwrap_or_else(|error| panic!("{text}: {error}"))), expected, "{text}");
}

#[track_caller]
fn check_refused(text: &str, offset: usize, message: &str) {
    let error = compiled(text).map(|_| ()).expect_err(text);
    assert!(error.message.contains(message) && error.offset == offset, "{text}: {error:?}");
}

#[test]
fn one_expression_keeps_its_type() {
    check("${{ event.data.amount }}", "100");
    check("${{event.data.customer.tags}}", r#"["vip","eu"]"#);
    check("${{ null }}", "null");
    check("${{ {'a': {'b': 1}} }}", r#"{"a":{"b":1}}"#);
    check("${{ '}}' }}", r#""}}""#);
}

#[test]
fn several_parts_are_joined_as_text() {
    check("order ${{ event.data.id }}: ${{ event.data.amount * 1.19 }}", r#""order o-1: 119""#);
    check("${{ 1 }}${{ 2 }}", r#""12""#);
    check("[${{ event.data.none }}]", r#""[]""#);
    check("x${{ true }} ${{ 1.5 }} ${{ 2u }} ${{ b'hi' }}", r#""xtrue 1.5 2 hi""#);
    check("x ${{ event.data.customer.tags }} ${{ {'a': 'b'} }}", r#""x [\"vip\",\"eu\"] {\"a\":\"b\"}""#);
    check("at ${{ timestamp(event.time) }} for ${{ duration('90s') }}", r#""at 2026-05-04T12:30:00Z for 90s""#);
    check(" ${{ 1 }}", r#"" 1""#);
}

#[test]
fn text_without_expressions_stays_as_it_is() {
    check("plain", r#""plain""#);
    check("", r#""""#);
    check("$ {{ }} $} {", r#""$ {{ }} $} {""#);
    check("$${{ not }} one", r#""${{ not }} one""#);
    check("a$$${{b", r#""a$${{b""#);
    check("$${{ ${{ 1 }}", r#""${{ 1""#);
    assert!(compiled("plain $${{").unwrap().is_literal());
    assert!(!compiled("${{ 1 }}").unwrap().is_literal());
}

#[test]
fn mistakes_are_placed_in_the_whole_text() {
    check_refused("a ${{ evnet }}", 6, "unknown name `evnet`");
    check_refused("ä ${{ 1 }} ${{ 1 + }}", 19, "ends too early");
    check_refused("a ${{ 1", 2, "`${{` without `}}`");
    check_refused("a ${{ }}", 5, "the expression is empty");
    check_refused("${{ (1 }}", 7, "");
}

#[test]
fn nested_templates_render_in_order() {
    let template = Template::Map(vec![
        ("id".into(), compiled("${{ event.data.id }}").unwrap()),
        ("list".into(), Template::List(vec![compiled("${{ 1 }}").unwrap(), Template::Literal(Value::Null)])),
    ]);
    let rendered = with_scope(DATA, |scope| template.render(scope, &mut Budget::new(1_000)));
    assert_eq!(json_text(&rendered.unwrap()), r#"{"id":"o-1","list":[1,null]}"#);
}

#[test]
fn a_result_that_nests_too_deep_is_refused() {
    let mut template = compiled("${{ event.data.customer }}").unwrap();
    for _ in 0..limits::VALUE_DEPTH {
        template = Template::Map(vec![(Arc::from("in"), template)]);
    }
    let rendered = with_scope(DATA, |scope| template.render(scope, &mut Budget::new(1_000)));
    assert!(rendered.unwrap_err().message.contains("nest deeper than"));
}
