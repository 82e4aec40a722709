//! The store of circuit breakers through its doors, on disks that are sound, damaged and gone.

use std::sync::mpsc::Sender;

use super::*;

/// What is told of the copy: Some for what is wrong, None once nothing is.
type Heard = Receiver<Option<String>>;

fn teller() -> (impl Fn(Option<&str>) + Send + 'static, Heard) {
    let (says, heard): (Sender<Option<String>>, Heard) = channel();
    // A test that has heard enough hears no more.
    (move |wrong: Option<&str>| drop(says.send(wrong.map(str::to_owned))), heard)
}

#[track_caller]
fn check_heard(heard: &Heard, expected: Option<&str>) {
    let wrong = heard.recv_timeout(Duration::from_secs(20)).expect("something is told");
    match (&wrong, expected) {
        (Some(wrong), Some(expected)) => assert!(wrong.contains(expected), "{wrong}"),
        (wrong, expected) => assert_eq!(wrong.as_deref(), expected),
    }
}

fn open(data_dir: &Path) -> (BreakerStore, Snapshot) {
    BreakerStore::open(data_dir, |_| {})
}

/// What is stored, once nothing else has it open.
fn by_hand(folder: &Path) -> sled::Db {
    place::wait_until_closed(folder);
    sled::open(folder).unwrap()
}

fn put_all(store: &BreakerStore) {
    store.put("billing", Some(1));
    store.put("crm", Some(7));
    store.put("billing", Some(5));
    store.put("crm", None);
    store.close();
}

#[track_caller]
fn knows(data_dir: &Path, expected: &[(&str, u64)]) {
    let (store, known) = open(data_dir);
    let expected: Snapshot = expected.iter().map(|(name, until)| ((*name).to_owned(), *until)).collect();
    assert_eq!(known, expected);
    store.close();
}

#[test]
fn what_was_put_last_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, known) = open(directory.path());
    assert!(known.is_empty());
    put_all(&store);
    knows(directory.path(), &[("billing", 5)]);
}

#[test]
fn a_damaged_store_is_set_aside_or_given_up_and_nothing_stalls() {
    for byte in [0, 8, 40, 200] {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = open(directory.path());
        put_all(&store);
        drop(store);
        for file in ["db", "conf"] {
            let path = directory.path().join(FOLDER).join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(damaged) = bytes.get_mut(byte) {
                *damaged ^= 0xff;
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let (store, _) = open(directory.path());
        store.put("billing", Some(9));
        store.close();
    }
}

#[test]
fn a_store_that_another_holds_or_that_cannot_be_made_is_done_without() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = open(directory.path());
    let (second, known) = open(directory.path());
    assert!(known.is_empty());
    put_all(&second);
    put_all(&first);
    knows(directory.path(), &[("billing", 5)]);
    let file = directory.path().join("file");
    std::fs::write(&file, b"no folder").unwrap();
    let (store, known) = open(&file);
    assert!(known.is_empty());
    put_all(&store);
}

#[test]
fn a_store_that_is_deleted_under_an_instance_stalls_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    std::fs::remove_dir_all(directory.path().join(FOLDER)).unwrap();
    put_all(&store);
}

/// How many bits a value has that is written today.
const BITS: usize = 21 * 8;
/// An hour.
const HOUR_MS: u64 = 3_600_000;

/// What the store knows after `change` had its way with what was stored of a breaker that is open until then; of another one, which nobody
/// has touched, it always knows.
#[track_caller]
fn check_value(open_until_ms: u64, change: impl FnOnce(&sled::Db, Vec<u8>), expected: &[(&str, u64)]) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    store.put("billing", Some(open_until_ms));
    store.put("untouched", Some(6));
    store.close();
    let stored = by_hand(&directory.path().join(FOLDER));
    let value = stored.get("billing").unwrap().unwrap().to_vec();
    change(&stored, value);
    drop(stored);
    knows(directory.path(), &[expected, &[("untouched", 6)]].concat());
}

fn set(stored: &sled::Db, connector: &str, value: &[u8]) {
    stored.insert(connector, value).unwrap();
}

#[test]
fn a_value_of_which_any_bit_is_another_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    // A breaker for every bit, because opening a store takes long.
    (0..=BITS).for_each(|bit| store.put(&format!("connector-{bit}"), Some(now_ms())));
    store.close();
    let stored = by_hand(&directory.path().join(FOLDER));
    for bit in 0..BITS {
        let key = format!("connector-{bit}");
        let mut value = stored.get(&key).unwrap().unwrap().to_vec();
        assert_eq!(value.len() * 8, BITS);
        value[bit / 8] ^= 1 << (bit % 8);
        set(&stored, &key, &value);
    }
    drop(stored);
    let (_store, known) = open(directory.path());
    assert_eq!(known.into_keys().collect::<Vec<_>>(), [format!("connector-{BITS}")]);
}

