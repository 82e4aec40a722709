//! `tidegate bench`: measures the reference jobs and prints what came out.

use std::fmt::Write as _;

use super::args::{self, Common, OutputFormat};
use super::{DONE, WRONG, output};
use crate::bench::{self, BenchError, Job, JobReport, LatencyReport, MemoryReport, Options, Report, Spread};

/// Measures and prints: progress to stderr, the report to stdout.
pub(super) fn run(common: &Common, arguments: &args::Bench) -> anyhow::Result<u8> {
    let options = options(arguments).map_err(BenchError::Option);
    match options.and_then(|options| bench::run(&options, &mut output::talk)) {
        Ok(report) => {
            match common.output {
                OutputFormat::Table => output::line(table(&report).trim_end()),
                OutputFormat::Json | OutputFormat::Yaml => {
                    output::document(common.output, &serde_json::to_value(&report)?);
                }
            }
            Ok(DONE)
        }
        Err(error @ BenchError::Option(_)) => {
            output::complain(&error.into());
            Ok(WRONG)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the arguments ask for; an error says which of them cannot be.
fn options(arguments: &args::Bench) -> Result<Options, String> {
    let jobs = arguments.jobs.iter().map(|name| Job::parse(name)).collect::<Result<Vec<Job>, String>>()?;
    Ok(Options {
        bootstrap: arguments.bootstrap.clone(),
        jobs,
        warm_ups: bench::WARM_UP_RUNS,
        rounds: arguments.rounds,
        events: arguments.events,
        latency_at: arguments.latency_at,
        broker_pid: arguments.broker_pid,
    })
}

/// The report as a table for people.
fn table(report: &Report) -> String {
    let mut text = format!(
        "{}, {} rounds of {} events of {} bytes, {} lane\n\n",
        report.broker, report.rounds, report.events, report.event_bytes, report.lanes
    );
    if !report.jobs.is_empty() {
        let _ = writeln!(
            text,
            "{:<20} {:>26} {:>24}  {:<10} {:>12} {:>12}",
            "JOB", "PER SECOND", "RATIO", "TO", "CPU µs", "BROKER µs"
        );
        report.jobs.iter().for_each(|job| job_line(&mut text, job));
    }
    if !report.latency.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<20} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
            "LATENCY ms", "EVENTS/s", "P50", "P90", "P99", "P99.9", "MAX", "P50/L1", "P99/L1"
        );
        report.latency.iter().for_each(|latency| latency_line(&mut text, latency));
    }
    if !report.memory.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<20} {:>20} {:>20} {:>30}",
            "MEMORY", "WAITING", "RESIDENT MB", "BYTES FOR EACH EXECUTION"
        );
        report.memory.iter().for_each(|memory| memory_line(&mut text, memory));
    }
    text
}

fn job_line(text: &mut String, job: &JobReport) {
    let rate = format!("{:.0}", job.per_second.median);
    let ratio = job.ratio.map_or_else(|| "-".into(), |it| format!("{:.2} ({:.2}–{:.2})", it.median, it.min, it.max));
    let cpu = |spread: &Spread| format!("{:.1}", spread.median);
    let _ = write!(
        text,
        "{:<20} {:>26} {:>24}  {:<10} {:>12} {:>12}",
        job.job,
        format!("{rate} ({:.0}–{:.0})", job.per_second.min, job.per_second.max),
        ratio,
        job.baseline.as_deref().unwrap_or("-"),
        cpu(&job.cpu_us),
        job.broker_cpu_us.as_ref().map_or_else(|| "-".into(), cpu),
    );
    if job.restarts > 0 {
        let _ = write!(text, "  {} restarts", job.restarts);
    }
    text.push('\n');
}

fn latency_line(text: &mut String, latency: &LatencyReport) {
    let ratio = |it: Option<f64>| it.map_or_else(|| "-".into(), |it| format!("{it:.2}"));
    let it = &latency.milliseconds;
    let _ = writeln!(
        text,
        "{:<20} {:>9} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>9} {:>9}",
        latency.job,
        latency.events_per_second,
        it.p50,
        it.p90,
        it.p99,
        it.p999,
        it.max,
        ratio(latency.p50_ratio),
        ratio(latency.p99_ratio),
    );
}

fn memory_line(text: &mut String, memory: &MemoryReport) {
    let ([few, many], [before, after], each) = (memory.waiting, &memory.resident_bytes, &memory.bytes_per_execution);
    let _ = writeln!(
        text,
        "{:<20} {:>20} {:>20} {:>30}",
        memory.job,
        format!("{few} → {many}"),
        format!("{:.1} → {:.1}", before.median / 1e6, after.median / 1e6),
        format!("{:.0} ({:.0}–{:.0})", each.median, each.min, each.max),
    );
}
