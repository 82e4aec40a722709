//! What is written is read again, and whatever else is there is refused.

use proptest::prelude::*;

use super::tokens::{self, Token};
use super::*;
use crate::engine::checkpoint::{Checkpoint, Failed, History, Parent, Redrive, StepWait};
use crate::engine::event::{Origin, Topic};
use crate::engine::expression::StepStatus;
use crate::engine::limits;
use crate::engine::plan::ErrorClass;
use crate::engine::record::{ExecutionStatus, Failure, FinishedStep};
use crate::engine::signal::{Decision, Signal, Told};
use crate::engine::value::Value;
use crate::engine::workflow::WorkflowId;

const ID: &str = "0005-00112233445566778899aabbccddeeff";
const JOURNAL_PARTITION: i32 = 5;

fn source(partition: i32, value: Option<&[u8]>, headers: &[(&str, &str)]) -> SourceRecord {
    let topic = Arc::new(Topic { name: "journal".into(), id: [7; 16] });
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    SourceRecord::new(Origin { topic, partition, offset: 42 }, 1_000, Some(ID.as_bytes()), value, headers)
}

fn checkpoint(output: Value) -> Checkpoint {
    let topic = Arc::new(Topic { name: "orders".into(), id: [1; 16] });
    let headers = [(&b"h"[..], Some(&b"\xff"[..])), (b"h", None)];
    let origin = Origin { topic, partition: 3, offset: 9 };
    let failure =
        |step: Option<&str>| Failure { step: step.map(Arc::from), class: ErrorClass::Retryable, message: "503".into() };
    let finished = |id: &str, status, output, failure| FinishedStep {
        id: id.into(),
        status,
        started_ms: 10,
        ended_ms: 20,
        attempts: 1,
        output,
        failure,
    };
    Checkpoint {
        workflow: WorkflowId::new("order-paid").unwrap(),
        version: "1.2.0".into(),
        record: SourceRecord::new(origin, -1, Some(b"k"), Some(b"{\"n\":1}"), headers),
        started_ms: 5,
        ended: vec![
            finished("shape", StepStatus::Completed, output, None),
            finished("try", StepStatus::Failed, Value::Null, Some(failure(Some("try")))),
            finished("never", StepStatus::Skipped, Value::Null, None),
        ],
        waits: vec![StepWait {
            step: "charge".into(),
            since_ms: 30,
            due_ms: Some(40),
            attempts: 2,
            failed: Some(Failed { first_ms: 31, last_ms: 35, failure: failure(None) }),
            child: None,
        }],
        output_bytes: 77,
        history: History::default(),
        parent: None,
        queues: false,
    }
}

fn signals() -> Vec<Content> {
    let execution = ExecutionId::parse(ID).unwrap();
    let failure = Failure { step: None, class: ErrorClass::Config, message: "gone".into() };
    let decision = Told::Decision { decision: Decision::Rejected, by: "ops".into(), comment: "".into() };
    let child = |status, output, failure| Told::Child { execution, status, output, failure };
    let told = [
        decision,
        child(ExecutionStatus::Completed, Value::Bytes(Bytes::from_static(b"x")), None),
        child(ExecutionStatus::Failed, Value::Null, Some(failure)),
    ];
    told.map(|told| Content::Signal(Arc::new(Signal { step: "call".into(), told }))).into()
}

fn write(entry: Entry, content: &Content) -> WireRecord {
    let execution = ExecutionId::parse(ID).unwrap();
    encode(&"journal".into(), &JournalRecord { execution, run: 2, entry, content: content.clone() })
}

/// The record as it comes back from the broker.
fn read_back(entry: Entry, content: &Content) -> Result<Record<Content>, Damaged> {
    let written = write(entry, content);
    assert_eq!((written.partition, written.key.as_deref()), (Some(JOURNAL_PARTITION), Some(ID.as_bytes())));
    let topic = Arc::new(Topic { name: written.topic.clone(), id: [7; 16] });
    let origin = Origin { topic, partition: JOURNAL_PARTITION, offset: 42 };
    let record = SourceRecord::new(origin, 0, written.key.as_deref(), written.value.as_deref(), written.headers.iter());
    let read = decode(&record);
    assert!(read.as_ref().is_ok_and(|it| it.bytes == written.size_bytes() as u64), "{read:?}");
    read
}

#[track_caller]
fn check(entry: Entry, content: &Content) {
    let record = read_back(entry, content).unwrap();
    assert_eq!((record.offset, record.run, record.entry), (42, 2, entry));
    assert_eq!(record.execution, ExecutionId::parse(ID).unwrap());
    assert_eq!(format!("{:?}", record.content), format!("{content:?}"));
}

