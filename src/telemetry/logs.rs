//! Logs: to standard error, for people on a terminal and as JSON otherwise; what repeats is told once.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use super::log_line::LogFormat;
use super::log_line::{Fields, line};
use super::repeats::{MessageKey, Repeated, Repeats};

/// The variable that holds the filter, in the language of RUST_LOG: `info`, `tidegate::lane=debug,warn`.
pub const FILTER_VARIABLE: &str = "TIDEGATE_LOG";
const FILTER_DEFAULT: &str = "info";

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be understood: mend it.
    #[error(
        "{FILTER_VARIABLE} is no filter; write a level like `info`, or directives like `tidegate::lane=debug,warn`"
    )]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// This process already logs elsewhere: start the logs once.
    #[error("the logs of this process are already set up")]
    AlreadyStarted(#[source] tracing_subscriber::util::TryInitError),
}

/// Tells at intervals what was held back, and the rest when it is dropped. Keep it as long as the process runs.
pub struct LogHandle {
    tell: Box<dyn Fn(Tell) + Send + Sync>,
}

#[derive(Clone, Copy)]
enum Tell {
    Ended,
    All,
}

impl LogHandle {
    /// Tells what was held back in intervals that are over. Any message does it too; this is for when there is none.
    pub fn tell_repeats(&self) {
        (self.tell)(Tell::Ended);
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        (self.tell)(Tell::All);
    }
}

/// Starts the logs of this process: standard error, the filter of `TIDEGATE_LOG`.
pub fn start() -> Result<LogHandle, LogError> {
    let filter = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or(FILTER_DEFAULT)).map_err(LogError::Filter)?;
    let terminal = std::io::stderr().is_terminal();
    // https://no-color.org: any value that is not empty.
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = if terminal { LogFormat::Human { coloured } } else { LogFormat::Json };
    let (layer, handle) = layer(format, std::io::stderr, Instant::now);
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(LogError::AlreadyStarted)?;
    Ok(handle)
}

/// The layer that writes, over any writer and clock.
pub fn layer<W>(
    format: LogFormat,
    writer: W,
    clock: impl Fn() -> Instant + Send + Sync + 'static,
) -> (LogLayer<W>, LogHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let output = Arc::new(Output { format, writer, clock: Box::new(clock), repeats: Mutex::default() });
    let handle = LogHandle {
        tell: Box::new({
            let output = output.clone();
            move |tell| output.tell(tell)
        }),
    };
    (LogLayer(output), handle)
}

/// Writes events as lines.
pub struct LogLayer<W>(Arc<Output<W>>);

struct Output<W> {
    format: LogFormat,
    writer: W,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    repeats: Mutex<Repeats>,
}

impl<W, S> Layer<S> for LogLayer<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.inherit(outer);
            }
        }
        self.0.write(event, &fields);
    }
}

impl<W: for<'w> MakeWriter<'w>> Output<W> {
    fn write(&self, event: &Event<'_>, fields: &Fields) {
        let metadata = event.metadata();
        let target = fields.foreign_target.as_deref().unwrap_or(metadata.target());
        let key = MessageKey { callsite: metadata.callsite(), message: fields.message.clone() };
        let now = (self.clock)();
        let (admitted, repeated) = {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            let repeated = repeats.end_intervals(now);
            (repeats.admits(key, *metadata.level(), target, now), repeated)
        };
        self.write_repeated(repeated);
        if admitted {
            self.write_line(*metadata.level(), target, fields);
        }
    }

    fn tell(&self, tell: Tell) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = match tell {
            Tell::Ended => repeats.end_intervals((self.clock)()),
            Tell::All => repeats.end_all(),
        };
        drop(repeats);
        self.write_repeated(repeated);
    }

    fn write_repeated(&self, repeated: Vec<Repeated>) {
        for Repeated { level, target, message, times } in repeated {
            let message = format!("{message} … repeated {times} times");
            self.write_line(level, &target, &Fields { message, ..Fields::default() });
        }
    }

    fn write_line(&self, level: tracing::Level, target: &str, fields: &Fields) {
        let timestamp = DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = line(self.format, &timestamp, level, target, fields);
        // There is nowhere to say that the log cannot be written; the work goes on without it.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}
