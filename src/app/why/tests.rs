//! What is told of executions that wait, by the records of their partition.

use super::*;
use crate::app::breakers::Said;
use crate::codec::breaker_override::BreakerOverride;
use crate::definition;
use crate::engine::breaker::Override;
use crate::engine::checkpoint::{Checkpoint, Content, History};
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Entry, Mail, Record};
use crate::engine::plan::ErrorClass;
use crate::engine::record::Failure;
use crate::engine::signal::{Decision, Signal};

/// The moment at which all of this is asked.
const NOW_MS: i64 = 1_764_000_000_000;

fn id(number: u8) -> ExecutionId {
    ExecutionId::parse(&format!("0005-{}", format!("{number:02x}").repeat(16))).unwrap()
}

fn wait(step: &str, due_ms: Option<i64>) -> StepWait {
    StepWait { step: step.into(), since_ms: NOW_MS - 5_000, due_ms, attempts: 1, failed: None, child: None }
}

fn checkpoint(key: &str, waits: Vec<StepWait>) -> Content {
    let topic = Arc::new(Topic { name: "orders".into(), id: [1; 16] });
    let origin = Origin { topic, partition: 0, offset: 0 };
    let key = Some(key.as_bytes()).filter(|key| !key.is_empty());
    Content::Checkpoint(Arc::new(Checkpoint {
        workflow: WorkflowId::new("w").unwrap(),
        version: "1.0.0".into(),
        record: SourceRecord::new(origin, 0, key, None, []),
        started_ms: NOW_MS - 60_000,
        ended: Vec::new(),
        waits,
        output_bytes: 0,
        history: History::default(),
        parent: None,
        queues: false,
    }))
}

/// A partition that holds these records, one at each offset from 100 on.
fn partition(of: ExecutionId, records: Vec<(u8, Entry, Content)>) -> Partition {
    let mut partition = Partition::starting_at(100, of);
    let resumed: Vec<u8> = records.iter().filter(|it| it.1 == Entry::Mail(Mail::Resume)).map(|it| it.0).collect();
    for (offset, (number, entry, content)) in (100..).zip(records) {
        let run = if resumed.contains(&number) { 2 } else { 1 };
        let record = Record { offset, bytes: 10, execution: id(number), run, entry, content };
        partition.take(record, NOW_MS - 1_000);
    }
    partition
}

fn state(place: i64, includes: i64) -> Entry {
    Entry::State { place, includes }
}

const START: Entry = Entry::Mail(Mail::Start);

fn standing_with(waits: Vec<StepWait>) -> Standing {
    partition(id(1), vec![(1, START, checkpoint("k", waits))]).standing().unwrap()
}

fn plan(config: &str, step: &str) -> Arc<Plan> {
    let text = format!(
        "{{\"id\":\"w\",\"version\":\"1.0.0\",\"status\":\"active\",\"triggers\":[{{\"event\":\"x\"}}],\"config\":{config},\"steps\":[{step}]}}"
    );
    definition::compile(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}"))
}

fn step(kind: &str, config: &str) -> Arc<Plan> {
    plan("{}", &format!("{{\"id\":\"s\",\"type\":\"{kind}\",\"config\":{config}}}"))
}

fn http() -> Arc<Plan> {
    step("http", "{\"connector\":\"billing\",\"path\":\"/\"}")
}

/// What is told of the only thing that it waits for.
fn told(standing: &Standing, plan: Option<Arc<Plan>>, breaker: &Breaker) -> Value {
    let around = Around {
        plan: plan.map(Ok),
        is_installed: &|_, version| version.is_none(),
        breaker: &|_| breaker.clone(),
        asked: &|_| Some("ship it?".into()),
        now_ms: NOW_MS,
    };
    let mut told = waiting(standing, &around);
    assert_eq!(told.len(), 1);
    told.remove(0)
}

#[track_caller]
fn tells(told: &Value, reason: &str, why: &str, until: Option<&str>) {
    assert_eq!((&told["reason"], &told["why"]), (&reason.into(), &why.into()), "{told}");
    assert_eq!(told["until"].as_str(), until, "{told}");
}

#[test]
fn a_call_that_failed_is_made_again_then() {
    let failure = Failure { step: None, class: ErrorClass::Retryable, message: "billing answered 503".into() };
    let failed = Some(Failed { first_ms: NOW_MS - 4_000, last_ms: NOW_MS - 1_000, failure });
    let standing = standing_with(vec![StepWait { failed, attempts: 2, ..wait("s", Some(NOW_MS + 2_000)) }]);
    let told = told(&standing, Some(http()), &Breaker::default());
    tells(&told, "timer", "retry at 2025-11-24T16:00:02.000Z", Some("2025-11-24T16:00:02.000Z"));
    assert_eq!((&told["step"], &told["type"], &told["attempts"]), (&"s".into(), &"http".into(), &2.into()));
    assert_eq!(told["since"], "2025-11-24T15:59:55.000Z");
    let failure = json!({ "class": "retryable", "message": "billing answered 503", "time": "2025-11-24T15:59:59.000Z",
        "firstTime": "2025-11-24T15:59:56.000Z" });
    assert_eq!(told["lastFailure"], failure);
}

