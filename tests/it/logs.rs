//! Logs as whoever reads them sees them.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate::telemetry::logs::{LogFormat, LogHandle, layer};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Collects what is written.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.split_terminator('\n').map(str::to_owned).collect()
    }
}

impl io::Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Collected {
    type Writer = Collected;

    fn make_writer(&'w self) -> Collected {
        self.clone()
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

/// Runs `body` under a subscriber of its own; the lines come out.
fn logged(format: LogFormat, body: impl FnOnce(&Clock, &LogHandle)) -> Vec<String> {
    let collected = Collected::default();
    let clock = Clock(Arc::new(Mutex::new(Instant::now())));
    let (layer, handle) = layer(format, collected.clone(), {
        let clock = clock.clone();
        move || *clock.0.lock().unwrap()
    });
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || body(&clock, &handle));
    drop(handle);
    collected.lines()
}

const HUMAN: LogFormat = LogFormat::Human { coloured: false };

/// Logs one value as message and as field; what comes behind the level.
fn logged_value(format: LogFormat, value: &str) -> String {
    let lines = logged(format, |_, _| tracing::warn!(value, "{value}"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

#[test]
fn nothing_forges_a_line_or_drives_a_terminal() {
    for hostile in
        ["a\nb", "a\r\nb", "\u{1b}[31mred", "a\u{2028}b", "a\u{202e}b", "\u{85}\u{7f}\u{0}", "tab\there", "\u{feff}"]
    {
        for format in [HUMAN, LogFormat::Json] {
            let line = logged_value(format, hostile);
            let is_unsafe = |letter: char| letter.is_control() || "\u{2028}\u{202e}\u{feff}".contains(letter);
            assert!(!line.contains(is_unsafe), "{line:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&logged_value(LogFormat::Json, hostile)).unwrap();
        assert_eq!(json["message"], hostile);
        assert_eq!(json["fields"]["value"], hostile);
    }
}

#[test]
fn a_human_line_quotes_what_could_be_taken_for_another_field() {
    let line = logged_value(HUMAN, "a b=\"c\"");
    assert!(line.contains(" WARN  it::logs: a b=\"c\" value=\"a b=\\\"c\\\"\""), "{line}");
    let line = logged(HUMAN, |_, _| tracing::info!(topic = "t", offset = 3, done = true, "committed")).remove(0);
    assert!(line.ends_with(" INFO  it::logs: committed topic=t offset=3 done=true"), "{line}");
}

#[test]
fn a_json_line_keeps_types_and_spans() {
    let lines = logged(LogFormat::Json, |_, _| {
        let _outer = tracing::info_span!("lane", lane = 1, topic = "outer").entered();
        tracing::error!(topic = "inner", offset = -5_i64, ratio = 0.5, "refused");
    });
    let json: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(json["level"], "error");
    assert_eq!(json["target"], "it::logs");
    assert_eq!(json["fields"], serde_json::json!({ "topic": "inner", "offset": -5, "ratio": 0.5, "lane": 1 }));
}

#[test]
fn long_values_are_cut_and_endless_ones_stopped() {
    struct Endless;
    impl std::fmt::Debug for Endless {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            loop {
                formatter.write_str("ü and on and ")?;
            }
        }
    }
    let lines = logged(LogFormat::Json, |_, _| tracing::info!(long = "x".repeat(1 << 20), endless = ?Endless, "cut"));
    assert!(lines[0].len() < 10_000, "{}", lines[0].len());
    assert_eq!(lines[0].matches("… (cut)").count(), 2);
}

#[test]
fn errors_are_logged_with_their_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot commit")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("broker is away"));
    let lines = logged(HUMAN, |_, _| tracing::error!(error = &error as &dyn std::error::Error, "batch failed"));
    assert!(lines[0].ends_with("error=\"cannot commit: broker is away\""), "{}", lines[0]);
}

#[test]
fn secrets_stay_secret() {
    let secret = tidegate::settings::Secret::new("hunter2");
    for format in [HUMAN, LogFormat::Json] {
        let lines = logged(format, |_, _| tracing::info!(%secret, debug = ?secret, "password {secret}"));
        assert!(!lines[0].contains("hunter2") && lines[0].contains("***"), "{}", lines[0]);
    }
}

fn broker_is_away(broker: u64) {
    tracing::warn!(broker, "broker is away");
}

#[test]
fn what_repeats_is_told_once() {
    let lines = logged(HUMAN, |clock, handle| {
        (0..1000).for_each(broker_is_away);
        tracing::warn!("something else");
        handle.tell_repeats();
        clock.advance(Duration::from_secs(10));
        tracing::warn!("later");
        broker_is_away(0);
    });
    let away = lines.iter().filter(|line| line.contains("broker is away broker=")).count();
    assert_eq!(away, 10 + 1);
    let told: Vec<_> = lines.iter().filter(|line| line.contains("repeated")).collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert!(told[0].ends_with("WARN  it::logs: broker is away … repeated 990 times"), "{told:?}");
    assert!(lines.iter().any(|line| line.ends_with("something else")));
}

#[test]
fn what_was_held_back_is_told_without_another_message_and_at_the_end() {
    let lines = logged(HUMAN, |clock, handle| {
        (0..11).for_each(broker_is_away);
        clock.advance(Duration::from_secs(11));
        handle.tell_repeats();
        (0..12).for_each(broker_is_away);
    });
    let told: Vec<_> = lines.iter().filter_map(|line| line.split_once("… ")).map(|(_, told)| told.to_owned()).collect();
    assert_eq!(told, ["repeated 1 times", "repeated 2 times"]);
}

#[test]
fn many_different_messages_are_all_written_in_bounded_memory() {
    let lines = logged(HUMAN, |_, _| (0..5000).for_each(|number| tracing::info!("message {number}")));
    assert_eq!(lines.len(), 5000);
}
