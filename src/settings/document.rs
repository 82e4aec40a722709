//! A settings file as it was written: a TOML document whose values know their places, layered over the defaults, read key by key.
//! What is asked for is what is known: a section that is done reports every key that nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Mistakes, Place, nearest, shown};
use super::reference::{References, Resolved, Resolver};

/// The longest settings file. The parser's memory is a multiple of it.
pub(super) const SETTINGS_BYTES: usize = 1024 * 1024;
/// The most mistakes that are listed: beyond, the file is something else altogether.
const MISTAKES: usize = 100;

/// A parsed file.
pub(super) struct Document<'d> {
    file: Arc<str>,
    text: &'d str,
    table: DeTable<'d>,
}

impl<'d> Document<'d> {
    /// Parses as much as can be understood; what cannot is reported.
    pub(super) fn parse(file: &str, text: &'d str, mistakes: &MistakeList) -> Document<'d> {
        let file: Arc<str> = file.into();
        if text.len() > SETTINGS_BYTES {
            let place = Place::File { file: file.clone(), line: 1, column: 1 };
            let remedy = format!("a settings file has at most {SETTINGS_BYTES}");
            mistakes.add(place, format!("the file has {} bytes", text.len()), remedy);
            return Document { file, text: "", table: DeTable::new() };
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Document { file, text, table: table.into_inner() };
        for error in errors {
            let place = document.place(error.span().unwrap_or(0..0));
            // The parser's message may have lines of its own; a mistake is one line.
            let what = error.message().split('\n').map(str::trim).collect::<Vec<_>>().join(", ");
            mistakes.add(place, what, "write valid TOML");
        }
        document
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Place::File { file: self.file.clone(), line, column: before[line_start..].chars().count() + 1 }
    }
}

/// Mistakes as they are found.
#[derive(Default)]
pub(super) struct MistakeList(RefCell<Vec<Mistake>>);

impl MistakeList {
    /// Adds one.
    pub(super) fn add(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        let mut mistakes = self.0.borrow_mut();
        if mistakes.len() < MISTAKES {
            mistakes.push(Mistake { place, what: what.into(), remedy: remedy.into() });
        }
    }

    /// All of them in the order of the file, those outside it last; None if there are none.
    pub(super) fn into_mistakes(self) -> Option<Mistakes> {
        let mut mistakes = self.0.into_inner();
        mistakes.sort_by_key(|mistake| match &mistake.place {
            Place::File { line, column, .. } => (*line, *column),
            Place::Variable(_) | Place::CommandLine(_) => (usize::MAX, usize::MAX),
        });
        mistakes.dedup();
        (!mistakes.is_empty()).then_some(Mistakes(mistakes))
    }
}

/// A string setting: its value, where it was written, and whether it may be shown.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) place: Place,
    pub(super) secret: bool,
    /// Whether `value` is what an instance would see; false if it holds a reference that was not followed.
    pub(super) resolved: bool,
}

impl Text {
    /// A text from outside the file.
    pub(super) fn outside(value: impl Into<String>, place: Place) -> Text {
        Text { value: value.into(), place, secret: false, resolved: true }
    }

    /// The value as a message may show it.
    pub(super) fn shown(&self) -> String {
        if self.secret { "***".to_owned() } else { format!("`{}`", shown(&self.value)) }
    }
}

/// What reading needs beside the document: where mistakes go and how `${…}` is resolved.
pub(super) struct Reader<'r> {
    pub(super) mistakes: &'r MistakeList,
    pub(super) resolver: &'r Resolver<'r>,
}

/// A table that is being read.
pub(super) struct Section<'r, 'd> {
    reader: &'r Reader<'r>,
    place: Place,
    /// The user's table first, then the one of the defaults.
    layers: Vec<(&'d Document<'d>, &'d DeTable<'d>)>,
    /// Values from outside the file, which win.
    overrides: BTreeMap<&'static str, Text>,
    known: Vec<&'static str>,
}

