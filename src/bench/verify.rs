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
use super::input::{Input, POISON};
use super::target::Received;
use super::topics::{Outputs, PARTITIONS};
use super::workflows::MATCHING;

/// How long reading may stand still.
const STANDSTILL: Duration = Duration::from_secs(30);

/// How often it is asked whether a transaction is over.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Ids, as hashes wide enough that no two are the same by chance.
type Ids = FxHashSet<u128>;

/// What the records of a run must be, beside what its input says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Executions that an event starts.
    pub executions_per_event: u64,
    /// Execution records of each execution: one at its end, and before that one if it waits.
    pub execution_records: u64,
    /// Steps of each execution that leave a record of their own.
    pub step_results: u64,
    /// Whether only events that pass the condition of R1 have a business record.
    pub has_condition: bool,
    /// What the records are made of.
    pub content: Content,
}

/// What records are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Workflows made them of events.
    Workflows {
        /// Whether the one that runs is the one of the event's type.
        by_type: bool,
    },
    /// A limit loop wrote what never changes.
    Constant(Contract),
}

impl Expected {
    /// What a limit loop must have written.
    pub fn of_limit(contract: Contract) -> Expected {
        Expected {
            executions_per_event: 1,
            execution_records: u64::from(contract != Contract::Copy),
            step_results: contract.step_results(),
            has_condition: contract.has_condition(),
            content: Content::Constant(contract),
        }
    }

    fn business_records(&self, input: &Input) -> u64 {
        match self.content {
            Content::Constant(contract) => Template::business_records(contract, &input.by_partition),
            Content::Workflows { .. } if self.has_condition => input.passing * self.executions_per_event,
            Content::Workflows { .. } => (input.events - input.poison) * self.executions_per_event,
        }
    }
}

/// Checks everything that a job wrote for its input.
pub fn verify(
    broker: &Broker,
    job: &str,
    expected: &Expected,
    input: &Input,
    outputs: &Outputs,
) -> Result<(), BenchError> {
    check(broker, expected, input, outputs).map_err(|failure| match failure {
        Failure::Wrong(what) => BenchError::Wrong { job: job.to_owned(), what },
        Failure::Broker(error) => BenchError::broker(format!("reading what {job} wrote"), error),
    })
}

