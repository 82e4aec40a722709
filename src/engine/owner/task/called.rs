//! What becomes of a step whose call has ended, or could not be made.

use super::{Stage, Task};
use crate::engine::call::Judged;
use crate::engine::checkpoint::{Failed, StepWait};
use crate::engine::owner::CallId;
use crate::engine::owner::outcome::{done, failed, failure};
use crate::engine::run::StepError;

/// Further back in a queue than any place: no log is so long.
const BEHIND_ALL: i64 = 1 << 60;

impl Task {
    /// A step that waits has failed before it could be called.
    pub(in super::super) fn fail(&mut self, step: &str, error: &StepError, now_ms: i64) {
        let Some(number) = self.number(step) else { return };
        let wait = &self.checkpoint.waits[number];
        self.news.over.push(failed(wait, wait.attempts, error, now_ms));
        self.stages[number] = Stage::New;
    }

    /// What the answer to a step's call came to.
    pub(in super::super) fn judged(&mut self, step: &str, judged: Judged, CallId(call): CallId, now_ms: i64) {
        let Some(number) = self.number(step) else { return };
        let wait = &self.checkpoint.waits[number];
        let attempts = wait.attempts.saturating_add(1);
        // Whatever comes next has the place of its execution again.
        self.back = None;
        match judged {
            Judged::Done(output) => self.news.over.push(done(wait, attempts, output, now_ms)),
            Judged::Retry(Some(delay_ms), error) => {
                let due_ms = now_ms.saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX));
                let first_ms = wait.failed.as_ref().map_or(now_ms, |failed| failed.first_ms);
                let failed = Failed { first_ms, last_ms: now_ms, failure: failure(wait, &error) };
                let wait = StepWait { attempts, due_ms: Some(due_ms), failed: Some(failed), ..wait.clone() };
                self.news.changed.push(wait);
            }
            Judged::Retry(None, error) | Judged::Failed(error) => {
                self.news.over.push(failed(wait, attempts, &error, now_ms));
            }
            Judged::Hold(_) => self.back = Some(BEHIND_ALL.saturating_add_unsigned(call)),
        }
        self.stages[number] = Stage::New;
    }

    /// The call of a step is to be made again, as if it had not been, when it is the turn of this place.
    pub(in super::super) fn put_back(&mut self, step: &str, place: i64) {
        let Some(number) = self.number(step) else { return };
        self.back = Some(place);
        self.stages[number] = Stage::New;
    }
}
