//! Alerts: problems that begin and end, written to the `alerts` topic as they do.
//!
//! Health says what changes and is never held up: changes wait in a bounded queue for one thread, which writes each with a plain
//! idempotent producer, apart from the transactions of the lanes. An alert that cannot be written is tried again for a while; then it
//! is given up and said in the log, where every problem is anyway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::problems;
use super::record_reader::RecordReader;
use crate::codec::alert::{self, Alert, AlertState, BreakerTurn, LostRange};
use crate::codec::record::Encoding;
use crate::kafka::client::ClientSettings;
use crate::kafka::log_reader::{From, LogReader, ReadError};
use crate::kafka::sender::{SendError, Sender};
use crate::lane::StopSignal;
use crate::telemetry::health::{Change, Health};
use crate::telemetry::metrics::Metrics;

/// Alerts that wait for their turn; more than an instance has problems.
const QUEUE: usize = 512;
/// How often the thread looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one try to write may take: longer than the producer itself tries.
const TRY_WITHIN: Duration = Duration::from_secs(12);
/// The pause after a try that failed: first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an alert is tried. Whoever is told later than that has seen it elsewhere.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 60);
/// How many alerts are looked at from the end of each partition for those of an earlier process; an older one is cleared by a reader's
/// own judgement.
const EARLIER: i64 = 10_000;
/// How long reading them may take.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long what is left may take when the instance ends.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Where alerts go and who says them.
#[derive(Clone, Debug)]
pub struct AlertTarget {
    /// The topic.
    pub topic: Arc<str>,
    /// The environment's name.
    pub environment: Arc<str>,
    /// The instance's name.
    pub instance: Arc<str>,
    /// How they are written.
    pub encoding: Encoding,
}

/// Writes alerts until it is ended.
pub struct AlertWriter {
    end: Arc<StopSignal>,
    thread: Option<JoinHandle<()>>,
}

impl AlertWriter {
    /// Starts writing what `health` tells, and what it has told already and still holds. `reader` reads those of an earlier process.
    pub fn start(
        clients: ClientSettings,
        target: AlertTarget,
        reader: RecordReader,
        health: &Health,
        metrics: Metrics,
    ) -> std::io::Result<AlertWriter> {
        let (queue, changes) = sync_channel(QUEUE);
        let end = Arc::new(StopSignal::default());
        let writing = Writing { clients, target, metrics: metrics.clone(), end: end.clone(), sender: None };
        let thread = std::thread::Builder::new().name("alerts".into());
        let thread = thread.spawn(move || writing.run(&changes, reader))?;
        health.listen(move |change| enqueue(&queue, change, &metrics));
        Ok(AlertWriter { end, thread: Some(thread) })
    }

    /// Writes what is left, within a bound, and ends.
    pub fn finish(mut self) {
        self.end.set();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes alerts panicked");
        }
    }
}

impl Drop for AlertWriter {
    fn drop(&mut self) {
        self.end.set();
    }
}

/// The newest alerts of this instance that are raised and ended with the process that raised them, as kind and subject.
fn earlier(
    clients: &ClientSettings,
    target: &AlertTarget,
    mut records: RecordReader,
) -> Result<Vec<(&'static str, String)>, ReadError> {
    let mut raised: BTreeMap<String, &'static str> = BTreeMap::new();
    let mut reader = LogReader::open(clients, &[&target.topic], From::Tail(EARLIER))?;
    let mut unread = None;
    reader.read_to_end(READ_WITHIN, |mut record| {
        if let Err(cause) = records.translate(&mut record) {
            unread.get_or_insert(cause);
            return;
        }
        let Some(alert) = record.value.as_deref().and_then(AlertState::decode) else { return };
        let is_ours = alert.instance == *target.instance && alert.state == "raised";
        match problems::ended_with_its_process(&alert.name, &alert.subject).filter(|_| is_ours) {
            Some(kind) if raised.len() < QUEUE / 2 => drop(raised.insert(alert.subject, kind)),
            Some(_) | None => drop(raised.remove(&alert.subject)),
        }
    })?;
    // There may be thousands of them, all for one reason.
    if let Some(cause) = unread {
        tracing::warn!(cause, "alerts of an earlier process cannot be read, and stay as they are");
    }
    Ok(raised.into_iter().map(|(subject, kind)| (kind, subject)).collect())
}