/// A value and the document it stands in.
struct Found<'d> {
    document: &'d Document<'d>,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'r, 'd> Section<'r, 'd> {
    /// The whole document over its defaults.
    pub(super) fn root(
        reader: &'r Reader<'r>,
        document: &'d Document<'d>,
        defaults: &'d Document<'d>,
        overrides: BTreeMap<&'static str, Text>,
    ) -> Section<'r, 'd> {
        let layers = vec![(document, &document.table), (defaults, &defaults.table)];
        Section { reader, place: document.place(0..0), layers, overrides, known: Vec::new() }
    }

    /// Where the section starts.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Reports a mistake.
    pub(super) fn mistake(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.reader.mistakes.add(place, what, remedy);
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Text> {
        self.know(key);
        if let Some(text) = self.overrides.get(key) {
            return Some(text.clone());
        }
        let found = self.find(key)?;
        match found.value.get_ref() {
            DeValue::String(text) => self.resolve(key, text, found.document.place(found.value.span())),
            _ => self.wrong_type(key, &found, "a string"),
        }
    }

    /// A string that has to be there; `remedy` says what to write.
    pub(super) fn required_text(&mut self, key: &'static str, remedy: &str) -> Option<Text> {
        if !self.has(key) {
            self.know(key);
            self.mistake(self.place(), format!("`{key}` is missing"), remedy);
            return None;
        }
        self.text(key)
    }

    /// A whole number within a range.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        self.know(key);
        let (number, written, place) = if let Some(text) = self.overrides.get(key) {
            (text.value.trim().parse().ok(), text.value.clone(), text.place.clone())
        } else {
            let found = self.find(key)?;
            let DeValue::Integer(number) = found.value.get_ref() else {
                return self.wrong_type(key, &found, "a whole number");
            };
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            (parsed, number.as_str().to_owned(), found.document.place(found.value.span()))
        };
        let in_range = number.filter(|number| range.contains(number));
        if in_range.is_none() {
            let remedy = format!("write a whole number from {} to {}", range.start(), range.end());
            self.mistake(place, format!("`{key}` is `{}`", shown(&written)), remedy);
        }
        in_range
    }

    /// A truth value.
    pub(super) fn truth(&mut self, key: &'static str) -> Option<bool> {
        let found = self.find(key)?;
        match found.value.get_ref() {
            DeValue::Boolean(truth) => Some(*truth),
            _ => self.wrong_type(key, &found, "true or false"),
        }
    }

    /// A number within a range, with a fraction or without.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let found = self.find(key)?;
        let (number, written) = match found.value.get_ref() {
            DeValue::Float(number) => (number.as_str().parse().ok(), number.as_str()),
            DeValue::Integer(number) => {
                let whole = i64::from_str_radix(number.as_str(), number.radix()).ok();
                (whole.map(|whole| whole as f64), number.as_str())
            }
            _ => return self.wrong_type(key, &found, "a number"),
        };
        let in_range = number.filter(|number| range.contains(number));
        if in_range.is_none() {
            let remedy = format!("write a number from {} to {}", range.start(), range.end());
            self.mistake(found.document.place(found.value.span()), format!("`{key}` is `{}`", shown(written)), remedy);
        }
        in_range
    }

    /// A string that `check` turns into a value; its error is (what is wrong, what would be right).
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, (&'static str, String)>,
    ) -> Option<T> {
        let text = self.text_or_default(key)?;
        match check(&text.value) {
            Ok(value) => Some(value),
            Err((what, remedy)) => {
                self.mistake(text.place.clone(), format!("`{key}` is {}: {what}", text.shown()), remedy);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<(T, Place)> {
        let text = self.text_or_default(key)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text.value) {
            return Some((*choice, text.place));
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let remedy = match nearest(&text.value, names.iter().copied()) {
            Some(name) if !text.secret => format!("did you mean `{name}`? It is one of {}", names.join(", ")),
            _ => format!("write one of {}", names.join(", ")),
        };
        self.mistake(text.place.clone(), format!("`{key}` is {}", text.shown()), remedy);
        None
    }

    /// A table within this one; None if neither the file nor the defaults have it.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'r, 'd>> {
        self.know(key);
        let mut layers = Vec::new();
        let mut place = None;
        for (document, table) in &self.layers {
            let Some(value) = table.get(key) else { continue };
            match value.get_ref() {
                DeValue::Table(table) => layers.push((*document, table)),
                _ => return self.wrong_type(key, &Found { document, value }, "a table"),
            }
            place = place.or_else(|| Some(document.place(value.span())));
        }
        place.map(|place| self.child(place, layers))
    }

    /// The tables of an array, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'r, 'd>> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let DeValue::Array(items) = found.value.get_ref() else {
            self.report_type(key, &found, &format!("a list of tables, each under [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let found = Found { document: found.document, value: item };
            match item.get_ref() {
                DeValue::Table(table) => {
                    let place = found.document.place(item.span());
                    sections.push(self.child(place, vec![(found.document, table)]));
                }
                _ => self.report_type(key, &found, &format!("a table under [[{key}]]")),
            }
        }
        sections
    }

    /// The tables under freely chosen names, `[key.NAME]`, in the order of their names.
    pub(super) fn named_sections(&mut self, key: &'static str) -> Vec<(String, Section<'r, 'd>)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (document, table) in &parent.layers {
            for (name, value) in table.iter() {
                let found = Found { document, value };
                match value.get_ref() {
                    DeValue::Table(table) => {
                        let section = self.child(document.place(name.span()), vec![(*document, table)]);
                        sections.push((name.get_ref().to_string(), section));
                    }
                    _ => self.report_type(&format!("{key}.{}", name.get_ref()), &found, "a table"),
                }
            }
        }
        sections
    }

    /// Everything in this section as texts under dotted names: numbers and truth values as they are written.
    pub(super) fn scalars(self) -> Vec<(String, Text)> {
        let mut scalars = Vec::new();
        for (document, table) in &self.layers {
            self.collect_scalars("", document, table, &mut scalars);
        }
        scalars
    }

    /// Ends the section: whatever was not asked for is unknown.
    pub(super) fn finish(self) {
        let Some((document, table)) = self.layers.first() else { return };
        for (key, _) in table.iter().filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref())) {
            let remedy = match nearest(key.get_ref(), self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.mistake(document.place(key.span()), format!("unknown key `{}`", shown(key.get_ref())), remedy);
        }
    }

    /// Whether the file, the defaults or an override has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.overrides.contains_key(key) || self.layers.iter().any(|(_, table)| table.contains_key(key))
    }

    fn child(&self, place: Place, layers: Vec<(&'d Document<'d>, &'d DeTable<'d>)>) -> Section<'r, 'd> {
        Section { reader: self.reader, place, layers, overrides: BTreeMap::new(), known: Vec::new() }
    }

    /// A string; where it holds a reference that was not followed, the default stands in for it.
    fn text_or_default(&mut self, key: &'static str) -> Option<Text> {
        let text = self.text(key)?;
        if text.resolved {
            return Some(text);
        }
        let (document, table) = self.layers.get(1)?;
        let value = table.get(key)?;
        Some(Text::outside(value.get_ref().as_str()?, document.place(value.span())))
    }

    fn know(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    fn find(&mut self, key: &'static str) -> Option<Found<'d>> {
        self.know(key);
        self.layers.iter().find_map(|(document, table)| Some(Found { document, value: table.get(key)? }))
    }

    fn resolve(&self, key: &str, text: &str, place: Place) -> Option<Text> {
        match self.reader.resolver.resolve(text) {
            Ok(Resolved { value, secret }) => {
                let resolved = !secret || self.reader.resolver.references == References::Resolve;
                Some(Text { value, place, secret, resolved })
            }
            Err(error) => {
                self.mistake(place, format!("`{key}`: {error}"), error.remedy());
                None
            }
        }
    }

    fn wrong_type<T>(&self, key: &str, found: &Found<'_>, expected: &str) -> Option<T> {
        self.report_type(key, found, expected);
        None
    }

    fn report_type(&self, key: &str, found: &Found<'_>, expected: &str) {
        let place = found.document.place(found.value.span());
        let actual = match found.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.mistake(place, format!("`{key}` is {actual}"), format!("write {expected}"));
    }

    // The parser bounds the nesting, so recursion is bounded too.
    fn collect_scalars(
        &self,
        prefix: &str,
        document: &'d Document<'d>,
        table: &'d DeTable<'d>,
        into: &mut Vec<(String, Text)>,
    ) {
        for (key, value) in table.iter() {
            let name = format!("{prefix}{}", key.get_ref());
            let place = document.place(value.span());
            let plain = |value: String| Some(Text::outside(value, place.clone()));
            let text = match value.get_ref() {
                DeValue::String(text) => self.resolve(&name, text, place),
                DeValue::Integer(number) if number.radix() == 10 => plain(number.as_str().to_owned()),
                DeValue::Float(number) => plain(number.as_str().to_owned()),
                DeValue::Boolean(value) => plain(value.to_string()),
                DeValue::Table(table) => {
                    self.collect_scalars(&format!("{name}."), document, table, into);
                    None
                }
                DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
                    self.wrong_type(&name, &Found { document, value }, "a string, a decimal number or a truth value")
                }
            };
            into.extend(text.map(|text| (name, text)));
        }
    }
}
