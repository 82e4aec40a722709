//! Mail of an operator to the owner of an execution that waits, and what is said of its effect.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::args::{Common, OutputFormat};
use super::output::{document, line};
use super::records::Readable;
use super::{records, setup};
use crate::app::cluster::{self, Cluster};
use crate::codec::journal;
use crate::engine::checkpoint::Content;
use crate::engine::execution::FIRST_RUN;
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Entry, Mail};
use crate::engine::record::JournalRecord;
use crate::kafka::log_reader::{From, LogReader};
use crate::kafka::sender::Sender;

/// How long the mail may take, and how long its effect is waited for: longer than a partition needs to find another owner.
const WITHIN: Duration = Duration::from_secs(30);
/// How long one look waits.
const POLL: Duration = Duration::from_millis(100);

/// Sends mail to an execution and prints the first record of a topic that is its effect. The error says if there was none.
pub(super) fn send(
    common: &Common,
    id: &str,
    (mail, content): (Mail, Content),
    topic: impl Fn(&Cluster) -> std::sync::Arc<str>,
    is_effect: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let execution = ExecutionId::parse(id).with_context(|| {
        format!("`{id}` is no id of an execution; copy one from `tidegate watch` or `tidegate get executions`")
    })?;
    let (settings, clients) = setup::with_clients(common)?;
    let known = cluster::look(&settings, &clients)?;
    if execution.journal_partition >= known.journal_partitions {
        let partitions = known.journal_partitions;
        anyhow::bail!("{execution} is of another environment: this journal has {partitions} partitions");
    }
    // Opened before the mail goes out, so that its effect cannot be missed.
    let mut reader = LogReader::open(&clients, &[&topic(&known)], From::End)?;
    let mail = JournalRecord { execution, run: FIRST_RUN, entry: Entry::Mail(mail), content };
    let deadline = Instant::now() + WITHIN;
    let mut sender = Sender::new(&clients)?;
    sender.send(&journal::encode(&known.encoder.journal.name, &mail), 0, deadline)?;
    sender.finish(deadline, |_| ())?;
    let mut readable = Readable::new(&settings);
    while Instant::now() < deadline {
        let Some(mut record) = reader.poll(POLL)? else { continue };
        readable.translate(&mut record);
        let Some(told) = records::read(&record) else { continue };
        if is_effect(&told) {
            match common.output {
                OutputFormat::Table => line(&records::as_line(&told)),
                OutputFormat::Json | OutputFormat::Yaml => document(common.output, &told),
            }
            return Ok(told);
        }
    }
    anyhow::bail!(
        "nothing was said of {execution} within {} s: it does not wait (any more), or not for this, or no instance holds its partition of \
         the journal now; in the latter case it heeds this as soon as one does",
        WITHIN.as_secs()
    )
}