/// Checks what came to the target: every key, and without a restart each only once. A lane that starts again may call again.
pub fn verify_requests(job: &str, received: Received, wanted: u64, restarts: u64) -> Result<(), BenchError> {
    let Received { requests, keys, .. } = received;
    let what = if keys != wanted {
        format!("the target has seen {keys} keys instead of {wanted}")
    } else if requests != wanted && restarts == 0 {
        format!("the target was asked {requests} times for {wanted} keys, and no lane had started again")
    } else {
        return Ok(());
    };
    Err(BenchError::Wrong { job: job.to_owned(), what })
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

fn check(broker: &Broker, expected: &Expected, input: &Input, outputs: &Outputs) -> Result<(), Failure> {
    settle(broker, outputs)?;
    let each = (input.events - input.poison) * expected.executions_per_event;
    let (mut executions, mut ended, mut pairs) = (Ids::default(), 0, Ids::default());
    count(broker, "execution records", &outputs.executions, each * expected.execution_records, |message| {
        let key = message.key().unwrap_or_default();
        if let Content::Workflows { by_type } = expected.content {
            let record = ExecutionRecord::read(key, message.payload().unwrap_or_default())?;
            unique(&mut pairs, record.place(by_type)?, "an execution record")?;
            if record.has_ended()? {
                ended += 1;
                executions.insert(xxh3_128(key));
            }
            return Ok(());
        }
        ended += 1;
        unique(&mut executions, key, "an execution")
    })?;
    if expected.execution_records > 0 && (ended, executions.len() as u64) != (each, each) {
        let what = format!("{ended} records say that one of {} executions has ended, of {each}", executions.len());
        return Err(Failure::Wrong(what));
    }
    let mut results = Ids::default();
    count(broker, "step results", &outputs.step_results, expected.step_results * each, |message| {
        let key = message.key().unwrap_or_default();
        known(&executions, key)?;
        unique(&mut results, [key, header(message, "ce_id")?].concat(), "a step result")
    })?;
    let mut business = Ids::default();
    count(broker, "business records", &outputs.business, expected.business_records(input), |message| {
        if expected.content == Content::Constant(Contract::Copy) {
            return unique(&mut business, header(message, "ce_id")?, "a copy");
        }
        let execution = header(message, EXECUTION_HEADER)?;
        known(&executions, execution)?;
        unique(&mut business, execution, "a business record")
    })?;
    let mut letters = Ids::default();
    count(broker, "dead letters", &outputs.dead_letters, input.poison, |message| {
        let id = header(message, "ce_id")?;
        if !id.starts_with(POISON.as_bytes()) {
            return Err(format!("the event {} is a dead letter", String::from_utf8_lossy(id)));
        }
        unique(&mut letters, id, "a dead letter")
    })
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

impl ExecutionRecord<'_> {
    fn read<'a>(key: &[u8], value: &'a [u8]) -> Result<ExecutionRecord<'a>, String> {
        let record: ExecutionRecord<'_> =
            serde_json::from_slice(value).map_err(|error| format!("an execution record cannot be read: {error}"))?;
        if record.id.as_bytes() != key {
            return Err(format!("the execution {} has the key {}", record.id, String::from_utf8_lossy(key)));
        }
        Ok(record)
    }

    /// Whether it is the last one of its execution, which must have gone well.
    fn has_ended(&self) -> Result<bool, String> {
        match self.status {
            "completed" => Ok(true),
            "running" => Ok(false),
            status => Err(format!("the execution {} is {status}", self.id)),
        }
    }

    /// The event, the workflow and the status, which no other record has.
    fn place(&self, by_type: bool) -> Result<Vec<u8>, String> {
        let ExecutionRecord { workflow_id, status, event, .. } = self;
        let number = workflow_id.strip_prefix(MATCHING);
        let belongs = number.is_some() && (!by_type || number == event.kind.rsplit('-').next());
        if !belongs {
            let kind = event.kind;
            return Err(format!("{workflow_id} ran for an event of the type {kind}, which it does not match"));
        }
        Ok(format!("{}/{}/{workflow_id}/{status}", event.partition, event.offset).into_bytes())
    }
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
        let of = |workflow: &str, status: &str, by_type| {
            let value = value(workflow, status);
            let record = ExecutionRecord::read(b"x", value.as_bytes())?;
            Ok::<_, String>((record.place(by_type)?, record.has_ended()?))
        };
        assert_eq!(of("match-11", "completed", true), Ok((b"2/3/match-11/completed".to_vec(), true)));
        assert_eq!(of("match-11", "running", true), Ok((b"2/3/match-11/running".to_vec(), false)));
        assert!(of("match-1", "completed", true).is_err());
        assert!(of("match-1", "completed", false).is_ok());
        assert!(of("other-11", "completed", false).is_err());
        assert!(of("match-11", "failed", true).is_err());
        assert!(ExecutionRecord::read(b"y", value("match-11", "completed").as_bytes()).is_err());
    }

    #[test]
    fn a_request_that_is_missing_or_came_twice_is_wrong() {
        let check = |requests, keys, restarts| {
            verify_requests("R2", Received { requests, keys, bytes: 0 }, 5, restarts).map_err(|error| error.to_string())
        };
        assert_eq!(check(5, 5, 0), Ok(()));
        assert_eq!(check(6, 5, 1), Ok(()), "a lane that starts again may call again");
        assert!(check(6, 5, 0).is_err() && check(5, 4, 0).is_err() && check(6, 6, 1).is_err());
    }

    #[test]
    fn what_is_there_twice_is_wrong() {
        let mut ids = Ids::default();
        assert!(unique(&mut ids, b"a", "it").is_ok() && unique(&mut ids, b"b", "it").is_ok());
        assert!(unique(&mut ids, b"a", "it").is_err());
        assert!(known(&ids, b"a").is_ok() && known(&ids, b"c").is_err());
    }
}
