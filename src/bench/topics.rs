//! The topics of a benchmark: made for it, named so that no other can be meant, deleted when it ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::BenchError;
use super::broker::Broker;

/// Partitions of every topic, in and out, but of a journal.
pub const PARTITIONS: i32 = 12;
/// How long one request to the broker may take.
const REQUEST: Duration = Duration::from_secs(20);

/// Makes topics and deletes them, at the latest when it is dropped.
pub struct Topics {
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    prefix: String,
    made: Vec<Arc<str>>,
    next: u64,
}

/// Where one run writes.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// What `produce` steps write.
    pub business: Arc<str>,
    /// Step results.
    pub step_results: Arc<str>,
    /// Execution records.
    pub executions: Arc<str>,
    /// Dead letters.
    pub dead_letters: Arc<str>,
}

impl Topics {
    /// Makes no topic yet.
    pub fn new(broker: &Broker) -> Result<Topics, BenchError> {
        let admin =
            broker.clients.plain().create().map_err(|error| BenchError::broker("making an admin client", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Thread)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let prefix = format!("tidegate-bench-{now:x}-{}", std::process::id());
        Ok(Topics { admin, runtime, prefix, made: Vec::new(), next: 0 })
    }

    /// A name that nothing else of any benchmark has: of a topic, a group, a client.
    pub fn unique(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{}-{}-{what}", self.prefix, self.next)
    }

    /// Makes one topic.
    pub fn create(&mut self, what: &str) -> Result<Arc<str>, BenchError> {
        self.create_with(what, PARTITIONS)
    }

    /// Makes one topic with so many partitions.
    pub fn create_with(&mut self, what: &str, partitions: i32) -> Result<Arc<str>, BenchError> {
        let mut made = self.create_all(&[what], partitions)?;
        made.pop().ok_or_else(|| BenchError::broker("making a topic", "no answer"))
    }

    /// Makes the topics that one run writes to.
    pub fn create_outputs(&mut self) -> Result<Outputs, BenchError> {
        let mut made =
            self.create_all(&["business", "step-results", "executions", "dead-letters"], PARTITIONS)?.into_iter();
        let mut next = || made.next().ok_or_else(|| BenchError::broker("making topics", "not all were answered"));
        Ok(Outputs { business: next()?, step_results: next()?, executions: next()?, dead_letters: next()? })
    }

    /// Takes over topics that were made for this benchmark otherwise: they go with its own.
    pub fn adopt(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        self.made.extend(names);
    }

    fn create_all(&mut self, what: &[&str], partitions: i32) -> Result<Vec<Arc<str>>, BenchError> {
        let names: Vec<Arc<str>> = what.iter().map(|what| self.unique(what).into()).collect();
        self.made.extend(names.iter().cloned());
        let topics: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
        let asked = self.admin.create_topics(&topics, &options());
        let answers = self.runtime.block_on(asked).map_err(|error| BenchError::broker("making topics", error))?;
        for answer in answers {
            answer.map_err(|(name, code)| BenchError::broker(format!("making the topic {name}"), code))?;
        }
        Ok(names)
    }

    /// Deletes topics of this benchmark.
    pub fn delete(&mut self, names: &[Arc<str>]) -> Result<(), BenchError> {
        self.made.retain(|made| !names.contains(made));
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let asked = self.admin.delete_topics(&names, &options());
        let answers = self.runtime.block_on(asked).map_err(|error| BenchError::broker("deleting topics", error))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((name, code)) => return Err(BenchError::broker(format!("deleting the topic {name}"), code)),
            }
        }
        Ok(())
    }
}

impl Outputs {
    /// All of them.
    pub fn names(&self) -> [Arc<str>; 4] {
        let Outputs { business, step_results, executions, dead_letters } = self;
        [business, step_results, executions, dead_letters].map(Clone::clone)
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.made);
        if let Err(error) = self.delete(&left) {
            tracing::warn!(cause = %error, prefix = %self.prefix, "topics of the benchmark are left");
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST))
}

/// A reader of what is committed, over all partitions of a topic from the beginning, and where each of them ends now.
pub fn read_all(broker: &Broker, topic: &str) -> Result<(BaseConsumer, Vec<i64>), BenchError> {
    let failed = |error: rdkafka::error::KafkaError| BenchError::broker(format!("reading {topic}"), error);
    let reader: BaseConsumer = broker.clients.reader().create().map_err(failed)?;
    let mut list = TopicPartitionList::with_capacity(PARTITIONS as usize);
    let mut ends = Vec::with_capacity(PARTITIONS as usize);
    for partition in 0..PARTITIONS {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(rdkafka::Offset::Beginning).map_err(failed)?;
        ends.push(reader.fetch_watermarks(topic, partition, REQUEST).map_err(failed)?.1);
    }
    reader.assign(&list).map_err(failed)?;
    Ok((reader, ends))
}
