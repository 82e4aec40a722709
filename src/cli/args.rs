//! The command line: what was typed, not yet what it means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exactly-once workflows from Kafka.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 120, propagate_version = true)]
pub struct Cli {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
    /// What every verb takes.
    #[command(flatten)]
    pub common: Common,
}

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The instance's settings
    #[arg(long, global = true, value_name = "FILE", default_value = "tidegate.toml")]
    pub config: PathBuf,
    /// The form of what goes to stdout
    #[arg(short, long, global = true, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// The form of what goes to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON document, or one object a line where output goes on and on.
    Json,
    /// One YAML document.
    Yaml,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run everything in one process: broker, topics, workflows, instance, live view
    #[command(
        after_help = "Example:\n  tidegate dev examples/orders --send examples/orders/events.ndjson --exit-when-idle"
    )]
    Dev(Dev),
    /// Run an instance against the cluster of the settings
    #[command(after_help = "Example:\n  tidegate run --config /etc/tidegate/tidegate.toml")]
    Run,
    /// Check definitions and settings without a broker
    #[command(after_help = "Example:\n  tidegate validate workflows/ tidegate.toml")]
    Validate(Paths),
    /// Compare definitions with what is applied; exits 0 if the same, 1 if not
    #[command(after_help = "Example:\n  tidegate diff workflows/order-paid.yaml")]
    Diff(Paths),
    /// Write definitions to the workflows topic
    #[command(after_help = "Example:\n  tidegate apply workflows/ --dry-run")]
    Apply(Apply),
    /// List workflows, executions or dead letters
    #[command(after_help = "Example:\n  tidegate get workflows -o json")]
    Get(Get),
    /// Show one workflow, execution or dead letter whole
    #[command(after_help = "Example:\n  tidegate describe workflow order-paid")]
    Describe(Describe),
    /// End an execution that waits; its calls under way are broken off
    #[command(after_help = "Example:\n  tidegate cancel execution 0005-3c71e4a0ec27a9f59a0fcb1bd96ae9f8")]
    Cancel(Cancel),
    /// Tell an approval what was decided
    #[command(
        after_help = "Example:\n  tidegate signal 0005-3c71e4a0ec27a9f59a0fcb1bd96ae9f8 review --decision approve --by ops"
    )]
    Signal(Signal),
    /// Look at dead letters: what failed for good, and why
    #[command(
        subcommand,
        after_help = "Example:\n  tidegate dlq ls --workflow order-paid --newer-than 2h\n  tidegate dlq show 6ae045cceab6bf380448abc6d0ba6841"
    )]
    Dlq(Dlq),
    /// Bring dead letters back: each execution goes on from its failed step, once
    #[command(
        subcommand,
        after_help = "Example:\n  tidegate replay plan --workflow order-paid --to-version 1.2.1 --out plan.yaml\n  tidegate replay apply plan.yaml --canary 10 --rate 50\n  tidegate replay status plan.yaml"
    )]
    Replay(Replay),
    /// Send events to a source topic
    #[command(
        after_help = "Example:\n  tidegate send --file events.ndjson\n  tidegate send --topic webhooks --key 42 --value '{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/shop\",\"type\":\"orders.paid\",\"data\":{}}'"
    )]
    Send(Send),
    /// Follow executions as they change
    #[command(after_help = "Example:\n  tidegate watch --workflow order-paid")]
    Watch(Watch),
    /// Say which workflows an event matches, why not the others, and what they would do; needs no broker
    #[command(after_help = "Example:\n  tidegate simulate workflows/ --event event.json")]
    Simulate(Simulate),
    /// Check or create the topics that Tidegate needs
    #[command(subcommand, after_help = "Example:\n  tidegate topics check")]
    Topics(Topics),
    /// Measure how fast this machine and this broker run it, beside a bare client loop
    #[command(after_help = "Example:\n  tidegate bench --jobs L1,R1-full --rounds 5")]
    Bench(Bench),
    /// Say what is wrong with this set-up
    #[command(after_help = "Example:\n  tidegate doctor --config tidegate.toml")]
    Doctor,
}

