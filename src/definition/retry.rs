//! What a definition says about retries: the `retryPolicy` of a workflow and, over it field by field, the `retryConfig` of a step.

use super::limits;
use super::node::{Kind, Node, quote};
use super::reader::Reader;
use crate::engine::retry::{DELAY_MS, RETRIES, RETRYABLE_ERRORS, RetryPolicy, Retryable};

const FIELDS: [&str; 5] = ["maxRetries", "baseDelayMs", "maxDelayMs", "jitterFactor", "retryableErrors"];

/// The fields that one of them has; delays with their places.
#[derive(Debug, Default)]
pub(super) struct Retries {
    max_retries: Option<u32>,
    base_delay_ms: Option<(usize, u64)>,
    max_delay_ms: Option<(usize, u64)>,
    jitter_factor: Option<f64>,
    retryable_errors: Option<Vec<Retryable>>,
}

impl Retries {
    /// Reads a `retryPolicy` or a `retryConfig`.
    pub fn read(reader: &mut Reader<'_>, what: &str, node: &Node) -> Option<Retries> {
        let fields = reader.fields(node, what, &FIELDS)?;
        let max_retries = fields.get("maxRetries").map(|node| {
            let number = reader.integer("maxRetries", node, 0..=u64::from(RETRIES))?;
            u32::try_from(number).ok()
        });
        let base = fields.get("baseDelayMs").map(|node| delay(reader, "baseDelayMs", node));
        let most = fields.get("maxDelayMs").map(|node| delay(reader, "maxDelayMs", node));
        let jitter = fields.get("jitterFactor").map(|node| reader.fraction("jitterFactor", node));
        let errors = fields.get("retryableErrors").map(|node| retryable_errors(reader, node));
        let base_delay_ms = base.map_or(Some(None), |it| it.map(Some));
        let max_delay_ms = most.map_or(Some(None), |it| it.map(Some));
        if let (Some(Some((_, base))), Some(Some((at, most)))) = (base_delay_ms, max_delay_ms)
            && most < base
        {
            return reader.wrong(at, "`maxDelayMs` is less than `baseDelayMs`", "make it the greater one");
        }
        Some(Retries {
            max_retries: max_retries.map_or(Some(None), |it| it.map(Some))?,
            base_delay_ms: base_delay_ms?,
            max_delay_ms: max_delay_ms?,
            jitter_factor: jitter.map_or(Some(None), |it| it.map(Some))?,
            retryable_errors: errors.map_or(Some(None), |it| it.map(Some))?,
        })
    }

    /// The policy of a step: what it says itself, then what its workflow says, then the default. Delays that are right by themselves can
    /// be wrong together; the place is then that of the one which the step, or else the workflow, has written.
    pub fn over(self, reader: &mut Reader<'_>, workflow: &Retries) -> Option<RetryPolicy> {
        let default = RetryPolicy::default();
        let (base, most) = (self.base_delay_ms.or(workflow.base_delay_ms), self.max_delay_ms.or(workflow.max_delay_ms));
        let base_delay_ms = base.map_or(default.base_delay_ms, |(_, it)| it);
        let max_delay_ms = most.map_or(default.max_delay_ms, |(_, it)| it);
        let written = [self.max_delay_ms, self.base_delay_ms, workflow.max_delay_ms, workflow.base_delay_ms];
        if max_delay_ms < base_delay_ms
            && let Some((at, _)) = written.into_iter().flatten().next()
        {
            let message = format!(
                "with what is left out here, `maxDelayMs` is {max_delay_ms}, less than `baseDelayMs`, which is {base_delay_ms}"
            );
            return reader.wrong(at, message, "write both, `maxDelayMs` the greater one");
        }
        Some(RetryPolicy {
            max_retries: self.max_retries.or(workflow.max_retries).unwrap_or(default.max_retries),
            base_delay_ms,
            max_delay_ms,
            jitter_factor: self.jitter_factor.or(workflow.jitter_factor).unwrap_or(default.jitter_factor),
            retryable_errors: self.retryable_errors.or_else(|| workflow.retryable_errors.clone()),
        })
    }
}

fn delay(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<(usize, u64)> {
    Some((node.at, reader.milliseconds(name, node, DELAY_MS)?))
}

fn retryable_errors(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Retryable>> {
    let items = reader.list("retryableErrors", node)?;
    if items.len() > RETRYABLE_ERRORS {
        let message = format!("`retryableErrors` has {} entries", items.len());
        let remedy = format!("keep at most {RETRYABLE_ERRORS}; 4xx and 5xx stand for many");
        return reader.wrong(node.at, message, remedy);
    }
    let read: Vec<_> = items.iter().filter_map(|item| retryable_error(reader, item)).collect();
    (read.len() == items.len()).then_some(read)
}

fn retryable_error(reader: &mut Reader<'_>, node: &Node) -> Option<Retryable> {
    const RIGHT: &str = "write timeout, connection, a status from 400 on such as \"429\", or 4xx or 5xx";
    let Kind::Text(text) = &node.kind else {
        return reader.text("retryableErrors", node, limits::NAME_BYTES).and(None);
    };
    Retryable::parse(&text.value)
        .or_else(|| reader.wrong(node.at, format!("{} is no error that can be retried", quote(&text.value)), RIGHT))
}
