//! Runs in pieces: what waits ends later, and the run goes on from there.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::engine::event::{Event, Origin, SourceRecord, Topic};
use crate::engine::expression::{Program, Template};
use crate::engine::plan::Wait;

/// A step of a test: what it does, what it depends on, its `when`.
#[derive(Clone, Debug)]
struct Sketch {
    kind: Kind,
    dependencies: Vec<usize>,
    when: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends with its number as output.
    Transform,
    Condition(bool),
    /// Fails, and the run goes on.
    Fail,
    Delay,
}

fn steps(sketches: &[Sketch]) -> Vec<Step> {
    let step = |(index, sketch): (usize, &Sketch)| Step {
        id: format!("s{index}").into(),
        action: match sketch.kind {
            Kind::Transform => Action::Transform { output: Template::Literal(Value::Int(index as i64)) },
            Kind::Condition(holds) => Action::Condition { test: Program::literal(Value::Bool(holds)) },
            Kind::Fail => {
                let message = Template::Literal(Value::text("on purpose"));
                Action::Fail { message, class: ErrorClass::Permanent }
            }
            Kind::Delay => Action::Wait(Wait::Delay(Duration::from_secs(1))),
        },
        dependencies: sketch.dependencies.iter().map(|&step| Dependency { step, case: None }).collect(),
        when: sketch.when.map(|holds| Program::literal(Value::Bool(holds))),
        on_error: OnError::Continue,
        order: 0,
    };
    sketches.iter().enumerate().map(step).collect()
}

fn plan(sketches: &[Sketch]) -> Plan {
    Plan::new(steps(sketches)).unwrap()
}

fn go(plan: &Plan, ended: &[EndedStep], waiting: &[usize]) -> Run {
    let topic = Arc::new(Topic { name: "t".into(), id: [0; 16] });
    let record = SourceRecord::new(Origin { topic, partition: 0, offset: 0 }, 0, None, None, std::iter::empty());
    let (id, kind, source) = ("1".into(), "a".into(), "/".into());
    let event =
        Event { record, id, kind, source, subject: None, time: None, schema: None, key: None, data: Value::Null };
    let scope = Scope {
        event: &event,
        steps: &[],
        execution_id: "0000-00",
        workflow_id: "w",
        workflow_version: "1.0.0",
        vars: &Value::Null,
    };
    run(plan, RunInput { scope, refusals: &[], ended, waiting, output_bytes: 0 })
}

fn views(run: Run) -> impl Iterator<Item = EndedStep> {
    run.steps.into_iter().map(|it| EndedStep { step: it.step, view: StepView { status: it.status, output: it.output } })
}

/// What became of each step, in the order of the plan.
fn by_step(mut ended: Vec<EndedStep>) -> Vec<(usize, StepStatus, Value)> {
    ended.sort_by_key(|it| it.step);
    ended.into_iter().map(|it| (it.step, it.view.status, it.view.output)).collect()
}

fn sketch(kind: Kind, dependencies: &[usize]) -> Sketch {
    Sketch { kind, dependencies: dependencies.to_vec(), when: None }
}

/// Checks which steps wait, and which have ended, when those that wait at first end one after the other.
#[track_caller]
fn check(sketches: &[Sketch], expected: &[(&[usize], &[usize])]) {
    let plan = plan(sketches);
    let (mut ended, mut waiting, mut found) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let run = go(&plan, &ended, &waiting);
        waiting.extend(&run.waits);
        ended.extend(views(run));
        found.push((waiting.clone(), by_step(ended.clone()).iter().map(|it| it.0).collect::<Vec<_>>()));
        if waiting.is_empty() {
            break;
        }
        let view = StepView { status: StepStatus::Completed, output: Value::Null };
        ended.push(EndedStep { step: waiting.remove(0), view });
    }
    let expected: Vec<_> = expected.iter().map(|(waits, ended)| (waits.to_vec(), ended.to_vec())).collect();
    assert_eq!(found, expected);
}

