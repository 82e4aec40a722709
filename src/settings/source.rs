//! `[[sources]]`: what is consumed and how its records are read.

use regex::Regex;

use super::check;
use super::document::Section;
use super::mistake::Place;

/// One source.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Which topics. Required.
    pub topic: TopicSelector,
    /// How a record becomes an event; never guessed. Required.
    pub format: SourceFormat,
    /// Where to start on a topic on which the group has no offset at all. Default: latest.
    pub start: Start,
    /// Starts that an operator has confirmed, each good for one start on one topic: the topic's id as 32 hexadecimal digits, a dot, and
    /// the number of the start. What is not awaited has no effect.
    pub confirm_start: Vec<String>,
    /// Where it was written, for what is found out about it later.
    pub place: Place,
}

/// Topics by name or by pattern.
#[derive(Clone, Debug)]
pub enum TopicSelector {
    /// This one.
    Name(String),
    /// All that match, those with the topic prefix excepted. The text starts with `^`, as librdkafka wants it.
    Pattern(Regex),
}

impl TopicSelector {
    /// As it was written, and as a subscription takes it.
    pub fn as_str(&self) -> &str {
        match self {
            TopicSelector::Name(name) => name,
            TopicSelector::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether it means this topic; the topic prefix is not looked at here.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            TopicSelector::Name(name) => name == topic,
            TopicSelector::Pattern(pattern) => pattern.is_match(topic),
        }
    }
}

/// How a record becomes an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// CloudEvents in both modes of their Kafka binding.
    CloudEvents,
    /// Plain JSON with configured places.
    Json(PlaceSettings),
    /// Avro with configured places; its schemas are in the registry.
    Avro(AvroSettings),
}

/// How a source in Avro is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvroSettings {
    /// Where the event's parts are in what a record is.
    pub places: PlaceSettings,
    /// Whether keys are Avro too. Default: they are bytes.
    pub has_keys: bool,
}

/// Where an event's parts are in a record that has no envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceSettings {
    /// Where the event's type is. Required for JSON; for Avro the default is the name of the schema.
    pub kind: Locator,
    /// Where the event's id is; it is data only. None: events have no id of their own.
    pub id: Option<Locator>,
    /// JSON pointer to the payload. Default: `""`, the whole document.
    pub data: String,
}

/// Where one part of an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// At this JSON pointer (RFC 6901), never the empty one.
    Pointer(String),
    /// In the last header of this name.
    Header(String),
    /// It is always this.
    Constant(String),
    /// The full name of the record's Avro schema.
    SchemaName,
    /// A subject that has the record's schema, the first one of several.
    SchemaSubject,
}

/// Where a new group starts on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the end: only what comes from now on.
    Latest,
    /// At the beginning: all that the topic still has.
    Earliest,
}

#[derive(Clone, Copy, PartialEq)]
enum FormatName {
    CloudEvents,
    Json,
    Avro,
}

/// The most sources; a pattern covers more topics than that.
const SOURCES: usize = 1000;
/// The most starts that are confirmed at once.
const CONFIRMATIONS: usize = 1000;
/// What is written for [`Locator::SchemaName`].
const SCHEMA_NAME: &str = "schema:name";
/// What is written for [`Locator::SchemaSubject`].
const SCHEMA_SUBJECT: &str = "schema:subject";
/// The longest pattern. Its compiled form is bounded by the library.
const PATTERN_BYTES: usize = 1024;

pub(super) fn read_sources(root: &mut Section<'_, '_>, topic_prefix: &str) -> Vec<SourceSettings> {
    let sections = root.sections("sources");
    if sections.len() > SOURCES {
        let what = format!("there are {} sources", sections.len());
        root.mistake(root.place(), what, format!("write at most {SOURCES}; a pattern covers many topics"));
        return Vec::new();
    }
    let mut sources: Vec<SourceSettings> = Vec::new();
    for mut section in sections {
        let Some(source) = read_source(&mut section, topic_prefix) else {
            section.finish();
            continue;
        };
        if let Some(earlier) = sources.iter().find(|earlier| earlier.topic.as_str() == source.topic.as_str()) {
            let what = format!("topic `{}` is already a source at {}", source.topic.as_str(), earlier.place);
            section.mistake(section.place(), what, "keep one of the two");
        }
        section.finish();
        sources.push(source);
    }
    sources
}

// Every part is read before any is missed, so that one pass finds all mistakes.
fn read_source(section: &mut Section<'_, '_>, topic_prefix: &str) -> Option<SourceSettings> {
    let place = section.place();
    let topic = section
        .required_text("topic", "name a topic, or write a pattern that starts with ^")
        .and_then(|_| section.parsed("topic", |topic| topic_selector(topic, topic_prefix)));
    let format = read_format(section);
    let start = section.choice("start", &[("latest", Start::Latest), ("earliest", Start::Earliest)]);
    let start = start.map_or(Start::Latest, |(start, _)| start);
    let confirm_start = section.parsed("confirm_start", confirmations).unwrap_or_default();
    Some(SourceSettings { topic: topic?, format: format?, start, confirm_start, place })
}

/// Tokens as an instance prints them, separated by commas.
fn confirmations(text: &str) -> Result<Vec<String>, (&'static str, String)> {
    let remedy = || "copy what the instance's /readyz and log ask for, several separated by commas".to_owned();
    let tokens: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_token = |token: &&str| {
        let id_and_number = token.split_once('.');
        let is_id = |id: &str| id.len() == 32 && id.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        id_and_number.is_some_and(|(id, number)| is_id(id) && number.parse::<u32>().is_ok())
    };
    match tokens.len() {
        count if count > CONFIRMATIONS => Err(("these are too many", format!("write at most {CONFIRMATIONS}"))),
        _ if !tokens.iter().all(is_token) => Err(("this confirms nothing", remedy())),
        _ => Ok(tokens.into_iter().map(str::to_owned).collect()),
    }
}

