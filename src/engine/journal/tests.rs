//! Tests of the journal: its rules one by one, and that every restore comes to the same.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::event::{Origin, Topic};
use super::super::ids::{ExecutionOrigin, MailboxKey};
use super::*;

fn execution(number: i64) -> ExecutionId {
    let origin = Origin { topic: Arc::new(Topic { name: "events".into(), id: [7; 16] }), partition: 0, offset: number };
    ExecutionId::new("test", "workflow", ExecutionOrigin::Event(&origin), MailboxKey::Hash, 1)
}

fn record(offset: i64, number: i64, run: u32, entry: Entry) -> Record<()> {
    Record { offset, bytes: 10, execution: execution(number), run, entry, content: () }
}

/// A log of execution 1 by signs: `s` start, `r` resume as run 2, `c` cancel, `i` signal, `S` a state that includes all mail before it,
/// `Z` one that includes the first mail only, `E` an end; digits say of which run states and ends are from then on. Returns what each
/// record came to: `w` wanted, `m` moved, `e` ended, `-` nothing.
#[track_caller]
fn check(signs: &str, expected: &str, position: i64) {
    let mut log = Log::starting_at(0);
    log.restored();
    let (mut run, mut offset, mut last_mail, mut found) = (1, 0, 0, String::new());
    for sign in signs.chars() {
        if let Some(digit) = sign.to_digit(10) {
            run = digit;
            continue;
        }
        let (of_run, entry) = match sign {
            's' => (1, Entry::Mail(Mail::Start)),
            'r' => (2, Entry::Mail(Mail::Resume)),
            'c' => (0, Entry::Mail(Mail::Cancel)),
            'i' => (0, Entry::Mail(Mail::Signal)),
            'S' => (run, Entry::State { place: 0, includes: last_mail }),
            'Z' => (run, Entry::State { place: 0, includes: 0 }),
            _ => (run, Entry::End),
        };
        if matches!(entry, Entry::Mail(_)) {
            last_mail = offset;
        }
        found.push(match log.apply(record(offset, 1, of_run, entry)) {
            Applied::Wanted => 'w',
            Applied::Moved => 'm',
            Applied::Ended => 'e',
            Applied::Nothing => '-',
        });
        offset += 1;
    }
    assert_eq!((found.as_str(), log.position()), (expected, position), "{signs}");
}

#[test]
fn a_slot_stays_with_its_execution_and_is_no_later_ones() {
    let mut log = Log::starting_at(0);
    log.restored();
    log.apply(record(0, 1, 1, Entry::Mail(Mail::Start)));
    log.apply(record(1, 2, 1, Entry::Mail(Mail::Start)));
    let [first, second] = [1, 2].map(|number| log.slot(execution(number)).unwrap());
    log.apply(record(2, 1, 1, Entry::State { place: 0, includes: 0 }));
    assert_eq!(log.slot(execution(1)), Some(first));
    log.apply(record(3, 1, 1, Entry::End));
    log.apply(record(4, 3, 1, Entry::Mail(Mail::Start)));
    let third = log.slot(execution(3)).unwrap();
    assert_eq!((third.index(), third != first), (first.index(), true));
    assert_eq!(
        [first, second, third].map(|slot| log.at(slot).map(|(id, _)| id)),
        [None, Some(execution(2)), Some(execution(3))]
    );
}

#[test]
fn an_execution_lives_from_its_first_mail_to_its_end() {
    check("s", "w", 0);
    check("sS", "wm", 1);
    check("sSS", "wmm", 2);
    check("sSE", "wme", 3);
    check("sE", "we", 2);
}

#[test]
fn mail_for_what_is_not_live_or_is_already_does_nothing() {
    check("ci", "--", 2);
    check("sScSE", "wmwme", 5);
    check("sSEci", "wme--", 5);
    check("ss", "w-", 0);
    check("sSr", "wm-", 1);
}

#[test]
fn mail_stays_until_a_state_includes_it() {
    check("sSiZ", "wmwm", 2);
    check("sSiZS", "wmwmm", 4);
    check("sSciZE", "wmwwme", 6);
}