#[test]
fn a_value_that_is_cut_longer_or_of_another_connector_is_left_out() {
    check_value(5, |_, _| {}, &[("billing", 5)]);
    for cut in [0, 1, 7, 9, 16, 17, 20] {
        check_value(5, |stored, value| set(stored, "billing", &value[..cut]), &[]);
    }
    check_value(5, |stored, value| set(stored, "billing", &[&value[..], &[0]].concat()), &[]);
    check_value(5, |stored, value| set(stored, "crm", &value), &[("billing", 5)]);
    check_value(5, |stored, value| drop(stored.insert([0xff], value).unwrap()), &[("billing", 5)]);
}

#[test]
fn a_value_of_before_there_were_versions_is_known_and_one_of_a_later_version_is_not() {
    let now_ms = now_ms();
    check_value(5, |stored, _| set(stored, "billing", &now_ms.to_be_bytes()), &[("billing", now_ms)]);
    check_value(5, |stored, _| set(stored, "billing", &u64::MAX.to_be_bytes()), &[]);
    check_value(5, |stored, value| set(stored, "billing", &[&[2], &value[1..]].concat()), &[]);
    check_value(5, |stored, _| set(stored, "billing", &[3; 40]), &[]);
}

#[test]
fn a_value_with_a_time_that_cannot_be_is_left_out() {
    let now_ms = now_ms();
    let written = |at_ms: u64, until_ms: u64| {
        move |stored: &sled::Db, _| set(stored, "billing", &value::write("billing", until_ms, at_ms))
    };
    check_value(5, written(now_ms, now_ms + 24 * HOUR_MS), &[("billing", now_ms + 24 * HOUR_MS)]);
    check_value(5, written(0, 24 * HOUR_MS), &[("billing", 24 * HOUR_MS)]);
    check_value(5, written(now_ms, now_ms + 26 * HOUR_MS), &[]);
    check_value(5, written(now_ms + HOUR_MS / 2, now_ms), &[("billing", now_ms)]);
    check_value(5, written(now_ms + 2 * HOUR_MS, now_ms), &[]);
    check_value(5, written(u64::MAX, u64::MAX), &[]);
}

/// Makes a store one of a sled of which nobody knows.
fn damage(folder: &Path) {
    let conf = folder.join("conf");
    let mut bytes = std::fs::read(&conf).unwrap();
    let at = bytes.windows(9).position(|it| it == b"version: ").unwrap();
    bytes[at + 9] = b'9';
    std::fs::write(&conf, bytes).unwrap();
}

/// A store is opened after `damage` has come over one that knows a breaker: what is told of it, until a write after `repair` succeeds.
#[track_caller]
fn check_told(damage: impl FnOnce(&Path), repair: impl FnOnce(&Path), expected: Option<&str>) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(FOLDER);
    let (store, _) = open(directory.path());
    store.put("billing", Some(5));
    store.close();
    damage(&folder);
    let (told, heard) = teller();
    let (store, _) = BreakerStore::open(directory.path(), told);
    if expected.is_some() {
        check_heard(&heard, expected);
    }
    repair(&folder);
    store.put("crm", Some(7));
    store.close();
    if expected.is_some() {
        check_heard(&heard, None);
    }
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), []);
    let (told, heard) = teller();
    let (_store, known) = BreakerStore::open(directory.path(), told);
    assert_eq!((known.get("crm"), heard.try_iter().count()), (Some(&7), 0));
}

#[test]
fn what_a_store_has_lost_is_told_until_it_is_written_again() {
    check_told(|_| {}, |_| {}, None);
    check_told(|folder| set(&by_hand(folder), "billing", &[2; 30]), |_| {}, Some("version 2"));
    check_told(damage, |_| {}, Some("set aside"));
    let no_folder = |folder: &Path| {
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::write(folder, b"no folder").unwrap();
    };
    check_told(no_folder, |folder| std::fs::remove_file(folder).unwrap(), Some("cannot be used"));
}

/// A disk on which each write waits until the test says whether it fails; once it says no more, all succeed.
fn slow_disk(write_within: Duration) -> (Disk, Sender<bool>) {
    let (outcomes, next) = channel();
    let next = Mutex::new(next);
    let flush = move |store: &sled::Db| match next.lock().unwrap().recv() {
        Ok(false) => Err(sled::Error::Io(std::io::Error::other("no space left"))),
        Ok(true) | Err(_) => store.flush(),
    };
    (Disk { flush: Box::new(flush), write_within, ..Disk::default() }, outcomes)
}

/// What no test waits for, and what each can wait for.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_write_that_fails_is_told_and_made_up_for_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (told, heard) = teller();
    let (disk, outcomes) = slow_disk(LONG);
    let (store, _) = BreakerStore::open_on(disk, directory.path(), Box::new(told));
    store.put("billing", Some(5));
    outcomes.send(false).unwrap();
    check_heard(&heard, Some("no space left"));
    store.put("crm", Some(7));
    outcomes.send(true).unwrap();
    check_heard(&heard, None);
    drop(outcomes);
    store.close();
    knows(directory.path(), &[("billing", 5), ("crm", 7)]);
}