/// Arguments of `dev`.
#[derive(Clone, Debug, Args)]
pub struct Dev {
    /// The project: a folder with tidegate.toml and workflows/
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Send the events of this NDJSON file once everything runs
    #[arg(long, value_name = "FILE")]
    pub send: Option<PathBuf>,
    /// End with a summary when everything sent is done
    #[arg(long)]
    pub exit_when_idle: bool,
    /// Keep nothing; else state lives in DIR/.tidegate
    #[arg(long)]
    pub ephemeral: bool,
    /// Where the embedded broker listens; port 0 = any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub kafka: SocketAddr,
    /// Where /metrics, /livez and /readyz listen; port 0 = any free one [default: as in the settings]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<SocketAddr>,
}

/// Files and folders.
#[derive(Clone, Debug, Args)]
pub struct Paths {
    /// Definitions: files, or folders with *.yaml, *.yml and *.json; also settings (*.toml) where that makes sense
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// Arguments of `apply`.
#[derive(Clone, Debug, Args)]
pub struct Apply {
    /// Definitions.
    #[command(flatten)]
    pub paths: Paths,
    /// Say what would be written, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Workflows as applied.
    #[value(alias = "workflow")]
    Workflows,
    /// Executions, newest last.
    #[value(alias = "execution")]
    Executions,
    /// Unresolved dead letters.
    #[value(alias = "dead-letter")]
    DeadLetters,
}

/// Arguments of `get`.
#[derive(Clone, Debug, Args)]
pub struct Get {
    /// What to list
    #[arg(value_enum)]
    pub kind: Kind,
    /// At most so many rows, the newest ones
    #[arg(long, default_value_t = 100, value_name = "ROWS")]
    pub limit: usize,
}

/// Arguments of `describe`.
#[derive(Clone, Debug, Args)]
pub struct Describe {
    /// What it is
    #[arg(value_enum)]
    pub kind: Kind,
    /// Its id
    pub id: String,
}

/// Arguments of `cancel`.
#[derive(Clone, Debug, Args)]
pub struct Cancel {
    /// What it is
    #[arg(value_enum)]
    pub kind: Cancelled,
    /// Its id
    pub id: String,
}

/// Arguments of `signal`.
#[derive(Clone, Debug, Args)]
pub struct Signal {
    /// The execution's id
    #[arg(value_name = "EXECUTION")]
    pub id: String,
    /// The approval's id in the workflow
    #[arg(value_name = "STEP")]
    pub step: String,
    /// What was decided
    #[arg(long, value_enum)]
    pub decision: Decided,
    /// Who has decided
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
}

/// What can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decided {
    /// Yes
    Approve,
    /// No
    Reject,
}

/// What can be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cancelled {
    /// An execution
    Execution,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum Dlq {
    /// List them, those last that failed last
    Ls {
        /// Which
        #[command(flatten)]
        filter: LetterFilter,
        /// At most so many rows
        #[arg(long, default_value_t = 100, value_name = "ROWS")]
        limit: usize,
    },
    /// Show one whole, with the outputs of its finished steps
    Show {
        /// Its id
        id: String,
    },
    /// Print them whole, as NDJSON: key, value and headers as base64
    Export {
        /// Which
        #[command(flatten)]
        filter: LetterFilter,
    },
}

/// Which dead letters; all of it must be so.
#[derive(Clone, Debug, Default, Args)]
pub struct LetterFilter {
    /// Of this id; may be repeated
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<String>,
    /// Of this workflow
    #[arg(long, value_name = "ID")]
    pub workflow: Option<String>,
    /// Of this version of it
    #[arg(long, value_name = "VERSION")]
    pub workflow_version: Option<String>,
    /// That failed at this step
    #[arg(long, value_name = "ID")]
    pub step: Option<String>,
    /// For this reason: decode, match, step, refused, timeout, cancelled or too-large
    #[arg(long)]
    pub reason: Option<String>,
    /// Of this class: permanent, retryable or config
    #[arg(long)]
    pub class: Option<String>,
    /// Whose error message contains this
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Of events of this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// That failed last longer ago than this: 30m, 2h, 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// That failed last within this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub newer_than: Option<Duration>,
}

/// What to do to bring dead letters back.
#[derive(Clone, Debug, Subcommand)]
pub enum Replay {
    /// Say what would come back and what not, and write it to a file; nothing else happens
    Plan {
        /// Which and how
        #[command(flatten)]
        orders: ReplayOrders,
        /// The plan: YAML, or JSON if it is called so
        #[arg(long, value_name = "FILE", default_value = "replay-plan.yaml")]
        out: PathBuf,
    },
    /// Bring back what a plan says, or what the filters of a plan would; may be repeated until all is done
    Apply {
        /// The plan
        #[arg(value_name = "FILE", required_unless_present = "yes")]
        plan: Option<PathBuf>,
        /// Which and how, if there is no plan
        #[command(flatten)]
        orders: ReplayOrders,
        /// Without a plan that somebody has looked at
        #[arg(long, conflicts_with = "plan")]
        yes: bool,
        /// How fast, and when to stop
        #[command(flatten)]
        pace: ReplayPace,
    },
    /// Say what has become of a plan
    Status {
        /// The plan
        plan: PathBuf,
    },
}

