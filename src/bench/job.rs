//! The jobs, by name, and what each must be compared with.

use std::fmt;

use super::contract::Contract;

/// How many workflows match an event in the runs of R5.
pub const FAN_OUTS: [u64; 4] = [1, 10, 100, 1_000];
/// How many workflows are installed in the runs of R6.
pub const INSTALLED: [u64; 5] = [1, 100, 1_000, 10_000, 100_000];

/// What users ask for: one or several runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Consume, produce the same bytes.
    L0,
    /// Consume, produce constant records of the same number and sizes as the jobs beside it.
    L1,
    /// Match, produce a copy, execution record.
    R0,
    /// Transform, condition, produce, with a record for every step.
    R1Full,
    /// The same with the steps' results inside the execution record.
    R1Compact,
    /// Many workflows match an event.
    R5,
    /// Many workflows are installed and one matches.
    R6,
    /// The same at the largest size, while definitions change a hundred times a second.
    R6Changes,
}

impl Job {
    /// Every job, in the order in which they take turns.
    pub const ALL: [Job; 8] =
        [Job::L0, Job::L1, Job::R0, Job::R1Full, Job::R1Compact, Job::R5, Job::R6, Job::R6Changes];

    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Job::L0 => "L0",
            Job::L1 => "L1",
            Job::R0 => "R0",
            Job::R1Full => "R1-full",
            Job::R1Compact => "R1-compact",
            Job::R5 => "R5",
            Job::R6 => "R6",
            Job::R6Changes => "R6-changes",
        }
    }

    /// The job of that name, whatever its case.
    pub fn parse(name: &str) -> Result<Job, String> {
        let found = Job::ALL.into_iter().find(|job| job.name().eq_ignore_ascii_case(name.trim()));
        found.ok_or_else(|| {
            let all: Vec<&str> = Job::ALL.iter().map(|job| job.name()).collect();
            format!("`{}` is no job; the jobs are {}", name.escape_debug(), all.join(", "))
        })
    }
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
    /// R5 with so many matches an event.
    FanOut(u64),
    /// R6 with so many workflows installed.
    Installed(u64),
    /// R6 with so many workflows installed and changes.
    Changing(u64),
}

impl Task {
    /// The tasks of jobs, each once. L1 is one loop for every contract of the jobs beside it, and that of R1-full if it is alone.
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
                Job::R0 => tasks.push(Task::Pass),
                Job::R1Full => tasks.push(Task::Shape { full: true }),
                Job::R1Compact => tasks.push(Task::Shape { full: false }),
                Job::R5 => tasks.extend(FAN_OUTS.map(Task::FanOut)),
                Job::R6 => tasks.extend(INSTALLED.map(Task::Installed)),
                Job::R6Changes => tasks.extend(INSTALLED.last().copied().map(Task::Changing)),
            }
        }
        tasks
    }

    /// What it writes for an event, or for an execution where there are many.
    pub fn contract(self) -> Contract {
        match self {
            Task::Copy => Contract::Copy,
            Task::Limit(contract) => contract,
            Task::Pass => Contract::Pass,
            Task::Shape { full: true } | Task::Installed(_) | Task::Changing(_) => Contract::Full,
            Task::Shape { full: false } | Task::FanOut(_) => Contract::Compact,
        }
    }

    /// What its rate is divided by: the limit loop of its contract, or itself with one workflow.
    pub fn baseline(self) -> Option<Task> {
        match self {
            Task::Copy | Task::Limit(_) => None,
            Task::Pass | Task::Shape { .. } => Some(Task::Limit(self.contract())),
            Task::FanOut(_) => Some(Task::FanOut(1)),
            Task::Installed(_) | Task::Changing(_) => Some(Task::Installed(1)),
        }
    }

    /// How many executions an event starts.
    pub fn executions_per_event(self) -> u64 {
        match self {
            Task::FanOut(matches) => matches,
            Task::Copy | Task::Limit(_) | Task::Pass | Task::Shape { .. } | Task::Installed(_) | Task::Changing(_) => 1,
        }
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
        assert_eq!(Task::all_of(&[Job::R0, Job::L1]), [Task::Limit(Contract::Pass), Task::Pass]);
    }

    #[test]
    fn tasks_with_many_matches_take_fewer_events() {
        assert_eq!(Task::FanOut(1_000).events(200_000), 200);
        assert_eq!(Task::Shape { full: true }.events(200_000), 200_000);
    }
}
