//! Contracts: which records a job writes for an event, by number and size. The limit loops write them with constant content.
//!
//! Sizes are those of values. Keys and headers come on top, as every record of ours must carry them, so a limit loop carries them
//! too: without them it would be the limit of another product.

use std::sync::Arc;

use bytes::Bytes;

use super::topics::Outputs;
use crate::engine::event::SourceRecord;
use crate::engine::wire::{Headers, WireRecord};

/// Four events of five pass the condition of R1, so four of five lead to a business record.
const PASSING_OF_FIVE: i64 = 4;

/// What is written for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// The event itself, byte by byte.
    Copy,
    /// A copy of the data, and the execution record.
    Pass,
    /// A business record for four events of five, three step results, the execution record.
    Full,
    /// A business record for four events of five, and an execution record that holds three results.
    Compact,
}

impl Contract {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Contract::Copy => "copy",
            Contract::Pass => "pass",
            Contract::Full => "full",
            Contract::Compact => "compact",
        }
    }

    /// Bytes of a business record's value.
    fn business_bytes(self) -> usize {
        match self {
            Contract::Copy | Contract::Pass => super::workload::BODY_BYTES,
            Contract::Full | Contract::Compact => 420,
        }
    }

    /// Bytes of an execution record's value.
    fn execution_bytes(self) -> usize {
        match self {
            Contract::Copy => 0,
            Contract::Full => 380,
            // With one result, and with three, inside.
            Contract::Pass => 380 + 150,
            Contract::Compact => 380 + 3 * 150,
        }
    }

    /// How many steps leave a record of their own.
    pub fn step_results(self) -> u64 {
        match self {
            Contract::Copy | Contract::Pass | Contract::Compact => 0,
            Contract::Full => 3,
        }
    }

    /// Whether the condition keeps some events from having a business record.
    pub fn has_condition(self) -> bool {
        match self {
            Contract::Copy | Contract::Pass => false,
            Contract::Full | Contract::Compact => true,
        }
    }
}

/// Writes a contract's records for events: made once, so that an event costs a key and an id.
pub struct Template {
    contract: Contract,
    business: WireRecord,
    results: Vec<WireRecord>,
    execution: WireRecord,
}

/// Bytes of a step result's value.
const STEP_RESULT_BYTES: usize = 220;
/// The header that names the event of a business record.
pub const EVENT_HEADER: &str = "event";
/// The header that names the execution of a business record.
pub const EXECUTION_HEADER: &str = "execution";

impl Template {
    /// The records of a contract, to these topics.
    pub fn new(contract: Contract, outputs: &Outputs) -> Template {
        let record = |topic: &Arc<str>, bytes: usize, headers: Headers| WireRecord {
            topic: topic.clone(),
            partition: None,
            key: None,
            value: Some(vec![b'x'; bytes].into()),
            headers,
            step: None,
        };
        let system = |topic: &Arc<str>, bytes: usize, end: &str| {
            let id = constant_id(end);
            let own = [("ce_id", Some(id.as_str())), ("ce_subject", id.split('/').next())];
            record(topic, bytes, constant(SYSTEM_HEADERS).chain(own).collect())
        };
        let results = ["shape", "large", "announce"].into_iter().take(contract.step_results() as usize);
        Template {
            contract,
            business: record(&outputs.business, contract.business_bytes(), Headers::default()),
            results: results.map(|step| system(&outputs.step_results, STEP_RESULT_BYTES, step)).collect(),
            execution: system(&outputs.executions, contract.execution_bytes(), "completed"),
        }
    }

    /// The records of one event.
    pub fn records(&self, event: &SourceRecord, mut send: impl FnMut(WireRecord)) {
        if self.contract == Contract::Copy {
            return send(copy(event, &self.business.topic));
        }
        let (partition, offset) = (event.origin.partition, event.origin.offset);
        let id = Bytes::from(format!("{partition:04x}-{offset:032x}"));
        if !self.contract.has_condition() || offset % 5 < PASSING_OF_FIVE {
            let mut business = self.business.clone();
            business.key = event.key().map(Bytes::copy_from_slice);
            let own = [(EVENT_HEADER, event.header("ce_id")), (EXECUTION_HEADER, Some(&id[..]))];
            let constant = constant(BUSINESS_HEADERS).map(|(name, value)| (name, value.map(str::as_bytes)));
            business.headers = constant.chain(own).collect();
            send(business);
        }
        for record in self.results.iter().chain(std::iter::once(&self.execution)) {
            let mut record = record.clone();
            record.partition = Some(partition);
            record.key = Some(id.clone());
            send(record);
        }
    }

    /// How many business records so many events lead to, by partition.
    pub fn business_records(contract: Contract, events_by_partition: &[u64]) -> u64 {
        let passing = |events: &u64| (0..*events).filter(|offset| *offset as i64 % 5 < PASSING_OF_FIVE).count() as u64;
        match contract.has_condition() {
            true => events_by_partition.iter().map(passing).sum(),
            false => events_by_partition.iter().sum(),
        }
    }
}

/// What every system record of ours carries beside its id and its subject.
const SYSTEM_HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("ce_specversion", "1.0"),
    ("ce_source", "/tidegate/bench/r1-shop-area-1-thing-1-web"),
    ("ce_type", "tidegate.step.completed"),
    ("ce_time", "2026-01-01T00:00:00.000Z"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

/// What the business record of R1 carries beside the names of its event and its execution.
const BUSINESS_HEADERS: &[(&str, &str)] =
    &[("content-type", "application/json"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];

/// An id of the length that ids of system records have.
fn constant_id(end: &str) -> String {
    format!("0000-{:032x}/1/{end}", 0)
}

fn constant<'a>(headers: &'a [(&str, &str)]) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    headers.iter().map(|(name, value)| (*name, Some(*value)))
}

fn copy(event: &SourceRecord, topic: &Arc<str>) -> WireRecord {
    WireRecord {
        topic: topic.clone(),
        partition: Some(event.origin.partition),
        key: event.key().map(Bytes::copy_from_slice),
        value: event.value_bytes(),
        headers: event.headers().collect(),
        step: None,
    }
}
