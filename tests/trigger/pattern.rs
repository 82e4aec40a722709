//! Every operator, the examples that EventBridge documents, and what gets refused.

use serde_json::{Value as Json, json};
use tidegate::engine::limits;
use tidegate::engine::trigger::Pattern;

use crate::support::{EventParts, decoded, event, owned, pattern, trigger};

/// Whether a pattern over `data` matches payloads as it should.
#[track_caller]
fn check(over_data: Json, matching: &[Json], others: &[Json]) {
    let trigger = trigger("*", None, None, &json!({ "data": over_data }));
    for (payloads, expected) in [(matching, true), (others, false)] {
        for payload in payloads {
            let event = event(payload.clone());
            assert_eq!(trigger.matches(&event), expected, "{over_data} on {payload}");
            assert_eq!(trigger.explain(&event).is_empty(), expected, "{over_data} on {payload}, explained");
        }
    }
}

/// Whether a leaf matches values of the field `x` as it should.
#[track_caller]
fn check_leaf(leaf: Json, matching: &[Json], others: &[Json]) {
    let in_field = |values: &[Json]| values.iter().map(|it| json!({ "x": it })).collect::<Vec<_>>();
    check(json!({ "x": leaf }), &in_field(matching), &in_field(others));
}

#[test]
fn values_match_exactly() {
    check_leaf(
        json!(["DE", 5, true, null]),
        &[json!("DE"), json!(5.0), json!(true), Json::Null],
        &[json!("de"), json!("5"), json!(6), json!(false), json!({ "DE": 1 }), json!([])],
    );
    check_leaf(json!([""]), &[json!("")], &[Json::Null, json!(" ")]);
    check_leaf(json!([100]), &[json!(100), json!(100.0), json!(1e2)], &[json!(100.000001)]);
    check_leaf(json!([9007199254740993_u64]), &[json!(9007199254740993_u64)], &[json!(9007199254740992.0)]);
    check_leaf(json!([u64::MAX]), &[json!(u64::MAX)], &[json!(18446744073709551616.0), json!(-1)]);
}

#[test]
fn missing_fields_match_nothing() {
    check(json!({ "x": ["a"] }), &[], &[json!({}), json!({ "y": "a" }), json!("a"), Json::Null, json!([])]);
    check(json!({ "x": [null] }), &[], &[json!({})]);
    check(json!({ "x": [{ "anything-but": "a" }] }), &[], &[json!({}), json!({ "x": [] })]);
}

#[test]
fn siblings_must_all_hold() {
    let payload = |a: i64, b: &str| json!({ "a": a, "n": { "b": b } });
    check(
        json!({ "a": [1, 2], "n": { "b": ["x", "y"] } }),
        &[payload(1, "x"), payload(2, "y")],
        &[payload(3, "x"), payload(1, "z"), json!({ "a": 1 })],
    );
}

#[test]
fn text_operators_compare_as_they_say() {
    check_leaf(
        json!([{ "prefix": "U" }]),
        &[json!("U"), json!("US")],
        &[json!("us"), json!("EU"), json!(5), json!("")],
    );
    check_leaf(json!([{ "suffix": ".png" }]), &[json!("a.png"), json!(".png")], &[json!("a.PNG"), json!("png")]);
    check_leaf(json!([{ "prefix": { "equals-ignore-case": "ÄB" } }]), &[json!("äbc"), json!("Äb")], &[json!("ac")]);
    check_leaf(
        json!([{ "suffix": { "equals-ignore-case": ".PnG" } }]),
        &[json!("a.pNg")],
        &[json!("a.gif"), json!("g")],
    );
    check_leaf(
        json!([{ "equals-ignore-case": "Alice" }]),
        &[json!("ALICE"), json!("alice")],
        &[json!("alic"), json!(1)],
    );
    check_leaf(
        json!([{ "wildcard": "dir/*/*.png" }]),
        &[json!("dir/a/b.png"), json!("dir//.png")],
        &[json!("dir/a.png")],
    );
    check_leaf(json!([{ "wildcard": r"a\*b" }]), &[json!("a*b")], &[json!("axb")]);
}

