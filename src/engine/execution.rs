//! Executions, and what they leave: the records that a run of a workflow for an event writes.

use std::sync::Arc;

use super::event::{Event, SourceRecord, Undecodable};
use super::expression::{Scope, StepStatus};
use super::ids::{DeadLetterId, ExecutionId, ExecutionOrigin, MailboxKey};
use super::plan::{ErrorClass, Plan};
use super::record::{
    DeadLetter, ExecutionRecord, ExecutionStatus, FailedExecution, Failure, FinishedStep, Output, Produced, Reason,
    StepResult,
};
use super::run::{self, FailureCause, Refusal, Run, RunFailure, RunInput, StepError, StepRun};
use super::workflow::{Workflow, WorkflowId};

/// The run that an event starts; a replay starts the next one.
const FIRST_RUN: u32 = 1;

/// What makes ids and records those of one environment.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The environment's name, part of every execution id.
    pub environment: Arc<str>,
    /// How many partitions the journal has; fixed when the topic is created, part of every execution id.
    pub journal_partitions: u16,
    /// Which steps leave a record of their own.
    pub step_results: StepResults,
}

/// Which steps leave a record of their own; the others are part of the execution's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepResults {
    /// Every step that ended.
    #[default]
    All,
    /// Steps that failed.
    Failed,
    /// None.
    None,
}

/// What a group of a batch is about.
#[derive(Debug)]
pub enum Subject {
    /// A workflow that runs for an event.
    Execution(Box<Execution>),
    /// A workflow that matched and cannot be run.
    Unrunnable(Box<Unrunnable>),
    /// A record that could not be understood.
    Undecodable(Box<UndecodableRecord>),
}

/// A workflow that runs for an event, in place.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What it does.
    pub plan: Arc<Plan>,
    /// The event.
    pub event: Arc<Event>,
    /// When it started, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// Which of its records the broker refused when it was written before.
    pub refusals: Vec<Refusal>,
    step_results: StepResults,
}

/// What is kept of an execution until its records are committed: enough to run it again, but not what was read from its record. That
/// takes as much memory as the record, and is needed only if the broker refuses something.
#[derive(Debug)]
pub struct Kept {
    id: ExecutionId,
    workflow: Arc<Workflow>,
    plan: Arc<Plan>,
    record: SourceRecord,
    started_ms: i64,
    refusals: Vec<Refusal>,
    step_results: StepResults,
}

/// A workflow that matched an event and whose definition does not compile in this version.
#[derive(Clone, Debug)]
pub struct Unrunnable {
    /// The id that its execution would have had.
    pub id: ExecutionId,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// The event.
    pub event: Arc<Event>,
    /// Why it cannot be run.
    pub message: String,
    /// When that was found, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A record that could not be understood.
#[derive(Clone, Debug)]
pub struct UndecodableRecord {
    /// The record.
    pub record: SourceRecord,
    /// Why.
    pub reason: Undecodable,
    /// When that was found, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// What a subject leaves to be written.
#[derive(Debug)]
pub struct Left {
    /// The records in order, each with the step that wrote it, if a refusal of it is that step's failure.
    pub outputs: Vec<(Option<usize>, Output)>,
    /// How it ended; None for what was never an execution.
    pub status: Option<ExecutionStatus>,
    /// How each step ended, with the lines that `log` steps write.
    pub steps: Vec<StepRun>,
}

impl Execution {
    /// The execution of a workflow for an event. Its id depends on nothing but the environment, the workflow and where the
    /// event lies.
    pub fn new(
        identity: &Identity,
        workflow: Arc<Workflow>,
        plan: Arc<Plan>,
        event: Arc<Event>,
        started_ms: i64,
    ) -> Execution {
        let id = identity.execution_id(&workflow.id, &event);
        let step_results = identity.step_results;
        Execution { id, workflow, plan, event, started_ms, refusals: Vec::new(), step_results }
    }

