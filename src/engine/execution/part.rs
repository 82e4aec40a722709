//! One part of a run: from its beginning, or from where it had to wait, to its end or to the next wait.

use std::sync::Arc;

use super::kin;
use super::{Before, Execution, FIRST_RUN, Left, News, Over, Phase, StepResults, Stop, Waited, journal_output};
use crate::engine::checkpoint::{Checkpoint, Content, Failed, History, Parent, StepWait};
use crate::engine::expression::{Scope, StepStatus, StepView};
use crate::engine::ids::DeadLetterId;
use crate::engine::journal::{Entry, Mail};
use crate::engine::limits;
use crate::engine::plan::{Action, ErrorClass, OnError, Wait};
use crate::engine::record::{
    DeadLetter, ExecutionRecord, ExecutionStatus, FailedExecution, Failure, FinishedStep, JournalRecord, Output,
    Produced, Reason, StepResult,
};
use crate::engine::run::{self, EndedStep, FailureCause, Run, RunInput, StepError, StepRun};
use crate::engine::value::{Value, whole_milliseconds};

/// What a part of a run came to.
struct Part {
    /// The steps whose wait was over, as they count.
    over: Vec<Over>,
    /// The steps that ran in place.
    steps: Vec<StepRun>,
    /// The steps that wait now.
    waits: Vec<StepWait>,
    /// What ended the run before its end.
    fatal: Option<Fatal>,
    output_bytes: usize,
}

/// What ends a run before its end.
pub(super) struct Fatal {
    pub status: ExecutionStatus,
    pub reason: Reason,
    pub failure: Failure,
    pub attempts: u32,
    pub first_ms: i64,
    last_ms: i64,
}

impl Execution {
    /// Runs it and says what it leaves. The same execution always leaves the same at the same time.
    pub(super) fn leave(&self, now_ms: i64) -> Left {
        if self.before.is_none() && self.plan.turns.hold_back(self.event.record.key()) {
            return self.leave_pending(now_ms);
        }
        let Part { over, mut steps, waits, mut fatal, output_bytes } = self.go(now_ms);
        let left = waits
            .first()
            .map(|wait| &wait.step)
            .or_else(|| over.first().filter(|_| self.queues()).map(|it| &it.step.id));
        if let (Some(message), Some(step), None) = (&self.too_large, left, &fatal) {
            fatal = Some(Fatal::too_large(step, message, now_ms));
        }
        let status = match &fatal {
            Some(fatal) => fatal.status,
            None if self.queues() => ExecutionStatus::Pending,
            None if waits.is_empty() => ExecutionStatus::Completed,
            None => ExecutionStatus::Running,
        };
        let mut outputs = Vec::with_capacity(2 * steps.len() + 3);
        for Over { step, .. } in &over {
            if self.has_own_record(step.status) || self.was_asked_for(&step.id) {
                outputs.push((None, Output::StepResult(self.step_result(step.clone()))));
            }
        }
        for step in &mut steps {
            if let Some(record) = step.effect.take_record() {
                let produced = Produced { record, event: self.event.clone() };
                outputs.push((Some(step.step), Output::Produced(produced)));
            }
            if self.has_own_record(step.status) {
                outputs.push((None, Output::StepResult(self.step_result(self.finished(step, now_ms)))));
            }
        }
        if let Some(fatal) = &fatal {
            let letter = self.dead_letter(fatal, &over, &steps, now_ms);
            outputs.push((None, Output::DeadLetter(Box::new(letter))));
        }
        // What waits says so once; what becomes of it is said at its end.
        let goes_on = matches!(status, ExecutionStatus::Running | ExecutionStatus::Pending);
        if !goes_on || self.before.as_ref().is_none_or(|before| before.phase == Phase::Begins) {
            outputs
                .push((None, Output::Execution(Box::new(self.record(status, fatal.as_ref(), &over, &steps, now_ms)))));
        }
        let kin = if goes_on { self.opened() } else { self.kin(status, fatal.as_ref(), &waits, &over, &steps) };
        let waited = |Over { step, .. }: &Over| {
            let took_ms = step.ended_ms.saturating_sub(step.started_ms).max(0);
            Waited { step: step.id.clone(), status: step.status, took_ms }
        };
        let waited = over.iter().map(waited).collect();
        let checkpoint = goes_on.then(|| Arc::new(self.checkpoint(over, &steps, waits, output_bytes, now_ms)));
        if let Some(record) = self.journal_record(checkpoint.clone()) {
            outputs.push((None, Output::Journal(Box::new(record))));
        }
        let left_alone = self.before.as_ref().map_or(&[][..], |before| &before.news.left_alone);
        let kin = kin.into_iter().chain(left_alone.iter().copied().map(kin::cancelled));
        outputs.extend(kin.map(|output| (None, output)));
        outputs.extend(self.along.as_deref().map(|record| (None, journal_output(record))));
        Left { outputs, status: Some(status), steps, over: waited, retried: self.retried(), checkpoint }
    }