fn enqueue(queue: &SyncSender<Change>, change: &Change, metrics: &Metrics) {
    if queue.try_send(change.clone()).is_err() {
        metrics.alert("dropped");
        tracing::error!(kind = change.kind, subject = change.subject, "an alert was dropped: too many wait");
    }
}

struct Writing {
    clients: ClientSettings,
    target: AlertTarget,
    metrics: Metrics,
    end: Arc<StopSignal>,
    /// Made for the first alert; most instances never write one.
    sender: Option<Sender>,
}

impl Writing {
    fn run(mut self, changes: &Receiver<Change>, reader: RecordReader) {
        let mut deadline = None;
        // Before anything of this process is written, which may be raised again.
        self.clear_earlier(reader, &mut deadline);
        loop {
            match changes.recv_timeout(LOOK_EVERY) {
                Ok(change) => self.write(&self.alert(change), &mut deadline),
                Err(RecvTimeoutError::Timeout) if !self.end.is_set() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Clears what an earlier process of this instance has raised and took with it when it was killed.
    fn clear_earlier(&mut self, reader: RecordReader, deadline: &mut Option<Instant>) {
        let stale = earlier(&self.clients, &self.target, reader).unwrap_or_else(|error| {
            tracing::warn!(cause = %error, "alerts of an earlier process cannot be read, and stay as they are");
            Vec::new()
        });
        for (kind, subject) in stale {
            let message = "the instance was started again".to_owned();
            let change =
                Change { kind, subject, message, raised: false, at: SystemTime::now(), lost: None, turn: None };
            self.write(&self.alert(change), deadline);
        }
    }

    fn alert(&self, change: Change) -> Alert {
        let Change { kind, subject, message, raised, at, lost, turn } = change;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Alert {
            subject,
            name: kind,
            raised,
            severity: problems::severity(kind),
            message,
            instance: self.target.instance.clone(),
            time_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            lost: lost.map(|it| LostRange {
                topic: it.topic,
                partition: it.partition,
                first_offset: it.first,
                last_offset: it.last,
            }),
            breaker: turn.map(|turn| BreakerTurn { from: turn.from, to: turn.to }),
        }
    }

    /// Writes one alert, however often it takes within the bound. `last` is set once the instance ends: then nothing waits any more.
    fn write(&mut self, alert: &Alert, last: &mut Option<Instant>) {
        let give_up = Instant::now() + GIVE_UP_AFTER;
        let (mut pause, longest) = PAUSE;
        loop {
            if self.end.is_set() {
                last.get_or_insert_with(|| Instant::now() + END_WITHIN);
            }
            let deadline = last.unwrap_or_else(|| Instant::now() + TRY_WITHIN);
            let Err(error) = self.try_to_write(alert, deadline) else {
                self.metrics.alert("written");
                return;
            };
            let (name, subject) = (alert.name, alert.subject.as_str());
            if last.is_some() || Instant::now() >= give_up {
                self.metrics.alert("dropped");
                tracing::error!(alert = name, subject, cause = %error, "an alert could not be written and is given up");
                return;
            }
            tracing::warn!(alert = name, subject, cause = %error, "an alert could not be written; it is tried again");
            self.end.wait(pause);
            pause = (pause * 2).min(longest);
        }
    }

    fn try_to_write(&mut self, alert: &Alert, deadline: Instant) -> Result<(), SendError> {
        let record = alert::encode(alert, &self.target.environment, &self.target.topic, self.target.encoding);
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => Sender::new(&self.clients)?,
        };
        sender.send(&record, 1, deadline)?;
        sender.finish(deadline, |_| ())?;
        // One that failed is thrown away with what it still holds, so that nothing of it is written later.
        self.sender = Some(sender);
        Ok(())
    }
}
