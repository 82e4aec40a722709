//! `tidegate simulate`: which workflows an event matches, why not the others, and what they would do. Needs no broker, changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::args::{Common, OutputFormat, Simulate};
use super::output::{document, green, line, red};
use super::{DONE, setup};
use crate::app::events_file;
use crate::app::schemas::SourceSchemas;
use crate::app::sources::SourceTable;
use crate::definition::Definition;
use crate::engine::event::{Event, Origin, SourceRecord, Topic};
use crate::engine::expression::{Budget, Scope};
use crate::engine::limits;
use crate::engine::plan::{Action, Step, Wait};
use crate::engine::run::{self, Effect, Run, RunInput};
use crate::engine::value::{self, Value as EngineValue};

pub(super) fn run(common: &Common, args: &Simulate) -> anyhow::Result<u8> {
    let settings = setup::settings(common)?;
    let paths: Vec<PathBuf> = if args.paths.is_empty() { vec![settings.directory.clone()] } else { args.paths.clone() };
    let definitions = setup::definitions(&paths)?;
    let text = std::fs::read_to_string(&args.event).with_context(|| format!("reading {}", args.event.display()))?;
    let record = events_file::parse(&text, &settings).map_err(|message| anyhow!(message))?;
    let origin = Origin { topic: Arc::new(Topic { name: record.topic, id: [0; 16] }), partition: 0, offset: 0 };
    let headers = record.headers.iter();
    let record = SourceRecord::new(origin, -1, record.key.as_deref(), record.value.as_deref(), headers);
    let told = match SourceTable::new(&settings, &SourceSchemas::nowhere()).decode(record) {
        Err((_, undecodable)) => json!({ "deadLetter": { "reason": "decode", "message": undecodable.message } }),
        Ok(event) => {
            let workflows: Vec<Value> = definitions.iter().map(|definition| workflow(definition, &event)).collect();
            json!({ "event": { "type": &*event.kind, "id": &*event.id }, "workflows": workflows })
        }
    };
    match common.output {
        OutputFormat::Table => show(&told),
        OutputFormat::Json | OutputFormat::Yaml => document(common.output, &told),
    }
    Ok(DONE)
}

/// What one workflow does with the event, or why nothing.
fn workflow(definition: &Definition, event: &Event) -> Value {
    let Definition { workflow, plan, .. } = definition;
    let scope = Scope {
        event,
        steps: &[],
        execution_id: "simulated",
        workflow_id: workflow.id.as_str(),
        workflow_version: &workflow.version,
        vars: &plan.vars,
    };
    let mut why_not = Vec::new();
    for (number, trigger) in workflow.triggers.iter().enumerate() {
        let mismatches = trigger.explain(event);
        if !mismatches.is_empty() {
            why_not.push(
                json!({ "trigger": number, "clauses": mismatches.iter().map(ToString::to_string).collect::<Vec<_>>() }),
            );
            continue;
        }
        let condition = plan.conditions.get(number).and_then(Option::as_ref);
        let held = condition.map(|it| it.test(&scope, &mut Budget::new(limits::CONDITION_BUDGET)));
        match held {
            None | Some(Ok(true)) => {
                let Run { steps, waits, failure, output_bytes: _ } =
                    run::run(plan, RunInput::from_the_beginning(scope, &[]));
                let steps: Vec<Value> = steps.iter().map(|step| step_json(definition, step)).collect();
                let waiting: Vec<Value> = waits.iter().filter_map(|step| wait_json(&plan.steps()[*step])).collect();
                let ended = if waits.is_empty() { "completed" } else { "waiting" };
                let status = if failure.is_some() { "failed" } else { ended };
                return json!({ "id": workflow.id.as_str(), "version": &*workflow.version, "matches": true,
                    "workflowStatus": workflow.status.name(), "trigger": number, "status": status, "steps": steps, "waits": waiting });
            }
            Some(Ok(false)) => why_not.push(json!({ "trigger": number, "clauses": ["where: is false"] })),
            Some(Err(error)) => {
                why_not.push(json!({ "trigger": number, "clauses": [format!("where: {}", error.message)] }));
            }
        }
    }
    json!({ "id": workflow.id.as_str(), "version": &*workflow.version, "matches": false, "whyNot": why_not })
}

