//! Steps that wait until they are told something, or until a point in time.

use super::*;
use crate::engine::plan::{Approval, ChildCall};
use crate::engine::signal::{Decision, Signal, Told};

/// A world whose workflow waits so, and then goes on to a step that needs that.
fn world(wait: Wait) -> World {
    let mut world = World::new("/");
    world.definition = Some(waits("w", wait));
    world
}

pub(super) fn waits(id: &str, wait: Wait) -> Definition {
    waits_or(id, wait, OnError::Fail)
}

fn waits_or(id: &str, wait: Wait, on_error: OnError) -> Definition {
    let step =
        |id: &str, action, dependencies| Step { id: id.into(), action, dependencies, when: None, on_error, order: 0 };
    let before = crate::engine::plan::Dependency { step: 0, case: None };
    let after = Action::Transform { output: Template::Literal(Value::Int(7)) };
    let steps = vec![step("wait", Action::Wait(wait), Vec::new()), step("after", after, vec![before])];
    let Definition { workflow, .. } = definition("/");
    let workflow = Arc::new(Workflow { id: WorkflowId::new(id).unwrap(), ..(*workflow).clone() });
    Definition { workflow, plan: Arc::new(Plan::new(steps).unwrap()) }
}

/// A workflow that waits until then.
pub(super) fn until(time: &str) -> Definition {
    waits("w", Wait::Until(literal(time)))
}

fn literal(text: &str) -> Template {
    Template::Literal(Value::text(text))
}

impl World {
    /// The workflow of this world is started.
    pub(super) fn begins(&mut self) -> ExecutionId {
        let Definition { workflow, plan } = self.definition.clone().unwrap();
        let execution = Execution::new(&self.identity, workflow, plan, event(7), self.now_ms);
        let id = execution.id;
        self.take(&Subject::Execution(Box::new(execution)).leave(self.now_ms));
        self.go();
        id
    }

    pub(super) fn tell(&mut self, execution: ExecutionId, step: &str, told: Told) {
        let content = Content::Signal(Arc::new(Signal { step: step.into(), told }));
        self.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Signal), content });
        self.go();
    }

    fn passes(&mut self, ms: i64) {
        self.now_ms += ms;
        self.go();
    }
}

pub(super) fn approved() -> Told {
    Told::Decision { decision: Decision::Approved, by: "ops".into(), comment: "".into() }
}

pub(super) fn approval(timeout: Option<u64>, on_timeout: OnError) -> Wait {
    let timeout = timeout.map(Duration::from_secs);
    Wait::Approval(Approval { timeout, on_timeout, message: Some(literal("may I?")) })
}

#[test]
pub(super) fn an_approval_is_asked_for_once_and_waits_for_a_decision() {
    let mut world = world(approval(None, OnError::Fail));
    let execution = world.begins();
    world.says(&["running", "wait pending after 0"]);
    world.passes(1_000_000);
    // A new owner does not ask again.
    world.assign();
    world.go();
    world.tell(execution, "other", approved());
    world.says(&[]);
    world.tell(execution, "wait", approved());
    world.says(&["wait completed after 1", "after completed after 1", "completed"]);
    world.tell(execution, "wait", approved());
    world.says(&[]);
}

#[test]
pub(super) fn a_decision_that_comes_between_two_owners_counts() {
    let mut world = world(approval(None, OnError::Fail));
    let execution = world.begins();
    let content = Content::Signal(Arc::new(Signal { step: "wait".into(), told: approved() }));
    world.log.push(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Signal), content });
    world.said.clear();
    world.assign();
    world.go();
    world.says(&["wait completed after 1", "after completed after 1", "completed"]);
}

#[test]
pub(super) fn an_approval_that_nobody_gives_in_time_fails_or_goes_on() {
    let mut fails = world(approval(Some(10), OnError::Fail));
    fails.begins();
    fails.said.clear();
    fails.passes(9_000);
    fails.says(&[]);
    fails.passes(1_000);
    fails.says(&["wait failed after 1", "dead letter timeout permanent: nobody decided within 10 s", "failed"]);
    let mut goes_on = world(approval(Some(10), OnError::Continue));
    goes_on.begins();
    goes_on.said.clear();
    goes_on.passes(10_000);
    goes_on.says(&["wait completed after 1", "after completed after 1", "completed"]);
}

