//! The jobs, by name, and what each must be compared with.

use std::fmt;

use super::contract::Contract;
use super::verify::{Content, Expected};

/// How many workflows match an event in the runs of R5.
pub const FAN_OUTS: [u64; 4] = [1, 10, 100, 1_000];
/// How many workflows are installed in the runs of R6.
pub const INSTALLED: [u64; 5] = [1, 100, 1_000, 10_000, 100_000];

/// After how many milliseconds the target answers in the runs of R2.
pub const ANSWERS_MS: [u32; 3] = [0, 5, 50];
/// How many of a thousand records are poison in the runs of R4.
pub const POISON_PER_MILLE: [u32; 3] = [1, 10, 100];
/// What `R2` means, and what the request loop does alone.
const ANSWER_MS: u32 = 5;
/// What `R4` means.
const POISONED_PER_MILLE: u32 = 10;

/// What users ask for: one or several runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Consume, produce the same bytes.
    L0,
    /// Consume, produce constant records of the same number and sizes as the jobs beside it.
    L1,
    /// Ask the target of R2 as often at once, and do nothing else.
    L2,
    /// Match, produce a copy, execution record.
    R0,
    /// Transform, condition, produce, with a record for every step.
    R1Full,
    /// The same with the steps' results inside the execution record.
    R1Compact,
    /// R1 with a record for every step, of events that are Avro.
    R1Avro,
    /// R1 with a record for every step, and a call of a target that answers after a time.
    R2 {
        /// After how many milliseconds.
        after_ms: u32,
    },
    /// Executions that wait: what memory each takes.
    R3,
    /// R1 with a record for every step, and records among the events that are none.
    R4 {
        /// How many of a thousand.
        per_mille: u32,
    },
    /// Many workflows match an event.
    R5,
    /// Many workflows are installed and one matches.
    R6,
    /// The same at the largest size, while definitions change a hundred times a second.
    R6Changes,
}

impl Job {
    /// Every job, in the order in which they take turns.
    pub const ALL: [Job; 17] = [
        Job::L0,
        Job::L1,
        Job::L2,
        Job::R0,
        Job::R1Full,
        Job::R1Compact,
        Job::R1Avro,
        Job::R2 { after_ms: ANSWERS_MS[0] },
        Job::R2 { after_ms: ANSWERS_MS[1] },
        Job::R2 { after_ms: ANSWERS_MS[2] },
        Job::R3,
        Job::R4 { per_mille: POISON_PER_MILLE[0] },
        Job::R4 { per_mille: POISON_PER_MILLE[1] },
        Job::R4 { per_mille: POISON_PER_MILLE[2] },
        Job::R5,
        Job::R6,
        Job::R6Changes,
    ];

    /// The name that users type.
    pub fn name(self) -> String {
        let name = match self {
            Job::L0 => "L0",
            Job::L1 => "L1",
            Job::L2 => "L2",
            Job::R0 => "R0",
            Job::R1Full => "R1-full",
            Job::R1Compact => "R1-compact",
            Job::R1Avro => "R1-avro",
            Job::R2 { after_ms } => return format!("R2-{after_ms}"),
            Job::R3 => "R3",
            Job::R4 { per_mille } => return format!("R4-{}", percent(per_mille)),
            Job::R5 => "R5",
            Job::R6 => "R6",
            Job::R6Changes => "R6-changes",
        };
        name.to_owned()
    }

    /// The job of that name, whatever its case. Those of several sizes have one that is meant without it.
    pub fn parse(name: &str) -> Result<Job, String> {
        let is = |wanted: &str| wanted.eq_ignore_ascii_case(name.trim());
        if is("R2") {
            return Ok(Job::R2 { after_ms: ANSWER_MS });
        }
        if is("R4") {
            return Ok(Job::R4 { per_mille: POISONED_PER_MILLE });
        }
        let found = Job::ALL.into_iter().find(|job| is(&job.name()));
        found.ok_or_else(|| format!("`{}` is no job; the jobs are {}", name.escape_debug(), Job::names()))
    }

    /// The names of all jobs, for people.
    pub fn names() -> String {
        Job::ALL.map(Job::name).join(", ")
    }
}

/// A share in percent, without a decimal that says nothing.
fn percent(per_mille: u32) -> f64 {
    f64::from(per_mille) / 10.0
}

