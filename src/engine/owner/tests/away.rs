//! Executions whose checkpoints are not in memory.

use super::*;
use super::{brought_back, counted, families, held_back, let_go, told};

/// A world that keeps no more than so much in memory.
fn world(budget: usize) -> World {
    BUDGET.set(budget);
    World::new("/")
}

impl World {
    fn is_away(&self, execution: ExecutionId) -> bool {
        self.owner.wards[&0].is_away(execution)
    }
}

#[test]
fn no_more_stays_in_memory_than_may_and_everything_ends_once() {
    let mut world = world(150_000);
    let count = 300;
    let ids: Vec<ExecutionId> = (0..count).map(|offset| world.start_for(offset)).collect();
    world.go();
    assert!(world.owner.weight() <= 150_000, "{} bytes", world.owner.weight());
    assert!(ids.iter().filter(|id| world.is_away(**id)).count() > 200);
    world.said.clear();
    let mut called = Vec::new();
    while let Some(call) = world.call_after(if called.is_empty() { 3_000 } else { 100 }) {
        called.push(call.execution);
        assert!(world.owner.weight() <= 150_000, "{} bytes", world.owner.weight());
        world.answer(&call, 200);
    }
    assert_eq!(called, ids, "those that began to wait first are called first");
    assert_eq!(world.said.iter().filter(|it| *it == "completed").count(), ids.len());
    assert_eq!(world.said.len(), 3 * ids.len());
    assert!(world.fetched >= 200, "{} were read again", world.fetched);
}

#[test]
fn those_that_wait_for_a_connector_are_read_again_many_at_once() {
    let mut world = world(1_000_000);
    let ids: Vec<ExecutionId> = (0..1_500).map(|offset| world.start_for(offset)).collect();
    world.go();
    // Their delays are over, and all of them were read again for that.
    world.now_ms = 3_000;
    world.go();
    (world.fetched, world.fetches) = (0, 0);
    let mut called = Vec::new();
    while let Some(call) = world.call_after(0) {
        called.push(call.execution);
        assert!(world.owner.weight() <= 1_000_000, "{} bytes", world.owner.weight());
        world.answer(&call, 200);
    }
    assert_eq!(called, ids);
    let World { fetched, fetches, .. } = world;
    assert!(fetched >= 1_000 && fetched < 2 * ids.len(), "{fetched} were read again");
    assert!(fetches <= fetched / 30, "{fetches} times");
}

#[test]
fn a_restore_keeps_no_more_than_may_stay() {
    let mut world = world(0);
    for offset in 0..100 {
        world.start_for(offset);
    }
    world.go();
    world.owner = Owner::new(world.identity.clone(), LEASE_MS, 20_000);
    world.owner.handle_assigned(World::partition(), AssignmentId(1), &Position::at(0), world.now_ms);
    (0..world.log.len()).for_each(|offset| world.feed(offset));
    let mut kept = 0;
    world.owner.wards.get_mut(&0).unwrap().log.each_live(|_, _, live| {
        kept += live.contents().filter(|(_, content)| content.is_some()).count();
    });
    assert!((1..15).contains(&kept), "{kept} are in memory");
    world.owner.handle_restored(0, world.now_ms);
    assert_eq!(world.owner.live(), 100);
    world.said.clear();
    let mut called = 0;
    while let Some(call) = world.call_after(if called == 0 { 3_000 } else { 100 }) {
        called += 1;
        world.answer(&call, 200);
    }
    assert_eq!((called, world.owner.live()), (100, 0));
}

#[test]
fn what_was_written_and_not_read_yet_is_not_put_away() {
    let mut world = world(0);
    world.definition = Some(told::until("1970-01-01T00:01:00Z"));
    world.is_unread = true;
    let execution = world.begins();
    world.feed(0);
    world.go();
    assert_eq!(world.log.len(), 2, "where it stands was written, and is committed");
    assert!(!world.is_away(execution), "what the log knows of it is not the last");
    world.feed(1);
    assert!(world.is_away(execution));
}

#[test]
fn a_record_that_is_not_the_last_changes_nothing() {
    let mut world = world(0);
    world.definition = Some(told::until("1970-01-01T00:01:00Z"));
    let execution = world.begins();
    assert!(world.is_away(execution));
    // It is asked for, and is late.
    world.owner.handle_fetched(world.record(0));
    assert!(world.is_away(execution), "this is where it stood before");
    world.owner.handle_fetched(world.record(1));
    assert!(!world.is_away(execution));
    world.owner.handle_fetched(world.record(1));
    world.now_ms = 60_000;
    world.go();
    world.says(&["running", "wait completed after 1", "after completed after 1", "completed"]);
}