#[test]
pub(super) fn signals_that_nobody_waits_for_are_over_with() {
    let mut world = world(approval(None, OnError::Fail));
    let execution = world.begins();
    for _ in 0..100 {
        world.tell(execution, "other", approved());
    }
    let live = world.owner.wards[&0].log.live(execution).unwrap();
    assert!(live.mail_count() <= 1, "{} pieces of mail are kept", live.mail_count());
}

#[test]
pub(super) fn a_delay_ends_at_a_point_in_time() {
    let mut later = world(Wait::Until(literal("1970-01-01T00:01:00Z")));
    later.begins();
    later.said.clear();
    later.passes(59_000);
    later.assign();
    later.go();
    later.says(&[]);
    later.passes(1_000);
    later.says(&["wait completed after 1", "after completed after 1", "completed"]);
    let mut past = world(Wait::Until(literal("1969-01-01T00:00:00Z")));
    past.begins();
    past.says(&["running", "wait completed after 1", "after completed after 1", "completed"]);
    let mut wrong = world(Wait::Until(literal("tomorrow")));
    wrong.begins();
    let said = std::mem::take(&mut wrong.said);
    assert!(said[2].starts_with("dead letter step permanent: `until` is no point in time"), "{said:?}");
}

pub(super) fn child_call() -> Wait {
    let (workflow, input) = (WorkflowId::new("child").unwrap(), Some(literal("in")));
    Wait::Workflow(ChildCall { workflow, version: None, input, timeout: None })
}

#[test]
pub(super) fn a_sub_workflow_runs_once_and_its_last_output_comes_back() {
    let mut world = world(child_call());
    world.child = Some(waits("child", Wait::Delay(Duration::from_secs(5))));
    world.begins();
    world.says(&["running", "running"]);
    world.passes(2_000);
    world.assign();
    world.go();
    world.says(&[]);
    world.passes(3_000);
    world.says(&[
        "wait completed after 1",
        "after completed after 1",
        "completed",
        "wait completed after 1",
        "after completed after 1",
        "completed",
    ]);
    world.assign();
    assert_eq!(world.owner.live(), 0);
}

#[test]
pub(super) fn a_sub_workflow_that_fails_fails_its_step() {
    let mut world = world(child_call());
    world.child = Some(waits("child", Wait::Until(literal("never"))));
    world.begins();
    let said = std::mem::take(&mut world.said);
    let letters: Vec<&String> = said.iter().filter(|it| it.starts_with("dead letter")).collect();
    assert!(letters[0].contains("`until` is no point in time"), "{said:?}");
    assert!(letters[1].contains("ended as failed: `until` is no point in time"), "{said:?}");
    // The child comes back with what it was given, and tells a parent that waits no more.
    let child = world.letters[0].clone();
    assert_eq!(child.execution.as_ref().unwrap().parent.as_ref().unwrap().input, Value::text("in"));
    world.child = Some(waits("child", Wait::Until(literal("1969-01-01T00:00:00Z"))));
    world.append(crate::engine::replay::resume(child, &Default::default(), 1, world.now_ms));
    world.go();
    world.says(&["running", "wait completed after 1", "after completed after 1", "completed"]);
    assert_eq!(world.owner.live(), 0);
}

#[test]
pub(super) fn an_output_that_the_journal_does_not_take_fails_the_parent_and_ends_the_child() {
    let mut world = world(child_call());
    world.child = Some(waits("child", Wait::Delay(Duration::from_secs(5))));
    world.begins();
    world.said.clear();
    world.journal_takes = 0;
    world.passes(5_000);
    assert_eq!(world.said[..3], ["wait completed after 1", "after completed after 1", "completed"]);
    let letter = &world.letters[0].failure.message;
    assert!(letter.contains("its output cannot be passed on: too large for the journal"), "{letter}");
    assert_eq!(world.owner.live(), 0);
}

