//! An execution that waits, in its owner's memory.

mod age;
mod away;
mod called;

use std::sync::Arc;

use super::outcome::{child_ended, decided, done, not_ended, undecided};
use super::reason::WaitReason;
use super::turns::Turn;
use super::{Around, CallId, Definition, Replaced};
use crate::engine::call::{HttpCall, Request};
use crate::engine::checkpoint::{Checkpoint, Content, StepWait};
use crate::engine::event::Event;
use crate::engine::execution::{News, Stop};
use crate::engine::expression::{Budget, Scope, StepView};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Mail, Slot};
use crate::engine::limits;
use crate::engine::plan::{Action, ErrorClass, Plan, Wait};
use crate::engine::record::{ExecutionStatus, Failure, Reason};
use crate::engine::run::{FailureCause, StepError};
use crate::engine::signal::{Signal, Told};
use crate::engine::value::Value;

pub(super) use away::Away;

/// Where a step that waits stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not looked at since it began to wait, or to wait again.
    New,
    /// It is due then.
    Timer(i64),
    /// It waits for its connector.
    Queued,
    /// Its call is under way.
    Calling(CallId),
}

/// The run of an execution, its place among others, and where the log has it.
pub(super) type Stands = (u32, i64, Slot);

#[derive(Debug)]
pub(super) struct Task {
    pub run: u32,
    pub place: i64,
    /// Where the log has it.
    pub slot: Slot,
    pub checkpoint: Arc<Checkpoint>,
    /// The steps of the checkpoint that wait, in its order.
    stages: Vec<Stage>,
    news: News,
    /// Something of it was written and is not known to be committed.
    is_unsettled: bool,
    /// What was written is its end.
    has_ended: bool,
    /// When it was last asked to be looked at because it lacks something.
    pub looks_again_ms: Option<i64>,
    /// From when its time-out counts, milliseconds since the Unix epoch: from its start, or from when this owner took it up. How long it was
    /// parked before, nobody knows.
    counts_from_ms: i64,
    /// How long it was parked since.
    parked_ms: i64,
    /// Since when it is parked.
    parked_since_ms: Option<i64>,
    /// When it was last asked to be looked at because of its age.
    looked_for_ms: Option<i64>,
    /// Its place among those that wait for its connector, if that is another one. Its call was refused for its credentials, which may be its
    /// own fault, and it goes behind all others; or its connector was found to be down still.
    back: Option<i64>,
    /// What its steps were told, and what was not looked at so far.
    signals: Vec<Arc<Signal>>,
    /// Its state is to be appended again: too much that is dead lies behind it, or it has had mail.
    is_straggler: bool,
    /// Where its oldest record lay when that was asked for last.
    appended_from: Option<i64>,
    /// Nothing of this run was done: it begins with the steps that have not ended.
    begins: bool,
    /// Whether it is its turn.
    pub turn: Turn,
    /// What it waited for when it was looked at last, as it is counted.
    pub counted_as: Option<WaitReason>,
    /// Of what was written of it, so much was not read again: what the log knows is not the last.
    to_come: u32,
    /// See [`Away`].
    is_unseen: bool,
    /// It was looked at since it was settled: what it waits for is known.
    is_looked_at: bool,
    /// What it weighs, in bytes.
    weight: usize,
    /// Its event, as it was understood for what is under way; see [`EVENT_BYTES`].
    event: Option<Arc<Event>>,
    /// Where it stands among those that may be put away.
    pub rank: Option<(i64, i64)>,
}

/// How large a record, and what it says, may be that is kept while a call is under way, in bytes: what goes on with the answer need not read it
/// again.
const EVENT_BYTES: usize = 4 * 1024;

impl Task {
    /// One that stands there; `is_brought_back` says that nothing of its run was done.
    pub(super) fn new(
        (run, place, slot): Stands,
        checkpoint: Arc<Checkpoint>,
        is_brought_back: bool,
        now_ms: i64,
    ) -> Task {
        let begins = is_brought_back || !checkpoint.has_begun();
        let counts_from_ms = now_ms.max(checkpoint.started_ms);
        let stages = vec![Stage::New; checkpoint.waits.len()];
        let (is_unsettled, has_ended) = (false, false);
        let (is_straggler, appended_from, news) = (false, None, News::default());
        let weight = checkpoint.weight();
        Task {
            run,
            place,
            slot,
            checkpoint,
            stages,
            news,
            is_unsettled,
            has_ended,
            looks_again_ms: None,
            counts_from_ms,
            parked_ms: 0,
            parked_since_ms: None,
            looked_for_ms: None,
            back: None,
            signals: Vec::new(),
            is_straggler,
            appended_from,
            begins,
            turn: Turn::Unknown,
            counted_as: None,
            to_come: 0,
            is_unseen: false,
            is_looked_at: false,
            weight,
            event: None,
            rank: None,
        }
    }