#[test]
fn no_more_records_are_asked_for_than_may_be_and_in_order() {
    let mut world = world(0);
    let count = 2 * FETCHES as i64;
    for offset in 0..count {
        world.start_for(offset);
    }
    world.go();
    world.now_ms = 1_000;
    let mut asked = Vec::new();
    let (found, now_ms) = (world.definitions(), world.now_ms);
    let nothing = |_: Arc<Event>, _: Option<&WorkflowId>, _: i64| Found { subject: None, has_more: false };
    let fits = |_: &JournalRecord| Ok(());
    let (definition, next_match) = (&found, &nothing);
    let around = Around {
        definition,
        is_on_its_way: &|_, _| false,
        decode: &decode,
        is_ready: &|_, _| true,
        is_stopped: &|_| false,
        next_match,
        fits: &fits,
        now_ms,
        steady_ms: now_ms,
    };
    while world.owner.poll(&around).is_some() {}
    loop {
        let wanted = world.owner.wanted();
        assert!(wanted.len() <= FETCHES && wanted.is_sorted());
        assert!(world.owner.wanted().is_empty(), "nothing is asked for twice");
        if wanted.is_empty() {
            break;
        }
        wanted.iter().for_each(|(_, offset)| world.owner.handle_fetched(world.record(*offset as usize)));
        while world.owner.poll(&around).is_some() {}
        asked.extend(wanted);
    }
    // Those that wait for a call and are among the first have stayed.
    assert_eq!(asked.len(), count as usize - ward::FRONT);
}

#[test]
fn nobody_gets_a_turn_after_a_restore_before_it_is_known_who_is_first() {
    let mut world = held_back::by_key(0);
    let ids: Vec<ExecutionId> = (1..6).map(|offset| world.comes(offset, "a")).collect();
    let calls = world.calls();
    assert_eq!(calls[0].execution, ids[0]);
    world.assign();
    // Another one comes before any of them is read again, and they are read in the wrong order.
    let last = world.comes_unread(6, "a");
    world.said.clear();
    let wanted = world.owner.wanted();
    for (_, offset) in wanted.iter().rev() {
        world.owner.handle_fetched(world.record(*offset as usize));
        world.look();
    }
    let mut called = Vec::new();
    while let Some(call) = world.call_after(3_000) {
        called.push(call.execution);
        world.answer(&call, 200);
    }
    assert_eq!(called, [&ids[..], &[last]].concat());
}

impl World {
    /// Everything is looked at once, and nothing is read again.
    fn look(&mut self) {
        let fetched = std::mem::replace(&mut self.is_fetching, false);
        self.go();
        self.is_fetching = fetched;
    }

    /// An event with a key comes, and nothing is read again for it.
    fn comes_unread(&mut self, offset: i64, key: &str) -> ExecutionId {
        let fetched = std::mem::replace(&mut self.is_fetching, false);
        let id = self.comes(offset, key);
        self.is_fetching = fetched;
        id
    }
}

#[test]
fn a_partition_that_is_restored_pushes_nothing_out_of_memory_that_it_does_not_keep() {
    let mut world = world(400_000);
    let ids: Vec<ExecutionId> = (0..100).map(|offset| world.start_for(offset)).collect();
    world.go();
    let kept = |world: &World| ids.iter().filter(|id| !world.is_away(**id)).count();
    let before = kept(&world);
    assert!(before > 50, "{before} are in memory");
    let second = SourcePartition { partition: 1, ..World::partition() };
    world.owner.handle_assigned(second, AssignmentId(1), &Position::at(0), world.now_ms);
    for offset in 0..world.log.len() {
        let mut record = world.record(offset);
        (record.execution.journal_partition, record.bytes) = (1, 10_000);
        world.owner.handle_record(record, world.now_ms);
    }
    world.start_for(1_000);
    world.go();
    assert!(kept(&world) + 10 >= before, "{} of {before} are in memory", kept(&world));
    assert!(world.owner.weight() <= 400_000 + 20_000, "{} bytes", world.owner.weight());
}

#[test]
fn what_is_away_takes_room_from_what_is_not_but_not_all_of_it() {
    let mut world = world(400_000);
    world.definition = Some(told::until("1970-01-01T00:01:00Z"));
    let mut last = usize::MAX;
    for offset in 0..3_000 {
        world.start_for(offset);
        world.go();
        if offset % 500 == 499 {
            let weight = world.owner.weight();
            assert!((50_000..=last.min(400_000)).contains(&weight), "{weight} bytes after {offset}");
            last = weight;
        }
    }
    assert!(last <= 100_000, "{last} bytes");
}

