//! R3: what an execution takes that waits. An instance in a process of its own is given events until few of their executions wait, and
//! then until many do; its memory has grown by so much for each.
//!
//! Events come no faster than their executions begin to wait. If all came at once, queues would fill while many are loaded and not while
//! few are, and would be measured with them.

use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use serde::Deserialize;

use super::broker::Broker;
use super::input::{EventWriter, Input};
use super::process::Process;
use super::report::MemoryReport;
use super::statistics::Spread;
use super::topics::{Outputs, Topics, read_all};
use super::verify::{Content, Expected, verify};
use super::workflows;
use super::workload::{BODY_BYTES, Workload};
use super::{BenchError, Job};

/// How many executions wait, at most.
const MANY: u64 = 100_000;
/// How many times as many as at first.
const TIMES: u64 = 10;
/// How many events are on their way at most.
const SLICE: u64 = 1_000;
/// The delay of the executions: what two looks at memory take, and what loading one takes. It is checked that all have waited at once.
const DELAY_BASE_MS: u64 = 12_000;
const DELAY_EACH_MICROS: u64 = 500;
/// How long nothing may happen that should.
const STANDSTILL: Duration = Duration::from_secs(30);

/// What must have been written: an execution record while it waits and one at its end, the result of the delay and of the copy, the copy.
const EXPECTED: Expected = Expected {
    executions_per_event: 1,
    execution_records: 2,
    step_results: 2,
    has_condition: false,
    content: Content::Workflows { by_type: false },
};

/// Resident memory of an instance, in bytes, while few and while many executions waited.
#[derive(Clone, Copy, Debug)]
pub struct Memory([u64; 2]);

/// How many executions wait at first and later, where a run has so many events.
pub fn sizes(events: u64) -> [u64; 2] {
    let many = events.min(MANY);
    [many / TIMES, many]
}

/// What all rounds say.
pub fn report(events: u64, rounds: &[Memory]) -> Option<MemoryReport> {
    let waiting @ [few, many] = sizes(events);
    let resident = |place: usize| Spread::of(rounds.iter().map(|Memory(bytes)| bytes[place] as f64));
    let each = |Memory([before, after]): &Memory| (*after as f64 - *before as f64) / (many - few) as f64;
    Some(MemoryReport {
        job: Job::R3.name(),
        waiting,
        resident_bytes: [resident(0)?, resident(1)?],
        bytes_per_execution: Spread::of(rounds.iter().map(each))?,
    })
}

/// Measures once, and verifies that every execution has gone on once.
pub fn measure(broker: &Broker, topics: &mut Topics, events: u64) -> Result<Memory, BenchError> {
    let [few, many] = sizes(events);
    let delay = Duration::from_millis(DELAY_BASE_MS + many * DELAY_EACH_MICROS / 1_000);
    let (job, name) = (Job::R3.name(), topics.unique("memory"));
    let (mut input, business) = (Input::empty(topics)?, topics.create("business")?);
    let definition = workflows::delaying(delay.as_secs(), &business)?;
    let (mut process, system) =
        Process::start(broker, topics, (job.as_str(), name.as_str()), (&*input.topic, definition))?;
    let outputs = system.outputs(business.clone());
    let writer = EventWriter::new(broker, input.topic.clone())?;
    let mut load = Load::new(broker, &outputs, &job)?;
    let mut resident = [0; 2];
    for (size, bytes) in [few, many].into_iter().zip(&mut resident) {
        while load.sent < size {
            load.send(&writer, SLICE.min(size - load.sent))?;
            load.wait(&mut process, |seen| seen.began)?;
        }
        *bytes = process.resident_bytes()?;
        load.look(Duration::ZERO);
        if load.seen.ended > 0 {
            let what = format!("executions went on before all {size} waited: {delay:?} is too short for this machine");
            return Err(BenchError::Wrong { job, what });
        }
    }
    load.wait(&mut process, |seen| seen.ended)?;
    (input.events, input.by_partition) =
        (many, read_all(broker, &input.topic)?.1.iter().map(|it| it.unsigned_abs()).collect());
    verify(broker, &job, &EXPECTED, &input, &outputs)?;
    drop(process);
    topics.delete(&system.all)?;
    topics.delete(&[input.topic, business])?;
    Ok(Memory(resident))
}

/// Events as they are sent, and what is seen of their executions.
struct Load {
    job: String,
    workload: Workload,
    reader: BaseConsumer,
    sent: u64,
    seen: Seen,
}

/// Execution records that were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Of executions that wait.
    began: u64,
    /// Of executions that have ended.
    ended: u64,
}

#[derive(Deserialize)]
struct Status<'a> {
    status: &'a str,
}

impl Load {
    fn new(broker: &Broker, outputs: &Outputs, job: &str) -> Result<Load, BenchError> {
        let (reader, _) = read_all(broker, &outputs.executions)?;
        let workload = Workload::new(3, BODY_BYTES);
        Ok(Load { job: job.to_owned(), workload, reader, sent: 0, seen: Seen::default() })
    }

    fn send(&mut self, writer: &EventWriter, events: u64) -> Result<(), BenchError> {
        for _ in 0..events {
            let event = self.workload.next_event();
            writer.send(&event, &event.id)?;
        }
        self.sent += events;
        writer.flush()
    }

    /// Waits until as many executions as events were sent are seen so.
    fn wait(&mut self, process: &mut Process, so: impl Fn(Seen) -> u64) -> Result<(), BenchError> {
        let (mut done, mut since) = (so(self.seen), Instant::now());
        // Those that wait do so for as long as they were told to.
        let patience = STANDSTILL + Duration::from_millis(DELAY_BASE_MS + self.sent * DELAY_EACH_MICROS / 1_000);
        while done < self.sent {
            process.check()?;
            self.look(Duration::from_millis(100));
            if so(self.seen) != done {
                (done, since) = (so(self.seen), Instant::now());
            }
            if since.elapsed() > patience {
                return Err(BenchError::Stalled { job: self.job.clone(), done, wanted: self.sent, cause: None });
            }
        }
        Ok(())
    }

    /// Takes what has come, after having waited for it for so long.
    fn look(&mut self, mut patience: Duration) {
        while let Some(polled) = self.reader.poll(patience) {
            patience = Duration::ZERO;
            // The client goes on by itself, or nothing more comes and that is said.
            let Ok(message) = polled else { continue };
            match serde_json::from_slice::<Status<'_>>(message.payload().unwrap_or_default()) {
                Ok(Status { status: "running" }) => self.seen.began += 1,
                // Whatever else it says is told by verification.
                Ok(_) | Err(_) => self.seen.ended += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_each_execution_has_added() {
        assert_eq!(sizes(200_000), [10_000, 100_000]);
        let rounds = [Memory([50_000_000, 140_000_000]), Memory([60_000_000, 420_000_000])];
        let report = report(200_000, &rounds).unwrap();
        assert_eq!((report.bytes_per_execution.min, report.bytes_per_execution.max), (1_000.0, 4_000.0));
        assert_eq!(report.resident_bytes[0].median, 55_000_000.0);
    }
}
