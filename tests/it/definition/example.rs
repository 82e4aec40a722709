//! The example project: right as it stands, and its events meet its workflows as its comments say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use tidegate::definition::{Definition, read_files};
use tidegate::engine::event::{Event, Origin, SourceRecord, Topic};
use tidegate::engine::expression::{Budget, Scope};
use tidegate::engine::limits;
use tidegate::engine::run::{Effect, Run, RunInput, run};
use tidegate::engine::value::Value;
use tidegate::engine::workflow::Status;
use tidegate::settings::{FixedEnvironment, Overrides, Settings};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/orders")
}

fn definitions() -> Vec<Definition> {
    read_files(&[directory()]).unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

#[test]
fn its_workflows_are_right() {
    let ids: Vec<_> = definitions().iter().map(|it| it.workflow.id.as_str().to_owned()).collect();
    assert_eq!(ids, ["audit", "legacy-import", "loyalty", "order-created", "order-paid", "refund"]);
}

#[test]
fn its_settings_are_right() {
    let environment = FixedEnvironment::default();
    let settings = Settings::load(&directory().join("tidegate.toml"), &environment, &Overrides::default());
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.source_of("webhooks").is_some() && settings.source_of("legacy-orders").is_some());
}

#[test]
fn its_events_match_as_its_comments_say() {
    let (events, undecodable) = events();
    assert_eq!((events.len(), undecodable), (39, 1));
    let matched = |definition: &Definition| {
        let triggers = &definition.workflow.triggers;
        events.iter().filter(|event| triggers.iter().any(|trigger| trigger.matches(event))).count()
    };
    let counts: Vec<_> = definitions().iter().map(|it| (it.workflow.id.as_str().to_owned(), matched(it))).collect();
    // Before `where`, which refuses the paid order without items.
    let expected =
        [("audit", 39), ("legacy-import", 5), ("loyalty", 6), ("order-created", 7), ("order-paid", 8), ("refund", 5)];
    assert_eq!(counts, expected.map(|(id, count)| (id.to_owned(), count)));
}

#[test]
fn its_workflows_run_as_their_comments_say() {
    let definitions = definitions();
    let events = events().0;
    #[track_caller]
    fn check(definition: &Definition, events: &[Event], runs: usize, failed: usize, records: &[(&str, usize)]) {
        let started: Vec<Run> = events.iter().filter_map(|event| start(definition, event)).collect();
        let id = definition.workflow.id.as_str();
        assert_eq!((started.len(), started.iter().filter(|run| run.failure.is_some()).count()), (runs, failed), "{id}");
        let mut produced = BTreeMap::<&str, usize>::new();
        for step in started.iter().flat_map(|run| &run.steps) {
            if let Effect::Produce(record) = &step.effect {
                *produced.entry(&record.topic).or_default() += 1;
            }
        }
        assert_eq!(produced, records.iter().copied().collect(), "{id}");
    }
    let [audit, legacy, loyalty, created, paid, refund] = &definitions[..] else { panic!("six workflows") };
    check(audit, &events, 39, 0, &[("audit-trail", 39)]);
    check(legacy, &events, 5, 0, &[("orders-imported", 5)]);
    check(loyalty, &events, 0, 0, &[]);
    check(created, &events, 7, 0, &[("order-plans", 7)]);
    check(paid, &events, 7, 0, &[("fulfilment", 7), ("announcements", 4)]);
    check(refund, &events, 5, 1, &[("bookings", 4)]);
}

/// The run that an event starts, if the workflow is active and one of its triggers holds.
fn start(definition: &Definition, event: &Event) -> Option<Run> {
    let (workflow, plan) = (&definition.workflow, &definition.plan);
    let scope = Scope {
        event,
        steps: &[],
        execution_id: "0000-00",
        workflow_id: workflow.id.as_str(),
        workflow_version: &workflow.version,
        vars: &plan.vars,
    };
    let mut budget = Budget::new(limits::EXECUTION_BUDGET);
    let starts = workflow.triggers.iter().zip(&plan.conditions).any(|(trigger, condition)| {
        trigger.matches(event) && condition.as_ref().is_none_or(|it| it.test(&scope, &mut budget).unwrap())
    });
    (starts && workflow.status == Status::Active).then(|| run(plan, RunInput::from_the_beginning(scope, &[])))
}

#[test]
fn its_events_come_in_every_shape() {
    let lines: Vec<Json> = lines().collect();
    let has_header = |line: &Json, name: &str, start: &str| {
        line["headers"][name].as_str().is_some_and(|value| value.starts_with(start))
    };
    let count = |is: &dyn Fn(&Json) -> bool| lines.iter().filter(|line| is(line)).count();
    assert!(count(&|line| line["specversion"] == "1.0") > 10, "CloudEvents in structured mode, by themselves");
    assert!(count(&|line| has_header(line, "content-type", "application/cloudevents")) > 0, "the same with headers");
    assert!(count(&|line| has_header(line, "ce_specversion", "1.0")) > 5, "CloudEvents in binary mode");
    assert!(count(&|line| line["topic"] == "legacy-orders" && line["value"].is_object()) > 5, "plain JSON");
    assert_eq!(count(&|line| line["value"].is_string()), 1, "poison");
}

fn lines() -> impl Iterator<Item = Json> {
    let text = std::fs::read_to_string(directory().join("events.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>().into_iter()
}

/// The events of the file as the sources of `tidegate.toml` read them, and how many cannot be read.
fn events() -> (Vec<Event>, usize) {
    let read: Vec<Option<Event>> = lines().enumerate().map(|(offset, line)| event(&line, offset as i64)).collect();
    let undecodable = read.iter().filter(|it| it.is_none()).count();
    (read.into_iter().flatten().collect(), undecodable)
}

fn event(line: &Json, offset: i64) -> Option<Event> {
    let topic = line["topic"].as_str().unwrap_or("webhooks");
    let origin = Origin { topic: Arc::new(Topic { name: topic.into(), id: [0; 16] }), partition: 0, offset };
    let record = SourceRecord::new(origin, 0, line["key"].as_str().map(str::as_bytes), None, []);
    let value = if line.get("topic").is_some() { &line["value"] } else { line };
    let header = |name: &str| &line["headers"][format!("ce_{name}")];
    let (id, kind, source, data) = match topic {
        "legacy-orders" => (&value["order"]["number"], &value["kind"], &Json::Null, &value["order"]),
        _ if header("type").is_string() => (header("id"), header("type"), header("source"), value),
        _ => (&value["id"], &value["type"], &value["source"], &value["data"]),
    };
    let (id, kind, source) = (id.as_str()?.into(), kind.as_str()?.into(), source.as_str().unwrap_or("").into());
    Some(Event { record, id, kind, source, subject: None, time: None, schema: None, key: None, data: convert(data) })
}

fn convert(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Bool(*it),
        Json::Number(it) => it.as_i64().map_or_else(|| Value::Float(it.as_f64().unwrap()), Value::Int),
        Json::String(it) => Value::text(it.as_str()),
        Json::Array(items) => Value::List(items.iter().map(convert).collect()),
        Json::Object(fields) => {
            Value::map(fields.iter().map(|(name, value)| (name.as_str().into(), convert(value))).collect())
        }
    }
}
