//! The `steps` of a workflow: first what each is called and depends on, then, knowing what comes before it, what it does.

use std::collections::HashMap;
use std::sync::Arc;

use super::action::{self, StepType};
use super::graph::Graph;
use super::limits as definition_limits;
use super::node::{Node, Text, quote};
use super::reader::{Fields, Reader, suggestion};
use super::retry::Retries;
use crate::engine::limits;
use crate::engine::plan::{Dependency, OnError, Plan, PlanError, Step};
use crate::expression::{Names, StepName};

const FIELDS: [&str; 10] =
    ["id", "name", "type", "dependencies", "when", "timeout", "retryConfig", "onError", "order", "config"];

/// A step as the others see it.
struct Shape<'n> {
    id: Arc<str>,
    at: usize,
    fields: Fields<'n>,
    /// None: refused already.
    step_type: Option<StepType>,
    /// The cases of a switch, by name.
    cases: Vec<Arc<str>>,
    dependencies: Vec<Dependency>,
    /// Whether every dependency was understood. If not, expressions are not blamed for naming steps that may come before.
    is_resolved: bool,
}

/// Reads the list of steps. `retries` is what the workflow says about retries; None if that was refused.
pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node, retries: Option<&Retries>) -> Option<Plan> {
    let items = reader.list("steps", node)?;
    if items.is_empty() {
        return reader.wrong(node.at, "`steps` is empty, so the workflow would do nothing", "add a step");
    }
    if items.len() > limits::STEPS_PER_WORKFLOW {
        let message = format!("the workflow has {} steps", items.len());
        let remedy = format!("keep at most {}, and split the rest off", limits::STEPS_PER_WORKFLOW);
        return reader.wrong(node.at, message, remedy);
    }
    let mut shapes: Vec<_> = items.iter().filter_map(|item| shape(reader, item)).collect();
    let by_id = index(reader, &shapes);
    for step in 0..shapes.len() {
        resolve(reader, &mut shapes, step, &by_id);
    }
    let edges = shapes.iter().map(|shape| shape.dependencies.iter().map(|it| it.step).collect()).collect();
    let graph = Graph::new(edges);
    refuse_cycles(reader, &shapes, &graph);
    let steps: Vec<_> = (0..shapes.len()).filter_map(|step| read(reader, &shapes, step, &graph, retries)).collect();
    if steps.len() < items.len() || !reader.is_content() {
        return None;
    }
    Plan::new(steps).map_err(|error| explain(reader, node, &error)).ok()
}

fn shape<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Option<Shape<'n>> {
    let what = "the step";
    let fields = reader.fields(node, what, &FIELDS)?;
    let id = reader.required(&fields, what, "id", "my-step").and_then(|node| step_id(reader, node));
    let step_type =
        reader.required(&fields, what, "type", "transform").and_then(|node| action::read_type(reader, node));
    let cases = match step_type {
        Some(StepType::Switch) => action::case_names(&fields),
        Some(_) | None => Vec::new(),
    };
    let at = fields.get("id").map_or(fields.at, |id| id.at);
    let id = id.unwrap_or_default();
    Some(Shape { id, at, fields, step_type, cases, dependencies: Vec::new(), is_resolved: true })
}

fn step_id(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<str>> {
    let text = reader.text("id", node, limits::ID_BYTES)?;
    let legal = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    let starts_right = text.value.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    if starts_right && text.value.chars().all(legal) {
        return Some(text.value.clone());
    }
    let message = format!("{} cannot be the id of a step", quote(&text.value));
    reader.wrong(node.at, message, "use letters, digits, `_` and `-`, beginning with a letter")
}

/// The steps by id; an id that comes again is a mistake.
fn index(reader: &mut Reader<'_>, shapes: &[Shape<'_>]) -> HashMap<Arc<str>, usize> {
    let mut by_id = HashMap::new();
    for (step, shape) in shapes.iter().enumerate().filter(|(_, shape)| !shape.id.is_empty()) {
        if by_id.contains_key(&shape.id) {
            let message = format!("two steps are called {}", quote(&shape.id));
            reader.wrong::<()>(shape.at, message, "give this one another id");
        } else {
            by_id.insert(shape.id.clone(), step);
        }
    }
    by_id
}

