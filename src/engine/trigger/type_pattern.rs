//! Which event types and which sources a trigger names, and topics.

use std::sync::Arc;

use crate::engine::limits;

/// Why the text of a clause is none, in words for the author of the definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClauseError {
    /// The byte of the text at which it goes wrong.
    pub offset: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

fn wrong(offset: usize, message: impl Into<String>) -> ClauseError {
    ClauseError { offset, message: message.into() }
}

fn check_length(what: &str, text: &str) -> Result<(), ClauseError> {
    if text.is_empty() {
        return Err(wrong(0, format!("the {what} is empty; leave it out or write one")));
    }
    if text.len() > limits::TRIGGER_TEXT_BYTES {
        let most = limits::TRIGGER_TEXT_BYTES;
        return Err(wrong(most, format!("the {what} has {} bytes; at most {most} are allowed", text.len())));
    }
    Ok(())
}

/// Which event types count. Segments are what dots separate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern {
    source: Arc<str>,
    form: TypeForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TypeForm {
    Exact,
    /// `*` is one segment; `**` at the end is one or more.
    Segments,
    All,
}

/// What the index files a type pattern under.
pub(super) enum TypeKey<'a> {
    Exact(&'a Arc<str>),
    /// The segments in order, and whether any further ones (at least one) may follow.
    Segments(Vec<Segment<'a>>, bool),
    All,
}

/// One segment of a type pattern.
#[derive(Clone, Copy)]
pub(super) enum Segment<'a> {
    Exact(&'a str),
    Any,
}

impl TypePattern {
    /// Reads a type pattern: `orders.paid`, `orders.*` (any one segment), `orders.**` (one or more), `*` (every type).
    pub fn parse(text: &str) -> Result<TypePattern, ClauseError> {
        if text.is_empty() {
            return Err(wrong(0, "the event type is empty; write a type such as orders.paid, or * for every type"));
        }
        check_length("event type", text)?;
        let form = match text {
            "*" | "**" => TypeForm::All,
            _ if text.contains('*') => {
                check_segments(text)?;
                TypeForm::Segments
            }
            _ => TypeForm::Exact,
        };
        Ok(TypePattern { source: text.into(), form })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether an event of this type counts.
    pub fn matches(&self, kind: &str) -> bool {
        match self.form {
            TypeForm::All => true,
            TypeForm::Exact => *self.source == *kind,
            TypeForm::Segments => {
                let mut found = kind.split('.');
                for expected in self.source.split('.') {
                    let Some(segment) = found.next() else { return false };
                    match expected {
                        "**" => return true,
                        "*" => {}
                        exact if exact == segment => {}
                        _ => return false,
                    }
                }
                found.next().is_none()
            }
        }
    }

    pub(super) fn key(&self) -> TypeKey<'_> {
        match self.form {
            TypeForm::All => TypeKey::All,
            TypeForm::Exact => TypeKey::Exact(&self.source),
            TypeForm::Segments => {
                let (text, open) = match self.source.strip_suffix(".**") {
                    Some(text) => (text, true),
                    None => (&*self.source, false),
                };
                let segment = |it| if it == "*" { Segment::Any } else { Segment::Exact(it) };
                TypeKey::Segments(text.split('.').map(segment).collect(), open)
            }
        }
    }
}

fn check_segments(text: &str) -> Result<(), ClauseError> {
    let count = text.split('.').count();
    if count > limits::TYPE_SEGMENTS {
        return Err(wrong(0, format!("the type has {count} segments; at most {} are allowed", limits::TYPE_SEGMENTS)));
    }
    let mut offset = 0;
    for segment in text.split('.') {
        let end = offset + segment.len();
        match segment {
            "" => return Err(wrong(offset, "a segment is empty; write one name or `*` between two dots")),
            "*" => {}
            "**" if end == text.len() => {}
            "**" => {
                return Err(wrong(offset, "`**` stands only at the end, as in orders.**; `*` stands for one segment"));
            }
            name if name.contains('*') => {
                let at = offset + name.find('*').unwrap_or_default();
                let message =
                    "`*` stands for a whole segment; write orders.* or orders.**, or name the segment in full";
                return Err(wrong(at, message));
            }
            _ => {}
        }
        offset = end + 1;
    }
    Ok(())
}

/// Which sources count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePattern {
    /// This one.
    Exact(Arc<str>),
    /// Every one that starts so.
    Prefix(Arc<str>),
}

