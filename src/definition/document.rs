//! The document of a workflow: its outermost fields, and everything they hold.

use std::sync::Arc;

use super::config::{self, Config};
use super::limits;
use super::node::{Kind, Node, quote};
use super::reader::{Fields, Reader};
use super::{step, trigger};
use crate::engine::limits as engine_limits;
use crate::engine::plan::{Plan, age_beside};
use crate::engine::trigger::Trigger;
use crate::engine::workflow::{Status, WorkflowId};

const FIELDS: [&str; 10] =
    ["id", "name", "description", "version", "status", "type", "triggers", "config", "steps", "metadata"];

/// What a document says.
#[derive(Debug)]
pub(super) struct Document {
    pub id: WorkflowId,
    /// The byte of the source at which the id is written.
    pub id_at: usize,
    pub name: Option<Arc<str>>,
    pub version: Arc<str>,
    pub status: Status,
    pub triggers: Vec<Trigger>,
    pub plan: Plan,
}

/// Reads a document. None if anything is wrong with it, which the reader then knows.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Document> {
    let what = "the workflow";
    let fields = reader.fields(node, what, &FIELDS)?;
    let id = reader.required(&fields, what, "id", "order-paid").and_then(|node| workflow_id(reader, node));
    let name = fields.get("name").and_then(|node| reader.text("name", node, limits::NAME_BYTES));
    let version = reader.required(&fields, what, "version", "1.0.0").and_then(|node| version(reader, node));
    let status = fields.get("status").map_or(Some(Status::Active), |node| status(reader, node));
    check_description(reader, &fields);
    check_type(reader, &fields);
    let triggers = reader.required(&fields, what, "triggers", "[{event: orders.paid}]");
    let triggers = triggers.map(|node| trigger::read_all(reader, node));
    let config = fields.get("config").map_or_else(Config::default, |node| config::read(reader, node));
    let steps = reader.required(&fields, what, "steps", "[{id: …, type: …, config: …}]");
    let plan = steps.and_then(|node| step::read_all(reader, node, config.retries.as_ref()));
    if !reader.is_content() {
        return None;
    }
    let (triggers, conditions) = triggers?.into_iter().unzip();
    let mut plan = plan?;
    plan.vars = config.vars;
    plan.conditions = conditions;
    plan.timeout = config.timeout;
    plan.age_max = config.age_max.unwrap_or(plan.age_max.max(age_beside(config.timeout.unwrap_or_default())));
    plan.turns = config.turns;
    let id_at = fields.get("id").map_or(fields.at, |id| id.at);
    Some(Document {
        id: id?,
        id_at,
        name: name.map(|it| it.value.clone()),
        version: version?,
        status: status?,
        triggers,
        plan,
    })
}

fn workflow_id(reader: &mut Reader<'_>, node: &Node) -> Option<WorkflowId> {
    let text = reader.text("id", node, engine_limits::ID_BYTES)?;
    WorkflowId::new(&text.value).or_else(|| {
        let message = format!("{} cannot be the id of a workflow", quote(&text.value));
        reader.wrong(node.at, message, "use 1 to 64 lower-case letters, digits and `-`")
    })
}

fn version(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<str>> {
    let text = reader.text("version", node, limits::VERSION_BYTES)?;
    if is_version(&text.value) {
        return Some(text.value.clone());
    }
    let message = format!("{} cannot be a version", quote(&text.value));
    reader.wrong(node.at, message, "use letters, digits, `.`, `_`, `+` and `-`, such as 1.2.0")
}

/// Whether it can be the version of a workflow: it is part of keys and of labels.
pub(super) fn is_version(text: &str) -> bool {
    let legal = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'+' | b'-');
    (1..=limits::VERSION_BYTES).contains(&text.len()) && text.bytes().all(legal)
}

fn status(reader: &mut Reader<'_>, node: &Node) -> Option<Status> {
    reader.choice("status", node, &Status::ALL.map(|it| (it.name(), it)))
}

fn check_type(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    let choices = [("custom", true), ("n8n", false), ("temporal", false)];
    let Some(node) = fields.get("type") else { return };
    if let Some(false) = reader.choice("type", node, &choices) {
        let message = "this version runs only workflows of type `custom`, whose steps run here";
        reader.wrong::<()>(node.at, message, "write `type: custom` or leave it out");
    }
}

/// Checks what people read: `description` and `metadata`, in which any name is free.
fn check_description(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    fields.get("description").map(|node| reader.text("description", node, limits::DESCRIPTION_BYTES));
    let metadata = fields.get("metadata").and_then(|node| reader.map("metadata", node)).unwrap_or_default();
    for field in metadata {
        match (&*field.name, &field.value.kind) {
            ("tags", Kind::Null) => {}
            ("tags", _) => {
                for tag in reader.list("tags", &field.value).unwrap_or_default() {
                    reader.text("tags", tag, limits::NAME_BYTES);
                }
            }
            ("environment" | "createdBy", Kind::Null) => {}
            ("environment" | "createdBy", _) => {
                reader.text(&field.name, &field.value, limits::DESCRIPTION_BYTES);
            }
            _ => {}
        }
    }
}