#[test]
fn every_kind_of_record_comes_back_as_it_was() {
    let output = Value::map(vec![
        ("bytes".into(), Value::Bytes(Bytes::from_static(b"\x00\xff"))),
        ("when".into(), Value::Timestamp(-1)),
        ("list".into(), Value::List([Value::Duration(1), Value::UInt(u64::MAX), Value::Float(0.1)].into())),
    ]);
    let content = Content::Checkpoint(Arc::new(checkpoint(output)));
    check(Entry::Mail(Mail::Start), &content);
    check(Entry::Mail(Mail::Resume), &content);
    check(Entry::State { place: i64::MAX, includes: 7 }, &content);
    let history = History { edition: 2, first_failure_ms: Some(-1), causes: "run 1: no answer".into() };
    let later = Content::Checkpoint(Arc::new(Checkpoint { history, ..checkpoint(Value::Null) }));
    check(Entry::Mail(Mail::Resume), &later);
    check(Entry::State { place: 0, includes: 0 }, &later);
    for after in [None, WorkflowId::new("order-paid")] {
        let redrive = Redrive { record: checkpoint(Value::Null).record, after, first_failure_ms: 7 };
        check(Entry::Mail(Mail::Resume), &Content::Redrive(Arc::new(redrive.clone())));
        check(Entry::State { place: 3, includes: 9 }, &Content::Redrive(Arc::new(redrive)));
    }
    check(Entry::Mail(Mail::Cancel), &Content::None);
    let mut with_kin = checkpoint(Value::Null);
    let (execution, run, step, depth) = (ExecutionId::parse(ID).unwrap(), 3, "call".into(), 2);
    with_kin.parent = Some(Arc::new(Parent { execution, run, step, input: Value::UInt(7), depth }));
    with_kin.waits[0].child = Some(execution);
    check(Entry::Mail(Mail::Start), &Content::Checkpoint(Arc::new(with_kin.clone())));
    with_kin.queues = true;
    check(Entry::State { place: 3, includes: 9 }, &Content::Checkpoint(Arc::new(with_kin)));
    signals().into_iter().for_each(|signal| check(Entry::Mail(Mail::Signal), &signal));
    check(Entry::End, &Content::None);
}

