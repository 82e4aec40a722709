//! Calls of connectors, against a target that speaks HTTP/1.1 byte by byte: what it is sent, and what its answers become.

mod answers;
mod failures;
mod redirects;
mod requests;
mod server;
mod targets;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tidegate::connector::{HttpConnector, Target};
use tidegate::engine::call::{Answer, Request};
use tidegate::engine::event::{Origin, SourceRecord, Topic};
use tidegate::engine::ids::{ExecutionId, ExecutionOrigin, MailboxKey};
use tidegate::engine::owner::{Call, CallId};
use tidegate::engine::value::{Value, write_json};
use tidegate::net::Trust;

use crate::support::wait;

const KEY: &str = "exec-1/charge";
/// Stands in URLs and headers of targets, and must stand nowhere else.
const SECRET: &str = "s3cr3t";

fn target(url: impl Into<String>, headers: &[(&str, &str)]) -> Target {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Target { name: "billing".into(), url: url.into(), headers, concurrency: 4, redirects: 0, trust: Trust::of([]) }
}

fn connector(url: impl Into<String>) -> HttpConnector {
    HttpConnector::new(target(url, &[("authorization", SECRET)])).unwrap()
}

fn request(method: &str, path: &str) -> Request {
    let (query, headers, timeout) = (Vec::new(), Vec::new(), wait::DEADLINE);
    Request { method: method.into(), path: path.into(), query, headers, body: Value::Null, timeout }
}

fn call(request: Request) -> Call {
    let origin = Origin { topic: Arc::new(Topic { name: "webhooks".into(), id: [7; 16] }), partition: 3, offset: 42 };
    Call {
        id: CallId(1),
        connector: "billing".into(),
        execution: ExecutionId::new("prod", "w", ExecutionOrigin::Event(&origin), MailboxKey::Hash, 48),
        step: "charge".into(),
        attempt: 1,
        idempotency_key: KEY.into(),
        record: SourceRecord::new(origin, 0, None, None, []),
        request,
    }
}

/// Makes calls one after the other, on a runtime of their own. What they come to never shows the secret.
#[track_caller]
fn run(connector: &HttpConnector, requests: impl IntoIterator<Item = Request>) -> Vec<Answer> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(runtime.block_on(connector.call(&call(request), &[])));
    }
    // A name that is being looked up is nothing to wait for.
    runtime.shutdown_timeout(Duration::ZERO);
    assert!(!format!("{connector:?} {answers:?}").contains(SECRET), "{answers:?}");
    answers
}

/// An answer on one line: status, body, and what is asked for with `Retry-After`; or how it failed.
fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Http { status, body, retry_after_ms: None, .. } => format!("{status} {}", json(body)),
        Answer::Http { status, body, retry_after_ms: Some(it), .. } => format!("{status} {} after {it}", json(body)),
        Answer::Failed { failed, message } => format!("{failed}: {message}"),
    }
}

fn json(value: &Value) -> String {
    let mut text = Vec::new();
    write_json(value, &mut text);
    String::from_utf8(text).unwrap()
}
