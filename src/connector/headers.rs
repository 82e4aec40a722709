//! The headers of a request: those of the step, over them those of the connector, over all our own.

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, Entry, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName, USER_AGENT,
};

use crate::engine::call::Request;
use crate::engine::value::View;
use crate::net::FRAMING_HEADERS;

/// Headers of one side, the step or the connector: more than anybody needs, and far less than would make work of a call.
pub(super) const HEADERS: usize = 128;

/// Who calls.
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// What is understood of an answer, in order of preference.
const ACCEPTED: &str = "application/json, */*;q=0.5";
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACE: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// One header of a step or a connector, if it may be sent; else what is wrong with it, without its value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name: Result<HeaderName, InvalidHeaderName> = name.parse();
    let name = name.map_err(|_| "has a name that HTTP does not take")?;
    if FRAMING_HEADERS.contains(&name.as_str()) {
        return Err("says how a call is framed, which is set for every call; remove it");
    }
    Ok((name, self::value(value)?))
}

/// The headers of a call; `connector` are those of the connector. The error says what cannot be sent, without any value.
pub(super) fn of_call(
    request: &Request,
    connector: &HeaderMap,
    idempotency_key: &str,
    trace: &[(&'static str, String)],
) -> Result<HeaderMap, String> {
    if request.headers.len() > HEADERS {
        return Err(format!("the step has more than {HEADERS} headers"));
    }
    let mut headers = HeaderMap::with_capacity(HEADERS / 4);
    for (name, value) in &request.headers {
        let shown = |problem| format!("the header `{}` {problem}", shown(name));
        let (name, value) = header(name, value).map_err(shown)?;
        headers.append(name, value);
    }
    // What a step sets is data at times: it never stands beside or in place of what the connector says.
    headers.extend(connector.clone());
    let key = value(idempotency_key).map_err(|problem| format!("the idempotency key {problem}"))?;
    headers.insert(KEY, key);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !trace.is_empty() {
        // A state belongs to its parent: one of ours never stands beside one of the step's.
        TRACE.iter().for_each(|name| drop(headers.remove(name)));
    }
    for (name, state) in trace {
        let (name, state) = header(name, state).map_err(|problem| format!("the header `{name}` {problem}"))?;
        headers.insert(name, state);
    }
    unless_set(&mut headers, ACCEPT, ACCEPTED);
    match request.body.view() {
        View::Null | View::Bytes(_) => {}
        View::Text(_) => unless_set(&mut headers, CONTENT_TYPE, "text/plain; charset=utf-8"),
        _ => unless_set(&mut headers, CONTENT_TYPE, "application/json"),
    }
    Ok(headers)
}

fn unless_set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    if let Entry::Vacant(vacant) = headers.entry(name) {
        vacant.insert(HeaderValue::from_static(value));
    }
}

fn value(text: &str) -> Result<HeaderValue, &'static str> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| "has a value that HTTP does not take")
}

/// The beginning of a name that nobody has checked.
fn shown(name: &str) -> String {
    const SHOWN: usize = 64;
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
