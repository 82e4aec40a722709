//! The header `tidegate-dlq-state`: how the steps before the failure ended, with their whole outputs, as JSON that people and other
//! tools can read. JSON has fewer types than values have; which part is of another one stands beside the output, so that a resume goes
//! on with the very values.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Unreadable;
use crate::codec::object::Object;
use crate::codec::step::write_step;
use crate::engine::checkpoint::Parent;
use crate::engine::expression::StepStatus;
use crate::engine::ids::ExecutionId;
use crate::engine::limits;
use crate::engine::plan::ErrorClass;
use crate::engine::record::{Failure, FinishedStep};
use crate::engine::value::{JsonLimits, Map, Value, ValueRef, View, parse_milliseconds, read_json, write_json};

/// Parts of one output that may be of a type that JSON does not have.
const TYPED_PARTS: usize = limits::EXECUTION_OUTPUT_BYTES / 2;

/// What an output may be.
const BOUNDS: JsonLimits = JsonLimits {
    bytes: limits::DOCUMENT_BYTES,
    depth: limits::VALUE_DEPTH,
    nodes: limits::EXECUTION_OUTPUT_BYTES / 2 + 1,
};

/// The state as JSON.
pub(super) fn write(finished: &[FinishedStep], parent: Option<&Parent>) -> Vec<u8> {
    let mut into = Vec::with_capacity(256);
    let mut object = Object::begin(&mut into);
    object.list("steps", finished.iter(), |into, step| {
        let mut object = Object::begin(into);
        write_step(&mut object, step, usize::MAX);
        write_types(&mut object, "outputTypes", &step.output);
        object.end();
    });
    if let Some(Parent { execution, run, step, input, depth }) = parent {
        let mut object = Object::begin(object.field("parent"));
        object.plain("execution", execution.to_text().as_str());
        object.number("run", i64::from(*run));
        object.text("step", step);
        object.number("depth", i64::from(*depth));
        object.value("input", input);
        write_types(&mut object, "inputTypes", input);
        object.end();
    }
    object.end();
    into
}

/// Says which parts of a value are of types that JSON does not have.
fn write_types(object: &mut Object<'_>, name: &str, value: &Value) {
    let mut parts = Vec::new();
    collect(ValueRef::from(value), &mut String::new(), &mut parts);
    if !parts.is_empty() {
        object.list(name, parts.iter(), |into, part| {
            let mut object = Object::begin(into);
            object.text("at", &part.at);
            object.plain("type", part.kind);
            if let Some(nanos) = part.nanos {
                object.number("nanos", nanos);
            }
            object.end();
        });
    }
}

struct Part {
    at: String,
    kind: &'static str,
    nanos: Option<i64>,
}

/// The parts that would come back from JSON as something else.
fn collect(value: ValueRef<'_>, at: &mut String, into: &mut Vec<Part>) {
    let mut add = |kind, nanos| into.push(Part { at: at.clone(), kind, nanos });
    match value.view() {
        View::UInt(it) if i64::try_from(it).is_ok() => add("uint", None),
        View::Bytes(_) => add("bytes", None),
        View::Timestamp(nanos) => add("timestamp", Some(nanos)),
        View::Duration(nanos) => add("duration", Some(nanos)),
        View::List(list) => {
            for (number, item) in list.iter().enumerate() {
                let length = at.len();
                at.push('/');
                at.push_str(&number.to_string());
                collect(item, at, into);
                at.truncate(length);
            }
        }
        View::Map(map) => {
            for (name, field) in map.iter() {
                let length = at.len();
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                collect(field, at, into);
                at.truncate(length);
            }
        }
        View::Null | View::Bool(_) | View::Int(_) | View::UInt(_) | View::Float(_) | View::Text(_) => {}
    }
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    steps: Vec<StateStep<'a>>,
    #[serde(borrow)]
    parent: Option<StateParent<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateParent<'a> {
    execution: String,
    run: u32,
    step: String,
    depth: u32,
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(default)]
    input_types: Vec<StatePart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateStep<'a> {
    step_id: String,
    status: String,
    start_time: String,
    end_time: String,
    attempts: u32,
    #[serde(borrow)]
    output: &'a RawValue,
    #[serde(default)]
    output_types: Vec<StatePart>,
    error: Option<StateError>,
}

