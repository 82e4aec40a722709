//! Dead letters as they are read again, to be brought back.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{OURS, Unreadable, state};
use crate::engine::checkpoint::History;
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::engine::plan::ErrorClass;
use crate::engine::record::{DeadLetter, FailedExecution, Failure, Reason};
use crate::engine::run::cut;
use crate::engine::value::parse_milliseconds;
use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

/// A dead letter that was read.
#[derive(Clone, Debug)]
pub struct ReadLetter {
    /// The dead letter.
    pub letter: DeadLetter,
    /// What of it was left out when it was written, because it was larger than its topic takes: `state`, `value`, `headers`, `key`.
    pub left_out: Vec<String>,
}

/// Reads a record of the dead-letters topic. Whatever it holds, it is read within limits.
pub fn read(record: &SourceRecord) -> Result<ReadLetter, Unreadable> {
    let ours = Ours(record);
    let id =
        DeadLetterId::of_key(record.key()).ok_or_else(|| Unreadable("the key is no id of a dead letter".into()))?;
    let optional = |name: &str| ours.optional(name).transpose();
    let reason = named("reason", ours.text("reason")?, Reason::ALL, Reason::name)?;
    let class = named("error-class", ours.text("error-class")?, ErrorClass::ALL, ErrorClass::name)?;
    let failure =
        Failure { step: optional("step")?.map(Arc::from), class, message: cut(ours.text("error-message")?.to_owned()) };
    let left_out: Vec<String> =
        optional("truncated")?.map_or(Vec::new(), |text| text.split(',').map(str::to_owned).collect());
    let execution = match optional("execution")? {
        Some(text) => Some(execution(&ours, text)?),
        None => None,
    };
    let letter = DeadLetter {
        id,
        reason,
        failure,
        execution,
        record: original(&ours)?,
        attempts: ours.number("attempts")?,
        first_failure_ms: ours.time("first-failure")?,
        last_failure_ms: ours.time("last-failure")?,
        returns: optional("returns")?.map_or(Ok(0), |text| parsed("returns", text))?,
    };
    Ok(ReadLetter { letter, left_out })
}

fn execution(ours: &Ours<'_>, id: &str) -> Result<FailedExecution, Unreadable> {
    let wrong = |name: &str, what: &str| Unreadable(format!("the header `tidegate-dlq-{name}` {what}"));
    let workflow =
        WorkflowId::new(ours.text("workflow")?).ok_or_else(|| wrong("workflow", "is no id of a workflow"))?;
    let workflow = Workflow {
        id: workflow,
        version: ours.text("workflow-version")?.into(),
        status: Status::Stopped,
        content_hash: ContentHash([0; 32]),
        triggers: Vec::new(),
    };
    let edition = ours.optional("edition").transpose()?.map_or(Ok(1), |text| parsed("edition", text))?;
    let causes = ours.optional("causes").transpose()?.unwrap_or_default();
    let state = ours.0.header("tidegate-dlq-state").map_or(Ok((Vec::new(), None)), state::read)?;
    let (finished, parent) = state;
    Ok(FailedExecution {
        id: ExecutionId::parse(id).ok_or_else(|| wrong("execution", "is no id of an execution"))?,
        run: ours.number("run")?,
        workflow: Arc::new(workflow),
        finished,
        history: History { edition, first_failure_ms: None, causes: cut(causes.to_owned()).into() },
        parent,
    })
}

/// The event's record as it was.
fn original(ours: &Ours<'_>) -> Result<SourceRecord, Unreadable> {
    let id = match ours.optional("topic-id").transpose()? {
        Some(text) => {
            let digits = u128::from_str_radix(text, 16);
            digits
                .map_err(|_| Unreadable("the header `tidegate-dlq-topic-id` is no id of a topic".into()))?
                .to_be_bytes()
        }
        None => [0; 16],
    };
    let topic = Arc::new(Topic { name: ours.text("topic")?.into(), id });
    let origin = Origin { topic, partition: ours.number("partition")?, offset: ours.number("offset")? };
    let key = ours
        .optional("key")
        .transpose()?
        .map(|text| STANDARD.decode(text).map_err(|_| Unreadable("the header `tidegate-dlq-key` is no base64".into())));
    let key = key.transpose()?;
    let is_null = ours.optional("value").transpose()? == Some("null");
    let value = ours.0.value().filter(|_| !is_null);
    // What was there before comes first; an original never starts as ours do.
    let headers: Vec<(Bytes, Option<Bytes>)> =
        ours.0.shared_headers().take_while(|(name, _)| !name.starts_with(OURS)).collect();
    let headers = headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
    Ok(SourceRecord::new(origin, ours.number("timestamp")?, key.as_deref(), value, headers))
}

/// Our headers of a record.
struct Ours<'a>(&'a SourceRecord);

impl<'a> Ours<'a> {
    fn optional(&self, name: &str) -> Option<Result<&'a str, Unreadable>> {
        let value = self.0.header(&format!("tidegate-dlq-{name}"))?;
        Some(
            std::str::from_utf8(value)
                .map_err(|_| Unreadable(format!("the header `tidegate-dlq-{name}` is not UTF-8"))),
        )
    }

    fn text(&self, name: &str) -> Result<&'a str, Unreadable> {
        self.optional(name).unwrap_or_else(|| Err(Unreadable(format!("the header `tidegate-dlq-{name}` is missing"))))
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<T, Unreadable> {
        parsed(name, self.text(name)?)
    }

    fn time(&self, name: &str) -> Result<i64, Unreadable> {
        let time = parse_milliseconds(self.text(name)?);
        time.ok_or_else(|| Unreadable(format!("the header `tidegate-dlq-{name}` is no time in RFC 3339")))
    }
}

fn parsed<T: FromStr>(name: &str, text: &str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| Unreadable(format!("the header `tidegate-dlq-{name}` must be a number")))
}

fn named<T: Copy, const N: usize>(
    name: &str,
    text: &str,
    all: [T; N],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, Unreadable> {
    let found = all.into_iter().find(|it| name_of(*it) == text);
    found.ok_or_else(|| Unreadable(format!("the header `tidegate-dlq-{name}` is none of those there are")))
}
