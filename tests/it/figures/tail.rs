//! A reader that goes along with a topic: it keeps nothing, so it can read millions of records, and it reads each of them once.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use crate::support::broker::TestBroker;
use crate::support::clients::{CALL, LOOK, assign_from, unique};

/// Reads the committed records of a topic from its beginning on.
pub struct Tail {
    consumer: BaseConsumer,
}

impl Tail {
    /// A reader of all partitions of a topic.
    #[track_caller]
    pub fn new(broker: &TestBroker, topic: &str) -> Tail {
        // The reader shares its machine with what it looks at: little is fetched ahead, and nothing is waited for.
        let settings = [
            ("isolation.level", "read_committed"),
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.wait.max.ms", "20"),
            ("fetch.queue.backoff.ms", "5"),
        ];
        let consumer = broker.consumer(&unique("tail"), &settings);
        let metadata = consumer.fetch_metadata(Some(topic), CALL).expect("the broker answers");
        let partitions = metadata.topics().iter().map(|it| it.partitions().len()).sum();
        assign_from(&consumer, topic, &vec![Offset::Beginning; partitions]);
        Tail { consumer }
    }

    /// Hands over the next record if one comes within a look.
    #[track_caller]
    pub fn next(&self, take: impl FnOnce(&BorrowedMessage<'_>)) -> bool {
        match self.consumer.poll(LOOK) {
            Some(Ok(message)) => {
                take(&message);
                true
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => false,
            Some(Err(error)) => panic!("cannot go on reading: {error}"),
        }
    }

    /// Reads until `take` says that it has seen enough.
    #[track_caller]
    pub fn until(&self, what: &str, within: Duration, mut take: impl FnMut(&BorrowedMessage<'_>) -> bool) {
        let started = Instant::now();
        let mut done = false;
        while !done {
            assert!(started.elapsed() < within, "waited {within:?} in vain: {what}");
            self.next(|message| done = take(message));
        }
    }

    /// Reads on until nothing came for so long.
    #[track_caller]
    pub fn until_quiet(&self, quiet: Duration, mut take: impl FnMut(&BorrowedMessage<'_>)) {
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            if self.next(&mut take) {
                last = Instant::now();
            }
        }
    }
}