    /// Runs it and says what it leaves. The same execution always leaves the same.
    fn leave(&self, ended_ms: i64) -> Left {
        let id = self.id.to_string();
        let scope = Scope {
            event: &self.event,
            steps: &[],
            execution_id: &id,
            workflow_id: self.workflow.id.as_str(),
            workflow_version: &self.workflow.version,
            vars: &self.plan.vars,
        };
        let Run { mut steps, waits, failure, output_bytes: _ } =
            run::run(&self.plan, RunInput::from_the_beginning(scope, &self.refusals));
        debug_assert!(waits.is_empty(), "definitions with steps that wait are refused until their state is written");
        let mut outputs = Vec::with_capacity(2 * steps.len() + 2);
        for step in &mut steps {
            if let Some(record) = step.effect.take_record() {
                let produced = Produced { record, event: self.event.clone() };
                outputs.push((Some(step.step), Output::Produced(produced)));
            }
            if self.has_own_record(step) {
                outputs.push((None, Output::StepResult(self.step_result(step, ended_ms))));
            }
        }
        let status = if failure.is_none() { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
        if let Some(failure) = &failure {
            outputs.push((None, Output::DeadLetter(Box::new(self.dead_letter(failure, &steps, ended_ms)))));
        }
        outputs.push((None, Output::Execution(Box::new(self.record(status, &steps, ended_ms)))));
        Left { outputs, status: Some(status), steps }
    }

    fn has_own_record(&self, step: &StepRun) -> bool {
        match self.step_results {
            StepResults::All => true,
            StepResults::Failed => step.status == StepStatus::Failed,
            StepResults::None => false,
        }
    }

    fn step_result(&self, step: &StepRun, ended_ms: i64) -> StepResult {
        StepResult {
            execution: self.id,
            run: FIRST_RUN,
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            step: self.finished(step, ended_ms),
        }
    }

    fn finished(&self, step: &StepRun, ended_ms: i64) -> FinishedStep {
        let id = &self.plan.steps()[step.step].id;
        FinishedStep {
            id: id.clone(),
            status: step.status,
            started_ms: self.started_ms,
            ended_ms,
            attempts: u32::from(step.status != StepStatus::Skipped),
            output: step.output.clone(),
            failure: step.error.as_ref().map(|error| failure_of(id, error)),
        }
    }

    fn record(&self, status: ExecutionStatus, steps: &[StepRun], ended_ms: i64) -> ExecutionRecord {
        let errors = steps.iter().filter_map(|step| {
            let id = &self.plan.steps()[step.step].id;
            step.error.as_ref().map(|error| failure_of(id, error))
        });
        let without_record = steps.iter().filter(|step| !self.has_own_record(step));
        ExecutionRecord {
            execution: self.id,
            run: FIRST_RUN,
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            status,
            started_ms: self.started_ms,
            ended_ms: Some(ended_ms),
            results: without_record.map(|step| self.finished(step, ended_ms)).collect(),
            errors: errors.collect(),
            retry_count: 0,
        }
    }

    fn dead_letter(&self, failure: &RunFailure, steps: &[StepRun], ended_ms: i64) -> DeadLetter {
        let step = &self.plan.steps()[failure.step].id;
        let ended = steps.iter().filter(|it| it.step != failure.step);
        DeadLetter {
            id: DeadLetterId::of_execution(self.id, FIRST_RUN, Some(step)),
            reason: match failure.error.cause {
                FailureCause::Step => Reason::Step,
                FailureCause::Refused => Reason::Refused,
                FailureCause::TooLarge => Reason::TooLarge,
            },
            failure: failure_of(step, &failure.error),
            execution: Some(FailedExecution {
                id: self.id,
                run: FIRST_RUN,
                workflow: self.workflow.clone(),
                finished: ended.map(|step| self.finished(step, ended_ms)).collect(),
            }),
            record: self.event.record.clone(),
            attempts: 1,
            first_failure_ms: ended_ms,
            last_failure_ms: ended_ms,
        }
    }
}

impl Identity {
    /// The id of what a workflow does for an event.
    pub fn execution_id(&self, workflow: &WorkflowId, event: &Event) -> ExecutionId {
        ExecutionId::new(
            &self.environment,
            workflow.as_str(),
            ExecutionOrigin::Event(&event.record.origin),
            // Workflows that limit their concurrency or are ordered by key are refused until executions can wait.
            MailboxKey::Hash,
            self.journal_partitions,
        )
    }
}

impl Subject {
    /// A workflow that matched and cannot be run.
    pub fn unrunnable(
        identity: &Identity,
        workflow: Arc<Workflow>,
        event: Arc<Event>,
        message: &str,
        at_ms: i64,
    ) -> Subject {
        let id = identity.execution_id(&workflow.id, &event);
        let message = run::cut(format!("the definition cannot be run by this version: {message}"));
        Subject::Unrunnable(Box::new(Unrunnable { id, workflow, event, message, at_ms }))
    }

    /// A record that could not be understood.
    pub fn undecodable((record, reason): (SourceRecord, Undecodable), at_ms: i64) -> Subject {
        Subject::Undecodable(Box::new(UndecodableRecord { record, reason, at_ms }))
    }