/// What the events of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// CloudEvents with JSON bodies.
    Json {
        /// How many of a thousand are poison.
        poison_per_mille: u32,
    },
    /// The same with Avro bodies.
    Avro,
}

/// One kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Consume, produce the same bytes.
    Copy,
    /// Consume, produce what a contract says, with constant content.
    Limit(Contract),
    /// R0.
    Pass,
    /// R1.
    Shape {
        /// Whether every step leaves a record of its own.
        full: bool,
    },
    /// R1 of Avro.
    Avro,
    /// L2.
    Requests {
        /// After how many milliseconds the target answers.
        after_ms: u32,
    },
    /// R2.
    Call {
        /// After how many milliseconds the target answers.
        after_ms: u32,
    },
    /// R4.
    Poisoned {
        /// How many of a thousand records are poison.
        per_mille: u32,
    },
    /// R5 with so many matches an event.
    FanOut(u64),
    /// R6 with so many workflows installed.
    Installed(u64),
    /// R6 with so many workflows installed and changes.
    Changing(u64),
}

impl Task {
    /// The tasks of jobs, each once. L1 is one loop for every contract of the jobs beside it, and that of R1-full if it is alone; L2
    /// likewise, by how soon the target answers. R3 takes no turns.
    pub fn all_of(jobs: &[Job]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for job in Job::ALL.into_iter().filter(|job| jobs.contains(job)) {
            match job {
                Job::L0 => tasks.push(Task::Copy),
                Job::L1 => {
                    let others =
                        [(Job::R0, Contract::Pass), (Job::R1Full, Contract::Full), (Job::R1Compact, Contract::Compact)];
                    let beside = others.iter().filter(|it| jobs.contains(&it.0)).map(|it| Task::Limit(it.1));
                    tasks.extend(beside);
                    if !tasks.iter().any(|task| matches!(task, Task::Limit(_))) {
                        tasks.push(Task::Limit(Contract::Full));
                    }
                }
                Job::L2 => {
                    let beside =
                        ANSWERS_MS.into_iter().filter(|after_ms| jobs.contains(&Job::R2 { after_ms: *after_ms }));
                    tasks.extend(beside.map(|after_ms| Task::Requests { after_ms }));
                    if !tasks.iter().any(|task| matches!(task, Task::Requests { .. })) {
                        tasks.push(Task::Requests { after_ms: ANSWER_MS });
                    }
                }
                Job::R0 => tasks.push(Task::Pass),
                Job::R1Full => tasks.push(Task::Shape { full: true }),
                Job::R1Compact => tasks.push(Task::Shape { full: false }),
                Job::R1Avro => tasks.push(Task::Avro),
                Job::R2 { after_ms } => tasks.push(Task::Call { after_ms }),
                Job::R3 => {}
                Job::R4 { per_mille } => tasks.push(Task::Poisoned { per_mille }),
                Job::R5 => tasks.extend(FAN_OUTS.map(Task::FanOut)),
                Job::R6 => tasks.extend(INSTALLED.map(Task::Installed)),
                Job::R6Changes => tasks.extend(INSTALLED.last().copied().map(Task::Changing)),
            }
        }
        tasks
    }

    /// What it must have written, beside what its input says.
    pub fn expected(self) -> Expected {
        let shaped = Expected {
            executions_per_event: self.executions_per_event(),
            execution_records: 1,
            step_results: 3,
            has_condition: true,
            content: Content::Workflows { by_type: true },
        };
        let any = Content::Workflows { by_type: false };
        match self {
            Task::Copy => Expected::of_limit(Contract::Copy),
            Task::Limit(contract) => Expected::of_limit(contract),
            Task::Requests { .. } => Expected { executions_per_event: 0, ..shaped },
            Task::Pass => Expected { step_results: 0, has_condition: false, content: any, ..shaped },
            Task::Shape { full: true } | Task::Avro | Task::Poisoned { .. } => shaped,
            Task::Shape { full: false } => Expected { step_results: 0, ..shaped },
            Task::Call { .. } => Expected { execution_records: 2, step_results: 4, ..shaped },
            Task::FanOut(_) => Expected { step_results: 0, content: any, ..shaped },
            Task::Installed(_) | Task::Changing(_) => Expected { content: any, ..shaped },
        }
    }

