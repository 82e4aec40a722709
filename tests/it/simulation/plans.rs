//! What the workflows of the simulated cluster do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::engine::call::{Expected, HttpCall};
use tidegate::engine::expression::Template;
use tidegate::engine::plan::{Action, ChildCall, Dependency, OnError, Plan, Produce, Step, Wait};
use tidegate::engine::retry::{RETRIES, RetryPolicy};
use tidegate::engine::value::Value;
use tidegate::engine::workflow::WorkflowId;

/// What the name of a workflow begins with says what it does.
pub fn plan_of(plans: &BTreeMap<&'static str, Arc<Plan>>, id: &WorkflowId) -> Arc<Plan> {
    let name = id.as_str().split('-').next().unwrap();
    plans[name].clone()
}

/// What the workflows do, by the first word of their ids.
pub fn plans() -> BTreeMap<&'static str, Arc<Plan>> {
    BTreeMap::from([
        ("order", ordered(true)),
        ("calls", plan(vec![("call", child("waits-6", None), &[]), ("ship", produce("shipped-after").1, &[0])])),
        ("flow", plan(vec![produce("shipped")])),
        ("refused", plan(vec![produce("refuses")])),
        (
            "waits",
            plan(vec![
                ("pause", Action::Wait(Wait::Delay(Duration::from_millis(20))), &[]),
                call("charge", ("x", "/"), &[]),
                call(TRY, ("y", "/"), &[]),
                ("ship", produce("shipped-late").1, &[0, 1, 2]),
            ]),
        ),
        (
            "again",
            plan(vec![
                call("charge", ("x", MAY_BE_GONE), &[]),
                (TELL, produce("refuses").1, &[0]),
                call("notify", ("y", MAY_BE_GONE), &[1]),
                ("ship", produce("shipped-again").1, &[2]),
            ]),
        ),
        (
            "gone",
            plan(vec![
                call("charge", ("x", "/"), &[]),
                ("refused", produce("refuses").1, &[0]),
                call("notify", ("y", "/"), &[1]),
            ]),
        ),
    ])
}

type NamedStep = (&'static str, Action, &'static [usize]);

fn produce(topic: &str) -> NamedStep {
    let produce = Produce {
        topic: Template::Literal(Value::text(topic)),
        key: None,
        value: Template::Literal(Value::Null),
        subject: None,
        headers: Vec::new(),
        partition: None,
    };
    ("ship", Action::Produce(produce), &[])
}

/// A path at which some executions find nothing. Where steps wait at the same time, which of them fails first would be a matter of chance.
pub const MAY_BE_GONE: &str = "/may-be-gone";

/// Starts another workflow, which is to end in time.
fn child(id: &str, timeout: Option<Duration>) -> Action {
    let (workflow, input) = (WorkflowId::new(id).unwrap(), None);
    Action::Wait(Wait::Workflow(ChildCall { workflow, version: None, input, timeout }))
}

/// What the workflows are called that do not wait long for another one.
pub const IN_TIME: [&str; 2] = ["brief-", "patient-"];

/// What they do: one fails if the other one has not ended in time, one goes on.
pub fn in_time(timeout: Duration) -> [(&'static str, Arc<Plan>); 2] {
    let steps =
        |call| vec![(call, child("waits-6", Some(timeout)), &[][..]), ("ship", produce("shipped-in-time").1, &[0])];
    [("brief", plan(steps("call"))), ("patient", plan(steps(TRY)))]
}

/// What the workflow is called whose executions of one key run one by one, in order.
pub const ORDERED: &str = "order-";

pub fn ordered(by_key: bool) -> Arc<Plan> {
    let steps = plan(vec![call("charge", ("x", MAY_BE_GONE), &[]), call("notify", ("y", "/"), &[0])]);
    let mut plan = Arc::into_inner(steps).unwrap();
    plan.turns.by_key = by_key;
    Arc::new(plan)
}

/// How often a step is called again, and when. Those of which it does not matter whether they succeed are given up soon.
pub fn retry(step: &str) -> RetryPolicy {
    let max_retries = if step == TRY { 2 } else { RETRIES };
    RetryPolicy { max_retries, base_delay_ms: 20, max_delay_ms: 100, ..RetryPolicy::default() }
}

/// The name of a step that writes what is refused.
const TELL: &str = "tell";
/// The name of a call that may fail.
const TRY: &str = "try";

fn call(step: &'static str, (connector, path): (&str, &str), dependencies: &'static [usize]) -> NamedStep {
    let call = HttpCall {
        connector: connector.into(),
        method: "POST".into(),
        path: Template::Literal(Value::text(path)),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        expect: vec![Expected::Class(2)],
        timeout: Duration::from_secs(1),
        retry: retry(step),
    };
    (step, Action::Wait(Wait::Http(Box::new(call))), dependencies)
}

/// An execution goes on if a step called `tell` or `try` fails.
fn plan(steps: Vec<NamedStep>) -> Arc<Plan> {
    let step = |(id, action, dependencies): NamedStep| Step {
        id: id.into(),
        action,
        dependencies: dependencies.iter().map(|step| Dependency { step: *step, case: None }).collect(),
        when: None,
        on_error: if [TELL, TRY].contains(&id) { OnError::Continue } else { OnError::Fail },
        order: 0,
    };
    Arc::new(Plan::new(steps.into_iter().map(step).collect()).unwrap())
}
