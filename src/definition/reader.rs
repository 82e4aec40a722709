//! Typed reading of nodes: what is not as it should be becomes a mistake at its place, and reading goes on, so that all
//! mistakes of a file come at once. A reading function returns None when it has said what is wrong.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::Mistake;
use super::limits;
use super::node::{Field, Kind, Node, Text, quote};
use super::source::Source;

/// Reads the nodes of one source and gathers its mistakes.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    expressions: usize,
    expression_bytes: usize,
}

/// The fields of an object whose names are all known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'n> {
    /// The byte of the source at which the object starts.
    pub at: usize,
    fields: &'n [Field],
}

impl<'n> Fields<'n> {
    /// The value of a field; None if it is missing or null.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.get_or_null(name).filter(|node| !node.is_null())
    }

    /// The value of a field where null is a value.
    pub fn get_or_null(&self, name: &str) -> Option<&'n Node> {
        self.fields.iter().find(|field| *field.name == *name).map(|field| &field.value)
    }
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a Source<'a>) -> Reader<'a> {
        Reader { source, mistakes: Vec::new(), warnings: Vec::new(), expressions: 0, expression_bytes: 0 }
    }

    /// Whether nothing was wrong so far.
    pub fn is_content(&self) -> bool {
        self.mistakes.is_empty()
    }

    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    pub fn into_warnings(self) -> Vec<Mistake> {
        self.warnings
    }

    /// Notes what is allowed, and does not do what its author may think.
    pub fn warn(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(Mistake::new(at, message, remedy));
    }

    /// Notes a mistake. Returns None, so that a reading function can end with it.
    pub fn wrong<T>(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.mistakes.push(Mistake::new(at, message, remedy));
        None
    }

    pub fn note<T>(&mut self, mistake: Mistake) -> Option<T> {
        self.mistakes.push(mistake);
        None
    }

    /// Notes a mistake at a byte inside a text.
    pub fn wrong_inside<T>(&mut self, text: &Text, offset: usize, message: &str, remedy: Option<String>) -> Option<T> {
        let mut mistake = Mistake::from_sentence(self.source.inside(text, offset), message);
        mistake.remedy = remedy.or(mistake.remedy);
        self.note(mistake)
    }

    fn expected<T>(&mut self, name: &str, node: &Node, what: &str, example: &str) -> Option<T> {
        self.wrong(node.at, format!("`{name}` is {}, not {what}", node.describe()), format!("write {example}"))
    }

    /// Counts a text that holds expressions; false past the limits, which is said once.
    pub fn count_expression(&mut self, text: &Text) -> bool {
        let is_within = |it: &Self| {
            it.expressions <= limits::EXPRESSIONS_PER_WORKFLOW
                && it.expression_bytes <= limits::EXPRESSION_BYTES_PER_WORKFLOW
        };
        let was_within = is_within(self);
        self.expressions += 1;
        self.expression_bytes += text.value.len();
        let is_within = is_within(self);
        if was_within && !is_within {
            let (count, kibibytes) = (limits::EXPRESSIONS_PER_WORKFLOW, limits::EXPRESSION_BYTES_PER_WORKFLOW / 1024);
            let message =
                format!("the workflow has more than {count} expressions, or more than {kibibytes} KiB of them");
            self.wrong::<()>(text.at, message, "split it into several workflows");
        }
        is_within
    }

    /// The fields of an object; those it does not know are mistakes. `what` is what the object describes.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Kind::Map(fields) = &node.kind else {
            let message = format!("{what} is {}, not an object", node.describe());
            return self.wrong(node.at, message, format!("write its fields: {}", known.join(", ")));
        };
        for field in fields.iter().filter(|field| !known.contains(&&*field.name)) {
            let message = format!("{what} has no field {}", quote(&field.name));
            self.wrong::<()>(field.at, message, suggestion(&field.name, known));
        }
        Some(Fields { at: node.at, fields })
    }

    /// The value of a field that must be there.
    pub fn required<'n>(&mut self, fields: &Fields<'n>, what: &str, name: &str, example: &str) -> Option<&'n Node> {
        match fields.get(name) {
            Some(node) => Some(node),
            None => {
                let at = fields.get_or_null(name).map_or(fields.at, |null| null.at);
                self.wrong(at, format!("{what} has no `{name}`"), format!("add `{name}: {example}`"))
            }
        }
    }

    /// A text that is not empty.
    pub fn text<'n>(&mut self, name: &str, node: &'n Node, bytes_max: usize) -> Option<&'n Text> {
        match &node.kind {
            Kind::Text(text) if text.value.is_empty() => {
                self.wrong(node.at, format!("`{name}` is empty"), "write a text or leave the field out")
            }
            Kind::Text(text) if text.value.len() > bytes_max => {
                let message = format!("`{name}` has {} bytes", text.value.len());
                self.wrong(node.at, message, format!("write at most {bytes_max}"))
            }
            Kind::Text(text) => Some(text),
            Kind::Bool(_) | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) => {
                let written = self.source.word(node.at);
                self.expected(name, node, "a text", &format!("it in quotes: \"{written}\""))
            }
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.expected(name, node, "a text", "a text"),
        }
    }

    pub fn list<'n>(&mut self, name: &str, node: &'n Node) -> Option<&'n [Node]> {
        let Kind::List(items) = &node.kind else {
            return self.expected(name, node, "a list", "a list: `[…]`, or one item a line after `- `");
        };
        Some(items)
    }

    pub fn map<'n>(&mut self, name: &str, node: &'n Node) -> Option<&'n [Field]> {
        let Kind::Map(fields) = &node.kind else {
            return self.expected(name, node, "an object", "an object: `{name: value}`");
        };
        Some(fields)
    }

    pub fn integer(&mut self, name: &str, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        let (least, most) = (range.start(), range.end());
        if !matches!(node.kind, Kind::Int(_) | Kind::UInt(_)) {
            return self.expected(name, node, "a whole number", &format!("one from {least} to {most}"));
        }
        node.unsigned().filter(|number| range.contains(number)).or_else(|| {
            let message = format!("`{name}` is {}, which is out of range", node.describe());
            self.wrong(node.at, message, format!("write a number from {least} to {most}"))
        })
    }

    pub fn signed(&mut self, name: &str, node: &Node) -> Option<i64> {
        let Kind::Int(number) = node.kind else {
            return self.expected(name, node, "a whole number", "one such as 10");
        };
        Some(number)
    }

    /// A number from 0 to 1.
    pub fn fraction(&mut self, name: &str, node: &Node) -> Option<f64> {
        let fraction = match node.kind {
            Kind::Float(number) => Some(number).filter(|number| (0.0..=1.0).contains(number)),
            Kind::Int(0) => Some(0.0),
            Kind::Int(1) => Some(1.0),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::UInt(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_) => None,
        };
        fraction.or_else(|| self.expected(name, node, "a number from 0 to 1", "one such as 0.2"))
    }

    /// A duration with its unit.
    pub fn duration(&mut self, name: &str, node: &Node) -> Option<Duration> {
        const EXAMPLE: &str = "a number and its unit (ms, s, m, h or d), such as 500ms, 30s or 5m";
        let Kind::Text(text) = &node.kind else {
            let written = match node.kind {
                Kind::Int(number) if number > 0 => format!("the unit too: {number}ms or {number}s"),
                _ => EXAMPLE.into(),
            };
            return self.expected(name, node, "a duration", &written);
        };
        match parse_duration(&text.value) {
            Some(duration) if duration.is_zero() || duration > limits::DURATION => {
                let message = format!("`{name}` is {}, which is out of range", quote(&text.value));
                self.wrong(node.at, message, "write a duration from 1ms to 366d")
            }
            Some(duration) => Some(duration),
            None => self.expected(name, node, "a duration", EXAMPLE),
        }
    }

    /// A number of milliseconds from 1 to `most`, for fields whose names end in `Ms`.
    pub fn milliseconds(&mut self, name: &str, node: &Node, most: u64) -> Option<u64> {
        if let Kind::Text(text) = &node.kind
            && let Some(duration) = parse_duration(&text.value)
        {
            return self.expected(name, node, "a number of milliseconds", &duration.as_millis().to_string());
        }
        self.integer(name, node, 1..=most)
    }

    /// One of several names.
    pub fn choice<T: Copy>(&mut self, name: &str, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let known: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
        let Kind::Text(text) = &node.kind else {
            return self.expected(name, node, "a text", &format!("one of {}", known.join(", ")));
        };
        let chosen = choices.iter().find(|(known, _)| **known == *text.value).map(|(_, chosen)| *chosen);
        chosen.or_else(|| {
            self.wrong(node.at, format!("`{name}` cannot be {}", quote(&text.value)), suggestion(&text.value, &known))
        })
    }

    /// The literal value of a field whose values hold no expressions.
    pub fn check_constant(&mut self, name: &str, node: &Node) {
        match &node.kind {
            Kind::Text(text) if text.value.contains("${{") => {
                let at = text.value.find("${{").unwrap_or_default();
                let message = format!("`{name}` holds constants, and this is an expression");
                self.wrong_inside(text, at, &message, Some("compute the value in a transform step".into()))
            }
            Kind::List(items) => {
                items.iter().for_each(|item| self.check_constant(name, item));
                None
            }
            Kind::Map(fields) => {
                fields.iter().for_each(|field| self.check_constant(name, &field.value));
                None
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::UInt(_) | Kind::Float(_) | Kind::Text(_) => None::<()>,
        };
    }
}

/// What could have been meant: the nearest known name if one is near, else the known ones, as long as they are few.
pub(super) fn suggestion(written: &str, known: &[&str]) -> String {
    match nearest(written, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => match known.len() {
            0 => "leave it out".into(),
            1..=limits::LISTED_NAMES => format!("known are {}", known.join(", ")),
            _ => format!("known are {} and others", known[..limits::LISTED_NAMES].join(", ")),
        },
    }
}

fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    // A longer name is not a slip of any name here, and its distance would be costly.
    if written.len() > limits::NAME_BYTES {
        return None;
    }
    let fold = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    let written = fold(written);
    let continues = |a: &str, b: &str| a.len() >= 3 && b.starts_with(a);
    let distance = |known: &&&str| strsim::damerau_levenshtein(&written, &fold(known));
    let nearest = known.iter().min_by_key(distance)?;
    let is_near = distance(&nearest) <= (nearest.len() / 3).min(3);
    let begins_alike = |known: &&&str| continues(&fold(known), &written) || continues(&written, &fold(known));
    if is_near { Some(nearest) } else { known.iter().find(begins_alike).copied() }
}

/// A duration with its unit, as definitions write it: `500ms`, `30s`, `5m`, `2h`, `7d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(milliseconds)))
}
