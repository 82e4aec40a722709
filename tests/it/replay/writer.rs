//! One transaction of a tool, where the coordinator fails.

use tidegate::engine::wire::{Headers, WireRecord};
use tidegate::kafka::client::ClientSettings;
use tidegate::kafka::transaction::{WriteError, Writer};

use crate::support::clients::values;
use crate::support::late_broker::LateBroker;
use crate::support::wait;

/// `UNKNOWN_SERVER_ERROR`: what Kafka answers to a commit that comes while it replaces the producer.
const UNKNOWN: i16 = -1;

fn clients(broker: &LateBroker) -> ClientSettings {
    ClientSettings::new([("bootstrap.servers".to_owned(), broker.bootstrap().to_owned())].into()).unwrap()
}

fn record(topic: &str, value: &'static str) -> WireRecord {
    WireRecord {
        topic: topic.into(),
        partition: Some(0),
        key: None,
        value: Some(value.into()),
        headers: Headers::default(),
        step: None,
    }
}

#[test]
fn who_is_replaced_while_it_commits_is_told_so_whatever_the_commit_said() {
    let Some(broker) = LateBroker::behind() else { return };
    let (topic, clients) = (broker.topic("t", 1), clients(&broker));
    let mut first = Writer::take_over(&clients, "tool").unwrap().unwrap();
    let (give, taken) = std::sync::mpsc::channel();
    broker.answer_next_end(move || {
        give.send(Writer::take_over(&clients, "tool").unwrap().unwrap()).unwrap();
        UNKNOWN
    });
    assert_eq!(first.write(&[record(&topic, "first")]), Err(WriteError::Fenced));
    let mut second = taken.recv().unwrap();
    assert_eq!(second.write(&[record(&topic, "second")]), Ok(()));
    assert_eq!(values(&broker.committed(&topic)), ["second"]);
}

#[test]
fn a_commit_that_fails_leaves_nothing_once_it_is_said_so() {
    let Some(broker) = LateBroker::behind() else { return };
    let (topic, clients) = (broker.topic("t", 1), clients(&broker));
    let mut writer = Writer::take_over(&clients, "tool").unwrap().unwrap();
    broker.answer_next_end(|| UNKNOWN);
    let failed = writer.write(&[record(&topic, "first")]);
    assert!(matches!(failed, Err(WriteError::NotWritten { is_refused: false, .. })), "{failed:?}");
    // It is not left open: whoever reads what is committed does not wait for it. Kafka writes the mark of its end after it has answered.
    wait::until("the record and the mark of its end", || (broker.stable_end(&topic, 0) == 2).then_some(()));
    assert!(broker.committed(&topic).is_empty());
}
