//! The registry through changes of the installed workflows.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tidegate::engine::limits;
use tidegate::engine::plan::Plan;
use tidegate::engine::registry::{MatchScratch, Prepared, Registry, RegistryError};
use tidegate::engine::trigger::{Trigger, TriggerIndex};
use tidegate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

use crate::support::{EventParts, event, trigger};

fn id(text: &str) -> WorkflowId {
    WorkflowId::new(text).unwrap()
}

fn workflow(name: &str, status: Status, content: u8, triggers: Vec<Trigger>) -> Arc<Workflow> {
    let content_hash = ContentHash([content; 32]);
    Arc::new(Workflow { id: id(name), version: content.to_string().into(), status, content_hash, triggers })
}

fn on(kind: &str) -> Trigger {
    trigger(kind, None, None, &Json::Null)
}

#[track_caller]
fn apply(registry: &mut Registry, workflow: Arc<Workflow>) {
    registry.apply(workflow, Arc::from(&b"definition"[..])).unwrap();
}

/// Ids with matching triggers of the active workflows, and ids of the others, that an event matches.
fn matching(registry: &Registry, parts: &EventParts<'_>) -> (Vec<(String, Vec<u16>)>, Vec<String>) {
    let mut scratch = MatchScratch::default();
    registry.matching(&parts.event(), &mut scratch);
    let id = |it: &Workflow| it.id.as_str().to_owned();
    let active = scratch.matches().iter().map(|it| (id(it.entry().workflow()), scratch.triggers(it).to_vec()));
    (active.collect(), scratch.inactive().iter().map(|it| id(it.workflow())).collect())
}