#[test]
pub(super) fn a_decision_that_comes_before_it_was_asked_for_counts() {
    let mut world = world(approval(None, OnError::Fail));
    let Definition { workflow, plan } = world.definition.clone().unwrap();
    let execution = Execution::new(&world.identity, workflow, plan, event(7), world.now_ms);
    let id = execution.id;
    world.take(&Subject::Execution(Box::new(execution)).leave(world.now_ms));
    let content = Content::Signal(Arc::new(Signal { step: "wait".into(), told: approved() }));
    world.append(JournalRecord { execution: id, run: 1, entry: Entry::Mail(Mail::Signal), content });
    world.go();
    assert_eq!(world.said.last().map(String::as_str), Some("completed"), "{:?}", world.said);
}

#[test]
pub(super) fn a_parent_that_is_cancelled_cancels_its_children() {
    let mut world = world(child_call());
    world.child = Some(waits("child", approval(None, OnError::Fail)));
    let execution = world.begins();
    world.said.clear();
    world.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
    world.go();
    let cancelled = "dead letter cancelled permanent: it was cancelled";
    world.says(&[cancelled, "cancelled", cancelled, "cancelled"]);
    assert_eq!(world.owner.live(), 0);
}

#[test]
pub(super) fn a_workflow_that_starts_itself_ends() {
    let mut world = world(child_call());
    world.child = Some(waits("child", child_call()));
    world.begins();
    for _ in 0..50 {
        world.passes(10);
    }
    assert_eq!(world.owner.live(), 0);
    assert!(world.letters[0].failure.message.contains("nest deeper than 10 levels"), "{:?}", world.letters[0].failure);
    assert_eq!(world.letters.len(), 11);
}

#[test]
pub(super) fn a_sub_workflow_that_is_not_there_is_waited_for_and_then_fails_its_step() {
    let mut world = world(child_call());
    world.begins();
    world.passes(UNKNOWN_DEFINITION_MS / 2);
    world.says(&["running"]);
    world.passes(UNKNOWN_DEFINITION_MS);
    world.says(&["wait failed after 0", "dead letter step config: child is not installed; apply it", "failed"]);
}

#[test]
pub(super) fn a_sub_workflow_that_does_not_end_in_time_is_cancelled_and_fails_its_step() {
    let bounded = |on_error| {
        let Wait::Workflow(call) = child_call() else { unreachable!("it calls a workflow") };
        let wait = Wait::Workflow(ChildCall { timeout: Some(Duration::from_secs(10)), ..call });
        let mut world = World::new("/");
        world.definition = Some(waits_or("w", wait, on_error));
        world
    };
    let (late, cancelled) = (
        "dead letter timeout retryable: the sub-workflow child did not end within the step's `timeout` of 10000 ms; it is cancelled",
        "dead letter cancelled permanent: it was cancelled",
    );
    let mut fails = bounded(OnError::Fail);
    fails.child = Some(waits("child", approval(None, OnError::Fail)));
    fails.begins();
    fails.said.clear();
    fails.passes(9_000);
    // A new owner knows when it is late.
    fails.assign();
    fails.passes(900);
    fails.says(&[]);
    fails.passes(100);
    fails.says(&["wait failed after 1", late, "failed", cancelled, "cancelled"]);
    assert_eq!(fails.owner.live(), 0);
    let mut goes_on = bounded(OnError::Continue);
    goes_on.child = Some(waits("child", approval(None, OnError::Fail)));
    goes_on.begins();
    goes_on.said.clear();
    goes_on.passes(10_000);
    goes_on.says(&["wait failed after 1", "after completed after 1", "completed", cancelled, "cancelled"]);
    // Nor does it wait longer for one that is not installed.
    let mut absent = bounded(OnError::Fail);
    absent.begins();
    absent.said.clear();
    absent.passes(9_000);
    absent.says(&[]);
    absent.passes(1_000);
    let said = std::mem::take(&mut absent.said);
    assert!(said[1].contains("of 10000 ms, which was not there to be started"), "{said:?}");
    assert_eq!(absent.owner.live(), 0);
}
