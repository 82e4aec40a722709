//! What is typed of dead letters, their way back, and circuit breakers.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use crate::engine::plan::ErrorClass;
use crate::engine::record::Reason;

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
    /// For this reason
    #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::name)))]
    pub reason: Option<String>,
    /// Of this class
    #[arg(long, value_parser = PossibleValuesParser::new(ErrorClass::ALL.map(ErrorClass::name)))]
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
    /// First so many; the others once these have ended and did not fail too often. Whoever applies a plan once more begins with them again
    #[arg(long, value_name = "EXECUTIONS")]
    pub canary: Option<usize>,
    /// Stop when more than this part of those that have ended failed again or were cancelled, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.2, value_parser = part)]
    pub stop_above: f64,
    /// How long nothing may be heard of those that the canary or the concurrency waits for: longer than a delay, an approval or an open
    /// circuit breaker may hold one up
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub patience: Duration,
    /// How long to wait at the end for those that are under way
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub wait: Duration,
}

/// What to do about circuit breakers.
#[derive(Clone, Debug, Subcommand)]
pub enum Breaker {
    /// List them: what operators want of each, and what instances said last
    Ls,
    /// Hold one open: no call is made, what needs one is parked; then a call decides
    Open(BreakerWish),
    /// Hold one closed (resilience4j's DISABLED): calls are made, however many fail; then a call decides
    Close(BreakerWish),
    /// End what an operator wants of one: a call decides
    Reset {
        /// The connector, as in [connectors.NAME] of the settings
        connector: String,
    },
}

/// What an operator wants of a circuit breaker.
#[derive(Clone, Debug, Args)]
pub struct BreakerWish {
    /// The connector, as in [connectors.NAME] of the settings
    pub connector: String,
    /// Why; whoever looks reads it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// How long: 30m, 2h; at most 365d
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = override_duration)]
    pub lasts: Duration,
    /// Who wants it [default: the user of the shell]
    #[arg(long, value_name = "NAME", value_parser = reason)]
    pub by: Option<String>,
}

fn reason(text: &str) -> Result<String, String> {
    use crate::codec::breaker_override::TEXT_BYTES;
    let text = text.trim();
    let fits = (1..=TEXT_BYTES).contains(&text.len());
    fits.then(|| text.to_owned()).ok_or_else(|| format!("write 1 to {TEXT_BYTES} bytes that say it"))
}

fn override_duration(text: &str) -> Result<Duration, String> {
    let fits = |it: &Duration| !it.is_zero() && it.as_millis() <= u128::from(crate::engine::breaker::OVERRIDE_MS);
    let told = duration(text)?;
    Some(told).filter(fits).ok_or_else(|| "write a time above 0 and up to 365d, such as 2h".to_owned())
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
