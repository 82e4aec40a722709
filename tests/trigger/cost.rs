//! What matching costs, counted and not timed: it must not grow with the number of workflows.

use serde_json::{Value as Json, json};
use tidegate::engine::trigger::{Candidates, Trigger, TriggerIndex, TriggerKey};

use crate::support::{EventParts, trigger};

fn key(slot: usize) -> TriggerKey {
    TriggerKey { slot: slot as u32, trigger: 0 }
}

/// Of ten workflows seven name an exact type, two a prefix of types and one a field of a type that they share.
fn mixed(number: usize) -> Trigger {
    match number % 10 {
        0..7 => trigger(&format!("exact.type-{number}.happened"), None, None, &Json::Null),
        7 | 8 => trigger(&format!("prefix.type-{number}.**"), None, None, &Json::Null),
        _ => trigger("orders.paid", None, None, &json!({ "data": { "country": ["DE"], "account": [number] } })),
    }
}

fn event_of_mixed(number: usize) -> EventParts<'static> {
    let kind: &'static str = match number % 10 {
        0..7 => "exact.type-100.happened",
        7 | 8 => "prefix.type-107.something.happened",
        _ => "orders.paid",
    };
    EventParts { kind, data: json!({ "country": "DE", "account": number, "amount": 5 }), ..EventParts::default() }
}

/// Probes and candidates of an event among triggers.
fn cost(index: &TriggerIndex, parts: &EventParts<'_>) -> (u64, usize) {
    let mut candidates = Candidates::default();
    index.candidates(&parts.event(), &mut candidates);
    (candidates.probes(), candidates.keys().len())
}

#[test]
fn cost_does_not_grow_with_the_number_of_workflows() {
    let numbers = [100, 107, 109];
    let mut index = TriggerIndex::new();
    let mut installed = 0;
    for count in [200, 1_000, 100_000] {
        for number in installed..count {
            index.insert(key(number), &mixed(number));
        }
        installed = count;
        for number in numbers {
            let (probes, candidates) = cost(&index, &event_of_mixed(number));
            assert!(probes <= 8, "{probes} probes for number {number} of {count}");
            assert!(candidates <= 6, "{candidates} candidates for number {number} of {count}");
        }
    }
    let per_trigger = index.size_bytes() / installed;
    assert!(per_trigger <= 512, "{per_trigger} bytes a trigger");
    for number in 0..installed {
        index.remove(key(number), &mixed(number));
    }
    assert_eq!(index.size_bytes(), TriggerIndex::new().size_bytes(), "nothing is left behind");
}

/// Installs many triggers of one structure and checks that an event meant for few leads to few.
#[track_caller]
fn check_selective(structure: impl Fn(usize) -> Json, data: Json, expected: std::ops::RangeInclusive<usize>) {
    const COUNT: usize = 5_000;
    let mut index = TriggerIndex::new();
    let triggers: Vec<Trigger> = (0..COUNT).map(|it| trigger("t", None, None, &structure(it))).collect();
    triggers.iter().enumerate().for_each(|(slot, trigger)| index.insert(key(slot), trigger));
    let parts = EventParts { kind: "t", data, ..EventParts::default() };
    let (probes, candidates) = cost(&index, &parts);
    assert!(probes <= 160, "{probes} probes");
    assert!(expected.contains(&candidates), "{candidates} candidates");
    let bytes = index.size_bytes() / COUNT;
    assert!(bytes <= 1_536, "{bytes} bytes a trigger");
    let event = parts.event();
    assert!(triggers.iter().any(|it| it.matches(&event)), "the event is meant for one");
}

#[test]
fn triggers_of_one_structure_are_told_apart_by_what_differs() {
    let over = |data: Json| json!({ "data": data });
    check_selective(|it| over(json!({ "a": ["x"], "b": { "c": [it] } })), json!({ "a": "x", "b": { "c": 77 } }), 1..=6);
    check_selective(|it| over(json!({ "a": [{ "prefix": format!("{it}-") }] })), json!({ "a": "77-x" }), 1..=6);
    check_selective(|it| over(json!({ "a": [{ "suffix": format!("-{it}") }] })), json!({ "a": "x-77" }), 1..=6);
    check_selective(
        |it| over(json!({ "a": [{ "equals-ignore-case": format!("A{it}") }] })),
        json!({ "a": "a77" }),
        1..=6,
    );
    check_selective(|it| over(json!({ "a": [{ "wildcard": format!("{it}-*-x") }] })), json!({ "a": "77-y-x" }), 1..=6);
    check_selective(|it| over(json!({ "a": [{ "wildcard": format!("*-{it}") }] })), json!({ "a": "y-77" }), 1..=6);
    let range = |it: usize| over(json!({ "a": [{ "numeric": [">=", it * 10, "<", it * 10 + 10] }] }));
    check_selective(range, json!({ "a": 774.5 }), 1..=6);
    check_selective(range, json!({ "a": 770 }), 1..=7);
    let network = |it: usize| over(json!({ "a": [{ "cidr": format!("10.{}.{}.0/24", it / 256, it % 256) }] }));
    check_selective(network, json!({ "a": "10.1.2.3" }), 1..=6);
    let beside_presence =
        |it: usize| over(json!({ "a": [{ "anything-but": "x" }], "b": [it], "c": [{ "exists": false }] }));
    check_selective(beside_presence, json!({ "a": "y", "b": 77 }), 1..=6);
    let either = |it: usize| over(json!({ "$or": [{ "a": [it] }, { "b": [it], "c": ["x"] }] }));
    check_selective(either, json!({ "a": 77, "b": 78, "c": "x" }), 2..=7);
    check_selective(
        |it| over(json!({ "list": { "id": [it] } })),
        json!({ "list": [{ "id": 7 }, { "id": 78 }] }),
        1..=6,
    );
    // What no clause tells apart alone, several do together; each place on the way may hold a few more.
    let above = |it: usize| over(json!({ "a": ["x", "y"], "b": [{ "numeric": [">", 1_000_000 + it] }] }));
    check_selective(above, json!({ "a": "x", "b": 1_000_000.5 }), 1..=8);
    let row_and_column = |it: usize| over(json!({ "a": [it % 50], "b": [it / 50] }));
    check_selective(row_and_column, json!({ "a": 27, "b": 1 }), 1..=8);
    let three = |it: usize| {
        over(json!({ "a": [it % 10], "$or": [{ "b": [it / 10 % 20] }, { "c": [{ "prefix": "z" }] }], "d": [it / 200] }))
    };
    check_selective(three, json!({ "a": 3, "b": 7, "c": "y", "d": 11 }), 1..=24);
    let source = |it: usize| if it == 77 { "https://shop.example.com".into() } else { format!("https://shop-{it}") };
    check_selective(|it| json!({ "source": [source(it)], "data": { "a": ["x"] } }), json!({ "a": "x" }), 1..=6);
}

#[test]
fn long_lists_lead_to_each_trigger_once() {
    let mut index = TriggerIndex::new();
    for slot in 0..1_000 {
        let alternatives = json!(["x", { "prefix": "x" }, { "numeric": [">", 0] }, { "exists": true }]);
        let alternative = alternatives[slot % 4].clone();
        index.insert(key(slot), &trigger("t", None, None, &json!({ "data": { "a": [alternative] } })));
    }
    let mixed: Vec<Json> = (0..100_000).map(|it| if it % 2 == 0 { json!("x") } else { json!(it) }).collect();
    let (_, candidates) = cost(&index, &EventParts { kind: "t", data: json!({ "a": mixed }), ..EventParts::default() });
    assert_eq!(candidates, 1_000);
}
