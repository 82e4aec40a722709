//! Connectors that are down for a while, and what they answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::call::Answer;
use tidegate::engine::owner::Call;
use tidegate::engine::retry::FailedCall;
use tidegate::engine::value::Value;

use super::connector::Said;
use super::plans::MAY_BE_GONE;

/// The connectors.
pub const NAMES: [&str; 2] = ["x", "y"];
/// No outage begins later: in the end everything works.
const LAST_BEGINS_MS: usize = 3_000;

/// From when until when, and what the connector does meanwhile.
type Outage = (i64, i64, Said);

/// When which connector is down.
pub struct Outages(BTreeMap<Arc<str>, Vec<Outage>>);

/// An answer, and what it says.
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// What it says of the connector.
    pub said: Said,
    /// How long the connector wants to be left alone.
    pub retry_after_ms: Option<u64>,
    /// Whether the call is made again after it.
    pub is_retried: bool,
}

impl Outages {
    /// Some for every connector.
    pub fn new(random: &mut Random) -> Outages {
        let mut outage = || {
            let begins_ms = random.below(LAST_BEGINS_MS) as i64;
            let said = if random.below(4) == 0 { Said::Refuses } else { Said::IsDown };
            (begins_ms, begins_ms + 30 + random.below(500) as i64, said)
        };
        let mut outages = || (0..4).map(|_| outage()).collect();
        Outages(NAMES.map(|name| (name.into(), outages())).into())
    }

    fn at(&self, connector: &str, now_ms: i64) -> Said {
        let now = |(begins_ms, ends_ms, _): &&Outage| (*begins_ms..*ends_ms).contains(&now_ms);
        self.0[connector].iter().find(now).map_or(Said::Works, |(.., said)| *said)
    }

    /// What a connector answers: some steps of some executions never succeed, the others now and then do not.
    pub fn answer(&self, call: &Call, random: &mut Random, now_ms: i64) -> Answered {
        let draw = random.below(10);
        let wait_ms = (random.below(4) == 0).then(|| 20 + random.below(100) as u64);
        match (self.at(&call.connector, now_ms), draw) {
            (Said::Refuses, _) => answered(http(401, None), Said::Refuses),
            (Said::IsDown, 0..5) | (Said::Works, 0) => {
                let answer = Answer::Failed { failed: FailedCall::Timeout, message: "no answer".into() };
                Answered { is_retried: true, ..answered(answer, Said::IsDown) }
            }
            (Said::IsDown, _) | (Said::Works, 1) => {
                let answer = http(if draw.is_multiple_of(2) { 429 } else { 503 }, wait_ms);
                Answered { is_retried: true, retry_after_ms: wait_ms, ..answered(answer, Said::IsDown) }
            }
            (Said::Works, _) => answered(alone(call), Said::Works),
        }
    }
}

/// What is answered where nothing is wrong.
pub fn alone(call: &Call) -> Answer {
    let sum: u32 = call.idempotency_key.bytes().map(u32::from).sum();
    http(if call.request.path == MAY_BE_GONE && sum.is_multiple_of(4) { 404 } else { 200 }, None)
}

fn answered(answer: Answer, said: Said) -> Answered {
    Answered { answer, said, retry_after_ms: None, is_retried: false }
}

fn http(status: u16, retry_after_ms: Option<u64>) -> Answer {
    Answer::Http { status, headers: Value::Null, body: Value::Null, retry_after_ms }
}