#[test]
fn anything_but_needs_a_value_that_is_not_excluded() {
    check_leaf(json!([{ "anything-but": "a" }]), &[json!("b"), json!(1), Json::Null, json!(["a", "b"])], &[json!("a")]);
    check_leaf(
        json!([{ "anything-but": ["a", 7] }]),
        &[json!("b"), json!(8)],
        &[json!("a"), json!(7.0), json!(["a", 7])],
    );
    check_leaf(json!([{ "anything-but": { "prefix": "a" } }]), &[json!("ba"), json!(1)], &[json!("ab")]);
    check_leaf(json!([{ "anything-but": { "prefix": ["a", "b"] } }]), &[json!("c")], &[json!("ax"), json!("bx")]);
    check_leaf(json!([{ "anything-but": { "suffix": "a" } }]), &[json!("ab")], &[json!("ba")]);
    check_leaf(
        json!([{ "anything-but": { "suffix": { "equals-ignore-case": "a" } } }]),
        &[json!("ab")],
        &[json!("bA")],
    );
    check_leaf(json!([{ "anything-but": { "wildcard": "*/lib/*" } }]), &[json!("lib")], &[json!("a/lib/b")]);
    check_leaf(
        json!([{ "anything-but": { "equals-ignore-case": ["A", "B"] } }]),
        &[json!("c")],
        &[json!("a"), json!("B")],
    );
}

#[test]
fn numbers_lie_between_bounds() {
    check_leaf(
        json!([{ "numeric": [">", 0, "<=", 5] }]),
        &[json!(5), json!(0.1), json!(4)],
        &[json!(0), json!(5.1), json!("3")],
    );
    check_leaf(json!([{ "numeric": ["=", 3.018e2] }]), &[json!(301.8)], &[json!(301), json!(302)]);
    check_leaf(json!([{ "numeric": ["<", -10] }]), &[json!(-11), json!(-1e300)], &[json!(-10), json!(0)]);
    check_leaf(
        json!([{ "numeric": [">=", 9007199254740993_u64] }]),
        &[json!(9007199254740993_u64)],
        &[json!(9007199254740992_u64)],
    );
    check_leaf(json!([{ "numeric": [">", i64::MAX] }]), &[json!(u64::MAX), json!(1e19)], &[json!(i64::MAX)]);
}

#[test]
fn addresses_lie_in_networks() {
    check_leaf(
        json!([{ "cidr": "10.0.0.0/24" }]),
        &[json!("10.0.0.255")],
        &[json!("10.0.1.255"), json!("::1"), json!("x")],
    );
    check_leaf(json!([{ "cidr": "2001:db8::/32" }]), &[json!("2001:db8:ffff::1")], &[json!("2001:db9::")]);
}

#[test]
fn exists_looks_at_leaves() {
    check(
        json!({ "n": { "x": [{ "exists": true }] } }),
        &[json!({ "n": { "x": 1 } }), json!({ "n": { "x": null } }), json!({ "n": { "x": [1] } })],
        &[json!({ "n": { "x": { "y": 1 } } }), json!({ "n": {} }), json!({}), json!({ "n": { "x": [] } })],
    );
    check(
        json!({ "n": { "x": [{ "exists": false }] } }),
        &[json!({ "n": {} }), json!({}), json!({ "n": 5 }), json!({ "n": [] }), json!({ "n": { "x": { "y": 1 } } })],
        &[json!({ "n": { "x": 1 } }), json!({ "n": { "x": null } })],
    );
    check_leaf(json!([{ "exists": false }, "a"]), &[json!("a"), json!({}), json!([])], &[json!("b")]);
}

