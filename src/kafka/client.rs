//! Settings of the clients: what users may set, what we require, and why.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// The `[kafka]` keys of the settings, which every client gets, and what each kind of client gets on top.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    user: BTreeMap<String, String>,
}

/// A client that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Kafka client cannot be made: {message}; see [kafka] in the settings")]
pub struct ClientError {
    /// Why, in librdkafka's words.
    pub message: String,
}

impl From<KafkaError> for ClientError {
    fn from(error: KafkaError) -> ClientError {
        ClientError { message: error.to_string() }
    }
}

/// A `[kafka]` key that cannot be what it was set to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {message}")]
pub struct SettingError {
    /// The key.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Keys that decide whether records are exactly-once, with the reason why nobody may set them.
const REQUIRED: &[(&str, &str)] = &[
    ("group.id", "is `group` in the settings"),
    ("group.instance.id", "is made of `instance` and the lane"),
    ("transactional.id", "is made of the group, `instance` and the lane"),
    ("enable.auto.commit", "must be false: offsets are part of transactions"),
    ("enable.auto.offset.store", "must be false: offsets are part of transactions"),
    ("isolation.level", "must be read_committed: else offsets of open transactions would be read"),
    ("auto.offset.reset", "must be error: `start` of the source decides, and lost data must be noticed"),
    ("enable.idempotence", "must be true: transactions need it"),
    ("acks", "must be all: transactions need it"),
    ("delivery.report.only.error", "must be true: the committer counts on it"),
    ("enable.partition.eof", "must be false: nobody reads the ends of partitions"),
];

/// How long a transaction may be open, milliseconds: readers of what it touched wait so long for a killed lane.
const TRANSACTION_TIMEOUT_MS: u64 = 10_000;
/// How long records of a transaction wait for others to go with them, milliseconds: half of what a batch may last under load, so that
/// the broker has work before the commit.
const TRANSACTION_LINGER_MS: u64 = 50;
/// How long a member may be silent, milliseconds: so long do a killed instance's partitions wait.
const SESSION_TIMEOUT_MS: u64 = 15_000;

/// How members of a group share partitions out, if nothing else is set.
const COOPERATIVE: &str = "cooperative-sticky";

impl ClientSettings {
    /// Checks the keys of `[kafka]`, all of them.
    pub fn new(user: BTreeMap<String, String>) -> Result<ClientSettings, Vec<SettingError>> {
        let mut errors: Vec<SettingError> = REQUIRED
            .iter()
            .filter(|(key, _)| user.contains_key(*key))
            .map(|(key, reason)| SettingError { key: (*key).into(), message: format!("may not be set: it {reason}") })
            .collect();
        if user.get("bootstrap.servers").is_none_or(|it| it.trim().is_empty()) {
            let message = "is missing; name at least one broker as HOST:PORT".into();
            errors.push(SettingError { key: "bootstrap.servers".into(), message });
        }
        let settings = ClientSettings { user };
        errors.extend(settings.relations());
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }

