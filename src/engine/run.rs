//! Runs the steps of a plan for one event, in place: a pure function of the plan, the event, what has ended and what was refused before.
//!
//! Because it is pure, an execution whose record the broker refused is simply run again with the refusal: it comes to the
//! same point and fails there. And one that waits is run again with what has ended meanwhile: it goes on from there.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::expression::{Budget, EvaluationError, Scope, StepStatus, StepView};
use super::limits;
use super::plan::{Action, Dependency, ErrorClass, LogLevel, OnError, Plan, Produce, Step};
use super::serializer::Unserialized;
use super::value::Value;

/// What one run of a plan did.
#[derive(Debug)]
pub struct Run {
    /// What became of each step that ended, in the order in which they ran.
    pub steps: Vec<StepRun>,
    /// Steps that wait from now on, as indices in the plan; nothing that depends on them was run.
    pub waits: Vec<usize>,
    /// The failure that ended the run. Without one, the run is complete once nothing waits, from now on or already.
    pub failure: Option<RunFailure>,
    /// What the outputs of the execution weigh so far; see [`RunInput::output_bytes`].
    pub output_bytes: usize,
}

/// What became of one step.
#[derive(Debug)]
pub struct StepRun {
    /// Index of the step in the plan.
    pub step: usize,
    /// How it ended.
    pub status: StepStatus,
    /// Its output; null unless it completed.
    pub output: Value,
    /// Why it failed, if it did.
    pub error: Option<StepError>,
    /// What it does to the world when the batch is written.
    pub effect: Effect,
}

/// What a step in place does beyond its output.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Writes a record.
    Produce(ProducedRecord),
    /// Writes a line to the log.
    Log(LogLevel, String),
}

impl Effect {
    /// Takes the record out, if there is one.
    pub fn take_record(&mut self) -> Option<ProducedRecord> {
        match std::mem::replace(self, Effect::None) {
            Effect::Produce(record) => Some(record),
            other @ (Effect::None | Effect::Log(..)) => {
                *self = other;
                None
            }
        }
    }
}

/// A record that a produce step writes.
#[derive(Clone, Debug)]
pub struct ProducedRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition; None = the key chooses.
    pub partition: Option<i32>,
    /// The key; null is a null key.
    pub key: Value,
    /// The value; null is a tombstone.
    pub value: Value,
    /// Whether the value is Avro behind the id of its schema.
    pub is_avro: bool,
    /// The headers in order; a null value is a null header.
    pub headers: Vec<(Arc<str>, Value)>,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// What can be done about it.
    pub class: ErrorClass,
    /// What is wrong, at most [`limits::ERROR_MESSAGE_BYTES`].
    pub message: String,
    /// What went wrong: the step's own work, a refusal by the broker, or a size.
    pub cause: FailureCause,
}

/// What a step failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// Its own work.
    Step,
    /// The broker refused the record that it wrote.
    Refused,
    /// The outputs became too large.
    TooLarge,
}

/// The failure that ended a run.
#[derive(Clone, Debug)]
pub struct RunFailure {
    /// Index of the step in the plan.
    pub step: usize,
    /// Why it failed.
    pub error: StepError,
}

/// A record of a step that the broker refused when the execution was written before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Index of the step in the plan.
    pub step: usize,
    /// Why, as the broker says it.
    pub message: String,
}

/// What a run sees beside its plan: the scope of its expressions without the steps, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub struct RunInput<'a> {
    /// The scope; its steps are ignored.
    pub scope: Scope<'a>,
    /// What was refused before.
    pub refusals: &'a [Refusal],
    /// The steps that have ended: those of earlier parts of the run, and those whose wait is over.
    pub ended: &'a [EndedStep],
    /// Steps that wait already, as indices in the plan.
    pub waiting: &'a [usize],
    /// What the outputs of earlier parts of the run weighed, with those of the steps whose wait is over. It is not counted again: a value
    /// that was stored weighs otherwise than the one that was written.
    pub output_bytes: usize,
}

/// A step that has ended, as those that depend on it see it.
#[derive(Clone, Debug)]
pub struct EndedStep {
    /// Index of the step in the plan; one that is none is ignored.
    pub step: usize,
    /// How it ended, with its output.
    pub view: StepView,
}

impl<'a> RunInput<'a> {
    /// A run from the beginning.
    pub fn from_the_beginning(scope: Scope<'a>, refusals: &'a [Refusal]) -> RunInput<'a> {
        RunInput { scope, refusals, ended: &[], waiting: &[], output_bytes: 0 }
    }
}

