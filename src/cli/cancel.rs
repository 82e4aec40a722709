//! `tidegate cancel`: asks the owner of an execution that waits to end it, and says what became of that.

use super::args::{Cancel, Common};
use super::{DONE, FAILED, mail};
use crate::engine::checkpoint::Content;
use crate::engine::journal::Mail;

pub(super) fn run(common: &Common, args: &Cancel) -> anyhow::Result<u8> {
    let has_ended = |told: &serde_json::Value| {
        told["id"] == args.id.as_str() && told["status"] != "running" && told["status"] != "pending"
    };
    let executions = |known: &crate::app::cluster::Cluster| known.encoder.executions.name.clone();
    let told = mail::send(common, &args.id, (Mail::Cancel, Content::None), executions, has_ended)?;
    Ok(if told["status"] == "cancelled" { DONE } else { FAILED })
}
