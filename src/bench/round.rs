//! Rounds: every job in turn, again and again, and what comes out of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::broker::Broker;
use super::contract::Contract;
use super::input::Input;
use super::job::{Events, Job, Task};
use super::progress::Taken;
use super::report::{JobReport, LatencyReport, MemoryReport, Report};
use super::requests::RequestLoop;
use super::running::{Assignment, Running};
use super::statistics::{Quantiles, Spread};
use super::target::Target;
use super::topics::Topics;
use super::verify::{verify, verify_requests};
use super::waiting::{JOURNAL_PARTITIONS, Waiting};
use super::workflows::Installation;
use super::workload::BODY_BYTES;
use super::{BenchError, EVENTS_MAX, EVENTS_MIN, LATENCY_RATE_MAX, Options, ROUNDS_MAX, latency, memory};
use crate::lane::clock;

/// How many lanes an instance has. A limit loop consumes with as many threads; on a machine that carries the broker too, more
/// would only take turns with it.
const LANES: u32 = 1;
/// How often a workflow changes in jobs with changes.
const CHANGE_EVERY: Duration = Duration::from_millis(10);
/// Events of a run before the first round, at most.
const WARM_UP_EVENTS: u64 = 100_000;
/// Measures what the options say. `tell` is called with a line for people whenever something begins.
pub fn run(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let tasks = checked(options)?;
    let broker = Broker::open(options.bootstrap.as_deref(), options.broker_pid)?;
    let topics = Topics::new(&broker)?;
    let mut bench = Bench { topics, broker: &broker, inputs: Vec::new(), target: Target::start()?, tell };
    let mut measured = Vec::with_capacity(tasks.len());
    for task in &tasks {
        bench.input(*task, task.events(options.events))?;
        measured.push(Measured { task: *task, installation: Installation::new(*task)?, runs: Vec::new() });
    }
    bench.warm_up(&measured, options)?;
    for round in 1..=options.rounds {
        for turn in 0..measured.len() {
            let it = &mut measured[in_turn(round, turn, tasks.len())];
            let what = format!("round {round} of {}: {}", options.rounds, it.task);
            let ran = bench.run(it.task, &it.installation, it.task.events(options.events))?;
            let per_second = it.units(options.events) / ran.taken.time.as_secs_f64();
            (bench.tell)(&format!("{what}: {per_second:.0} a second, verified"));
            it.runs.push(ran);
        }
    }
    let latency = match options.latency_at {
        Some(rate) => bench.latency(&measured, rate, options.rounds)?,
        None => Vec::new(),
    };
    let memory = if options.jobs.contains(&Job::R3) { bench.memory(options)? } else { None };
    Ok(Report {
        broker: broker.address.clone(),
        rounds: options.rounds,
        events: options.events,
        event_bytes: BODY_BYTES,
        lanes: LANES,
        jobs: measured.iter().filter_map(|it| it.report(&measured, options.events)).collect(),
        latency,
        memory: memory.into_iter().collect(),
    })
}

/// Which of so many tasks has its turn. Each round begins with the next one: what a run leaves to the machine, bytes on their way to the
/// disk say, falls to another task each time.
fn in_turn(round: u32, turn: usize, tasks: usize) -> usize {
    (round as usize - 1 + turn) % tasks
}

fn checked(options: &Options) -> Result<Vec<Task>, BenchError> {
    let wrong = |what: String| Err(BenchError::Option(what));
    if options.rounds == 0 || options.rounds > ROUNDS_MAX {
        return wrong(format!("--rounds is {}, but must be from 1 to {ROUNDS_MAX}", options.rounds));
    }
    if !(EVENTS_MIN..=EVENTS_MAX).contains(&options.events) {
        return wrong(format!("--events is {}, but must be from {EVENTS_MIN} to {EVENTS_MAX}", options.events));
    }
    if options.latency_at.is_some_and(|rate| rate == 0 || rate > LATENCY_RATE_MAX) {
        return wrong(format!("--latency-at must be from 1 to {LATENCY_RATE_MAX}"));
    }
    let tasks = Task::all_of(&options.jobs);
    if options.jobs.is_empty() {
        return wrong(format!("--jobs names no job; the jobs are {}", Job::names()));
    }
    Ok(tasks)
}

