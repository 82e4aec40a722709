//! Patterns: what a `match` clause says about an event, in the language of EventBridge.
//!
//! A pattern mirrors the event. A leaf is a list of alternatives, fields beside each other must all hold, `$or` holds if one
//! of its branches does. A field that is a list matches if one of its items does; where a pattern has an object and the event
//! a list of objects, one item must satisfy the whole object. A missing field matches nothing but `exists: false`.

use std::sync::Arc;

use super::number::Number;
use super::scalar::{Literal, Scalar};
use super::subject::Subject;
use super::text_match::{self, Network, Wildcard};
use crate::engine::event::Event;

/// What a `match` clause asks of an event. [`Pattern::parse`] makes it.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(super) root: Object,
}

/// Fields that must all hold.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub fields: Box<[(Arc<str>, Clause)]>,
    /// The branches of `$or`; none if there is no `$or`.
    pub any_of: Box<[Object]>,
}

/// What is asked of one field.
#[derive(Clone, Debug)]
pub(super) enum Clause {
    Leaf(Leaf),
    Object(Object),
}

/// Alternatives, one of which must hold.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Values that are compared as they are, sorted.
    pub literals: Box<[Literal]>,
    pub tests: Box<[Test]>,
}

/// One operator with its operand. Text that is compared without case is held folded.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists(bool),
    Prefix(Arc<str>),
    PrefixFolded(Arc<str>),
    Suffix(Arc<str>),
    SuffixFolded(Arc<str>),
    EqualsFolded(Arc<str>),
    Wildcard(Wildcard),
    Numeric(Range),
    Cidr(Network),
    /// Holds for a value that is there and for which none of these alternatives holds.
    AnythingBut(Box<Leaf>),
}

/// Numbers between two bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub low: Option<Bound>,
    pub high: Option<Bound>,
}

/// One end of a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub number: Number,
    pub inclusive: bool,
}

impl Pattern {
    /// Whether the event is what the pattern asks for.
    pub fn matches(&self, event: &Event) -> bool {
        self.root.matches_one(&Subject::Event(event))
    }
}

impl Object {
    /// Whether the subject, or one object in the list that it is, satisfies the whole object.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let mut found_object = false;
        let matched = subject.any_object(&mut |object| {
            found_object = true;
            self.matches_one(object)
        });
        matched || (!found_object && self.matches_one(&Subject::Missing))
    }

    fn matches_one(&self, subject: &Subject<'_>) -> bool {
        self.fields.iter().all(|(name, clause)| clause.matches(&subject.field(name)))
            && (self.any_of.is_empty() || self.any_of.iter().any(|branch| branch.matches_one(subject)))
    }
}

impl Clause {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Clause::Leaf(leaf) => leaf.matches(subject),
            Clause::Object(object) => object.matches(subject),
        }
    }
}

impl Leaf {
    /// Whether one alternative holds for one value of the subject, or the subject is missing as asked.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let mut is_there = false;
        let matched = subject.any_scalar(&mut |scalar| {
            is_there = true;
            self.accepts(&scalar)
        });
        matched || (!is_there && self.accepts_absence())
    }

    /// Whether a missing field satisfies it.
    pub fn accepts_absence(&self) -> bool {
        self.tests.iter().any(|test| matches!(test, Test::Exists(false)))
    }

    fn accepts(&self, scalar: &Scalar<'_>) -> bool {
        self.literals.binary_search_by(|literal| literal.compare(scalar)).is_ok()
            || self.tests.iter().any(|test| test.accepts(scalar))
    }
}

impl Test {
    fn accepts(&self, scalar: &Scalar<'_>) -> bool {
        let on_text = |test: &dyn Fn(&str) -> bool| scalar.text().is_some_and(test);
        match self {
            Test::Exists(expected) => *expected,
            Test::Prefix(prefix) => on_text(&|text| text.starts_with(&**prefix)),
            Test::PrefixFolded(prefix) => on_text(&|text| text_match::starts_with_folded(text, prefix)),
            Test::Suffix(suffix) => on_text(&|text| text.ends_with(&**suffix)),
            Test::SuffixFolded(suffix) => on_text(&|text| text_match::ends_with_folded(text, suffix)),
            Test::EqualsFolded(folded) => on_text(&|text| text_match::equals_folded(text, folded)),
            Test::Wildcard(wildcard) => on_text(&|text| wildcard.matches(text)),
            Test::Numeric(range) => match scalar {
                Scalar::Number(number) => range.contains(*number),
                Scalar::Null | Scalar::Bool(_) | Scalar::Text(_) | Scalar::Opaque => false,
            },
            Test::Cidr(network) => on_text(&|text| network.contains(text)),
            Test::AnythingBut(excluded) => !excluded.accepts(scalar),
        }
    }
}

impl Range {
    /// Whether the number lies between the bounds.
    pub fn contains(&self, number: Number) -> bool {
        self.low.is_none_or(|low| low.number < number || (low.inclusive && low.number == number))
            && self.high.is_none_or(|high| number < high.number || (high.inclusive && high.number == number))
    }

    /// Whether no number lies between the bounds, whatever its form.
    pub fn is_empty(&self) -> bool {
        match (self.low, self.high) {
            (Some(low), Some(high)) => {
                low.number > high.number || (low.number == high.number && !(low.inclusive && high.inclusive))
            }
            (None, _) | (_, None) => false,
        }
    }
}

impl std::fmt::Display for Leaf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[")?;
        let literals = self.literals.iter().map(|it| it as &dyn std::fmt::Display);
        let tests = self.tests.iter().map(|it| it as &dyn std::fmt::Display);
        for (position, alternative) in literals.chain(tests).enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(formatter, "{separator}{alternative}")?;
        }
        formatter.write_str("]")
    }
}

impl std::fmt::Display for Test {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Test::Exists(expected) => write!(formatter, "{{exists: {expected}}}"),
            Test::Prefix(prefix) => write!(formatter, "{{prefix: {prefix:?}}}"),
            Test::PrefixFolded(prefix) => write!(formatter, "{{prefix: {{equals-ignore-case: {prefix:?}}}}}"),
            Test::Suffix(suffix) => write!(formatter, "{{suffix: {suffix:?}}}"),
            Test::SuffixFolded(suffix) => write!(formatter, "{{suffix: {{equals-ignore-case: {suffix:?}}}}}"),
            Test::EqualsFolded(folded) => write!(formatter, "{{equals-ignore-case: {folded:?}}}"),
            Test::Wildcard(wildcard) => write!(formatter, "{{wildcard: {wildcard}}}"),
            Test::Numeric(range) => write!(formatter, "{{numeric: {range}}}"),
            Test::Cidr(network) => write!(formatter, "{{cidr: {network}}}"),
            Test::AnythingBut(excluded) => write!(formatter, "{{anything-but: {excluded}}}"),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = |it: Bound, sign: &str| format!("\"{sign}{}\", {}", if it.inclusive { "=" } else { "" }, it.number);
        let low = self.low.map(|it| bound(it, ">"));
        let high = self.high.map(|it| bound(it, "<"));
        let bounds: Vec<String> = low.into_iter().chain(high).collect();
        write!(formatter, "[{}]", bounds.join(", "))
    }
}
