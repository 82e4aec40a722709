//! What the tests share: an event, a workflow with steps, and one function that evaluates.

use std::sync::Arc;

use bytes::Bytes;
use tidegate::codec::json;
use tidegate::engine::event::{Event, Origin, SourceRecord, Topic};
use tidegate::engine::expression::{Budget, EvaluationError, Program, Scope, StepStatus, StepView};
use tidegate::engine::limits;
use tidegate::engine::value::Value;
use tidegate::expression::{CompileError, Names, StepName, compile};

pub const DATA: &str = r#"{
    "id": "o-1", "amount": 100, "rate": 1.19, "big": 18446744073709551615, "none": null, "yes": true,
    "name": "Jürgen \"J\" Ä", "country": "DE", "key-with-dash": 7,
    "customer": {"name": "Ada", "tags": ["vip", "eu"], "deep": {"er": {"est": 1}}},
    "items": [{"sku": "a", "price": 5.5, "n": 2}, {"sku": "b", "price": 20, "n": 1}, {"sku": "c", "n": 3}]
}"#;

/// What the steps of the tests are called; the last two come after the expression.
pub const STEPS: [StepName<'_>; 5] = [
    StepName { id: "shape", index: 0, comes_before: true },
    StepName { id: "route-it", index: 1, comes_before: true },
    StepName { id: "skipped", index: 2, comes_before: true },
    StepName { id: "this", index: 3, comes_before: false },
    StepName { id: "later", index: 4, comes_before: false },
];

pub fn json_value(text: &str) -> Value {
    json::parse(Bytes::copy_from_slice(text.as_bytes()), &json::Limits::default()).unwrap()
}

pub fn json_text(value: &Value) -> String {
    let mut text = Vec::new();
    json::write(value, &mut text);
    String::from_utf8(text).unwrap()
}

pub fn event(data: &str) -> Event {
    let topic = Arc::new(Topic { name: "webhooks".into(), id: [7; 16] });
    let headers: [(&[u8], Option<&[u8]>); 6] = [
        (b"content-type", Some(b"application/json")),
        (b"x", Some(b"first")),
        (b"x", Some(b"last")),
        (b"empty", None),
        (b"raw", Some(b"\xff\x00")),
        (b"\xff", Some(b"no name")),
    ];
    let origin = Origin { topic, partition: 3, offset: 42 };
    Event {
        record: SourceRecord::new(origin, 1_700_000_000_000, Some(b"acc-1"), Some(data.as_bytes()), headers),
        id: "e-1".into(),
        kind: "orders.paid".into(),
        source: "https://shop.example.com".into(),
        subject: None,
        time: Some("2026-05-04T12:30:00Z".into()),
        schema: None,
        key: None,
        data: json_value(data),
    }
}

pub fn steps() -> Vec<StepView> {
    let completed = |output: &str| StepView { status: StepStatus::Completed, output: json_value(output) };
    vec![
        completed(r#"{"x": {"y": [1, 2]}, "gross": 119.0}"#),
        completed(r#"{"case": "fast"}"#),
        StepView { status: StepStatus::Skipped, output: Value::Null },
        StepView::default(),
        StepView::default(),
    ]
}

/// Runs `work` with the scope of the tests over this data.
pub fn with_scope<T>(data: &str, work: impl FnOnce(&Scope<'_>) -> T) -> T {
    let (event, steps, vars) = (event(data), steps(), json_value(r#"{"limit": 10, "names": {"DE": "Germany"}}"#));
    work(&Scope {
        event: &event,
        steps: &steps,
        execution_id: "0007-abc",
        workflow_id: "order-paid",
        workflow_version: "1.2.0",
        vars: &vars,
    })
}

pub fn compiled(source: &str) -> Result<Program, CompileError> {
    compile(source, &Names::of_step(&STEPS))
}

pub fn evaluate_over(data: &str, source: &str) -> Result<Value, EvaluationError> {
    let program = compiled(source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
    with_scope(data, |scope| program.evaluate(scope, &mut Budget::new(limits::EXECUTION_BUDGET)))
}

/// The value of `source` is what `expected`, which is JSON, says.
#[track_caller]
pub fn check(source: &str, expected: &str) {
    match evaluate_over(DATA, source) {
        Ok(value) => assert_eq!(json_text(&value), expected, "{source}"),
        Err(error) => panic!("{source}: {error}"),
    }
}

/// Evaluating `source` fails, and the message holds `expected`.
#[track_caller]
pub fn check_fails(source: &str, expected: &str) {
    match evaluate_over(DATA, source) {
        Ok(value) => panic!("{source} is {}", json_text(&value)),
        Err(error) => assert!(error.message.contains(expected), "{source}: {error}"),
    }
}

/// `source` is refused at `offset`; message and help hold the given words.
#[track_caller]
pub fn check_refused(names: &Names<'_>, source: &str, offset: usize, message: &str, help: &str) {
    match compile(source, names) {
        Ok(_) => panic!("{source} compiles"),
        Err(error) => {
            assert!(error.message.contains(message), "{source}: {error:?}");
            assert!(error.help.as_deref().unwrap_or_default().contains(help), "{source}: {error:?}");
            assert_eq!(error.offset, offset, "{source}: {error:?}");
        }
    }
}