#[test]
fn lists_match_on_intersection_and_by_one_item() {
    check_leaf(json!(["a", "b"]), &[json!(["c", "b"]), json!([["x", "a"]])], &[json!(["c"]), json!([])]);
    check(
        json!({ "items": { "sku": ["A"], "count": [{ "numeric": [">", 1] }] } }),
        &[json!({ "items": [{ "sku": "B", "count": 5 }, { "sku": "A", "count": 2 }] })],
        &[json!({ "items": [{ "sku": "B", "count": 5 }, { "sku": "A", "count": 1 }] }), json!({ "items": ["A"] })],
    );
    check(json!({ "items": { "sku": ["A"] } }), &[json!({ "items": [[{ "sku": "A" }]] })], &[json!({ "items": [] })]);
}

#[test]
fn one_branch_of_or_must_hold_beside_its_siblings() {
    let or = json!({ "a": [1], "$or": [{ "b": [2] }, { "c": [{ "prefix": "x" }], "d": [4] }] });
    check(
        or,
        &[json!({ "a": 1, "b": 2 }), json!({ "a": 1, "c": "xy", "d": 4 })],
        &[json!({ "a": 1, "c": "xy" }), json!({ "b": 2 }), json!({ "a": 1 })],
    );
}

#[test]
fn documented_examples_of_eventbridge_match() {
    let instance = json!({
        "instance-id": "i-abcd1111", "state": "running", "c-count": 5, "d-count": 3, "x-limit": 301.8,
        "source-ip": "10.0.0.33", "location": "us-east-1", "FileName": "image.PNG", "missing": null,
    });
    check(json!({ "state": ["running"] }), std::slice::from_ref(&instance), &[]);
    let complex = json!({
        "c-count": [{ "numeric": [">", 0, "<=", 5] }], "d-count": [{ "numeric": ["<", 10] }],
        "x-limit": [{ "numeric": ["=", 301.8] }], "source-ip": [{ "cidr": "10.0.0.0/24" }],
        "state": [{ "anything-but": "initializing" }], "location": [{ "prefix": "us-" }],
        "FileName": [{ "suffix": { "equals-ignore-case": ".png" } }], "c-missing": [{ "exists": false }],
    });
    check(complex, std::slice::from_ref(&instance), &[json!({ "c-count": 5 })]);
    let or = json!({ "$or": [
        { "c-count": [{ "numeric": [">", 0, "<=", 5] }] },
        { "d-count": [{ "numeric": ["<", 10] }] },
        { "x-limit": [{ "numeric": ["=", 3.018e2] }] },
    ] });
    check(or, &[instance], &[json!({ "c-count": 6, "d-count": 10 })]);
    check_leaf(json!([{ "anything-but": ["stopped", "overloaded"] }]), &[json!("running")], &[json!("stopped")]);
    check_leaf(json!([{ "anything-but": { "prefix": "init" } }]), &[json!("running")], &[json!("initializing")]);
}

