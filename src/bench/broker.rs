//! The broker that is measured against: one that runs, or the embedded one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::BenchError;
use crate::dev_broker::{self, DevBroker};
use crate::kafka::client::ClientSettings;

/// A broker for the length of a benchmark.
pub struct Broker {
    /// What clients need to reach it.
    pub clients: ClientSettings,
    /// Where it is, for the report.
    pub address: String,
    /// Its process; None for the embedded one, whose CPU time is part of ours.
    pub pid: Option<u32>,
    /// The embedded broker, which stops with this.
    _embedded: Option<DevBroker>,
}

/// What a partition of the embedded broker keeps: more than the largest run writes, as it must keep all of it.
const EMBEDDED_PARTITION_BYTES: usize = 16 * 1024 * 1024 * 1024;
/// When the embedded broker compacts: after every run. What is compacted before it is verified cannot be counted; Kafka leaves alone what
/// was written last, which is all that a run writes.
const EMBEDDED_CLEAN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

impl Broker {
    /// The broker at an address, or the embedded one.
    pub fn open(bootstrap: Option<&str>, pid: Option<u32>) -> Result<Broker, BenchError> {
        let Some(address) = bootstrap else { return embedded() };
        Broker::at(address, pid)
    }

    fn at(address: &str, pid: Option<u32>) -> Result<Broker, BenchError> {
        let keys = BTreeMap::from([("bootstrap.servers".to_owned(), address.to_owned())]);
        let clients = ClientSettings::new(keys).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            BenchError::Option(errors.join("; "))
        })?;
        if let Some(pid) = pid.filter(|pid| super::cpu::of_process(*pid).is_none()) {
            return Err(BenchError::Option(format!(
                "the CPU time of process {pid} cannot be read; give the broker's process on this machine, or leave it out"
            )));
        }
        Ok(Broker { clients, address: address.to_owned(), pid, _embedded: None })
    }
}

/// The embedded broker, in memory, on a free port.
fn embedded() -> Result<Broker, BenchError> {
    let options = dev_broker::Options {
        retention_bytes_per_partition: EMBEDDED_PARTITION_BYTES,
        clean_every: EMBEDDED_CLEAN_EVERY,
        ..dev_broker::Options::default()
    };
    let started = DevBroker::start_blocking(options)
        .map_err(|error| BenchError::Embedded(format!("the embedded broker cannot be started: {error}")))?;
    let broker = Broker::at(&started.bootstrap(), None)?;
    Ok(Broker { _embedded: Some(started), ..broker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        let refused = Broker::open(Some("127.0.0.1:1"), Some(u32::MAX)).err().unwrap().to_string();
        assert!(refused.contains("cannot be read"), "{refused}");
        assert!(Broker::open(Some("127.0.0.1:1"), Some(std::process::id())).is_ok());
    }
}
