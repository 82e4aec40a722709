//! Names: what an expression may speak of, and where it lies.

use std::sync::Arc;

use super::{CompileError, nearest};
use crate::engine::expression::functions::TYPE_NAMES;
use crate::engine::expression::{Expression, Kind, Load, Root, Segment};
use crate::engine::value::Value;

/// The fields of `event`.
const EVENT: [(&str, Root); 12] = [
    ("id", Root::EventId),
    ("type", Root::EventType),
    ("source", Root::EventSource),
    ("subject", Root::EventSubject),
    ("time", Root::EventTime),
    ("topic", Root::EventTopic),
    ("partition", Root::EventPartition),
    ("offset", Root::EventOffset),
    ("schema", Root::EventSchema),
    ("key", Root::EventKey),
    ("headers", Root::EventHeaders),
    ("data", Root::EventData),
];

/// The fields of `execution`.
const EXECUTION: [(&str, Root); 3] =
    [("id", Root::ExecutionId), ("workflowId", Root::WorkflowId), ("workflowVersion", Root::WorkflowVersion)];

/// The names that an expression may use.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    steps: Option<&'a [StepName<'a>]>,
}

/// A step as expressions name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepName<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its index in the plan, which is its index in [`crate::engine::expression::Scope::steps`].
    pub index: usize,
    /// Whether it has ended, whatever happens, before the expression is evaluated.
    pub comes_before: bool,
}

/// A name with what follows it: `event.data.items[0]`.
pub(super) struct Path<'s> {
    pub(super) name: &'s str,
    pub(super) at: usize,
    pub(super) segments: Vec<(Segment, usize)>,
}

impl<'a> Names<'a> {
    /// What the `where` of a trigger sees: `event` and `vars`.
    pub fn of_trigger() -> Names<'static> {
        Names { steps: None }
    }

    /// What a step sees: `event`, `vars`, `execution`, and of `steps` those that come before. Give all steps of the workflow,
    /// so that a mistake can be told from a step that comes too late.
    pub fn of_step(steps: &'a [StepName<'a>]) -> Names<'a> {
        Names { steps: Some(steps) }
    }

    /// The names themselves.
    pub(super) fn roots(&self) -> &'static [&'static str] {
        if self.steps.is_some() { &["event", "steps", "execution", "vars"] } else { &["event", "vars"] }
    }

    /// Where a path lies.
    pub(super) fn resolve(&self, path: Path<'_>) -> Result<Expression, CompileError> {
        match path.name {
            "event" => resolve_event(path),
            "vars" => Ok(load(Root::Vars, "vars", &path, 0)),
            "execution" if self.steps.is_some() => {
                let Some(root) = field(&path, &EXECUTION)? else {
                    return Ok(load(Root::Execution, "execution", &path, 0));
                };
                Ok(load_field(root, &path))
            }
            "steps" if self.steps.is_some() => self.resolve_steps(&path),
            "steps" | "execution" => {
                let message = format!("`{}` does not exist while triggers are matched", path.name);
                Err(CompileError::new(path.at, message).help("a trigger sees `event` and `vars`; test it in a step"))
            }
            _ => self.resolve_type(path),
        }
    }

    /// Whether a field exists, where that is known before there is an event; else None.
    pub(super) fn resolve_has(
        &self,
        path: &Path<'_>,
        name: &str,
        at: usize,
    ) -> Result<Option<Expression>, CompileError> {
        let known = match (path.name, path.segments.len()) {
            ("event" | "execution" | "steps", 0) => true,
            ("steps", 1) => self.steps.is_some(),
            _ => false,
        };
        if !known {
            return Ok(None);
        }
        let mut segments = path.segments.clone();
        segments.push((Segment::Field(name.into()), at));
        let target = self.resolve(Path { name: path.name, at: path.at, segments })?;
        let optional = path.name == "event" && matches!(name, "subject" | "time" | "schema" | "key");
        Ok(Some(if optional {
            let null = Expression { at: target.at, kind: Kind::Literal(Value::Null) };
            let at = target.at;
            let kind = Kind::Compare(crate::engine::expression::Comparison::NotEqual, Box::new([target, null]));
            Expression { at, kind }
        } else {
            Expression { at: target.at, kind: Kind::Literal(Value::Bool(true)) }
        }))
    }

    fn resolve_steps(&self, path: &Path<'_>) -> Result<Expression, CompileError> {
        let steps = self.steps.unwrap_or_default();
        let before = || steps.iter().filter(|step| step.comes_before);
        let Some((segment, at)) = path.segments.first() else {
            let entry = |step: &StepName<'_>| {
                let text = format!("steps.{}", step.id);
                let key = Expression { at: path.at as u32, kind: Kind::Literal(Value::text(step.id)) };
                let kind = Kind::Load(Load::new(Root::Step(step.index), &text, Vec::new()));
                (key, Expression { at: path.at as u32, kind })
            };
            return Ok(Expression { at: path.at as u32, kind: Kind::Map(before().map(entry).collect()) });
        };
        let Segment::Field(id) = segment else {
            return Err(CompileError::new(*at, "steps are named by their id, not by a number"));
        };
        let Some(step) = steps.iter().find(|step| step.id == &**id) else {
            return Err(self.unknown_step(id, *at, path));
        };
        if !step.comes_before {
            let message = format!("step `{id}` does not come before this one");
            let help = format!("add `{id}` to the dependencies, or to those of a step this one depends on");
            return Err(CompileError::new(*at, message).help(help));
        }
        let text = step_text(id);
        let root = match path.segments.get(1) {
            None => return Ok(load(Root::Step(step.index), &text, path, 1)),
            Some((Segment::Field(name), _)) if &**name == "output" => Root::StepOutput(step.index),
            Some((Segment::Field(name), _)) if &**name == "status" => Root::StepStatus(step.index),
            Some((segment, at)) => {
                let message = format!("a step has `output` and `status`, no {}", segment_text(segment));
                let help = match segment {
                    Segment::Field(name) => format!("for a field of its output write {text}.output.{name}"),
                    Segment::Item(item) => format!("for an item of its output write {text}.output[{item}]"),
                };
                return Err(CompileError::new(*at, message).help(help));
            }
        };
        let field = if matches!(root, Root::StepOutput(_)) { "output" } else { "status" };
        Ok(load(root, &format!("{text}.{field}"), path, 2))
    }

    fn unknown_step(&self, id: &str, at: usize, path: &Path<'_>) -> CompileError {
        let steps = self.steps.unwrap_or_default();
        let error = CompileError::new(at, format!("unknown step `{id}`"));
        // `steps.a-b` reads as `steps.a` minus `b`.
        let dashed = steps.iter().find(|step| step.id.strip_prefix(id).is_some_and(|rest| rest.starts_with('-')));
        if let (Some(step), true) = (dashed, path.segments.len() == 1) {
            return error.help(format!("an id with `-` is written steps[\"{}\"]", step.id));
        }
        match nearest(id, steps.iter().map(|step| step.id)) {
            Some(near) => error.help(format!("did you mean {}?", step_text(near))),
            None if steps.iter().any(|step| step.comes_before) => {
                let ids: Vec<_> = steps.iter().filter(|step| step.comes_before).map(|step| step.id).take(8).collect();
                error.help(format!("steps that come before: {}", ids.join(", ")))
            }
            None => error.help("no step comes before this one"),
        }
    }

    /// `type(x) == string`: the names of types are values too.
    fn resolve_type(&self, path: Path<'_>) -> Result<Expression, CompileError> {
        let mut written = path.name.to_owned();
        for (segment, _) in &path.segments {
            written.push_str(&match segment {
                Segment::Field(name) => format!(".{name}"),
                Segment::Item(item) => format!("[{item}]"),
            });
        }
        if TYPE_NAMES.contains(&written.as_str()) {
            return Ok(Expression { at: path.at as u32, kind: Kind::Literal(Value::text(written)) });
        }
        let error = CompileError::new(path.at, format!("unknown name `{}`", path.name));
        Err(match nearest(path.name, self.roots().iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!(
                "expressions see {}; a field of the event's data is event.data.{}",
                self.roots().join(", "),
                path.name
            )),
        })
    }
}

