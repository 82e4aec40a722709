//! The `config` of a workflow. What this version does not use is checked for shape and range, so that it is right on the day
//! it does.

use std::time::Duration;

use super::limits;
use super::node::Node;
use super::reader::{Fields, Reader};
use super::retry::Retries;
use crate::engine::breaker::SLIDING_WINDOW_CALLS;
use crate::engine::plan::Turns;
use crate::engine::value::Value;

const FIELDS: [&str; 8] =
    ["timeout", "maxAge", "queueTimeout", "retryPolicy", "circuitBreaker", "concurrency", "ordering", "vars"];
const BREAKER_FIELDS: [&str; 2] = ["failureThreshold", "recoveryTimeoutMs"];

/// What of `config` executions use.
#[derive(Debug)]
pub(super) struct Config {
    pub timeout: Option<Duration>,
    /// `retryPolicy`; None if it was refused.
    pub retries: Option<Retries>,
    pub age_max: Option<Duration>,
    pub turns: Turns,
    pub vars: Value,
}

impl Default for Config {
    fn default() -> Self {
        let (retries, turns) = (Some(Retries::default()), Turns::default());
        Config { timeout: None, retries, age_max: None, turns, vars: Value::Null }
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
    let turns = turns(reader, &fields);
    let vars = fields.get("vars").map(|node| {
        reader.map("vars", node);
        reader.check_constant("vars", node);
        node.to_value()
    });
    let age_max = age_max.map(|(_, age_max)| age_max);
    Config { timeout, retries, age_max, turns, vars: vars.unwrap_or_else(|| Value::map(Vec::new())) }
}

/// What holds executions back before they start.
fn turns(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Turns {
    let concurrency = fields
        .get("concurrency")
        .and_then(|node| reader.integer("concurrency", node, 0..=u64::from(u32::MAX)))
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or_default();
    let choices = [("none", false), ("key", true)];
    let by_key = fields.get("ordering").and_then(|node| reader.choice("ordering", node, &choices)).unwrap_or_default();
    let wait_max = fields.get("queueTimeout").and_then(|node| {
        let duration = reader.duration("queueTimeout", node);
        if concurrency == 0 && !by_key {
            let message = "`queueTimeout` says how long an execution may wait for its turn, and nothing makes it wait";
            reader.wrong::<()>(node.at, message, "limit `concurrency`, order by key, or leave it out");
        }
        duration
    });
    Turns { concurrency, by_key, wait_max }
}

fn check_breaker(reader: &mut Reader<'_>, node: &Node) {
    let Some(fields) = reader.fields(node, "`circuitBreaker`", &BREAKER_FIELDS) else { return };
    fields
        .get("failureThreshold")
        .map(|node| reader.integer("failureThreshold", node, 1..=u64::from(SLIDING_WINDOW_CALLS)));
    let most = u64::try_from(limits::DURATION.as_millis()).unwrap_or(u64::MAX);
    fields.get("recoveryTimeoutMs").map(|node| reader.milliseconds("recoveryTimeoutMs", node, most));
    let message = "`circuitBreaker` of a workflow changes nothing: a circuit breaker is its connector's, whichever workflows call it";
    reader.warn(node.at, message, "set `breaker` in the settings' [connectors.<name>]");
}
