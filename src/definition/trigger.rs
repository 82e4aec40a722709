//! The `triggers` of a workflow.

use super::node::{Node, Text};
use super::reader::Reader;
use crate::engine::expression::Program;
use crate::engine::limits;
use crate::engine::trigger::{ClauseError, Pattern, SourcePattern, Trigger, TypePattern, parse_schema, parse_topic};
use crate::expression::Names;

const FIELDS: [&str; 6] = ["event", "topic", "source", "schema", "match", "where"];

/// Reads the list of triggers, each with its `where`.
pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node) -> Vec<(Trigger, Option<Program>)> {
    let Some(items) = reader.list("triggers", node) else { return Vec::new() };
    if items.is_empty() {
        reader.wrong::<()>(node.at, "`triggers` is empty, so nothing would start the workflow", "add `- event: TYPE`");
    }
    if items.len() > limits::TRIGGERS_PER_WORKFLOW {
        let message = format!("the workflow has {} triggers", items.len());
        let remedy = format!("keep {} of them; one `match` can hold many values", limits::TRIGGERS_PER_WORKFLOW);
        reader.wrong::<()>(node.at, message, remedy);
        return Vec::new();
    }
    items.iter().filter_map(|item| read(reader, item)).collect()
}

fn read(reader: &mut Reader<'_>, node: &Node) -> Option<(Trigger, Option<Program>)> {
    let what = "the trigger";
    let fields = reader.fields(node, what, &FIELDS)?;
    // Whoever names a schema may leave the type out, which most often is the same.
    let event = match fields.get("event") {
        None if fields.get("schema").is_some() => TypePattern::parse("*").ok(),
        _ => reader
            .required(&fields, what, "event", "orders.paid")
            .and_then(|node| clause(reader, "event", node, TypePattern::parse)),
    };
    let topic = fields.get("topic").map(|node| clause(reader, "topic", node, parse_topic));
    let source = fields.get("source").map(|node| clause(reader, "source", node, SourcePattern::parse));
    let schema = fields.get("schema").map(|node| clause(reader, "schema", node, parse_schema));
    let pattern = fields.get("match").map(|node| pattern(reader, node));
    let condition = fields.get("where").map(|node| reader.condition("where", node, &Names::of_trigger()));
    let mut trigger = Trigger::on(event?);
    trigger.topic = topic.map_or(Some(None), |it| it.map(Some))?;
    trigger.source = source.map_or(Some(None), |it| it.map(Some))?;
    trigger.schema = schema.map_or(Some(None), |it| it.map(Some))?;
    trigger.pattern = pattern.map_or(Some(None), |it| it.map(Some))?;
    Some((trigger, condition.map_or(Some(None), |it| it.map(Some))?))
}

fn clause<T>(
    reader: &mut Reader<'_>,
    name: &str,
    node: &Node,
    parse: impl Fn(&str) -> Result<T, ClauseError>,
) -> Option<T> {
    let text = reader.text(name, node, limits::TRIGGER_TEXT_BYTES)?;
    parsed(reader, text, parse(&text.value))
}

/// What the engine read from a text, or its mistake at the character.
pub(super) fn parsed<T>(reader: &mut Reader<'_>, text: &Text, parsed: Result<T, ClauseError>) -> Option<T> {
    match parsed {
        Ok(it) => Some(it),
        Err(ClauseError { offset, message }) => reader.wrong_inside(text, offset, &message, None),
    }
}

fn pattern(reader: &mut Reader<'_>, node: &Node) -> Option<Pattern> {
    match Pattern::parse(&node.to_value()) {
        Ok(pattern) => Some(pattern),
        Err(errors) => {
            for error in errors {
                let mistake = super::diagnostic::Mistake::from_sentence(node.place_of(&error.pointer), &error.message);
                reader.note::<()>(mistake);
            }
            None
        }
    }
}