fn resolve_event(path: Path<'_>) -> Result<Expression, CompileError> {
    let Some(root) = field(&path, &EVENT)? else { return Ok(load(Root::Event, "event", &path, 0)) };
    match (root, path.segments.get(1)) {
        (Root::EventHeaders, Some((Segment::Field(name), _))) => {
            let text = format!("event.headers[{name:?}]");
            Ok(load(Root::EventHeader(name.clone()), &text, &path, 2))
        }
        (root, _) => Ok(load_field(root, &path)),
    }
}

/// The root that the first segment names; None if there is no segment.
fn field(path: &Path<'_>, fields: &[(&'static str, Root)]) -> Result<Option<Root>, CompileError> {
    let Some((segment, at)) = path.segments.first() else { return Ok(None) };
    let found = match segment {
        Segment::Field(name) => fields.iter().find(|(it, _)| *it == &**name),
        Segment::Item(_) => None,
    };
    if let Some((_, root)) = found {
        return Ok(Some(root.clone()));
    }
    let error = CompileError::new(*at, format!("`{}` has no {}", path.name, segment_text(segment)));
    let names = || fields.iter().map(|(name, _)| *name);
    Err(match segment {
        Segment::Field(name) => match nearest(name, names()) {
            Some(near) => error.help(format!("did you mean {}.{near}?", path.name)),
            None if path.name == "event" => error.help(format!(
                "it has {}; a field of its data is event.data.{name}",
                names().collect::<Vec<_>>().join(", ")
            )),
            None => error.help(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
        },
        Segment::Item(_) => error.help(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
    })
}

fn load_field(root: Root, path: &Path<'_>) -> Expression {
    let name = match path.segments.first() {
        Some((Segment::Field(name), _)) => name.clone(),
        _ => Arc::from(""),
    };
    load(root, &format!("{}.{name}", path.name), path, 1)
}

fn load(root: Root, text: &str, path: &Path<'_>, used: usize) -> Expression {
    let rest = path.segments.iter().skip(used).map(|(segment, _)| segment.clone()).collect();
    Expression { at: path.at as u32, kind: Kind::Load(Load::new(root, text, rest)) }
}

fn step_text(id: &str) -> String {
    if id.contains('-') || id.starts_with(|it: char| it.is_ascii_digit()) {
        format!("steps[\"{id}\"]")
    } else {
        format!("steps.{id}")
    }
}

fn segment_text(segment: &Segment) -> String {
    match segment {
        Segment::Field(name) => format!("`{name}`"),
        Segment::Item(item) => format!("item {item}"),
    }
}
