//! The command line: what was typed, not yet what it means.

mod operators;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use operators::{Breaker, BreakerWish, Dlq, LetterFilter, Replay, ReplayOrders, ReplayPace};

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
    /// Show one workflow, execution or dead letter whole; of an execution that waits also why
    #[command(
        after_help = "Example:\n  tidegate describe workflow order-paid\n  tidegate describe execution 0005-3c71e4a0ec27a9f59a0fcb1bd96ae9f8"
    )]
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
    /// Look at the circuit breakers of connectors, and decide over them for a while
    #[command(
        subcommand,
        after_help = "Example:\n  tidegate breaker ls\n  tidegate breaker open billing --reason 'it moves to another region' --for 2h\n  tidegate breaker reset billing"
    )]
    Breaker(Breaker),
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
    /// Check or register the schemas of the records that are written as Avro
    #[command(subcommand, after_help = "Example:\n  tidegate schemas check")]
    Schemas(Schemas),
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

/// What to do about the schemas of records.
#[derive(Clone, Debug, Subcommand)]
pub enum Schemas {
    /// Compare with the registry; exits 1 if one is missing or not compatible
    Check,
    /// Register what is missing
    Register,
}

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// The broker [default: the embedded one]
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// The jobs, separated by commas: L0, L1, L2, R0, R1-full, R1-compact, R1-avro, R2 (its target answers after 5 ms; also R2-0, R2-50), R3,
    /// R4 (1 % poison; also R4-0.1, R4-10), R5, R6, R6-changes. Ratios are to L1, R2's to L2, those of R1-avro and R4 to R1-full, if they are
    /// among the jobs
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