#[test]
fn a_state_includes_all_that_was_read_up_to_what_is_left() {
    let mut log = Log::starting_at(0);
    log.restored();
    let mail = [Mail::Start, Mail::Signal, Mail::Start, Mail::Cancel];
    for (offset, mail) in (0..).zip(mail) {
        log.apply(record(offset, 1, 1, Entry::Mail(mail)));
    }
    log.apply(record(4, 2, 1, Entry::Mail(Mail::Start)));
    assert_eq!([0, 1, 2, 3].map(|taken| log.includes(execution(1), taken)), [-1, 0, 2, 4]);
    log.apply(record(5, 1, 1, Entry::State { place: 0, includes: 2 }));
    let left: Vec<_> = log.live(execution(1)).unwrap().mail().map(|(mail, _)| mail).collect();
    assert_eq!(left, [Mail::Cancel]);
}

#[test]
fn a_resume_starts_the_next_run_once() {
    check("sSEr2S", "wmewm", 4);
    check("sSEr2Sr", "wmewm-", 4);
    check("sSEr2SE", "wmewme", 6);
    check("sSEr2S1S", "wmewm-", 4);
    check("sSEr2S1E", "wmewm-", 4);
}

#[test]
fn a_resume_of_a_run_whose_end_is_still_in_the_log_does_nothing() {
    let mut log = Log::starting_at(0);
    log.restored();
    // Another execution, further back, keeps the end in the log.
    let records = [
        record(0, 2, 1, Entry::Mail(Mail::Start)),
        record(1, 1, 2, Entry::Mail(Mail::Resume)),
        record(2, 1, 2, Entry::End),
        record(3, 1, 2, Entry::Mail(Mail::Resume)),
    ];
    let applied = records.map(|record| log.apply(record));
    assert_eq!(applied, [Applied::Wanted, Applied::Wanted, Applied::Ended, Applied::Nothing]);
    assert_eq!(log.apply(record(4, 1, 3, Entry::Mail(Mail::Resume))), Applied::Wanted);
}

#[test]
fn what_was_read_before_is_nothing() {
    let mut log = Log::starting_at(5);
    assert_eq!(log.apply(record(4, 1, 1, Entry::Mail(Mail::Start))), Applied::Nothing);
    assert_eq!(log.apply(record(5, 1, 1, Entry::Mail(Mail::Start))), Applied::Wanted);
    assert_eq!(log.apply(record(5, 1, 1, Entry::End)), Applied::Nothing);
}

#[test]
fn nobody_goes_on_from_before_a_state_that_cannot_be_understood() {
    let mut log = Log::starting_at(0);
    log.apply(record(0, 1, 1, Entry::Mail(Mail::Start)));
    log.apply(record(1, 2, 1, Entry::Mail(Mail::Start)));
    log.pass(2, 10, Some(execution(1)));
    // Mail that cannot be understood says nothing of where anything stands.
    log.pass(3, 10, None);
    log.restored();
    assert_eq!((log.live(execution(1)).is_some(), log.live(execution(2)).is_some()), (false, true));
    assert_eq!((log.position(), log.next_offset(), log.live_bytes()), (1, 4, 10));
    // What it says later can be understood again, and counts.
    let mut log = Log::starting_at(0);
    log.apply(record(0, 1, 1, Entry::Mail(Mail::Start)));
    log.pass(1, 10, Some(execution(1)));
    log.apply(record(2, 1, 1, Entry::State { place: 0, includes: 0 }));
    log.restored();
    assert_eq!((log.live(execution(1)).is_some(), log.position()), (true, 2));
    // Read again, it is nothing.
    log.pass(1, 10, Some(execution(1)));
    assert!(log.live(execution(1)).is_some());
}

#[test]
fn mail_before_the_state_that_does_not_include_it_survives_a_restore() {
    let mut log = Log::starting_at(0);
    let records = [
        record(0, 1, 1, Entry::Mail(Mail::Start)),
        record(1, 1, 1, Entry::State { place: 0, includes: 0 }),
        record(2, 1, 0, Entry::Mail(Mail::Cancel)),
        record(3, 1, 1, Entry::State { place: 0, includes: 1 }),
        record(4, 2, 0, Entry::Mail(Mail::Cancel)),
    ];
    records.iter().for_each(|record| assert!(log.apply(record.clone()) != Applied::Ended));
    assert_eq!(log.position(), 2);
    let mut restored = Log::starting_at(2);
    records[2..].iter().for_each(|record| assert!(restored.apply(record.clone()) != Applied::Ended));
    restored.restored();
    let mail: Vec<_> = restored.live(execution(1)).unwrap().mail().map(|(mail, _)| mail).collect();
    assert_eq!((mail, restored.live(execution(2)).is_none()), (vec![Mail::Cancel], true));
}