    /// Mail for an execution that is alive.
    pub(super) fn take_mail(&mut self, mail: Mail, content: Content) {
        match (mail, content) {
            (Mail::Cancel, _) => self.stop("it was cancelled"),
            (Mail::Signal, Content::Signal(signal)) => {
                // Nothing waits for it in an execution that has not begun, but for a sub-workflow that has come back with it.
                if !self.begins || self.waits_for_end(&signal) {
                    self.signals.push(signal);
                }
                // Even if nobody waits for it, it is over with: else whoever writes many would fill the memory of every owner.
                self.is_straggler = true;
            }
            // What begins or goes on is what made the task.
            (Mail::Signal | Mail::Start | Mail::Resume, _) => {}
        }
    }

    /// Whether that is the end of a sub-workflow that it waits for.
    fn waits_for_end(&self, signal: &Signal) -> bool {
        let Told::Child { execution, .. } = &signal.told else { return false };
        self.checkpoint.waits.iter().any(|wait| wait.step == signal.step && wait.child == Some(*execution))
    }

    /// Somebody ends it.
    pub(super) fn stop(&mut self, message: &str) {
        let failure = Failure { step: None, class: ErrorClass::Permanent, message: message.to_owned() };
        let stop = Stop { status: ExecutionStatus::Cancelled, reason: Reason::Cancelled, failure };
        self.news.stop.get_or_insert(stop);
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.is_unsettled
    }

    /// What it weighs in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// What was written of it was read again.
    pub(super) fn has_come_back(&mut self) {
        self.to_come = self.to_come.saturating_sub(1);
    }

    /// It was looked at. True if that was not done since a restore.
    pub(super) fn was_looked_at(&mut self) -> bool {
        self.is_looked_at = true;
        std::mem::take(&mut self.is_unseen)
    }

    /// Its state is to be appended again, because its oldest record lies there. False if that was asked for already.
    pub(super) fn append_again(&mut self, offset: i64) -> bool {
        if self.appended_from == Some(offset) {
            return false;
        }
        (self.is_straggler, self.appended_from) = (true, Some(offset));
        true
    }

    pub(super) fn has_news(&self) -> bool {
        self.begins || self.has_changed()
    }

    /// Whether something is to be written of it, though it may have to wait for its turn.
    fn has_changed(&self) -> bool {
        self.is_straggler || !self.news.over.is_empty() || !self.news.changed.is_empty() || self.news.stop.is_some()
    }

    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Whether nothing of this run was done.
    pub(super) fn begins(&self) -> bool {
        self.begins
    }

    /// Whether it is to end whatever it does.
    pub(super) fn is_stopped(&self) -> bool {
        self.news.stop.is_some()
    }

    /// A workflow that is stopped ends all its executions.
    pub(super) fn heed_end(&mut self, around: &Around<'_>) {
        if (around.is_stopped)(&self.checkpoint.workflow) {
            self.stop("its workflow was stopped");
        }
    }

    /// Whether something has become of a step that waits, which is to be written.
    pub(super) fn has_heard(&self) -> bool {
        !self.news.over.is_empty()
    }

    /// Whether its state is to be appended again; then it is not any more.
    pub(super) fn take_straggler(&mut self) -> bool {
        std::mem::take(&mut self.is_straggler)
    }

    /// Its turn has come: its time-out counts from now on.
    pub(super) fn has_begun_to_run(&mut self, now_ms: i64) {
        self.counts_from_ms = now_ms;
        self.looked_for_ms = None;
    }

    /// Whether the run begins now.
    pub(super) fn take_beginning(&mut self) -> bool {
        std::mem::take(&mut self.begins)
    }

    /// Whether something is to be written of a step already.
    pub(super) fn has_news_of(&self, step: &str) -> bool {
        self.news.over.iter().any(|it| *it.step.id == *step) || self.news.changed.iter().any(|it| *it.step == *step)
    }

    pub(super) fn news(&mut self) -> &mut News {
        &mut self.news
    }

