//! How often, and when, steps were called: what connectors see of retries.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate::engine::ids::ExecutionId;

use super::plans;
use super::waiting::Tenure;

/// A step of one run of an execution.
pub type Step = (ExecutionId, u32, Arc<str>);

/// The last attempt of every step.
#[derive(Default)]
pub struct Attempts(HashMap<Step, Last>);

struct Last {
    call: u64,
    attempt: u32,
    tenure: Tenure,
    /// It has failed, and counts: when the next may be made.
    next_ms: Option<i64>,
}

impl Attempts {
    /// A call is made. What is wrong with that.
    pub fn called(&mut self, step: Step, call: u64, (attempt, tenure): (u32, &Tenure), now_ms: i64) -> Option<String> {
        let most = 1 + plans::retry(&step.2).max_retries;
        let mut wrong = (attempt > most).then(|| format!("attempt {attempt} of {most}"));
        if let Some(last) = self.0.get(&step) {
            let counted = last.attempt + u32::from(last.next_ms.is_some());
            // Whoever takes over does not know of a failure that was not recorded.
            let is_right = attempt == counted || (attempt == last.attempt && *tenure != last.tenure);
            if !is_right {
                wrong = Some(format!("attempt {attempt}, but {counted} comes after {}", last.attempt));
            }
            let next_ms = last.next_ms.filter(|next_ms| attempt > last.attempt && now_ms < *next_ms);
            wrong = wrong.or_else(|| next_ms.map(|next_ms| format!("attempt {attempt} comes before {next_ms}")));
        }
        self.0.insert(step, Last { call, attempt, tenure: tenure.clone(), next_ms: None });
        wrong
    }

    /// A call has failed so that it is made again, and did not ask whether its connector works.
    pub fn failed(&mut self, step: &Step, call: u64, retry_after_ms: Option<u64>, now_ms: i64) {
        if let Some(last) = self.0.get_mut(step).filter(|last| last.call == call) {
            let policy = plans::retry(&step.2);
            let doubled = policy.base_delay_ms << (last.attempt - 1).min(20);
            let wait_ms = doubled.min(policy.max_delay_ms).max(retry_after_ms.unwrap_or(0));
            last.next_ms = Some(now_ms + wait_ms as i64);
        }
    }
}