/// Finds the steps that a step's dependencies name.
fn resolve(reader: &mut Reader<'_>, shapes: &mut [Shape<'_>], step: usize, by_id: &HashMap<Arc<str>, usize>) {
    let Some(node) = shapes[step].fields.get("dependencies") else { return };
    let (mut found, mut is_resolved) = (Vec::<Dependency>::new(), true);
    let items = reader.list("dependencies", node);
    is_resolved &= items.is_some();
    let items = items.unwrap_or_default();
    if items.len() > limits::DEPENDENCIES_PER_STEP {
        let message = format!("the step has {} dependencies", items.len());
        let remedy = format!("keep at most {}; what those depend on has ended too", limits::DEPENDENCIES_PER_STEP);
        reader.wrong::<()>(node.at, message, remedy);
        shapes[step].is_resolved = false;
        return;
    }
    for item in items {
        let dependency = reader
            .text("dependencies", item, limits::ID_BYTES + definition_limits::NAME_BYTES)
            .and_then(|text| dependency(reader, shapes, step, by_id, text))
            .and_then(|dependency| check_repeated(reader, &found, dependency, item));
        is_resolved &= dependency.is_some();
        found.extend(dependency);
    }
    shapes[step].dependencies = found;
    shapes[step].is_resolved = is_resolved;
}

/// Reads `ID`, or `ID.CASE` for a case of a switch. `route.CASE` also names a case that only one switch has, when no step is
/// called `route`.
fn dependency(
    reader: &mut Reader<'_>,
    shapes: &[Shape<'_>],
    step: usize,
    by_id: &HashMap<Arc<str>, usize>,
    text: &Text,
) -> Option<Dependency> {
    let (id, case) = text.value.split_once('.').map_or((&*text.value, None), |(id, case)| (id, Some(case)));
    let with_case = |case: &str| {
        let mut with = shapes.iter().enumerate().filter(|(_, it)| it.cases.iter().any(|name| **name == *case));
        with.next().filter(|_| with.next().is_none()).map(|(index, _)| index)
    };
    let found = match (by_id.get(id), case) {
        (None, Some(case)) if id == "route" => with_case(case),
        (found, _) => found.copied(),
    };
    let Some(index) = found else {
        let known: Vec<&str> = shapes.iter().map(|shape| &*shape.id).filter(|it| !it.is_empty()).collect();
        return reader.wrong(text.at, format!("there is no step {}", quote(id)), suggestion(id, &known));
    };
    if index == step {
        return reader.wrong(text.at, format!("the step {} waits for itself", quote(id)), "leave this dependency out");
    }
    let Some(case) = case else { return Some(Dependency { step: index, case: None }) };
    let target = &shapes[index];
    if let Some(name) = target.cases.iter().find(|name| ***name == *case) {
        return Some(Dependency { step: index, case: Some(name.clone()) });
    }
    let known: Vec<&str> = target.cases.iter().map(|name| &**name).collect();
    match target.step_type {
        Some(StepType::Switch) => {
            let message = format!("the switch {} has no case {}", quote(&target.id), quote(case));
            reader.wrong(text.at, message, suggestion(case, &known))
        }
        Some(_) | None => {
            let message = format!("the step {} is no switch and has no cases", quote(&target.id));
            reader.wrong(text.at, message, format!("write `{}`", target.id))
        }
    }
}

/// Refuses a dependency that is there already, and two cases of one switch, of which at most one is ever chosen.
fn check_repeated(
    reader: &mut Reader<'_>,
    found: &[Dependency],
    dependency: Dependency,
    node: &Node,
) -> Option<Dependency> {
    match found.iter().find(|it| it.step == dependency.step) {
        Some(other) if *other == dependency => {
            reader.wrong(node.at, "this dependency is written twice", "leave one of them out")
        }
        Some(Dependency { case: Some(_), .. }) if dependency.case.is_some() => {
            let message = "this step depends on two cases of one switch, which are never both chosen";
            reader.wrong(node.at, message, "depend on the switch itself, and test its output in `when`")
        }
        Some(_) | None => Some(dependency),
    }
}

fn refuse_cycles(reader: &mut Reader<'_>, shapes: &[Shape<'_>], graph: &Graph) {
    for cycle in graph.cycles() {
        // Told from the step that is written first, so that the same cycle always reads the same.
        let first = (0..cycle.len()).min_by_key(|position| cycle[*position]).unwrap_or_default();
        let turned = cycle.iter().cycle().skip(first).take(cycle.len() + 1);
        let mut spelled: Vec<&str> = turned.map(|step| &*shapes[*step].id).collect();
        if spelled.len() > definition_limits::SPELLED_STEPS {
            spelled.splice(definition_limits::SPELLED_STEPS / 2..spelled.len() - 1, ["…"]);
        }
        let at = cycle.get(first).map_or(0, |step| shapes[*step].fields.get("dependencies").map_or(0, |it| it.at));
        let message = format!("these steps wait for each other: {}", spelled.join(" → "));
        reader.wrong::<()>(at, message, "take one of these dependencies away");
    }
}

