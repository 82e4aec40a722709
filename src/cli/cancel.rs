//! `tidegate cancel`: asks the owner of an execution that waits to end it, and says what became of that.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::args::OutputFormat;
use super::args::{Cancel, Common};
use super::output::{document, line};
use super::{DONE, FAILED, records, setup};
use crate::app::cluster;
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

pub(super) fn run(common: &Common, args: &Cancel) -> anyhow::Result<u8> {
    let execution = ExecutionId::parse(&args.id).with_context(|| {
        format!("`{}` is no id of an execution; copy one from `tidegate watch` or `tidegate get executions`", args.id)
    })?;
    let (settings, clients) = setup::with_clients(common)?;
    let known = cluster::look(&settings, &clients)?;
    if execution.journal_partition >= known.journal_partitions {
        anyhow::bail!(
            "{execution} is of another environment: this journal has {} partitions",
            known.journal_partitions
        );
    }
    // Opened before the mail goes out, so that its effect cannot be missed.
    let mut reader = LogReader::open(&clients, &[&known.encoder.executions.name], From::End)?;
    let mail = JournalRecord { execution, run: FIRST_RUN, entry: Entry::Mail(Mail::Cancel), content: Content::None };
    let deadline = Instant::now() + WITHIN;
    let mut sender = Sender::new(&clients)?;
    sender.send(&journal::encode(&known.encoder.journal.name, &mail), 0, deadline)?;
    sender.finish(deadline, |_| ())?;
    while Instant::now() < deadline {
        let Some(record) = reader.poll(POLL)? else { continue };
        let Some(told) = records::read(&record) else { continue };
        if told["id"] != args.id.as_str() || told["status"] == "running" {
            continue;
        }
        match common.output {
            OutputFormat::Table => line(&records::as_line(&told)),
            OutputFormat::Json | OutputFormat::Yaml => document(common.output, &told),
        }
        return Ok(if told["status"] == "cancelled" { DONE } else { FAILED });
    }
    anyhow::bail!(
        "nothing was said of {execution} within {} s: it does not wait (any more), or no instance holds its partition of the journal now; \
         in the latter case it is cancelled as soon as one does",
        WITHIN.as_secs()
    )
}