/// Runs the steps of the plan, in order, until every one has ended, waits or depends on one that does, or until one fails for good.
/// That a step whose wait is over failed is no failure of the run: whoever ended it decides that.
pub fn run(plan: &Plan, input: RunInput<'_>) -> Run {
    let mut state = Running {
        plan,
        input,
        views: vec![StepView::default(); plan.steps().len()],
        budget: Budget::new(limits::EXECUTION_BUDGET),
        output_bytes: input.output_bytes,
    };
    state.take_up(input.ended);
    let (mut steps, mut waits) = (Vec::with_capacity(plan.steps().len()), Vec::new());
    for &index in plan.order() {
        if !state.is_next(index) {
            continue;
        }
        let Some(ended) = state.step(index) else {
            waits.push(index);
            continue;
        };
        let failed_for_good = ended.error.is_some() && plan.steps()[index].on_error == OnError::Fail;
        let failure = failed_for_good.then(|| ended.error.clone()).flatten();
        steps.push(ended);
        if let Some(error) = failure {
            let (waits, failure) = (Vec::new(), Some(RunFailure { step: index, error }));
            return Run { steps, waits, failure, output_bytes: state.output_bytes };
        }
    }
    Run { steps, waits, failure: None, output_bytes: state.output_bytes }
}

struct Running<'a> {
    plan: &'a Plan,
    input: RunInput<'a>,
    views: Vec<StepView>,
    budget: Budget,
    output_bytes: usize,
}

impl Running<'_> {
    fn take_up(&mut self, ended: &[EndedStep]) {
        for EndedStep { step, view } in ended {
            if let Some(place) = self.views.get_mut(*step) {
                *place = view.clone();
            }
        }
    }

    /// Whether it is a step's turn: it has not ended, does not wait, and all it depends on has ended.
    fn is_next(&self, index: usize) -> bool {
        let is_pending = |step: usize| self.views[step].status == StepStatus::Pending;
        is_pending(index)
            && !self.input.waiting.contains(&index)
            && !self.plan.steps()[index].dependencies.iter().any(|dependency| is_pending(dependency.step))
    }

    /// Runs a step; None if it waits.
    fn step(&mut self, index: usize) -> Option<StepRun> {
        let step = &self.plan.steps()[index];
        let ended = match self.wanted(step) {
            Ok(false) => StepRun {
                step: index,
                status: StepStatus::Skipped,
                output: Value::Null,
                error: None,
                effect: Effect::None,
            },
            Ok(true) => match self.act(index, step) {
                Ok(Acted::Waits) => return None,
                Ok(Acted::Done(output, effect)) => {
                    StepRun { step: index, status: StepStatus::Completed, output, error: None, effect }
                }
                Err(error) => failed(index, error),
            },
            Err(error) => failed(index, StepError::from(error)),
        };
        self.views[index] = StepView { status: ended.status, output: ended.output.clone() };
        Some(ended)
    }

    /// Whether a step runs, now that all it depends on has ended.
    fn wanted(&mut self, step: &Step) -> Result<bool, EvaluationError> {
        let always = step.when.as_ref().is_some_and(|when| when.calls_always());
        if !always && !step.dependencies.iter().all(|dependency| self.lets_pass(dependency)) {
            return Ok(false);
        }
        let Some(when) = &step.when else { return Ok(true) };
        let scope = Scope { steps: &self.views, ..self.input.scope };
        when.test(&scope, &mut self.budget)
    }

    fn lets_pass(&self, dependency: &Dependency) -> bool {
        let view = &self.views[dependency.step];
        match (&self.plan.steps()[dependency.step].action, view.status) {
            (_, StepStatus::Pending | StepStatus::Skipped) => false,
            // A failure that was let through counts as ended.
            (_, StepStatus::Failed) => dependency.case.is_none(),
            (Action::Condition { .. }, StepStatus::Completed) => {
                matches!(view.output.get("result"), Some(Value::Bool(true)))
            }
            (Action::Switch { .. }, StepStatus::Completed) => dependency
                .case
                .as_deref()
                .is_none_or(|case| view.output.get("case").is_some_and(|chosen| chosen.as_str() == Some(case))),
            (
                Action::Transform { .. }
                | Action::Produce(_)
                | Action::Log { .. }
                | Action::Fail { .. }
                | Action::Wait(_),
                StepStatus::Completed,
            ) => true,
        }
    }

    fn act(&mut self, index: usize, step: &Step) -> Result<Acted, StepError> {
        if let Some(refusal) = self.input.refusals.iter().find(|it| it.step == index) {
            return Err(StepError::new(ErrorClass::Config, refusal.message.clone(), FailureCause::Refused));
        }
        let scope = Scope { steps: &self.views, ..self.input.scope };
        let budget = &mut self.budget;
        let (output, effect) = match &step.action {
            Action::Transform { output } => (output.render(&scope, budget)?, Effect::None),
            Action::Condition { test } => {
                let result = test.test(&scope, budget)?;
                (Value::map(vec![("result".into(), Value::Bool(result))]), Effect::None)
            }
            Action::Switch { cases, default } => {
                let mut chosen = default.as_ref();
                for (name, test) in cases {
                    if test.test(&scope, budget)? {
                        chosen = Some(name);
                        break;
                    }
                }
                let case = chosen.map_or(Value::Null, |name| Value::Text(name.clone()));
                (Value::map(vec![("case".into(), case)]), Effect::None)
            }
            Action::Produce(produce) => {
                let record = produced(produce, &scope, budget)?;
                self.output_bytes += record.key.weight() + record.value.weight();
                let topic = Value::Text(record.topic.clone());
                (Value::map(vec![("topic".into(), topic)]), Effect::Produce(record))
            }
            Action::Log { level, message } => {
                let line = text(&message.render(&scope, budget)?);
                (Value::Null, Effect::Log(*level, cut(line)))
            }
            Action::Fail { message, class } => {
                let message = text(&message.render(&scope, budget)?);
                return Err(StepError::new(*class, message, FailureCause::Step));
            }
            Action::Wait(_) => return Ok(Acted::Waits),
        };
        self.output_bytes += output.weight();
        if self.output_bytes > limits::EXECUTION_OUTPUT_BYTES {
            return Err(outputs_too_large());
        }
        Ok(Acted::Done(output, effect))
    }
}