    /// Whether it waits for its turn, and goes on to do so.
    fn queues(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.phase == Phase::Queues)
    }

    /// It has to wait for its turn: its owner knows when that is.
    fn leave_pending(&self, now_ms: i64) -> Left {
        if let Some(message) = &self.too_large {
            return self.leave_too_large(message, now_ms);
        }
        let status = ExecutionStatus::Pending;
        let checkpoint = Arc::new(self.checkpoint(Vec::new(), &[], Vec::new(), 0, now_ms));
        let record = self.record(status, None, &[], &[], now_ms);
        let mail = JournalRecord {
            execution: self.id,
            run: self.run,
            entry: Entry::Mail(Mail::Start),
            content: Content::Checkpoint(checkpoint.clone()),
        };
        let outputs = [Output::Execution(Box::new(record)), Output::Journal(Box::new(mail))];
        self.left_without_running(outputs, status, Some(checkpoint))
    }

    /// What is left where no step ran.
    fn left_without_running(
        &self,
        outputs: [Output; 2],
        status: ExecutionStatus,
        checkpoint: Option<Arc<Checkpoint>>,
    ) -> Left {
        let along = self.along.as_deref().map(journal_output);
        let outputs = outputs.into_iter().chain(along).map(|output| (None, output)).collect();
        Left { outputs, status: Some(status), checkpoint, ..Left::default() }
    }

    /// It cannot wait for its turn: the journal does not take it.
    fn leave_too_large(&self, message: &str, now_ms: i64) -> Left {
        let failure = Failure { step: None, class: ErrorClass::Permanent, message: run::cut(message.to_owned()) };
        let fatal = Fatal::at_once(Reason::TooLarge, failure, now_ms);
        let letter = self.dead_letter(&fatal, &[], &[], now_ms);
        let record = self.record(fatal.status, Some(&fatal), &[], &[], now_ms);
        let outputs = [Output::DeadLetter(Box::new(letter)), Output::Execution(Box::new(record))];
        self.left_without_running(outputs, fatal.status, None)
    }

    fn go(&self, now_ms: i64) -> Part {
        let id = self.id.to_string();
        let scope = Scope {
            event: &self.event,
            steps: &[],
            execution_id: &id,
            workflow_id: self.workflow.id.as_str(),
            workflow_version: &self.workflow.version,
            vars: &self.plan.vars,
        };
        match self.before.as_deref() {
            None => {
                let run = run::run(&self.plan, RunInput::from_the_beginning(scope, &self.refusals));
                self.part(Vec::new(), Vec::new(), run, now_ms)
            }
            Some(before) => self.go_on_from(before, scope, now_ms),
        }
    }

    fn go_on_from(&self, before: &Before, scope: Scope<'_>, now_ms: i64) -> Part {
        let (over, output_bytes) = before.weighed();
        let waits = before.news.left_of(&before.checkpoint.waits);
        let fatal = before.news.stop.as_ref().map(|stop| {
            // One that may fail has ended with that, and is not run again.
            let failed = over.iter().filter(|it| self.fatal_over(it).is_some());
            Fatal::stop(stop, &waits, failed, now_ms)
        });
        if let Some(fatal) = fatal.or_else(|| over.iter().find_map(|it| self.fatal_over(it))) {
            return Part { over, steps: Vec::new(), waits, fatal: Some(fatal), output_bytes };
        }
        if self.queues() {
            return Part { over, steps: Vec::new(), waits, fatal: None, output_bytes };
        }
        let index = |id: &Arc<str>| self.plan.steps().iter().position(|step| step.id == *id);
        let views = over.iter().filter_map(|it| {
            let view = StepView { status: it.step.status, output: it.step.output.clone() };
            Some(EndedStep { step: index(&it.step.id)?, view })
        });
        let ended: Vec<EndedStep> = before.progress.ended.iter().cloned().chain(views).collect();
        let waiting: Vec<usize> = waits.iter().filter_map(|wait| index(&wait.step)).collect();
        let input = RunInput { scope, refusals: &self.refusals, ended: &ended, waiting: &waiting, output_bytes };
        let run = run::run(&self.plan, input);
        self.part(over, waits, run, now_ms)
    }

    fn part(&self, over: Vec<Over>, mut waits: Vec<StepWait>, run: Run, now_ms: i64) -> Part {
        let Run { steps, waits: fresh, failure, output_bytes } = run;
        waits.extend(fresh.into_iter().map(|step| self.wait(step, now_ms)));
        let fatal = failure.map(|failure| {
            let id = &self.plan.steps()[failure.step].id;
            let reason = match failure.error.cause {
                FailureCause::Step => Reason::Step,
                FailureCause::Refused => Reason::Refused,
                FailureCause::TooLarge => Reason::TooLarge,
            };
            Fatal::at_once(reason, failure_of(id, &failure.error), now_ms)
        });
        Part { over, steps, waits, fatal, output_bytes }
    }

    fn wait(&self, step: usize, now_ms: i64) -> StepWait {
        let step = &self.plan.steps()[step];
        let due_ms = match &step.action {
            Action::Wait(Wait::Delay(delay)) => Some(now_ms.saturating_add(whole_milliseconds(*delay))),
            Action::Transform { .. }
            | Action::Condition { .. }
            | Action::Switch { .. }
            | Action::Produce(_)
            | Action::Log { .. }
            | Action::Fail { .. }
            | Action::Wait(Wait::Http(_) | Wait::Until(_) | Wait::Approval(_) | Wait::Workflow(_)) => None,
        };
        StepWait { step: step.id.clone(), since_ms: now_ms, due_ms, attempts: 0, failed: None, child: None }
    }

    /// What a step whose wait is over does to the execution, if that ends it.
    fn fatal_over(&self, over: &Over) -> Option<Fatal> {
        let failure = over.step.failure.clone()?;
        let step = self.plan.steps().iter().find(|step| step.id == over.step.id)?;
        (step.on_error == OnError::Fail).then_some(Fatal {
            status: ExecutionStatus::Failed,
            reason: over.reason,
            failure,
            attempts: over.step.attempts,
            first_ms: over.first_failure_ms,
            last_ms: over.step.ended_ms,
        })
    }

    /// The steps of which an attempt failed that is made again.
    fn retried(&self) -> Vec<Arc<str>> {
        let changed = self.before.iter().flat_map(|before| &before.news.changed);
        changed.filter(|wait| wait.failed.is_some()).map(|wait| wait.step.clone()).collect()
    }

    /// What is told and mailed of steps that begin to wait.
    fn opened(&self) -> Vec<Output> {
        let Some(before) = self.before.as_deref() else { return Vec::new() };
        let News { told, mails, .. } = &before.news;
        let told = told.iter().map(|step| Output::StepResult(self.step_result(step.clone())));
        told.chain(mails.iter().map(journal_output)).collect()
    }

    /// What its end means for its parent and its children.
    fn kin(
        &self,
        status: ExecutionStatus,
        fatal: Option<&Fatal>,
        waits: &[StepWait],
        over: &[Over],
        steps: &[StepRun],
    ) -> Vec<Output> {
        let parent = self.before.as_deref().and_then(|before| before.checkpoint.parent.as_deref());
        if parent.is_none() && waits.iter().all(|wait| wait.child.is_none()) {
            return Vec::new();
        }
        let last = self.plan.last_step();
        let here = steps.iter().find(|step| Some(step.step) == last).map(|step| step.output.clone());
        let id = last.map(|last| &self.plan.steps()[last].id);
        let before = || self.ended_before(over).find(|step| Some(&step.id) == id).map(|step| step.output.clone());
        let output = here.or_else(before).unwrap_or_default();
        // What it comes to may be larger than the parent can be told.
        let untold = self.too_large.as_ref().filter(|_| fatal.is_none()).map(|message| Failure {
            step: None,
            class: ErrorClass::Permanent,
            message: run::cut(format!("it completed, and its output cannot be passed on: {message}")),
        });
        let ended = match &untold {
            Some(failure) => {
                let (status, output) = (ExecutionStatus::Failed, Value::Null);
                kin::Ended { execution: self.id, status, output, failure: Some(failure) }
            }
            None => {
                let failure = fatal.map(|fatal| &fatal.failure);
                kin::Ended { execution: self.id, status, output, failure }
            }
        };
        kin::mail(parent, waits, &ended)
    }

    /// Whether it was said of a step that it waits: then what comes of it is said as well, whatever is said of others.
    fn was_asked_for(&self, id: &Arc<str>) -> bool {
        let step = self.plan.steps().iter().find(|step| step.id == *id);
        step.is_some_and(|step| matches!(step.action, Action::Wait(Wait::Approval(_))))
    }

    fn has_own_record(&self, status: StepStatus) -> bool {
        match self.step_results {
            StepResults::All => true,
            StepResults::Failed => status == StepStatus::Failed,
            StepResults::None => false,
        }
    }

    fn step_result(&self, step: FinishedStep) -> StepResult {
        let (workflow, event) = (self.workflow.clone(), self.event.clone());
        StepResult { execution: self.id, run: self.run, workflow, event, step }
    }

    fn finished(&self, step: &StepRun, ended_ms: i64) -> FinishedStep {
        let id = &self.plan.steps()[step.step].id;
        FinishedStep {
            id: id.clone(),
            status: step.status,
            started_ms: if self.before.is_none() { self.started_ms } else { ended_ms },
            ended_ms,
            attempts: u32::from(step.status != StepStatus::Skipped),
            output: step.output.clone(),
            failure: step.error.as_ref().map(|error| failure_of(id, error)),
        }
    }

    /// Every step that has ended before this part or where it begins.
    fn ended_before<'a>(&'a self, over: &'a [Over]) -> impl Iterator<Item = &'a FinishedStep> {
        let before = self.before.as_deref().map_or(&[][..], |before| &before.checkpoint.ended);
        before.iter().chain(over.iter().map(|it| &it.step))
    }

    fn record(
        &self,
        status: ExecutionStatus,
        fatal: Option<&Fatal>,
        over: &[Over],
        steps: &[StepRun],
        now_ms: i64,
    ) -> ExecutionRecord {
        let here = |step: &&StepRun| !self.has_own_record(step.status);
        let earlier = self.ended_before(over).filter(|step| !self.has_own_record(step.status)).cloned();
        let errors = steps.iter().filter_map(|step| {
            let id = &self.plan.steps()[step.step].id;
            step.error.as_ref().map(|error| failure_of(id, error))
        });
        let earlier_errors = self.ended_before(over).filter_map(|step| step.failure.clone());
        let mut errors: Vec<Failure> = earlier_errors.chain(errors).collect();
        // What no step brought about is an error all the same.
        if let Some(Fatal { failure, .. }) = fatal.filter(|fatal| !errors.contains(&fatal.failure)) {
            errors.push(failure.clone());
        }
        ExecutionRecord {
            execution: self.id,
            run: self.run,
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            status,
            started_ms: self.started_ms,
            ended_ms: (!matches!(status, ExecutionStatus::Running | ExecutionStatus::Pending)).then_some(now_ms),
            results: earlier.chain(steps.iter().filter(here).map(|step| self.finished(step, now_ms))).collect(),
            errors,
            retry_count: self.ended_before(over).map(|step| step.attempts.saturating_sub(1)).sum(),
        }
    }

    fn dead_letter(&self, fatal: &Fatal, over: &[Over], steps: &[StepRun], now_ms: i64) -> DeadLetter {
        let step = fatal.failure.step.as_ref();
        let here = steps.iter().map(|step| self.finished(step, now_ms));
        // What failed beside it runs again, too.
        let fails = |step: &FinishedStep| over.iter().any(|it| it.step.id == step.id && self.fatal_over(it).is_some());
        let ended = self.ended_before(over).cloned().chain(here).filter(|it| Some(&it.id) != step && !fails(it));
        DeadLetter {
            id: DeadLetterId::of_execution(self.id, self.run, step.map(|it| &**it)),
            reason: fatal.reason,
            failure: fatal.failure.clone(),
            execution: Some(FailedExecution {
                id: self.id,
                run: self.run,
                workflow: self.workflow.clone(),
                finished: ended.collect(),
                history: self.history(),
                parent: self.parent(),
            }),
            record: self.event.record.clone(),
            attempts: fatal.attempts,
            first_failure_ms: self.history().first_failure_ms.unwrap_or(fatal.first_ms),
            last_failure_ms: fatal.last_ms,
            returns: self.run.saturating_sub(FIRST_RUN),
        }
    }

    fn parent(&self) -> Option<Arc<Parent>> {
        self.before.as_ref().and_then(|before| before.checkpoint.parent.clone())
    }

    fn history(&self) -> History {
        self.before.as_ref().map_or_else(History::default, |before| before.checkpoint.history.clone())
    }

    fn checkpoint(
        &self,
        over: Vec<Over>,
        steps: &[StepRun],
        waits: Vec<StepWait>,
        output_bytes: usize,
        now_ms: i64,
    ) -> Checkpoint {
        let here = steps.iter().map(|step| self.finished(step, now_ms));
        Checkpoint {
            workflow: self.workflow.id.clone(),
            version: self.workflow.version.clone(),
            record: self.event.record.clone(),
            started_ms: self.started_ms,
            ended: self.ended_before(&over).cloned().chain(here).collect(),
            queues: self.queues() && !waits.is_empty(),
            waits,
            output_bytes,
            history: self.history(),
            parent: self.parent(),
        }
    }

    /// What the journal must know of this part: that it waits, or that it has ended if it was known to wait.
    fn journal_record(&self, checkpoint: Option<Arc<Checkpoint>>) -> Option<JournalRecord> {
        let (entry, content) = match (self.before.as_deref(), checkpoint) {
            (None, None) => return None,
            (None, Some(checkpoint)) => (Entry::Mail(Mail::Start), Content::Checkpoint(checkpoint)),
            (Some(before), Some(checkpoint)) => {
                let entry = Entry::State { place: before.place, includes: before.includes };
                (entry, Content::Checkpoint(checkpoint))
            }
            (Some(_), None) => (Entry::End, Content::None),
        };
        Some(JournalRecord { execution: self.id, run: self.run, entry, content })
    }
}