    /// What its rate is divided by: the limit loop of its contract or of its calls, or itself without what makes it hard.
    pub fn baseline(self) -> Option<Task> {
        match self {
            Task::Copy | Task::Limit(_) | Task::Requests { .. } => None,
            Task::Pass => Some(Task::Limit(Contract::Pass)),
            Task::Shape { full: true } => Some(Task::Limit(Contract::Full)),
            Task::Shape { full: false } => Some(Task::Limit(Contract::Compact)),
            Task::Call { after_ms } => Some(Task::Requests { after_ms }),
            Task::Avro | Task::Poisoned { .. } => Some(Task::Shape { full: true }),
            Task::FanOut(_) => Some(Task::FanOut(1)),
            Task::Installed(_) | Task::Changing(_) => Some(Task::Installed(1)),
        }
    }

    /// What its events are.
    pub fn events_are(self) -> Events {
        match self {
            Task::Avro => Events::Avro,
            Task::Poisoned { per_mille } => Events::Json { poison_per_mille: per_mille },
            _ => Events::Json { poison_per_mille: 0 },
        }
    }

    /// How many executions an event starts.
    pub fn executions_per_event(self) -> u64 {
        if let Task::FanOut(matches) = self { matches } else { 1 }
    }

    /// How many events it takes, so that every task does about the same work.
    pub fn events(self, wanted: u64) -> u64 {
        (wanted / self.executions_per_event()).max(1)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Copy => formatter.write_str("L0"),
            Task::Limit(contract) => write!(formatter, "L1-{}", contract.name()),
            Task::Pass => formatter.write_str("R0"),
            Task::Shape { full: true } => formatter.write_str("R1-full"),
            Task::Shape { full: false } => formatter.write_str("R1-compact"),
            Task::Avro => formatter.write_str("R1-avro"),
            Task::Requests { after_ms } => write!(formatter, "L2-{after_ms}"),
            Task::Call { after_ms } => formatter.write_str(&Job::R2 { after_ms: *after_ms }.name()),
            Task::Poisoned { per_mille } => formatter.write_str(&Job::R4 { per_mille: *per_mille }.name()),
            Task::FanOut(matches) => write!(formatter, "R5 F={matches}"),
            Task::Installed(workflows) => write!(formatter, "R6 N={workflows}"),
            Task::Changing(workflows) => write!(formatter, "R6-changes N={workflows}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_found_by_name_and_others_are_listed() {
        assert!(Job::ALL.into_iter().all(|job| Job::parse(&job.name().to_lowercase()) == Ok(job)));
        assert_eq!(Job::parse("r4-0.1"), Ok(Job::R4 { per_mille: 1 }));
        assert_eq!((Job::parse("R2"), Job::parse("R4")), (Job::parse("R2-5"), Job::parse("R4-1")));
        let message = Job::parse("R9").unwrap_err();
        assert!(message.contains("`R9`") && message.contains("R1-compact"), "{message}");
    }

    #[test]
    fn every_job_has_its_limit_loop_in_the_same_round() {
        let tasks = Task::all_of(&Job::ALL);
        for task in &tasks {
            assert!(task.baseline().is_none_or(|baseline| tasks.contains(&baseline)), "{task}");
            assert_eq!(tasks.iter().filter(|it| *it == task).count(), 1, "{task}");
        }
        assert_eq!(Task::all_of(&[Job::R1Full, Job::L1, Job::L1]).len(), 2);
        assert_eq!(Task::all_of(&[Job::L1]), [Task::Limit(Contract::Full)]);
        assert_eq!(Task::all_of(&[Job::L2]), [Task::Requests { after_ms: 5 }]);
        let (call, after_ms) = (Job::R2 { after_ms: 50 }, 50);
        assert_eq!(Task::all_of(&[call, Job::L2]), [Task::Requests { after_ms }, Task::Call { after_ms }]);
        assert_eq!(Task::all_of(&[Job::R0, Job::L1]), [Task::Limit(Contract::Pass), Task::Pass]);
    }

    #[test]
    fn tasks_with_many_matches_take_fewer_events() {
        assert_eq!(Task::FanOut(1_000).events(200_000), 200);
        assert_eq!(Task::Shape { full: true }.events(200_000), 200_000);
    }
}
