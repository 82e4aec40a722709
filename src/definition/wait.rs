//! Steps that wait for time, for somebody, or for another workflow.

use std::time::Duration;

use super::limits;
use super::node::{Node, quote};
use super::reader::{Fields, Reader};
use crate::engine::limits as engine_limits;
use crate::engine::plan::{Action, Approval, ChildCall, OnError, Wait};
use crate::engine::value::parse_milliseconds;
use crate::engine::workflow::WorkflowId;
use crate::expression::Names;

/// How long is written, not computed, so that it is right before anything waits; a point in time is computed.
pub(super) fn delay(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let what = "the config of a delay";
    let fields = reader.fields(node, what, &["for", "until"])?;
    let Some(until) = fields.get("until") else {
        let node = reader.required(&fields, what, "for", "30s")?;
        return reader.duration("for", node).map(|it| Action::Wait(Wait::Delay(it)));
    };
    if let Some(node) = fields.get("for") {
        reader.wrong::<()>(
            node.at,
            "a delay waits `for` some time or `until` a point in time, not both",
            "leave one out",
        );
        return None;
    }
    let text = reader.text("until", until, engine_limits::EXPRESSION_BYTES)?;
    if !text.value.contains("${{") && parse_milliseconds(&text.value).is_none() {
        let message = format!("{} is no point in time", quote(&text.value));
        return reader.wrong(
            until.at,
            message,
            "write one in RFC 3339, such as 2030-01-01T00:00:00Z, or an expression",
        );
    }
    Some(Action::Wait(Wait::Until(reader.template(until, names)?)))
}

/// How long a step may wait, as all steps say it.
fn timeout(reader: &mut Reader<'_>, step: &Fields<'_>) -> Option<Option<Duration>> {
    step.get("timeout").map_or(Some(None), |node| reader.duration("timeout", node).map(Some))
}

/// Its `config` says how long, as it says what then; the step may say it too, and the shorter of both counts.
pub(super) fn approval(reader: &mut Reader<'_>, step: &Fields<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let of_step = timeout(reader, step);
    let fields = reader.fields(node, "the config of an approval", &["timeout", "onTimeout", "message"])?;
    let timeout = fields.get("timeout").map(|node| reader.duration("timeout", node));
    let choices = [("fail", OnError::Fail), ("continue", OnError::Continue)];
    let on_timeout = fields.get("onTimeout").map(|node| {
        if fields.get("timeout").or(step.get("timeout")).is_none() {
            let message = "`onTimeout` says what happens after `timeout`, and there is none";
            reader.wrong::<()>(node.at, message, "add `timeout: 1d` or leave it out");
        }
        reader.choice("onTimeout", node, &choices)
    });
    let message = fields.get("message").map(|node| {
        reader.text("message", node, limits::DESCRIPTION_BYTES)?;
        reader.template(node, names)
    });
    let timeouts = [of_step?, timeout.map_or(Some(None), |it| it.map(Some))?];
    Some(Action::Wait(Wait::Approval(Approval {
        timeout: timeouts.into_iter().flatten().min(),
        on_timeout: on_timeout.map_or(Some(OnError::Fail), |it| it)?,
        message: message.map_or(Some(None), |it| it.map(Some))?,
    })))
}

pub(super) fn workflow(reader: &mut Reader<'_>, step: &Fields<'_>, node: &Node, names: &Names<'_>) -> Option<Action> {
    let timeout = timeout(reader, step);
    let what = "the config of a workflow step";
    let fields = reader.fields(node, what, &["id", "version", "input"])?;
    let id = reader.required(&fields, what, "id", "WORKFLOW").and_then(|node| workflow_id(reader, node));
    let version = fields.get("version").map(|node| version(reader, node));
    let input = fields.get_or_null("input").map(|node| reader.template(node, names));
    Some(Action::Wait(Wait::Workflow(ChildCall {
        workflow: id?,
        version: version.map_or(Some(None), |it| it.map(Some))?,
        input: input.map_or(Some(None), |it| it.map(Some))?,
        timeout: timeout?,
    })))
}

fn workflow_id(reader: &mut Reader<'_>, node: &Node) -> Option<WorkflowId> {
    let text = reader.text("id", node, engine_limits::ID_BYTES)?;
    WorkflowId::new(&text.value).or_else(|| {
        let message = format!("{} is no id of a workflow", quote(&text.value));
        reader.wrong(node.at, message, "write one of lower-case letters, digits and `-`")
    })
}

fn version(reader: &mut Reader<'_>, node: &Node) -> Option<std::sync::Arc<str>> {
    let text = reader.text("version", node, limits::NAME_BYTES)?;
    if super::document::is_version(&text.value) {
        return Some(text.value.clone());
    }
    let message = format!("{} is no version", quote(&text.value));
    reader.wrong(
        node.at,
        message,
        "write one as the workflow has it, such as \"1.0.0\", or leave it out for the one in use",
    )
}