#[test]
fn steps_without_a_path_between_them_wait_at_the_same_time() {
    let (delay, shape) = (Kind::Delay, Kind::Transform);
    check(&[sketch(delay, &[]), sketch(delay, &[])], &[(&[0, 1], &[]), (&[1], &[0]), (&[], &[0, 1])]);
    check(&[sketch(delay, &[]), sketch(delay, &[0])], &[(&[0], &[]), (&[1], &[0]), (&[], &[0, 1])]);
    // What does not depend on the wait does not wait for it.
    check(&[sketch(delay, &[]), sketch(shape, &[0]), sketch(shape, &[])], &[(&[0], &[2]), (&[], &[0, 1, 2])]);
}

#[test]
fn a_step_that_is_skipped_does_not_wait() {
    check(&[sketch(Kind::Condition(false), &[]), sketch(Kind::Delay, &[0])], &[(&[], &[0, 1])]);
}

#[test]
fn a_failure_for_good_ends_the_run_and_its_waits() {
    let sketches = [sketch(Kind::Delay, &[]), sketch(Kind::Fail, &[]), sketch(Kind::Transform, &[1])];
    let continued = go(&plan(&sketches), &[], &[]);
    assert_eq!((continued.waits, continued.failure.is_none(), continued.steps.len()), (vec![0], true, 2));
    let mut steps = steps(&sketches);
    steps[1].on_error = OnError::Fail;
    let failed = go(&Plan::new(steps).unwrap(), &[], &[]);
    assert_eq!((failed.waits, failed.failure.map(|it| it.step), failed.steps.len()), (vec![], Some(1), 1));
}

/// Steps of which each may depend on those before it, and for each whether it is to wait where it could.
fn sketches() -> impl Strategy<Value = (Vec<Sketch>, Vec<bool>)> {
    let kind = prop_oneof![
        3 => Just(Kind::Transform),
        1 => any::<bool>().prop_map(Kind::Condition),
        1 => Just(Kind::Fail),
    ];
    let when = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let step = (kind, any::<u16>(), when, any::<bool>());
    proptest::collection::vec(step, 1..12).prop_map(|steps| {
        let sketch = |(index, (kind, mask, when, _)): (usize, &(Kind, u16, Option<bool>, bool))| Sketch {
            kind: *kind,
            // Two of three possible edges are left out: a plan in which all depends on all has nothing to wait at once.
            dependencies: (0..index).filter(|it| (mask >> it) & 1 == 1 && (it + index) % 3 == 0).collect(),
            when: *when,
        };
        let waits = steps.iter().map(|it| it.3).collect();
        (steps.iter().enumerate().map(sketch).collect(), waits)
    })
}

proptest! {
    #[test]
    fn a_run_in_pieces_comes_to_the_same_as_one_in_one_go(
        (whole, waits) in sketches(),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 16),
    ) {
        let expected = by_step(views(go(&plan(&whole), &[], &[])).collect());
        let may_wait = |it: Kind| matches!(it, Kind::Transform | Kind::Fail);
        let pieces: Vec<Sketch> = whole.iter().zip(&waits).map(|(it, &wait)| {
            if wait && may_wait(it.kind) { Sketch { kind: Kind::Delay, ..it.clone() } } else { it.clone() }
        }).collect();
        let pieces = plan(&pieces);
        let (mut ended, mut waiting, mut picks) = (Vec::new(), Vec::new(), picks.into_iter());
        loop {
            let run = go(&pieces, &ended, &waiting);
            waiting.extend(&run.waits);
            ended.extend(views(run));
            if waiting.is_empty() {
                break;
            }
            // Whichever is over first, it ends as it would have in place.
            let step = waiting.remove(picks.next().unwrap().index(waiting.len()));
            let (_, status, output) = expected[step].clone();
            ended.push(EndedStep { step, view: StepView { status, output } });
        }
        prop_assert_eq!(by_step(ended), expected);
    }
}
