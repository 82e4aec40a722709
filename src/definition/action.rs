//! What steps do: the `config` of each type.

use std::sync::Arc;

use super::node::{Kind, Node, quote};
use super::reader::{Fields, Reader, suggestion};
use super::retry::Retries;
use super::trigger::parsed;
use super::{call, limits as definition_limits, wait};
use crate::engine::expression::{Program, Template};
use crate::engine::plan::{Action, ErrorClass, LogLevel, Produce};
use crate::engine::serializer::Subject;
use crate::engine::trigger::parse_topic;
use crate::engine::value::Value;
use crate::expression::Names;

/// The types of steps that this version runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepType {
    Transform,
    Condition,
    Switch,
    Produce,
    Log,
    Fail,
    Http,
    Delay,
    Approval,
    Workflow,
}

const STEP_TYPES: [(&str, StepType); 10] = [
    ("transform", StepType::Transform),
    ("condition", StepType::Condition),
    ("switch", StepType::Switch),
    ("produce", StepType::Produce),
    ("log", StepType::Log),
    ("fail", StepType::Fail),
    ("http", StepType::Http),
    ("delay", StepType::Delay),
    ("approval", StepType::Approval),
    ("workflow", StepType::Workflow),
];

/// The types of steps that come later: known by name, and refused.
const LATER_STEP_TYPES: [&str; 2] = ["n8n", "temporal"];

/// Reads the `type` of a step.
pub(super) fn read_type(reader: &mut Reader<'_>, node: &Node) -> Option<StepType> {
    if let Kind::Text(text) = &node.kind {
        let runnable = STEP_TYPES.map(|(name, _)| name);
        if LATER_STEP_TYPES.contains(&&*text.value) {
            let message = format!("this version does not run steps of type `{}`", text.value);
            return reader.wrong(node.at, message, format!("use {}", runnable.join(", ")));
        }
        if !runnable.contains(&&*text.value) {
            let known: Vec<&str> = runnable.into_iter().chain(LATER_STEP_TYPES).collect();
            let message = format!("there is no step type {}", quote(&text.value));
            return reader.wrong(node.at, message, suggestion(&text.value, &known));
        }
    }
    reader.choice("type", node, &STEP_TYPES)
}

/// The names of a switch's cases and default, as far as they are right: what dependencies can name.
pub(super) fn case_names(step: &Fields<'_>) -> Vec<Arc<str>> {
    let Some(config) = step.get("config") else { return Vec::new() };
    let cases = config.field("cases").map(Node::items).unwrap_or_default();
    let named = cases.iter().filter_map(|case| case.field("name"));
    named.chain(config.field("default")).filter_map(Node::text).map(|text| text.value.clone()).collect()
}

/// Reads the `config` of a step, and what only steps of its type read beside it. `retries` is what the workflow says about retries.
pub(super) fn read(
    reader: &mut Reader<'_>,
    step_type: StepType,
    step: &Fields<'_>,
    names: &Names<'_>,
    retries: Option<&Retries>,
) -> Option<Action> {
    let node = reader.required(step, "the step", "config", "{…}");
    let read = match step_type {
        StepType::Transform => transform,
        StepType::Condition => condition,
        StepType::Switch => switch,
        StepType::Produce => produce,
        StepType::Log => log,
        StepType::Fail => fail,
        StepType::Delay => wait::delay,
        StepType::Approval => return wait::approval(reader, step, node?, names),
        StepType::Workflow => return wait::workflow(reader, step, node?, names),
        StepType::Http => return call::read(reader, step, node, names, retries),
    };
    read(reader, node?, names)
}

fn transform(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a transform";
    let fields = reader.fields(node, what, &["output"])?;
    let Some(output) = fields.get_or_null("output") else {
        return reader.wrong(node.at, format!("{what} has no `output`"), "add `output: {…}`");
    };
    Some(Action::Transform { output: reader.template(output, names)? })
}

fn condition(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a condition";
    let fields = reader.fields(node, what, &["if"])?;
    let test = reader.required(&fields, what, "if", "EXPRESSION")?;
    Some(Action::Condition { test: reader.condition("if", test, names)? })
}

fn switch(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a switch";
    let fields = reader.fields(node, what, &["cases", "default"])?;
    let default = fields.get("default").map(|node| case_name(reader, "default", node));
    let node = reader.required(&fields, what, "cases", "[{name: large, if: EXPRESSION}]")?;
    let items = reader.list("cases", node)?;
    if items.is_empty() {
        return reader.wrong(node.at, "`cases` is empty, so there is nothing to choose", "add {name: …, if: …}");
    }
    if items.len() > definition_limits::CASES_PER_SWITCH {
        let message = format!("the switch has {} cases", items.len());
        return reader.wrong(node.at, message, format!("keep at most {}", definition_limits::CASES_PER_SWITCH));
    }
    let mut cases: Vec<(Arc<str>, Program)> = Vec::with_capacity(items.len());
    for item in items {
        let Some((name, test)) = case(reader, item, names) else { continue };
        if cases.iter().any(|(other, _)| *other == name) {
            let message = format!("two cases are called {}", quote(&name));
            reader.wrong::<()>(item.at, message, "give this one another name, or join their tests with ||");
        }
        cases.push((name, test));
    }
    let default = default.map_or(Some(None), |it| it.map(Some))?;
    (cases.len() == items.len()).then_some(Action::Switch { cases, default })
}

