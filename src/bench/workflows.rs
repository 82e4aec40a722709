//! The workflows of the reference jobs: definitions as users write them, and registries full of them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use super::BenchError;
use super::contract::{EVENT_HEADER, EXECUTION_HEADER};
use super::job::Task;
use super::target;
use super::waiting::CONNECTOR;
use super::workload::{TYPES, type_name};
use crate::app::versions::Versions;
use crate::definition::{self, Definition, Installed, Record, Syntax, VersionRecord};
use crate::engine::registry::Registry;
use crate::engine::workflow::{Workflow, WorkflowId};

/// The ways an order can come in. Every event of the workload came in by the first.
const CHANNELS: [&str; 5] = ["web", "store", "phone", "partner", "app"];
/// What ids of workflows that events match start with.
pub const MATCHING: &str = "match-";

/// The registry of a task, kept over all rounds. Workflows that match are installed anew for every run, because they name the
/// topic they write to; those that do not stay.
pub struct Installation {
    task: Task,
    registry: Arc<RwLock<Registry>>,
    /// Those of workflows whose executions wait: these go on by them.
    versions: Arc<Versions>,
}

impl Installation {
    /// Installs what never matches.
    pub fn new(task: Task) -> Result<Installation, BenchError> {
        let registry = Arc::new(RwLock::new(Registry::new()));
        let compile = |document: &[u8]| definition::compile(document).map_err(|refused| refused.to_string());
        let versions = Arc::new(Versions::new(Box::new(compile)));
        let installation = Installation { task, registry, versions };
        let mut definitions = Vec::new();
        match task {
            Task::Copy | Task::Limit(_) | Task::Requests { .. } | Task::Pass | Task::FanOut(_) => {}
            Task::Shape { .. } | Task::Avro | Task::Call { .. } | Task::Poisoned { .. } => {
                for (rank, channel) in (0..TYPES).flat_map(|rank| CHANNELS[1..].iter().map(move |it| (rank, it))) {
                    let id = format!("other-{rank}-{channel}");
                    let pattern = format!("{{ data: {{ channel: [{channel}] }} }}");
                    definitions.push(shaping(&head(&id, &type_name(rank), Some(&pattern)), call_of(task), "nowhere"));
                }
            }
            Task::Installed(workflows) | Task::Changing(workflows) => {
                definitions.extend((1..workflows).map(bystander));
            }
        }
        for definition in definitions {
            installation.apply(parse(&definition)?)?;
        }
        Ok(installation)
    }

    /// Installs what matches, writing to a topic, and compiles its plans, so that no run pays for that.
    pub fn aim(&self, topic: &str) -> Result<Arc<RwLock<Registry>>, BenchError> {
        let paid = |id: &str| head(id, "shop.**", Some("{ data: { paid: [true] } }"));
        let definitions: Vec<String> = match self.task {
            Task::Copy | Task::Limit(_) | Task::Requests { .. } => Vec::new(),
            Task::Pass => vec![passing(&format!("{MATCHING}all"), topic)],
            Task::Shape { .. } | Task::Avro | Task::Call { .. } | Task::Poisoned { .. } => (0..TYPES)
                .map(|rank| {
                    let pattern = format!("{{ data: {{ channel: [{}] }} }}", CHANNELS[0]);
                    let head = head(&format!("{MATCHING}{rank}"), &type_name(rank), Some(&pattern));
                    shaping(&head, call_of(self.task), topic)
                })
                .collect(),
            Task::FanOut(matches) => {
                (0..matches).map(|number| shaping(&paid(&format!("{MATCHING}{number}")), None, topic)).collect()
            }
            Task::Installed(_) | Task::Changing(_) => vec![shaping(&paid(&format!("{MATCHING}all")), None, topic)],
        };
        for definition in definitions {
            let definition = parse(&definition)?;
            if call_of(self.task).is_some() {
                self.take_up(&definition);
            }
            let id = self.apply(definition)?;
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let compile = |_: &Workflow, document: &[u8]| definition::compile(document).map_err(|it| it.to_string());
            if let Some(Err(message)) = registry.get(&id).map(|entry| entry.plan(&compile)) {
                return Err(BenchError::Option(format!("the workflow {} does not compile: {message}", id.as_str())));
            }
        }
        Ok(self.registry.clone())
    }

