//! The calls of one lane of the simulated cluster, and the gates that they go through.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::breaker::{BreakerState, CallOutcome, Permit};
use tidegate::engine::gate::{Barrier, LaneId};
use tidegate::engine::owner::{Call, CallId, Consequence, Owner, Tried};

use super::broken::Broken;
use super::cluster::Shared;
use super::gates::Instance;
use super::log::FakeLog;
use super::outages::Answered;
use super::waiting::{Placed, Tenure, around};

/// How long a call takes, at most.
const CALL_MS: usize = 80;

/// A call that is under way.
struct UnderWay {
    id: CallId,
    /// What the target calls it.
    number: u64,
    connector: Arc<str>,
    permit: Permit,
    ends_ms: i64,
    answered: Answered,
}

/// Calls of one lane.
pub struct Calls {
    lane: LaneId,
    instance: Rc<Instance>,
    broken: Broken,
    under_way: Vec<UnderWay>,
    /// Calls that may start and have not, of a lane that takes its time; and when they will.
    late: Vec<(i64, Call, Permit, Option<Tenure>)>,
    /// Connectors that keep calls waiting, and until when.
    parked_ms: BTreeMap<Arc<str>, i64>,
}

impl Calls {
    /// Calls of a lane that starts.
    pub fn new(lane: LaneId, instance: Rc<Instance>, broken: Broken) -> Calls {
        Calls { lane, instance, broken, under_way: Vec::new(), late: Vec::new(), parked_ms: BTreeMap::new() }
    }

    /// The number of the instance whose lane it is.
    pub fn instance(&self) -> usize {
        self.instance.number
    }