#[test]
fn a_connector_does_not_wait_for_one_that_has_ended_and_whose_slot_another_one_has() {
    let mut world = world(0);
    world.now_ms += LEASE_MS;
    let ended = world.start_for(1);
    world.go();
    let slot = |world: &World, execution| world.owner.wards[&0].log.slot(execution).unwrap();
    let first = slot(&world, ended);
    let cancel = Entry::Mail(Mail::Cancel);
    world.append(JournalRecord { execution: ended, run: 1, entry: cancel, content: Content::None });
    world.go();
    world.definition = Some(told::until("1970-01-01T00:01:00Z"));
    let away = world.begins();
    assert!(world.is_away(away));
    assert_eq!(slot(&world, away).index(), first.index());
    world.definition = Some(definition("/"));
    let next = world.start_for(9);
    assert_eq!(world.call_after(3_000).map(|call| call.execution), Some(next));
}

#[test]
fn what_is_away_still_counts_and_ends_when_its_workflow_is_stopped() {
    let mut world = world(0);
    world.definition = Some(told::until("1970-01-01T00:01:00Z"));
    let execution = world.begins();
    assert!(world.is_away(execution));
    assert_eq!(world.owner.waiting().of(WaitReason::Timer), 1);
    world.said.clear();
    world.is_stopped = true;
    world.owner.handle_stopped(&WorkflowId::new("w").unwrap());
    world.go();
    world.says(&["dead letter cancelled permanent: its workflow was stopped", "cancelled"]);
    assert_eq!((world.owner.live(), world.owner.waiting()), (0, WaitCounts::default()));
}

/// Everything else that is tested of an owner, where nothing stays in memory that need not.
#[test]
fn what_holds_in_memory_holds_for_what_is_read_again() {
    let tests: &[fn()] = &[
        super::a_call_starts_under_a_lease_and_its_answer_is_written,
        super::a_failed_call_is_made_again_with_the_same_key_by_whoever_owns_it_then,
        super::nothing_starts_before_what_was_written_is_committed,
        super::refused_credentials_cost_no_attempt,
        super::one_whose_credentials_are_refused_lets_others_go_first,
        super::asking_whether_a_connector_works_again_costs_no_attempt_and_each_asks_in_turn,
        super::a_cancel_ends_it_and_breaks_off_its_call,
        super::a_version_that_is_not_there_is_waited_for_and_then_fails_it,
        super::a_path_that_leads_elsewhere_fails_the_step_before_any_call,
        super::what_the_journal_does_not_take_fails,
        super::calls_of_a_partition_that_goes_are_named,
        super::the_state_of_a_straggler_is_appended_again_so_that_the_position_moves,
        super::an_execution_that_takes_too_long_fails_and_time_that_it_is_parked_does_not_count,
        super::an_execution_becomes_no_older_than_it_may_parked_or_not,
        told::an_approval_is_asked_for_once_and_waits_for_a_decision,
        told::a_decision_that_comes_between_two_owners_counts,
        told::an_approval_that_nobody_gives_in_time_fails_or_goes_on,
        told::signals_that_nobody_waits_for_are_over_with,
        told::a_delay_ends_at_a_point_in_time,
        told::a_sub_workflow_runs_once_and_its_last_output_comes_back,
        told::a_sub_workflow_that_fails_fails_its_step,
        told::a_parent_that_is_cancelled_cancels_its_children,
        told::a_workflow_that_starts_itself_ends,
        told::a_sub_workflow_that_is_not_there_is_waited_for_and_then_fails_its_step,
        held_back::those_of_a_key_run_one_by_one_in_order,
        held_back::nobody_passes_one_that_cannot_be_understood_yet,
        held_back::nobody_passes_one_whose_version_is_not_there_yet,
        held_back::a_replayed_one_queues_at_the_end,
        held_back::no_more_run_at_once_than_may_whatever_their_keys,
        held_back::one_that_is_cancelled_while_it_queues_holds_nobody_back,
        held_back::one_that_waits_too_long_for_its_turn_fails_and_the_time_of_the_others_counts_from_their_turn,
        held_back::one_that_queues_is_appended_again_as_it_is,
        held_back::events_without_a_key_are_not_ordered,
        brought_back::a_failed_execution_goes_on_from_its_failed_step,
        brought_back::a_repaired_version_is_another_edition_and_a_new_owner_knows,
        brought_back::what_was_brought_back_already_is_not_brought_back_again,
        brought_back::a_record_that_is_understood_now_runs_every_workflow_that_matches_it_once,
        brought_back::a_record_that_is_not_understood_is_a_dead_letter_again,
        brought_back::a_sub_workflow_that_comes_back_with_its_parent_goes_on_where_it_failed,
        brought_back::a_sub_workflow_that_ends_before_its_parent_begins_again_is_heard,
        brought_back::a_parent_that_came_back_and_is_cancelled_cancels_its_sub_workflow,
        counted::an_execution_counts_as_what_it_waits_for_until_it_ends,
        counted::one_that_queues_counts_as_that_and_what_goes_with_its_partition_as_nothing,
        counted::a_decision_that_is_waited_for_counts_as_that_with_and_without_an_end,
        held_back::one_that_runs_in_a_version_that_comes_late_holds_the_others_back_all_the_same,
        held_back::one_that_runs_in_a_version_that_never_comes_holds_nobody_back_once_it_ends,
        held_back::one_whose_turn_comes_while_it_is_cancelled_hands_it_on,
        let_go::who_gives_up_before_the_lease_of_the_one_before_is_over_does_not_say_that_nobody_calls,
        let_go::who_takes_up_what_was_released_need_not_wait_and_who_released_it_calls_no_more,
        let_go::a_workflow_that_is_stopped_ends_its_executions,
        let_go::what_ends_an_execution_does_so_without_its_version_and_its_schema,
        let_go::who_takes_over_goes_on_with_nothing_for_which_the_owner_before_may_still_call,
        let_go::a_step_that_failed_while_its_version_was_taken_away_runs_again,
        told::an_output_that_the_journal_does_not_take_fails_the_parent_and_ends_the_child,
        told::a_decision_that_comes_before_it_was_asked_for_counts,
        told::a_sub_workflow_that_does_not_end_in_time_is_cancelled_and_fails_its_step,
        families::what_has_ended_before_its_turn_is_said_then_and_the_rest_in_its_turn,
        families::what_a_parent_that_queues_has_heard_and_not_committed_its_next_owner_hears,
        families::one_that_is_late_fails_a_parent_that_queues_and_is_cancelled_with_that,
        families::a_parent_that_queues_and_is_cancelled_cancels_its_sub_workflows,
        families::an_output_for_which_the_journal_has_no_room_fails_a_parent_that_queues,
    ];
    for (number, test) in tests.iter().enumerate() {
        println!("test {number}");
        BUDGET.set(0);
        test();
    }
}

