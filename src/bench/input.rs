//! The events that jobs read: the same for every job and every round, written before anything is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::BenchError;
use super::avro::AvroBodies;
use super::broker::Broker;
use super::job::Events;
use super::topics::{PARTITIONS, Topics};
use super::workload::{BODY_BYTES, LoadEvent, Workload};

/// The seed of the events: any number, but always the same.
const SEED: u64 = 42;
/// How long writing may stand still.
const PATIENCE: Duration = Duration::from_secs(30);
/// The name of the events' source.
const SOURCE: &str = "https://shop.example.com";

/// What ids of events start with that cannot be understood.
pub const POISON: &str = "poison-";

/// A topic full of events.
#[derive(Clone, Debug)]
pub struct Input {
    /// The topic.
    pub topic: Arc<str>,
    /// How many events it has.
    pub events: u64,
    /// How many of them cannot be understood.
    pub poison: u64,
    /// How many of the others pass the condition of R1.
    pub passing: u64,
    /// How many each partition has.
    pub by_partition: Vec<u64>,
}

impl Input {
    /// Makes a topic and writes events to it; poison is evenly spread.
    pub fn fill(broker: &Broker, topics: &mut Topics, events: u64, kind: Events) -> Result<Input, BenchError> {
        let (per_mille, avro) = match kind {
            Events::Json { poison_per_mille } => (poison_per_mille, None),
            Events::Avro => (0, Some(AvroBodies::new()?)),
        };
        let topic = topics.create("events")?;
        let writer = EventWriter::new(broker, topic.clone())?;
        let mut workload = Workload::new(SEED, BODY_BYTES);
        let (mut passing, mut poison) = (0, 0);
        for number in 0..events {
            let event = workload.next_event();
            if is_poison(number, per_mille) {
                poison += 1;
                writer.send(&poisoned(&event), &format!("{POISON}{number}"))?;
                continue;
            }
            passing += u64::from(passes(&event));
            match &avro {
                None => writer.send(&event, &event.id)?,
                Some(bodies) => writer.send_body(&event, &event.id, &bodies.framed(&event.body)?)?,
            }
        }
        writer.flush()?;
        let (_, ends) = super::topics::read_all(broker, &topic)?;
        let by_partition: Vec<u64> = ends.iter().map(|end| u64::try_from(*end).unwrap_or_default()).collect();
        let written: u64 = by_partition.iter().sum();
        if written != events {
            let cause = format!("{written} of {events} events are there");
            return Err(BenchError::broker(format!("writing events to {topic}"), cause));
        }
        Ok(Input { topic, events, poison, passing, by_partition })
    }

    /// A topic without events, for those that are sent while it is read.
    pub fn empty(topics: &mut Topics) -> Result<Input, BenchError> {
        let topic = topics.create("events")?;
        Ok(Input { topic, events: 0, poison: 0, passing: 0, by_partition: vec![0; PARTITIONS as usize] })
    }
}

/// Whether the event of that number is one of so many poison ones in a thousand.
fn is_poison(number: u64, per_mille: u32) -> bool {
    let up_to = |number: u64| number * u64::from(per_mille) / 1_000;
    up_to(number) < up_to(number + 1)
}

/// An event as long as before that is no JSON, which only whoever reads it to its end can tell.
fn poisoned(event: &LoadEvent) -> LoadEvent {
    let mut poisoned = event.clone();
    poisoned.body.pop();
    poisoned.body.push(']');
    poisoned
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
        self.send_body(event, id, event.body.as_bytes())
    }

    /// The same with another body.
    fn send_body(&self, event: &LoadEvent, id: &str, body: &[u8]) -> Result<(), BenchError> {
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new_with_capacity(6)
            .insert(header("content-type", "application/json"))
            .insert(header("ce_specversion", "1.0"))
            .insert(header("ce_id", id))
            .insert(header("ce_source", SOURCE))
            .insert(header("ce_type", &event.kind))
            .insert(header("traceparent", &event.traceparent));
        let mut record = BaseRecord::to(&self.topic).key(&event.key).payload(body).headers(headers);
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
    fn poison_is_spread_evenly_and_no_json() {
        for per_mille in [0, 1, 10, 100, 1_000] {
            let poison = (0..20_000).filter(|number| is_poison(*number, per_mille)).count();
            assert_eq!(poison as u32, 20 * per_mille);
        }
        let event = Workload::new(SEED, BODY_BYTES).next_event();
        let poisoned = poisoned(&event);
        assert_eq!(poisoned.body.len(), event.body.len());
        assert!(serde_json::from_str::<serde_json::Value>(&poisoned.body).is_err());
    }

    #[test]
    fn four_events_of_five_pass() {
        let mut workload = Workload::new(SEED, BODY_BYTES);
        let passing = (0..10_000).filter(|_| passes(&workload.next_event())).count();
        assert!((7_800..8_200).contains(&passing), "{passing}");
    }
}