/// Reads what a step does, knowing which steps come before it.
fn read(
    reader: &mut Reader<'_>,
    shapes: &[Shape<'_>],
    step: usize,
    graph: &Graph,
    retries: Option<&Retries>,
) -> Option<Step> {
    let shape = &shapes[step];
    let before = graph.before(step);
    // Behind a dependency that was not understood, any step may come before: one mistake is told once.
    let is_sure = shape.is_resolved && shapes.iter().zip(&before).all(|(it, before)| !before || it.is_resolved);
    let comes_before = |index: usize| index != step && (before[index] || !is_sure);
    let names: Vec<_> = (shapes.iter().enumerate())
        .map(|(index, it)| StepName { id: &it.id, index, comes_before: comes_before(index) })
        .collect();
    let names = Names::of_step(&names);
    shape.fields.get("name").map(|node| reader.text("name", node, definition_limits::NAME_BYTES));
    check_inert(reader, &shape.fields, shape.step_type);
    let when = shape.fields.get("when").map(|node| reader.condition("when", node, &names));
    let choices = [("fail", OnError::Fail), ("continue", OnError::Continue)];
    let on_error = shape.fields.get("onError").map(|node| reader.choice("onError", node, &choices));
    let order = shape.fields.get("order").map(|node| reader.signed("order", node));
    let action = shape.step_type.and_then(|it| action::read(reader, it, &shape.fields, &names, retries));
    Some(Step {
        id: shape.id.clone(),
        action: action?,
        dependencies: shape.dependencies.clone(),
        when: when.map_or(Some(None), |it| it.map(Some))?,
        on_error: on_error.map_or(Some(OnError::default()), |it| it)?,
        order: order.map_or(Some(0), |it| it)?,
    })
}

/// Checks what says nothing to a step of a type, and is part of every step all the same.
fn check_inert(reader: &mut Reader<'_>, fields: &Fields<'_>, step_type: Option<StepType>) {
    if !matches!(step_type, Some(StepType::Http | StepType::Approval | StepType::Workflow)) {
        fields.get("timeout").map(|node| reader.duration("timeout", node));
    }
    if let Some(node) = fields.get("retryConfig").filter(|_| step_type != Some(StepType::Http)) {
        Retries::read(reader, "`retryConfig`", node);
    }
}

/// What the engine refuses is refused above, with its place; this is the engine's word should the two ever differ.
fn explain(reader: &mut Reader<'_>, node: &Node, error: &PlanError) {
    let place = |step: usize| node.items().get(step).map_or(node.at, |item| item.at);
    let (at, message) = match error {
        PlanError::TooManySteps => (node.at, "there are too many steps".into()),
        PlanError::DuplicateId(id) => (node.at, format!("two steps are called {}", quote(id))),
        PlanError::BadDependency { step, dependency } => {
            (place(*step), format!("dependency {} of this step cannot be", dependency + 1))
        }
        PlanError::Cycle(ids) => (node.at, format!("these steps wait for each other: {}", ids.join(" → "))),
    };
    reader.wrong::<()>(at, message, "change the steps so that each waits only for steps that can end");
}
