//! A project whose settings a test chooses, its instances, and what they say of themselves.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::admin;
use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, unique};
use crate::support::process::{kill, spawn_tied};
use crate::support::wait;

/// How long anything may take. Topics are compared every 30 s, a killed member is missed after 15 s, and other tests want the cores too.
const WITHIN: Duration = Duration::from_secs(150);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A project on a broker.
pub struct Project<'a> {
    /// The broker.
    pub broker: &'a TestBroker,
    /// The consumer group.
    pub group: String,
    directory: TempDir,
    prefix: String,
}

/// A process of the binary.
pub struct Instance {
    child: Child,
    log: PathBuf,
}

impl<'a> Project<'a> {
    /// A project with its topics, and one workflow that every event matches and that ends at once.
    pub fn new(broker: &'a TestBroker) -> Project<'a> {
        let (group, prefix) = (unique("positions"), format!("{}.", unique("positions")));
        let project = Project { broker, group, directory: tempfile::tempdir().unwrap(), prefix };
        let file = project.directory.path().join("all.yaml");
        let workflow = "id: all\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: '*'\nsteps:\n  - id: shape\n    type: transform\n    config:\n      output: 1\n";
        std::fs::write(&file, workflow).unwrap();
        for arguments in [&["topics", "create"][..], &["apply", file.to_str().unwrap()]] {
            let output = project.command("", arguments);
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        project
    }

    /// Runs a command to its end, with more settings.
    pub fn command(&self, settings: &str, arguments: &[&str]) -> Output {
        self.binary("setup", settings, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// Starts an instance of this name with more settings, `[[sources]]` among them.
    pub fn instance(&self, name: &str, settings: &str) -> Instance {
        let log = self.directory.path().join(format!("{}.log", unique(name)));
        let mut command = self.binary(name, settings, &["run"]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        Instance { child: spawn_tied(command).unwrap(), log }
    }

    fn binary(&self, name: &str, settings: &str, arguments: &[&str]) -> Command {
        let path = self.directory.path().join(format!("{}.toml", unique(name)));
        let (group, prefix, bootstrap) = (&self.group, &self.prefix, self.broker.bootstrap());
        let lanes = if settings.starts_with("lanes") { "" } else { "lanes = 1\n" };
        let text = format!(
            "environment = \"{group}\"\ntopic_prefix = \"{prefix}\"\ninstance = \"{name}\"\ngroup = \"{group}\"\nadmin = \"127.0.0.1:0\"\n\
             {lanes}{settings}\n[kafka]\n\"bootstrap.servers\" = \"{bootstrap}\"\n"
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).arg("--config").arg(path).stdin(Stdio::null());
        command
    }

    /// The name of a system topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// How many executions of a source's events are recorded.
    pub fn executed(&self, source: &str) -> usize {
        let records = self.json(&self.topic("executions"));
        records.iter().filter(|record| record["event"]["topic"] == source).count()
    }

    /// Waits until so many events of a source were executed, and no more.
    #[track_caller]
    pub fn await_executed(&self, source: &str, count: usize) {
        let executed = until("events are executed", || Some(self.executed(source)).filter(|found| *found >= count));
        assert_eq!(executed, count, "executions of {source}");
    }

    /// All alerts, in order.
    pub fn alerts(&self) -> Vec<Value> {
        self.json(&self.topic("alerts"))
    }

    /// Waits for the newest alert about a subject to be of this name and state.
    #[track_caller]
    pub fn await_alert(&self, subject: &str, name: &str, state: &str) -> Value {
        until(&format!("{subject} {name} {state}"), || {
            let newest = self.alerts().into_iter().rev().find(|alert| alert["subject"] == subject)?;
            (newest["alert"] == name && newest["state"] == state).then_some(newest)
        })
    }

    fn json(&self, topic: &str) -> Vec<Value> {
        let records = self.broker.committed(topic);
        records.iter().map(|record| serde_json::from_slice(record.payload().unwrap()).unwrap()).collect()
    }

    /// Sends events of this timestamp to the partitions in turn.
    pub fn send(&self, topic: &str, partitions: i32, count: i32, timestamp_ms: Option<i64>) {
        let producer = self.broker.producer(&[]);
        for number in 0..count {
            let headers = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/test"), ("ce_type", "a.x")];
            let headers = headers
                .into_iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let mut record: BaseRecord<'_, str, str> =
                BaseRecord::to(topic).partition(number % partitions).payload("{}").headers(headers);
            record.timestamp = timestamp_ms;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        deliver(&producer);
    }
}

impl Instance {
    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) {
        kill(&mut self.child);
    }

    /// What `/readyz` or `/metrics` says; empty while the instance does not listen.
    pub fn get(&self, path: &str) -> String {
        admin::get(&self.log(), path)
    }

    /// Waits until `/readyz` lists a problem of this kind about a subject; returns its message.
    #[track_caller]
    pub fn await_problem(&self, kind: &str, subject: &str) -> String {
        until(&format!("{kind} of {subject}: {}", self.get("/readyz")), || {
            let ready: Value = serde_json::from_str(&self.get("/readyz")).ok()?;
            let problem =
                ready["problems"].as_array()?.iter().find(|it| it["kind"] == kind && it["subject"] == subject)?;
            problem["message"].as_str().map(str::to_owned)
        })
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A field of a log line, wherever the log puts its fields.
/// Looks until there is a value.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait::within(WITHIN, PAUSE, || what, look)
}

/// The token that a message asks for.
pub fn token(message: &str) -> String {
    let (_, rest) = message.split_once("confirm_start = \"").unwrap_or_else(|| panic!("no token in: {message}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}
