//! The events that jobs read: the same for every job and every round, written before anything is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::BenchError;
use super::broker::Broker;
use super::topics::{PARTITIONS, Topics};
use super::workload::{BODY_BYTES, LoadEvent, Workload};

/// The seed of the events: any number, but always the same.
const SEED: u64 = 42;
/// How long writing may stand still.
const PATIENCE: Duration = Duration::from_secs(30);
/// The name of the events' source.
const SOURCE: &str = "https://shop.example.com";

/// A topic full of events.
#[derive(Clone, Debug)]
pub struct Input {
    /// The topic.
    pub topic: Arc<str>,
    /// How many events it has.
    pub events: u64,
    /// How many of them pass the condition of R1.
    pub passing: u64,
    /// How many each partition has.
    pub by_partition: Vec<u64>,
}

impl Input {
    /// Makes a topic and writes events to it.
    pub fn fill(broker: &Broker, topics: &mut Topics, events: u64) -> Result<Input, BenchError> {
        let topic = topics.create("events")?;
        let writer = EventWriter::new(broker, topic.clone())?;
        let mut workload = Workload::new(SEED, BODY_BYTES);
        let mut passing = 0;
        for _ in 0..events {
            let event = workload.next_event();
            passing += u64::from(passes(&event));
            writer.send(&event, &event.id)?;
        }
        writer.flush()?;
        let (_, ends) = super::topics::read_all(broker, &topic)?;
        let by_partition: Vec<u64> = ends.iter().map(|end| u64::try_from(*end).unwrap_or_default()).collect();
        let written: u64 = by_partition.iter().sum();
        if written != events {
            let cause = format!("{written} of {events} events are there");
            return Err(BenchError::broker(format!("writing events to {topic}"), cause));
        }
        Ok(Input { topic, events, passing, by_partition })
    }

    /// A topic without events, for those that are sent while it is read.
    pub fn empty(topics: &mut Topics) -> Result<Input, BenchError> {
        let topic = topics.create("events")?;
        Ok(Input { topic, events: 0, passing: 0, by_partition: vec![0; PARTITIONS as usize] })
    }
}

/// Whether an event passes the condition of R1.
pub fn passes(event: &LoadEvent) -> bool {
    let amount = event.body.split_once("\"amount\":").map_or("", |(_, after)| after);
    let digits = amount.split(|it: char| !it.is_ascii_digit()).next().unwrap_or_default();
    digits.parse::<u64>().is_ok_and(|amount| amount >= 100)
}

/// Writes events as CloudEvents in binary mode.
pub struct EventWriter {
    producer: BaseProducer,
    topic: Arc<str>,
}

impl EventWriter {
    /// A writer to a topic.
    pub fn new(broker: &Broker, topic: Arc<str>) -> Result<EventWriter, BenchError> {
        let mut config = broker.clients.producer();
        config.set("linger.ms", "0");
        let producer = config.create().map_err(|error| BenchError::broker("making a producer", error))?;
        Ok(EventWriter { producer, topic })
    }

    /// Sends an event under an id; waits while the queue is full.
    pub fn send(&self, event: &LoadEvent, id: &str) -> Result<(), BenchError> {
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new_with_capacity(6)
            .insert(header("content-type", "application/json"))
            .insert(header("ce_specversion", "1.0"))
            .insert(header("ce_id", id))
            .insert(header("ce_source", SOURCE))
            .insert(header("ce_type", &event.kind))
            .insert(header("traceparent", &event.traceparent));
        let mut record = BaseRecord::to(&self.topic).key(&event.key).payload(&event.body).headers(headers);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    record = back;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(BenchError::broker(format!("sending events to {}", self.topic), error)),
            }
        }
    }

    /// Waits until all events are acknowledged.
    pub fn flush(&self) -> Result<(), BenchError> {
        let flushed = self.producer.flush(PATIENCE);
        flushed.map_err(|error| BenchError::broker(format!("sending events to {}", self.topic), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_events_of_five_pass() {
        let mut workload = Workload::new(SEED, BODY_BYTES);
        let passing = (0..10_000).filter(|_| passes(&workload.next_event())).count();
        assert!((7_800..8_200).contains(&passing), "{passing}");
    }
}
