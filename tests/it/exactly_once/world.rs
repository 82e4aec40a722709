//! A project with instances that can be killed, and a checker that trusts nothing but the broker.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rdkafka::message::OwnedMessage;
use tempfile::TempDir;

use super::frontier::{Frontier, Recorded};
use super::verdict::Verdict;
use crate::support::admin;
use crate::support::broker::TestBroker;
use crate::support::clients::unique;
use crate::support::process::{kill, spawn_tied};
use crate::support::wait;

/// How long everything may take to come to rest after the faults.
const REST_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at a whole topic.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How much of each log is told when a test fails.
const LOG_LINES_TOLD: usize = 40;
/// Partitions of the source.
pub const PARTITIONS: i32 = 6;

/// A project on a broker.
pub struct World<'a> {
    /// The broker.
    pub broker: &'a TestBroker,
    /// The source topic.
    pub source: String,
    /// The consumer group.
    pub group: String,
    directory: TempDir,
    prefix: String,
    /// What the settings hold beside what every project has.
    settings: String,
    /// How the source's records are understood.
    pub format: String,
}

impl<'a> World<'a> {
    /// A project with these workflows, applied, and its topics.
    pub fn new(broker: &'a TestBroker, workflows: &[String]) -> World<'a> {
        World::with(broker, workflows, "")
    }

    /// The same, with more settings: whole sections.
    pub fn with(broker: &'a TestBroker, workflows: &[String], settings: &str) -> World<'a> {
        let prefix = format!("{}.", unique("world"));
        let source = broker.topic("events", PARTITIONS);
        let world = World {
            broker,
            source,
            directory: tempfile::tempdir().unwrap(),
            group: unique("group"),
            prefix,
            settings: settings.to_owned(),
            format: "format = \"cloudevents\"".into(),
        };
        let folder = world.directory.path().join("workflows");
        fs::create_dir(&folder).unwrap();
        for (number, text) in workflows.iter().enumerate() {
            fs::write(folder.join(format!("{number}.yaml")), text).unwrap();
        }
        world.command("setup", &["topics", "create"]);
        world.command("setup", &["apply", folder.to_str().unwrap()]);
        world
    }

    fn settings(&self, instance: &str) -> PathBuf {
        let path = self.directory.path().join(format!("{instance}.toml"));
        let text = format!(
            "environment = \"{}\"\ntopic_prefix = \"{}\"\ninstance = \"{instance}\"\ngroup = \"{}\"\nadmin = \"127.0.0.1:0\"\nlanes = 1\n\
             [kafka]\n\"bootstrap.servers\" = \"{}\"\n[[sources]]\ntopic = \"{}\"\n{}\nstart = \"earliest\"\n{}",
            // Whoever applies to one environment fences others who do; tests run side by side.
            self.group,
            self.prefix,
            self.group,
            self.broker.bootstrap(),
            self.source,
            self.format,
            self.settings
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn binary(&self, instance: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        // For settings that say which instance they are of.
        command.env("WHO", instance);
        command.args(arguments).arg("--config").arg(self.settings(instance)).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a command on the project, which must succeed.
    #[track_caller]
    pub fn command(&self, instance: &str, arguments: &[&str]) {
        let output = self.binary(instance, arguments).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a command on the project to its end, whatever that is.
    pub fn output(&self, instance: &str, arguments: &[&str]) -> Output {
        self.binary(instance, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// Starts a command on the project.
    pub fn start(&self, instance: &str, arguments: &[&str]) -> Instance {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(instance)).unwrap();
        let mut command = self.binary(instance, arguments);
        command.stderr(log);
        Instance(spawn_tied(command).unwrap())
    }

    /// Applies a definition.
    #[track_caller]
    pub fn apply(&self, workflow: &str) {
        let path = self.path("applied.yaml");
        fs::write(&path, workflow).unwrap();
        self.command("setup", &["apply", path.to_str().unwrap()]);
    }

    /// A place in the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts an instance. It writes on in the log of its name.
    pub fn instance(&self, name: &str) -> Instance {
        self.instance_with(name, &[])
    }

    /// Starts an instance with settings from the environment over those of its file.
    pub fn instance_with(&self, name: &str, variables: &[(&str, &str)]) -> Instance {
        self.instance_as(name, |command| {
            command.envs(variables.iter().copied());
        })
    }

    /// Starts an instance as a process that is prepared.
    pub fn instance_as(&self, name: &str, prepare: impl FnOnce(&mut Command)) -> Instance {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(name)).unwrap();
        let mut command = self.binary(name, &["run"]);
        prepare(command.stderr(log));
        Instance(spawn_tied(command).unwrap())
    }

    /// What the instances of a name have logged so far.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    /// What an instance's `/metrics` says.
    pub fn metrics(&self, name: &str) -> String {
        admin::get(&self.log(name), "/metrics")
    }

    fn log_path(&self, instance: &str) -> PathBuf {
        self.directory.path().join(format!("{instance}.log"))
    }

    /// Lines of an instance's log, of all its lives, that contain a text.
    pub fn log_lines_with(&self, instance: &str, text: &str) -> usize {
        fs::read_to_string(self.log_path(instance)).unwrap().lines().filter(|line| line.contains(text)).count()
    }

    /// The name of a system topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Where the group is now.
    #[track_caller]
    pub fn frontier(&self) -> Frontier {
        Frontier::of(self.broker, &self.group, (&self.source, PARTITIONS), &self.topic("executions"))
    }

    /// Waits until more than so many events are wholly done.
    #[track_caller]
    pub fn wait_for_more_than(&self, events: usize) {
        wait::until("the group gets on", || (self.frontier().events() > events).then_some(()));
    }

    /// Checks of each frontier that whatever the group said was done had been recorded by then, and that none went back. Every event
    /// matches the same workflows.
    #[track_caller]
    pub fn assert_no_gaps(&self, frontiers: &[Frontier], matching: &[String]) {
        let recorded = Recorded::of(&self.broker.committed(&self.topic("executions")));
        assert!(frontiers.iter().any(|it| it.events() > 0 || it.is_inside_an_event()), "nothing was done at any kill");
        for (number, frontier) in frontiers.iter().enumerate() {
            let gaps = frontier.gaps(&recorded, matching);
            assert!(gaps.is_empty(), "{} gaps, at {:?} …, behind frontier {number}: {frontier:?}", gaps.len(), gaps[0]);
        }
        for pair in frontiers.windows(2) {
            assert_eq!(pair[0].went_back(&pair[1]), [0; 0], "{:?} is behind {:?}", pair[1], pair[0]);
        }
    }

    /// Waits until so many records are on a topic for a `read_committed` reader.
    #[track_caller]
    pub fn wait_for(&self, topic: &str, count: usize) {
        let found = || self.broker.committed(topic).len();
        let what = || format!("{} of {count} records on {topic}: {:?}", found(), self.frontier());
        wait::within(REST_WITHIN, LOOK_EVERY, what, || (found() >= count).then_some(()));
    }

    /// Compares a topic with what must be on it, by a name for each record.
    pub fn check(&self, topic: &str, expected: &[String], name: impl Fn(&OwnedMessage) -> String) -> Verdict {
        let found: Vec<String> = self.broker.committed(topic).iter().map(name).collect();
        Verdict::of(&found, expected)
    }
}

impl Drop for World<'_> {
    /// The logs go with the directory, so a test that fails tells how they end.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Ok(entries) = fs::read_dir(self.directory.path()) else { return };
        for path in entries.flatten().map(|it| it.path()).filter(|it| it.extension().is_some_and(|it| it == "log")) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES_TOLD)..].join("\n");
            println!("the end of {}:\n{last}", path.display());
        }
    }
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
