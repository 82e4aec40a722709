//! What comes of calls that have ended.

use super::messages::{CallId, Consequence, Tried};
use super::{Owner, UnderWay};
use crate::engine::call::{Answer, Judged};
use crate::engine::plan::{Action, Wait};

impl Owner {
    /// A call has ended. An answer to a call that is not under way any more is nothing.
    ///
    /// One that asked whether its connector works again, and found that it does not, cost its step no attempt: what waits for a connector
    /// that is down lasts as long as that, however few attempts it may have. The next one to ask is another one, so that none keeps the
    /// connector down by what is wrong with itself.
    pub fn handle_answer(&mut self, id: CallId, answer: Answer, tried: Tried, now_ms: i64) -> Consequence {
        let Some(UnderWay { execution, run, plan, step }) = self.calls.remove(&id) else { return Consequence::None };
        let step = &plan.steps()[step];
        let Action::Wait(Wait::Http(call)) = &step.action else { return Consequence::None };
        let blames = call.blames_connector(&answer);
        let works = if blames == answer.blames_connector() { Consequence::None } else { Consequence::Works };
        let is_still_down = tried.is_probe && blames;
        let back = is_still_down.then(|| self.behind_those_that_wait());
        let ward = self.wards.get_mut(&i32::from(execution.journal_partition));
        let task = ward.and_then(|ward| ward.memory.get_mut(execution)).filter(|task| task.run == run);
        let Some(task) = task else { return works };
        let judged = call.judge(answer, task.attempts(&step.id), tried.chance);
        let holds = matches!(judged, Judged::Hold(_));
        match (judged, back) {
            (Judged::Retry(..), Some(back)) => {
                task.put_back(&step.id, back);
                self.last_back = back;
            }
            (judged, _) => task.judged(&step.id, judged, id, now_ms),
        }
        self.work.push_back(execution);
        if holds { Consequence::Hold } else { works }
    }

    /// A place in the queues of connectors behind all that wait, and before most that come later: places are offsets of the journal, whose
    /// partitions are about as long as one another.
    fn behind_those_that_wait(&self) -> i64 {
        let ends = self.wards.values().map(|ward| ward.log.next_offset());
        ends.max().unwrap_or(0).max(self.last_back.saturating_add(1))
    }
}
