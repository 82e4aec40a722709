//! The thread that reads records of the journal again, of executions that are not in memory and whose turn has come.
//!
//! It has a client of its own, so that what is far back does not hold up what comes. It asks for nothing, and has no client, until something is
//! wanted. What it cannot read is told; whether that matters is known where it is known what the lane still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::inbox::{Event, Inbox};
use super::journal::source_record;
use super::{LaneContext, Waiting};
use crate::engine::batch::AssignmentId;
use crate::engine::event::Topic;
use crate::kafka::log_reader::LogRecord;
use crate::kafka::record_reader::{Came, RecordReader};

/// How long it is waited for something to read before it is seen whether the lane has ended. What is asked for wakes it at once, and so does a
/// lane that goes.
const LOOK: Duration = Duration::from_secs(1);
/// How long nothing may come of a partition before others get their turn.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing may come of a partition at all: its broker may be away, and comes back or is replaced.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Records that are wanted of a partition; not more than [`FETCHES`](crate::engine::owner::FETCHES) in all partitions.
pub struct Wanted {
    /// The journal.
    pub topic: Arc<Topic>,
    /// The partition.
    pub number: i32,
    /// The assignment under which it is held.
    pub assignment: AssignmentId,
    /// The offsets.
    pub offsets: Vec<i64>,
}

/// What is left to be read of a partition.
struct Left {
    topic: Arc<Topic>,
    assignment: AssignmentId,
    offsets: BTreeSet<i64>,
    /// When something of it came last, or was asked for first.
    since: Instant,
}

impl Left {
    /// Whether what is left has not come for too long.
    fn is_stuck(&self, now: Instant) -> bool {
        !self.offsets.is_empty() && now.duration_since(self.since) >= GIVE_UP
    }
}

/// The way to the thread. It ends when this has gone, or the inbox's reader.
pub struct ReadingThread {
    wanted: Sender<Wanted>,
}

impl ReadingThread {
    /// Starts it.
    pub fn start(context: &Arc<LaneContext>, waiting: &Arc<Waiting>, inbox: &Arc<Inbox>) -> std::io::Result<Self> {
        let (wanted, asked) = channel();
        let (context, waiting, inbox) = (context.clone(), waiting.clone(), inbox.clone());
        let name = format!("again-{}", context.name);
        let reading = move || Reading { context, waiting, inbox, reader: None, left: BTreeMap::new() }.run(&asked);
        std::thread::Builder::new().name(name).spawn(reading)?;
        Ok(ReadingThread { wanted })
    }

    /// Asks for records. A thread that has ended does so with its lane.
    pub fn ask(&self, wanted: Wanted) {
        drop(self.wanted.send(wanted));
    }
}

struct Reading {
    context: Arc<LaneContext>,
    waiting: Arc<Waiting>,
    inbox: Arc<Inbox>,
    reader: Option<RecordReader>,
    left: BTreeMap<i32, Left>,
}

impl Reading {
    fn run(mut self, asked: &Receiver<Wanted>) {
        let mut turn = 0;
        while !self.inbox.is_closed() {
            let wait = if self.left.is_empty() { LOOK } else { Duration::ZERO };
            match asked.recv_timeout(wait) {
                Ok(wanted) => {
                    self.take(wanted);
                    asked.try_iter().for_each(|wanted| self.take(wanted));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let next =
                self.left.range(turn..).next().or_else(|| self.left.first_key_value()).map(|(number, _)| *number);
            if let Some(number) = next {
                turn = number + 1;
                self.read(number);
            }
        }
    }

    fn take(&mut self, wanted: Wanted) {
        let Wanted { topic, number, assignment, offsets } = wanted;
        let fresh = || Left { topic, assignment, offsets: BTreeSet::new(), since: Instant::now() };
        let left = self.left.entry(number).or_insert_with(fresh);
        if left.assignment != assignment {
            // What was wanted under another one is wanted by nobody any more.
            left.offsets.clear();
            (left.assignment, left.since) = (assignment, Instant::now());
        }
        left.offsets.extend(offsets);
    }

    /// Reads what is left of a partition, as far as it comes.
    fn read(&mut self, number: i32) {
        let Some(mut left) = self.left.remove(&number) else { return };
        let failed = match self.try_to_read(number, &mut left) {
            Ok(()) => left.is_stuck(Instant::now()).then(|| "its broker does not answer".to_owned()),
            Err(why) => Some(why),
        };
        match failed {
            Some(why) => self.inbox.push(Event::Unreadable(left.assignment, number, why)),
            None if left.offsets.is_empty() => {}
            None => drop(self.left.insert(number, left)),
        }
    }

    fn try_to_read(&mut self, number: i32, left: &mut Left) -> Result<(), String> {
        let Reading { context, waiting, inbox, reader, .. } = self;
        let reader = match reader {
            Some(reader) => reader,
            None => {
                let opened = RecordReader::open(&context.clients, &waiting.topic);
                reader.insert(opened.map_err(|error| error.to_string())?)
            }
        };
        let offsets: Vec<i64> = left.offsets.iter().copied().collect();
        let mut damaged = None;
        let came = reader.read(number, &offsets, PATIENCE, |record| {
            left.offsets.remove(&record.offset);
            let goes_on = hand_over(waiting, inbox, left, &record).map_err(|why| damaged = Some(why)).unwrap_or(false);
            // The lane may have taken its time.
            left.since = Instant::now();
            goes_on
        });
        match (damaged, came.map_err(|error| error.to_string())?) {
            (Some(why), _) => Err(why),
            (None, Came::ToOneThatIsGone(count)) => {
                Err(format!("the record at offset {} is not there any more", offsets[count]))
            }
            (None, Came::ToItsEnd | Came::ToSoMany(_)) => Ok(()),
        }
    }
}

/// Hands a record over. False if the lane has ended; the error says why the record cannot be understood any more.
fn hand_over(waiting: &Waiting, inbox: &Inbox, left: &Left, record: &LogRecord) -> Result<bool, String> {
    let record = source_record(&left.topic, record);
    let bytes = record.size_bytes();
    let read = (waiting.read)(&record)?;
    Ok(inbox.push_journal(Event::Fetched(left.assignment, Box::new(read)), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_is_not_waited_for() {
        let topic = Arc::new(Topic { name: "journal".into(), id: [2; 16] });
        let since = Instant::now();
        let mut left = Left { topic, assignment: AssignmentId(1), offsets: BTreeSet::from([4]), since };
        assert!(!left.is_stuck(since + GIVE_UP / 2));
        assert!(left.is_stuck(since + GIVE_UP));
        left.offsets.clear();
        assert!(!left.is_stuck(since + GIVE_UP), "handing it over may have taken long, but nothing is missing");
    }
}