fn topic_selector(topic: &str, topic_prefix: &str) -> Result<TopicSelector, (&'static str, String)> {
    let system_topics =
        ("these are Tidegate's own topics", format!("consume topics that don't start with `{topic_prefix}`"));
    let Some(pattern) = topic.strip_prefix('^') else {
        check::topic_name(topic)?;
        let own = topic.starts_with(topic_prefix);
        return if own { Err(system_topics) } else { Ok(TopicSelector::Name(topic.to_owned())) };
    };
    if pattern.starts_with(topic_prefix) || pattern.starts_with(&regex::escape(topic_prefix)) {
        return Err(system_topics);
    }
    if topic.len() > PATTERN_BYTES {
        return Err(("the pattern is too long", format!("write at most {PATTERN_BYTES} bytes, or several sources")));
    }
    let pattern = Regex::new(topic).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        ("this is no regular expression", format!("mend it: {why}"))
    })?;
    Ok(TopicSelector::Pattern(pattern))
}

fn read_format(section: &mut Section<'_, '_>) -> Option<SourceFormat> {
    const FORMATS: [(&str, FormatName); 3] =
        [("cloudevents", FormatName::CloudEvents), ("json", FormatName::Json), ("avro", FormatName::Avro)];
    section.required_text("format", "write cloudevents, json or avro; formats are never guessed")?;
    let (format, _) = section.choice("format", &FORMATS)?;
    if format == FormatName::CloudEvents {
        for key in ["type", "id", "data"] {
            if let Some(text) = section.text(key) {
                section.mistake(
                    text.place,
                    format!("`{key}` is for formats `json` and `avro`"),
                    format!("remove `{key}`, or write format = \"json\""),
                );
            }
        }
    }
    if let Some(text) = section.text("key").filter(|_| format != FormatName::Avro) {
        section.mistake(text.place, "`key` is for format `avro`", "remove `key`; keys are bytes");
    }
    match format {
        FormatName::CloudEvents => Some(SourceFormat::CloudEvents),
        FormatName::Json => read_json(section).map(SourceFormat::Json),
        FormatName::Avro => read_avro(section).map(SourceFormat::Avro),
    }
}

fn read_avro(section: &mut Section<'_, '_>) -> Option<AvroSettings> {
    let keys = section.choice("key", &[("bytes", false), ("avro", true)]);
    let has_kind = section.text("type").is_some();
    let kind = section.parsed("type", avro_locator);
    let id = section.parsed("id", locator);
    let data = section.parsed("data", |data| json_pointer(data).map(|()| data.to_owned())).unwrap_or_default();
    let kind = if has_kind { kind? } else { Locator::SchemaName };
    Some(AvroSettings { places: PlaceSettings { kind, id, data }, has_keys: keys.is_some_and(|(it, _)| it) })
}

/// Where the type of an Avro record is: it may be in its schema, too.
fn avro_locator(text: &str) -> Result<Locator, (&'static str, String)> {
    match text {
        SCHEMA_NAME => return Ok(Locator::SchemaName),
        SCHEMA_SUBJECT => return Ok(Locator::SchemaSubject),
        _ => {}
    }
    let of_schema =
        format!("{SCHEMA_NAME} or {SCHEMA_SUBJECT} for the full name or the subject of the record's schema");
    let or = |remedy: String| format!("{remedy}, or {of_schema}");
    locator(text).map_err(|(what, remedy)| (what, or(remedy)))
}

fn read_json(section: &mut Section<'_, '_>) -> Option<PlaceSettings> {
    let kind = section
        .required_text(
            "type",
            "say where the event's type is: a JSON pointer like \"/event\", header:NAME or const:NAME",
        )
        .and_then(|_| section.parsed("type", locator));
    let id = section.parsed("id", locator);
    let data = section.parsed("data", |data| json_pointer(data).map(|()| data.to_owned())).unwrap_or_default();
    Some(PlaceSettings { kind: kind?, id, data })
}

fn locator(text: &str) -> Result<Locator, (&'static str, String)> {
    let remedy = || "write a JSON pointer like \"/event\", header:NAME or const:NAME".to_owned();
    if let Some(name) = text.strip_prefix("header:") {
        let named = !name.is_empty() && name.len() <= check::NAME_BYTES;
        return if named { Ok(Locator::Header(name.into())) } else { Err(("the header has no usable name", remedy())) };
    }
    if let Some(constant) = text.strip_prefix("const:") {
        let named = !constant.is_empty() && constant.len() <= check::NAME_BYTES;
        return if named {
            Ok(Locator::Constant(constant.into()))
        } else {
            Err(("the constant has no usable text", remedy()))
        };
    }
    if text.is_empty() {
        return Err(("the whole document cannot be a name", remedy()));
    }
    json_pointer(text).map(|()| Locator::Pointer(text.to_owned()))
}

/// Checks a JSON pointer (RFC 6901).
fn json_pointer(text: &str) -> Result<(), (&'static str, String)> {
    if text.len() > check::NAME_BYTES {
        return Err(("the pointer is too long", format!("write at most {} bytes", check::NAME_BYTES)));
    }
    if !text.is_empty() && !text.starts_with('/') {
        return Err((
            "a JSON pointer starts with /",
            format!("write \"/{}\"", text.trim_start_matches("$.").replace('.', "/")),
        ));
    }
    let mut after_tilde = text.split('~').skip(1);
    if after_tilde.any(|rest| !rest.starts_with(['0', '1'])) {
        return Err(("a ~ in a JSON pointer is an escape", "write ~0 for ~ and ~1 for /".to_owned()));
    }
    Ok(())
}
