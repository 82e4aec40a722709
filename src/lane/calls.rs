//! The calls that a lane has under way.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::gates::Gates;
use super::inbox::{Event, Inbox};
use crate::engine::breaker::{CallOutcome, Permit};
use crate::engine::call::Answer;
use crate::engine::gate::LaneId;
use crate::engine::owner::{Call, CallId, Consequence};

/// What is done with the answer to a call. Called once, from any thread.
pub type OnAnswer = Box<dyn FnOnce(Answer) + Send>;

/// Makes calls. Called from lanes; must not block.
pub trait Caller: Send + Sync {
    /// Makes a call, and hands its answer over within the time that the call may take.
    fn call(&self, call: Call, done: OnAnswer) -> Box<dyn Running>;
}

/// A call that is under way.
pub trait Running: Send {
    /// Breaks it off. Its answer may come all the same.
    fn abort(&self);
}

/// What an answer says of its connector.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    outcome: CallOutcome,
    retry_after_ms: Option<u64>,
}

impl Ended {
    /// What this one says.
    pub fn of(answer: &Answer) -> Ended {
        let outcome = if answer.blames_connector() { CallOutcome::Failure } else { CallOutcome::Success };
        Ended { outcome, retry_after_ms: answer.retry_after_ms() }
    }
}

/// The calls of one lane. What is under way when this goes is broken off: its answers are nobody's.
pub struct Calls {
    lane: LaneId,
    gates: Arc<Gates>,
    caller: Arc<dyn Caller>,
    inbox: Arc<Inbox>,
    under_way: FxHashMap<CallId, UnderWay>,
}

struct UnderWay {
    connector: Arc<str>,
    permit: Permit,
    running: Box<dyn Running>,
}

impl Calls {
    /// Calls of a lane whose answers come to this inbox.
    pub fn new(lane: LaneId, gates: Arc<Gates>, caller: Arc<dyn Caller>, inbox: Arc<Inbox>) -> Calls {
        gates.enter(lane, &inbox);
        Calls { lane, gates, caller, inbox, under_way: FxHashMap::default() }
    }

    /// The lane, as gates know it.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The gates.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether a call asks if its connector works again.
    pub fn is_probe(&self, id: CallId) -> bool {
        self.under_way.get(&id).is_some_and(|it| it.permit.is_probe())
    }

    /// Starts a call.
    pub fn start(&mut self, call: Call, permit: Permit) {
        let (id, connector, inbox) = (call.id, call.connector.clone(), self.inbox.clone());
        let running = self.caller.call(call, Box::new(move |answer| inbox.push(Event::Answer(id, Box::new(answer)))));
        self.under_way.insert(id, UnderWay { connector, permit, running });
    }

    /// A call has ended, with what its answer means beyond its step. One that is not under way any more is nothing.
    pub fn finish(&mut self, id: CallId, ended: Ended, consequence: Consequence) {
        let Some(UnderWay { connector, permit, .. }) = self.under_way.remove(&id) else { return };
        match consequence {
            Consequence::None => self.gates.finish(&connector, permit, ended.outcome, ended.retry_after_ms),
            Consequence::Works => {
                self.gates.finish(&connector, permit, CallOutcome::Success, ended.retry_after_ms);
            }
            Consequence::Hold => self.gates.hold(&connector, permit),
        }
    }

    /// Breaks a call off.
    pub fn abort(&mut self, id: CallId) {
        if let Some(UnderWay { connector, permit, running }) = self.under_way.remove(&id) {
            running.abort();
            self.gates.finish(&connector, permit, CallOutcome::Ignored, None);
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let left: Vec<CallId> = self.under_way.keys().copied().collect();
        left.into_iter().for_each(|id| self.abort(id));
        self.gates.leave(self.lane, &self.inbox);
    }
}