#[test]
fn a_workflow_matches_once_with_all_its_triggers_that_hold_in_the_order_of_ids() {
    let mut registry = Registry::new();
    for name in ["b", "c", "a"] {
        let triggers = vec![on("other"), on("orders.*"), on("orders.paid"), on("*")];
        apply(&mut registry, workflow(name, Status::Active, 1, triggers));
    }
    apply(&mut registry, workflow("d", Status::Active, 1, vec![on("orders.created")]));
    let (active, _) = matching(&registry, &EventParts::default());
    assert_eq!(active, ["a", "b", "c"].map(|it| (it.to_owned(), vec![1, 2, 3])));
    let ids: Vec<_> = registry.entries().map(|it| it.workflow().id.as_str().to_owned()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
}

#[test]
fn only_active_workflows_match_and_the_others_are_counted() {
    let mut registry = Registry::new();
    for (name, status) in ["draft", "active", "paused", "stopped"].into_iter().zip(Status::ALL) {
        apply(&mut registry, workflow(name, status, 1, vec![on("orders.paid")]));
    }
    let (active, inactive) = matching(&registry, &EventParts::default());
    assert_eq!(active, [("active".to_owned(), vec![0])]);
    assert_eq!(inactive, ["draft", "paused", "stopped"]);
    assert!(registry.set_status(&id("active"), Status::Paused));
    assert!(registry.set_status(&id("draft"), Status::Active));
    assert!(!registry.set_status(&id("unknown"), Status::Active));
    let (active, inactive) = matching(&registry, &EventParts::default());
    assert_eq!(active, [("draft".to_owned(), vec![0])]);
    assert_eq!(inactive, ["active", "paused", "stopped"]);
    assert_eq!(registry.get(&id("active")).unwrap().status(), Status::Paused);
}

#[test]
fn another_version_replaces_the_triggers_of_the_one_before() {
    let mut registry = Registry::new();
    apply(&mut registry, workflow("a", Status::Active, 1, vec![on("orders.paid"), on("orders.*")]));
    apply(&mut registry, workflow("b", Status::Active, 1, vec![on("orders.paid")]));
    let held = registry.get(&id("a")).unwrap().clone();
    let next = workflow("a", Status::Active, 2, vec![on("orders.created")]);
    let replaced = registry.apply(next, Arc::default()).unwrap().unwrap();
    assert_eq!(&*replaced.workflow().version, "1");
    assert_eq!(&*held.workflow().version, "1", "who holds an entry keeps it");
    assert_eq!(matching(&registry, &EventParts::default()).0, [("b".to_owned(), vec![0])]);
    let created = EventParts { kind: "orders.created", ..EventParts::default() };
    assert_eq!(matching(&registry, &created).0, [("a".to_owned(), vec![0])]);
    assert!(registry.remove(&id("a")).is_some() && registry.remove(&id("a")).is_none());
    assert_eq!(matching(&registry, &created).0, []);
    assert!(registry.remove(&id("b")).is_some());
    assert!(registry.is_empty());
    assert_eq!(registry.index().size_bytes(), TriggerIndex::new().size_bytes());
}

#[test]
fn a_plan_that_was_compiled_before_the_installation_is_not_compiled_again() {
    let compiled = Cell::new(0);
    let compile = |_: &Workflow, _: &[u8]| {
        compiled.set(compiled.get() + 1);
        Plan::new(Vec::new()).map(Arc::new).map_err(|error| format!("{error:?}"))
    };
    let mut registry = Registry::new();
    apply(&mut registry, workflow("a", Status::Active, 1, vec![on("*")]));
    assert!(!registry.get(&id("a")).unwrap().is_compiled());
    let prepared = Prepared::new(workflow("a", Status::Active, 2, vec![on("*")]), Arc::default());
    prepared.compile(&compile);
    let replaced = registry.install(prepared).unwrap().unwrap();
    assert_eq!(&*replaced.workflow().version, "1");
    let entry = registry.get(&id("a")).unwrap();
    assert!(entry.is_compiled() && entry.plan(&compile).is_ok());
    assert_eq!(compiled.get(), 1);
}

#[test]
fn plans_are_compiled_once_when_first_asked_for() {
    let compiled = Cell::new(0);
    let compile = |_: &Workflow, definition: &[u8]| {
        compiled.set(compiled.get() + 1);
        assert_eq!(definition, b"definition");
        Plan::new(Vec::new()).map(Arc::new).map_err(|error| format!("{error:?}"))
    };
    let mut registry = Registry::new();
    apply(&mut registry, workflow("a", Status::Active, 1, vec![on("*")]));
    let first = registry.get(&id("a")).unwrap().plan(&compile).unwrap();
    registry.set_status(&id("a"), Status::Paused);
    apply(&mut registry, workflow("a", Status::Draft, 1, vec![on("orders.paid")]));
    let second = registry.get(&id("a")).unwrap().plan(&compile).unwrap();
    assert!(Arc::ptr_eq(&first, &second) && compiled.get() == 1, "equal content keeps its plan");
    apply(&mut registry, workflow("a", Status::Active, 2, vec![on("*")]));
    let refuse = |_: &Workflow, _: &[u8]| Err("no such step".to_owned());
    for _ in 0..2 {
        let error = registry.get(&id("a")).unwrap().plan(&refuse).unwrap_err();
        assert_eq!(&*error, "no such step");
    }
}

#[test]
fn workflows_with_too_many_triggers_are_refused_and_the_installed_one_stays() {
    let mut registry = Registry::new();
    apply(&mut registry, workflow("a", Status::Active, 1, vec![on("orders.paid")]));
    let count = limits::TRIGGERS_PER_WORKFLOW + 1;
    let refused = registry.apply(workflow("a", Status::Active, 2, vec![on("*"); count]), Arc::default());
    assert_eq!(refused.unwrap_err(), RegistryError::TooManyTriggers(count));
    assert_eq!(&*registry.get(&id("a")).unwrap().workflow().version, "1");
    assert_eq!(matching(&registry, &EventParts::default()).0.len(), 1);
}

#[test]
fn one_event_can_match_thousands() {
    let mut registry = Registry::new();
    for number in 0..3_000 {
        let large = trigger("orders.**", None, None, &json!({ "data": { "amount": [{ "numeric": [">", number] }] } }));
        apply(&mut registry, workflow(&format!("w-{number:04}"), Status::Active, 1, vec![large]));
    }
    let mut scratch = MatchScratch::default();
    registry.matching(&event(json!({ "amount": 1e9 })), &mut scratch);
    assert_eq!(scratch.matches().len(), 3_000);
    assert!(scratch.matches().is_sorted_by_key(|it| it.entry().workflow().id.clone()));
    registry.matching(&event(json!({ "amount": 10 })), &mut scratch);
    assert_eq!(scratch.matches().len(), 10);
}

#[test]
fn lanes_can_share_a_registry() {
    fn shared<T: Send + Sync>() {}
    shared::<Registry>();
}