    /// The versions by which executions go on that have waited.
    pub fn versions(&self) -> Arc<Versions> {
        self.versions.clone()
    }

    /// Puts another version of a workflow in use that nothing matches.
    pub fn change(&self, number: u64) -> Result<(), BenchError> {
        let (Task::Installed(workflows) | Task::Changing(workflows)) = self.task else { return Ok(()) };
        if workflows > 1 {
            let definition = bystander(1 + number % (workflows - 1));
            let version = format!("version: 1.0.{}", number + 1);
            self.apply(parse(&definition.replace("version: 1.0.0", &version))?)?;
        }
        Ok(())
    }

    fn apply(&self, definition: Definition) -> Result<WorkflowId, BenchError> {
        let id = definition.workflow.id.clone();
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let applied = registry.apply(definition.workflow, definition.canonical.into());
        applied.map_err(|error| BenchError::Option(error.to_string()))?;
        Ok(id)
    }

    /// Makes a version known, and compiles it, so that no run pays for that.
    fn take_up(&self, definition: &Definition) {
        let (id, version) = (definition.workflow.id.clone(), definition.workflow.version.clone());
        let (document, content_hash) = (definition.canonical.as_slice().into(), definition.content_hash);
        let mut installed = Installed::default();
        let record = VersionRecord { id: id.clone(), version: version.clone(), document, content_hash };
        installed.take_up(Record::Version(record));
        self.versions.take_up(&installed, &id, |_| true);
        self.versions.find(&id, &version);
    }
}

fn parse(yaml: &str) -> Result<Definition, BenchError> {
    let parsed = definition::parse(Path::new("workflow.yaml"), yaml.as_bytes(), Syntax::Yaml);
    parsed.map_err(|refused| BenchError::Option(refused.to_string()))
}

/// After how long what a task calls answers; None if it calls nothing.
fn call_of(task: Task) -> Option<u32> {
    if let Task::Call { after_ms } = task { Some(after_ms) } else { None }
}

fn head(id: &str, event: &str, pattern: Option<&str>) -> String {
    let mut text = format!("id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: \"{event}\"\n");
    if let Some(pattern) = pattern {
        let _ = writeln!(text, "    match: {pattern}");
    }
    text
}

/// R1: transform, condition, produce. R2: transform, call, condition, produce, so that most of it goes on after the wait.
fn shaping(head: &str, call: Option<u32>, topic: &str) -> String {
    let (before, call) = match call {
        None => ("shape", String::new()),
        Some(after_ms) => ("shape, call", calling(after_ms)),
    };
    format!(
        r#"{head}
config:
  vars: {{ vat: 1.19 }}
steps:
  - id: shape
    type: transform
    config:
      output:
        order: "${{{{ event.data.id }}}}"
        account: "${{{{ event.data.account }}}}"
        net: "${{{{ event.data.amount }}}}"
        gross: "${{{{ double(event.data.amount) * vars.vat }}}}"
        label: "${{{{ event.data.country }}}}/${{{{ event.data.customer.tier }}}}"
        pieces: "${{{{ event.data.quantity }}}}"
{call}  - id: large
    type: condition
    dependencies: [{before}]
    config: {{ if: "event.data.amount >= 100 && steps.shape.output.gross > 1.0" }}
  - id: announce
    type: produce
    dependencies: [large]
    config:
      topic: {topic}
      key: "${{{{ event.key }}}}"
      value: {{ order: "${{{{ steps.shape.output }}}}", note: "${{{{ event.data.note }}}}" }}
      headers: {{ {EVENT_HEADER}: "${{{{ event.id }}}}", {EXECUTION_HEADER}: "${{{{ execution.id }}}}" }}
"#
    )
}

/// The call of R2.
fn calling(after_ms: u32) -> String {
    let path = target::path(after_ms);
    format!(
        r#"  - id: call
    type: http
    dependencies: [shape]
    config: {{ connector: {CONNECTOR}, method: POST, path: {path}, body: "${{{{ steps.shape.output }}}}" }}
"#
    )
}

