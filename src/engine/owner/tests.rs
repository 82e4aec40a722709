//! One owner, step by step: what it does with mail, answers, time and commits.

mod away;
mod brought_back;
mod counted;
mod families;
mod held_back;
mod let_go;
mod told;
mod world;

use std::time::Duration;

use super::*;
use crate::engine::checkpoint::Content;
use crate::engine::journal::{self, Mail};
use world::{BUDGET, World, decode, definition, definition_with, event};

use crate::engine::call::{Answer, Expected, HttpCall};
use crate::engine::event::{Event, Origin, SourceRecord, Topic, Undecodable};
use crate::engine::execution::{Execution, Left, StepResults};
use crate::engine::expression::Template;
use crate::engine::fan_out::Found;
use crate::engine::journal::{Entry, Record};
use crate::engine::plan::{OnError, Step};
use crate::engine::record::{DeadLetter, JournalRecord, Output};
use crate::engine::retry::{FailedCall, RetryPolicy};
use crate::engine::value::Value;
use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

#[test]
fn a_call_starts_under_a_lease_and_its_answer_is_written() {
    let mut world = World::new("/");
    world.start();
    world.says(&["running"]);
    assert!(world.call_after(LEASE_MS - 100).is_none(), "the owner before may still call");
    let call = world.call_after(1_000).unwrap();
    world.says(&["pause completed after 1"]);
    assert_eq!((&*call.connector, &*call.step, call.attempt), ("billing", "charge", 1));
    assert_eq!(world.answer(&call, 200), Consequence::None);
    world.says(&["charge completed after 1", "completed"]);
    assert_eq!(world.owner.live(), 0);
    assert_eq!(world.log.last().unwrap().entry, Entry::End);
    assert_eq!(world.answer(&call, 200), Consequence::None, "an answer that comes twice is nothing");
    world.says(&[]);
}

#[test]
fn a_failed_call_is_made_again_with_the_same_key_by_whoever_owns_it_then() {
    let mut world = World::new("/");
    world.start();
    let first = world.call_after(3_000).unwrap();
    world.answer(&first, 503);
    world.said.clear();
    assert!(world.call_after(100).is_none(), "the delay is not over");
    world.assign();
    let second = world.call_after(4_000).unwrap();
    assert_eq!((second.attempt, &second.idempotency_key), (2, &first.idempotency_key));
    world.answer(&second, 503);
    world.says(&["charge failed after 2", "dead letter step retryable: billing answered 503, not 2xx", "failed"]);
}

#[test]
fn nothing_starts_before_what_was_written_is_committed() {
    let mut world = World::new("/");
    world.start();
    world.is_committed = false;
    assert!(world.call_after(5_000).is_none());
    world.says(&["running", "pause completed after 1"]);
    world.is_committed = true;
    world.commit(1);
    assert!(world.call_after(1_000).is_some());
}

#[test]
fn refused_credentials_cost_no_attempt() {
    let mut world = World::new("/");
    world.start();
    for _ in 0..5 {
        let call = world.call_after(3_000).unwrap();
        assert_eq!(call.attempt, 1);
        assert_eq!(world.answer(&call, 401), Consequence::Hold);
    }
    world.says(&["running", "pause completed after 1"]);
}

#[test]
fn one_whose_credentials_are_refused_lets_others_go_first() {
    let mut world = World::new("/");
    let refused = world.start_for(1);
    let call = world.call_after(3_000).unwrap();
    assert_eq!((call.execution, world.answer(&call, 403)), (refused, Consequence::Hold));
    let other = world.start_for(2);
    world.go();
    let next = world.call_after(100).unwrap();
    assert_eq!(next.execution, other, "though the other came later");
    let again = world.call_after(100).unwrap();
    assert_eq!(again.execution, refused);
    // Once it was let in, it waits where it would have without that.
    world.answer(&again, 503);
    world.start_for(3);
    assert_eq!(world.call_after(3_000).map(|call| call.execution), Some(refused));
}

#[test]
fn asking_whether_a_connector_works_again_costs_no_attempt_and_each_asks_in_turn() {
    let mut world = World::new("/");
    let pass = |world: &mut World| {
        (0..30).for_each(|_| {
            world.now_ms += 100;
            world.go();
        });
    };
    let all: Vec<_> = (1..=3).map(|number| world.start_for(number)).collect();
    pass(&mut world);
    for round in 0..10 {
        for execution in &all {
            let call = world.call_after(10).unwrap();
            assert_eq!((call.execution, call.attempt), (*execution, 1), "round {round}");
            assert_eq!(world.answer_to_probe(&call, 503), Consequence::None);
        }
    }
    // One that comes later asks after them, once.
    let later = world.start_for(4);
    pass(&mut world);
    let mut order = Vec::new();
    for _ in 0..8 {
        let call = world.call_after(10).unwrap();
        world.answer_to_probe(&call, 503);
        order.push(call.execution);
    }
    assert_eq!(order[..4].iter().filter(|it| **it == later).count(), 1, "{order:?}");
    assert_eq!(order[..4], order[4..]);
    // What says that the connector works is an answer like any other, and so is a failure of the step's own.
    let call = world.call_after(10).unwrap();
    world.said.clear();
    world.answer_to_probe(&call, 404);
    assert!(world.said.iter().any(|it| it.starts_with("dead letter")), "{:?}", world.said);
    let call = world.call_after(10).unwrap();
    world.said.clear();
    world.answer_to_probe(&call, 200);
    assert!(world.said.iter().any(|it| it.ends_with("completed after 1")), "{:?}", world.said);
}

