//! The command line: one file per verb; what is typed, what it means, and what it exits with.
//!
//! Data goes to stdout, talk to stderr.

mod apply;
mod args;
mod bench;
mod breaker;
mod cancel;
mod describe;
mod dev;
mod dlq;
mod doctor;
mod get;
mod mail;
mod output;
mod progress;
mod records;
mod replay;
mod run;
mod schemas;
mod send;
mod setup;
mod signal;
mod simulate;
mod topics;
mod validate;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};

/// Everything was done.
const DONE: u8 = 0;
/// It was not, or what was asked about is not as it should be.
const FAILED: u8 = 1;
/// For `diff`: an error, as 1 says that there is a difference. clap exits with it for wrong usage too.
const WRONG: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_diff = matches!(cli.verb, Verb::Diff(_));
    let common = &cli.common;
    let done = match &cli.verb {
        Verb::Dev(args) => dev::run(common, args),
        Verb::Run => run::run(common),
        Verb::Validate(args) => validate::run(common, args),
        Verb::Diff(args) => apply::diff(common, args),
        Verb::Apply(args) => apply::run(common, args),
        Verb::Get(args) => get::list(common, args),
        Verb::Describe(args) => describe::run(common, args),
        Verb::Cancel(args) => cancel::run(common, args),
        Verb::Signal(args) => signal::run(common, args),
        Verb::Dlq(args) => dlq::run(common, args),
        Verb::Replay(args) => replay::run(common, args),
        Verb::Breaker(args) => breaker::run(common, args),
        Verb::Send(args) => send::run(common, args),
        Verb::Watch(args) => watch::run(common, args),
        Verb::Simulate(args) => simulate::run(common, args),
        Verb::Topics(args) => topics::run(common, args),
        Verb::Schemas(args) => schemas::run(common, args),
        Verb::Bench(args) => bench::run(common, args),
        Verb::Doctor => doctor::run(common),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(if is_diff { WRONG } else { FAILED })
        }
    }
}
