//! Reading the scope: a name of an expression is a root and a path, found when the expression is compiled.

use std::sync::Arc;

use bytes::Bytes;

use super::evaluate::Operand;
use super::failure::{Problem, type_name};
use super::{Budget, Scope};
use crate::engine::event::Event;
use crate::engine::value::{Value, ValueRef, View};

/// A value of the scope.
#[derive(Clone, Debug)]
pub struct Load {
    root: Root,
    path: Box<[Segment]>,
    /// The whole as it reads in errors, `event.data.items[0]`, and where the root and each segment end in it.
    text: Arc<str>,
    ends: Box<[usize]>,
}

/// Where a path starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// `event`, as an object.
    Event,
    /// `event.id`.
    EventId,
    /// `event.type`.
    EventType,
    /// `event.source`.
    EventSource,
    /// `event.subject`: null if the event has none.
    EventSubject,
    /// `event.time`, as written: null if the event has none.
    EventTime,
    /// `event.topic`.
    EventTopic,
    /// `event.partition`.
    EventPartition,
    /// `event.offset`.
    EventOffset,
    /// `event.schema`: null if the event names none.
    EventSchema,
    /// `event.key`: what it is, where the source says how keys are written; else a string if it is UTF-8, or bytes; null for a null key.
    EventKey,
    /// `event.headers`, as an object; of headers with the same name the last one counts.
    EventHeaders,
    /// `event.headers.NAME`: a string if it is UTF-8, else bytes; null for a null header.
    EventHeader(Arc<str>),
    /// `event.data`.
    EventData,
    /// `steps.ID`, as an object.
    Step(usize),
    /// `steps.ID.output`.
    StepOutput(usize),
    /// `steps.ID.status`.
    StepStatus(usize),
    /// `execution`, as an object.
    Execution,
    /// `execution.id`.
    ExecutionId,
    /// `execution.workflowId`.
    WorkflowId,
    /// `execution.workflowVersion`.
    WorkflowVersion,
    /// `vars`.
    Vars,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field of an object.
    Field(Arc<str>),
    /// An item of a list; from −1 down there is none.
    Item(i64),
}

impl Load {
    /// A value of the scope; `root_text` is how the root reads in errors.
    pub fn new(root: Root, root_text: &str, path: Vec<Segment>) -> Load {
        let mut text = root_text.to_owned();
        let mut ends = vec![text.len()];
        for segment in &path {
            match segment {
                Segment::Field(name) if is_identifier(name) => text.push_str(&format!(".{name}")),
                Segment::Field(name) => text.push_str(&format!("[{name:?}]")),
                Segment::Item(position) => text.push_str(&format!("[{position}]")),
            }
            ends.push(text.len());
        }
        Load { root, path: path.into(), text: text.into(), ends: ends.into() }
    }

    /// How it reads, like `event.data.items[0]`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is `event.headers` as a whole.
    pub(super) fn is_headers(&self) -> bool {
        self.root == Root::EventHeaders && self.path.is_empty()
    }

