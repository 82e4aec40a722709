//! Families that come back where executions run in turns: the parent queues, and what it waits for goes on meanwhile.

use proptest::prelude::*;

use super::told::{approval, approved};
use super::*;
use crate::engine::checkpoint::Checkpoint;
use crate::engine::plan::{Dependency, Turns};
use crate::engine::record::ExecutionStatus;
use crate::engine::replay::{self, ChildAgain, Repair};
use crate::engine::signal::{Signal, Told};

const BY_KEY: Turns = Turns { concurrency: 0, by_key: true, wait_max: None };
const ONE_AT_ONCE: Turns = Turns { concurrency: 1, by_key: false, wait_max: None };
/// The steps that wait for sub-workflows.
const STEPS: [&str; 2] = ["one", "two"];

/// A workflow that starts two others and then goes on to a step that needs both, and whose executions run in turns.
fn parent(turns: Turns) -> Definition {
    let step = |id: &str, action, dependencies| {
        let (when, on_error, order) = (None, OnError::Fail, 0);
        Step { id: id.into(), action, dependencies, when, on_error, order }
    };
    let [one, two] = STEPS.map(|id| step(id, Action::Wait(told::child_call()), Vec::new()));
    let both = [0, 1].map(|step| Dependency { step, case: None }).into();
    let after = step("after", Action::Transform { output: Template::Literal(Value::Int(7)) }, both);
    let mut plan = Plan::new(vec![one, two, after]).unwrap();
    plan.turns = turns;
    Definition { workflow: definition("/").workflow, plan: Arc::new(plan) }
}

/// A family that has failed and has come back: its parent queues behind another execution, which runs.
struct Family {
    world: World,
    parent: ExecutionId,
    children: [ExecutionId; 2],
    /// The children of the one before it.
    before: [ExecutionId; 2],
}

/// What may happen to a family.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// A new owner reads the journal, from where it has to.
    Restored,
    /// The parent is told something that nobody waits for, so that where it stands is written once more.
    AppendedAgain,
    /// That child ends well.
    Ends(usize),
    /// That child fails again.
    Fails(usize),
    /// The one before it ends.
    TurnComes,
    /// Another execution comes, which is to wait for it.
    AnotherComes,
}

impl World {
    fn restore(&mut self) {
        let from = self.owner.position(0).unwrap().next_offset;
        self.owner = Owner::new(self.identity.clone(), LEASE_MS, self.budget);
        self.owner.handle_assigned(World::partition(), AssignmentId(1), &Position::at(from), self.now_ms);
        (from as usize..self.log.len()).for_each(|offset| self.feed(offset));
        self.owner.handle_restored(0, self.now_ms);
        self.go();
    }

    fn cancel(&mut self, execution: ExecutionId) {
        self.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
        self.go();
    }

    /// The sub-workflows that an execution waits for since it has begun.
    fn children_of(&self, execution: ExecutionId) -> [ExecutionId; 2] {
        let waits = self.states(execution).last().map(|(_, checkpoint)| checkpoint.waits.clone()).unwrap();
        STEPS.map(|step| waits.iter().find(|wait| &*wait.step == step).and_then(|wait| wait.child).unwrap())
    }

    /// Where an execution stood, as its owner has written it.
    fn states(&self, execution: ExecutionId) -> impl Iterator<Item = (usize, &Checkpoint)> {
        self.log.iter().enumerate().filter(move |(_, it)| it.execution == execution).filter_map(|(offset, it)| {
            match (it.entry, &it.content) {
                (Entry::State { .. }, Content::Checkpoint(checkpoint)) => Some((offset, &**checkpoint)),
                _ => None,
            }
        })
    }

    /// Where a run of an execution has ended.
    fn ends(&self, execution: ExecutionId, run: u32) -> Vec<usize> {
        let is_it = |it: &JournalRecord| (it.execution, it.run, it.entry) == (execution, run, Entry::End);
        self.log.iter().enumerate().filter(|(_, it)| is_it(it)).map(|(offset, _)| offset).collect()
    }
}

impl Family {
    fn new(turns: Turns, timeout: Option<Duration>) -> Family {
        let mut world = World::new("/");
        world.definition = Some(parent(turns));
        world.child = Some(told::waits("child", approval(None, OnError::Fail)));
        let parent = world.comes(1, "a");
        let children = world.children_of(parent);
        let before = world.comes(2, "a");
        world.cancel(children[0]);
        let before = world.children_of(before);
        let letter = |id: ExecutionId| {
            let is_its = |it: &&DeadLetter| it.execution.as_ref().is_some_and(|it| it.id == id);
            world.letters.iter().find(is_its).unwrap().clone()
        };
        let again = |number: usize| ChildAgain { step: STEPS[number].into(), execution: children[number], timeout };
        let with_them = Repair { children: [0, 1].map(again).into(), ..Repair::default() };
        let with_it = Repair { parent_run: Some(2), ..Repair::default() };
        let mails = children.map(|child| replay::resume(letter(child), &with_it, 1, world.now_ms));
        let of_parent = replay::resume(letter(parent), &with_them, 1, world.now_ms);
        mails.into_iter().chain([of_parent]).for_each(|mail| world.append(mail));
        world.go();
        world.said.clear();
        Family { world, parent, children, before }
    }