#[test]
fn headers_say_what_a_record_is() {
    let headers = |entry: Entry, content: Content| {
        let record = write(entry, &content);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let one = |(name, value): (&[u8], Option<&[u8]>)| format!("{}={}", text(name), text(value.unwrap()));
        record.headers.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    let with = || Content::Checkpoint(Arc::new(checkpoint(Value::Null)));
    let common = format!("execution={ID} run=2");
    assert_eq!(headers(Entry::Mail(Mail::Start), with()), format!("format=1 kind=start {common}"));
    assert_eq!(headers(Entry::Mail(Mail::Resume), with()), format!("format=1 kind=resume {common}"));
    assert_eq!(headers(Entry::Mail(Mail::Cancel), Content::None), format!("format=1 kind=cancel {common}"));
    let signal = signals().remove(0);
    assert_eq!(headers(Entry::Mail(Mail::Signal), signal), format!("format=2 kind=signal {common}"));
    let state = Entry::State { place: 3, includes: 4 };
    assert_eq!(headers(state, with()), format!("format=1 kind=state {common} place=3 includes=4"));
    // An older version would let it run before its turn: it must not understand that.
    let queues = Content::Checkpoint(Arc::new(Checkpoint { queues: true, ..checkpoint(Value::Null) }));
    assert_eq!(headers(state, queues), format!("format=3 kind=state {common} place=3 includes=4"));
    assert_eq!(headers(Entry::End, Content::None), format!("format=1 kind=end {common}"));
}

/// What may be written can be read: parts of documents weigh least for what they hold.
#[test]
fn the_largest_output_comes_back() {
    let items = limits::DOCUMENT_NODES - 10;
    let text = format!("[{}0]", "0,".repeat(items - 1));
    let document = crate::codec::json::parse(text.into(), &crate::codec::json::Limits::default()).unwrap();
    let output = Value::List(vec![document; 2].into());
    assert!(output.weight() <= limits::EXECUTION_OUTPUT_BYTES);
    let content = Content::Checkpoint(Arc::new(checkpoint(output.clone())));
    let Content::Checkpoint(read) = read_back(Entry::Mail(Mail::Start), &content).unwrap().content else {
        panic!("a start holds a checkpoint");
    };
    assert_eq!(read.ended[0].output, output);
}

#[test]
fn a_checkpoint_that_cannot_be_is_refused() {
    let refused = |steps: &[String], part: &str| {
        let mut impossible = checkpoint(Value::Null);
        let named = |id: &String| FinishedStep { id: id.as_str().into(), ..impossible.ended[2].clone() };
        impossible.ended = steps.iter().map(named).collect();
        let bytes = Stored::checkpoint(&impossible).to_bytes();
        let Damaged(message) = Stored::read(1, &bytes).and_then(|stored| stored.content()).unwrap_err();
        assert!(message.contains(part), "{message} does not contain {part}");
    };
    refused(&["charge".into()], "there twice");
    let too_many: Vec<String> = (0..=limits::STEPS_PER_WORKFLOW).map(|number| format!("s{number}")).collect();
    refused(&too_many, "cannot be read");
}

/// Journals outlive the version that wrote them, so what was written once must stay readable.
#[test]
fn the_format_stays_what_it_is() {
    let (null, bytes) = (Value::Null, Value::Bytes(Bytes::from_static(b"b")));
    let scalars =
        [null, Value::Bool(true), Value::UInt(1), Value::Float(0.5), bytes, Value::Timestamp(2), Value::Duration(3)];
    let output = Value::map(vec![("n".into(), Value::Int(-1)), ("all".into(), Value::List(scalars.into()))]);
    let expected = checkpoint(output);
    let bytes: Vec<u8> =
        (0..AS_WRITTEN.len()).step_by(2).map(|at| u8::from_str_radix(&AS_WRITTEN[at..at + 2], 16).unwrap()).collect();
    let Content::Checkpoint(read) = Stored::read(1, &bytes).unwrap().content().unwrap() else {
        panic!("no checkpoint")
    };
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    assert_eq!(Stored::checkpoint(&expected).to_bytes(), bytes);
}

const AS_WRITTEN: &str = "\
    0a6f726465722d7061696405312e322e300a066f72646572730101010101010101010101010101010106120101016b01077b\
    226e223a317d0201680101ff0168000305736861706509636f6d706c657465641428010c0a0205016e02010503616c6c0907\
    000101030104000000000000e03f060162070408060003747279066661696c65641428010100010103747279097265747279\
    61626c6503353033056e6576657207736b697070656414280101000001066368617267653c015002013e4600097265747279\
    61626c65033530334d";

#[track_caller]
fn refused(record: &SourceRecord, part: &str) {
    let Damaged(message) = decode(record).unwrap_err();
    assert!(message.contains(part), "{message} does not contain {part}");
}

#[test]
fn what_is_no_record_of_the_journal_is_refused_with_its_reason() {
    let head = [("format", "1"), ("execution", ID), ("run", "1")];
    let with = |more: &[(&'static str, &'static str)]| [&head[..], more].concat();
    let here = |value, headers: &[(&str, &str)]| source(JOURNAL_PARTITION, value, headers);
    refused(&here(None, &[]), "`format` is missing");
    refused(&here(None, &[("format", "4")]), "format 4, but this version understands 1 to 3");
    refused(&here(None, &[("format", "1"), ("execution", "5")]), "`execution` is no id");
    refused(&source(4, None, &with(&[("kind", "end")])), "partition 4, but its execution belongs to 5");
    refused(&here(None, &with(&[("kind", "begin")])), "`kind` is `begin`");
    refused(&here(None, &with(&[("kind", "start")])), "has no value");
    refused(&here(None, &with(&[("kind", "state"), ("place", "x")])), "`place` is `x`, but must be a number");
    refused(&here(Some(b"\x01"), &with(&[("kind", "start")])), "cannot be read");
    let mut longer = Stored::checkpoint(&checkpoint(Value::Null)).to_bytes().to_vec();
    longer.push(0);
    refused(&here(Some(&longer), &with(&[("kind", "start")])), "1 bytes follow");
}

#[test]
fn a_value_that_is_damaged_is_none() {
    let deep = vec![Token::List(1); limits::VALUE_DEPTH + 1];
    for (damaged, part) in [
        (&deep[..], "nests deeper"),
        (&[][..], "ends in its middle"),
        (&[Token::List(u32::MAX), Token::Null], "ends in its middle"),
        (&[Token::Map(1), Token::Null, Token::Null], "has no name"),
        (&[Token::Null, Token::Null], "something follows"),
    ] {
        let Damaged(message) = tokens::read(damaged).unwrap_err();
        assert!(message.contains(part), "{message} does not contain {part}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::UInt),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::text),
        any::<Vec<u8>>().prop_map(|it| Value::Bytes(it.into())),
        any::<i64>().prop_map(Value::Timestamp),
        any::<i64>().prop_map(Value::Duration),
    ];
    scalar.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| Value::List(items.into())),
            proptest::collection::vec((any::<String>().prop_map(Arc::from), inner), 0..6).prop_map(Value::map),
        ]
    })
}

proptest! {
    #[test]
    fn any_output_comes_back_as_it_was(output in value()) {
        let content = Content::Checkpoint(Arc::new(checkpoint(output)));
        let record = read_back(Entry::Mail(Mail::Start), &content).unwrap();
        prop_assert_eq!(format!("{:?}", record.content), format!("{content:?}"));
    }

    /// Nothing that lies in the journal brings an instance down, and what is cut off is never taken for the whole.
    #[test]
    fn what_is_damaged_is_read_to_some_end(
        output in value(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Stored::checkpoint(&checkpoint(output)).to_bytes().to_vec();
        let end = cut.index(bytes.len());
        prop_assert!(Stored::read(1, &bytes[..end]).is_err());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Stored::read(1, &bytes).and_then(|stored| stored.content());
    }
}
