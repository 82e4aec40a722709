//! What `http` steps call. All that is written must be right already; what expressions say is checked when the call is made, by the same
//! rules, which stand in [`crate::engine::call`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::limits;
use super::node::{Field, Kind, Node, quote};
use super::reader::{Fields, Reader};
use super::retry::Retries;
use crate::engine::call::{
    Expected, HttpCall, PATH_BYTES, TEXT_BYTES, is_connector_name, is_header_value, path_problem,
};
use crate::engine::expression::Template;
use crate::engine::plan::{Action, Wait};
use crate::engine::value::Value;
use crate::expression::Names;

const FIELDS: [&str; 7] = ["connector", "method", "path", "query", "headers", "body", "expect"];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// How long an attempt may take of a step that does not say it.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The good answers of a step that does not name them.
const EXPECTED_DEFAULT: Expected = Expected::Class(2);

const SET: &str = "it is set for every call";
const TRACE: &str = "that of the event is passed on, and one is made where it has none";
/// Headers that are not a step's to set, and what is right instead. Most say how a call is framed: whoever sets them can smuggle in a
/// second one.
const OWNED_HEADERS: [(&str, &str); 14] = [
    ("host", "the host is that of the connector's `url`"),
    ("content-length", SET),
    ("transfer-encoding", SET),
    ("connection", SET),
    ("upgrade", SET),
    ("te", SET),
    ("trailer", SET),
    ("expect", SET),
    ("keep-alive", SET),
    ("idempotency-key", "every call carries one, the same for every attempt of the step"),
    ("traceparent", TRACE),
    ("tracestate", "that of the event is passed on"),
    ("user-agent", SET),
    ("accept-encoding", SET),
];

/// Reads what a step calls. `config` is None if it is missing, which is said already; `workflow` is what the workflow says about retries,
/// None if that was refused.
pub(super) fn read(
    reader: &mut Reader<'_>,
    step: &Fields<'_>,
    config: Option<&Node>,
    names: &Names<'_>,
    workflow: Option<&Retries>,
) -> Option<Action> {
    let timeout = step.get("timeout").map_or(Some(TIMEOUT_DEFAULT), |node| timeout(reader, node));
    let own = step
        .get("retryConfig")
        .map_or_else(|| Some(Retries::default()), |node| Retries::read(reader, "`retryConfig`", node));
    let retry = own.zip(workflow).and_then(|(own, workflow)| own.over(reader, workflow));
    let what = "the config of an http step";
    let fields = reader.fields(config?, what, &FIELDS)?;
    let connector = reader.required(&fields, what, "connector", "NAME").and_then(|node| connector(reader, node));
    let method = fields
        .get("method")
        .map_or(Some("GET"), |node| reader.choice("method", node, &METHODS.map(|name| (name, name))));
    let path =
        fields.get("path").map_or_else(|| Some(Template::Literal(Value::text("/"))), |node| path(reader, node, names));
    let query = fields.get("query").map_or(Some(Vec::new()), |node| query(reader, node, names));
    let headers = fields.get("headers").map_or(Some(Vec::new()), |node| headers(reader, node, names));
    let body = fields.get("body").map(|node| body(reader, node, names, method));
    let expect = fields.get("expect").map_or_else(|| Some(vec![EXPECTED_DEFAULT]), |node| expect(reader, node));
    Some(Action::Wait(Wait::Http(Box::new(HttpCall {
        connector: connector?,
        method: method?.into(),
        path: path?,
        query: query?,
        headers: headers?,
        body: body.map_or(Some(None), |it| it.map(Some))?,
        expect: expect?,
        timeout: timeout?,
        retry: retry?,
    }))))
}

fn timeout(reader: &mut Reader<'_>, node: &Node) -> Option<Duration> {
    let timeout = reader.duration("timeout", node)?;
    if timeout > limits::CALL_TIMEOUT {
        let message = "`timeout` of an http step is the longest time for one attempt, and this is more than an hour";
        return reader.wrong(node.at, message, "write at most 1h, and let it be retried");
    }
    Some(timeout)
}

