//! The way of a definition to the `workflows` topic and back: canonical JSON, heads, records, and what applying changes.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};
use tidegate::definition::{
    Change, ChangeKind, Definition, Installed, Pointer, Record, Syntax, compile, diff, head, plan_apply, plan_delete,
};
use tidegate::engine::workflow::Status;

use super::{HEAD, STEPS, accept, read};

const FULL: &str = "\
id: order-paid
version: 1.2.0
status: paused
triggers:
  - {event: orders.paid, topic: webhooks, source: \"https://shop*\", match: {data: {country: [DE, {prefix: U}]}}}
  - {event: orders.*}
  - {schema: com.example.OrderPaid}
config: {timeout: 5m, vars: {rate: 1.0, list: [1, -2, 18446744073709551615, 1.5e300, null, true, \"\\u0001\\\"\\\\é\"]}}
steps:
  - {id: b, type: log, dependencies: [a], config: {message: hi}}
  - {id: a, type: transform, config: {output: {x: [1, {y: z}]}}}
";

#[test]
fn canonical_json_is_sorted_and_tight() {
    let canonical = String::from_utf8(accept(FULL).canonical).unwrap();
    let expected = concat!(
        r#"{"config":{"timeout":"5m","vars":{"list":[1,-2,18446744073709551615,1.5e300,null,true,"\u0001\"\\é"],"#,
        r#""rate":1.0}},"id":"order-paid","status":"paused","steps":[{"config":{"message":"hi"},"dependencies":["a"],"#,
        r#""id":"b","type":"log"},{"config":{"output":{"x":[1,{"y":"z"}]}},"id":"a","type":"transform"}],"#,
        r#""triggers":[{"event":"orders.paid","match":{"data":{"country":["DE",{"prefix":"U"}]}},"#,
        r#""source":"https://shop*","topic":"webhooks"},{"event":"orders.*"},{"schema":"com.example.OrderPaid"}],"version":"1.2.0"}"#,
    );
    assert_eq!(canonical, expected);
}

#[test]
fn a_definition_comes_back_from_the_topic_as_it_went() {
    let definition = accept(FULL);
    let workflow = head(&definition.canonical, definition.content_hash).unwrap();
    assert_eq!(format!("{workflow:?}"), format!("{:?}", definition.workflow));
    let plan = compile(&definition.canonical).unwrap();
    assert_eq!(format!("{plan:?}"), format!("{:?}", definition.plan));
    let text = std::str::from_utf8(&definition.canonical).unwrap();
    let again = read(text, Syntax::Json).unwrap();
    assert_eq!((again.canonical, again.content_hash), (definition.canonical, definition.content_hash));
}

#[test]
fn the_content_is_all_but_the_status() {
    let definition = accept(FULL);
    assert_eq!(accept(&FULL.replace("paused", "active")).content_hash, definition.content_hash);
    assert_eq!(accept(&FULL.replace("status: paused\n", "")).workflow.status, Status::Active);
    assert_ne!(accept(&FULL.replace("z}", "zz}")).content_hash, definition.content_hash);
    assert_ne!(accept(&FULL.replace("1.0,", "1,")).content_hash, definition.content_hash);
}

#[test]
fn heads_that_cannot_be_are_refused() {
    #[track_caller]
    fn check(document: &str, expected: &str) {
        let error = head(document.as_bytes(), accept(FULL).content_hash).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    check("{", "is not the JSON of a workflow");
    check("[]", "is not the JSON of a workflow");
    check(r#"{"id":"A","version":"1","triggers":[]}"#, "wrong `id`");
    check(r#"{"id":"a","version":"@","triggers":[]}"#, "wrong `version`");
    check(r#"{"id":"a","version":"1","status":"on","triggers":[]}"#, "wrong `status`");
    check(r#"{"id":"a","version":"1","triggers":[{"event":"**.a"}]}"#, "wrong `event`");
    check(r#"{"id":"a","version":"1","triggers":[{"event":"a","match":{"data":{"a":1}}}]}"#, "wrong `match`");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let document = format!(r#"{{"id":"a","version":"1","steps":{deep},"triggers":[{{"event":"a","match":{deep}}}]}}"#);
    check(&document, "wrong `match`");
}

#[test]
fn a_hundred_thousand_heads_are_read_at_once() {
    let definition = accept(FULL);
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        head(&definition.canonical, definition.content_hash).unwrap();
    }
    // Optimised, a hundred thousand take less than 3 s; this is a tenth of them, without optimisation, on a busy machine.
    assert!(start.elapsed() < std::time::Duration::from_secs(6), "{:?}", start.elapsed());
}

#[test]
fn records_come_back_as_they_were_written() {
    let changes = plan_apply(&Installed::default(), &[accept(FULL)]);
    let records = &changes[0].records;
    assert_eq!(records.iter().map(Record::key).collect::<Vec<_>>(), ["order-paid@1.2.0", "order-paid"]);
    for record in records {
        let decoded = Record::decode(Some(record.key().as_bytes()), record.value().as_deref()).unwrap();
        assert_eq!(&decoded, record);
    }
    for key in ["order-paid", "order-paid@1.2.0"] {
        let tombstone = Record::decode(Some(key.as_bytes()), None).unwrap();
        assert_eq!((tombstone.key().as_str(), tombstone.value()), (key, None));
    }
}

#[test]
fn records_that_cannot_be_are_reported() {
    #[track_caller]
    fn check(key: &str, value: &str, expected: &str) {
        let error = Record::decode(Some(key.as_bytes()), Some(value.as_bytes())).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let hash = "ab".repeat(32);
    assert!(Record::decode(None, Some(b"{}")).is_err());
    assert!(Record::decode(Some(b"\xff"), None).is_err());
    check("Order", "{}", "the key \"Order\" is no workflow id");
    check("a@", "{}", "the key \"a@\" is no workflow id");
    check("a", "", "does not hold a pointer");
    check("a", "{}", "does not hold a pointer");
    check("a@1", "{\"document\":{}}", "does not hold a version");
    check("a@1", "{\"document\":{},\"contentHash\":\"é\"}", "wrong `contentHash`");
    check("a", &format!(r#"{{"version":"1","status":"on","contentHash":"{hash}"}}"#), "wrong `status`");
    check("a", &format!(r#"{{"version":"@","status":"active","contentHash":"{hash}"}}"#), "wrong `version`");
}

/// What is installed after the changes were written and read.
fn install(mut current: Installed, changes: &[Change]) -> Installed {
    for record in changes.iter().flat_map(|change| &change.records) {
        let decoded = Record::decode(Some(record.key().as_bytes()), record.value().as_deref());
        current.take_up(decoded.unwrap());
    }
    current
}

fn only(current: &Installed, definition: &Definition) -> Change {
    let mut changes = plan_apply(current, std::slice::from_ref(definition));
    assert_eq!(changes.len(), 1);
    changes.remove(0)
}

#[test]
fn applying_moves_pointers_and_never_changes_a_version() {
    let first = accept(FULL);
    let created = only(&Installed::default(), &first);
    assert_eq!(created.to_string(), "order-paid: created, 1.2.0 paused");
    let current = install(Installed::default(), &[created]);

    let unchanged = only(&current, &first);
    assert_eq!((unchanged.kind.clone(), unchanged.records.len()), (ChangeKind::Unchanged, 0));
    assert_eq!(unchanged.to_string(), "order-paid: unchanged, 1.2.0 paused");

    let resumed = only(&current, &accept(&FULL.replace("paused", "active")));
    assert_eq!(resumed.to_string(), "order-paid: 1.2.0 paused → 1.2.0 active");
    assert_eq!(resumed.records.len(), 1);

    let refused = only(&current, &accept(&FULL.replace("5m", "6m")));
    assert_eq!((refused.kind.clone(), refused.records.len()), (ChangeKind::Refused, 0));
    assert_eq!(
        refused.to_string(),
        "order-paid: refused, version 1.2.0 is already applied with other content; raise the version"
    );

    let raised = only(&current, &accept(&FULL.replace("5m", "6m").replace("1.2.0", "1.3.0")));
    assert_eq!(raised.to_string(), "order-paid: new version, 1.2.0 paused → 1.3.0 paused");
    let current = install(current, &[raised]);
    let back = only(&current, &first);
    assert_eq!(back.to_string(), "order-paid: 1.3.0 paused → 1.2.0 paused");
    assert_eq!(back.records.len(), 1);
}

#[test]
fn the_pointer_decides_what_an_instance_installs() {
    let definition = accept(FULL);
    let id = &definition.workflow.id;
    let mut current =
        install(Installed::default(), &plan_apply(&Installed::default(), std::slice::from_ref(&definition)));
    let stop = plan_delete(&current, id).unwrap();
    assert_eq!(stop.to_string(), "order-paid: 1.2.0 paused → 1.2.0 stopped");
    current = install(current, &[stop]);
    assert_eq!(plan_delete(&current, id).unwrap().kind, ChangeKind::Unchanged);
    let in_use = current.get(id).unwrap().in_use().unwrap().unwrap();
    assert_eq!((in_use.workflow.status, &*in_use.document), (Status::Stopped, &*definition.canonical));

    let pointer =
        |version: &str, content_hash| Pointer { version: version.into(), status: Status::Active, content_hash };
    current.take_up(Record::Pointer(id.clone(), pointer("9", definition.content_hash)));
    assert!(current.get(id).unwrap().in_use().unwrap_err().to_string().contains("version 9 is in use but"));
    let other = accept(&FULL.replace("5m", "6m")).content_hash;
    current.take_up(Record::Pointer(id.clone(), pointer("1.2.0", other)));
    assert!(current.get(id).unwrap().in_use().unwrap_err().to_string().contains("another content"));
    current.take_up(Record::NoPointer(id.clone()));
    assert!(current.get(id).unwrap().in_use().unwrap().is_none());
    current.take_up(Record::NoVersion(id.clone(), "1.2.0".into()));
    assert!(current.is_empty());
}

#[test]
fn a_version_under_another_key_is_not_installed() {
    let definition = accept(FULL);
    let changes = plan_apply(&Installed::default(), &[definition]);
    let Some(Record::Version(version)) = changes[0].records.first() else { panic!("the version comes first") };
    let value = Record::Version(version.clone()).value();
    let Record::Version(moved) = Record::decode(Some(b"order-paid@2"), value.as_deref()).unwrap() else { panic!() };
    assert!(moved.head().unwrap_err().to_string().contains("wrong `version`"));
    let Record::Version(moved) = Record::decode(Some(b"other@1.2.0"), value.as_deref()).unwrap() else { panic!() };
    assert!(moved.head().unwrap_err().to_string().contains("wrong `id`"));
}

#[test]
fn a_diff_shows_the_fields_that_differ() {
    let current = install(Installed::default(), &plan_apply(&Installed::default(), &[accept(FULL)]));
    assert_eq!(diff(&current, &[accept(FULL)]), "");
    let raised = accept(&FULL.replace("5m", "6m").replace("1.2.0", "1.3.0"));
    let text = diff(&current, &[raised]);
    assert!(text.starts_with("order-paid: new version, 1.2.0 paused → 1.3.0 paused\n--- order-paid@1.2.0\n"), "{text}");
    assert!(text.contains("-    \"timeout\": \"5m\",\n+    \"timeout\": \"6m\",\n"), "{text}");
    let new = diff(&Installed::default(), &[accept(&format!("{HEAD}{STEPS}"))]);
    assert!(new.contains("--- nothing\n+++ order-paid@1.0.0\n"), "{new}");
}

proptest! {
    /// One document has one canonical form, whatever the order of its fields and whether it is YAML or JSON; and the
    /// canonical form is its own.
    #[test]
    fn canonical_json_depends_on_the_content_alone(vars in object(), seed in any::<u64>()) {
        let write = |vars: &str| {
            format!(
                r#"{{"id": "a", "version": "1", "triggers": [{{"event": "a"}}], "config": {{"vars": {vars}}}, "steps":
                [{{"id": "a", "type": "log", "config": {{"message": "hi"}}}}]}}"#
            )
        };
        let sorted = read(&write(&vars.to_string()), Syntax::Json).unwrap();
        let shuffled = write(&shuffle(&vars, seed));
        for syntax in [Syntax::Json, Syntax::Yaml] {
            let other = read(&shuffled, syntax).unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&other.canonical), String::from_utf8_lossy(&sorted.canonical));
            prop_assert_eq!(other.content_hash, sorted.content_hash);
        }
        let again = read(std::str::from_utf8(&sorted.canonical).unwrap(), Syntax::Json).unwrap();
        prop_assert_eq!(&again.canonical, &sorted.canonical);
        let same: Json = serde_json::from_slice(&sorted.canonical).unwrap();
        prop_assert_eq!(&same["config"]["vars"], &vars);
    }
}

fn object() -> impl Strategy<Value = Json> {
    let text = "[ -~é漢\\n\\t]{0,12}".prop_filter("vars hold no expressions", |text| !text.contains("${{"));
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        prop::num::f64::NORMAL.prop_map(Json::from),
        text.clone().prop_map(Json::from),
    ];
    let value = scalar.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map("[a-z<= ]{1,6}", inner, 0..5).prop_map(|fields| Json::from(
                fields.into_iter().filter(|(name, _)| name != "<<").collect::<Map<_, _>>()
            )),
        ]
    });
    prop::collection::btree_map("[a-zA-Z0-9_]{1,8}", value, 0..6)
        .prop_map(|fields| Json::from(fields.into_iter().collect::<Map<_, _>>()))
}

/// The same JSON with the fields of every object in another order.
fn shuffle(value: &Json, seed: u64) -> String {
    let next = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    match value {
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            let count = fields.len().max(1);
            fields.rotate_left(seed as usize % count);
            if next.is_multiple_of(2) {
                fields.reverse();
            }
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", Json::from(name.as_str()), shuffle(value, next)))
                .collect();
            format!("{{{}}}", fields.join(" , "))
        }
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shuffle(item, next)).collect();
            format!("[ {} ]", items.join(","))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}
