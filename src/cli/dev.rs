//! `tidegate dev`: everything in one process, told as it happens.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{Common, Dev, OutputFormat};
use super::output::{dim, green, json_line, line, red, rows, talk, warn};
use super::{DONE, FAILED, records};
use crate::app::dev::{DevOptions, Reporter, dev};
use crate::app::run::{Ended, stop_on_signals};
use crate::app::totals::Counts;
use crate::definition::{Change, Diagnostic};
use crate::kafka::log_reader::LogRecord;
use crate::lane::StopSignal;
use crate::telemetry::logs;

pub(super) fn run(common: &Common, args: &Dev) -> anyhow::Result<u8> {
    let _logs = logs::start()?;
    let stop = Arc::new(StopSignal::default());
    stop_on_signals(stop.clone())?;
    let options = DevOptions {
        directory: args.dir.clone(),
        send: args.send.clone(),
        exit_when_idle: args.exit_when_idle,
        ephemeral: args.ephemeral,
        kafka: args.kafka,
        admin: args.admin,
    };
    let mut reporter = Teller { format: common.output, sent: None };
    match dev(&options, &stop, &mut reporter)? {
        Ended::Gracefully => Ok(DONE),
        Ended::Late | Ended::Hung => std::process::exit(i32::from(FAILED)),
    }
}

struct Teller {
    format: OutputFormat,
    sent: Option<usize>,
}

impl Teller {
    fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }
}

impl Reporter for Teller {
    fn started(&mut self, kafka: &str, admin: &str) {
        if self.is_json() {
            return json_line(&json!({ "kafka": kafka, "admin": admin }));
        }
        talk(&format!("{} Kafka clients connect to {kafka}; {admin}/metrics /livez /readyz", green("running:")));
        talk(&dim("the broker is for development only; Ctrl-C ends it"));
    }

    fn applied(&mut self, changes: &[Change]) {
        for change in changes {
            talk(&format!("{} {change}", green("applied:")));
        }
    }

    fn mistakes(&mut self, mistakes: &[Diagnostic]) {
        for mistake in mistakes {
            talk(&format!("{} {mistake}", red("mistake:")));
        }
        talk("what was applied before goes on");
    }

    fn warned(&mut self, warning: &Diagnostic) {
        warn(warning);
    }

    fn trouble(&mut self, message: &str) {
        talk(&format!("{} {message}", red("trouble:")));
    }

    fn sent(&mut self, count: usize) {
        self.sent = Some(count);
        talk(&format!("{} {count} events", green("sent:")));
    }

    fn recorded(&mut self, record: &LogRecord) {
        let Some(told) = records::read(record) else { return };
        match self.is_json() {
            true => json_line(&told),
            false => line(&records::as_line(&told)),
        }
    }

    fn summary(&mut self, counts: &Counts) {
        let seconds = counts.span.map_or(0.0, |(first, last)| last.duration_since(first).as_secs_f64());
        let per_second = if seconds > 0.0 { (counts.events as f64 / seconds).round() } else { counts.events as f64 };
        let executions = counts
            .executions
            .iter()
            .map(|((workflow, status), count)| json!({ "workflow": workflow, "status": status, "executions": count }));
        let executions: Vec<Value> = executions.collect();
        let letters = counts.dead_letters.iter().map(|((workflow, reason), count)| {
            let workflow = if workflow.is_empty() { Value::Null } else { workflow.as_str().into() };
            json!({ "workflow": workflow, "reason": reason, "deadLetters": count })
        });
        let letters: Vec<Value> = letters.collect();
        if self.is_json() {
            return json_line(&json!({
                "summary": { "sent": self.sent, "events": counts.events, "unmatched": counts.unmatched,
                    "matches": counts.matches(), "executions": executions, "deadLetters": letters,
                    "eventsPerSecond": per_second }
            }));
        }
        let total: i64 = counts.dead_letters.values().sum();
        line("");
        let all = json!({ "events": counts.events, "matches": counts.matches(), "unmatched": counts.unmatched,
            "dead letters": total, "events/s": per_second });
        rows(self.format, &["events", "matches", "unmatched", "dead letters", "events/s"], &[all]);
        line("");
        rows(self.format, &["workflow", "status", "executions"], &executions);
        if !letters.is_empty() {
            line("");
            rows(self.format, &["workflow", "reason", "deadLetters"], &letters);
        }
    }
}