    /// Whether any is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.late.is_empty()
    }

    /// Breaks calls off whose executions have ended.
    pub fn abort_ended(&mut self, gone: &[CallId], shared: &Shared, now_ms: i64) {
        self.break_off(gone, shared, now_ms);
        if self.broken != Broken::CallsForTheEnded {
            self.call_off(gone, now_ms);
        }
    }

    /// Breaks calls off.
    pub fn abort(&mut self, gone: &[CallId], shared: &Shared, now_ms: i64) {
        self.break_off(gone, shared, now_ms);
        self.call_off(gone, now_ms);
    }

    /// Calls that have not started do not start.
    fn call_off(&mut self, gone: &[CallId], now_ms: i64) {
        for (_, call, permit, _) in self.late.extract_if(.., |(_, call, ..)| gone.contains(&call.id)) {
            self.instance.finish(&call.connector, permit, (CallOutcome::Ignored, None), now_ms);
        }
    }

    /// Breaks calls off that have started.
    fn break_off(&mut self, gone: &[CallId], shared: &Shared, now_ms: i64) {
        for UnderWay { number, connector, permit, .. } in self.under_way.extract_if(.., |call| gone.contains(&call.id))
        {
            shared.target.broken_off(number);
            if self.broken != Broken::PermitIsLost {
                self.instance.finish(&connector, permit, (CallOutcome::Ignored, None), now_ms);
            }
        }
    }

    /// The lane has ended, and its instance lives on.
    pub fn leave(&mut self, shared: &Shared, now_ms: i64) {
        let late = self.late.iter().map(|(_, call, ..)| call.id);
        let left: Vec<CallId> = self.under_way.iter().map(|call| call.id).chain(late).collect();
        self.abort(&left, shared, now_ms);
        self.instance.leave(self.lane);
    }

    /// Takes the answers that have come.
    pub fn finish(&mut self, owner: &mut Owner, shared: &Shared, random: &mut Random, now_ms: i64) {
        let ended: Vec<UnderWay> = self.under_way.extract_if(.., |call| call.ends_ms <= now_ms).collect();
        for UnderWay { id, number, connector, permit, answered, .. } in ended {
            shared.target.answered(number, &answered, now_ms);
            let outcome = if answered.answer.blames_connector() { CallOutcome::Failure } else { CallOutcome::Success };
            let retry_after_ms = answered.answer.retry_after_ms();
            let is_probe = match self.broken {
                Broken::OnceTooFew => permit.is_probe() || random.below(4) == 0,
                Broken::ProbesCount => false,
                _ => permit.is_probe(),
            };
            let tried = Tried { is_probe, chance: random.below(100) as f64 / 100.0 };
            match owner.handle_answer(id, answered.answer, tried, now_ms) {
                Consequence::None => self.instance.finish(&connector, permit, (outcome, retry_after_ms), now_ms),
                Consequence::Works => {
                    self.instance.finish(&connector, permit, (CallOutcome::Success, retry_after_ms), now_ms);
                }
                Consequence::Hold => self.instance.hold(&connector, permit, now_ms),
            }
        }
    }

    /// Starts calls that may start.
    pub fn start(
        &mut self,
        owner: &mut Owner,
        (shared, log): (&Shared, &FakeLog),
        random: &mut Random,
        (now_ms, tenure): (i64, &dyn Fn(u16) -> Option<Tenure>),
    ) {
        let due: Vec<_> = self.late.extract_if(.., |(starts_ms, ..)| *starts_ms <= now_ms).collect();
        for (_, call, permit, tenure) in due {
            self.started(call, permit, (shared, log), random, (now_ms, tenure));
        }
        if self.instance.is_woken(self.lane) {
            self.parked_ms.values_mut().for_each(|until_ms| *until_ms = i64::MIN);
        }
        let wanted = owner.connectors(now_ms);
        let gone: Vec<_> = self.parked_ms.keys().filter(|it| !wanted.contains(*it)).cloned().collect();
        for connector in gone {
            self.parked_ms.remove(&connector);
            self.instance.pass(&connector, self.lane);
        }
        for connector in wanted {
            while self.parked_ms.get(&connector).is_none_or(|until_ms| now_ms >= *until_ms) {
                let asked = self.instance.ask(&connector, self.lane, now_ms);
                let barrier = asked.as_ref().err().map(|parked| parked.barrier);
                shared.target.asked((self.instance.number, &connector), barrier, now_ms);
                let permit = match asked {
                    Ok(permit) => permit,
                    Err(parked) => {
                        *shared.target.parked.borrow_mut().entry(name(parked.barrier)).or_default() += 1;
                        let until_ms = parked.until_ms.map_or(i64::MAX, |until_ms| until_ms as i64);
                        self.parked_ms.insert(connector.clone(), until_ms);
                        break;
                    }
                };
                match around(shared, Some(self.instance.number), (now_ms, now_ms), |around| {
                    owner.start_call(&connector, around)
                }) {
                    Some(call) => {
                        let tenure = tenure(call.execution.journal_partition);
                        if self.broken == Broken::CallsForTheEnded {
                            self.late.push((now_ms + random.below(CALL_MS) as i64, call, permit, tenure));
                        } else {
                            self.started(call, permit, (shared, log), random, (now_ms, tenure));
                        }
                    }
                    None => {
                        self.instance.finish(&connector, permit, (CallOutcome::Ignored, None), now_ms);
                        self.instance.pass(&connector, self.lane);
                        break;
                    }
                }
            }
        }
    }

    fn started(
        &mut self,
        call: Call,
        mut permit: Permit,
        (shared, log): (&Shared, &FakeLog),
        random: &mut Random,
        (now_ms, tenure): (i64, Option<Tenure>),
    ) {
        let run = log.stands.get(&call.execution).map_or(0, |record| record.run);
        if let (Some(trouble), Some((lane, life, _))) = (&shared.trouble, &tenure) {
            let wrong = trouble.called(call.execution, run, (lane, *life));
            shared.target.violations.borrow_mut().extend(wrong);
        }
        let placed = Placed { instance: self.instance.number, tenure };
        let number = shared.target.called(&call, placed, log, now_ms);
        // Nobody can make a permit of another generation, but two calls can trade theirs.
        if self.broken == Broken::LateAnswerDecides && permit.is_probe() {
            let before = self.under_way.iter_mut().find(|it| it.connector == call.connector && !it.permit.is_probe());
            before.into_iter().for_each(|before| std::mem::swap(&mut before.permit, &mut permit));
        }
        let ends_ms = now_ms + random.below(CALL_MS) as i64;
        let answered = shared.target.outages.answer(&call, random, now_ms);
        let (id, connector) = (call.id, call.connector);
        self.under_way.push(UnderWay { id, number, connector, permit, ends_ms, answered });
    }
}

fn name(barrier: Barrier) -> &'static str {
    match barrier {
        Barrier::Breaker(BreakerState::HalfOpen) => "half-open",
        Barrier::Breaker(BreakerState::ForcedOpen) => "forced-open",
        Barrier::Breaker(_) => "open",
        Barrier::RetryAfter => "retry-after",
        Barrier::Concurrency => "concurrency",
        Barrier::Ramp => "ramp",
        Barrier::Rate => "rate",
    }
}
