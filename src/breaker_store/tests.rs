//! The store of circuit breakers through its doors, on disks that are sound, damaged and gone.

use super::*;

fn put_all(store: &BreakerStore) {
    store.put("billing", Some(1));
    store.put("crm", Some(7));
    store.put("billing", Some(5));
    store.put("crm", None);
    store.close();
}

#[track_caller]
fn knows(data_dir: &Path, expected: &[(&str, u64)]) {
    let (store, known) = BreakerStore::open(data_dir);
    let expected: Snapshot = expected.iter().map(|(name, until)| ((*name).to_owned(), *until)).collect();
    assert_eq!(known, expected);
    store.close();
}

#[test]
fn what_was_put_last_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, known) = BreakerStore::open(directory.path());
    assert!(known.is_empty());
    put_all(&store);
    knows(directory.path(), &[("billing", 5)]);
}

#[test]
fn a_damaged_store_is_set_aside_or_given_up_and_nothing_stalls() {
    for byte in [0, 8, 40, 200] {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = BreakerStore::open(directory.path());
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
        let (store, _) = BreakerStore::open(directory.path());
        store.put("billing", Some(9));
        store.close();
    }
}

#[test]
fn a_store_that_another_holds_or_that_cannot_be_made_is_done_without() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = BreakerStore::open(directory.path());
    let (second, known) = BreakerStore::open(directory.path());
    assert!(known.is_empty());
    put_all(&second);
    put_all(&first);
    knows(directory.path(), &[("billing", 5)]);
    let file = directory.path().join("file");
    std::fs::write(&file, b"no folder").unwrap();
    let (store, known) = BreakerStore::open(&file);
    assert!(known.is_empty());
    put_all(&store);
}

#[test]
fn a_store_that_is_deleted_under_an_instance_stalls_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = BreakerStore::open(directory.path());
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
    let (store, _) = BreakerStore::open(directory.path());
    store.put("billing", Some(open_until_ms));
    store.put("untouched", Some(6));
    store.close();
    let stored = sled::open(directory.path().join(FOLDER)).unwrap();
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
    let (store, _) = BreakerStore::open(directory.path());
    // A breaker for every bit, because opening a store takes long.
    (0..=BITS).for_each(|bit| store.put(&format!("connector-{bit}"), Some(now_ms())));
    store.close();
    let stored = sled::open(directory.path().join(FOLDER)).unwrap();
    for bit in 0..BITS {
        let key = format!("connector-{bit}");
        let mut value = stored.get(&key).unwrap().unwrap().to_vec();
        assert_eq!(value.len() * 8, BITS);
        value[bit / 8] ^= 1 << (bit % 8);
        set(&stored, &key, &value);
    }
    drop(stored);
    let (_store, known) = BreakerStore::open(directory.path());
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