#[test]
fn patterns_look_at_the_envelope_too() {
    let parts = EventParts {
        subject: Some("order-7"),
        key: Some(b"acme"),
        headers: vec![("tenant", Some(b"a")), ("tenant", Some(b"b")), ("null", None), ("raw", Some(&[0xff]))],
        ..EventParts::default()
    };
    #[track_caller]
    fn check(parts: &EventParts<'_>, over_event: Json, expected: bool) {
        assert_eq!(pattern(&over_event).matches(&parts.event()), expected, "{over_event}");
    }
    check(&parts, json!({ "id": ["event-1"], "type": [{ "prefix": "orders." }] }), true);
    check(&parts, json!({ "source": [{ "suffix": ".com" }], "subject": [{ "wildcard": "order-*" }] }), true);
    check(&parts, json!({ "key": ["acme"] }), true);
    check(&parts, json!({ "key": [{ "exists": false }] }), false);
    check(&EventParts::default(), json!({ "key": [{ "exists": false }], "subject": [{ "exists": false }] }), true);
    check(&parts, json!({ "headers": { "tenant": ["a"] } }), true);
    check(&parts, json!({ "headers": { "tenant": ["b"], "null": [null] } }), true);
    check(&parts, json!({ "headers": { "raw": [{ "exists": true }] } }), true);
    check(&parts, json!({ "headers": { "Tenant": ["a"] } }), false);
    check(&parts, json!({ "$or": [{ "key": ["x"] }, { "headers": { "tenant": ["a"] } }] }), true);
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    #[track_caller]
    fn check(wrong: Json, expected: &[(&str, &str)]) {
        for value in [owned(&wrong), decoded(&wrong)] {
            let errors = Pattern::parse(&value).unwrap_err();
            let found: Vec<_> = errors.iter().map(|it| (it.pointer.as_str(), it.message.as_str())).collect();
            assert_eq!(found.len(), expected.len(), "{wrong}: {found:#?}");
            for ((pointer, message), (expected_pointer, part)) in found.iter().zip(expected) {
                assert_eq!(pointer, expected_pointer, "{wrong}: {message}");
                assert!(message.contains(part), "{wrong}: {message:?} lacks {part:?}");
            }
        }
    }
    check(json!([]), &[("", "must be an object")]);
    check(json!({}), &[("", "names no field")]);
    check(json!({ "detail": { "x": [1] } }), &[("/detail", "write `data`")]);
    check(json!({ "topic": ["x"] }), &[("/topic", "begins with data, id")]);
    check(json!({ "data": { "a/b~": "DE" } }), &[("/data/a~1b~0", "write [\"DE\"]")]);
    check(
        json!({ "data": { "a": 5, "b": [], "c": {}, "d": [[1]], "e": [{ "prefx": "x" }], "f": [{ "prefix": "" }] } }),
        &[
            ("/data/a", "write [5]"),
            ("/data/b", "never matches"),
            ("/data/c", "names no field"),
            ("/data/d/0", "a list cannot be compared"),
            ("/data/e/0/prefx", "unknown operator"),
            ("/data/f/0/prefix", "empty"),
        ],
    );
    check(json!({ "data": { "a": { "numeric": [">", 0] } } }), &[("/data/a/numeric", "stands in a list")]);
    check(json!({ "data": { "a": { "prefix": "x" } } }), &[("/data/a/prefix", "stands in a list")]);
    check(json!({ "data": { "a": [{ "prefix": "x", "suffix": "y" }] } }), &[("/data/a/0", "object of one field")]);
    let numeric = |operand: Json| json!({ "data": { "a": [{ "numeric": operand }] } });
    check(numeric(json!([])), &[("/data/a/0/numeric", "one or two comparisons")]);
    check(numeric(json!([">", "0"])), &[("/data/a/0/numeric/1", "is no number")]);
    check(numeric(json!(["!", 0])), &[("/data/a/0/numeric/0", "is no comparison")]);
    check(numeric(json!([">", 0, ">", 1])), &[("/data/a/0/numeric/2", "this bound already")]);
    check(numeric(json!([">", 0, "=", 1])), &[("/data/a/0/numeric/2", "stands alone")]);
    check(numeric(json!([">", 5, "<", 5])), &[("/data/a/0/numeric", "no number lies")]);
    check(json!({ "data": { "a": [{ "cidr": "10.0.0.0" }] } }), &[("/data/a/0/cidr", "10.0.0.0/8")]);
    check(json!({ "data": { "a": [{ "wildcard": "a**" }] } }), &[("/data/a/0/wildcard", "single `*`")]);
    check(json!({ "data": { "a": [{ "exists": "yes" }] } }), &[("/data/a/0/exists", "true or false")]);
    check(
        json!({ "data": { "a": [{ "anything-but": [{ "prefix": "x" }] }] } }),
        &[("/data/a/0/anything-but/0", "{anything-but: {prefix: …}}")],
    );
    check(
        json!({ "data": { "a": [{ "anything-but": { "prefix": ["x", 5] } }] } }),
        &[("/data/a/0/anything-but/prefix/1", "must be a string")],
    );
    check(json!({ "$or": [] }), &[("/$or", "never holds")]);
    check(json!({ "$or": [{ "x": [1] }, 5] }), &[("/$or/0/x", "begins with"), ("/$or/1", "must be an object")]);
    check(json!({ "headers": { "h": { "x": [1] } } }), &[("/headers/h", "list of alternatives")]);
    check(json!({ "id": { "x": [1] } }), &[("/id", "list of alternatives")]);
}

