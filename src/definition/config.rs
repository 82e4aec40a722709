//! The `config` of a workflow. What only waiting steps use is checked for shape and range, so that it is right on the day
//! they run.

use std::time::Duration;

use super::limits;
use super::node::{Kind, Node, quote};
use super::reader::Reader;
use crate::engine::breaker::SLIDING_WINDOW_CALLS;
use crate::engine::retry::{RETRIES, Retryable};
use crate::engine::value::Value;

const FIELDS: [&str; 7] = ["timeout", "maxAge", "retryPolicy", "circuitBreaker", "concurrency", "ordering", "vars"];
const RETRY_FIELDS: [&str; 5] = ["maxRetries", "baseDelayMs", "maxDelayMs", "jitterFactor", "retryableErrors"];
const BREAKER_FIELDS: [&str; 2] = ["failureThreshold", "recoveryTimeoutMs"];

/// What of `config` in-place steps use.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub timeout: Option<Duration>,
    pub vars: Value,
}

/// Reads `config`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Config {
    let Some(fields) = reader.fields(node, "`config`", &FIELDS) else { return Config::default() };
    let timeout = fields.get("timeout").and_then(|node| reader.duration("timeout", node));
    let age_max = fields.get("maxAge").and_then(|node| Some((node.at, reader.duration("maxAge", node)?)));
    if let (Some(timeout), Some((at, age_max))) = (timeout, age_max)
        && age_max < timeout
    {
        let message = "`maxAge` is shorter than `timeout`, which could never be reached";
        reader.wrong::<()>(at, message, "make `maxAge` the longer one");
    }
    if let Some(node) = fields.get("retryPolicy") {
        check_retry_policy(reader, "`retryPolicy`", node);
    }
    if let Some(node) = fields.get("circuitBreaker") {
        check_breaker(reader, node);
    }
    check_waiting_features(reader, &fields);
    let vars = fields.get("vars").map(|node| {
        reader.map("vars", node);
        reader.check_constant("vars", node);
        node.to_value()
    });
    Config { timeout, vars: vars.unwrap_or_else(|| Value::map(Vec::new())) }
}

/// Concurrency and order hold executions back, which only those that wait can do.
fn check_waiting_features(reader: &mut Reader<'_>, fields: &super::reader::Fields<'_>) {
    if let Some(node) = fields.get("concurrency")
        && let Some(1..) = reader.integer("concurrency", node, 0..=u64::from(u32::MAX))
    {
        let message = "this version cannot limit the concurrency of a workflow: that needs executions that wait";
        reader.wrong::<()>(node.at, message, "write `concurrency: 0` (no limit) or leave it out");
    }
    let choices = [("none", false), ("key", true)];
    if let Some(node) = fields.get("ordering")
        && let Some(true) = reader.choice("ordering", node, &choices)
    {
        let message = "this version cannot order executions by key: that needs executions that wait";
        reader.wrong::<()>(node.at, message, "write `ordering: none` or leave it out");
    }
}

/// Checks a `retryPolicy` or a `retryConfig`.
pub(super) fn check_retry_policy(reader: &mut Reader<'_>, what: &str, node: &Node) {
    let Some(fields) = reader.fields(node, what, &RETRY_FIELDS) else { return };
    fields.get("maxRetries").map(|node| reader.integer("maxRetries", node, 0..=u64::from(RETRIES)));
    let base = fields.get("baseDelayMs").and_then(|node| reader.milliseconds("baseDelayMs", node));
    let most = fields.get("maxDelayMs").and_then(|node| Some((node.at, reader.milliseconds("maxDelayMs", node)?)));
    if let (Some(base), Some((at, most))) = (base, most)
        && most < base
    {
        reader.wrong::<()>(at, "`maxDelayMs` is less than `baseDelayMs`", "make it the greater one");
    }
    if let Some(node) = fields.get("jitterFactor") {
        reader.check_fraction("jitterFactor", node);
    }
    let errors = fields.get("retryableErrors").and_then(|node| reader.list("retryableErrors", node));
    for node in errors.unwrap_or_default() {
        check_retryable_error(reader, node);
    }
}

fn check_retryable_error(reader: &mut Reader<'_>, node: &Node) {
    const RIGHT: &str = "write timeout, connection, a status from 400 on such as \"429\", or 4xx or 5xx";
    if let Kind::Text(text) = &node.kind {
        if Retryable::parse(&text.value).is_none() {
            reader.wrong::<()>(node.at, format!("{} is no error that can be retried", quote(&text.value)), RIGHT);
        }
    } else {
        reader.text("retryableErrors", node, limits::NAME_BYTES);
    }
}

fn check_breaker(reader: &mut Reader<'_>, node: &Node) {
    let Some(fields) = reader.fields(node, "`circuitBreaker`", &BREAKER_FIELDS) else { return };
    fields
        .get("failureThreshold")
        .map(|node| reader.integer("failureThreshold", node, 1..=u64::from(SLIDING_WINDOW_CALLS)));
    fields.get("recoveryTimeoutMs").map(|node| reader.milliseconds("recoveryTimeoutMs", node));
}
