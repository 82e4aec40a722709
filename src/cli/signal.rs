//! `tidegate signal`: tells an approval what was decided.

use std::sync::Arc;

use anyhow::bail;

use super::args::{Common, Decided, Signal};
use super::{DONE, FAILED, mail};
use crate::engine::checkpoint::Content;
use crate::engine::journal::Mail;
use crate::engine::signal::{self, DECISION_TEXT_BYTES, Decision, Told};

pub(super) fn run(common: &Common, args: &Signal) -> anyhow::Result<u8> {
    let decision = match args.decision {
        Decided::Approve => Decision::Approved,
        Decided::Reject => Decision::Rejected,
    };
    let text = |name: &str, text: &Option<String>| -> anyhow::Result<Arc<str>> {
        let text = text.as_deref().unwrap_or_default();
        if text.len() > DECISION_TEXT_BYTES {
            bail!("--{name} has {} bytes; at most {DECISION_TEXT_BYTES} are kept with the decision", text.len());
        }
        Ok(text.into())
    };
    let told = Told::Decision { decision, by: text("by", &args.by)?, comment: text("comment", &args.comment)? };
    let content = Content::Signal(Arc::new(signal::Signal { step: args.step.as_str().into(), told }));
    let is_effect = |told: &serde_json::Value| {
        told["executionId"] == args.id.as_str() && told["stepId"] == args.step.as_str() && told["status"] != "pending"
    };
    let step_results = |known: &crate::app::cluster::Cluster| known.encoder.step_results.name.clone();
    let told = mail::send(common, &args.id, (Mail::Signal, content), step_results, is_effect)?;
    Ok(if told["output"]["decision"] == decision.name() { DONE } else { FAILED })
}
