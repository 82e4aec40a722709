//! The workflows of the reference jobs: definitions as users write them, and registries full of them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use super::BenchError;
use super::contract::{EVENT_HEADER, EXECUTION_HEADER};
use super::job::Task;
use super::workload::{TYPES, type_name};
use crate::definition::{self, Syntax};
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
}

impl Installation {
    /// Installs what never matches.
    pub fn new(task: Task) -> Result<Installation, BenchError> {
        let registry = Arc::new(RwLock::new(Registry::new()));
        let installation = Installation { task, registry };
        let mut definitions = Vec::new();
        match task {
            Task::Copy | Task::Limit(_) | Task::Pass | Task::FanOut(_) => {}
            Task::Shape { .. } => {
                for (rank, channel) in (0..TYPES).flat_map(|rank| CHANNELS[1..].iter().map(move |it| (rank, it))) {
                    let id = format!("other-{rank}-{channel}");
                    let pattern = format!("{{ data: {{ channel: [{channel}] }} }}");
                    definitions.push(shaping(&id, &type_name(rank), &pattern, "nowhere"));
                }
            }
            Task::Installed(workflows) | Task::Changing(workflows) => {
                definitions.extend((1..workflows).map(bystander));
            }
        }
        for definition in definitions {
            installation.apply(&definition)?;
        }
        Ok(installation)
    }

    /// Installs what matches, writing to a topic, and compiles its plans, so that no run pays for that.
    pub fn aim(&self, topic: &str) -> Result<Arc<RwLock<Registry>>, BenchError> {
        let definitions: Vec<String> = match self.task {
            Task::Copy | Task::Limit(_) => Vec::new(),
            Task::Pass => vec![passing(&format!("{MATCHING}all"), topic)],
            Task::Shape { .. } => (0..TYPES)
                .map(|rank| {
                    let pattern = format!("{{ data: {{ channel: [{}] }} }}", CHANNELS[0]);
                    shaping(&format!("{MATCHING}{rank}"), &type_name(rank), &pattern, topic)
                })
                .collect(),
            Task::FanOut(matches) => (0..matches)
                .map(|number| shaping(&format!("{MATCHING}{number}"), "shop.**", "{ data: { paid: [true] } }", topic))
                .collect(),
            Task::Installed(_) | Task::Changing(_) => {
                vec![shaping(&format!("{MATCHING}all"), "shop.**", "{ data: { paid: [true] } }", topic)]
            }
        };
        for definition in definitions {
            let id = self.apply(&definition)?;
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let compile = |_: &Workflow, document: &[u8]| definition::compile(document).map_err(|it| it.to_string());
            if let Some(Err(message)) = registry.get(&id).map(|entry| entry.plan(&compile)) {
                return Err(BenchError::Option(format!("the workflow {} does not compile: {message}", id.as_str())));
            }
        }
        Ok(self.registry.clone())
    }

    /// Puts another version of a workflow in use that nothing matches.
    pub fn change(&self, number: u64) -> Result<(), BenchError> {
        let (Task::Installed(workflows) | Task::Changing(workflows)) = self.task else { return Ok(()) };
        if workflows > 1 {
            let definition = bystander(1 + number % (workflows - 1));
            self.apply(&definition.replace("version: 1.0.0", &format!("version: 1.0.{}", number + 1)))?;
        }
        Ok(())
    }

    fn apply(&self, yaml: &str) -> Result<WorkflowId, BenchError> {
        let parsed = definition::parse(Path::new("workflow.yaml"), yaml.as_bytes(), Syntax::Yaml);
        let definition = parsed.map_err(|refused| BenchError::Option(refused.to_string()))?;
        let id = definition.workflow.id.clone();
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let applied = registry.apply(definition.workflow, definition.canonical.into());
        applied.map_err(|error| BenchError::Option(error.to_string()))?;
        Ok(id)
    }
}

fn head(id: &str, event: &str, pattern: Option<&str>) -> String {
    let mut text = format!("id: {id}\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: \"{event}\"\n");
    if let Some(pattern) = pattern {
        let _ = writeln!(text, "    match: {pattern}");
    }
    text
}

/// R1: transform, condition, produce.
fn shaping(id: &str, event: &str, pattern: &str, topic: &str) -> String {
    let head = head(id, event, Some(pattern));
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
  - id: large
    type: condition
    dependencies: [shape]
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

/// R0: produce a copy.
fn passing(id: &str, topic: &str) -> String {
    let head = head(id, "shop.**", None);
    format!(
        r#"{head}
steps:
  - id: copy
    type: produce
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
