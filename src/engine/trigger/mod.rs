//! Triggers: which events start a workflow.
//!
//! A [`Trigger`] says it of one event; a [`TriggerIndex`] finds, among any number of triggers, the few that can match.
//! The `where` clause of a definition is no part of it: it is an expression of the workflow's plan, for what matches here.

use std::sync::Arc;

use super::event::Event;

mod explain;
mod index;
mod number;
mod parse;
mod pattern;
mod scalar;
mod subject;
mod text_match;
mod type_pattern;

pub use explain::{ClauseName, Mismatch};
pub use index::{Candidates, TriggerIndex, TriggerKey};
pub use parse::PatternError;
pub use pattern::Pattern;
pub use type_pattern::{ClauseError, SourcePattern, TypePattern, parse_schema, parse_topic};

/// One trigger of a workflow: every clause must hold.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Which event types count.
    pub event: TypePattern,
    /// The source topic, if only one counts; [`parse_topic`] reads it.
    pub topic: Option<Arc<str>>,
    /// Which CloudEvents sources count; None = all.
    pub source: Option<SourcePattern>,
    /// The full name of the schema, if only one counts; [`parse_schema`] reads it.
    pub schema: Option<Arc<str>>,
    /// What the event must hold; None = anything.
    pub pattern: Option<Pattern>,
}

impl Trigger {
    /// A trigger for every event of these types.
    pub fn on(event: TypePattern) -> Trigger {
        Trigger { event, topic: None, source: None, schema: None, pattern: None }
    }

    /// Whether every clause holds for the event.
    pub fn matches(&self, event: &Event) -> bool {
        self.event.matches(&event.kind)
            && self.topic.as_ref().is_none_or(|topic| *topic == event.record.origin.topic.name)
            && self.source.as_ref().is_none_or(|source| source.matches(&event.source))
            && self.schema.as_ref().is_none_or(|schema| event.schema.as_ref() == Some(schema))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(event))
    }
}