fn step_json(definition: &Definition, step: &run::StepRun) -> Value {
    let planned = &definition.plan.steps()[step.step];
    let effect = match &step.effect {
        Effect::None => Value::Null,
        Effect::Log(_, text) => json!({ "log": text }),
        Effect::Produce(record) => {
            json!({ "topic": &*record.topic, "key": plain(&record.key), "value": plain(&record.value) })
        }
    };
    json!({ "id": &*planned.id, "type": planned.action.name(), "status": step.status.name(),
        "output": plain(&step.output), "effect": effect, "error": step.error.as_ref().map(|error| &error.message) })
}

/// What a step waits for. Nobody is called and no time passes, so what depends on it is not run: made-up answers would tell little.
fn wait_json(step: &Step) -> Option<Value> {
    let Action::Wait(wait) = &step.action else { return None };
    let (id, kind) = (&*step.id, step.action.name());
    Some(match wait {
        Wait::Delay(delay) => json!({ "id": id, "type": kind, "for": duration_text(*delay) }),
        Wait::Until(_) => json!({ "id": id, "type": kind, "for": "a point in time" }),
        Wait::Approval(approval) => {
            json!({ "id": id, "type": kind, "timeout": approval.timeout.map(duration_text) })
        }
        Wait::Workflow(call) => {
            let (workflow, version) = (call.workflow.as_str(), call.version.as_deref());
            json!({ "id": id, "type": kind, "workflow": workflow, "version": version, "timeout": call.timeout.map(duration_text) })
        }
        Wait::Http(call) => {
            json!({ "id": id, "type": kind, "connector": &*call.connector, "method": &*call.method })
        }
    })
}

/// A duration as definitions write it.
fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let whole = units.into_iter().find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{milliseconds}ms"), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

fn plain(value: &EngineValue) -> Value {
    let mut text = Vec::new();
    value::write_json(value, &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

fn show(told: &Value) {
    if let Some(letter) = told.get("deadLetter") {
        return line(&format!("{}  {}", red("dead letter (decode)"), letter["message"].as_str().unwrap_or_default()));
    }
    for workflow in told["workflows"].as_array().into_iter().flatten() {
        let id = workflow["id"].as_str().unwrap_or_default();
        if workflow["matches"] == false {
            line(&format!("{}  {id}", red("no match")));
            for trigger in workflow["whyNot"].as_array().into_iter().flatten() {
                for clause in trigger["clauses"].as_array().into_iter().flatten() {
                    line(&format!("    trigger {}: {}", trigger["trigger"], clause.as_str().unwrap_or_default()));
                }
            }
            continue;
        }
        line(&format!("{}  {id}: {}", green("match"), workflow["status"].as_str().unwrap_or_default()));
        for step in workflow["steps"].as_array().into_iter().flatten() {
            let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
            line(&format!("    {} ({}) {}  {}", text("id"), text("type"), text("status"), step["output"]));
            if !step["effect"].is_null() {
                line(&format!("        would write {}", step["effect"]));
            }
            if !step["error"].is_null() {
                line(&format!("        {}", text("error")));
            }
        }
        let waits: Vec<String> = workflow["waits"].as_array().into_iter().flatten().map(wait_text).collect();
        if !waits.is_empty() {
            line(&format!("    waits: {}", waits.join(", ")));
        }
    }
}

fn wait_text(wait: &Value) -> String {
    let text = |name: &str| wait[name].as_str().unwrap_or_default();
    let (id, kind) = (text("id"), text("type"));
    match wait.get("connector") {
        Some(_) => format!("{id} ({kind} to {})", text("connector")),
        None => format!("{id} ({kind} {})", text("for")),
    }
}