    fn tell(&mut self, execution: ExecutionId, step: &str) {
        self.world.tell(execution, step, approved());
    }

    /// The parent's mail that no state includes.
    fn unheard(&self) -> usize {
        let live = self.world.owner.wards[&0].log.live(self.parent);
        live.map_or(0, |live| live.mail().filter(|(mail, _)| *mail == Mail::Signal).count())
    }
}

/// Whatever happens meanwhile, and wherever the family is kept: the parent begins once, when its turn has come, goes on once with what its
/// sub-workflows came to, and those that came later come after it.
fn check(turns: Turns, budget: usize, meanwhile: &[Meanwhile]) {
    BUDGET.set(budget);
    let mut family = Family::new(turns, None);
    let (mut is_live, mut is_its_turn, mut has_failed, mut others) = ([true; 2], false, false, Vec::new());
    let to_the_end = [Meanwhile::TurnComes, Meanwhile::Ends(0), Meanwhile::Ends(1), Meanwhile::Restored];
    for what in meanwhile.iter().chain(&to_the_end) {
        match *what {
            Meanwhile::Restored => family.world.restore(),
            Meanwhile::AppendedAgain => family.tell(family.parent, "nobody"),
            Meanwhile::Ends(child) if is_live[child] => {
                is_live[child] = false;
                family.tell(family.children[child], "wait");
            }
            Meanwhile::Fails(child) if is_live[child] => {
                (is_live, has_failed) = ([false; 2], true);
                family.world.cancel(family.children[child]);
            }
            Meanwhile::TurnComes if !is_its_turn => {
                is_its_turn = true;
                family.before.into_iter().for_each(|child| family.tell(child, "wait"));
            }
            Meanwhile::AnotherComes => others.push(family.world.comes(10 + others.len() as i64, "a")),
            Meanwhile::Ends(_) | Meanwhile::Fails(_) | Meanwhile::TurnComes => {}
        }
        let Family { world, parent, .. } = &family;
        let has_begun = world.states(*parent).any(|(offset, it)| offset > world.ends(*parent, 1)[0] && it.has_begun());
        assert!(!has_begun || is_its_turn, "{what:?}: it has begun before its turn");
        let must_have_ended = has_failed || (is_its_turn && is_live == [false; 2]);
        assert_eq!(world.ends(*parent, 2).len(), usize::from(must_have_ended), "{what:?}");
        assert_eq!(family.unheard(), 0, "{what:?}: what it was told keeps the position where it is");
    }
    let end = family.world.ends(family.parent, 2)[0];
    for other in others {
        let began = family.world.states(other).find(|(_, it)| it.has_begun()).unwrap().0;
        assert!(began > end, "one that came later has begun before it");
        family.world.children_of(other).into_iter().for_each(|child| family.tell(child, "wait"));
    }
    let is_its = |it: &&DeadLetter| it.execution.as_ref().is_some_and(|it| (it.id, it.run) == (family.parent, 2));
    assert_eq!(family.world.letters.iter().filter(is_its).count(), usize::from(has_failed));
    let waiting = family.world.owner.waiting();
    assert_eq!((family.world.owner.live(), waiting), (0, WaitCounts::default()));
}

#[test]
fn a_parent_queues_while_its_sub_workflows_go_on() {
    use Meanwhile::{AnotherComes, AppendedAgain, Ends, Fails, Restored, TurnComes};
    for turns in [BY_KEY, ONE_AT_ONCE] {
        for budget in [0, usize::MAX] {
            check(turns, budget, &[AnotherComes]);
            check(turns, budget, &[Restored, AnotherComes, AppendedAgain, Restored]);
            check(turns, budget, &[Ends(0), AnotherComes, Restored, AppendedAgain, Restored, Ends(1), Restored]);
            check(turns, budget, &[Ends(1), Ends(0), Restored, AnotherComes, Restored]);
            check(turns, budget, &[AppendedAgain, Ends(0), Restored, TurnComes, Restored, AnotherComes, Ends(1)]);
            check(turns, budget, &[AnotherComes, TurnComes, AnotherComes, Restored, Ends(1), Restored]);
            check(turns, budget, &[AnotherComes, Ends(1), Restored, Fails(0), Restored]);
            check(turns, budget, &[AnotherComes, TurnComes, Restored, Fails(0)]);
        }
    }
}

