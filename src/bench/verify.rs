//! Verification: a `read_committed` reader counts what a run wrote. Every (event, workflow, step) must be there exactly once, or
//! the run does not count.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rustc_hash::FxHashSet;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use super::BenchError;
use super::broker::Broker;
use super::contract::{Contract, EXECUTION_HEADER, Template};
use super::input::Input;
use super::job::Task;
use super::topics::{Outputs, PARTITIONS};
use super::workflows::MATCHING;

/// How long reading may stand still.
const STANDSTILL: Duration = Duration::from_secs(30);

/// How often it is asked whether a transaction is over.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Ids, as hashes wide enough that no two are the same by chance.
type Ids = FxHashSet<u128>;

/// Checks everything that a task wrote for its input.
pub fn verify(broker: &Broker, task: Task, input: &Input, outputs: &Outputs) -> Result<(), BenchError> {
    check(broker, task, input, outputs).map_err(|failure| match failure {
        Failure::Wrong(what) => BenchError::Wrong { job: task.to_string(), what },
        Failure::Broker(error) => BenchError::broker(format!("reading what {task} wrote"), error),
    })
}

enum Failure {
    Wrong(String),
    Broker(String),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Failure {
        Failure::Broker(error.to_string())
    }
}

fn check(broker: &Broker, task: Task, input: &Input, outputs: &Outputs) -> Result<(), Failure> {
    settle(broker, outputs)?;
    let each = task.executions_per_event();
    let is_limit = matches!(task, Task::Copy | Task::Limit(_));
    let contract = task.contract();
    let mut executions = Ids::default();
    let mut pairs = Ids::default();
    let wanted = if contract == Contract::Copy { 0 } else { input.events * each };
    count(broker, "executions", &outputs.executions, wanted, |message| {
        let key = message.key().unwrap_or_default();
        if !is_limit {
            unique(&mut pairs, execution_of(task, key, message.payload().unwrap_or_default())?, "an execution")?;
        }
        unique(&mut executions, key, "an execution")
    })?;
    let mut results = Ids::default();
    count(broker, "step results", &outputs.step_results, contract.step_results() * input.events * each, |message| {
        let key = message.key().unwrap_or_default();
        known(&executions, key)?;
        unique(&mut results, [key, header(message, "ce_id")?].concat(), "a step result")
    })?;
    let mut business = Ids::default();
    let wanted = match (contract.has_condition(), is_limit) {
        (true, false) => input.passing * each,
        (false, false) => input.events * each,
        (_, true) => Template::business_records(contract, &input.by_partition),
    };
    count(broker, "business records", &outputs.business, wanted, |message| {
        if contract == Contract::Copy {
            return unique(&mut business, header(message, "ce_id")?, "a copy");
        }
        let execution = header(message, EXECUTION_HEADER)?;
        known(&executions, execution)?;
        unique(&mut business, execution, "a business record")
    })?;
    count(broker, "dead letters", &outputs.dead_letters, 0, |_| Ok(()))
}

/// Waits until every transaction is over. Brokers answer a commit when it is certain and mark its partitions a little later; a
/// reader that came in between would miss the end.
fn settle(broker: &Broker, outputs: &Outputs) -> Result<(), Failure> {
    let committed: BaseConsumer = broker.clients.reader().create()?;
    let all: BaseConsumer = broker.clients.reader().set("isolation.level", "read_uncommitted").create()?;
    let deadline = Instant::now() + STANDSTILL;
    for topic in outputs.names() {
        for partition in 0..PARTITIONS {
            let end = |reader: &BaseConsumer| reader.fetch_watermarks(&topic, partition, STANDSTILL).map(|it| it.1);
            while end(&committed)? < end(&all)? {
                if Instant::now() >= deadline {
                    return Err(Failure::Broker(format!("a transaction in {topic}-{partition} does not end")));
                }
                std::thread::park_timeout(SETTLE_POLL);
            }
        }
    }
    Ok(())
}