#[test]
fn patterns_beyond_the_limits_are_refused() {
    #[track_caller]
    fn check(json: Json, is_right: bool) {
        let parsed = Pattern::parse(&owned(&json));
        assert_eq!(parsed.is_ok(), is_right, "{parsed:?}");
    }
    let nested = |depth: usize| (0..depth).fold(json!(["x"]), |inner, _| json!({ "a": inner }));
    check(json!({ "data": nested(limits::PATTERN_DEPTH - 1) }), true);
    check(json!({ "data": nested(limits::PATTERN_DEPTH + 2) }), false);
    check(json!({ "data": nested(limits::DOCUMENT_DEPTH * 4) }), false);
    let listed = |count: usize| json!({ "data": { "a": vec!["x"; count] } });
    check(listed(limits::VALUES_PER_LEAF), true);
    check(listed(limits::VALUES_PER_LEAF + 1), false);
    let wide = |fields: usize| json!({ "data": (0..fields).map(|it| (it.to_string(), json!([1]))).collect::<serde_json::Map<_, _>>() });
    check(wide(limits::PATTERN_NODES / 2 - 1), true);
    check(wide(limits::PATTERN_NODES / 2), false);
    assert_eq!(Pattern::parse(&owned(&wide(50_000))).unwrap_err().len(), 1);
    let text = |bytes: usize| json!({ "data": { "a": ["x".repeat(bytes)] } });
    check(text(limits::TRIGGER_TEXT_BYTES), true);
    check(text(limits::TRIGGER_TEXT_BYTES + 1), false);
    check(json!({ "data": { "x".repeat(limits::TRIGGER_TEXT_BYTES + 1): ["x"] } }), false);
    let wrong = json!({ "data": { "a": vec![json!({ "prefx": "x" }); limits::VALUES_PER_LEAF] } });
    assert_eq!(Pattern::parse(&owned(&wrong)).unwrap_err().len(), limits::PATTERN_MISTAKES);
    let stars = |count: usize| json!({ "data": { "a": [{ "wildcard": "a*".repeat(count) }] } });
    check(stars(limits::STARS_PER_WILDCARD), true);
    check(stars(limits::STARS_PER_WILDCARD + 1), false);
}

#[test]
fn explanations_name_the_clause_that_failed() {
    let trigger = trigger(
        "orders.*",
        Some("billing"),
        Some("https://x*"),
        &json!({ "data": {
            "country": ["DE", { "prefix": "U" }], "items": { "sku": ["A"], "n": [1] }, "$or": [{ "a": [1], "b": [1] }, { "c": [2] }],
        } }),
    );
    let parts = EventParts {
        kind: "refunds.made",
        data: json!({ "country": "FR", "items": [{ "sku": "B", "n": 2 }, { "sku": "A", "n": 3 }] }),
        ..EventParts::default()
    };
    let found: Vec<String> = trigger.explain(&parts.event()).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "event: expected orders.*, found refunds.made",
            "topic: expected billing, found webhooks",
            "source: expected https://x*, found https://shop.example.com",
            r#"match/data/country: expected ["DE", {prefix: "U"}], found "FR""#,
            "match/data/items/n: expected [1], found 3",
            "match/data/$or/1/c: expected [2], found nothing",
        ]
    );
}