/// The name is plain text, so that it is known before anything runs which connectors a workflow needs.
fn connector(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<str>> {
    let text = reader.text("connector", node, limits::DESCRIPTION_BYTES)?;
    if is_connector_name(&text.value) {
        return Some(text.value.clone());
    }
    if text.value.contains("${{") {
        let message = "`connector` is an expression, but must be known before the workflow runs";
        return reader.wrong(node.at, message, "write its name; a `switch` can choose between steps");
    }
    let message = format!("{} cannot be the name of a connector", quote(&text.value));
    reader.wrong(node.at, message, "write 1 to 64 of a-z A-Z 0-9 . _ -, as in `[connectors.NAME]`")
}

fn path(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Template> {
    let text = reader.text("path", node, PATH_BYTES)?;
    let template = reader.template(node, names)?;
    // An expression at the beginning may say the `/` itself.
    let start = if text.value.starts_with("${{") { "/" } else { "" };
    let problem = written(&template).and_then(|written| path_problem(&format!("{start}{written}")));
    if let Some(problem) = problem {
        let message = format!("`path` {problem}");
        return reader.wrong(node.at, message, "write a path from `/`, and what follows `?` in `query`");
    }
    Some(template)
}

fn query(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Vec<(Arc<str>, Template)>> {
    let fields = pairs(reader, "query", node, limits::QUERY_PARAMETERS_PER_CALL)?;
    let mut query = Vec::with_capacity(fields.len());
    for field in fields {
        let name = &field.name;
        if name.is_empty() || name.len() > limits::NAME_BYTES || name.contains("${{") {
            let message = format!("{} cannot be the name of a query parameter", quote(name));
            reader.wrong::<()>(field.at, message, "write a short plain text; only values can be expressions");
        }
        query.extend(value(reader, "query", field, names).map(|value| (name.clone(), value)));
    }
    (query.len() == fields.len()).then_some(query)
}

fn headers(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Vec<(Arc<str>, Template)>> {
    let fields = pairs(reader, "headers", node, limits::HEADERS_PER_RECORD)?;
    let (mut headers, mut seen) = (Vec::with_capacity(fields.len()), BTreeSet::new());
    for field in fields {
        let name = field.name.to_ascii_lowercase();
        check_header_name(reader, field.at, &name);
        if !seen.insert(name.clone()) {
            let message = format!("the header {} is written twice: case makes no difference", quote(&name));
            reader.wrong::<()>(field.at, message, "keep one of them");
        }
        let value = value(reader, "headers", field, names);
        if value.as_ref().and_then(written).is_some_and(|written| !is_header_value(&written)) {
            let message = format!("the header {} holds a control character, which would end it", quote(&name));
            reader.wrong::<()>(field.value.at, message, "write it on one line");
        }
        headers.extend(value.map(|value| (name.into(), value)));
    }
    (headers.len() == fields.len()).then_some(headers)
}

/// Checks the name of a header, in lower case.
fn check_header_name(reader: &mut Reader<'_>, at: usize, name: &str) {
    // Tokens of HTTP: RFC 9110, section 5.6.2.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.bytes().all(is_token) {
        let message = format!("{} cannot be the name of a header", quote(name));
        reader.wrong::<()>(at, message, "write letters, digits and `-`; only values can be expressions");
    }
    let owned = OWNED_HEADERS.iter().find(|(owned, _)| *owned == name).map(|(_, instead)| *instead);
    let instead = owned.or_else(|| name.starts_with("proxy-").then_some("it speaks to a proxy, not to the connector"));
    if let Some(instead) = instead {
        let message = format!("the header {} is not a step's to set", quote(name));
        reader.wrong::<()>(at, message, format!("leave it out; {instead}"));
    }
}

fn pairs<'n>(reader: &mut Reader<'_>, name: &str, node: &'n Node, most: usize) -> Option<&'n [Field]> {
    let fields = reader.map(name, node)?;
    if fields.len() > most {
        let message = format!("`{name}` has {} fields", fields.len());
        return reader.wrong(node.at, message, format!("keep at most {most}"));
    }
    Some(fields)
}

/// The value of a query parameter or a header: any scalar; null leaves it out.
fn value(reader: &mut Reader<'_>, name: &str, field: &Field, names: &Names<'_>) -> Option<Template> {
    let node = &field.value;
    if let Kind::List(_) | Kind::Map(_) = node.kind {
        let message = format!("{} in `{name}` is {}, not a text", quote(&field.name), node.describe());
        return reader.wrong(node.at, message, "write a text, a number or a bool");
    }
    let template = reader.template(node, names)?;
    match written(&template) {
        Some(written) if written.len() > TEXT_BYTES => {
            let message = format!("{} in `{name}` has {} bytes", quote(&field.name), written.len());
            reader.wrong(node.at, message, format!("write at most {TEXT_BYTES}"))
        }
        Some(_) | None => Some(template),
    }
}

/// The text of a template with a letter where each expression stands: what is wrong in it stays wrong whatever they say. None if all of it
/// is an expression, or it is no text.
fn written(template: &Template) -> Option<String> {
    match template {
        Template::Literal(Value::Text(text)) => Some(text.to_string()),
        Template::Text(parts) => Some(parts.iter().map(|part| written(part).unwrap_or_else(|| "x".into())).collect()),
        Template::Literal(_) | Template::Program(_) | Template::List(_) | Template::Map(_) => None,
    }
}

fn body(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>, method: Option<&str>) -> Option<Template> {
    let body = reader.template(node, names);
    if method == Some("HEAD") {
        return reader.wrong(node.at, "a HEAD request has no `body`", "leave it out, or use another method");
    }
    body
}

fn expect(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Expected>> {
    let items = reader.list("expect", node)?;
    if items.is_empty() {
        let message = "`expect` is empty, so no answer would be a good one";
        return reader.wrong(node.at, message, "write `[2xx]` or leave it out");
    }
    if items.len() > limits::EXPECTED_PER_CALL {
        let message = format!("`expect` has {} entries", items.len());
        let remedy = format!("keep at most {}; 2xx stands for many", limits::EXPECTED_PER_CALL);
        return reader.wrong(node.at, message, remedy);
    }
    let read: Vec<_> = items.iter().filter_map(|item| expected(reader, item)).collect();
    (read.len() == items.len()).then_some(read)
}

/// A status may be written as the number that it is.
fn expected(reader: &mut Reader<'_>, node: &Node) -> Option<Expected> {
    let expected = match &node.kind {
        Kind::Text(text) => Expected::parse(&text.value),
        _ => node.unsigned().and_then(|number| Expected::parse(&number.to_string())),
    };
    expected.or_else(|| {
        let message = format!("{} is no status that can be expected", node.describe());
        reader.wrong(node.at, message, "write 2xx, or a status from 100 to 599")
    })
}
