//! Kafka clients as tests use them: short names for what every test does, and deadlines on everything.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::broker::TestBroker;
use super::wait::{self, DEADLINE};

/// How long a call of a client may take. Shorter than a test waits for a condition, so that the call's own error is seen.
pub const CALL: Duration = Duration::from_secs(30);
/// How long a look takes that is repeated.
pub const LOOK: Duration = Duration::from_millis(50);

/// What an admin client is called.
pub type Admin = AdminClient<DefaultClientContext>;
/// Settings of a client.
pub type Settings<'s> = &'s [(&'s str, &'s str)];

/// A name that nothing else has on a broker that other tests use too.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What all clients have in common.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // A killed broker is looked for again at once.
    config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// Waits for an answer of an admin client.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Options of admin calls.
pub fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL))
}

impl TestBroker {
    /// An admin client.
    pub fn admin(&self) -> Admin {
        config(self.bootstrap()).create().expect("an admin client")
    }

    /// Creates a topic with a unique name.
    #[track_caller]
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        self.topic_with(prefix, partitions, &[])
    }

    /// Creates a topic with a unique name and settings of its own.
    #[track_caller]
    pub fn topic_with(&self, prefix: &str, partitions: i32, settings: Settings) -> String {
        let name = unique(prefix);
        self.create_topic(&name, partitions, 1, settings).expect("a topic is created");
        let client: BaseConsumer = config(self.bootstrap()).create().expect("a client");
        wait::until("every partition has a leader", || self.leaders(&client, &name).filter(|it| *it == partitions));
        name
    }

    /// Asks for a topic, and returns the broker's answer.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        copies: i32,
        settings: Settings,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let answers = block_on(self.admin().create_topics(&[topic], &admin_options())).expect("an answer");
        answers.into_iter().next().expect("one answer per topic").map(drop).map_err(|(_, code)| code)
    }

    /// How many partitions a topic has.
    #[track_caller]
    pub fn partitions(&self, topic: &str) -> usize {
        let client: BaseConsumer = config(self.bootstrap()).create().expect("a client");
        let found = wait::until("the topic's partitions", || self.leaders(&client, topic).filter(|it| *it > 0));
        usize::try_from(found).expect("a count")
    }

    /// How many partitions of a topic have a leader.
    fn leaders(&self, client: &BaseConsumer, topic: &str) -> Option<i32> {
        let metadata = client.fetch_metadata(Some(topic), CALL).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        i32::try_from(partitions.iter().filter(|it| it.leader() >= 0).count()).ok()
    }

    /// A producer.
    pub fn producer(&self, settings: Settings) -> BaseProducer {
        let mut config = config(self.bootstrap());
        config.set("message.timeout.ms", "30000").set("linger.ms", "2");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().expect("a producer")
    }

    /// A producer of transactions that is ready to begin one.
    #[track_caller]
    pub fn transactional(&self, id: &str, settings: Settings) -> BaseProducer {
        let common = [("transactional.id", id), ("message.timeout.ms", "10000"), ("transaction.timeout.ms", "20000")];
        let producer = self.producer(&[&common, settings].concat());
        producer.init_transactions(CALL).expect("transactions can begin");
        producer
    }

    /// A consumer that commits when told to.
    pub fn consumer(&self, group: &str, settings: Settings) -> BaseConsumer {
        let mut config = config(self.bootstrap());
        config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "200").set("fetch.wait.max.ms", "50");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().expect("a consumer")
    }

    /// The last stable offset of a partition: where readers of committed records must stop.
    #[track_caller]
    pub fn stable_end(&self, topic: &str, partition: i32) -> i64 {
        let consumer = self.consumer(&unique("reader"), &[("isolation.level", "read_committed")]);
        consumer.fetch_watermarks(topic, partition, CALL).expect("the partition has an end").1
    }

    /// Everything in a topic that a reader of committed records may see now, in the order of its partitions.
    #[track_caller]
    pub fn committed(&self, topic: &str) -> Vec<OwnedMessage> {
        self.read_to_the_end(topic, "read_committed")
    }

    /// Everything in a topic, whatever became of its transaction.
    #[track_caller]
    pub fn uncommitted(&self, topic: &str) -> Vec<OwnedMessage> {
        self.read_to_the_end(topic, "read_uncommitted")
    }

    /// Reads until the broker says of each partition that this is the end.
    #[track_caller]
    fn read_to_the_end(&self, topic: &str, isolation: &str) -> Vec<OwnedMessage> {
        let settings = [("isolation.level", isolation), ("enable.partition.eof", "true")];
        let consumer = self.consumer(&unique("reader"), &settings);
        let partitions = self.leaders(&consumer, topic).expect("the topic exists");
        assign_from(&consumer, topic, &vec![Offset::Beginning; usize::try_from(partitions).expect("a count")]);
        let mut messages = Vec::new();
        let mut open = partitions;
        let started = Instant::now();
        while open > 0 {
            assert!(started.elapsed() < DEADLINE, "{open} partitions of {topic} have no end; read {}", messages.len());
            match consumer.poll(LOOK) {
                Some(Ok(message)) => messages.push(message.detach()),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => panic!("cannot read {topic}: {error}"),
                None => {}
            }
        }
        messages.sort_by_key(OwnedMessage::partition);
        messages
    }
}