    /// The value in this scope, if it can be borrowed and is there; whoever gets None asks [`Load::read`], which says why.
    #[inline]
    pub(super) fn peek<'a>(&self, scope: &Scope<'a>, budget: &mut Budget) -> Option<View<'a>> {
        let mut view = match &self.root {
            Root::EventData => scope.event.data.view(),
            Root::StepOutput(index) => scope.steps.get(*index)?.output.view(),
            Root::Vars => scope.vars.view(),
            Root::EventType => View::Text(&scope.event.kind),
            Root::EventId => View::Text(&scope.event.id),
            Root::EventSource => View::Text(&scope.event.source),
            Root::StepStatus(index) => View::Text(step_status(scope, *index)),
            Root::Event
            | Root::EventSubject
            | Root::EventTime
            | Root::EventTopic
            | Root::EventPartition
            | Root::EventOffset
            | Root::EventSchema
            | Root::EventKey
            | Root::EventHeaders
            | Root::EventHeader(_)
            | Root::Step(_)
            | Root::Execution
            | Root::ExecutionId
            | Root::WorkflowId
            | Root::WorkflowVersion => return None,
        };
        for segment in &self.path {
            view = step(view, segment, budget).ok()??.view();
        }
        Some(view)
    }

    /// The value in this scope.
    pub(super) fn read<'a>(&self, scope: &Scope<'a>, budget: &mut Budget) -> Result<Operand<'a>, Problem> {
        let root = self.read_root(scope, budget)?;
        if self.path.is_empty() {
            return Ok(root);
        }
        match root {
            Operand::Borrowed(value) => self.walk(value, budget).map(Operand::Borrowed),
            Operand::Owned(value) => self.walk((&value).into(), budget).map(|found| Operand::Owned(found.to_value())),
            Operand::Text(_) | Operand::Shared(_) => {
                Err(self.missing(0, View::Text(""), self.path.first().unwrap_or(&Segment::Item(0))))
            }
        }
    }

    fn walk<'v>(&self, mut value: ValueRef<'v>, budget: &mut Budget) -> Result<ValueRef<'v>, Problem> {
        for (position, segment) in self.path.iter().enumerate() {
            let view = value.view();
            value = step(view, segment, budget)?.ok_or_else(|| self.missing(position, view, segment))?;
        }
        Ok(value)
    }

    fn missing(&self, position: usize, parent: View<'_>, segment: &Segment) -> Problem {
        let end = self.ends.get(position).copied().unwrap_or(self.text.len());
        match (segment, parent) {
            (Segment::Field(field), View::Map(_)) => {
                Problem::NoField { path: self.text.clone(), parent: end, field: field.clone() }
            }
            _ => not_found(&self.text[..end], parent, segment),
        }
    }

    fn read_root<'a>(&self, scope: &Scope<'a>, budget: &mut Budget) -> Result<Operand<'a>, Problem> {
        let event = scope.event;
        let headers = event.record.headers().len();
        match &self.root {
            Root::EventHeader(_) => budget.take(headers as u64)?,
            Root::EventHeaders => budget.take_items(headers * 4)?,
            Root::Event => budget.take_items(EVENT_FIELDS + headers * 4)?,
            Root::Step(_) | Root::Execution => budget.take_items(3)?,
            Root::EventId
            | Root::EventType
            | Root::EventSource
            | Root::EventSubject
            | Root::EventTime
            | Root::EventTopic
            | Root::EventPartition
            | Root::EventOffset
            | Root::EventSchema
            | Root::EventKey
            | Root::EventData
            | Root::StepOutput(_)
            | Root::StepStatus(_)
            | Root::ExecutionId
            | Root::WorkflowId
            | Root::WorkflowVersion
            | Root::Vars => {}
        }
        Ok(match &self.root {
            Root::EventData => Operand::Borrowed((&event.data).into()),
            Root::StepOutput(index) => match scope.steps.get(*index) {
                Some(step) => Operand::Borrowed((&step.output).into()),
                None => Operand::Owned(Value::Null),
            },
            Root::Vars => Operand::Borrowed(scope.vars.into()),
            Root::EventId => Operand::Shared(&event.id),
            Root::EventType => Operand::Shared(&event.kind),
            Root::EventSource => Operand::Shared(&event.source),
            Root::EventSubject => optional_operand(event.subject.as_ref()),
            Root::EventTime => optional_operand(event.time.as_ref()),
            Root::EventTopic => Operand::Shared(&event.record.origin.topic.name),
            Root::EventPartition => Operand::Owned(Value::Int(event.record.origin.partition.into())),
            Root::EventOffset => Operand::Owned(Value::Int(event.record.origin.offset)),
            Root::EventSchema => optional_operand(event.schema.as_ref()),
            Root::EventKey => key_operand(event),
            Root::EventHeader(name) => match find_header(event, name) {
                Some(value) => bytes_operand(value),
                None => {
                    let parent = "event.headers".len();
                    return Err(Problem::NoField { path: "event.headers".into(), parent, field: name.clone() });
                }
            },
            Root::StepStatus(index) => Operand::Text(step_status(scope, *index)),
            Root::ExecutionId => Operand::Text(scope.execution_id),
            Root::WorkflowId => Operand::Text(scope.workflow_id),
            Root::WorkflowVersion => Operand::Text(scope.workflow_version),
            Root::Event => Operand::Owned(whole_event(event)),
            Root::EventHeaders => Operand::Owned(all_headers(event)),
            Root::Step(index) => {
                let output = scope.steps.get(*index).map_or(Value::Null, |step| step.output.clone());
                let status = Value::text(step_status(scope, *index));
                Operand::Owned(Value::map(vec![("status".into(), status), ("output".into(), output)]))
            }
            Root::Execution => Operand::Owned(Value::map(vec![
                ("id".into(), Value::text(scope.execution_id)),
                ("workflowId".into(), Value::text(scope.workflow_id)),
                ("workflowVersion".into(), Value::text(scope.workflow_version)),
            ])),
        })
    }
}

