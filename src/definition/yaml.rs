//! YAML to nodes: one document of YAML 1.2 in the core schema, without the parts that surprise (anchors, aliases, merge keys,
//! tags), and in bounded memory. The parser is pulled event by event, so what is refused is refused before it is built.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::diagnostic::Mistake;
use super::limits;
use super::node::{Field, Kind, Node, Text, quote};
use super::source::Source;
use crate::engine::limits as engine_limits;

const ALIAS: &str = "aliases (`*name`) are not known here";
const ALIAS_REMEDY: &str = "write the value out where it is used; a text that begins with * needs quotes";

/// Reads the one document of a source, or lists what is wrong with it.
pub(super) fn read(source: &Source<'_>) -> Result<Node, Vec<Mistake>> {
    let mut builder = Builder::new(source);
    let mut parser = Parser::new_from_str(source.text());
    while let Some(event) = parser.next_event() {
        let taken = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(builder.explain(&error)),
        };
        if let Err(mistake) = taken {
            builder.mistakes.push(mistake);
            return Err(builder.mistakes);
        }
    }
    match builder.root {
        Some(root) if builder.mistakes.is_empty() => Ok(root),
        Some(_) => Err(builder.mistakes),
        None => Err(vec![Mistake::new(0, "the file is empty", "write a workflow, which begins with `id: …`")]),
    }
}

/// The tree under construction.
struct Builder<'a> {
    source: &'a Source<'a>,
    /// The byte of each character; None where every character is one byte.
    bytes: Option<Vec<usize>>,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    mistakes: Vec<Mistake>,
}

/// A list or an object that is not closed yet.
struct Open {
    at: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        fields: Vec<Field>,
        places: HashMap<Arc<str>, usize>,
        /// The name whose value comes next. None as a name: it was refused, and its value is dropped.
        name: Option<(Option<Arc<str>>, usize)>,
    },
}

