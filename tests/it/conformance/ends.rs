//! Ends of transactions that are asked for again, by a client that had no answer. Clients hide them, so the requests are made here.

use bytes::{Buf as _, BufMut as _, Bytes};
use kafka_protocol::error::ResponseError;

use crate::support::broker::TestBroker;
use crate::support::clients::unique;
use crate::support::wait;
use crate::support::wire::ask;

const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS_TO_TXN: i16 = 24;
const END_TXN: i16 = 26;
/// What a broker says while it is not done with what came before.
const BUSY: [ResponseError; 4] = [
    ResponseError::ConcurrentTransactions,
    ResponseError::NotCoordinator,
    ResponseError::CoordinatorLoadInProgress,
    ResponseError::CoordinatorNotAvailable,
];

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
}

/// A producer of raw requests.
struct Raw {
    name: String,
    id: i64,
    epoch: i16,
}

impl Raw {
    fn new(broker: &TestBroker, name: &str) -> Raw {
        // Has the coordinator ready, which takes a real broker a while.
        drop(broker.transactional(name, &[]));
        let timeout_ms = 60_000_i32;
        let mut answer = ask(broker, INIT_PRODUCER_ID, 1, &[&text(name)[..], &timeout_ms.to_be_bytes()].concat());
        let (_throttled, error) = (answer.get_i32(), answer.get_i16());
        assert_eq!(error, 0);
        Raw { name: name.to_owned(), id: answer.get_i64(), epoch: answer.get_i16() }
    }

    /// Asks until the broker is done with what came before.
    fn ask(
        &self,
        broker: &TestBroker,
        api: i16,
        rest: &[u8],
        code: impl Fn(Bytes) -> i16,
    ) -> Result<(), ResponseError> {
        let mut body = text(&self.name);
        body.put_i64(self.id);
        body.put_i16(self.epoch);
        body.put_slice(rest);
        wait::until("an answer", || match ResponseError::try_from_code(code(ask(broker, api, 2, &body))) {
            None => Some(Ok(())),
            Some(error) if BUSY.contains(&error) => None,
            Some(error) => Some(Err(error)),
        })
    }

    /// Opens a transaction that touches partition 0 of a topic.
    fn touch(&self, broker: &TestBroker, topic: &str) {
        let partition = 0_i32.to_be_bytes();
        let rest = [&1_i32.to_be_bytes()[..], &text(topic), &1_i32.to_be_bytes(), &partition].concat();
        // Behind the throttle time, the number of topics, the topic, the number of partitions and the partition.
        let code = |mut answer: Bytes| {
            answer.advance(4 + 4 + 2 + topic.len() + 4 + 4);
            answer.get_i16()
        };
        assert_eq!(self.ask(broker, ADD_PARTITIONS_TO_TXN, &rest, code), Ok(()));
    }

    /// What the broker says to an end.
    fn end(&self, broker: &TestBroker, commit: bool) -> Result<(), ResponseError> {
        self.ask(broker, END_TXN, &[u8::from(commit)], |mut answer| {
            answer.advance(4);
            answer.get_i16()
        })
    }
}

#[test]
fn an_end_may_be_repeated_and_not_be_another_one() {
    let Some(broker) = TestBroker::own() else { return };
    let topic = broker.topic("ends", 1);
    let no_such = Err(ResponseError::InvalidTxnState);
    for commit in [true, false] {
        let producer = Raw::new(&broker, &unique("ends"));
        assert_eq!(producer.end(&broker, commit), no_such, "nothing is open");
        producer.touch(&broker, &topic);
        assert_eq!(producer.end(&broker, commit), Ok(()));
        assert_eq!(producer.end(&broker, commit), Ok(()), "the same again");
        assert_eq!(producer.end(&broker, !commit), no_such, "the other way");
        broker.kill();
        broker.restart();
        assert_eq!(producer.end(&broker, commit), Ok(()), "the same again, of a broker that was killed");
        assert_eq!(producer.end(&broker, !commit), no_such, "the other way, of a broker that was killed");
        producer.touch(&broker, &topic);
        assert_eq!(producer.end(&broker, !commit), Ok(()), "another transaction");
    }
}