    /// What was told to steps that wait for it ends them.
    fn heed_signals(&mut self, plan: &Plan, now_ms: i64) {
        for signal in std::mem::take(&mut self.signals) {
            let is_over = self.news.over.iter().any(|it| it.step.id == signal.step);
            let Some(number) = self.number(&signal.step).filter(|_| !is_over) else { continue };
            let wait = &self.checkpoint.waits[number];
            let action = plan.steps().iter().find(|step| step.id == wait.step).map(|step| &step.action);
            let over = match (action, &signal.told) {
                (Some(Action::Wait(Wait::Approval(_))), Told::Decision { decision, by, comment }) => {
                    let text = |text: &Arc<str>| if text.is_empty() { Value::Null } else { Value::Text(text.clone()) };
                    done(wait, 1, decided(Value::text(decision.name()), text(by), text(comment)), now_ms)
                }
                (Some(Action::Wait(Wait::Workflow(_))), Told::Child { execution, status, output, failure })
                    if wait.child == Some(*execution) =>
                {
                    child_ended(wait, (*execution, *status), output, failure.as_ref(), now_ms)
                }
                // Nobody waits for it.
                _ => continue,
            };
            // It may have been about to wait.
            self.news.changed.retain(|wait| wait.step != signal.step);
            self.news.over.push(over);
        }
    }

    /// Looks at the steps that wait: what is due ends or is to be queued, what is not gets a timer. Returns what changed.
    pub(super) fn due(&mut self, plan: &Plan, now_ms: i64) -> Vec<(usize, Stage)> {
        self.heed_signals(plan, now_ms);
        let mut changed = Vec::new();
        for (number, wait) in self.checkpoint.waits.iter().enumerate() {
            if self.has_news_of(&wait.step) || matches!(self.stages[number], Stage::Queued | Stage::Calling(_)) {
                continue;
            }
            // A plan without the step is refused where the execution goes on.
            let Some(index) = plan.steps().iter().position(|step| step.id == wait.step) else { continue };
            let Action::Wait(kind) = &plan.steps()[index].action else { continue };
            // What is opened first has no end before that, and some has none but what it is told.
            let is_told = matches!(kind, Wait::Until(_) | Wait::Approval(_) | Wait::Workflow(_));
            if is_told && (wait.attempts == 0 || wait.due_ms.is_none()) {
                continue;
            }
            let due_ms = wait.due_ms.unwrap_or(i64::MIN);
            if due_ms > now_ms {
                if self.stages[number] != Stage::Timer(due_ms) {
                    self.stages[number] = Stage::Timer(due_ms);
                    changed.push((index, Stage::Timer(due_ms)));
                }
                continue;
            }
            match kind {
                Wait::Http(_) => {
                    self.stages[number] = Stage::Queued;
                    changed.push((index, Stage::Queued));
                }
                Wait::Approval(approval) => self.news.over.push(undecided(approval, wait, now_ms)),
                Wait::Workflow(call) => {
                    self.news.over.push(not_ended(call, wait, now_ms));
                    self.news.left_alone.extend(wait.child);
                }
                Wait::Delay(_) | Wait::Until(_) => self.news.over.push(done(wait, 1, Value::Null, now_ms)),
            }
        }
        self.note_parking(now_ms);
        changed
    }

    /// Goes to where the execution stands once what is written now is committed; None: to its end. Returns the calls that are given up.
    pub(super) fn move_to(&mut self, checkpoint: Option<Arc<Checkpoint>>) -> Vec<CallId> {
        (self.is_unsettled, self.is_straggler, self.is_looked_at) = (true, false, false);
        // A state or an end, and one of them even if the broker refuses this and something else is written.
        self.to_come += 1;
        self.has_ended = checkpoint.is_none();
        let stages = match &checkpoint {
            Some(checkpoint) => self.by_step(checkpoint),
            None => vec![Stage::New; self.stages.len()],
        };
        let calling = |stage: &Stage| if let Stage::Calling(call) = stage { Some(*call) } else { None };
        let given_up = self.stages.iter().filter(|stage| !stages.contains(stage)).filter_map(calling).collect();
        self.stages = stages;
        if let Some(checkpoint) = checkpoint {
            (self.weight, self.checkpoint) = (checkpoint.weight(), checkpoint);
        }
        given_up
    }

    /// The stages of the steps that wait in a checkpoint: as they are for those that wait already and are as they were.
    fn by_step(&self, checkpoint: &Checkpoint) -> Vec<Stage> {
        let stage = |wait: &StepWait| {
            let known = self.checkpoint.waits.iter().position(|before| before == wait);
            known.map_or(Stage::New, |number| self.stages[number])
        };
        checkpoint.waits.iter().map(stage).collect()
    }

