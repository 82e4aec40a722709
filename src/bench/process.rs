//! An instance in a process of its own, as an operator runs it: with a folder, a file of settings, system topics and a definition. Its
//! memory is its own there, whatever this process has had.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::BenchError;
use super::broker::Broker;
use super::folder::Folder;
use super::topics::{Outputs, PARTITIONS, Topics};
use super::waiting::JOURNAL_PARTITIONS;
use crate::app::{cluster, definitions};
use crate::definition::Definition;
use crate::kafka::admin::Admin;
use crate::kafka::topics;
use crate::lane::clock;
use crate::settings::{FixedEnvironment, Overrides, Settings};

/// Between two looks at its memory, and how many in a row must say the same.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOKS: usize = 6;
/// By how much the memory of a process may differ that stands still.
const STILL_BYTES: u64 = 256 * 1024;
/// How many looks there are at most.
const LOOKS_MAX: usize = 20;
/// What is told of its log when it has ended.
const LOG_BYTES: usize = 2_000;

/// The instance. It is killed when this goes, and its folder goes with it.
pub struct Process {
    job: String,
    child: Child,
    folder: Folder,
}

impl Process {
    /// Makes the system topics, applies the definition and starts the instance. `name` is one that nothing else has.
    pub fn start(
        broker: &Broker,
        topics: &mut Topics,
        (job, name): (&str, &str),
        (source, definition): (&str, Definition),
    ) -> Result<(Process, SystemTopics), BenchError> {
        let folder = Folder::new(name)?;
        let failed = |what: &str, error: &dyn std::fmt::Display| BenchError::Process {
            job: job.to_owned(),
            what: format!("cannot have {what}: {error}"),
        };
        let text = settings(broker, name, source);
        let (surroundings, overrides) = (FixedEnvironment::default(), Overrides::default());
        let parsed = Settings::parse("tidegate.toml", &text, folder.path(), &surroundings, &overrides);
        let settings = parsed.map_err(|mistakes| failed("settings", &mistakes))?;
        let path = folder.path().join("tidegate.toml");
        std::fs::write(&path, text).map_err(|source| BenchError::Files { path: path.clone(), source })?;
        let plan = cluster::topic_plan(&settings);
        topics.adopt(plan.specs().into_iter().map(|spec| spec.name.into()));
        let admin = Admin::new(&broker.clients).map_err(|error| failed("its topics", &error))?;
        topics::create_missing(&admin, &plan).map_err(|error| failed("its topics", &error))?;
        let workflows = cluster::topic(&settings, "workflows");
        let applied = definitions::apply(&broker.clients, &settings.environment, &workflows, &[definition]);
        applied.map_err(|error| failed("its workflow", &error))?;
        let child = run(&path, folder.path())?;
        let all = plan.specs().into_iter().map(|spec| spec.name.into()).collect();
        let topic = |name: &str| cluster::topic(&settings, name).into();
        let outputs = (topic("step-results"), topic("executions"), topic("dead-letters"));
        Ok((Process { job: job.to_owned(), child, folder }, SystemTopics { all, outputs }))
    }

    /// Its resident memory in bytes, once it stands still.
    pub fn resident_bytes(&mut self) -> Result<u64, BenchError> {
        let mut looks = Vec::with_capacity(LOOKS_MAX);
        while looks.len() < LOOKS_MAX {
            self.check()?;
            looks.push(self.resident_now()?);
            let last = &looks[looks.len().saturating_sub(LOOKS)..];
            let (least, most) = (last.iter().min().copied(), last.iter().max().copied());
            if last.len() == LOOKS && least.zip(most).is_some_and(|(least, most)| most - least <= STILL_BYTES) {
                break;
            }
            clock::pause(LOOK_EVERY);
        }
        looks.last().copied().ok_or_else(|| self.failed("has no memory"))
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
                let tail = &log[log.ceil_char_boundary(log.len().saturating_sub(LOG_BYTES))..];
                Err(self.failed(&format!("has ended by itself ({status}); its log ends with\n{tail}")))
            }
            Err(error) => Err(self.failed(&format!("cannot be asked whether it runs: {error}"))),
        }
    }

    fn resident_now(&self) -> Result<u64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        resident_bytes(&status).ok_or_else(|| self.failed("does not tell its memory: this system has no /proc"))
    }

    fn failed(&self, what: &str) -> BenchError {
        BenchError::Process { job: self.job.clone(), what: what.to_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::warn!(pid = self.child.id(), cause = %error, "an instance of the benchmark is left");
        }
    }
}

/// The system topics of an instance in a process of its own.
pub struct SystemTopics {
    /// All of them.
    pub all: Vec<Arc<str>>,
    outputs: (Arc<str>, Arc<str>, Arc<str>),
}

impl SystemTopics {
    /// Where the instance writes.
    pub fn outputs(&self, business: Arc<str>) -> Outputs {
        let (step_results, executions, dead_letters) = self.outputs.clone();
        Outputs { business, step_results, executions, dead_letters }
    }
}

/// The file of its log, in its folder.
const LOG: &str = "log";

fn run(settings: &Path, folder: &Path) -> Result<Child, BenchError> {
    let path = folder.join(LOG);
    let log = File::create(&path).map_err(|source| BenchError::Files { path, source })?;
    let program = std::env::current_exe().map_err(BenchError::Start)?;
    // No variable of whoever measures is to decide.
    let mut command = Command::new(program);
    command.env_clear().arg("run").arg("--config").arg(settings);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().map_err(BenchError::Start)
}

fn settings(broker: &Broker, name: &str, source: &str) -> String {
    let address = toml::Value::from(broker.address.as_str());
    format!(
        r#"
environment = "{name}"
topic_prefix = "{name}."
instance = "bench"
admin = "127.0.0.1:0"
lanes = 1
group = "{name}"
data_dir = "data"
[kafka]
"bootstrap.servers" = {address}
[[sources]]
topic = "{source}"
format = "cloudevents"
start = "earliest"
[topics]
partitions = {PARTITIONS}
journal_partitions = {JOURNAL_PARTITIONS}
replication = 1
"#
    )
}

/// What `/proc/PID/status` says of resident memory.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    1024 kB\nRssAnon:\t 7 kB\n"), Some(1_048_576));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}
