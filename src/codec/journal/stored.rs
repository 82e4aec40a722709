//! A checkpoint as it is stored. The order of the fields is the format; a field that is added makes another one.

mod kin;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use self::kin::{StoredKin, StoredSignal};
use super::tokens::{self, Token};
use super::{Damaged, Raw};
use crate::engine::checkpoint::{Checkpoint, Content, Failed, History, Redrive, StepWait};
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::engine::expression::StepStatus;
use crate::engine::ids::ExecutionId;
use crate::engine::limits;
use crate::engine::plan::ErrorClass;
use crate::engine::record::{Failure, FinishedStep};
use crate::engine::signal::Signal;
use crate::engine::value::{Value, ValueRef};
use crate::engine::workflow::WorkflowId;

/// Headers of an event's record in a checkpoint: more than a record of the size that the journal takes can hold.
const HEADERS: usize = 5_000_000;
/// Tokens of one output: every part of a value weighs two bytes at least, and all outputs together no more than their limit.
pub(super) const OUTPUT_TOKENS: usize = limits::EXECUTION_OUTPUT_BYTES / 2 + 1;

/// What the value of a record holds. The order of the variants is the format.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stored<'a> {
    Checkpoint(#[serde(borrow)] Box<StoredCheckpoint<'a>>, Box<StoredKin<'a>>),
    Redrive(#[serde(borrow)] StoredRedrive<'a>),
    Signal(#[serde(borrow)] StoredSignal<'a>),
    /// A checkpoint of a run that has not begun, though it waits; see [`Checkpoint::queues`].
    Queues(#[serde(borrow)] Box<StoredCheckpoint<'a>>, Box<StoredKin<'a>>),
}

/// Room for a checkpoint of usual size, in bytes, so that it need not be moved while it is written.
const ROOM_BYTES: usize = 2 * 1024;

/// The first format: a checkpoint of a first run, and nothing else.
pub(super) const FIRST_FORMAT: u32 = 1;
/// The second: any of [`Stored`] but the last.
pub(super) const SECOND_FORMAT: u32 = 2;
/// The third: any of [`Stored`].
pub(super) const THIRD_FORMAT: u32 = 3;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredCheckpoint<'a> {
    workflow: &'a str,
    version: &'a str,
    started_ms: i64,
    #[serde(borrow)]
    record: StoredRecord<'a>,
    #[serde(deserialize_with = "bounded::<_, _, { limits::STEPS_PER_WORKFLOW }>")]
    ended: Vec<StoredStep<'a>>,
    #[serde(deserialize_with = "bounded::<_, _, { limits::STEPS_PER_WORKFLOW }>")]
    waits: Vec<StoredWait<'a>>,
    output_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRedrive<'a> {
    #[serde(borrow)]
    record: StoredRecord<'a>,
    after: Option<&'a str>,
    first_failure_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredRecord<'a> {
    topic: &'a str,
    topic_id: [u8; 16],
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    #[serde(borrow)]
    key: Option<Raw<'a>>,
    value: Option<Raw<'a>>,
    #[serde(deserialize_with = "bounded::<_, _, HEADERS>")]
    headers: Vec<(Raw<'a>, Option<Raw<'a>>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredStep<'a> {
    id: &'a str,
    status: &'a str,
    started_ms: i64,
    ended_ms: i64,
    attempts: u32,
    #[serde(borrow, deserialize_with = "bounded::<_, _, OUTPUT_TOKENS>")]
    output: Vec<Token<'a>>,
    failure: Option<StoredFailure<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredWait<'a> {
    step: &'a str,
    since_ms: i64,
    due_ms: Option<i64>,
    attempts: u32,
    failed: Option<StoredFailed<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFailed<'a> {
    first_ms: i64,
    last_ms: i64,
    #[serde(borrow)]
    failure: StoredFailure<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredFailure<'a> {
    step: Option<&'a str>,
    class: &'a str,
    message: &'a str,
}

impl<'a> Stored<'a> {
    pub(super) fn checkpoint(checkpoint: &'a Checkpoint) -> Stored<'a> {
        let (stored, kin) = (Box::new(StoredCheckpoint::of(checkpoint)), Box::new(StoredKin::of(checkpoint)));
        if checkpoint.queues { Stored::Queues(stored, kin) } else { Stored::Checkpoint(stored, kin) }
    }

    pub(super) fn signal(signal: &'a Signal) -> Stored<'a> {
        Stored::Signal(StoredSignal::of(signal))
    }

    pub(super) fn redrive(redrive: &'a Redrive) -> Stored<'a> {
        let Redrive { record, after, first_failure_ms } = redrive;
        Stored::Redrive(StoredRedrive {
            record: StoredRecord::of(record),
            after: after.as_ref().map(WorkflowId::as_str),
            first_failure_ms: *first_failure_ms,
        })
    }

    /// The oldest format that it can be written in: an older version, which may read it too, understands no newer one.
    pub(super) fn format(&self) -> u32 {
        match self {
            Stored::Checkpoint(_, kin) if kin.is_empty() => FIRST_FORMAT,
            Stored::Checkpoint(..) | Stored::Redrive(_) | Stored::Signal(_) => SECOND_FORMAT,
            // Who takes it for one that has begun would let it run before its turn.
            Stored::Queues(..) => THIRD_FORMAT,
        }
    }

    /// Its bytes in that format.
    pub(super) fn to_bytes(&self) -> Bytes {
        let room = || Vec::with_capacity(ROOM_BYTES);
        let bytes = match self {
            Stored::Checkpoint(checkpoint, _) if self.format() == FIRST_FORMAT => {
                postcard::to_extend(checkpoint, room())
            }
            Stored::Checkpoint(..) | Stored::Redrive(_) | Stored::Signal(_) | Stored::Queues(..) => {
                postcard::to_extend(self, room())
            }
        };
        debug_assert!(
            bytes.is_ok(),
            "writing to memory fails only for sequences of unknown length, which there are none of"
        );
        bytes.unwrap_or_default().into()
    }

    /// Reads what was written in a format.
    pub(super) fn read(format: u32, bytes: &'a [u8]) -> Result<Stored<'a>, Damaged> {
        if format == FIRST_FORMAT {
            return Ok(Stored::Checkpoint(whole(bytes)?, Box::default()));
        }
        whole(bytes)
    }

    /// What the record holds.
    pub(super) fn content(&self) -> Result<Content, Damaged> {
        Ok(match self {
            Stored::Checkpoint(checkpoint, kin) => Content::Checkpoint(Arc::new(kin.added_to(checkpoint.read()?)?)),
            Stored::Queues(checkpoint, kin) => {
                let checkpoint = kin.added_to(checkpoint.read()?)?;
                Content::Checkpoint(Arc::new(Checkpoint { queues: true, ..checkpoint }))
            }
            Stored::Signal(signal) => Content::Signal(Arc::new(signal.read()?)),
            Stored::Redrive(redrive) => Content::Redrive(Arc::new(redrive.read()?)),
        })
    }
}

/// Reads all of the bytes as one value.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Damaged> {
    match postcard::take_from_bytes(bytes) {
        Ok((read, [])) => Ok(read),
        Ok((_, rest)) => Err(Damaged(format!("{} bytes follow what the record holds", rest.len()))),
        Err(error) => Err(Damaged(format!("what the record holds cannot be read: {error}"))),
    }
}

fn tokens_of(value: &Value) -> Vec<Token<'_>> {
    let mut parts = Vec::new();
    tokens::write(ValueRef::from(value), &mut parts);
    parts
}

fn execution_id(text: &str) -> Result<ExecutionId, Damaged> {
    ExecutionId::parse(text).ok_or_else(|| Damaged("the id of an execution is none".into()))
}

impl<'a> StoredCheckpoint<'a> {
    fn of(checkpoint: &'a Checkpoint) -> StoredCheckpoint<'a> {
        let Checkpoint { workflow, version, record, started_ms, ended, waits, output_bytes, .. } = checkpoint;
        StoredCheckpoint {
            workflow: workflow.as_str(),
            version,
            started_ms: *started_ms,
            record: StoredRecord::of(record),
            ended: ended.iter().map(StoredStep::of).collect(),
            waits: waits.iter().map(StoredWait::of).collect(),
            output_bytes: *output_bytes as u64,
        }
    }

    fn read(&self) -> Result<Checkpoint, Damaged> {
        let mut steps: Vec<&str> =
            self.ended.iter().map(|it| it.id).chain(self.waits.iter().map(|it| it.step)).collect();
        steps.sort_unstable();
        if steps.is_sorted_by(|one, next| one < next) {
            return self.checked();
        }
        Err(Damaged("a step is there twice".into()))
    }

    fn checked(&self) -> Result<Checkpoint, Damaged> {
        Ok(Checkpoint {
            workflow: workflow_id(self.workflow)?,
            version: self.version.into(),
            record: self.record.record(),
            started_ms: self.started_ms,
            ended: self.ended.iter().map(StoredStep::step).collect::<Result<_, _>>()?,
            waits: self.waits.iter().map(StoredWait::wait).collect::<Result<_, _>>()?,
            output_bytes: self.output_bytes as usize,
            history: History::default(),
            parent: None,
            queues: false,
        })
    }
}

impl StoredRedrive<'_> {
    fn read(&self) -> Result<Redrive, Damaged> {
        Ok(Redrive {
            record: self.record.record(),
            after: self.after.map(workflow_id).transpose()?,
            first_failure_ms: self.first_failure_ms,
        })
    }
}

fn workflow_id(text: &str) -> Result<WorkflowId, Damaged> {
    WorkflowId::new(text).ok_or_else(|| Damaged("the workflow's id is none".into()))
}

impl<'a> StoredRecord<'a> {
    fn of(record: &'a SourceRecord) -> StoredRecord<'a> {
        let Origin { topic, partition, offset } = &record.origin;
        StoredRecord {
            topic: &topic.name,
            topic_id: topic.id,
            partition: *partition,
            offset: *offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key().map(Raw),
            value: record.value().map(Raw),
            headers: record.headers().map(|(name, value)| (Raw(name), value.map(Raw))).collect(),
        }
    }

    fn record(&self) -> SourceRecord {
        let topic = Arc::new(Topic { name: self.topic.into(), id: self.topic_id });
        let origin = Origin { topic, partition: self.partition, offset: self.offset };
        let bytes = |it: Raw<'a>| it.0;
        let headers = self.headers.iter().map(|(name, value)| (name.0, value.map(bytes)));
        SourceRecord::new(origin, self.timestamp_ms, self.key.map(bytes), self.value.map(bytes), headers)
    }
}

impl<'a> StoredStep<'a> {
    fn of(step: &'a FinishedStep) -> StoredStep<'a> {
        let FinishedStep { id, status, started_ms, ended_ms, attempts, output, failure } = step;
        StoredStep {
            id,
            status: status.name(),
            started_ms: *started_ms,
            ended_ms: *ended_ms,
            attempts: *attempts,
            output: tokens_of(output),
            failure: failure.as_ref().map(StoredFailure::of),
        }
    }

    fn step(&self) -> Result<FinishedStep, Damaged> {
        let statuses = [StepStatus::Completed, StepStatus::Failed, StepStatus::Skipped];
        let status = statuses.into_iter().find(|it| it.name() == self.status);
        Ok(FinishedStep {
            id: self.id.into(),
            status: status.ok_or_else(|| Damaged("a step has ended with an unknown status".into()))?,
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            attempts: self.attempts,
            output: tokens::read(&self.output)?,
            failure: self.failure.as_ref().map(StoredFailure::failure).transpose()?,
        })
    }
}

impl<'a> StoredWait<'a> {
    fn of(wait: &'a StepWait) -> StoredWait<'a> {
        let StepWait { step, since_ms, due_ms, attempts, failed, child: _ } = wait;
        StoredWait {
            step,
            since_ms: *since_ms,
            due_ms: *due_ms,
            attempts: *attempts,
            failed: failed.as_ref().map(StoredFailed::of),
        }
    }

    fn wait(&self) -> Result<StepWait, Damaged> {
        Ok(StepWait {
            step: self.step.into(),
            since_ms: self.since_ms,
            due_ms: self.due_ms,
            attempts: self.attempts,
            failed: self.failed.as_ref().map(StoredFailed::failed).transpose()?,
            child: None,
        })
    }
}

impl<'a> StoredFailed<'a> {
    fn of(failed: &'a Failed) -> StoredFailed<'a> {
        let Failed { first_ms, last_ms, failure } = failed;
        StoredFailed { first_ms: *first_ms, last_ms: *last_ms, failure: StoredFailure::of(failure) }
    }

    fn failed(&self) -> Result<Failed, Damaged> {
        Ok(Failed { first_ms: self.first_ms, last_ms: self.last_ms, failure: self.failure.failure()? })
    }
}

impl<'a> StoredFailure<'a> {
    fn of(failure: &'a Failure) -> StoredFailure<'a> {
        let Failure { step, class, message } = failure;
        StoredFailure { step: step.as_deref(), class: class.name(), message }
    }

    fn failure(&self) -> Result<Failure, Damaged> {
        let class = ErrorClass::ALL.into_iter().find(|it| it.name() == self.class);
        Ok(Failure {
            step: self.step.map(Arc::from),
            class: class.ok_or_else(|| Damaged("a failure is of an unknown class".into()))?,
            message: self.message.into(),
        })
    }
}

/// A list of at most `LIMIT` items: an item takes more memory than bytes, so a list that is damaged must end somewhere.
fn bounded<'de, D, T, const LIMIT: usize>(reader: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T, const LIMIT: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for Items<T, LIMIT> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {LIMIT} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut taken = Vec::new();
            while let Some(item) = items.next_element()? {
                if taken.len() >= LIMIT {
                    return Err(Error::custom("too many items"));
                }
                taken.push(item);
            }
            Ok(taken)
        }
    }

    reader.deserialize_seq(Items::<T, LIMIT>(PhantomData))
}
