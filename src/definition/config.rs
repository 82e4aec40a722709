//! The `config` of a workflow. What this version does not use is checked for shape and range, so that it is right on the day
//! it does.

use std::time::Duration;

use super::limits;
use super::node::Node;
use super::reader::{Fields, Reader};
use super::retry::Retries;
use crate::engine::breaker::SLIDING_WINDOW_CALLS;
use crate::engine::value::Value;

const FIELDS: [&str; 7] = ["timeout", "maxAge", "retryPolicy", "circuitBreaker", "concurrency", "ordering", "vars"];
const BREAKER_FIELDS: [&str; 2] = ["failureThreshold", "recoveryTimeoutMs"];

/// What of `config` executions use.
#[derive(Debug)]
pub(super) struct Config {
    pub timeout: Option<Duration>,
    /// `retryPolicy`; None if it was refused.
    pub retries: Option<Retries>,
    pub age_max: Option<Duration>,
    pub vars: Value,
}

impl Default for Config {
    fn default() -> Self {
        Config { timeout: None, retries: Some(Retries::default()), age_max: None, vars: Value::Null }
    }
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
    let retries = fields
        .get("retryPolicy")
        .map_or_else(|| Some(Retries::default()), |node| Retries::read(reader, "`retryPolicy`", node));
    if let Some(node) = fields.get("circuitBreaker") {
        check_breaker(reader, node);
    }
    check_holding_back(reader, &fields);
    let vars = fields.get("vars").map(|node| {
        reader.map("vars", node);
        reader.check_constant("vars", node);
        node.to_value()
    });
    let age_max = age_max.map(|(_, age_max)| age_max);
    Config { timeout, retries, age_max, vars: vars.unwrap_or_else(|| Value::map(Vec::new())) }
}

/// Concurrency and order hold executions back before they start.
fn check_holding_back(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    if let Some(node) = fields.get("concurrency")
        && let Some(1..) = reader.integer("concurrency", node, 0..=u64::from(u32::MAX))
    {
        let message = "this version cannot limit the concurrency of a workflow";
        reader.wrong::<()>(node.at, message, "write `concurrency: 0` (no limit) or leave it out");
    }
    let choices = [("none", false), ("key", true)];
    if let Some(node) = fields.get("ordering")
        && let Some(true) = reader.choice("ordering", node, &choices)
    {
        let message = "this version cannot order executions by key";
        reader.wrong::<()>(node.at, message, "write `ordering: none` or leave it out");
    }
}

fn check_breaker(reader: &mut Reader<'_>, node: &Node) {
    let Some(fields) = reader.fields(node, "`circuitBreaker`", &BREAKER_FIELDS) else { return };
    fields
        .get("failureThreshold")
        .map(|node| reader.integer("failureThreshold", node, 1..=u64::from(SLIDING_WINDOW_CALLS)));
    let most = u64::try_from(limits::DURATION.as_millis()).unwrap_or(u64::MAX);
    fields.get("recoveryTimeoutMs").map(|node| reader.milliseconds("recoveryTimeoutMs", node, most));
}