#[test]
fn a_call_waits_for_its_connector_whose_breaker_an_operator_or_an_instance_has_opened() {
    let standing = standing_with(vec![wait("s", Some(NOW_MS - 1))]);
    let connectors = connectors(&standing, &http());
    assert_eq!(connectors.iter().map(|it| &**it).collect::<Vec<_>>(), ["billing"]);
    let closed =
        "connector billing, whose circuit breaker is closed: it is called, or comes as soon as its limits let it";
    tells(&told(&standing, Some(http()), &Breaker::default()), "connector", closed, None);

    let mut asked = Breaker::default();
    asked.asked.insert("a".into(), "its target asked for no calls until 2025-11-24T16:00:01.000Z".into());
    let says = "connector billing, its target asked for no calls until 2025-11-24T16:00:01.000Z (said by a)";
    tells(&told(&standing, Some(http()), &asked), "connector", says, None);

    let said =
        |state, since: &str| Said { state, since: since.into(), message: format!("its circuit breaker is {state}") };
    let mut breaker = Breaker::default();
    breaker.said.insert("a".into(), said("closed", "2025-11-24T15:00:00.000Z"));
    breaker.said.insert("b".into(), said("open", "2025-11-24T15:30:00.000Z"));
    let open = "connector billing, its circuit breaker is open (said by b, since 2025-11-24T15:30:00.000Z)";
    let document = told(&standing, Some(http()), &breaker);
    tells(&document, "connector", open, None);
    assert_eq!(document["breaker"]["instances"].as_array().map(Vec::len), Some(2));

    let wanted = |expires_ms| BreakerOverride {
        wish: Override::Open,
        reason: "it moves".into(),
        by: "ada".into(),
        since_ms: NOW_MS - 10,
        expires_ms: Some(expires_ms),
    };
    breaker.wanted = Some(wanted(NOW_MS));
    tells(&told(&standing, Some(http()), &breaker), "connector", open, None);
    breaker.wanted = Some(wanted(NOW_MS + 1_000));
    let held = "connector billing, whose circuit breaker ada holds open until 2025-11-24T16:00:01.000Z: it moves";
    let document = told(&standing, Some(http()), &breaker);
    tells(&document, "connector", held, Some("2025-11-24T16:00:01.000Z"));
    assert_eq!((&document["connector"], &document["breaker"]["override"]["by"]), (&"billing".into(), &"ada".into()));
}

#[test]
fn other_steps_wait_for_time_for_somebody_or_for_another_workflow() {
    let none = Breaker::default();
    let standing = standing_with(vec![wait("s", Some(NOW_MS + 1))]);
    let until = "2025-11-24T16:00:00.001Z";
    let document = told(&standing, Some(step("delay", "{\"for\":\"5s\"}")), &none);
    tells(&document, "timer", &format!("delay until {until}"), Some(until));
    assert_eq!(document.get("attempts"), None);

    let document = told(&standing, Some(step("approval", "{\"timeout\":\"1h\"}")), &none);
    tells(&document, "approval", &format!("approval until {until}"), Some(until));
    assert_eq!(document["message"], "ship it?");
    let document = told(&standing_with(vec![wait("s", None)]), Some(step("approval", "{}")), &none);
    tells(&document, "approval", "approval without an end", None);

    let child = standing_with(vec![StepWait { child: Some(id(9)), ..wait("s", None) }]);
    let document = told(&child, Some(step("workflow", "{\"id\":\"other\"}")), &none);
    tells(&document, "workflow", &format!("sub-workflow {}", id(9)), None);
    assert_eq!(document["execution"], id(9).to_string());

    let unopened = standing_with(vec![StepWait { attempts: 0, ..wait("s", None) }]);
    let document = told(&unopened, Some(step("workflow", "{\"id\":\"other\"}")), &none);
    assert_eq!(document["why"], "sub-workflow other, which is being started");
    let document = told(&unopened, Some(step("workflow", "{\"id\":\"other\",\"version\":\"2.0.0\"}")), &none);
    tells(&document, "definition", "sub-workflow: version 2.0.0 of other is not installed; apply it", None);

    let document = told(&standing, None, &none);
    tells(&document, "definition", "version 1.0.0 of w is not installed; apply it", None);
    assert_eq!((&document["step"], &document["type"]), (&"s".into(), &Value::Null));
}

