//! The sources of the settings, as lanes need them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::schemas::SourceSchemas;
use crate::codec::avro::Schemas;
use crate::codec::event::{AvroFormat, Format};
use crate::codec::plain::{Locator, Places, Pointer};
use crate::engine::event::{Event, SourceRecord, Undecodable};
use crate::kafka::start::Start;
use crate::settings::{self, AvroSettings, PlaceSettings, Settings, SourceFormat, SourceSettings, TopicSelector};

/// Topics whose source is remembered; a pattern may find new ones for ever.
const TOPICS_KEPT: usize = 100_000;

/// Which topics are consumed, and how.
#[derive(Debug)]
pub struct SourceTable {
    sources: Vec<Source>,
    /// Whether a source has records that cannot be understood at any time.
    may_wait: bool,
    /// Topics that were seen, by the place of their source.
    seen: Mutex<HashMap<String, usize>>,
}

#[derive(Debug)]
struct Source {
    selector: TopicSelector,
    format: Format,
    start: Start,
    confirmed: Vec<String>,
}

impl SourceTable {
    /// The sources of the settings, which have checked them, and where the schemas of Avro records are found.
    pub fn new(settings: &Settings, schemas: &SourceSchemas) -> SourceTable {
        let sources = settings.sources.iter().enumerate();
        let sources = sources.map(|(number, settings)| source(settings, schemas.of(number))).collect();
        let may_wait = settings.sources.iter().any(|source| matches!(source.format, SourceFormat::Avro(_)));
        SourceTable { sources, may_wait, seen: Mutex::default() }
    }

    /// What to subscribe to: names, and patterns that start with `^`.
    pub fn topics(&self) -> Vec<String> {
        self.sources.iter().map(|source| source.selector.as_str().to_owned()).collect()
    }

    /// Understands a record as its source says.
    pub fn decode(&self, record: SourceRecord) -> Result<Event, (SourceRecord, Undecodable)> {
        match self.place(&record.origin.topic.name) {
            Some(place) => self.sources[place].format.decode(record),
            None => {
                let message = format!("no source is configured for the topic {}", record.origin.topic.name);
                Err((record, Undecodable { message }))
            }
        }
    }

    /// Whether a record can be understood now, or never will be; see [`Format::is_ready`].
    pub fn is_ready(&self, record: &SourceRecord, was_understood: bool) -> bool {
        let of = |place: usize| self.sources[place].format.is_ready(record, was_understood);
        // Most instances have no source of which this is ever false.
        !self.may_wait || self.place(&record.origin.topic.name).is_none_or(of)
    }

    /// The format of a topic, as settings and metrics name it.
    pub fn format_of(&self, topic: &str) -> &'static str {
        self.place(topic).map_or("unknown", |place| self.sources[place].format.name())
    }

    fn place(&self, topic: &str) -> Option<usize> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = seen.get(topic) {
            return Some(*place);
        }
        // A name counts before a pattern that also matches it.
        let named = |it: &Source| matches!(it.selector, TopicSelector::Name(_)) && it.selector.matches(topic);
        let place = self.sources.iter().position(named);
        let place = place.or_else(|| self.sources.iter().position(|it| it.selector.matches(topic)))?;
        if seen.len() < TOPICS_KEPT {
            seen.insert(topic.to_owned(), place);
        }
        Some(place)
    }
}

impl SourceTable {
    /// Whether the source of a topic confirms the start with this token.
    pub fn is_confirmed(&self, topic: &str, token: &str) -> bool {
        self.place(topic).is_some_and(|place| self.sources[place].confirmed.iter().any(|it| it == token))
    }

    /// The `start` of the source that a topic belongs to, and the other topics that the same pattern has found so far.
    pub fn start_of(&self, topic: &str) -> (Start, Vec<String>) {
        let Some(place) = self.place(topic) else { return (Start::Earliest, Vec::new()) };
        let source = &self.sources[place];
        let siblings = match source.selector {
            TopicSelector::Name(_) => Vec::new(),
            TopicSelector::Pattern { .. } => {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let of_pattern = seen.iter().filter(|(name, at)| **at == place && *name != topic);
                of_pattern.map(|(name, _)| name.clone()).collect()
            }
        };
        (source.start, siblings)
    }
}

fn source(settings: &SourceSettings, schemas: Arc<dyn Schemas>) -> Source {
    let format = match &settings.format {
        SourceFormat::CloudEvents => Format::CloudEvents,
        SourceFormat::Json(it) => Format::Json(places(it)),
        SourceFormat::Avro(AvroSettings { places: it, has_keys }) => {
            Format::Avro(AvroFormat { places: places(it), schemas, has_keys: *has_keys })
        }
    };
    let start = match settings.start {
        settings::Start::Latest => Start::Latest,
        settings::Start::Earliest => Start::Earliest,
    };
    Source { selector: settings.topic.clone(), format, start, confirmed: settings.confirm_start.clone() }
}

fn places(settings: &PlaceSettings) -> Places {
    let PlaceSettings { kind, id, data } = settings;
    Places { kind: locator(kind), id: id.as_ref().map(locator), data: pointer(data) }
}

fn locator(locator: &settings::Locator) -> Locator {
    match locator {
        settings::Locator::Pointer(text) => Locator::Pointer(pointer(text)),
        settings::Locator::Header(name) => Locator::Header(name.clone()),
        settings::Locator::Constant(text) => Locator::Const(Arc::from(text.as_str())),
        settings::Locator::SchemaName => Locator::SchemaName,
        settings::Locator::SchemaSubject => Locator::SchemaSubject,
    }
}

/// The settings have checked it; one that is none finds nothing, and every record says so.
fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap_or_else(|| Pointer::nowhere(text))
}
