//! The index against looking at every trigger.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tidegate::engine::trigger::{Candidates, Trigger, TriggerIndex, TriggerKey};

use crate::support::{EventParts, trigger};

/// A trigger as it is written.
#[derive(Clone, Debug)]
struct Written {
    kind: String,
    topic: Option<&'static str>,
    source: Option<&'static str>,
    schema: Option<&'static str>,
    pattern: Json,
}

impl Written {
    fn trigger(&self) -> Trigger {
        let trigger = trigger(&self.kind, self.topic, self.source, &self.pattern);
        Trigger { schema: self.schema.map(Into::into), ..trigger }
    }
}

fn text() -> impl Strategy<Value = String> {
    "[abÄä*]{0,3}".prop_map(|it| it)
}

fn some_text() -> impl Strategy<Value = String> {
    "[abÄä]{1,2}"
}

fn number() -> impl Strategy<Value = Json> {
    prop_oneof![
        (-4_i64..4).prop_map(Json::from),
        (-8_i64..8).prop_map(|it| json!(it as f64 / 2.0)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!(9007199254740992_u64)),
        Just(json!(9007199254740993_u64)),
        Just(json!(1e300)),
    ]
}

fn scalar() -> impl Strategy<Value = Json> {
    let address = prop_oneof![Just("10.0.0.1"), Just("10.0.1.1"), Just("::1")];
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        number(),
        number(),
        text().prop_map(Json::from),
        text().prop_map(Json::from),
        address.prop_map(Json::from),
    ]
}

fn numeric() -> impl Strategy<Value = Json> {
    let low = prop_oneof![Just(">"), Just(">=")];
    let high = prop_oneof![Just("<"), Just("<=")];
    prop_oneof![
        number().prop_map(|it| json!(["=", it])),
        (low.clone(), number()).prop_map(|(sign, it)| json!([sign, it])),
        (high.clone(), number()).prop_map(|(sign, it)| json!([sign, it])),
        (low, -4_i64..2, high, 1_i64..4).prop_map(|(low, from, high, more)| json!([low, from, high, from + more])),
    ]
    .prop_map(|it| json!({ "numeric": it }))
}

fn operator() -> impl Strategy<Value = Json> {
    let wildcard = prop_oneof![Just("a*"), Just("*b"), Just("*a*"), Just("ä*b"), Just("*")];
    let network = prop_oneof![Just("10.0.0.0/24"), Just("10.0.0.0/8"), Just("::/0")];
    let of_text = prop_oneof![
        some_text().prop_map(|it| json!({ "prefix": it })),
        some_text().prop_map(|it| json!({ "suffix": it })),
        some_text().prop_map(|it| json!({ "equals-ignore-case": it })),
        some_text().prop_map(|it| json!({ "prefix": { "equals-ignore-case": it } })),
        some_text().prop_map(|it| json!({ "suffix": { "equals-ignore-case": it } })),
        wildcard.prop_map(|it| json!({ "wildcard": it })),
    ];
    let excluded =
        prop_oneof![of_text.clone(), scalar(), proptest::collection::vec(scalar(), 1..3).prop_map(Json::from),];
    prop_oneof![
        4 => of_text,
        2 => numeric(),
        1 => network.prop_map(|it| json!({ "cidr": it })),
        1 => any::<bool>().prop_map(|it| json!({ "exists": it })),
        1 => excluded.prop_map(|it| json!({ "anything-but": it })),
    ]
}

fn leaf() -> impl Strategy<Value = Json> {
    proptest::collection::vec(prop_oneof![scalar(), operator()], 1..4).prop_map(Json::from)
}

fn name() -> impl Strategy<Value = String> {
    "[xyz]"
}

fn object_of(field: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
    proptest::collection::btree_map(name(), field, 1..3).prop_map(|it| Json::Object(it.into_iter().collect()))
}

fn over_data() -> impl Strategy<Value = Json> {
    let with_or = |base: BoxedStrategy<Json>| {
        (base.clone(), proptest::option::weighted(0.2, proptest::collection::vec(base, 1..3))).prop_map(
            |(mut object, or)| {
                if let (Some(fields), Some(or)) = (object.as_object_mut(), or) {
                    fields.insert("$or".into(), or.into());
                }
                object
            },
        )
    };
    let inner = with_or(object_of(leaf()).boxed());
    with_or(object_of(prop_oneof![3 => leaf().boxed(), 1 => inner.boxed()]).boxed())
}

