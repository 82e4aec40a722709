//! Explanations: which clauses of a trigger an event fails, for people who wonder why nothing started.

use super::Trigger;
use super::pattern::{Clause, Object};
use super::subject::Subject;
use crate::engine::event::Event;

/// Values and items that an explanation looks at or shows: it is read by people.
const SHOWN: usize = 16;
/// The longest text of what was expected or found.
const SHOWN_BYTES: usize = 256;

/// A clause that does not hold for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which clause.
    pub clause: ClauseName,
    /// What it asks for, shortened.
    pub expected: String,
    /// What the event has there, shortened.
    pub found: String,
}

/// A clause of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClauseName {
    /// `event`: the type.
    Event,
    /// `topic`.
    Topic,
    /// `source`.
    Source,
    /// `schema`.
    Schema,
    /// `match`: the part of the pattern at this JSON pointer.
    Match(String),
}

impl std::fmt::Display for ClauseName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClauseName::Event => formatter.write_str("event"),
            ClauseName::Topic => formatter.write_str("topic"),
            ClauseName::Source => formatter.write_str("source"),
            ClauseName::Schema => formatter.write_str("schema"),
            ClauseName::Match(pointer) => write!(formatter, "match{pointer}"),
        }
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: expected {}, found {}", self.clause, self.expected, self.found)
    }
}

impl Trigger {
    /// The clauses that do not hold; none if the trigger matches. Of a list of objects, and of the branches of `$or`, it
    /// tells what is missing from the one that comes nearest.
    pub fn explain(&self, event: &Event) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        let mut note = |clause, expected: &str, found: &str| {
            mismatches.push(Mismatch { clause, expected: shorten(expected.into()), found: shorten(found.into()) });
        };
        if !self.event.matches(&event.kind) {
            note(ClauseName::Event, self.event.as_str(), &event.kind);
        }
        let topic = &event.record.origin.topic.name;
        if let Some(expected) = self.topic.as_ref().filter(|it| *it != topic) {
            note(ClauseName::Topic, expected, topic);
        }
        if let Some(expected) = self.source.as_ref().filter(|it| !it.matches(&event.source)) {
            let found = if event.source.is_empty() { "no source" } else { &event.source };
            note(ClauseName::Source, &expected.to_string(), found);
        }
        if let Some(expected) = self.schema.as_ref().filter(|it| event.schema.as_ref() != Some(it)) {
            note(ClauseName::Schema, expected, event.schema.as_deref().unwrap_or("no schema"));
        }
        if let Some(pattern) = &self.pattern {
            explain_one(&pattern.root, &Subject::Event(event), "", &mut mismatches);
        }
        mismatches
    }
}

fn explain_one(object: &Object, subject: &Subject<'_>, pointer: &str, out: &mut Vec<Mismatch>) {
    for (name, clause) in &object.fields {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let field = subject.field(name);
        match clause {
            Clause::Leaf(leaf) if leaf.matches(&field) => {}
            Clause::Leaf(leaf) => {
                let expected = shorten(leaf.to_string());
                out.push(Mismatch { clause: ClauseName::Match(pointer), expected, found: describe(&field) });
            }
            Clause::Object(object) if object.matches(&field) => {}
            Clause::Object(object) => explain_object(object, &field, &pointer, out),
        }
    }
    let branches = object.any_of.iter().enumerate();
    let nearest = branches
        .map(|(position, branch)| {
            let mut of_branch = Vec::new();
            explain_one(branch, subject, &format!("{pointer}/$or/{position}"), &mut of_branch);
            of_branch
        })
        .min_by_key(Vec::len);
    out.extend(nearest.unwrap_or_default());
}

/// Explains an object that does not match by the item of the event's list that comes nearest.
fn explain_object(object: &Object, subject: &Subject<'_>, pointer: &str, out: &mut Vec<Mismatch>) {
    let mut nearest: Option<Vec<Mismatch>> = None;
    let mut seen = 0;
    subject.any_object(&mut |item| {
        let mut of_item = Vec::new();
        explain_one(object, item, pointer, &mut of_item);
        if nearest.as_ref().is_none_or(|it| of_item.len() < it.len()) {
            nearest = Some(of_item);
        }
        seen += 1;
        seen == SHOWN
    });
    match nearest {
        Some(mismatches) => out.extend(mismatches),
        None => explain_one(object, &Subject::Missing, pointer, out),
    }
}

fn describe(subject: &Subject<'_>) -> String {
    let mut values = Vec::new();
    let is_cut = subject.any_scalar(&mut |scalar| {
        values.push(shorten(scalar.to_string()));
        values.len() > SHOWN
    });
    if is_cut {
        values.pop();
        values.push("…".into());
    }
    if !values.is_empty() {
        return shorten(values.join(", "));
    }
    match subject {
        Subject::Value(value) if value.is_map() => "an object",
        Subject::Value(value) if value.is_list() => "a list without plain values",
        Subject::Event(_)
        | Subject::Headers(_)
        | Subject::Header(..)
        | Subject::Text(_)
        | Subject::Bytes(_)
        | Subject::Value(_)
        | Subject::Missing => "nothing",
    }
    .into()
}

fn shorten(mut text: String) -> String {
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push('…');
    }
    text
}
