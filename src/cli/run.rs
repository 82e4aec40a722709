//! `tidegate run`: an instance against a cluster.

use std::sync::Arc;

use super::args::Common;
use super::{DONE, FAILED, setup};
use crate::app::run::{Ended, Running, Start, stop_on_signals};
use crate::lane::StopSignal;
use crate::telemetry::logs;

pub(super) fn run(common: &Common) -> anyhow::Result<u8> {
    let _logs = logs::start()?;
    let (settings, clients) = setup::with_clients(common)?;
    let stop = Arc::new(StopSignal::default());
    stop_on_signals(stop.clone())?;
    let start = Start { settings, clients, stop, watcher: None, starts_anyway: false };
    let Some(running) = Running::start(start)? else { return Ok(DONE) };
    tracing::info!(admin = %running.admin_address(), "the instance runs");
    match running.wait() {
        Ended::Gracefully => Ok(DONE),
        Ended::Late | Ended::Hung => {
            // Threads are left behind; only the end of the process ends them.
            std::process::exit(i32::from(FAILED));
        }
    }
}
