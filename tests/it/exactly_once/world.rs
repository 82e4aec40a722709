//! A project with instances that can be killed, and a checker that trusts nothing but the broker.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, unique};
use crate::support::process::{kill, spawn_tied};

/// How long everything may take to come to rest after the faults.
const REST_WITHIN: Duration = Duration::from_secs(120);
/// Partitions of the source.
pub const PARTITIONS: i32 = 6;

/// A project on a broker.
pub struct World<'a> {
    /// The broker.
    pub broker: &'a TestBroker,
    /// The source topic.
    pub source: String,
    directory: TempDir,
    prefix: String,
    group: String,
}

/// What is wrong with what was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Expected keys that are not there.
    pub missing: Vec<String>,
    /// Keys that are there more than once.
    pub repeated: Vec<String>,
    /// Keys that nobody expects.
    pub unexpected: Vec<String>,
}

impl<'a> World<'a> {
    /// A project with these workflows, applied, and its topics.
    pub fn new(broker: &'a TestBroker, workflows: &[String]) -> World<'a> {
        let prefix = format!("{}.", unique("world"));
        let source = broker.topic("events", PARTITIONS);
        let world = World { broker, source, directory: tempfile::tempdir().unwrap(), group: unique("group"), prefix };
        let folder = world.directory.path().join("workflows");
        std::fs::create_dir(&folder).unwrap();
        for (number, text) in workflows.iter().enumerate() {
            std::fs::write(folder.join(format!("{number}.yaml")), text).unwrap();
        }
        world.command("setup", &["topics", "create"]);
        world.command("setup", &["apply", folder.to_str().unwrap()]);
        world
    }

    fn settings(&self, instance: &str) -> std::path::PathBuf {
        let path = self.directory.path().join(format!("{instance}.toml"));
        let text = format!(
            "environment = \"{}\"\ntopic_prefix = \"{}\"\ninstance = \"{instance}\"\ngroup = \"{}\"\nadmin = \"127.0.0.1:0\"\nlanes = 1\n\
             [kafka]\n\"bootstrap.servers\" = \"{}\"\n[[sources]]\ntopic = \"{}\"\nformat = \"cloudevents\"\nstart = \"earliest\"\n",
            // Whoever applies to one environment fences others who do; tests run side by side.
            self.group,
            self.prefix,
            self.group,
            self.broker.bootstrap(),
            self.source
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn binary(&self, instance: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).arg("--config").arg(self.settings(instance)).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn command(&self, instance: &str, arguments: &[&str]) {
        let output = self.binary(instance, arguments).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts an instance.
    pub fn instance(&self, name: &str) -> Instance {
        self.instance_with(name, &[])
    }

    /// Starts an instance with settings from the environment over those of its file.
    pub fn instance_with(&self, name: &str, variables: &[(&str, &str)]) -> Instance {
        let log = std::fs::File::create(self.log_path(name)).unwrap();
        let mut command = self.binary(name, &["run"]);
        command.envs(variables.iter().copied()).stderr(log);
        Instance(spawn_tied(command).unwrap())
    }

    /// What the instance that was started last under a name has logged so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    fn log_path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    /// The name of a system topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// How many executions are recorded so far.
    pub fn recorded(&self) -> usize {
        self.broker.committed(&self.topic("executions")).len()
    }

    /// Waits until so many records are on a topic for a `read_committed` reader.
    pub fn wait_for(&self, topic: &str, count: usize) {
        let deadline = Instant::now() + REST_WITHIN;
        loop {
            let found = self.broker.committed(topic).len();
            if found >= count {
                return;
            }
            assert!(Instant::now() < deadline, "{found} of {count} records on {topic} after {REST_WITHIN:?}");
            std::thread::park_timeout(Duration::from_millis(300));
        }
    }

    /// Compares a topic with what must be on it, by a name for each record.
    pub fn check(&self, topic: &str, expected: &[String], name: impl Fn(&OwnedMessage) -> String) -> Verdict {
        let found: Vec<String> = self.broker.committed(topic).iter().map(name).collect();
        verdict(&found, expected)
    }
}

/// What is missing, repeated or unexpected.
pub fn verdict(found: &[String], expected: &[String]) -> Verdict {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for name in found {
        *counts.entry(name).or_default() += 1;
    }
    let mut verdict = Verdict::default();
    for name in expected {
        match counts.remove(name.as_str()) {
            None => verdict.missing.push(name.clone()),
            Some(1) => {}
            Some(_) => verdict.repeated.push(name.clone()),
        }
    }
    verdict.unexpected.extend(counts.into_keys().map(str::to_owned));
    verdict
}

/// A child process of the binary.
pub struct Instance(Child);

impl Instance {
    /// The process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        kill(&mut self.0);
    }

    /// Whether the process is still the one that was started.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Sends a signal by number.
    pub fn signal(&self, number: i32) {
        // SAFETY: the child is ours and was not waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, number) }, 0);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

/// Sends events in binary mode: `kind` of each, its number as id and key. None is a record that is no event.
pub fn send_events(
    producer: &BaseProducer,
    topic: &str,
    numbers: std::ops::Range<usize>,
    kind: impl Fn(usize) -> Option<&'static str>,
) {
    for number in numbers {
        let id = number.to_string();
        let headers = kind(number).map(|kind| {
            [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", "/test"), ("ce_type", kind)]
                .into_iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
        });
        let value = format!("{{\"n\":{number}}}");
        let mut record: BaseRecord<'_, str, str> =
            BaseRecord::to(topic).partition(number as i32 % PARTITIONS).key(id.as_str()).payload(value.as_str());
        record.headers = headers;
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(1));
            record = again;
        }
    }
    deliver(producer);
    assert_eq!(producer.in_flight_count(), 0);
}

/// The event's id and the workflow of an execution record.
pub fn execution_name(message: &OwnedMessage) -> String {
    let record: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
    format!(
        "{} {} {}",
        record["event"]["id"].as_str().unwrap(),
        record["workflowId"].as_str().unwrap(),
        record["status"].as_str().unwrap()
    )
}

/// The workflow's header and key of a record that a workflow produced.
pub fn produced_name(message: &OwnedMessage) -> String {
    let header = message.headers().and_then(|headers| headers.iter().find(|it| it.key == "workflow"));
    let workflow = header.and_then(|it| it.value).unwrap_or_default();
    format!("{} {}", String::from_utf8_lossy(message.key().unwrap_or_default()), String::from_utf8_lossy(workflow))
}
