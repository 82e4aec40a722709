//! The thread that reads a lane's partitions of the journal: to their end first, and then on.
//!
//! The group's consumer only holds these partitions. They are read by a client of their own, so that sources can be paused and the
//! journal goes on, and so that the end of what was there can be told from what comes later.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::inbox::{Event, Inbox};
use super::{LaneContext, Waiting};
use crate::engine::batch::AssignmentId;
use crate::engine::event::{Origin, SourceRecord, Topic};
use crate::kafka::log_reader::{From, LogRecord, ReadError};
use crate::kafka::topic_reader::TopicReader;

/// How long one poll waits: so late it may be heard that a partition comes or goes. Records come at once.
const POLL: Duration = Duration::from_millis(100);

/// The pause after a partition could not be added: its broker may be away, and comes back or is replaced.
const AGAIN: Duration = Duration::from_secs(1);

/// What the reader of a lane asks of the thread.
enum Command {
    Add { topic: Arc<Topic>, number: i32, assignment: AssignmentId, from: i64 },
    Remove { number: i32 },
}

/// A partition that is read.
struct Reading {
    topic: Arc<Topic>,
    assignment: AssignmentId,
    /// Whether it was said that it was read to its end.
    is_restored: bool,
}

/// The way to the thread. It ends when this and the inbox's reader have gone.
pub struct JournalThread {
    commands: Sender<Command>,
}

impl JournalThread {
    /// Starts it. What passes is waited for; what does not ends the lane, which starts again.
    pub fn start(context: &Arc<LaneContext>, waiting: &Arc<Waiting>, inbox: &Arc<Inbox>) -> std::io::Result<Self> {
        let (commands, asked) = channel();
        let (context, waiting, inbox) = (context.clone(), waiting.clone(), inbox.clone());
        let name = format!("journal-{}", context.name);
        std::thread::Builder::new().name(name).spawn(move || {
            if let Err(error) = read(&context, &waiting, &inbox, &asked) {
                tracing::warn!(lane = %context.name, cause = %error, "the journal cannot be read; the lane starts again");
                context.observer.trouble(&error.to_string());
                inbox.close();
            }
        })?;
        Ok(JournalThread { commands })
    }

    /// Begins to read a partition. A thread that has ended has closed the inbox, which ends the lane.
    pub fn add(&self, topic: Arc<Topic>, number: i32, assignment: AssignmentId, from: i64) {
        drop(self.commands.send(Command::Add { topic, number, assignment, from }));
    }

    /// Reads a partition no more.
    pub fn remove(&self, number: i32) {
        drop(self.commands.send(Command::Remove { number }));
    }
}

fn read(context: &LaneContext, waiting: &Waiting, inbox: &Inbox, asked: &Receiver<Command>) -> Result<(), ReadError> {
    let mut reader = TopicReader::open(&context.clients, &waiting.topic)?;
    let mut readings: HashMap<i32, Reading> = HashMap::new();
    // Those whose broker does not answer; the others need not wait for them.
    let mut put_off: BTreeMap<i32, (Reading, i64)> = BTreeMap::new();
    let mut tried = Instant::now();
    loop {
        if !put_off.is_empty() && tried.elapsed() >= AGAIN {
            tried = Instant::now();
            for (number, (reading, from)) in std::mem::take(&mut put_off) {
                add(context, &mut reader, number, (reading, from), &mut readings, &mut put_off);
            }
        }
        match asked.try_recv() {
            Ok(Command::Add { topic, number, assignment, from }) => {
                reader.remove(number)?;
                let reading = Reading { topic, assignment, is_restored: false };
                add(context, &mut reader, number, (reading, from), &mut readings, &mut put_off);
                continue;
            }
            Ok(Command::Remove { number }) => {
                put_off.remove(&number);
                readings.remove(&number);
                reader.remove(number)?;
                continue;
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) if inbox.is_closed() => return Ok(()),
            Err(TryRecvError::Empty) => {}
        }
        if readings.is_empty() {
            // With nothing assigned there is nothing to fetch; a command may come at any time.
            inbox.wait_for_end(POLL);
            continue;
        }
        if let Some(record) = reader.poll(POLL)?
            && let Some(reading) = readings.get(&record.partition)
            && !hand_over(waiting, inbox, reading, &record)
        {
            return Ok(());
        }
        for (number, reading) in readings.iter_mut().filter(|(_, it)| !it.is_restored) {
            if reader.is_read(*number) {
                reading.is_restored = true;
                inbox.push(Event::Restored(reading.assignment, *number));
            }
        }
    }
}

/// Begins to read a partition, or puts that off.
fn add(
    context: &LaneContext,
    reader: &mut TopicReader,
    number: i32,
    (reading, from): (Reading, i64),
    readings: &mut HashMap<i32, Reading>,
    put_off: &mut BTreeMap<i32, (Reading, i64)>,
) {
    match reader.add(number, From::Offset(from)) {
        Ok(_) => drop(readings.insert(number, reading)),
        Err(error) => {
            tracing::warn!(lane = %context.name, partition = number, cause = %error, "a partition of the journal cannot be read yet; trying again");
            context.observer.trouble(&error.to_string());
            put_off.insert(number, (reading, from));
        }
    }
}

/// Hands a record over. False if the lane has ended.
fn hand_over(waiting: &Waiting, inbox: &Inbox, reading: &Reading, record: &LogRecord) -> bool {
    let record = source_record(&reading.topic, record);
    let bytes = record.size_bytes();
    let event = match (waiting.read)(&record) {
        Ok(read) => Event::Journal(reading.assignment, Box::new(read)),
        Err(why) => Event::Damaged(reading.assignment, Box::new(record), why),
    };
    inbox.push_journal(event, bytes)
}

/// A record of the journal as it is understood.
pub(super) fn source_record(topic: &Arc<Topic>, record: &LogRecord) -> SourceRecord {
    let origin = Origin { topic: topic.clone(), partition: record.partition, offset: record.offset };
    let headers = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
    SourceRecord::new(origin, record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers)
}