impl SourcePattern {
    /// Reads a source pattern: `https://shop.example.com` or, with a `*` at the end, a prefix.
    pub fn parse(text: &str) -> Result<SourcePattern, ClauseError> {
        check_length("source", text)?;
        let (stem, is_prefix) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
        if let Some(at) = stem.find('*') {
            return Err(wrong(at, "`*` stands only at the end of a source, as in https://shop.example.com/*"));
        }
        Ok(if is_prefix { SourcePattern::Prefix(stem.into()) } else { SourcePattern::Exact(stem.into()) })
    }

    /// Whether an event of this source counts.
    pub fn matches(&self, source: &str) -> bool {
        match self {
            SourcePattern::Exact(exact) => **exact == *source,
            SourcePattern::Prefix(prefix) => source.starts_with(&**prefix),
        }
    }
}

impl std::fmt::Display for SourcePattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourcePattern::Exact(exact) => formatter.write_str(exact),
            SourcePattern::Prefix(prefix) => write!(formatter, "{prefix}*"),
        }
    }
}

/// Reads the name of a topic, as Kafka allows them.
pub fn parse_topic(text: &str) -> Result<Arc<str>, ClauseError> {
    check_length("topic", text)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if let Some(offset) = text.bytes().position(|byte| !legal(byte)) {
        let message = "a topic is one exact name of letters, digits, `.`, `_` and `-`; patterns are not allowed here";
        return Err(wrong(offset, message));
    }
    if text.len() > 249 || matches!(text, "." | "..") {
        return Err(wrong(0, "Kafka has no such topic: names have 1 to 249 characters and are not `.` or `..`"));
    }
    Ok(text.into())
}

/// Reads the full name of a schema: namespace and name, as [Avro](https://avro.apache.org/docs/1.12.0/specification/#names) has them.
pub fn parse_schema(text: &str) -> Result<Arc<str>, ClauseError> {
    check_length("schema", text)?;
    let is_name = |part: &str| {
        let begins = part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        begins && part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
    };
    let mut offset = 0;
    for part in text.split('.') {
        if !is_name(part) {
            let message = "a schema's full name is namespace and name, like com.example.OrderPaid: letters, digits and `_`, with dots between";
            return Err(wrong(offset, message));
        }
        offset += part.len() + 1;
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_patterns_match_by_segments() {
        #[track_caller]
        fn check(pattern: &str, matching: &[&str], others: &[&str]) {
            let parsed = TypePattern::parse(pattern).unwrap();
            matching.iter().for_each(|kind| assert!(parsed.matches(kind), "{pattern} on {kind}"));
            others.iter().for_each(|kind| assert!(!parsed.matches(kind), "{pattern} on {kind}"));
        }
        check("orders.paid", &["orders.paid"], &["orders.paid.eu", "orders", "orders.paidx"]);
        check("orders.*", &["orders.paid"], &["orders", "orders.paid.eu", "ordersx.paid"]);
        check("orders.**", &["orders.paid", "orders.paid.eu"], &["orders", "ordersx.paid"]);
        check("*.created", &["orders.created"], &["created", "a.b.created"]);
        check("com.*.order.**", &["com.x.order.y.z"], &["com.x.order", "com.order.y"]);
        check("*.*", &["a.b"], &["a", "a.b.c"]);
        check("*", &["", "a", "a.b"], &[]);
        check("**", &["a", "a.b"], &[]);
    }

    #[test]
    fn wrong_clauses_are_refused_at_their_place() {
        #[track_caller]
        fn check<T: std::fmt::Debug>(parsed: Result<T, ClauseError>, offset: usize, message: &str) {
            let error = parsed.unwrap_err();
            assert_eq!(error.offset, offset, "{error}");
            assert!(error.message.contains(message), "{error}");
        }
        check(TypePattern::parse(""), 0, "empty");
        check(TypePattern::parse("orders.pa*"), 9, "whole segment");
        check(TypePattern::parse("a.**.b"), 2, "only at the end");
        check(TypePattern::parse("a..*"), 2, "a segment is empty");
        check(TypePattern::parse(&"a.".repeat(40).replace("a.a.", "*.a.")), 0, "segments");
        check(TypePattern::parse(&"a".repeat(2000)), 1024, "2000 bytes");
        check(SourcePattern::parse("https://*/x"), 8, "only at the end");
        check(SourcePattern::parse(""), 0, "empty");
        check(parse_topic("web hooks"), 3, "exact name");
        check(parse_topic("^web.*"), 0, "exact name");
        check(parse_topic(".."), 0, "no such topic");
    }

    #[test]
    fn sources_match_exactly_or_by_prefix() {
        let shop = SourcePattern::parse("https://shop/*").unwrap();
        assert!(shop.matches("https://shop/eu") && !shop.matches("https://shop"));
        let exact = SourcePattern::parse("https://shop").unwrap();
        assert!(exact.matches("https://shop") && !exact.matches("https://shop/eu"));
    }
}