#[derive(Deserialize)]
struct StatePart {
    at: String,
    r#type: String,
    nanos: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateError {
    step_id: Option<String>,
    class: String,
    message: String,
}

/// Reads what [`write`] wrote, or what a tool made of it.
pub(super) fn read(json: &[u8]) -> Result<(Vec<FinishedStep>, Option<Arc<Parent>>), Unreadable> {
    let cannot =
        |error: serde_json::Error| Unreadable(format!("the header `tidegate-dlq-state` cannot be read: {error}"));
    let State { steps, parent } = serde_json::from_slice(json).map_err(cannot)?;
    if steps.len() > limits::STEPS_PER_WORKFLOW {
        return Err(Unreadable(format!("the state has {} steps, more than a workflow can have", steps.len())));
    }
    let parent = parent.map(|parent| {
        let StateParent { execution, run, step, depth, input, input_types } = parent;
        let wrong = |what: &str| Unreadable(format!("the state of the parent has {what}"));
        let execution = ExecutionId::parse(&execution).ok_or_else(|| wrong("no id of an execution"))?;
        let input =
            value(input, &input_types).map_err(|message| wrong(&format!("an input that cannot be read: {message}")))?;
        Ok::<_, Unreadable>(Arc::new(Parent { execution, run, step: step.into(), input, depth }))
    });
    Ok((steps.iter().map(step).collect::<Result<_, _>>()?, parent.transpose()?))
}

fn step(stored: &StateStep<'_>) -> Result<FinishedStep, Unreadable> {
    let StateStep { step_id, status, attempts, error, .. } = stored;
    let wrong = |what: &str| Unreadable(format!("the state of step `{step_id}` has {what}"));
    let statuses = [StepStatus::Completed, StepStatus::Failed, StepStatus::Skipped];
    let failure = error.as_ref().map(|error| {
        let class = ErrorClass::ALL.into_iter().find(|it| it.name() == error.class);
        let class = class.ok_or_else(|| wrong("an unknown class of error"))?;
        let step = error.step_id.as_deref().map(Into::into);
        Ok::<_, Unreadable>(Failure { step, class, message: crate::engine::run::cut(error.message.clone()) })
    });
    Ok(FinishedStep {
        id: step_id.as_str().into(),
        status: statuses.into_iter().find(|it| it.name() == status).ok_or_else(|| wrong("an unknown status"))?,
        started_ms: parse_milliseconds(&stored.start_time).ok_or_else(|| wrong("a startTime that is no time"))?,
        ended_ms: parse_milliseconds(&stored.end_time).ok_or_else(|| wrong("an endTime that is no time"))?,
        attempts: *attempts,
        output: value(stored.output, &stored.output_types)
            .map_err(|message| wrong(&format!("an output that cannot be read: {message}")))?,
        failure: failure.transpose()?,
    })
}

fn value(json: &RawValue, types: &[StatePart]) -> Result<Value, String> {
    if types.len() > TYPED_PARTS {
        return Err(format!("it has {} typed parts", types.len()));
    }
    let text = Bytes::copy_from_slice(json.get().as_bytes());
    let plain = read_json(text, &BOUNDS).map_err(|error| error.to_string())?;
    if types.is_empty() {
        return Ok(plain);
    }
    let parts = types.iter().map(|part| (part.at.as_str(), part)).collect();
    retyped(ValueRef::from(&plain), &mut String::new(), &parts)
}

/// An output as it is after a change to it as JSON. What the change leaves as it was keeps its type.
pub fn repaired(
    output: &Value,
    change: impl FnOnce(&mut serde_json::Value) -> Result<(), String>,
) -> Result<Value, String> {
    let mut text = Vec::new();
    write_json(output, &mut text);
    let before: serde_json::Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let mut after = before.clone();
    change(&mut after)?;
    let mut parts = Vec::new();
    collect(ValueRef::from(output), &mut String::new(), &mut parts);
    let is_as_before = |at: &str| before.pointer(at).is_some() && before.pointer(at) == after.pointer(at);
    let parts = parts.into_iter().filter(|part| is_as_before(&part.at));
    let kept: Vec<StatePart> =
        parts.map(|Part { at, kind, nanos }| StatePart { at, r#type: kind.to_owned(), nanos }).collect();
    let plain = read_json(after.to_string().into(), &BOUNDS).map_err(|error| error.to_string())?;
    let parts = kept.iter().map(|part| (part.at.as_str(), part)).collect();
    retyped(ValueRef::from(&plain), &mut String::new(), &parts)
}

type Parts<'a> = std::collections::HashMap<&'a str, &'a StatePart>;

/// The same value with the types that its parts have.
fn retyped(value: ValueRef<'_>, at: &mut String, parts: &Parts<'_>) -> Result<Value, String> {
    if let Some(part) = parts.get(at.as_str()) {
        return typed(value, part).ok_or_else(|| format!("at {at:?} is no {}", part.r#type));
    }
    let mut below = |name: &str, part: ValueRef<'_>| {
        let length = at.len();
        at.push('/');
        at.push_str(name);
        let read = retyped(part, at, parts);
        at.truncate(length);
        read
    };
    Ok(match value.view() {
        View::List(list) => {
            let items = list.iter().enumerate().map(|(number, item)| below(&number.to_string(), item));
            Value::List(items.collect::<Result<Vec<_>, _>>()?.into())
        }
        View::Map(map) => {
            let mut fields = Vec::new();
            for (name, field) in map.iter() {
                fields.push((name.into(), below(&name.replace('~', "~0").replace('/', "~1"), field)?));
            }
            Value::Map(std::sync::Arc::new(Map(fields)))
        }
        _ => value.to_value(),
    })
}

fn typed(value: ValueRef<'_>, part: &StatePart) -> Option<Value> {
    match (part.r#type.as_str(), value.view()) {
        ("uint", View::Int(it)) => u64::try_from(it).ok().map(Value::UInt),
        ("bytes", View::Text(text)) => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        ("timestamp", View::Text(_)) => part.nanos.map(Value::Timestamp),
        ("duration", View::Text(_)) => part.nanos.map(Value::Duration),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_keeps_the_types_of_what_it_leaves() {
        let output = Value::map(vec![
            ("amount".into(), Value::UInt(1)),
            ("when".into(), Value::Timestamp(5)),
            ("list".into(), Value::List([Value::Bytes(b"x".to_vec().into()), Value::Duration(7)].into())),
        ]);
        let change = |json: &mut serde_json::Value| {
            json["amount"] = 2.into();
            json["list"][1] = "gone".into();
            Ok(())
        };
        let repaired = repaired(&output, change).unwrap();
        assert!(matches!(repaired.get("amount"), Some(Value::Int(2))), "{repaired:?}");
        assert!(matches!(repaired.get("when"), Some(Value::Timestamp(5))), "{repaired:?}");
        let list = repaired.get("list").unwrap();
        assert!(matches!(list.at(0), Some(Value::Bytes(_))), "{list:?}");
        assert_eq!(list.at(1).unwrap().as_str(), Some("gone"));
    }

    #[test]
    fn a_repair_that_fails_says_why() {
        let failed = repaired(&Value::Int(1), |_| Err("no such path".into()));
        assert_eq!(failed.unwrap_err(), "no such path");
    }
}
