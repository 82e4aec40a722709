//! Who is at work in the simulated cluster beside its lanes.

use tidegate::bench::workload::Random;

use super::broken::Broken;
use super::canceller::Canceller;
use super::cluster::Shared;
use super::lane::Lane;
use super::log::FakeLog;
use super::replay::Operator;

/// All of them.
pub struct Others {
    operators: [Operator; 2],
    canceller: Option<Canceller>,
}

impl Others {
    /// Those who have done nothing so far; and what the one who cancels draws from, if anybody does.
    pub fn new(drawn: Option<Random>, broken: Broken) -> Others {
        Others { operators: [broken, broken].map(Operator::new), canceller: drawn.map(Canceller::new) }
    }

    /// One small step of those whose turn it is. The lanes, whether nobody does harm any more, and how much has befallen lanes.
    pub fn step(
        &mut self,
        shared: &Shared,
        log: &mut FakeLog,
        random: &mut Random,
        (lanes, calm, faults): (&[Lane], bool, u32),
        now_ms: i64,
    ) {
        if random.below(8) == 0 {
            let at = random.below(self.operators.len());
            self.operators[at].step(shared, log, random, now_ms);
        }
        if let (Some(canceller), Some(trouble)) = (&mut self.canceller, &shared.trouble) {
            canceller.step(trouble, log, (calm, faults), now_ms);
        }
        if let Some(purge) = &shared.purge {
            shared.target.violations.borrow_mut().extend(purge.step(shared, log));
        }
        if let Some(control) = &shared.control {
            control.step(lanes, shared, calm, now_ms);
        }
        if random.below(30) == 0
            && let Some((id, epoch)) = shared.late.borrow_mut().pop()
        {
            let _ = log.end(&id, epoch, true);
        }
    }

    /// Dead letters that were brought back for certain.
    pub fn brought_back(&self) -> u32 {
        self.operators.iter().map(|it| it.brought_back).sum()
    }
}