impl<'a> Builder<'a> {
    fn new(source: &'a Source<'a>) -> Builder<'a> {
        let text = source.text();
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Builder { source, bytes, open: Vec::new(), root: None, nodes: 0, documents: 0, mistakes: Vec::new() }
    }

    fn byte(&self, marker: Marker) -> usize {
        match &self.bytes {
            Some(bytes) => bytes.get(marker.index()).copied().unwrap_or(self.source.text().len()),
            None => marker.index().min(self.source.text().len()),
        }
    }

    /// Takes the next event; an error ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Mistake> {
        let at = self.byte(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.start_document(at),
            Event::Alias(_) => {
                self.refuse(at, ALIAS, ALIAS_REMEDY);
                self.add(Node { at, kind: Kind::Null })
            }
            Event::Scalar(value, style, anchor, tag) => {
                self.check_properties(at, anchor, tag.is_some());
                let kind = match self.expects_name() {
                    // Names are always text: `on`, `429` and `null` name what they say.
                    true => Kind::Text(Text { value: value.as_ref().into(), at, start: at }),
                    false => self.scalar(&value, style, at),
                };
                self.add(Node { at, kind })
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_properties(at, anchor, tag.is_some());
                self.open(at, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_properties(at, anchor, tag.is_some());
                self.open(at, Content::Map { fields: Vec::new(), places: HashMap::new(), name: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, content: Content::List(items) }) => self.put(Node { at, kind: Kind::List(items) }),
                Some(Open { at, content: Content::Map { fields, .. } }) => {
                    self.put(Node { at, kind: Kind::Map(fields) })
                }
                None => Ok(()),
            },
        }
    }

    fn start_document(&mut self, at: usize) -> Result<(), Mistake> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(Mistake::new(at, "a second document starts here", "put each workflow into a file of its own"));
        }
        Ok(())
    }

    fn refuse(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        // One more than is listed, so that the list can say that there are more.
        if self.mistakes.len() <= limits::MISTAKES_PER_FILE {
            self.mistakes.push(Mistake::new(at, message, remedy));
        }
    }

    fn check_properties(&mut self, at: usize, anchor: usize, is_tagged: bool) {
        if anchor > 0 {
            self.refuse(at, "anchors (`&name`) are not known here", "leave the anchor out and repeat the value");
        }
        if is_tagged {
            self.refuse(at, "tags (`!name`) are not known here", "leave the tag out; quote what is to be a text");
        }
    }

    /// Counts a node, and refuses what is too much or too deep before it is built.
    fn count(&mut self, at: usize) -> Result<(), Mistake> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            let message = format!("the document has more than {} values", limits::NODES);
            return Err(Mistake::new(at, message, "split it into several workflows"));
        }
        Ok(())
    }

    fn open(&mut self, at: usize, content: Content) -> Result<(), Mistake> {
        self.count(at)?;
        if self.open.len() >= engine_limits::DOCUMENT_DEPTH {
            return Err(too_deep(at));
        }
        self.open.push(Open { at, content });
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Mistake> {
        self.count(node.at)?;
        self.put(node)
    }

    /// Puts a finished node where it belongs: into the open list or object, or at the root.
    fn put(&mut self, node: Node) -> Result<(), Mistake> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { fields, name, .. }) if name.is_some() => {
                if let Some((Some(name), at)) = name.take() {
                    fields.push(Field { name, at, value: node });
                }
            }
            Some(Content::Map { .. }) => self.take_name(node),
        }
        Ok(())
    }

    fn expects_name(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { name: None, .. }, .. }))
    }

    fn take_name(&mut self, node: Node) {
        let at = node.at;
        let Kind::Text(Text { value: name, .. }) = node.kind else {
            self.refuse(at, "a list or object cannot be the name of a field", "write a text");
            return self.name_next(None, at);
        };
        if &*name == "<<" {
            self.refuse(at, "merge keys (`<<`) are not known here", "write the fields out");
            return self.name_next(None, at);
        }
        let Some(Open { content: Content::Map { places, .. }, .. }) = self.open.last_mut() else { return };
        match places.get(&name).copied() {
            None => {
                places.insert(name.clone(), at);
                self.name_next(Some(name), at);
            }
            Some(first) => {
                if self.mistakes.len() <= limits::MISTAKES_PER_FILE {
                    let (line, _) = self.source.place(first);
                    let message = format!("the field {} is written twice", quote(&name));
                    self.refuse(at, message, format!("keep one of them; the first is in line {line}"));
                }
                self.name_next(None, at);
            }
        }
    }

    /// Sets the name of the value that comes next.
    fn name_next(&mut self, next: Option<Arc<str>>, at: usize) {
        if let Some(Open { content: Content::Map { name, .. }, .. }) = self.open.last_mut() {
            *name = Some((next, at));
        }
    }

    fn scalar(&mut self, value: &str, style: ScalarStyle, at: usize) -> Kind {
        let start = match style {
            ScalarStyle::Plain => match plain(value) {
                Ok(Some(kind)) => return kind,
                Ok(None) => at,
                Err(message) => {
                    self.refuse(at, message, format!("write it as text, in quotes: \"{value}\""));
                    return Kind::Null;
                }
            },
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => at + 1,
            // The parser tells where the content of a block starts, not where its header is.
            ScalarStyle::Literal | ScalarStyle::Folded => at,
        };
        Kind::Text(Text { value: value.into(), at, start })
    }

    /// What the parser refused, in words for the author of the file.
    fn explain(&self, error: &ScanError) -> Mistake {
        let at = self.byte(*error.marker());
        if error.info().contains("recursion limit") {
            // The parser has a limit of its own, which it meets while it looks ahead.
            return too_deep(at);
        }
        if error.info().contains("unknown anchor") {
            return Mistake::new(at, ALIAS, ALIAS_REMEDY);
        }
        let line_start = self.source.text()[..at].rfind('\n').map_or(0, |end| end + 1);
        let indentation = &self.source.text()[line_start..];
        let indentation = &indentation[..indentation.len() - indentation.trim_start_matches([' ', '\t']).len()];
        let remedy = match indentation.find('\t') {
            Some(_) => "indent with spaces, not with tabs",
            None => "check the indentation, quotes and brackets here and in the line before",
        };
        Mistake::new(at, format!("this is not YAML: {}", error.info()), remedy)
    }
}

fn too_deep(at: usize) -> Mistake {
    let message = format!("the document is nested more than {} levels deep", engine_limits::DOCUMENT_DEPTH);
    Mistake::new(at, message, "make it flatter")
}

/// A plain scalar that is no text, by YAML's core schema; an error for a number that JSON does not have.
fn plain(value: &str) -> Result<Option<Kind>, String> {
    let kind = match value {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => return number(value),
    };
    Ok(Some(kind))
}

fn number(value: &str) -> Result<Option<Kind>, String> {
    let unsigned = value.trim_start_matches(['+', '-']);
    if value.len() - unsigned.len() > 1 {
        return Ok(None);
    }
    if matches!(value, ".nan" | ".NaN" | ".NAN") || matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err(format!("{value} is a number that JSON does not have"));
    }
    let too_large = |_| format!("the number {} does not fit 64 bits", quote(value));
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = value.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|it| it.is_digit(radix))
        {
            return u64::from_str_radix(digits, radix).map(|it| Some(whole(it))).map_err(too_large);
        }
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|it| it.is_ascii_digit()) {
        if let Ok(number) = value.parse::<i64>() {
            return Ok(Some(Kind::Int(number)));
        }
        return value.parse::<u64>().map(|it| Some(whole(it))).map_err(too_large);
    }
    if !is_float(unsigned) {
        return Ok(None);
    }
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(Kind::Float(number))),
        Ok(_) | Err(_) => Err(format!("the number {} is too large", quote(value))),
    }
}

fn whole(number: u64) -> Kind {
    i64::try_from(number).map_or(Kind::UInt(number), Kind::Int)
}

/// Whether it is `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(it, e)| (it, Some(e)));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|it| it.is_ascii_digit());
    let exponent_is_right = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(before) && digits(after) && !(before.is_empty() && after.is_empty()) && exponent_is_right
}