fn something() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        3 => Just(Meanwhile::Restored),
        2 => Just(Meanwhile::AppendedAgain),
        2 => (0..2_usize).prop_map(Meanwhile::Ends),
        1 => (0..2_usize).prop_map(Meanwhile::Fails),
        1 => Just(Meanwhile::TurnComes),
        1 => Just(Meanwhile::AnotherComes),
    ]
}

proptest! {
    #[test]
    fn a_parent_queues_whatever_happens_meanwhile(
        meanwhile in proptest::collection::vec(something(), 0..12),
        turns in prop_oneof![Just(BY_KEY), Just(ONE_AT_ONCE)],
        budget in prop_oneof![Just(0), Just(usize::MAX)],
    ) {
        check(turns, budget, &meanwhile);
    }
}

#[test]
pub(super) fn what_has_ended_before_its_turn_is_said_then_and_the_rest_in_its_turn() {
    let mut family = Family::new(BY_KEY, None);
    family.tell(family.children[0], "wait");
    let of_child = ["wait completed after 1", "after completed after 1", "completed"];
    family.world.says(&[&of_child[..], &["one completed after 1"]].concat());
    family.tell(family.children[1], "wait");
    family.world.says(&[&of_child[..], &["two completed after 1"]].concat());
    family.tell(family.before[0], "wait");
    family.world.said.clear();
    family.tell(family.before[1], "wait");
    let of_both =
        ["two completed after 1", "after completed after 1", "completed", "after completed after 1", "completed"];
    family.world.says(&[&of_child[..], &of_both].concat());
}

#[test]
pub(super) fn what_a_parent_that_queues_has_heard_and_not_committed_its_next_owner_hears() {
    let mut family = Family::new(BY_KEY, None);
    family.world.is_committed = false;
    family.tell(family.children[0], "wait");
    let last = family.world.log.last().unwrap();
    assert!(last.execution == family.parent && matches!(last.entry, Entry::State { .. }), "{last:?}");
    family.world.is_committed = true;
    family.world.assign_without_last();
    family.world.said.clear();
    family.world.go();
    family.world.says(&["one completed after 1"]);
    family.tell(family.children[1], "wait");
    family.before.into_iter().for_each(|child| family.tell(child, "wait"));
    assert_eq!((family.world.ends(family.parent, 2).len(), family.world.owner.live()), (1, 0));
}

#[test]
pub(super) fn one_that_is_late_fails_a_parent_that_queues_and_is_cancelled_with_that() {
    for is_restored in [false, true] {
        let mut family = Family::new(BY_KEY, Some(Duration::from_secs(10)));
        family.tell(family.children[1], "wait");
        family.world.said.clear();
        family.world.now_ms += 9_900;
        family.world.go();
        if is_restored {
            family.world.restore();
        }
        family.world.says(&[]);
        family.world.now_ms += 100;
        family.world.go();
        let said = std::mem::take(&mut family.world.said);
        assert_eq!(said[0], "one failed after 1");
        assert!(
            said[1].starts_with("dead letter timeout retryable: the sub-workflow child did not end within"),
            "{said:?}"
        );
        assert_eq!(said[2..], ["failed", "dead letter cancelled permanent: it was cancelled", "cancelled"]);
        assert_eq!(family.world.owner.live(), 3, "the one before and its sub-workflows");
    }
}

#[test]
pub(super) fn a_parent_that_queues_and_is_cancelled_cancels_its_sub_workflows() {
    let mut family = Family::new(ONE_AT_ONCE, None);
    family.tell(family.children[1], "wait");
    family.world.said.clear();
    family.world.cancel(family.parent);
    let cancelled = "dead letter cancelled permanent: it was cancelled";
    family.world.says(&[cancelled, "cancelled", cancelled, "cancelled"]);
    assert_eq!(family.world.owner.live(), 3, "the one before and its sub-workflows");
}

#[test]
pub(super) fn an_output_for_which_the_journal_has_no_room_fails_a_parent_that_queues() {
    let mut family = Family::new(BY_KEY, None);
    for (step, execution) in STEPS.into_iter().zip(family.children) {
        let (status, output, failure) = (ExecutionStatus::Completed, Value::Int(1), None);
        let told = Told::Child { execution, status, output, failure };
        let content = Content::Signal(Arc::new(Signal { step: step.into(), told }));
        family.world.append(JournalRecord {
            execution: family.parent,
            run: 2,
            entry: Entry::Mail(Mail::Signal),
            content,
        });
    }
    family.world.journal_takes = 0;
    family.world.go();
    let done = STEPS.map(|step| format!("{step} completed after 1"));
    let too_large = "dead letter too-large permanent: too large for the journal";
    family.world.says(&[&*done[0], &*done[1], too_large, "failed"]);
    assert_eq!(family.world.letters.last().unwrap().failure.step.as_deref(), Some("one"));
}
