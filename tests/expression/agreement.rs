//! Random expressions mean the same here and to the interpreter of the `cel` crate, except where the difference is meant:
//! arithmetic of mixed numbers and results that are not finite do not occur in what is generated, or are passed over.

use std::collections::HashMap;
use std::time::Duration;

use cel::{Context, Program, Value as Cel};
use proptest::prelude::*;
use tidegate::engine::value::Value;

use crate::support::{DATA, evaluate_over};

/// What the other interpreter says; None where it says nothing that binds us.
fn by_cel(source: &str) -> Option<Result<Value, ()>> {
    // The library recurses so deep that an unoptimised build of it overflows the stack of a test.
    let library = std::thread::Builder::new().stack_size(64 << 20);
    std::thread::scope(|scope| library.spawn_scoped(scope, || run_cel(source)).unwrap().join().unwrap())
}

fn run_cel(source: &str) -> Option<Result<Value, ()>> {
    let program = Program::compile(source).ok()?;
    let data: serde_json::Value = serde_json::from_str(DATA).unwrap();
    let mut context = Context::default();
    context.add_variable_from_value("event", to_cel(&serde_json::json!({ "data": data })));
    match program.execute(&context) {
        Ok(value) => converted(&value).map(Ok),
        Err(_) => Some(Err(())),
    }
}

/// With whole numbers as `int`, which is how they are read here; the library would make them `uint`.
fn to_cel(value: &serde_json::Value) -> Cel {
    use serde_json::Value as Json;
    match value {
        Json::Null => Cel::Null,
        Json::Bool(it) => Cel::Bool(*it),
        Json::Number(it) => match (it.as_i64(), it.as_u64(), it.as_f64()) {
            (Some(it), ..) => Cel::Int(it),
            (None, Some(it), _) => Cel::UInt(it),
            (None, None, it) => Cel::Float(it.unwrap_or_default()),
        },
        Json::String(it) => Cel::from(it.as_str()),
        Json::Array(items) => Cel::from(items.iter().map(to_cel).collect::<Vec<_>>()),
        Json::Object(fields) => {
            let fields: HashMap<String, Cel> =
                fields.iter().map(|(name, field)| (name.clone(), to_cel(field))).collect();
            Cel::from(fields)
        }
    }
}

fn converted(value: &Cel) -> Option<Value> {
    Some(match value {
        Cel::Null => Value::Null,
        Cel::Bool(it) => Value::Bool(*it),
        Cel::Int(it) => Value::Int(*it),
        Cel::UInt(it) => Value::UInt(*it),
        Cel::Float(it) if it.is_finite() => Value::Float(*it),
        Cel::String(it) => Value::text(it.as_str()),
        Cel::List(items) => Value::List(items.iter().map(converted).collect::<Option<_>>()?),
        _ => return None,
    })
}

fn whole() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (-20_i64..20).prop_map(|it| format!("({it})")),
        Just("9223372036854775807".to_owned()),
        Just("event.data.amount".to_owned()),
        Just("event.data.items[1].n".to_owned()),
        Just("event.data.gone".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), prop::sample::select(vec!["+", "-", "*"]), inner.clone(), inner.clone())
                .prop_map(|(a, op, b, c)| format!("({a} {op} {b} {op} {c})")),
            (any::<bool>(), inner.clone(), inner.clone()).prop_map(|(test, a, b)| format!("({test} ? {a} : {b})")),
            inner.clone().prop_map(|a| format!("(-{a})")),
            inner.prop_map(|a| format!("int(string({a}))")),
        ]
    })
    .boxed()
}

fn double() -> BoxedStrategy<String> {
    let leaf = prop_oneof![(-9_i64..9).prop_map(|it| format!("({it}.25)")), Just("event.data.rate".to_owned())];
    leaf.prop_recursive(2, 12, 2, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            // Never by zero, which is infinite there and an error here.
            (inner, 1_i64..9).prop_map(|(a, b)| format!("({a} / {b}.5)")),
        ]
    })
    .boxed()
}

fn text() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        "[aäb😀]{0,4}".prop_map(|it| format!("'{it}'")),
        Just("event.data.name".to_owned()),
        Just("event.data.customer.tags[0]".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} + {b})")),
            whole().prop_map(|a| format!("string({a})")),
            (truth(), inner.clone(), inner).prop_map(|(test, a, b)| format!("({test} ? {a} : {b})")),
        ]
    })
    .boxed()
}

fn list() -> BoxedStrategy<String> {
    prop_oneof![
        prop::collection::vec(whole(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
        Just("event.data.items.map(i, i.n)".to_owned()),
        (whole(), whole()).prop_map(|(a, b)| format!("([{a}, 3] + [{b}])")),
        whole().prop_map(|a| format!("[1, 2, 3, 4].filter(x, x > {a})")),
        whole().prop_map(|a| format!("[1, 2, 0].map(x, x * 2 + {a})")),
    ]
    .boxed()
}

fn simple_truth() -> BoxedStrategy<String> {
    let compare = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    prop_oneof![
        any::<bool>().prop_map(|it| it.to_string()),
        Just("event.data.yes".to_owned()),
        Just("event.data.gone".to_owned()),
        Just("has(event.data.customer.gone)".to_owned()),
        Just("has(event.data.customer.name)".to_owned()),
        (whole(), compare(), whole()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        (double(), compare(), double()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        (list(), prop::sample::select(vec!["==", "!="]), list()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        (whole(), list()).prop_map(|(a, b)| format!("({a} in {b})")),
    ]
    .boxed()
}

fn truth() -> BoxedStrategy<String> {
    simple_truth()
        .prop_recursive(3, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} || {b} || {c})")),
                inner.clone().prop_map(|a| format!("(!{a})")),
                (list(), prop::sample::select(vec!["all", "exists", "exists_one"]), whole())
                    .prop_map(|(a, fold, b)| format!("{a}.{fold}(x, 10 / x > {b})")),
            ]
        })
        .boxed()
}

fn texts_compared() -> BoxedStrategy<String> {
    let compare = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let method = prop::sample::select(vec!["contains", "startsWith", "endsWith"]);
    prop_oneof![
        (text(), compare, text()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        (text(), method, text()).prop_map(|(a, method, b)| format!("{a}.{method}({b})")),
        text().prop_map(|a| format!("size({a})")),
        text().prop_map(|a| format!("{a}.matches('^[ab]+$')")),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn our_evaluator_agrees_with_the_library(
        source in prop_oneof![whole(), double(), text(), list(), truth(), texts_compared()]
    ) {
        prop_assume!(source.len() < 2_000);
        let started = std::time::Instant::now();
        let ours = evaluate_over(DATA, &source);
        prop_assert!(started.elapsed() < Duration::from_secs(10));
        match (by_cel(&source), ours) {
            (None, _) => {}
            (Some(Ok(theirs)), Ok(ours)) => prop_assert_eq!(theirs, ours, "{}", source),
            (Some(Err(())), Err(_)) => {}
            (Some(Ok(theirs)), Err(ours)) => prop_assert!(false, "{}: {:?}, but here {}", source, theirs, ours),
            (Some(Err(())), Ok(ours)) => prop_assert!(false, "{}: fails, but here {:?}", source, ours),
        }
    }
}
