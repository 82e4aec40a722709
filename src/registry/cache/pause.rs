//! The pause between attempts while a registry gives no answer. There is one for all keys: it is the registry that is out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Outage;

/// The first pause: a registry that restarts behind a balancer is back at once.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause: how late it may be seen that a registry is back.
const LONGEST: Duration = Duration::from_secs(5);

/// An outage, and when the registry is asked again.
#[derive(Debug, Default)]
pub(super) struct Pause {
    outage: Option<Outage>,
    /// Failed attempts in a row; look-ups that were under way together are one.
    attempts: u32,
    next: Option<Instant>,
}

impl Pause {
    /// A look-up got no answer. `attempt` is what [`Pause::attempt`] said when it started.
    pub fn failed(&mut self, attempt: u32, message: Arc<str>, now: Instant) {
        let since = self.outage.as_ref().map_or(now, |it| it.since);
        self.outage = Some(Outage { message, since });
        if attempt == self.attempts {
            let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.attempts)).min(LONGEST);
            self.next = Some(now + pause);
            self.attempts = self.attempts.saturating_add(1);
        }
    }

    /// A look-up got an answer.
    pub fn answered(&mut self) {
        *self = Pause::default();
    }

    /// How many attempts have failed in a row.
    pub fn attempt(&self) -> u32 {
        self.attempts
    }

    /// Until when nothing is asked.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|it| now < *it)
    }

    /// The outage, if there is one.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pause = Pause::default();
        let mut now = Instant::now();
        for expected in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            pause.failed(pause.attempt(), "away".into(), now);
            let until = pause.until(now).expect("a pause");
            assert_eq!((until - now).as_millis(), expected);
            assert_eq!(pause.until(until), None);
            now = until;
        }
        pause.answered();
        assert!(pause.outage().is_none() && pause.until(now).is_none());
    }
}