/// One task and what its runs took, a run a round.
struct Measured {
    task: Task,
    installation: Installation,
    runs: Vec<Ran>,
}

/// What a run took, and what it asked of the target.
struct Ran {
    taken: Taken,
    /// Of each request; None if there was none.
    request_bytes: Option<f64>,
}

impl Measured {
    /// What is counted: executions, which are as many as events if each matches one workflow.
    fn units(&self, wanted: u64) -> f64 {
        (self.task.events(wanted) * self.task.executions_per_event()) as f64
    }

    /// What its runs did; `wanted` is how many events the options ask for.
    fn report(&self, all: &[Measured], wanted: u64) -> Option<JobReport> {
        let units = self.units(wanted);
        let baseline = self.task.baseline().and_then(|task| all.iter().find(|it| it.task == task));
        let ratio = baseline.and_then(|baseline| {
            let same_round = self.runs.iter().zip(&baseline.runs);
            let rate = |units: f64, run: &Ran| units / run.taken.time.as_secs_f64();
            Spread::of(same_round.map(|(mine, its)| rate(units, mine) / rate(baseline.units(wanted), its)))
        });
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / units;
        let request_bytes = Spread::of(self.runs.iter().filter_map(|run| run.request_bytes));
        Some(JobReport {
            job: self.task.to_string(),
            events: self.task.events(wanted),
            executions_per_event: self.task.executions_per_event(),
            per_second: Spread::of(self.runs.iter().map(|run| units / run.taken.time.as_secs_f64()))?,
            baseline: baseline.map(|it| it.task.to_string()),
            ratio,
            cpu_us: Spread::of(self.runs.iter().map(|run| micros(run.taken.cpu.own)))?,
            broker_cpu_us: Spread::of(self.runs.iter().filter_map(|run| run.taken.cpu.broker).map(micros)),
            restarts: self.runs.iter().map(|run| run.taken.restarts).sum(),
            request_bytes: request_bytes.map(|it| it.median),
        })
    }
}

struct Bench<'a> {
    // Before the broker goes, its topics do.
    topics: Topics,
    broker: &'a Broker,
    /// Inputs, with what their events are.
    inputs: Vec<(Events, Input)>,
    /// What jobs call, the same in all rounds.
    target: Target,
    tell: &'a mut dyn FnMut(&str),
}