/// R0: produce a copy.
fn passing(id: &str, topic: &str) -> String {
    format!("{}\nsteps:\n{}", head(id, "shop.**", None), copying(topic, ""))
}

/// R3: wait, and produce a copy.
pub fn delaying(seconds: u64, topic: &str) -> Result<Definition, BenchError> {
    let head = head(&format!("{MATCHING}all"), "shop.**", None);
    let delay = format!("  - id: pause\n    type: delay\n    config: {{ for: {seconds}s }}\n");
    parse(&format!("{head}\nsteps:\n{delay}{}", copying(topic, "pause")))
}

fn copying(topic: &str, before: &str) -> String {
    format!(
        r#"  - id: copy
    type: produce
    dependencies: [{before}]
    config:
      topic: {topic}
      key: "${{{{ event.key }}}}"
      value: "${{{{ event.data }}}}"
      headers: {{ {EVENT_HEADER}: "${{{{ event.id }}}}", {EXECUTION_HEADER}: "${{{{ execution.id }}}}" }}
"#
    )
}

/// A workflow of R6 that nothing matches: of ten, seven have an exact type, two a prefix, one a pattern over fields. They lie among
/// what matches, so that no index can leave them out at a glance.
fn bystander(number: u64) -> String {
    let id = format!("other-{number}");
    let area = number % 10;
    let (event, pattern) = match number % 10 {
        0..=6 => (format!("shop.area-{area}.other-{number}"), None),
        7 | 8 => (format!("shop.area-{area}.other-{number}.**"), None),
        _ if number % 20 == 9 => ("shop.**".into(), Some(format!("{{ data: {{ account: [nobody-{number}] }} }}"))),
        _ => {
            let above = 1_000_000 + number;
            let pattern = format!("{{ data: {{ country: [DE, FR], amount: [{{ numeric: [\">\", {above}] }}] }} }}");
            ("shop.**".into(), Some(pattern))
        }
    };
    let head = head(&id, &event, pattern.as_deref());
    format!("{head}\nsteps:\n  - id: note\n    type: log\n    config: {{ level: debug, message: never }}\n")
}

#[cfg(test)]
mod tests {
    use super::super::workload::{BODY_BYTES, Workload};
    use super::*;
    use crate::codec::event::Format;
    use crate::engine::event::{Origin, SourceRecord, Topic};
    use crate::engine::registry::MatchScratch;

    fn event(workload: &mut Workload) -> crate::engine::event::Event {
        let event = workload.next_event();
        let topic = Arc::new(Topic { name: "events".into(), id: [0; 16] });
        let headers = [("ce_specversion", "1.0"), ("ce_id", &event.id), ("ce_source", "/"), ("ce_type", &event.kind)];
        let headers = headers.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let origin = Origin { topic, partition: 0, offset: 0 };
        let record = SourceRecord::new(origin, 0, Some(event.key.as_bytes()), Some(event.body.as_bytes()), headers);
        Format::CloudEvents.decode(record).unwrap()
    }

    #[track_caller]
    fn check(task: Task, installed: usize, matches: usize) {
        let installation = Installation::new(task).unwrap();
        let registry = installation.aim("out").unwrap();
        let registry = registry.read().unwrap();
        assert_eq!(registry.len(), installed, "{task}");
        let (mut workload, mut scratch) = (Workload::new(1, BODY_BYTES), MatchScratch::default());
        for _ in 0..50 {
            registry.matching(&event(&mut workload), &mut scratch);
            assert_eq!(scratch.matches().len(), matches, "{task}");
        }
    }

    #[test]
    fn every_event_matches_as_many_workflows_as_its_job_says() {
        check(Task::Pass, 1, 1);
        check(Task::Shape { full: true }, 1_000, 1);
        check(Task::Call { after_ms: 5 }, 1_000, 1);
        check(Task::FanOut(10), 10, 10);
        check(Task::Installed(1), 1, 1);
        check(Task::Installed(1_000), 1_000, 1);
    }

    #[test]
    fn a_change_replaces_what_nothing_matches() {
        let installation = Installation::new(Task::Changing(100)).unwrap();
        let registry = installation.aim("out").unwrap();
        (0..300).for_each(|number| installation.change(number).unwrap());
        assert_eq!(registry.read().unwrap().len(), 100);
    }
}