/// One step of a path; None if there is no such field or item. Finding it walks those before it, which is charged.
#[inline]
pub(super) fn step<'v>(
    view: View<'v>,
    segment: &Segment,
    budget: &mut Budget,
) -> Result<Option<ValueRef<'v>>, Problem> {
    match (segment, view) {
        (Segment::Field(name), View::Map(map)) => {
            charge_walk(map.len(), budget)?;
            Ok(map.get(name))
        }
        (Segment::Item(at), View::List(list)) => {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            charge_walk(at.min(list.len()), budget)?;
            Ok(list.get(at))
        }
        _ => Ok(None),
    }
}

/// Takes what walking that many fields or items of a document costs.
#[inline]
pub(super) fn charge_walk(entries: usize, budget: &mut Budget) -> Result<(), Problem> {
    /// Fields or items that are walked in the time of one unit.
    const WALKED_PER_UNIT: usize = 8;
    budget.take((entries / WALKED_PER_UNIT) as u64)
}

/// Why `parent` of type `value` has no such segment.
pub(super) fn not_found(parent: &str, value: View<'_>, segment: &Segment) -> Problem {
    match (segment, value) {
        (Segment::Field(field), View::Map(_)) => {
            Problem::NoField { path: parent.into(), parent: parent.len(), field: field.clone() }
        }
        (Segment::Field(field), other) => not_an_object(parent, other, field),
        (Segment::Item(at), View::List(list)) => {
            Problem::other(format!("there is no item {at} in {parent}, which has {} items", list.len()))
        }
        (Segment::Item(_), View::Map(_)) => {
            Problem::other(format!("{parent} is an object: its keys are strings, not int"))
        }
        (Segment::Item(at), other) => {
            Problem::other(format!("no item {at} in {parent}: it is {}, not list", type_name(other)))
        }
    }
}

pub(super) fn not_an_object(parent: &str, value: View<'_>, field: &str) -> Problem {
    Problem::other(format!("no field `{field}` in {parent}: it is {}, not an object", type_name(value)))
}

/// Whether a name can be written after a dot.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
        && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

fn step_status(scope: &Scope<'_>, index: usize) -> &'static str {
    scope.steps.get(index).map(|step| step.status).unwrap_or_default().name()
}

/// Bytes of a record as expressions see them: a string if they are UTF-8, else bytes; null if there are none.
fn bytes_operand(bytes: Option<&[u8]>) -> Operand<'_> {
    match bytes.map(|bytes| (bytes, simdutf8::basic::from_utf8(bytes))) {
        None => Operand::Owned(Value::Null),
        Some((_, Ok(text))) => Operand::Text(text),
        Some((bytes, Err(_))) => Operand::Owned(Value::Bytes(Bytes::copy_from_slice(bytes))),
    }
}

/// The last header of that name.
pub(super) fn find_header<'a>(event: &'a Event, name: &str) -> Option<Option<&'a [u8]>> {
    event.record.headers().filter(|(it, _)| *it == name.as_bytes()).last().map(|(_, value)| value)
}

/// Every header whose name is UTF-8, by the last of each name.
fn all_headers(event: &Event) -> Value {
    let mut seen = std::collections::BTreeSet::new();
    let headers: Vec<_> = event.record.headers().collect();
    let mut fields = Vec::new();
    for (name, value) in headers.into_iter().rev() {
        if let Ok(name) = std::str::from_utf8(name)
            && seen.insert(name)
        {
            fields.push((Arc::from(name), bytes_operand(value).into_value()));
        }
    }
    fields.reverse();
    Value::map(fields)
}

/// How many fields `event` has as an object.
const EVENT_FIELDS: usize = 12;

fn optional_operand(text: Option<&Arc<str>>) -> Operand<'_> {
    text.map_or(Operand::Owned(Value::Null), Operand::Shared)
}

fn key_operand(event: &Event) -> Operand<'_> {
    match &event.key {
        Some(key) => Operand::Borrowed(key.into()),
        None => bytes_operand(event.record.key()),
    }
}

fn whole_event(event: &Event) -> Value {
    let optional = |text: &Option<Arc<str>>| text.clone().map_or(Value::Null, Value::Text);
    let origin = &event.record.origin;
    Value::map(vec![
        ("id".into(), Value::Text(event.id.clone())),
        ("type".into(), Value::Text(event.kind.clone())),
        ("source".into(), Value::Text(event.source.clone())),
        ("subject".into(), optional(&event.subject)),
        ("time".into(), optional(&event.time)),
        ("topic".into(), Value::Text(origin.topic.name.clone())),
        ("partition".into(), Value::Int(origin.partition.into())),
        ("offset".into(), Value::Int(origin.offset)),
        ("schema".into(), optional(&event.schema)),
        ("key".into(), key_operand(event).into_value()),
        ("headers".into(), all_headers(event)),
        ("data".into(), event.data.clone()),
    ])
}