/// The event and the workflow of an execution record that is as it must be.
fn execution_of(task: Task, key: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
    let record: ExecutionRecord<'_> =
        serde_json::from_slice(value).map_err(|error| format!("an execution record cannot be read: {error}"))?;
    let ExecutionRecord { id, workflow_id, status, event } = record;
    if status != "completed" || id.as_bytes() != key {
        return Err(format!("the execution {id} is {status} under the key {}", String::from_utf8_lossy(key)));
    }
    let number = workflow_id.strip_prefix(MATCHING);
    let belongs = match task {
        Task::Shape { .. } => number.is_some() && number == event.kind.rsplit('-').next(),
        _ => number.is_some(),
    };
    if !belongs {
        return Err(format!("{workflow_id} ran for an event of the type {}, which it does not match", event.kind));
    }
    Ok(format!("{}/{}/{workflow_id}", event.partition, event.offset).into_bytes())
}

/// What must be right in an execution record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionRecord<'a> {
    id: &'a str,
    workflow_id: &'a str,
    status: &'a str,
    #[serde(borrow)]
    event: EventOfRecord<'a>,
}

#[derive(Deserialize)]
struct EventOfRecord<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    partition: i32,
    offset: i64,
}

fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Result<&'a [u8], String> {
    let headers = message.headers().ok_or_else(|| format!("a record has no headers, {name} neither"))?;
    let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
    found.ok_or_else(|| format!("a record has no header {name}"))
}

fn known(executions: &Ids, id: &[u8]) -> Result<(), String> {
    if executions.contains(&xxh3_128(id)) {
        return Ok(());
    }
    Err(format!("a record belongs to {}, which left no execution record", String::from_utf8_lossy(id)))
}

fn unique(ids: &mut Ids, id: impl AsRef<[u8]>, what: &str) -> Result<(), String> {
    if ids.insert(xxh3_128(id.as_ref())) {
        return Ok(());
    }
    Err(format!("{what} is there twice: {}", String::from_utf8_lossy(id.as_ref())))
}

/// Reads a topic to its end and counts.
fn count(
    broker: &Broker,
    what: &str,
    topic: &str,
    wanted: u64,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<(), String>,
) -> Result<(), Failure> {
    let mut config = broker.clients.reader();
    config.set("enable.partition.eof", "true");
    let reader: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::with_capacity(PARTITIONS as usize);
    for partition in 0..PARTITIONS {
        list.add_partition(topic, partition).set_offset(rdkafka::Offset::Beginning)?;
    }
    reader.assign(&list)?;
    let (mut found, mut open, mut since) = (0_u64, (0..PARTITIONS).collect::<Vec<_>>(), Instant::now());
    while !open.is_empty() {
        match reader.poll(Duration::from_millis(100)) {
            None if since.elapsed() > STANDSTILL => {
                return Err(Failure::Broker(format!("{topic} does not answer, {found} records read")));
            }
            None => continue,
            Some(Ok(message)) => {
                each(&message).map_err(Failure::Wrong)?;
                found += 1;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|it| *it != partition),
            Some(Err(error)) if since.elapsed() > STANDSTILL => return Err(error.into()),
            // The client goes on by itself.
            Some(Err(_)) => continue,
        }
        since = Instant::now();
    }
    if found == wanted {
        return Ok(());
    }
    Err(Failure::Wrong(format!("{found} {what} instead of {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_of_another_workflow_is_wrong() {
        let value = |workflow: &str, status: &str| {
            format!(
                r#"{{"id":"x","run":1,"workflowId":"{workflow}","status":"{status}","event":{{"type":"shop.area-1.thing-11","partition":2,"offset":3}}}}"#
            )
        };
        let of = |workflow: &str, status: &str, task| execution_of(task, b"x", value(workflow, status).as_bytes());
        let shape = Task::Shape { full: true };
        assert_eq!(of("match-11", "completed", shape), Ok(b"2/3/match-11".to_vec()));
        assert!(of("match-1", "completed", shape).is_err());
        assert!(of("match-1", "completed", Task::FanOut(10)).is_ok());
        assert!(of("other-11", "completed", Task::Installed(100)).is_err());
        assert!(of("match-11", "failed", shape).is_err());
    }

    #[test]
    fn what_is_there_twice_is_wrong() {
        let mut ids = Ids::default();
        assert!(unique(&mut ids, b"a", "it").is_ok() && unique(&mut ids, b"b", "it").is_ok());
        assert!(unique(&mut ids, b"a", "it").is_err());
        assert!(known(&ids, b"a").is_ok() && known(&ids, b"c").is_err());
    }
}