fn written() -> impl Strategy<Value = Written> {
    let kind = prop_oneof![3 => "[ab](\\.[ab]){0,2}", 1 => "([ab*]\\.){1,2}(\\*|\\*\\*)", 1 => Just("*".to_owned())];
    let envelope = object_of(leaf()).prop_map(|it| {
        let renamed = |(name, leaf): (String, Json)| match name.as_str() {
            "x" => ("key".to_owned(), leaf),
            "y" => ("subject".to_owned(), leaf),
            _ => ("headers".to_owned(), json!({ "h": leaf })),
        };
        it.as_object().cloned().unwrap_or_default().into_iter().map(renamed).collect::<Map<_, _>>().into()
    });
    let pattern = prop_oneof![
        1 => Just(Json::Null),
        4 => over_data().prop_map(|it| json!({ "data": it })),
        1 => over_data().prop_map(|it| json!({ "key": it })),
        1 => envelope,
        1 => leaf().prop_map(|it| json!({ "schema": it })),
    ];
    let topic = proptest::option::weighted(0.2, prop_oneof![Just("t1"), Just("t2")]);
    let source = proptest::option::weighted(0.2, prop_oneof![Just("s1"), Just("s*"), Just("s2*")]);
    let schema = proptest::option::weighted(0.2, prop_oneof![Just("ab"), Just("n.S")]);
    (kind, topic, source, schema, pattern).prop_map(|(kind, topic, source, schema, pattern)| Written {
        kind,
        topic,
        source,
        schema,
        pattern,
    })
}

