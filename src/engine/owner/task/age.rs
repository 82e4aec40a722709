//! How old an execution may become, how long it may run, and how long it may wait for its turn.

use super::{Stage, Task};
use crate::engine::execution::Stop;
use crate::engine::plan::{ErrorClass, Plan};
use crate::engine::record::{ExecutionStatus, Failure, Reason};
use crate::engine::value::whole_milliseconds;

impl Task {
    /// Ends the run if it is too old or took too long. Returns when to look again for that, if that is not known yet.
    pub(in super::super) fn grow_old(&mut self, plan: &Plan, has_turn: bool, now_ms: i64) -> Option<i64> {
        self.note_parking(now_ms);
        let too_old_ms = self.checkpoint.started_ms.saturating_add(whole_milliseconds(plan.age_max));
        // While it is parked, its time-out stands still; it is looked at again when that is over.
        let running = plan.timeout.filter(|_| has_turn && self.parked_since_ms.is_none());
        let late_ms = running.map(|timeout| {
            self.counts_from_ms.saturating_add(whole_milliseconds(timeout)).saturating_add(self.parked_ms)
        });
        let queueing = plan.turns.wait_max.filter(|_| !has_turn);
        let late_ms =
            late_ms.or(queueing.map(|most| self.checkpoint.started_ms.saturating_add(whole_milliseconds(most))));
        let message = match late_ms {
            _ if now_ms >= too_old_ms => format!("it is older than its maxAge of {} s", plan.age_max.as_secs()),
            Some(late_ms) if now_ms >= late_ms && !has_turn => {
                let most_ms = plan.turns.wait_max.unwrap_or_default().as_millis();
                format!("it waited longer for its turn than its queueTimeout of {most_ms} ms")
            }
            Some(late_ms) if now_ms >= late_ms => {
                format!("it took longer than its timeout of {} ms", plan.timeout.unwrap_or_default().as_millis())
            }
            Some(_) | None => {
                let next_ms = late_ms.map_or(too_old_ms, |late_ms| late_ms.min(too_old_ms));
                let is_known = self.looked_for_ms.is_some_and(|known_ms| known_ms > now_ms && known_ms <= next_ms);
                return (!is_known).then(|| *self.looked_for_ms.insert(next_ms));
            }
        };
        let failure = Failure { step: None, class: ErrorClass::Permanent, message };
        let stop = Stop { status: ExecutionStatus::Failed, reason: Reason::Timeout, failure };
        self.news.stop.get_or_insert(stop);
        None
    }

    /// Takes note of whether something of it is parked.
    pub(super) fn note_parking(&mut self, now_ms: i64) {
        match (self.stages.contains(&Stage::Queued), self.parked_since_ms) {
            (true, None) => self.parked_since_ms = Some(now_ms),
            (false, Some(since_ms)) => {
                self.parked_ms += now_ms - since_ms;
                self.parked_since_ms = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// When it is to be looked at because of its age, if it was asked to be.
    pub(in super::super) fn looked_for_ms(&self) -> Option<i64> {
        self.looked_for_ms
    }
}
