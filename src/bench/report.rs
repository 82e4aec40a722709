//! What was measured, as a value; how it looks is the command's work.

use serde::Serialize;

use super::statistics::{Quantiles, Spread};

/// A benchmark's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The broker.
    pub broker: String,
    /// How often each job ran.
    pub rounds: u32,
    /// Events of one run.
    pub events: u64,
    /// Bytes of an event's body, about.
    pub event_bytes: usize,
    /// Lanes of an instance, and threads that consume in a limit loop.
    pub lanes: u32,
    /// The jobs, in the order in which they took turns.
    pub jobs: Vec<JobReport>,
    /// Latency, where it was asked for.
    pub latency: Vec<LatencyReport>,
    /// Memory of executions that wait, where it was asked for.
    pub memory: Vec<MemoryReport>,
}

/// What one job did, over all rounds. Of a job with several matches an event, everything is by execution.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobReport {
    /// The job.
    pub job: String,
    /// Events of one run.
    pub events: u64,
    /// Executions that each started.
    pub executions_per_event: u64,
    /// Events or executions a second.
    pub per_second: Spread,
    /// The job that the ratio is to.
    pub baseline: Option<String>,
    /// The rate divided by the baseline's of the same round.
    pub ratio: Option<Spread>,
    /// CPU time of this process, microseconds for each.
    pub cpu_us: Spread,
    /// CPU time of the broker, microseconds for each; absent if it is not known, or part of this process.
    pub broker_cpu_us: Option<Spread>,
    /// How often the lane started again, over all rounds.
    pub restarts: u64,
    /// Bytes of the path, the headers and the body of a request to the target; absent if there was none.
    pub request_bytes: Option<f64>,
}

/// Memory of executions that wait, over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryReport {
    /// The job.
    pub job: String,
    /// How many executions waited, at first and later.
    pub waiting: [u64; 2],
    /// Resident memory of the instance then, in bytes.
    pub resident_bytes: [Spread; 2],
    /// How much it had grown in between, in bytes, for each that waited more.
    pub bytes_per_execution: Spread,
}

/// Latency of one job, over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyReport {
    /// The job.
    pub job: String,
    /// Events sent a second.
    pub events_per_second: u32,
    /// Records that were measured.
    pub records: u64,
    /// Milliseconds from the intended time of sending to a `read_committed` reader.
    pub milliseconds: Quantiles,
    /// The median's ratio to that of the limit loop, which commits as soon as nothing more is there.
    pub p50_ratio: Option<f64>,
    /// The same of the 99th percentile.
    pub p99_ratio: Option<f64>,
}