    /// The workflow that it is about, if it is about one.
    pub fn workflow(&self) -> Option<&Arc<Workflow>> {
        match self {
            Subject::Execution(execution) => Some(&execution.workflow),
            Subject::Unrunnable(unrunnable) => Some(&unrunnable.workflow),
            Subject::Undecodable(_) => None,
        }
    }

    /// Runs what there is to run and says what is to be written. The same subject always leaves the same.
    pub fn leave(&self, now_ms: i64) -> Left {
        match self {
            Subject::Execution(execution) => execution.leave(now_ms),
            Subject::Unrunnable(unrunnable) => unrunnable.leave(),
            Subject::Undecodable(undecodable) => undecodable.leave(),
        }
    }

    /// What to keep until its records are committed; None for what is no execution: it cannot be run otherwise.
    pub fn keep(&self) -> Option<Box<Kept>> {
        let Subject::Execution(execution) = self else { return None };
        let Execution { id, workflow, plan, event, started_ms, refusals, step_results } = &**execution;
        Some(Box::new(Kept {
            id: *id,
            workflow: workflow.clone(),
            plan: plan.clone(),
            record: event.record.clone(),
            started_ms: *started_ms,
            refusals: refusals.clone(),
            step_results: *step_results,
        }))
    }

    /// The same execution, failing at the steps whose records were refused; None for what is no execution, or wrote nothing
    /// that can be refused.
    pub fn refused(&self, refusals: &[Refusal]) -> Option<Subject> {
        let Subject::Execution(execution) = self else { return None };
        let known = |it: &Refusal| execution.refusals.iter().any(|refusal| refusal.step == it.step);
        let fresh: Vec<Refusal> = refusals.iter().filter(|it| !known(it)).cloned().collect();
        if fresh.is_empty() {
            return None;
        }
        let mut execution = execution.clone();
        execution.refusals.extend(fresh);
        Some(Subject::Execution(execution))
    }
}

impl Kept {
    /// The execution as it was. `decode` reads its record again, which comes to the same event as before; None if it does not.
    pub fn execution(
        &self,
        decode: impl FnOnce(SourceRecord) -> Result<Event, (SourceRecord, Undecodable)>,
    ) -> Option<Subject> {
        let event = decode(self.record.clone()).ok()?;
        Some(Subject::Execution(Box::new(Execution {
            id: self.id,
            workflow: self.workflow.clone(),
            plan: self.plan.clone(),
            event: Arc::new(event),
            started_ms: self.started_ms,
            refusals: self.refusals.clone(),
            step_results: self.step_results,
        })))
    }
}

impl Unrunnable {
    fn leave(&self) -> Left {
        let failure = Failure { step: None, class: ErrorClass::Config, message: self.message.clone() };
        let dead_letter = DeadLetter {
            id: DeadLetterId::of_execution(self.id, FIRST_RUN, None),
            reason: Reason::Match,
            failure: failure.clone(),
            execution: Some(FailedExecution {
                id: self.id,
                run: FIRST_RUN,
                workflow: self.workflow.clone(),
                finished: Vec::new(),
            }),
            record: self.event.record.clone(),
            attempts: 0,
            first_failure_ms: self.at_ms,
            last_failure_ms: self.at_ms,
        };
        let record = ExecutionRecord {
            execution: self.id,
            run: FIRST_RUN,
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            status: ExecutionStatus::Failed,
            started_ms: self.at_ms,
            ended_ms: Some(self.at_ms),
            results: Vec::new(),
            errors: vec![failure],
            retry_count: 0,
        };
        let outputs =
            vec![(None, Output::DeadLetter(Box::new(dead_letter))), (None, Output::Execution(Box::new(record)))];
        Left { outputs, status: Some(ExecutionStatus::Failed), steps: Vec::new() }
    }
}

impl UndecodableRecord {
    fn leave(&self) -> Left {
        let dead_letter = DeadLetter {
            id: DeadLetterId::of_record(&self.record.origin),
            reason: Reason::Decode,
            failure: Failure {
                step: None,
                class: ErrorClass::Permanent,
                message: run::cut(self.reason.message.clone()),
            },
            execution: None,
            record: self.record.clone(),
            attempts: 1,
            first_failure_ms: self.at_ms,
            last_failure_ms: self.at_ms,
        };
        let outputs = vec![(None, Output::DeadLetter(Box::new(dead_letter)))];
        Left { outputs, status: None, steps: Vec::new() }
    }
}

fn failure_of(step: &Arc<str>, error: &StepError) -> Failure {
    Failure { step: Some(step.clone()), class: error.class, message: error.message.clone() }
}