#[test]
fn stragglers_are_those_furthest_back_whatever_is_known_of_them() {
    let mut log = Log::starting_at(0);
    log.restored();
    let write = |log: &mut Log<()>, number: i64, bytes: u64, entry: Entry| {
        let offset = log.next_offset();
        log.apply(Record { bytes, ..record(offset, number, 1, entry) });
    };
    for number in [1, 2, 3] {
        write(&mut log, number, 1, Entry::Mail(Mail::Start));
        let place = log.next_offset() - 1;
        write(&mut log, number, 1, Entry::State { place, includes: place });
    }
    write(&mut log, 4, DEAD_BYTES, Entry::Mail(Mail::Start));
    write(&mut log, 4, DEAD_BYTES, Entry::End);
    assert_eq!(log.stragglers(100), [1, 2, 3].map(execution));
    write(&mut log, 2, 1, Entry::Mail(Mail::Signal));
    write(&mut log, 5, 1, Entry::Mail(Mail::Start));
    assert_eq!(log.stragglers(100), [1, 2, 3, 5].map(execution));
    assert_eq!(log.stragglers(3), [1, 2].map(execution), "as many as there is room for");
    assert_eq!(log.stragglers(0), [execution(1)], "one at least");
}

#[test]
fn what_is_kept_of_an_execution_is_small() {
    assert_eq!(size_of::<Option<slots::Entry<Live<Option<Box<()>>>>>>(), 64);
}

#[test]
fn dead_bytes_are_known_nearly_and_what_is_noted_for_that_goes_with_the_position() {
    let mut log = Log::starting_at(0);
    log.restored();
    let small = 1_000;
    for number in 0..10_000 {
        let offset = log.next_offset();
        log.apply(Record { bytes: small, ..record(offset, number, 1, Entry::Mail(Mail::Start)) });
        if number > 0 {
            log.apply(Record { bytes: small, ..record(offset + 1, number, 1, Entry::End) });
        }
    }
    let dead = 19_998 * small;
    assert!((dead..=dead + MARK_BYTES + small).contains(&log.dead_bytes()), "{} of {dead}", log.dead_bytes());
    assert!(log.marks.len() as u64 <= dead / MARK_BYTES + 2, "{} marks", log.marks.len());
    let offset = log.next_offset();
    log.apply(Record { bytes: small, ..record(offset, 0, 1, Entry::End) });
    assert_eq!((log.dead_bytes(), log.position()), (0, offset + 1));
    assert_eq!(log.marks.len(), 1, "of what is over nothing is kept");
}

/// What a log says, in a form that can be compared.
type Said = (i64, u64, u64, Vec<(ExecutionId, u32, i64, Option<i64>, Vec<i64>)>, Vec<(ExecutionId, (u32, i64))>);

fn said(log: &Log<()>) -> Said {
    let live = log.all_live().map(|(execution, it)| {
        let mail = it.mail().map(|(_, kept)| kept.offset).collect();
        (execution, it.run(), it.place, it.state().map(|kept| kept.offset), mail)
    });
    let mut ended: Vec<_> = log.ended.iter().map(|(execution, end)| (*execution, *end)).collect();
    ended.sort();
    (log.position(), log.live_bytes(), log.dead_bytes(), live.collect(), ended)
}

/// What may happen next in a journal, for an execution.
#[derive(Clone, Copy, Debug)]
enum Step {
    Mail(Mail),
    /// The owner writes a state that includes so many of its pieces of mail.
    State(usize),
    /// The owner ends it.
    End,
    /// The owner appends stragglers again.
    Stragglers,
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64, u64)>> {
    let step = prop_oneof![
        4 => Just(Step::Mail(Mail::Start)),
        1 => Just(Step::Mail(Mail::Resume)),
        1 => Just(Step::Mail(Mail::Cancel)),
        2 => Just(Step::Mail(Mail::Signal)),
        6 => (0_usize..4).prop_map(Step::State),
        3 => Just(Step::End),
        1 => Just(Step::Stragglers),
    ];
    prop::collection::vec((step, 0_i64..6, 1_u64..40), 1..120)
}

