//! A project of a user, and the binary run on it as a user runs it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;
use tidegate::kafka::admin::Admin;
use tidegate::kafka::client::ClientSettings;

use crate::support::broker::TestBroker;
use crate::support::wait;

/// The longest that a command may take; far more than any needs, and less than a hang.
const WITHIN: Duration = Duration::from_secs(90);

/// A copy of the example project in a folder of its own.
pub struct Project {
    directory: TempDir,
    /// What its topics start with.
    pub prefix: String,
}

/// What a command left.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

/// A command that runs until it is dropped.
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Project {
    /// A project whose broker cannot be reached.
    pub fn offline() -> Project {
        // Port 1 is reserved, and nobody has used it for decades.
        Project::new("127.0.0.1:1")
    }

    /// A project with the broker that tests share, or the one that TIDEGATE_TEST_BOOTSTRAP names; its topics have names of their own.
    /// None if this machine cannot have the broker that was chosen: the test is then skipped.
    pub fn online() -> Option<Project> {
        match std::env::var("TIDEGATE_TEST_BOOTSTRAP") {
            Ok(bootstrap) => Some(Project::new(&bootstrap)),
            Err(_) => Some(Project::new(TestBroker::shared()?.bootstrap())),
        }
    }

    fn new(bootstrap: &str) -> Project {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::tempdir().unwrap();
        let prefix = format!("t{}-{}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/orders");
        std::fs::create_dir(directory.path().join("workflows")).unwrap();
        for file in std::fs::read_dir(example.join("workflows")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), directory.path().join("workflows").join(file.file_name())).unwrap();
        }
        let project = Project { directory, prefix };
        project.write("events.ndjson", &std::fs::read_to_string(example.join("events.ndjson")).unwrap());
        project.write("tidegate.toml", &project.settings(bootstrap));
        project
    }

    fn settings(&self, bootstrap: &str) -> String {
        let prefix = &self.prefix;
        format!(
            r#"
environment = "{prefix}"
topic_prefix = "{prefix}tidegate."
instance = "test"
admin = "127.0.0.1:0"
lanes = 1
group = "{prefix}group"
[kafka]
"bootstrap.servers" = "{bootstrap}"
[[sources]]
topic = "{prefix}webhooks"
format = "cloudevents"
start = "earliest"
"#
        )
    }

    /// The path of a file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Changes a file of the project.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no `{from}`");
        self.write(name, &text.replace(from, to));
    }

    /// The name of one of its topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The product's own way to ask its broker for topics.
    pub fn admin(&self) -> Admin {
        let text = std::fs::read_to_string(self.path("tidegate.toml")).unwrap();
        let settings: toml::Table = text.parse().unwrap();
        let bootstrap = settings["kafka"]["bootstrap.servers"].as_str().unwrap().to_owned();
        let clients = ClientSettings::new([("bootstrap.servers".to_owned(), bootstrap)].into()).unwrap();
        Admin::new(&clients).unwrap()
    }

    /// Creates a topic that is not Tidegate's.
    pub fn create_topic(&self, name: &str) {
        self.admin().create_topic(&self.topic(name), 2, 1, &Default::default()).unwrap();
    }

    /// Runs a command in the project's folder to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let mut child = self.spawn(arguments, out.reopen().unwrap(), err.reopen().unwrap());
        let hangs = || format!("tidegate {} hangs", arguments.join(" "));
        let status = wait::within(WITHIN, Duration::from_millis(5), hangs, || child.0.try_wait().unwrap());
        let code = status.code().unwrap_or(-1);
        let read = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        Outcome { code, out: read(&out), err: read(&err) }
    }

    /// Starts a command that goes on.
    pub fn start(&self, arguments: &[&str], out: File) -> Background {
        let err = out.try_clone().unwrap();
        self.spawn(arguments, out, err)
    }

    fn spawn(&self, arguments: &[&str], out: File, err: File) -> Background {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        // Nothing of whoever runs the tests may decide, and settings of theirs least of all.
        command.env_clear().current_dir(self.directory.path()).args(arguments);
        Background(command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap())
    }
}

impl Outcome {
    /// Fails unless the command ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Fails unless stderr has these words and stdout is empty.
    #[track_caller]
    pub fn complains(&self, words: &str) {
        assert!(self.err.contains(words), "`{words}` is not in {self:#?}");
        assert_eq!(self.out, "", "data goes to stdout, talk does not");
    }

    /// Fails unless stdout has these words.
    #[track_caller]
    pub fn tells(&self, words: &str) {
        assert!(self.out.contains(words), "`{words}` is not in {self:#?}");
    }

    /// Stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