#[test]
fn what_is_kept_of_what_is_away_is_small() {
    assert_eq!(size_of::<Option<super::task::Away>>(), 24);
    assert_eq!(size_of::<Timer>(), 16);
    assert_eq!(size_of::<(i64, u16, journal::Slot)>(), 16, "a place in a queue");
    assert_eq!(size_of::<journal::Live<Option<Box<Content>>>>(), 40);
}

#[test]
fn what_has_ended_behind_one_that_waits_takes_room_as_well() {
    let mut world = world(400_000);
    let (short, long) = (world.definition.clone(), told::until("1970-01-01T10:00:00Z"));
    world.definition = Some(long);
    world.begins();
    let room = world.owner.room();
    world.definition = short;
    world.now_ms += LEASE_MS;
    for offset in 1_000..1_500 {
        let execution = world.start_for(offset);
        world.go();
        world.append(JournalRecord { execution, run: 1, entry: Entry::Mail(Mail::Cancel), content: Content::None });
        world.go();
    }
    assert_eq!(world.owner.live(), 1);
    assert_eq!(room - world.owner.room(), 500 * 100);
}

#[test]
fn what_lacks_its_version_is_not_kept_in_memory_and_looked_for_the_more_rarely_the_more_lack_it() {
    let mut world = world(400_000);
    world.missing = Some("1");
    world.is_on_its_way = true;
    world.is_fetching = true;
    for offset in 0..5_000 {
        world.start_for(offset);
    }
    world.go();
    assert!(world.owner.weight() <= 400_000, "{} bytes", world.owner.weight());
    // A new owner does not keep them either.
    world.assign();
    world.go();
    assert!(world.owner.weight() <= 400_000, "{} bytes", world.owner.weight());
    let (before, ten_s) = (world.fetched, 10_000);
    for _ in 0..ten_s / 100 {
        world.now_ms += 100;
        world.go();
    }
    let looked = world.fetched - before;
    assert!((5_000..15_000).contains(&looked), "{looked} were read again in {ten_s} ms");
    // Once it is there, all of them go on.
    world.missing = None;
    for _ in 0..100 {
        world.now_ms += 100;
        world.go();
    }
    assert_eq!(world.owner.waiting().of(WaitReason::Definition), 0);
}

#[test]
fn what_lacks_its_version_for_long_fails_though_it_is_not_in_memory() {
    let mut world = world(0);
    world.missing = Some("1");
    world.start();
    world.go();
    world.said.clear();
    for _ in 0..620 {
        world.now_ms += 1_000;
        world.go();
    }
    world.says(&["dead letter match config: version 1 of w is not installed; apply it again", "failed"]);
    assert_eq!(world.owner.live(), 0);
}