impl Bench<'_> {
    /// The input of a task with so many events; filled when it is first asked for.
    fn input(&mut self, task: Task, events: u64) -> Result<Input, BenchError> {
        let wanted = task.events_are();
        if let Some((_, known)) = self.inputs.iter().find(|(kind, input)| (*kind, input.events) == (wanted, events)) {
            return Ok(known.clone());
        }
        (self.tell)(&format!("writing {events} events"));
        let input = Input::fill(self.broker, &mut self.topics, events, wanted)?;
        self.inputs.push((wanted, input.clone()));
        Ok(input)
    }

    fn warm_up(&mut self, measured: &[Measured], options: &Options) -> Result<(), BenchError> {
        for run in 1..=options.warm_ups {
            for it in measured {
                (self.tell)(&format!("warming up, {run} of {}: {}", options.warm_ups, it.task));
                self.run(it.task, &it.installation, it.task.events(options.events.min(WARM_UP_EVENTS)))?;
            }
        }
        Ok(())
    }

    /// Runs a task once over an input of so many events, and verifies what it wrote and what it called.
    fn run(&mut self, task: Task, installation: &Installation, events: u64) -> Result<Ran, BenchError> {
        let job = task.to_string();
        // What came after its run was over is nobody's.
        self.target.take();
        let taken = match task {
            Task::Requests { after_ms } => {
                let requests = RequestLoop { address: self.target.address(), after_ms, requests: events };
                let running = Running::requests(self.broker, requests)?;
                running.progress.wait_for_end(&job)?
            }
            Task::Copy
            | Task::Limit(_)
            | Task::Pass
            | Task::Shape { .. }
            | Task::Avro
            | Task::Call { .. }
            | Task::Poisoned { .. }
            | Task::FanOut(_)
            | Task::Installed(_)
            | Task::Changing(_) => self.run_over_events(task, installation, events)?,
        };
        let received = self.target.take();
        if matches!(task, Task::Requests { .. } | Task::Call { .. }) {
            verify_requests(&job, received, events, taken.restarts)?;
        }
        let request_bytes = (received.requests > 0).then(|| received.bytes as f64 / received.requests as f64);
        Ok(Ran { taken, request_bytes })
    }

    fn run_over_events(&mut self, task: Task, installation: &Installation, events: u64) -> Result<Taken, BenchError> {
        let job = task.to_string();
        let input = self.input(task, events)?;
        let outputs = self.topics.create_outputs()?;
        let name = self.topics.unique("run");
        let mut journal = None;
        let waiting = if let Task::Call { .. } = task {
            let topic = &*journal.insert(self.topics.create_with("journal", i32::from(JOURNAL_PARTITIONS))?);
            Some(Waiting::start(self.broker, topic, self.target.address(), installation.versions(), &name)?)
        } else {
            None
        };
        let topic = input.topic.clone();
        let assignment =
            Assignment { task, installation, topic, events: input.events, outputs: outputs.clone(), name, waiting };
        let running = Running::start(self.broker, assignment)?;
        let taken = with_changes(task, installation, || running.progress.wait_for_end(&job))?;
        drop(running);
        verify(self.broker, &job, &task.expected(), &input, &outputs)?;
        self.topics.delete(&outputs.names())?;
        self.topics.delete(journal.as_slice())?;
        Ok(taken)
    }

    fn memory(&mut self, options: &Options) -> Result<Option<MemoryReport>, BenchError> {
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            (self.tell)(&format!("memory, round {round} of {}: {}", options.rounds, Job::R3.name()));
            rounds.push(memory::measure(self.broker, &mut self.topics, options.events)?);
        }
        Ok(memory::report(options.events, &rounds))
    }

    fn latency(&mut self, measured: &[Measured], rate: u32, rounds: u32) -> Result<Vec<LatencyReport>, BenchError> {
        let wanted = [Task::Limit(Contract::Full), Task::Shape { full: true }];
        let mut all: [Vec<u64>; 2] = Default::default();
        for round in 1..=rounds {
            for (task, latencies) in wanted.iter().zip(&mut all) {
                (self.tell)(&format!("latency at {rate}/s, round {round} of {rounds}: {task}"));
                let own;
                let installation = match measured.iter().find(|it| it.task == *task) {
                    Some(it) => &it.installation,
                    None => {
                        own = Installation::new(*task)?;
                        &own
                    }
                };
                latencies.extend(latency::measure(self.broker, &mut self.topics, *task, installation, rate)?);
            }
        }
        let mut limit = None;
        let mut reports = Vec::with_capacity(wanted.len());
        for (task, latencies) in wanted.iter().zip(all) {
            let records = latencies.len() as u64;
            let Some(milliseconds) = Quantiles::of(latencies) else { continue };
            let limit_of: Option<Quantiles> = limit;
            reports.push(LatencyReport {
                job: task.to_string(),
                events_per_second: rate,
                records,
                milliseconds,
                p50_ratio: limit_of.map(|it| milliseconds.p50 / it.p50),
                p99_ratio: limit_of.map(|it| milliseconds.p99 / it.p99),
            });
            limit.get_or_insert(milliseconds);
        }
        Ok(reports)
    }
}

/// Changes workflows all the while, if the task is one with changes.
fn with_changes<T>(
    task: Task,
    installation: &Installation,
    wait: impl FnOnce() -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    if !matches!(task, Task::Changing(_)) {
        return wait();
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let changing = threads.spawn(|| {
            let mut changes = (0..).map(|number| installation.change(number));
            while !ended.load(Ordering::Acquire) {
                changes.next().unwrap_or(Ok(()))?;
                clock::pause(CHANGE_EVERY);
            }
            Ok(())
        });
        let waited = wait();
        ended.store(true, Ordering::Release);
        let changed = changing.join().unwrap_or(Ok(()));
        waited.and_then(|done| changed.map(|()| done))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_one_turn_a_round_and_every_place_in_turn() {
        let order = |round| (0..3).map(|turn| in_turn(round, turn, 3)).collect::<Vec<_>>();
        assert_eq!(
            [order(1), order(2), order(3), order(4)],
            [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2]]
        );
    }
}
