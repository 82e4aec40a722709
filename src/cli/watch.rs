//! `tidegate watch`: executions and dead letters as they come.

use std::sync::Arc;
use std::time::Duration;

use super::args::{Common, OutputFormat, Watch};
use super::output::{json_line, line};
use super::records::Readable;
use super::{DONE, records, setup};
use crate::app::cluster;
use crate::app::run::stop_on_signals;
use crate::kafka::log_reader::{From, LogReader};
use crate::lane::StopSignal;

/// How long one look waits.
const POLL: Duration = Duration::from_millis(200);

pub(super) fn run(common: &Common, args: &Watch) -> anyhow::Result<u8> {
    let (settings, clients) = setup::with_clients(common)?;
    let stop = Arc::new(StopSignal::default());
    stop_on_signals(stop.clone())?;
    let (executions, letters) = (cluster::topic(&settings, "executions"), cluster::topic(&settings, "dead-letters"));
    let mut reader = LogReader::open(&clients, &[&executions, &letters], From::End)?;
    let mut readable = Readable::new(&settings);
    while !stop.is_set() {
        let Some(mut record) = reader.poll(POLL)? else { continue };
        readable.translate(&mut record);
        let Some(told) = records::read(&record) else { continue };
        let workflow = told.get("workflowId").or_else(|| told.pointer("/deadLetter/workflow"));
        let wanted = args.workflow.as_deref();
        if wanted.is_some_and(|wanted| workflow.and_then(|it| it.as_str()) != Some(wanted)) {
            continue;
        }
        match common.output {
            OutputFormat::Json => json_line(&told),
            OutputFormat::Table | OutputFormat::Yaml => line(&records::as_line(&told)),
        }
    }
    Ok(DONE)
}