/// Queues a record.
#[track_caller]
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &str) {
    let record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
    producer.send(record).map_err(|(error, _)| error).expect("there is room in the queue");
}

/// Waits until everything queued has been answered, inside a transaction too.
#[track_caller]
pub fn deliver(producer: &BaseProducer) {
    wait::until("everything is delivered", || {
        producer.poll(LOOK);
        (producer.in_flight_count() == 0).then_some(())
    });
}

/// Reads partitions 0, 1, … of a topic, each from its own offset, without a group.
pub fn assign_from(consumer: &BaseConsumer, topic: &str, offsets: &[Offset]) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(offsets) {
        list.add_partition_offset(topic, partition, *offset).expect("an offset");
    }
    consumer.assign(&list).expect("partitions are assigned");
}

/// Reads so many records.
#[track_caller]
pub fn read(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut messages = Vec::new();
    let started = Instant::now();
    while messages.len() < count {
        assert!(started.elapsed() < DEADLINE, "read {} of {count} records", messages.len());
        match consumer.poll(LOOK) {
            Some(Ok(message)) => messages.push(message.detach()),
            Some(Err(error)) => panic!("cannot read on after {} of {count} records: {error}", messages.len()),
            None => {}
        }
    }
    messages
}

/// The values of records, as text; `null` where there is none.
pub fn values(messages: &[OwnedMessage]) -> Vec<String> {
    let text = |message: &OwnedMessage| message.payload().map(|it| String::from_utf8_lossy(it).into_owned());
    messages.iter().map(|message| text(message).unwrap_or_else(|| "null".into())).collect()
}

/// A list with one partition, an offset and its metadata.
pub fn position(topic: &str, partition: i32, offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, partition);
    element.set_offset(Offset::Offset(offset)).expect("an offset");
    element.set_metadata(metadata);
    list
}

/// What a group has committed for a partition: the offset and its metadata.
pub fn committed_position(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
) -> Result<(Offset, String), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let answer = consumer.committed_offsets(list, Duration::from_secs(5))?;
    let elements = answer.elements();
    let element = elements.first().expect("an answer for the partition");
    element.error()?;
    Ok((element.offset(), element.metadata().to_owned()))
}

/// The only member of a group, which has all partitions of a topic.
#[track_caller]
pub fn group_of_one(broker: &TestBroker, group: &str, topic: &str) -> BaseConsumer {
    let consumer = broker.consumer(group, &[]);
    consumer.subscribe(&[topic]).expect("subscribes");
    wait::until("the group has a member", || {
        drop(consumer.poll(LOOK));
        (consumer.assignment().expect("an assignment").count() > 0).then_some(())
    });
    consumer
}
