//! `[kafka]`: librdkafka's own settings, for every client. Only what Tidegate must decide itself is refused here; relations between
//! time-outs are checked where clients are made, which has the defaults of the library at hand and reports them by `Settings` places.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::document::{Section, Text};
use super::mistake::{Mistake, Place, shown};
use super::secret::Secret;

/// Settings of every Kafka client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `HOST:PORT,…` of the brokers to ask first. Required. Also among the properties.
    pub bootstrap_servers: String,
    /// All librdkafka properties as given. Any of them can be a secret, so none is printed.
    pub properties: BTreeMap<String, Secret>,
    places: BTreeMap<String, Place>,
}

impl KafkaSettings {
    /// Settings of a broker that needs nothing but its address.
    pub fn plain(bootstrap_servers: &str) -> KafkaSettings {
        let properties = BTreeMap::from([(BOOTSTRAP_SERVERS.to_owned(), Secret::new(bootstrap_servers))]);
        KafkaSettings { bootstrap_servers: bootstrap_servers.to_owned(), properties, places: BTreeMap::new() }
    }

    /// A mistake about a property, at the place where it was written; for checks that come after the settings are read.
    pub fn mistake(&self, property: &str, what: impl Into<String>, remedy: impl Into<String>) -> Mistake {
        let unwritten = || Place::CommandLine(format!("[kafka] \"{property}\""));
        let place = self.places.get(property).cloned().unwrap_or_else(unwritten);
        Mistake { place, what: what.into(), remedy: remedy.into() }
    }
}

const BOOTSTRAP_SERVERS: &str = "bootstrap.servers";
const VARIABLE_PREFIX: &str = "TIDEGATE_KAFKA__";
/// librdkafka has fewer than this many properties.
const PROPERTIES: usize = 300;

/// What exactly-once, group membership and this product's own settings rest on, and what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("group.id", "write `group` at the top of the file"),
    ("group.instance.id", "write `instance` at the top of the file"),
    ("group.protocol", "write `group_protocol` at the top of the file"),
    ("group.remote.assignor", "remove it; the assignment must be cooperative and sticky"),
    ("partition.assignment.strategy", "remove it; the assignment must be cooperative and sticky"),
    ("transactional.id", "write `instance` at the top of the file"),
    ("enable.idempotence", "remove it; producers are always idempotent"),
    ("acks", "remove it; every write is acknowledged by all in-sync replicas"),
    ("request.required.acks", "remove it; every write is acknowledged by all in-sync replicas"),
    ("isolation.level", "remove it; only committed records are read"),
    ("enable.auto.commit", "remove it; offsets are committed in transactions"),
    ("enable.auto.offset.store", "remove it; offsets are committed in transactions"),
    ("auto.offset.reset", "write `start` in [[sources]]"),
    ("allow.auto.create.topics", "remove it; create topics with `tidegate topics create`"),
    ("metadata.broker.list", "write \"bootstrap.servers\""),
    ("plugin.library.paths", "remove it; plugins are not loaded"),
];

pub(super) fn read_kafka(
    root: &mut Section<'_, '_>,
    variables: &BTreeMap<String, Result<String, OsString>>,
) -> Option<KafkaSettings> {
    let section = root.section("kafka");
    let place = section.as_ref().map_or_else(|| root.place(), Section::place);
    let mut texts: BTreeMap<String, Text> = section.map(Section::scalars).unwrap_or_default().into_iter().collect();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(VARIABLE_PREFIX).filter(|key| !key.is_empty()) else { continue };
        let place = Place::Variable(name.clone());
        match value {
            Ok(value) if value.is_empty() => {}
            Ok(value) => drop(texts.insert(property_of(key), Text::outside(value, place))),
            Err(_) => root.mistake(place, "the value is not UTF-8", "write it in UTF-8"),
        }
    }
    if texts.len() > PROPERTIES {
        root.mistake(place, format!("there are {} properties", texts.len()), format!("write at most {PROPERTIES}"));
        return None;
    }
    check_properties(root, &texts);
    let Some(bootstrap) = texts.get(BOOTSTRAP_SERVERS) else {
        let remedy =
            "write \"bootstrap.servers\" = \"HOST:9092\" under [kafka], or set TIDEGATE_KAFKA__BOOTSTRAP_SERVERS";
        root.mistake(place, "`bootstrap.servers` is missing", remedy);
        return None;
    };
    let bootstrap_servers = bootstrap.value.clone();
    let places = texts.iter().map(|(key, text)| (key.clone(), text.place.clone())).collect();
    let properties = texts.into_iter().map(|(key, text)| (key, Secret::new(text.value))).collect();
    Some(KafkaSettings { bootstrap_servers, properties, places })
}

fn check_properties(root: &Section<'_, '_>, texts: &BTreeMap<String, Text>) {
    for (key, text) in texts {
        if let Some((_, remedy)) = OWNED.iter().find(|(owned, _)| owned == key) {
            root.mistake(text.place.clone(), format!("`{key}` is decided by Tidegate"), *remedy);
        }
        if text.value.contains('\0') {
            root.mistake(text.place.clone(), format!("`{}` has a NUL character", shown(key)), "remove it");
        }
    }
    let bootstrap = texts.get(BOOTSTRAP_SERVERS).filter(|text| text.resolved);
    if let Some(text) = bootstrap.filter(|text| !is_broker_list(&text.value)) {
        let what = format!("`{BOOTSTRAP_SERVERS}` is {}", text.shown());
        root.mistake(text.place.clone(), what, "write HOST:PORT, several separated by commas");
    }
}

/// `BOOTSTRAP_SERVERS` is `bootstrap.servers`.
fn property_of(variable: &str) -> String {
    variable.to_ascii_lowercase().replace("__", ".").replace('_', ".")
}

fn is_broker_list(text: &str) -> bool {
    text.split(',').map(str::trim).all(|broker| {
        // librdkafka takes `PLAINTEXT://HOST:PORT` too, and 9092 where there is no port.
        let address = broker.split_once("://").map_or(broker, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (address, None),
        };
        let host_is_sound = !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || letter == '/');
        host_is_sound && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    })
}