fn payload() -> impl Strategy<Value = Json> {
    let field = scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(name(), inner, 0..4).prop_map(|it| Json::Object(it.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map(name(), field, 0..4).prop_map(|it| Json::Object(it.into_iter().collect()))
}

fn event_parts() -> impl Strategy<Value = EventParts<'static>> {
    let kind = prop_oneof![Just("a"), Just("a.b"), Just("b.a.a"), Just("a.a"), Just("c.b")];
    let bytes = || proptest::option::of(prop_oneof![Just(&b"a"[..]), Just(&b"ba"[..]), Just(&[0xff_u8][..])]);
    let subject = proptest::option::of(prop_oneof![Just("ab"), Just("Äa")]);
    let headers = proptest::collection::vec((Just("h"), bytes()), 0..3);
    let topic = prop_oneof![Just("t1"), Just("t2")];
    let source = prop_oneof![Just(""), Just("s1"), Just("s2x")];
    let schema = proptest::option::of(prop_oneof![Just("ab"), Just("n.S")]);
    let keys = (bytes(), proptest::option::weighted(0.3, prop_oneof![payload(), scalar()]));
    (kind, topic, source, subject, schema, keys, headers, payload()).prop_map(
        |(kind, topic, source, subject, schema, (key, decoded_key), headers, data)| EventParts {
            kind,
            topic,
            source,
            subject,
            schema,
            key,
            decoded_key,
            headers,
            data,
        },
    )
}

/// Checks that what the index finds is what every installed trigger says by itself.
fn check(index: &TriggerIndex, installed: &BTreeMap<TriggerKey, (Written, Trigger)>, events: &[EventParts<'_>]) {
    let mut candidates = Candidates::default();
    for parts in events {
        let event = parts.event();
        index.candidates(&event, &mut candidates);
        assert!(candidates.keys().is_sorted_by(|a, b| a < b), "sorted, each once");
        let matching = |key: &&TriggerKey| installed[key].1.matches(&event);
        let found: Vec<TriggerKey> = candidates.keys().iter().filter(matching).copied().collect();
        let expected: Vec<TriggerKey> = installed.keys().filter(matching).copied().collect();
        let missed: Vec<_> = expected.iter().filter(|it| !found.contains(it)).map(|it| &installed[it].0).collect();
        assert!(missed.is_empty(), "{parts:?} misses {missed:#?}");
        assert_eq!(found, expected);
        for (written, trigger) in installed.values() {
            let explained = trigger.explain(&event);
            assert_eq!(explained.is_empty(), trigger.matches(&event), "{written:?} on {parts:?}: {explained:?}");
        }
    }
}

/// Installs, removes some, installs those again under other keys and removes all, checking in between.
fn check_life(triggers: &[(Written, bool)], events: &[EventParts<'_>]) {
    let mut index = TriggerIndex::new();
    let base = index.size_bytes();
    let mut installed = BTreeMap::new();
    for (slot, (written, _)) in triggers.iter().enumerate() {
        let key = TriggerKey { slot: slot as u32 / 3, trigger: slot as u16 % 3 };
        let trigger = written.trigger();
        index.insert(key, &trigger);
        installed.insert(key, (written.clone(), trigger));
    }
    check(&index, &installed, events);
    for ((key, _), (_, goes)) in installed.clone().iter().zip(triggers) {
        if *goes && let Some((_, trigger)) = installed.remove(key) {
            index.remove(*key, &trigger);
        }
    }
    check(&index, &installed, events);
    for (slot, (written, goes)) in triggers.iter().rev().enumerate() {
        let key = TriggerKey { slot: 1000 + slot as u32, trigger: 0 };
        if *goes {
            index.insert(key, &written.trigger());
            installed.insert(key, (written.clone(), written.trigger()));
        }
    }
    check(&index, &installed, events);
    for (key, (_, trigger)) in &installed {
        index.remove(*key, trigger);
    }
    check(&index, &BTreeMap::new(), events);
    assert_eq!(index.size_bytes(), base, "nothing is left behind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_every_trigger_says_by_itself(
        triggers in proptest::collection::vec((written(), any::<bool>()), 1..80),
        events in proptest::collection::vec(event_parts(), 1..12),
    ) {
        check_life(&triggers, &events);
    }

    #[test]
    fn one_field_leads_to_every_kind_of_alternative(
        leaves in proptest::collection::vec((operator(), any::<bool>()), 10..60),
        values in proptest::collection::vec(proptest::collection::vec(scalar(), 1..4), 1..24),
    ) {
        check_one_field(leaves, values);
    }

    #[test]
    fn numbers_lead_to_their_ranges(
        ranges in proptest::collection::vec((numeric(), any::<bool>()), 10..40),
        numbers in proptest::collection::vec(number(), 1..200),
    ) {
        let alone = numbers.iter().take(12).map(|it| vec![it.clone()]);
        check_one_field(ranges, alone.chain([numbers.clone()]).collect());
    }
}

/// Triggers that differ in one alternative for the field `x`, and events whose `x` is one value or a list of them.
fn check_one_field(alternatives: Vec<(Json, bool)>, values: Vec<Vec<Json>>) {
    let written = |it| Written {
        kind: "a".into(),
        topic: None,
        source: None,
        schema: None,
        pattern: json!({ "data": { "x": [it] } }),
    };
    let triggers: Vec<_> = alternatives.into_iter().map(|(it, goes)| (written(it), goes)).collect();
    let event = |mut it: Vec<Json>| {
        let data = if it.len() == 1 { json!({ "x": it.swap_remove(0) }) } else { json!({ "x": it }) };
        EventParts { kind: "a", data, ..EventParts::default() }
    };
    check_life(&triggers, &values.into_iter().map(event).collect::<Vec<_>>());
}

#[test]
fn objects_with_many_named_fields_are_walked_by_their_own() {
    let written = |it: usize| Written {
        kind: "a".into(),
        topic: None,
        source: None,
        schema: None,
        pattern: if it < 50 {
            json!({ "data": { format!("f{it}"): ["v"] } })
        } else {
            json!({ "headers": { format!("h{it}"): ["v"] } })
        },
    };
    let triggers: Vec<_> = (0..100).map(|it| (written(it), it % 3 == 0)).collect();
    let headers = vec![("h91", Some(&b"v"[..])), ("h91", None), ("other", Some(&b"v"[..]))];
    let data = json!({ "f40": "v", "f38": ["x", "v"], "f36": "x", "other": "v" });
    check_life(&triggers, &[EventParts { kind: "a", headers, data, ..EventParts::default() }]);
}
