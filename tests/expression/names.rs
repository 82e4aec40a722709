//! What expressions see, and what they are told when they name something else.

use tidegate::engine::expression::Budget;
use tidegate::engine::limits;
use tidegate::expression::{Names, compile};

use crate::support::{DATA, STEPS, check, check_fails, check_refused, compiled, json_text, with_scope};

#[test]
fn the_event() {
    check("event.id + ' ' + event.type + ' ' + event.source", r#""e-1 orders.paid https://shop.example.com""#);
    check("[event.topic, event.partition, event.offset, event.key]", r#"["webhooks",3,42,"acc-1"]"#);
    check("event.subject == null", "true");
    check("event.time", r#""2026-05-04T12:30:00Z""#);
    check("event['type']", r#""orders.paid""#);
    check("event.headers['content-type']", r#""application/json""#);
    check("event.headers.x", r#""last""#);
    check("event.headers.empty", "null");
    check("event.headers.raw", r#""/wA=""#);
    check("event.headers", r#"{"content-type":"application/json","x":"last","empty":null,"raw":"/wA="}"#);
    check("size(event)", "12");
    check("event[event.id == 'e-1' ? 'topic' : 'id']", r#""webhooks""#);
    check_fails("event.headers.gone", "no such field `gone` in event.headers");
    check_fails("event.id.x", "no field `x` in event.id: it is string");
}

#[test]
fn steps_execution_and_vars() {
    check("steps.shape.output.x.y[1]", "2");
    check("steps.shape.output.gross > 100", "true");
    check("steps['route-it'].output.case", r#""fast""#);
    check("steps.`route-it`.status", r#""completed""#);
    check("steps.skipped.output == null && steps.skipped.status == 'skipped'", "true");
    // A whole document is written as it was read, spaces and all.
    check("steps.shape", r#"{"status":"completed","output":{"x": {"y": [1, 2]}, "gross": 119.0}}"#);
    check("steps.map(id, id)", r#"["shape","route-it","skipped"]"#);
    check("steps[event.data.amount > 1 ? 'route-it' : 'shape'].output.case", r#""fast""#);
    check("has(steps.shape.output.gross) && has(steps.shape)", "true");
    check("[execution.id, execution.workflowId, execution.workflowVersion]", r#"["0007-abc","order-paid","1.2.0"]"#);
    check("execution", r#"{"id":"0007-abc","workflowId":"order-paid","workflowVersion":"1.2.0"}"#);
    check("vars.limit + 1", "11");
    check("vars.names[event.data.country]", r#""Germany""#);
    check_fails("steps.skipped.output.x", "no field `x` in steps.skipped.output: it is null");
}

#[test]
fn always_is_true_and_known() {
    check("always()", "true");
    let calls = |source: &str| compiled(source).unwrap().calls_always();
    assert!(calls("always() && event.data.amount > 1"));
    assert!(!calls("event.data.always == 'always()'"));
}

#[test]
fn a_trigger_sees_event_and_vars() {
    let names = Names::of_trigger();
    let program = compile("event.data.items.size() > 0 && vars.limit == 10", &names).unwrap();
    let truth = with_scope(DATA, |scope| program.test(scope, &mut Budget::new(limits::EXECUTION_BUDGET)));
    assert_eq!(truth, Ok(true));
    check_refused(&names, "steps.shape.output", 0, "`steps` does not exist while triggers", "a trigger sees");
    check_refused(&names, "true && execution.id == ''", 8, "`execution` does not exist", "a trigger sees");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let names = Names::of_step(&STEPS);
    check_refused(&names, "evnet.data.x", 0, "unknown name `evnet`", "did you mean `event`?");
    check_refused(&names, "1 + amount", 4, "unknown name `amount`", "event.data.amount");
    check_refused(&names, "event.typ", 6, "`event` has no `typ`", "event.type");
    check_refused(&names, "event.amount", 6, "`event` has no `amount`", "event.data.amount");
    check_refused(&names, "execution.version", 10, "`execution` has no `version`", "workflowVersion");
    check_refused(&names, "'é' + foo", 7, "unknown name `foo`", "");
    check_refused(&names, "steps.shpe.output", 6, "unknown step `shpe`", "did you mean steps.shape?");
    check_refused(&names, "steps.nothing.output", 6, "unknown step `nothing`", "shape, route-it, skipped");
    check_refused(&names, "steps.route-it.output", 6, "unknown step `route`", "steps[\"route-it\"]");
    check_refused(
        &names,
        "steps.later.output",
        6,
        "step `later` does not come before",
        "add `later` to the dependencies",
    );
    check_refused(&names, "steps.this.output", 6, "step `this` does not come before", "");
    check_refused(&names, "steps.shape.gross", 12, "a step has `output` and `status`", "steps.shape.output.gross");
    check_refused(&names, "has(event.typ)", 10, "`event` has no `typ`", "event.type");
    check_refused(&names, "[1].map(x, y)", 11, "unknown name `y`", "");
}

#[test]
fn unknown_functions_are_refused_with_the_nearest_known_one() {
    let names = Names::of_step(&STEPS);
    check_refused(&names, "event.id.startWith('a')", 9, "unknown function `startWith`", "startsWith()");
    check_refused(&names, "siz(event.data)", 0, "unknown function `siz`", "size()");
    check_refused(&names, "contains('a', 'b')", 0, "unknown function `contains`", "x.contains(…)");
    check_refused(&names, "'1'.int()", 4, "unknown function `int`", "int(x, …)");
    check_refused(&names, "now()", 0, "unknown function `now`", "no clock");
    check_refused(&names, "math.max(1, 2)", 5, "unknown function `math.max`", "");
    check_refused(&names, "'a'.contains()", 4, "contains() takes 1 arguments, not 0", "");
    check_refused(&names, "size(1, 2)", 0, "size() takes 1 arguments, not 2", "");
    check_refused(&names, "[1].map(1, 2)", 8, "a loop names its variable first", "");
    check_refused(&names, "[1].exists(true)", 4, "unknown function `exists`", "list.exists(x, …)");
}

#[test]
fn mistakes_of_syntax_say_where_and_what() {
    let names = Names::of_step(&STEPS);
    check_refused(&names, "", 0, "the expression is empty", "");
    check_refused(&names, "  \n", 0, "the expression is empty", "");
    check_refused(&names, "event.data.a = 3", 13, "unexpected `=`", "equality is `==`");
    check_refused(&names, "event.data.a == 1 and true", 18, "unexpected `and`", "`&&`");
    check_refused(&names, "1 +", 3, "ends too early", "");
    check_refused(&names, "(1 + 2", 6, "`)` is missing", "");
    check_refused(&names, "1 2", 2, "unexpected `2`", "");
    check_refused(&names, "'abc", 0, "the string has no end", "close it");
    check_refused(&names, "99999999999999999999", 0, "int", "");
    check_refused(&names, "true ? true ? 1 : 0 : 0", 12, "unexpected `?`", "");
    check_refused(&names, "event.?data", 5, "", "");
    check_refused(&names, "Foo{a: 1}", 3, "no message types", "an object is written");
    check_refused(&names, "'a'.matches('(')", 12, "the pattern is wrong", "RE2");
    check_refused(&names, "has(event)", 3, "has() tests a field", "");
    check_refused(&names, "${{ 1 }}", 0, "", "leave `${{ }}` out");
}

#[test]
fn errors_quote_the_place_in_long_expressions() {
    let source = format!(
        "[{}].size() > 0 && event.data.gone > 1 && [{}].size() > 0",
        "1, 2, ".repeat(30) + "3",
        "4, ".repeat(30) + "5"
    );
    let error = crate::support::evaluate_over(DATA, &source).unwrap_err().message;
    assert!(error.starts_with("no such field `gone` in event.data, at column"), "{error}");
    assert!(error.contains("event.data.gone") && error.contains('…') && error.len() < 200, "{error}");
    assert_eq!(json_text(&compiled("5").unwrap().as_literal().unwrap().clone()), "5");
}
