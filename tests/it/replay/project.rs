//! A project whose executions fail at their third step of four, and what the tool says of them.

use std::collections::HashMap;

use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use serde_json::Value;

use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::broker::TestBroker;
use crate::support::ledger::{Entry, Ledger, Reply};

/// The workflow; `{path}` is where its third step calls.
pub fn workflow(version: &str, path: &str, out: &str) -> String {
    format!(
        "id: pays\nversion: {version}\nstatus: active\ntriggers:\n  - event: a.x\nconfig:\n  retryPolicy: {{ maxRetries: 1, baseDelayMs: 10 }}\n\
         steps:\n  - id: shape\n    type: transform\n    config: {{ output: {{ n: \"${{{{ event.data.n }}}}\", at: \"${{{{ timestamp('2026-01-01T00:00:00Z') }}}}\" }} }}\n\
         \x20 - id: charge\n    type: http\n    dependencies: [shape]\n    config: {{ connector: target, method: POST, path: /charges, body: \"${{{{ steps.shape.output }}}}\" }}\n\
         \x20 - id: notify\n    type: http\n    dependencies: [charge]\n    config: {{ connector: target, method: POST, path: {path}, body: \"${{{{ steps.shape.output }}}}\" }}\n\
         \x20 - id: ship\n    type: produce\n    dependencies: [notify]\n    config: {{ topic: {out}, key: \"${{{{ event.key }}}}\", value: \"${{{{ steps.shape.output.at.getFullYear() }}}}\" }}\n"
    )
}

/// The project.
pub struct Failing<'a> {
    pub world: World<'a>,
    /// What is called: charges work, notes are answered as the test says.
    pub ledger: Ledger,
    pub out: String,
}

impl<'a> Failing<'a> {
    /// A project of whose events so many have failed at their third step, with an instance that has run them and goes on.
    pub fn new(broker: &'a TestBroker, events: usize) -> (Failing<'a>, crate::exactly_once::world::Instance) {
        Failing::with(broker, events, "")
    }

    /// The same, with more settings: whole sections.
    pub fn with(
        broker: &'a TestBroker,
        events: usize,
        more: &str,
    ) -> (Failing<'a>, crate::exactly_once::world::Instance) {
        let ledger = Ledger::start(notes(404));
        let out = broker.topic("out", 6);
        let settings = format!(
            "[connectors.target]\nkind = \"http\"\nurl = \"{}\"\nbreaker = {{ failureThreshold = 10000 }}\n{more}",
            ledger.url()
        );
        let world = World::with(broker, &[workflow("1.0.0", "/notes", &out)], &settings);
        let instance = world.instance("alone");
        send_events(&broker.producer(&[]), &world.source, 0..events, |_| Some("a.x"));
        let failing = Failing { world, ledger, out };
        failing.world.wait_for(&failing.world.topic("dead-letters"), events);
        failing.world.wait_for(&failing.world.topic("executions"), 2 * events);
        (failing, instance)
    }

    /// Notes are answered so from now on.
    pub fn notes(&self, status: u16) {
        self.ledger.behave(notes(status));
    }

    /// What a command says as JSON, and how it ended.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.world.output("operator", &[arguments, &["-o", "json"]].concat());
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().unwrap_or(-1);
        (serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?} exits with {code}: {said}{why}")), code)
    }

    /// Makes a plan with these arguments; returns where it is.
    #[track_caller]
    pub fn plan(&self, arguments: &[&str]) -> String {
        let path = self.world.path("plan.yaml").to_str().unwrap().to_owned();
        self.ask(&[&["replay", "plan", "--out", &path], arguments].concat());
        path
    }

    /// The dead letters that are not resolved.
    pub fn letters(&self) -> Vec<OwnedMessage> {
        unresolved(&self.world)
    }

    /// Calls of one path by their key.
    pub fn calls(&self, path: &str) -> HashMap<String, Vec<Entry>> {
        let mut calls: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in self.ledger.entries().into_iter().filter(|entry| entry.path == path) {
            calls.entry(entry.key.clone()).or_default().push(entry);
        }
        calls
    }

    /// Waits until the execution of every event has ended in so many runs, each said once, and the last one so.
    #[track_caller]
    pub fn assert_ended(&self, events: usize, runs: u64, status: &str) {
        let executions = self.world.topic("executions");
        self.world.wait_for(&executions, 2 * events * runs as usize);
        let records = self.world.broker.committed(&executions);
        assert_eq!(records.len(), 2 * events * runs as usize);
        let mut said: HashMap<(String, u64), Vec<String>> = HashMap::new();
        for record in records {
            let told: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            let key = (told["id"].as_str().unwrap().to_owned(), told["run"].as_u64().unwrap());
            said.entry(key).or_default().push(told["status"].as_str().unwrap().to_owned());
        }
        for ((id, run), said) in said {
            assert_eq!(said, ["running", if run == runs { status } else { "failed" }], "run {run} of {id}");
        }
    }
}

fn notes(status: u16) -> impl FnMut(&Entry, usize) -> Reply + Send {
    move |entry, _| Reply::now(if entry.path == "/charges" { 200 } else { status })
}

/// The dead letters of a project that are not resolved.
pub fn unresolved(world: &World<'_>) -> Vec<OwnedMessage> {
    let mut last: HashMap<Vec<u8>, OwnedMessage> = HashMap::new();
    for record in world.broker.committed(&world.topic("dead-letters")) {
        last.insert(record.key().unwrap().to_vec(), record);
    }
    last.into_values().filter(|record| record.payload().is_some()).collect()
}

/// A header of a dead letter.
pub fn header(letter: &OwnedMessage, name: &str) -> String {
    let name = format!("tidegate-dlq-{name}");
    let found = letter.headers().and_then(|headers| headers.iter().find(|it| it.key == name));
    String::from_utf8_lossy(found.and_then(|it| it.value).unwrap_or_default()).into_owned()
}