    /// Time-outs that must be in order: a transaction must end before its member is put out, and that before its poll is late.
    fn relations(&self) -> Vec<SettingError> {
        let number = |key: &str, default: u64| self.user.get(key).map_or(Ok(default), |it| it.parse::<u64>());
        let mut errors = Vec::new();
        let mut read = |key: &str, default: u64| {
            number(key, default).unwrap_or_else(|_| {
                let message = format!("must be a whole number of milliseconds, such as {default}");
                errors.push(SettingError { key: key.into(), message });
                default
            })
        };
        let transaction = read("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
        let session = read("session.timeout.ms", SESSION_TIMEOUT_MS);
        let poll = read("max.poll.interval.ms", 300_000);
        if transaction >= session {
            let message = format!("is {transaction}, but must be below `session.timeout.ms`, which is {session}");
            errors.push(SettingError { key: "transaction.timeout.ms".into(), message });
        }
        if session > poll {
            let message = format!("is {session}, but must not be above `max.poll.interval.ms`, which is {poll}");
            errors.push(SettingError { key: "session.timeout.ms".into(), message });
        }
        errors
    }

    /// How long a transaction may be open, milliseconds.
    pub fn transaction_timeout_ms(&self) -> u64 {
        let set = self.user.get("transaction.timeout.ms").and_then(|it| it.parse().ok());
        set.unwrap_or(TRANSACTION_TIMEOUT_MS)
    }

    /// Whether the clients have a name of the user's.
    pub fn names_clients(&self) -> bool {
        self.user.contains_key("client.id")
    }

    /// The brokers to start from.
    pub fn bootstrap_servers(&self) -> &str {
        self.user.get("bootstrap.servers").map_or("", String::as_str)
    }

    /// A client that belongs to no group and writes nothing: metadata, admin.
    pub fn plain(&self) -> ClientConfig {
        self.with(&[("socket.timeout.ms", "5000")], &["group.protocol"])
    }

    /// A consumer that is assigned its partitions by hand and reads what is committed.
    pub fn reader(&self) -> ClientConfig {
        // A group id is needed for assigning, but nothing is ever committed under it.
        self.with(
            &[
                ("socket.timeout.ms", "5000"),
                ("group.id", "tidegate-reader"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("isolation.level", "read_committed"),
                ("auto.offset.reset", "earliest"),
                ("fetch.wait.max.ms", "100"),
                ("fetch.queue.backoff.ms", "5"),
                ("queued.max.messages.kbytes", "16384"),
            ],
            &["group.protocol", "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"],
        )
    }

    /// Whether members of groups assign partitions among themselves; else the coordinator does (KIP-848).
    fn members_assign(&self) -> bool {
        self.user.get("group.protocol").is_none_or(|it| it != "consumer")
    }

    /// Whether members of groups assign partitions among themselves, and keep what they hold while they do (KIP-429).
    pub fn members_share(&self) -> bool {
        self.members_assign() && self.user.get("partition.assignment.strategy").is_none_or(|it| it == COOPERATIVE)
    }

    /// A member of a group. `instance` is its static identity in it, and its name at the broker if the user gives it no other.
    pub fn group_consumer(&self, group: &str, instance: Option<&str>) -> ClientConfig {
        let mut config = self.with(
            &[
                ("socket.timeout.ms", "5000"),
                ("max.poll.interval.ms", "300000"),
                // 500 ms let a rebalance be known in time for a hand-over within a second.
                ("fetch.wait.max.ms", "100"),
                // The default of a second makes a full queue stand still for that long.
                ("fetch.queue.backoff.ms", "5"),
                ("retry.backoff.ms", "5"),
                // Bounds what is fetched ahead: so much in the queue, and as much in the answer that is on its way into it, because
                // librdkafka takes it for the limit of an answer too where `fetch.max.bytes` is not set.
                ("queued.max.messages.kbytes", "16384"),
                ("topic.metadata.refresh.interval.ms", "30000"),
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("isolation.level", "read_committed"),
                ("auto.offset.reset", "error"),
            ],
            &[],
        );
        if let Some(instance) = instance {
            config.set("group.instance.id", instance);
            if !self.names_clients() {
                config.set("client.id", instance);
            }
        }
        if self.members_assign() {
            for (key, value) in [
                ("partition.assignment.strategy", COOPERATIVE),
                ("heartbeat.interval.ms", "500"),
                ("session.timeout.ms", &SESSION_TIMEOUT_MS.to_string()),
            ] {
                if !self.user.contains_key(key) {
                    config.set(key, value);
                }
            }
        }
        config
    }

    /// A lane's producer.
    pub fn transactional_producer(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.producer();
        config.set("transactional.id", transactional_id);
        let defaults = [
            ("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS),
            // Nobody waits for it, because a commit flushes first; and a request for few records costs as much as one for many.
            ("linger.ms", TRANSACTION_LINGER_MS),
        ];
        for (key, value) in defaults.iter().filter(|(key, _)| !self.user.contains_key(*key)) {
            config.set(*key, value.to_string());
        }
        config
    }

    /// A producer without transactions, for events that are sent by hand.
    pub fn producer(&self) -> ClientConfig {
        let message_timeout = self.transaction_timeout_ms().saturating_sub(1_000).max(1_000).to_string();
        self.with(
            &[
                ("socket.timeout.ms", "5000"),
                ("linger.ms", "2"),
                ("retry.backoff.ms", "5"),
                // A topic that does not exist is known to be missing after a second, not after thirty.
                ("topic.metadata.propagation.max.ms", "1000"),
                ("message.timeout.ms", &message_timeout),
                // The broker's limit of the topic decides, not the client's.
                ("message.max.bytes", "100000000"),
                ("queue.buffering.max.messages", "1000000"),
                ("queue.buffering.max.kbytes", "262144"),
                ("partitioner", "murmur2_random"),
                ("enable.idempotence", "true"),
                ("delivery.report.only.error", "true"),
            ],
            &["group.protocol", "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"],
        )
    }

    /// The user's keys over our defaults, without those that this kind of client does not know.
    fn with(&self, defaults: &[(&str, &str)], without: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in self.user.iter().filter(|(key, _)| !without.contains(&key.as_str())) {
            config.set(key, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keys: &[(&str, &str)], expected: &[&str]) {
        let user = keys.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let errors = ClientSettings::new(user).err().unwrap_or_default();
        let wrong: Vec<&str> = errors.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(wrong, expected, "{errors:?}");
    }

    #[test]
    fn what_decides_about_exactly_once_may_not_be_set() {
        check(&[("bootstrap.servers", "a:1")], &[]);
        check(&[], &["bootstrap.servers"]);
        check(&[("bootstrap.servers", "a:1"), ("isolation.level", "read_uncommitted")], &["isolation.level"]);
        check(&[("bootstrap.servers", "a:1"), ("acks", "1"), ("group.id", "x")], &["group.id", "acks"]);
    }

    #[test]
    fn time_outs_must_be_in_order() {
        let broker = ("bootstrap.servers", "a:1");
        check(&[broker, ("transaction.timeout.ms", "15000")], &["transaction.timeout.ms"]);
        check(&[broker, ("session.timeout.ms", "9000")], &["transaction.timeout.ms"]);
        check(&[broker, ("session.timeout.ms", "400000")], &["session.timeout.ms"]);
        check(&[broker, ("session.timeout.ms", "soon")], &["session.timeout.ms"]);
        check(&[broker, ("transaction.timeout.ms", "20000"), ("session.timeout.ms", "30000")], &[]);
    }
}