/// The outputs of an execution weigh more than they may.
pub fn outputs_too_large() -> StepError {
    let message = format!(
        "the outputs of this execution are larger than {} bytes together; output less, or pass a reference",
        limits::EXECUTION_OUTPUT_BYTES
    );
    StepError::new(ErrorClass::Permanent, message, FailureCause::TooLarge)
}

/// What a step has done, when its turn has come.
enum Acted {
    /// Its work, with this output.
    Done(Value, Effect),
    /// Nothing yet.
    Waits,
}

fn produced(produce: &Produce, scope: &Scope<'_>, budget: &mut Budget) -> Result<ProducedRecord, StepError> {
    let topic = topic_name(produce.topic.render(scope, budget)?)?;
    let partition = match &produce.partition {
        None => None,
        Some(template) => match template.render(scope, budget)? {
            Value::Null => None,
            Value::Int(number) if (0..=i64::from(i32::MAX)).contains(&number) => Some(number as i32),
            other => {
                let message = format!("`partition` is {}, but must be a whole number from 0", describe(&other));
                return Err(StepError::new(ErrorClass::Permanent, message, FailureCause::Step));
            }
        },
    };
    let key = produce.key.as_ref().map_or(Ok(Value::Null), |key| key.render(scope, budget))?;
    let value = produce.value.render(scope, budget)?;
    let serialized = match &produce.subject {
        // A tombstone has no schema.
        Some(subject) if !matches!(value, Value::Null) => subject.serialize(&value, budget)?,
        _ => None,
    };
    let (value, is_avro) = serialized.map_or((value, false), |bytes| (Value::Bytes(bytes), true));
    let headers: Result<Vec<_>, EvaluationError> =
        produce.headers.iter().map(|(name, value)| Ok((name.clone(), value.render(scope, budget)?))).collect();
    Ok(ProducedRecord { topic, partition, key, value, is_avro, headers: headers? })
}

fn topic_name(value: Value) -> Result<Arc<str>, StepError> {
    match value {
        Value::Text(name) if is_topic_name(&name) => Ok(name),
        other => other.as_str().filter(|name| is_topic_name(name)).map(Arc::from).ok_or_else(|| {
            let shown = describe(&other);
            let message =
                format!("`topic` is {shown}, but must be a topic's name: 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`");
            StepError::new(ErrorClass::Permanent, message, FailureCause::Step)
        }),
    }
}

/// Whether Kafka takes `name` as a topic's name.
pub fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

fn failed(step: usize, error: StepError) -> StepRun {
    StepRun { step, status: StepStatus::Failed, output: Value::Null, error: Some(error), effect: Effect::None }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| describe(value), str::to_owned)
}

/// A value in a message: a string as it is, cut; anything else by its kind.
pub(super) fn describe(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("`{}`", text.chars().take(100).collect::<String>()),
        None if value.is_map() => "an object".into(),
        None if value.is_list() => "a list".into(),
        None => match value {
            Value::Null => "null".into(),
            Value::Bool(it) => it.to_string(),
            Value::Int(it) => it.to_string(),
            Value::UInt(it) => it.to_string(),
            Value::Float(it) => it.to_string(),
            _ => "no text".into(),
        },
    }
}

/// Cuts a message to what a record carries, at a character's boundary.
pub fn cut(mut message: String) -> String {
    if message.len() > limits::ERROR_MESSAGE_BYTES {
        let end = (0..=limits::ERROR_MESSAGE_BYTES - '…'.len_utf8()).rev().find(|&at| message.is_char_boundary(at));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

impl StepError {
    /// An error whose message is cut to what a record carries.
    pub fn new(class: ErrorClass, message: String, cause: FailureCause) -> StepError {
        StepError { class, message: cut(message), cause }
    }
}

impl From<Unserialized> for StepError {
    fn from(error: Unserialized) -> StepError {
        StepError::new(error.class, error.message, FailureCause::Step)
    }
}

impl From<EvaluationError> for StepError {
    fn from(error: EvaluationError) -> StepError {
        StepError::new(ErrorClass::Permanent, error.message, FailureCause::Step)
    }
}
