//! Requests of a commit that reach the broker long after the lane gave them up, in the middle of a later transaction of the same lane.
//! librdkafka does not have KIP-890: only a new epoch of the producer tells the broker that they are of the past.

use std::time::{Duration, Instant};

use tidegate::dev_broker::ApiKey;

use super::frontier::Frontier;
use super::records::send_to;
use super::world::World;
use super::{MATCHING, assert_exactly_once, five_workflows};
use crate::support::late_broker::LateBroker;
use crate::support::wait;

/// Much longer than the 5 s after which the client library gives a request up and sends it again, or aborts: a busy machine needs the
/// rest to go on with the lane.
const LATE: Duration = Duration::from_secs(12);
/// For how long the later transaction is held open, so that the late request comes in the middle of it; not given up.
const HELD: Duration = Duration::from_secs(4);

fn next_offset(frontier: &Frontier, partition: i32) -> i64 {
    frontier.done.get(&partition).map_or(0, |it| it.next_offset)
}

/// Makes a request of a commit so late that it comes while the lane waits for an answer to the one that is held, in a later transaction,
/// and checks that it changes nothing. The instance must have said that it gave something up.
#[track_caller]
fn check_late(late: ApiKey, held: ApiKey, said: &str) {
    let Some(broker) = LateBroker::start() else { return };
    let out = broker.topic("out", 6);
    let world = World::new(&broker, &five_workflows(&out));
    let mut instance = world.instance("alone");
    let producer = broker.producer(&[]);
    let mut sent = 0;
    let mut do_one = |partition: i32| {
        let before = next_offset(&world.frontier(), partition);
        send_to(&producer, &world.source, partition, sent);
        sent += 1;
        wait::until("it is done", || {
            Some(world.frontier()).filter(|frontier| next_offset(frontier, partition) == before + 1)
        })
    };
    do_one(0);
    broker.delay_next(late, LATE);
    let started = Instant::now();
    do_one(0);
    let mut frontiers = vec![do_one(0)];
    assert!(started.elapsed() < LATE, "the late request came before anything else was done");
    wait::pass((LATE - HELD / 2).saturating_sub(started.elapsed()));
    broker.delay_next(held, HELD);
    frontiers.push(do_one(1));
    assert!(started.elapsed() > LATE, "the late request has not come yet");
    frontiers.push(do_one(2));
    world.assert_no_gaps(&frontiers, &MATCHING.map(str::to_owned));
    // Whoever starts anew believes the committed offsets.
    instance.kill();
    instance = world.instance("alone");
    send_to(&producer, &world.source, 0, sent);
    assert_exactly_once(&world, &out, 0..sent + 1);
    assert!(world.log_lines_with("alone", said) > 0, "nothing was given up");
    assert!(instance.is_alive());
}

#[test]
fn offsets_that_come_after_they_were_given_up_change_nothing() {
    check_late(ApiKey::TxnOffsetCommit, ApiKey::EndTxn, "a batch did not go through");
}

#[test]
fn an_end_of_a_transaction_that_comes_after_it_was_given_up_ends_no_other() {
    check_late(ApiKey::EndTxn, ApiKey::TxnOffsetCommit, "\"uncertain\"");
}
