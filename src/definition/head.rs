//! The head of an applied definition: what matching needs of it, read without building or compiling the rest. Applying has
//! checked the whole; an instance that learns of a hundred thousand definitions must not do it again.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::is_version;
use super::json;
use crate::engine::trigger::{ClauseError, Pattern, SourcePattern, Trigger, TypePattern, parse_schema, parse_topic};
use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

/// Why the head of a definition could not be read: it was not applied by `tidegate apply`, or by a version that knew more.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It is not the JSON of a workflow.
    #[error("the definition is not the JSON of a workflow")]
    Json(#[source] serde_json::Error),
    /// A field holds what it cannot hold.
    #[error("the definition has a wrong `{field}`: {message}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    triggers: Vec<TriggerHead<'a>>,
}

#[derive(Deserialize)]
struct TriggerHead<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    topic: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    schema: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "match")]
    pattern: Option<&'a RawValue>,
}

/// Reads id, version, status and triggers of a definition's JSON. The status is what the document says; a pointer may say
/// another one.
pub fn head(document: &[u8], content_hash: ContentHash) -> Result<Workflow, HeadError> {
    let head: Head<'_> = serde_json::from_slice(document).map_err(HeadError::Json)?;
    let id = WorkflowId::new(&head.id).ok_or_else(|| wrong("id", "it is no workflow id"))?;
    if !is_version(&head.version) {
        return Err(wrong("version", "it is no version"));
    }
    let status = match &head.status {
        None => Status::Active,
        Some(name) => parse_status(name).ok_or_else(|| wrong("status", "there is no such status"))?,
    };
    let triggers = head.triggers.iter().map(trigger).collect::<Result<_, _>>()?;
    Ok(Workflow { id, version: head.version.as_ref().into(), status, content_hash, triggers })
}

/// The status of that name.
pub(super) fn parse_status(name: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|status| status.name() == name)
}

fn trigger(head: &TriggerHead<'_>) -> Result<Trigger, HeadError> {
    let clause = |field| move |error: ClauseError| wrong(field, error.message);
    // Whoever names a schema may leave the type out.
    let event = head.event.as_deref().or_else(|| head.schema.is_some().then_some("*"));
    let event = event.ok_or_else(|| wrong("triggers", "one has no event"))?;
    let mut trigger = Trigger::on(TypePattern::parse(event).map_err(clause("event"))?);
    trigger.schema = head.schema.as_deref().map(parse_schema).transpose().map_err(clause("schema"))?;
    trigger.topic = head.topic.as_deref().map(parse_topic).transpose().map_err(clause("topic"))?;
    trigger.source = head.source.as_deref().map(SourcePattern::parse).transpose().map_err(clause("source"))?;
    trigger.pattern = head.pattern.map(pattern).transpose()?;
    Ok(trigger)
}

fn pattern(raw: &RawValue) -> Result<Pattern, HeadError> {
    let first = |message: Option<String>| wrong("match", message.unwrap_or_default());
    let node = json::read(raw.get()).map_err(|mistakes| first(mistakes.into_iter().next().map(|it| it.message)))?;
    Pattern::parse(&node.to_value()).map_err(|errors| first(errors.into_iter().next().map(|it| it.message)))
}

fn wrong(field: &'static str, message: impl Into<String>) -> HeadError {
    HeadError::Field { field, message: message.into() }
}