    /// What was written is certain. True if the execution goes on.
    pub(super) fn settle(&mut self, replaced: Option<&Replaced>) -> bool {
        self.is_unsettled = false;
        match replaced {
            None => !self.has_ended,
            Some(Replaced { checkpoint: None, .. }) => false,
            Some(Replaced { checkpoint: Some(checkpoint), .. }) => {
                self.stages = self.by_step(checkpoint);
                (self.checkpoint, self.has_ended) = (checkpoint.clone(), false);
                self.weight = checkpoint.weight();
                true
            }
        }
    }

    /// Whether a step of it waits that makes calls.
    pub(super) fn calls(&self, plan: &Plan) -> bool {
        let is_call = |wait: &StepWait| {
            let step = plan.steps().iter().find(|step| step.id == wait.step);
            step.is_some_and(|step| matches!(step.action, Action::Wait(Wait::Http(_))))
        };
        self.checkpoint.waits.iter().any(is_call)
    }

    fn number(&self, step: &str) -> Option<usize> {
        self.checkpoint.waits.iter().position(|wait| *wait.step == *step)
    }

    /// The steps that wait, and where each stands.
    pub(super) fn standing(&self) -> impl Iterator<Item = (&StepWait, Stage)> {
        self.checkpoint.waits.iter().zip(self.stages.iter().copied())
    }

    pub(super) fn is_queued(&self, step: &str) -> bool {
        self.number(step).is_some_and(|number| self.stages[number] == Stage::Queued)
    }

    /// What waits for connectors is to be seen again.
    pub(super) fn unqueue(&mut self, now_ms: i64) {
        self.note_parking(now_ms);
        self.stages.iter_mut().filter(|stage| **stage == Stage::Queued).for_each(|stage| *stage = Stage::New);
        self.note_parking(now_ms);
    }

    pub(super) fn set_stage(&mut self, step: &str, stage: Stage, now_ms: i64) {
        self.note_parking(now_ms);
        if let Some(number) = self.number(step) {
            self.stages[number] = stage;
        }
        self.note_parking(now_ms);
    }

    /// What orders its calls among those of others.
    pub(super) fn queue_place(&self) -> i64 {
        self.back.unwrap_or(self.place)
    }

    /// How many attempts of a step have been made.
    pub(super) fn attempts(&self, step: &str) -> u32 {
        self.number(step).map_or(0, |number| self.checkpoint.waits[number].attempts)
    }

    /// The request of a step that waits.
    pub(super) fn request(
        &mut self,
        execution: ExecutionId,
        definition: &Definition,
        call: &HttpCall,
        around: &Around<'_>,
    ) -> Result<Request, StepError> {
        self.in_scope(execution, definition, around, |scope| {
            call.request(scope, &mut Budget::new(limits::EXECUTION_BUDGET))
        })
    }

    /// Its event. The error says that it cannot be understood.
    pub(super) fn take_event(&mut self, around: &Around<'_>) -> Result<Arc<Event>, String> {
        if let Some(event) = self.event.take() {
            return Ok(event);
        }
        let event = self.checkpoint.event(around.decode);
        event.map(Arc::new).map_err(|(_, why)| format!("its event cannot be understood any more: {}", why.message))
    }

    /// Nobody needs its event soon, unless it is being called for.
    pub(super) fn forget_event(&mut self) {
        if !self.stages.iter().any(|stage| matches!(stage, Stage::Calling(_))) {
            self.event = None;
        }
    }

    /// Does something with what expressions of a step that waits see.
    pub(super) fn in_scope<T>(
        &mut self,
        execution: ExecutionId,
        definition: &Definition,
        around: &Around<'_>,
        act: impl FnOnce(&Scope<'_>) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let permanent = |message| StepError::new(ErrorClass::Permanent, message, FailureCause::Step);
        let event = self.take_event(around).map_err(permanent)?;
        let bytes = self.checkpoint.record.size_bytes().max(event.data.weight());
        self.event = (bytes <= EVENT_BYTES).then(|| event.clone());
        let progress = self.checkpoint.progress(&definition.plan).map_err(|unknown| permanent(unknown.to_string()))?;
        let mut views = vec![StepView::default(); definition.plan.steps().len()];
        for ended in progress.ended {
            views[ended.step] = ended.view;
        }
        let id = execution.to_string();
        let scope = Scope {
            event: &event,
            steps: &views,
            execution_id: &id,
            workflow_id: definition.workflow.id.as_str(),
            workflow_version: &definition.workflow.version,
            vars: &definition.plan.vars,
        };
        act(&scope)
    }
}
