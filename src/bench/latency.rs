//! Latency, open loop: events are sent at times that are fixed beforehand, whatever becomes of those before, and each carries
//! the time at which it was meant to be sent. So a pause counts for every event that it holds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};

use super::BenchError;
use super::broker::Broker;
use super::contract::EVENT_HEADER;
use super::input::{EventWriter, Input, passes};
use super::job::Task;
use super::running::{Assignment, Running};
use super::topics::{Outputs, PARTITIONS, Topics, read_all};
use super::verify::verify;
use super::workflows::Installation;
use super::workload::{BODY_BYTES, Workload};
use crate::lane::clock;

/// How long events are sent before any is measured: connections, caches and the first batches settle.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long events are measured.
const MEASURED: Duration = Duration::from_secs(10);
/// The reader ends when nothing came for so long after the last event was committed.
const QUIET: Duration = Duration::from_millis(500);

/// Latencies of one run, in microseconds, one a business record: from the intended time of sending to a `read_committed` reader.
pub fn measure(
    broker: &Broker,
    topics: &mut Topics,
    task: Task,
    installation: &Installation,
    rate: u32,
) -> Result<Vec<u64>, BenchError> {
    let mut input = Input::empty(topics)?;
    let outputs = topics.create_outputs()?;
    input.events = ((WARM_UP + MEASURED).as_secs_f64() * f64::from(rate)) as u64;
    let assignment = Assignment {
        task,
        installation,
        topic: input.topic.clone(),
        events: input.events,
        outputs: outputs.clone(),
        name: topics.unique("latency"),
        waiting: None,
    };
    let running = Running::start(broker, assignment)?;
    running.progress.wait_for_start(&task.to_string())?;
    let reader = reader(broker, &outputs)?;
    let writer = EventWriter::new(broker, input.topic.clone())?;
    let (epoch, all_committed) = (Instant::now() + Duration::from_millis(200), AtomicBool::new(false));
    let latencies = std::thread::scope(|threads| {
        let reading = threads.spawn(|| read(&reader, epoch, &all_committed));
        let sent = send(&writer, &mut input, epoch, rate);
        let ended = sent.and_then(|()| running.progress.wait_for_end(&task.to_string()));
        all_committed.store(true, Ordering::Release);
        let latencies = reading.join().unwrap_or_default();
        ended.map(|_| latencies)
    })?;
    drop(running);
    let (_, ends) = read_all(broker, &input.topic)?;
    input.by_partition = ends.iter().map(|end| u64::try_from(*end).unwrap_or_default()).collect();
    verify(broker, &task.to_string(), &task.expected(), &input, &outputs)?;
    topics.delete(&outputs.names())?;
    topics.delete(&[input.topic])?;
    Ok(latencies)
}

/// Sends every event at its time. What is late is sent at once.
fn send(writer: &EventWriter, input: &mut Input, epoch: Instant, rate: u32) -> Result<(), BenchError> {
    let mut workload = Workload::new(7, BODY_BYTES);
    for number in 0..input.events {
        let intended = Duration::from_secs_f64(number as f64 / f64::from(rate));
        let event = workload.next_event();
        input.passing += u64::from(passes(&event));
        let ahead = (epoch + intended).saturating_duration_since(Instant::now());
        clock::pause(ahead);
        writer.send(&event, &format!("{}-{number}", intended.as_micros()))?;
    }
    writer.flush()
}

fn reader(broker: &Broker, outputs: &Outputs) -> Result<Arc<BaseConsumer>, BenchError> {
    let failed = |error: rdkafka::error::KafkaError| BenchError::broker("reading outputs", error);
    let reader: BaseConsumer = broker.clients.reader().create().map_err(failed)?;
    let mut list = TopicPartitionList::with_capacity(PARTITIONS as usize);
    for partition in 0..PARTITIONS {
        let mut element = list.add_partition(&outputs.business, partition);
        element.set_offset(rdkafka::Offset::Beginning).map_err(failed)?;
    }
    reader.assign(&list).map_err(failed)?;
    Ok(Arc::new(reader))
}

/// Reads business records until all events are committed and nothing more comes.
fn read(reader: &BaseConsumer, epoch: Instant, all_committed: &AtomicBool) -> Vec<u64> {
    let mut latencies = Vec::new();
    let mut last = Instant::now();
    while !all_committed.load(Ordering::Acquire) || last.elapsed() < QUIET {
        let Some(Ok(message)) = reader.poll(Duration::from_millis(20)) else { continue };
        last = Instant::now();
        let now = last.saturating_duration_since(epoch).as_micros() as u64;
        let headers = message.headers();
        let id = headers.and_then(|all| all.iter().find(|it| it.key == EVENT_HEADER)).and_then(|it| it.value);
        if let Some(intended) = id.and_then(intended_micros).filter(|it| u128::from(*it) >= WARM_UP.as_micros()) {
            latencies.push(now.saturating_sub(intended));
        }
    }
    latencies
}

/// The intended time of sending, as an event's id says it.
fn intended_micros(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id).ok()?.split_once('-')?.0.parse().ok()
}