impl Before {
    /// The steps whose wait is over, with what all outputs weigh then. One whose output is more than the execution may hold has failed.
    fn weighed(&self) -> (Vec<Over>, usize) {
        let mut bytes = self.checkpoint.output_bytes;
        let mut over = self.news.over.clone();
        for Over { step, reason, .. } in &mut over {
            bytes += step.output.weight();
            if bytes > limits::EXECUTION_OUTPUT_BYTES && step.status == StepStatus::Completed {
                let error = run::outputs_too_large();
                step.failure = Some(failure_of(&step.id, &error));
                (step.status, step.output, *reason) = (StepStatus::Failed, Value::Null, Reason::TooLarge);
            }
        }
        (over, bytes)
    }
}

impl News {
    /// The steps that go on waiting, of those that have waited.
    pub(super) fn left_of(&self, waits: &[StepWait]) -> Vec<StepWait> {
        let News { over, changed, .. } = self;
        let waits = waits.iter().filter(|wait| !over.iter().any(|it| it.step.id == wait.step));
        waits.map(|wait| changed.iter().find(|it| it.step == wait.step).unwrap_or(wait).clone()).collect()
    }
}

impl Fatal {
    fn at_once(reason: Reason, failure: Failure, now_ms: i64) -> Fatal {
        Fatal { status: ExecutionStatus::Failed, reason, failure, attempts: 1, first_ms: now_ms, last_ms: now_ms }
    }