#[test]
fn a_cancel_ends_it_and_breaks_off_its_call() {
    let mut world = World::new("/");
    let execution = world.start();
    let call = world.call_after(3_000).unwrap();
    world.said.clear();
    let cancel = Entry::Mail(Mail::Cancel);
    world.append(JournalRecord { execution, run: 1, entry: cancel, content: Content::None });
    world.go();
    world.says(&["dead letter cancelled permanent: it was cancelled", "cancelled"]);
    assert_eq!(world.owner.take_aborted(), [call.id]);
    world.answer(&call, 200);
    world.says(&[]);
    world.assign();
    assert_eq!(world.owner.live(), 0);
}

#[test]
fn a_version_that_is_not_there_is_waited_for_and_then_fails_it() {
    let mut world = World::new("/");
    world.definition = None;
    world.start();
    world.said.clear();
    assert!(world.call_after(UNKNOWN_DEFINITION_MS / 2).is_none());
    world.says(&[]);
    let there = definition("/");
    world.definition = Some(there);
    assert!(world.call_after(3_000).is_some());
    world.assign();
    world.definition = None;
    world.said.clear();
    world.call_after(UNKNOWN_DEFINITION_MS + 2_000);
    world.says(&["dead letter match config: version 1 of w is not installed; apply it again", "failed"]);
    assert_eq!(world.log.last().unwrap().entry, Entry::End);
}

#[test]
fn a_path_that_leads_elsewhere_fails_the_step_before_any_call() {
    let mut world = World::new("//elsewhere");
    world.start();
    assert!(world.call_after(3_000).is_none());
    world.go();
    let said = std::mem::take(&mut world.said);
    assert!(said[3].starts_with("dead letter step permanent: `path` starts with `//`"), "{said:?}");
}

#[test]
fn what_the_journal_does_not_take_fails() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    world.said.clear();
    world.journal_takes = 0;
    world.answer(&call, 503);
    world.says(&["dead letter too-large permanent: too large for the journal", "failed"]);
}

#[test]
fn calls_of_a_partition_that_goes_are_named() {
    let mut world = World::new("/");
    world.start();
    let call = world.call_after(3_000).unwrap();
    assert_eq!(world.owner.handle_revoked(0), [call.id]);
    assert!(!matches!(call.request.body, Value::Text(_)));
    let failed = Answer::Failed { failed: FailedCall::Timeout, message: "late".into() };
    assert_eq!(world.owner.handle_answer(call.id, failed, Tried::default(), world.now_ms), Consequence::None);
    world.go();
    assert!(world.call_after(5_000).is_none());
}

#[test]
fn the_state_of_a_straggler_is_appended_again_so_that_the_position_moves() {
    let mut world = World::new("/");
    world.record_bytes = 10 * 1024 * 1024;
    let straggler = world.start_for(0);
    world.go();
    assert_eq!(world.owner.position(0).unwrap().next_offset, 0, "its start is all there is of it");
    // Others come and end, until more than enough of the log is dead.
    for offset in 1..12 {
        world.start_for(offset);
        world.now_ms += 1_100;
        world.go();
        let calls: Vec<Call> = std::iter::from_fn(|| world.call_after(100)).collect();
        for call in &calls {
            world.answer(call, if call.execution == straggler { 401 } else { 200 });
        }
    }
    world.go();
    let position = world.owner.position(0).unwrap().next_offset;
    assert!(position > 5, "{position} of {}", world.log.len());
    let states = world.log.iter().filter(|it| it.execution == straggler && matches!(it.entry, Entry::State { .. }));
    assert!((1..6).contains(&states.count()), "it is appended again, and not for ever");
    world.assign();
    assert_eq!(world.owner.live(), 1, "it is what is left");
}

#[test]
fn an_execution_that_takes_too_long_fails_and_time_that_it_is_parked_does_not_count() {
    let mut world = World::new("/");
    world.definition = Some(definition_with("/", Some(Duration::from_secs(10)), OnError::Fail));
    world.start();
    world.go();
    // Nobody grants it a call: it is parked.
    world.now_ms += 60_000;
    world.go();
    world.now_ms += 60_000;
    world.go();
    assert_eq!(world.said.last().map(String::as_str), Some("pause completed after 1"));
    let call = world.call_after(3_000).unwrap();
    world.said.clear();
    assert!(world.call_after(9_000).is_none());
    world.says(&[]);
    world.call_after(5_000);
    world.says(&["dead letter timeout permanent: it took longer than its timeout of 10000 ms", "failed"]);
    assert_eq!(world.owner.take_aborted(), [call.id]);
}

#[test]
fn an_execution_becomes_no_older_than_it_may_parked_or_not() {
    for asks_in_vain in [false, true] {
        let mut world = World::new("/");
        world.start();
        (0..600).for_each(|_| {
            world.now_ms += 100;
            world.go();
        });
        for _ in 0..if asks_in_vain { 20 } else { 0 } {
            let call = world.call_after(100).unwrap();
            world.answer_to_probe(&call, 503);
        }
        world.said.clear();
        world.now_ms += 7 * 24 * 60 * 60 * 1000;
        world.go();
        world.says(&["dead letter timeout permanent: it is older than its maxAge of 604800 s", "failed"]);
    }
}
