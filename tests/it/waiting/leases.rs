//! An instance whose consumer is cut off while its producer lives, and the reverse: no step is called by two owners at once.

use std::time::{Duration, Instant};

use super::{by_key, connector, two_calls};
use crate::exactly_once::records::send_events;
use crate::exactly_once::world::World;
use crate::support::late_broker::LateBroker;
use crate::support::late_proxy::Part;
use crate::support::ledger::{Entry, Ledger, Reply};
use crate::support::wait;

/// How many executions wait for their turn at a target that lets few in: what starts their calls is an answer to others, and no commit.
const EVENTS: usize = 300;
/// How many calls an instance makes at once, and how long each takes.
const CONCURRENCY: usize = 2;
const TAKES: Duration = Duration::from_millis(600);
/// Longer than the session time-out and the time-out of a transaction, after which everything of an instance that is cut off is with the other.
const CUT: Duration = Duration::from_secs(35);
/// How long calls may start after a commit, and how long one that was started may take to arrive on a machine that carries other tests.
const LEASE: Duration = Duration::from_secs(5);

/// What happened while the instance "one" was cut off.
struct Seen {
    entries: Vec<Entry>,
    cut_at: Instant,
    healed_at: Instant,
}

impl Seen {
    fn of(&self, who: &str, from: Instant, to: Instant) -> usize {
        self.entries.iter().filter(|entry| entry.who == who && entry.at >= from && entry.at < to).count()
    }
}

#[track_caller]
fn cut_off(part: Part) -> Option<Seen> {
    let broker = LateBroker::behind()?;
    let ledger = Ledger::start(|_, _| Reply { after: TAKES, ..Reply::now(200) });
    let out = broker.topic("out", 6);
    let settings = connector(
        "target",
        &ledger,
        &format!("headers = {{ x-instance = \"${{env:WHO}}\" }}\nconcurrency = {CONCURRENCY}"),
    );
    let world = World::with(&broker, &[two_calls("pays", "target", &out)], &settings);
    let start = |name| world.instance_with(name, &[("TIDEGATE_KAFKA__CLIENT_ID", name)]);
    let _instances = ["one", "two"].map(start);
    send_events(&broker.producer(&[]), &world.source, 0..EVENTS, |_| Some("a.x"));
    wait::until("both call", || {
        let calls = ledger.entries();
        ["one", "two"].iter().all(|who| calls.iter().any(|call| call.who == *who)).then_some(())
    });
    broker.lose("one", part);
    let cut_at = Instant::now();
    wait::pass(CUT);
    let healed_at = Instant::now();
    let entries = ledger.entries();
    broker.heal();
    ledger.behave(|_, _| Reply::now(200));
    // It goes on by itself, whoever has what.
    let completed = || {
        let executions = broker.committed(&world.topic("executions"));
        executions.iter().filter(|it| crate::exactly_once::records::execution_name(it).ends_with("completed")).count()
    };
    wait::within(
        Duration::from_secs(90),
        Duration::from_millis(200),
        || "all complete",
        || (completed() >= EVENTS).then_some(()),
    );
    assert_eq!(completed(), EVENTS);
    Some(Seen { entries, cut_at, healed_at })
}

/// Checks that of every step one owner follows another, and none comes back while it is cut off.
#[track_caller]
fn assert_one_owner_at_a_time(seen: &Seen) {
    for (key, calls) in by_key(&seen.entries) {
        let during: Vec<&str> = calls.iter().filter(|it| it.at >= seen.cut_at).map(|it| it.who.as_str()).collect();
        let changes = during.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 1, "{key} was called by {during:?}");
    }
}

#[test]
fn an_owner_whose_consumer_is_cut_off_stops_calling_before_another_begins() {
    let Some(seen) = cut_off(Part::Consumer) else { return };
    assert_one_owner_at_a_time(&seen);
    let late = seen.cut_at + Duration::from_secs(20);
    assert_eq!(seen.of("one", late, seen.healed_at), 0, "it goes on calling though it was put out");
    assert!(seen.of("two", late, seen.healed_at) > 0, "the other does not go on");
}

#[test]
fn an_owner_whose_producer_is_cut_off_stops_calling_when_its_lease_is_over() {
    let Some(seen) = cut_off(Part::Producer) else { return };
    assert_one_owner_at_a_time(&seen);
    assert_eq!(seen.of("one", seen.cut_at + LEASE, seen.healed_at), 0, "it calls without a lease");
}