fn case(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<(Arc<str>, Program)> {
    let fields = reader.fields(node, "the case", &["name", "if"])?;
    let name = reader.required(&fields, "the case", "name", "large");
    let name = name.and_then(|node| case_name(reader, "name", node));
    let test = reader.required(&fields, "the case", "if", "EXPRESSION");
    let test = test.and_then(|node| reader.condition("if", node, names));
    Some((name?, test?))
}

fn case_name(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Arc<str>> {
    let text = reader.text(name, node, definition_limits::NAME_BYTES)?;
    let legal = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    if text.value.chars().all(legal) {
        return Some(text.value.clone());
    }
    let message = format!("{} cannot be the name of a case", quote(&text.value));
    reader.wrong(node.at, message, "use letters, digits, `_` and `-`")
}

fn produce(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a produce step";
    let known = ["topic", "key", "value", "headers", "partition", "format", "subject"];
    let fields = reader.fields(node, what, &known)?;
    let topic = reader.required(&fields, what, "topic", "TOPIC").and_then(|node| topic(reader, node, names));
    let key = fields.get("key").map(|node| reader.template(node, names));
    let value = match fields.get_or_null("value") {
        Some(node) => reader.template(node, names),
        None => reader.wrong(node.at, format!("{what} has no `value`"), "add one; `value: null` writes a tombstone"),
    };
    let headers = fields.get("headers").map_or(Some(Vec::new()), |node| headers(reader, node, names));
    let partition = fields.get("partition").map(|node| partition(reader, node, names));
    let subject = subject(reader, &fields, topic.as_ref());
    Some(Action::Produce(Produce {
        subject: subject?,
        topic: topic?,
        key: key.map_or(Some(None), |it| it.map(Some))?,
        value: value?,
        headers: headers?,
        partition: partition.map_or(Some(None), |it| it.map(Some))?,
    }))
}

fn topic(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Template> {
    let text = reader.text("topic", node, crate::engine::limits::EXPRESSION_BYTES)?;
    let template = reader.template(node, names)?;
    if let Template::Literal(Value::Text(name)) = &template {
        parsed(reader, text, parse_topic(name))?;
    }
    Some(template)
}

fn headers(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Vec<(Arc<str>, Template)>> {
    let fields = reader.map("headers", node)?;
    if fields.len() > definition_limits::HEADERS_PER_RECORD {
        let message = format!("the record has {} headers", fields.len());
        return reader.wrong(node.at, message, format!("keep at most {}", definition_limits::HEADERS_PER_RECORD));
    }
    let mut headers = Vec::with_capacity(fields.len());
    for field in fields {
        if field.name.is_empty() || field.name.len() > definition_limits::NAME_BYTES || field.name.contains("${{") {
            let message = format!("{} cannot be the name of a header", quote(&field.name));
            reader.wrong::<()>(field.at, message, "write a short plain text; only values can be expressions");
        }
        headers.extend(reader.template(&field.value, names).map(|value| (field.name.clone(), value)));
    }
    (headers.len() == fields.len()).then_some(headers)
}

fn partition(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Template> {
    if node.text().is_some_and(|text| text.value.contains("${{")) {
        return reader.template(node, names);
    }
    let most = u64::from(i32::MAX.unsigned_abs());
    reader.integer("partition", node, 0..=most).map(|_| Template::Literal(node.to_value()))
}

/// The subject whose schema the value is written with, if it is Avro: the one that is named, else that of the topic (TopicNameStrategy).
fn subject(reader: &mut Reader<'_>, fields: &Fields<'_>, topic: Option<&Template>) -> Option<Option<Subject>> {
    let is_avro = match fields.get("format") {
        Some(node) => reader.choice("format", node, &[("json", false), ("avro", true)])?,
        None => false,
    };
    let Some(node) = fields.get("subject") else {
        return match topic {
            _ if !is_avro => Some(None),
            Some(Template::Literal(Value::Text(topic))) => Some(Some(Subject::new(format!("{topic}-value")))),
            Some(_) => {
                let message = "the topic is an expression, so its subject is not known here";
                reader.wrong(fields.get("format")?.at, message, "name the `subject` whose schema the value has")
            }
            None => None,
        };
    };
    if !is_avro {
        return reader.wrong(node.at, "`subject` is for `format: avro`", "write `format: avro`, or remove `subject`");
    }
    let text = reader.text("subject", node, definition_limits::SUBJECT_BYTES)?;
    if text.value.is_empty() || matches!(&*text.value, "." | "..") || text.value.contains("${{") {
        let message = format!("{} cannot be the name of a subject", quote(&text.value));
        return reader.wrong(node.at, message, "write a plain text, like orders-value; it cannot be an expression");
    }
    Some(Some(Subject::new(text.value.clone())))
}

fn log(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a log step";
    let fields = reader.fields(node, what, &["level", "message"])?;
    let choices =
        [("debug", LogLevel::Debug), ("info", LogLevel::Info), ("warn", LogLevel::Warn), ("error", LogLevel::Error)];
    let level = fields.get("level").map_or(Some(LogLevel::Info), |node| reader.choice("level", node, &choices));
    let message = message(reader, &fields, what, names);
    Some(Action::Log { level: level?, message: message? })
}

fn fail(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a fail step";
    let fields = reader.fields(node, what, &["message", "class"])?;
    let choices = [ErrorClass::Permanent, ErrorClass::Retryable, ErrorClass::Config].map(|it| (it.name(), it));
    let class = fields.get("class").map_or(Some(ErrorClass::Permanent), |node| reader.choice("class", node, &choices));
    let message = message(reader, &fields, what, names);
    Some(Action::Fail { message: message?, class: class? })
}

fn message(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str, names: &Names<'_>) -> Option<Template> {
    let node = reader.required(fields, what, "message", "TEXT")?;
    reader.text("message", node, definition_limits::DESCRIPTION_BYTES)?;
    reader.template(node, names)
}