#[test]
fn a_write_that_takes_long_is_told_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let (told, heard) = teller();
    let (disk, outcomes) = slow_disk(SHORT);
    let (store, _) = BreakerStore::open_on(disk, directory.path(), Box::new(told));
    store.put("billing", Some(5));
    check_heard(&heard, Some("longer than"));
    (0..100).for_each(|until_ms| store.put("crm", Some(until_ms)));
    drop(outcomes);
    check_heard(&heard, None);
    store.close();
    knows(directory.path(), &[("billing", 5), ("crm", 99)]);
}

#[test]
fn a_write_that_never_ends_holds_no_end_up() {
    let directory = tempfile::tempdir().unwrap();
    let (told, heard) = teller();
    let (disk, _outcomes) = slow_disk(SHORT);
    let (store, _) = BreakerStore::open_on(disk, directory.path(), Box::new(told));
    store.put("billing", Some(5));
    check_heard(&heard, Some("longer than"));
    store.put("crm", Some(7));
    store.close();
    // The keeper has ended.
    assert_eq!(heard.iter().count(), 0);
}

/// What is in the data directory, sorted; of a store that was set aside, not when.
fn names(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        entries.map(|name| name.trim_end_matches(|it: char| it.is_ascii_digit()).to_owned()).collect();
    names.sort_unstable();
    names
}

/// A disk on which the store that is in use does what `open` does when it is opened, and others are opened as always.
fn disk_that_opens(
    open_within: Duration,
    open: impl Fn(&Path) -> sled::Result<sled::Db> + Send + Sync + 'static,
) -> Disk {
    let sound = Disk::default();
    let open = move |folder: &Path| if folder.ends_with(FOLDER) { open(folder) } else { (sound.open)(folder) };
    Disk { open: Box::new(open), lock_within: LONG, open_within, ..Disk::default() }
}

/// A store that knows a breaker does not open, as `disk` has it; `later` happens once another one has taken its place.
#[track_caller]
fn check_set_aside(disk: Disk, expected: &str, later: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    store.put("billing", Some(5));
    store.close();
    let (told, heard) = teller();
    let (store, known) = BreakerStore::open_on(disk, directory.path(), Box::new(told));
    assert!(known.is_empty());
    check_heard(&heard, Some(expected));
    store.put("crm", Some(7));
    check_heard(&heard, None);
    assert_eq!(names(directory.path()), ["breakers.", "breakers.damaged-", "breakers.lock"]);
    later(directory.path());
    store.put("mail", Some(8));
    store.close();
    knows(directory.path(), &[("crm", 7), ("mail", 8)]);
}

#[test]
fn a_store_that_does_not_open_is_set_aside_and_may_do_so_later() {
    check_set_aside(disk_that_opens(LONG, |_| panic!("a page is no page")), "panicked", |_| {});
    let (release, released) = channel::<()>();
    let (opened, is_open) = channel();
    let (released, opened) = (Mutex::new(released), Mutex::new(opened));
    let disk = disk_that_opens(SHORT, move |folder| {
        // Until the test has something else to do.
        let _ = released.lock().unwrap().recv();
        let late = sled::open(folder);
        let _ = opened.lock().unwrap().send(());
        late
    });
    check_set_aside(disk, "does not open within", |data_dir| {
        drop(release);
        is_open.recv().unwrap();
        // In the folder of its name, which nobody looks into any more.
        assert!(names(data_dir).contains(&FOLDER.to_owned()));
    });
}

#[test]
fn a_store_that_another_holds_is_never_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = open(directory.path());
    first.put("billing", Some(5));
    let (told, heard) = teller();
    let (second, _) =
        BreakerStore::open_on(disk_that_opens(LONG, |_| panic!("it is opened")), directory.path(), Box::new(told));
    check_heard(&heard, Some("another process holds"));
    second.close();
    first.close();
    // As a version of before holds it, which has no lock of its own.
    let held = by_hand(&directory.path().join(FOLDER));
    let (told, heard) = teller();
    let (third, _) = BreakerStore::open(directory.path(), told);
    check_heard(&heard, Some("could not acquire lock"));
    // Once nobody holds it any more, it is written.
    drop(held);
    third.put("crm", Some(7));
    check_heard(&heard, None);
    third.close();
    assert_eq!(names(directory.path()), ["breakers", "breakers.lock"]);
}

#[test]
fn of_stores_that_were_set_aside_the_newest_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    for number in 1..=5_u8 {
        let (store, _) = open(directory.path());
        store.close();
        std::fs::write(directory.path().join(FOLDER).join("number"), [number]).unwrap();
        damage(&directory.path().join(FOLDER));
        let (store, _) = open(directory.path());
        store.close();
        let mut expected = vec!["breakers"];
        expected.extend(vec!["breakers.damaged-"; usize::from(number.min(3))]);
        expected.push("breakers.lock");
        assert_eq!(names(directory.path()), expected);
    }
    let folders = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path().join("number"));
    let mut numbers: Vec<u8> = folders.filter_map(|path| std::fs::read(path).ok()).flatten().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4, 5]);
}