/// Which dead letters come back, and how.
#[derive(Clone, Debug, Args)]
pub struct ReplayOrders {
    /// Which
    #[command(flatten)]
    pub filter: LetterFilter,
    /// Go on with this version of their workflow, not with the one that failed
    #[arg(long, value_name = "VERSION")]
    pub to_version: Option<String>,
    /// Change the output of a finished step by a JSON Patch: STEP.output=[{"op":"replace","path":"/a","value":1}]; may be repeated
    #[arg(long = "set", value_name = "STEP.output=PATCH")]
    pub set: Vec<String>,
    /// Leave out what came back so often and failed each time
    #[arg(long, value_name = "TIMES", default_value_t = crate::dead_letter::plan::RETURNS_MOST)]
    pub max_returns: u32,
    /// At most so many, those that failed first
    #[arg(long, value_name = "LETTERS", default_value_t = crate::dead_letter::plan::ITEMS_MOST)]
    pub limit: usize,
}

/// How fast dead letters come back, and when to stop.
#[derive(Clone, Debug, Args)]
pub struct ReplayPace {
    /// So many a second, at most [default: as fast as it goes]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// So many that have not ended, at most [default: any number]
    #[arg(long, value_name = "EXECUTIONS")]
    pub concurrency: Option<usize>,
    /// First so many; the others once these have ended and did not fail too often
    #[arg(long, value_name = "EXECUTIONS")]
    pub canary: Option<usize>,
    /// Stop when more than this part of those that have ended failed again, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.2, value_parser = part)]
    pub stop_above: f64,
    /// How long to wait at the end for those that are under way
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub wait: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::definition::parse_duration(text)
        .ok_or_else(|| "write a number and its unit (ms, s, m, h or d), such as 2h".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "write a number above 0, such as 50 or 0.5".to_owned())
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "write a number from 0 to 1, such as 0.2".to_owned())
}

/// Arguments of `send`.
#[derive(Clone, Debug, Args)]
pub struct Send {
    /// NDJSON: a CloudEvent per line, or {topic,key,headers,value}
    #[arg(long, value_name = "FILE", conflicts_with_all = ["value"])]
    pub file: Option<PathBuf>,
    /// The source topic [default: the first source that is a name]
    #[arg(long)]
    pub topic: Option<String>,
    /// The record's key
    #[arg(long)]
    pub key: Option<String>,
    /// A header, NAME=VALUE; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// The record's value
    #[arg(long, required_unless_present = "file")]
    pub value: Option<String>,
}

/// Arguments of `watch`.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Only this workflow
    #[arg(long, value_name = "ID")]
    pub workflow: Option<String>,
}

/// Arguments of `simulate`.
#[derive(Clone, Debug, Args)]
pub struct Simulate {
    /// Definitions [default: workflows/ beside the settings]
    pub paths: Vec<PathBuf>,
    /// The event: a CloudEvent, or {topic,key,headers,value}
    #[arg(long, value_name = "FILE")]
    pub event: PathBuf,
}

/// What to do about topics.
#[derive(Clone, Debug, Subcommand)]
pub enum Topics {
    /// Compare with what is needed; exits 1 if something is wrong
    Check,
    /// Create what is missing
    Create,
}

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// The broker [default: the embedded one]
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// The jobs, separated by commas: L0, L1, R0, R1-full, R1-compact, R5, R6
    #[arg(long, value_delimiter = ',', default_value = "L0,L1,R0,R1-full,R1-compact,R5,R6")]
    pub jobs: Vec<String>,
    /// How often each job runs, in turn with the others
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Events of one run
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    /// Also measure latency at this many events a second, open loop
    #[arg(long, value_name = "EVENTS_PER_SECOND")]
    pub latency_at: Option<u32>,
    /// The broker's process, for its CPU time
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_with_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("tidegate {}", verb.get_name())), "{}: {help}", verb.get_name());
        }
    }
}