/// The records that a step of an owner who has read `log` adds. What the owner wrote may have been on its way while up to three more
/// records were read. `included` is what the last states included.
fn records_of(
    log: &Log<()>,
    included: &HashMap<ExecutionId, i64>,
    (step, number, megabytes): (Step, i64, u64),
) -> Vec<Record<()>> {
    let id = execution(number);
    let includes = |execution: ExecutionId, taken: usize| {
        let place = log.live(execution).map_or(0, |live| live.place);
        let before = included.get(&execution).copied().unwrap_or(place).max(place);
        log.includes(execution, taken).min(log.next_offset() - 1 - (megabytes % 4) as i64).max(before)
    };
    let written = |execution, run, entry| Record {
        offset: log.next_offset(),
        bytes: megabytes << 20,
        execution,
        run,
        entry,
        content: (),
    };
    let last_run = log.ended.get(&id).map_or(0, |(run, _)| *run);
    match (step, log.live(id)) {
        // Nobody knows of a run to resume before its end is there.
        (Step::Mail(Mail::Resume), Some(_)) => Vec::new(),
        (Step::Mail(Mail::Resume), None) => vec![written(id, last_run + 1, Entry::Mail(Mail::Resume))],
        (Step::Mail(mail), _) => vec![written(id, 1, Entry::Mail(mail))],
        // What has not begun begins by its first mail.
        (Step::State(count), Some(live)) => {
            let taken = count.max(usize::from(live.state().is_none()));
            vec![written(id, live.run(), Entry::State { place: live.place, includes: includes(id, taken) })]
        }
        (Step::End, Some(live)) => vec![written(id, live.run(), Entry::End)],
        (Step::State(_) | Step::End, None) => Vec::new(),
        (Step::Stragglers, _) => {
            let stragglers = log.stragglers(megabytes << 21);
            let again = stragglers.into_iter().enumerate().filter_map(|(at, execution)| {
                let live = log.live(execution)?;
                let bytes = live.state()?.bytes();
                // It includes all mail there was; the next of this execution comes behind.
                let entry = Entry::State { place: live.place, includes: includes(execution, 0) };
                Some(Record { offset: log.next_offset() + at as i64, bytes, ..written(execution, live.run(), entry) })
            });
            again.collect()
        }
    }
}

proptest! {
    /// Whenever the log is read from the position on, it says the same; and what it says of bytes is what the records take.
    #[test]
    fn a_restore_comes_to_the_same(steps in steps()) {
        let mut log = Log::starting_at(0);
        log.restored();
        let mut written: Vec<Record<()>> = Vec::new();
        let mut position = 0;
        let mut included = HashMap::new();
        for step in steps {
            for record in records_of(&log, &included, step) {
                if let Entry::State { includes, .. } = record.entry {
                    included.insert(record.execution, includes);
                }
                written.push(record.clone());
                log.apply(record);
            }
            prop_assert!(log.position() >= position, "the position goes back from {position} to {}", log.position());
            position = log.position();
            let mut restored = Log::starting_at(position);
            let left = written.iter().filter(|record| record.offset >= position);
            for record in left.clone() {
                restored.apply(record.clone());
            }
            restored.restored();
            prop_assert_eq!(said(&restored), said(&log));
            prop_assert_eq!(left.map(|record| record.bytes).sum::<u64>(), log.live_bytes() + log.dead_bytes());
        }
    }

    /// As long as nothing has unread mail, appending stragglers again brings the dead bytes down to their bound.
    #[test]
    fn stragglers_let_the_position_move(sizes in prop::collection::vec(1_u64..30, 1..40), churn in 1_i64..200, room in 1_u64..100) {
        let mut log = Log::starting_at(0);
        let write = |log: &mut Log<()>, number: i64, bytes: u64, entry: Entry| {
            let offset = log.next_offset();
            log.apply(Record { bytes, ..record(offset, number, 1, entry) });
        };
        for (number, size) in sizes.iter().enumerate() {
            let place = log.next_offset();
            write(&mut log, number as i64, 1, Entry::Mail(Mail::Start));
            write(&mut log, number as i64, size << 20, Entry::State { place, includes: place });
        }
        for number in 1_000..1_000 + churn {
            write(&mut log, number, 1 << 20, Entry::Mail(Mail::Start));
            write(&mut log, number, 1 << 20, Entry::End);
        }
        let mut rounds = 0;
        loop {
            let stragglers = log.stragglers(room << 20);
            if stragglers.is_empty() {
                break;
            }
            for execution in stragglers {
                let live = log.live(execution).expect("it is live");
                let (place, bytes, offset) = (live.place, live.state().expect("a state").bytes(), log.next_offset());
                let entry = Entry::State { place, includes: place };
                log.apply(Record { offset, bytes, execution, run: 1, entry, content: () });
            }
            rounds += 1;
            prop_assert!(rounds <= sizes.len() * 2, "{} dead of {} live", log.dead_bytes(), log.live_bytes());
        }
        prop_assert!(log.dead_bytes() <= DEAD_BYTES.max(log.live_bytes()));
    }
}