    /// What ends a run whose steps wait: of those that have failed before, or just now, the one that did last is named, with what was wrong.
    pub(super) fn stop<'a>(
        stop: &Stop,
        waits: &'a [StepWait],
        over: impl Iterator<Item = &'a Over>,
        now_ms: i64,
    ) -> Fatal {
        let fatal = Fatal { status: stop.status, ..Fatal::at_once(stop.reason, stop.failure.clone(), now_ms) };
        let before = waits.iter().filter_map(|wait| {
            let Failed { first_ms, last_ms, failure } = wait.failed.as_ref()?;
            Some((*last_ms, *first_ms, &wait.step, wait.attempts, failure))
        });
        let now = over.filter_map(|Over { step, first_failure_ms, .. }| {
            Some((step.ended_ms, *first_failure_ms, &step.id, step.attempts, step.failure.as_ref()?))
        });
        let last = before.chain(now).max_by_key(|(last_ms, ..)| *last_ms);
        let Some((_, first_ms, step, attempts, failed)) = last else { return fatal };
        let message = format!("{}; {step} failed last: {}", fatal.failure.message, failed.message);
        let failure = Failure { step: Some(step.clone()), message: run::cut(message), ..fatal.failure };
        Fatal { failure, attempts, first_ms, ..fatal }
    }

    fn too_large(step: &Arc<str>, message: &str, now_ms: i64) -> Fatal {
        let message = run::cut(message.to_owned());
        let failure = Failure { step: Some(step.clone()), class: ErrorClass::Permanent, message };
        Fatal::at_once(Reason::TooLarge, failure, now_ms)
    }
}

fn failure_of(step: &Arc<str>, error: &StepError) -> Failure {
    Failure { step: Some(step.clone()), class: error.class, message: error.message.clone() }
}