#[test]
fn one_that_has_not_begun_says_who_is_before_it() {
    let queues = |key| checkpoint(key, Vec::new());
    let runs = |key| checkpoint(key, vec![wait("s", None)]);
    let records = || {
        vec![
            (1, START, queues("k")),
            (2, START, queues("other")),
            (3, START, queues("k")),
            (1, state(100, 103), runs("k")),
            (4, START, queues("k")),
            (5, START, queues("k")),
            // One that came late and began early still runs before it, and one that has ended does not.
            (6, START, queues("other")),
            (6, state(106, 106), runs("other")),
            (2, Entry::End, Content::None),
        ]
    };
    let plan_with = |config: &str| plan(config, "{\"id\":\"s\",\"type\":\"delay\",\"config\":{\"for\":\"1s\"}}");
    let standing = partition(id(4), records()).standing().unwrap();
    assert_eq!(standing.of_workflow, Ahead { running: 2, queued: 1 });
    assert_eq!(standing.of_key, Ahead { running: 1, queued: 1 });

    let none = Breaker::default();
    let document = told(&standing, Some(plan_with("{\"ordering\":\"key\",\"queueTimeout\":\"2m\"}")), &none);
    let why = "its turn: of its key 1 run and 1 queue before it";
    tells(&document, "turn", why, Some("2025-11-24T16:01:00.000Z"));
    assert_eq!(document["before"], json!({ "running": 1, "queued": 1 }));
    let document = told(&standing, Some(plan_with("{\"concurrency\":2}")), &none);
    tells(&document, "turn", "its turn: of w 2 run, of at most 2, and 1 queue before it", None);
    let document = told(&standing, Some(plan_with("{}")), &none);
    assert_eq!((&document["reason"], &document["since"]), (&Value::Null, &"2025-11-24T15:59:00.000Z".into()));
    assert!(document["why"].as_str().unwrap().contains("partition 5"), "{document}");
}

#[test]
fn one_that_has_come_back_with_its_sub_workflow_and_queues_says_both() {
    let waits = || vec![StepWait { child: Some(id(9)), ..wait("s", None) }];
    let Content::Checkpoint(runs) = checkpoint("k", waits()) else { unreachable!("that is what it makes") };
    let queues = Content::Checkpoint(Arc::new(Checkpoint { queues: true, ..(*runs).clone() }));
    let mail = (1, Entry::Mail(Mail::Resume), checkpoint("k", waits()));
    let other = [(2, START, checkpoint("k", Vec::new())), (2, state(101, 101), checkpoint("k", vec![wait("s", None)]))];
    for written in [vec![], vec![(1, state(100, 100), queues)]] {
        let records = || [vec![mail.clone()], other.to_vec(), written.clone()].concat();
        let standing = partition(id(1), records()).standing().unwrap();
        let around = Around {
            plan: Some(Ok(plan(
                "{\"concurrency\":1}",
                "{\"id\":\"s\",\"type\":\"workflow\",\"config\":{\"id\":\"other\"}}",
            ))),
            is_installed: &|_, _| true,
            breaker: &|_| Breaker::default(),
            asked: &|_| None,
            now_ms: NOW_MS,
        };
        let [turn, child] = &waiting(&standing, &around)[..] else { panic!("it queues, and one of its steps waits") };
        tells(turn, "turn", "its turn: of w 1 run, of at most 1, and 0 queue before it", None);
        tells(child, "workflow", &format!("sub-workflow {}", id(9)), None);
        // Nor does it stand before others as one that runs.
        let others = partition(id(2), records()).standing().unwrap();
        assert_eq!(others.of_workflow, Ahead { running: 0, queued: 1 });
    }
}

#[test]
fn mail_that_no_state_includes_is_told_and_what_has_ended_is_not_alive() {
    let signal = |decision| {
        let told = Told::Decision { decision, by: "ops".into(), comment: "".into() };
        Content::Signal(Arc::new(Signal { step: "s".into(), told }))
    };
    let records = |last: (u8, Entry, Content)| {
        let runs = checkpoint("", vec![wait("s", None)]);
        vec![
            // Read from the middle: the state that these are mail for comes later.
            (1, Entry::Mail(Mail::Signal), signal(Decision::Rejected)),
            (1, Entry::Mail(Mail::Signal), signal(Decision::Approved)),
            (1, state(50, 100), runs),
            (1, Entry::Mail(Mail::Cancel), Content::None),
            last,
        ]
    };
    let other = (2, Entry::Mail(Mail::Cancel), Content::None);
    let standing = partition(id(1), records(other)).standing().unwrap();
    let sent = "2025-11-24T15:59:59.000Z";
    let expected = [
        json!({ "kind": "signal", "step": "s", "says": "approved by ops", "sent": sent }),
        json!({ "kind": "cancel", "sent": sent }),
    ];
    assert_eq!(mail(&standing), expected);
    assert!(partition(id(1), records((1, Entry::End, Content::None))).standing().is_none());
    assert!(partition(id(7), records((1, Entry::End, Content::None))).standing().is_none());
}
