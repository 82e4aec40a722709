//! Brings dead letters back, as a plan says.

mod families;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use families::{No, OfChild};

use super::letters::{self, Letters, Place};
use super::mail::{Mail, Mailer, Orders, Started};
use super::outcomes::{Ended, Outcomes};
use super::plan::{Item, LeftOut, Plan, leave_out};
use super::{Desk, Pace, ReplayError};
use crate::codec::dead_letter::ReadLetter;
use crate::definition::Installed;
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::engine::record::DeadLetter;
use crate::engine::wire::WireRecord;
use crate::kafka::log_reader::{From, LogRecord};
use crate::kafka::record_reader::RecordReader;
use crate::kafka::topic_reader::TopicReader;
use crate::kafka::transaction::{WriteError, Writer};

/// Dead letters that come back in one transaction, at most.
const BATCH_LETTERS: usize = 500;
/// What they weigh, at most, if they are more than one.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often it begins again when a transaction did not go through.
const TRIES: u32 = 5;
/// How long a dead letter of a sub-workflow is waited for, which was there a moment ago.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// How long one look waits.
const POLL: Duration = Duration::from_millis(50);

/// What has become of a plan so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Dead letters of the plan.
    pub planned: usize,
    /// That were brought back.
    pub brought_back: usize,
    /// That were not there any more as planned: somebody has resolved them, or they have failed again.
    pub gone: usize,
    /// That cannot come back (any more), by the reason.
    pub left_out: Vec<LeftOut>,
    /// How those have ended that were brought back.
    pub ended: Ended,
    /// How many of them have not.
    pub under_way: usize,
    /// Why it stopped before the end of the plan.
    pub stopped: Option<String>,
}

impl Summary {
    /// Whether everything that was planned has come back, and nothing of it failed again or was cancelled.
    pub fn is_well(&self) -> bool {
        let is_all = self.brought_back + self.gone == self.planned;
        is_all && self.stopped.is_none() && self.left_out.is_empty() && self.ended.incomplete() == 0
    }
}

/// Why a session ends before it is done.
enum Halt {
    /// A transaction did not go through: what is left is tried again.
    Again(String),
    /// It is to go no further.
    Stop(String),
    /// It cannot go further.
    Failed(ReplayError),
}

impl<E: Into<ReplayError>> std::convert::From<E> for Halt {
    fn from(error: E) -> Halt {
        Halt::Failed(error.into())
    }
}

struct Applying<'a> {
    desk: &'a Desk,
    pace: Pace,
    mailer: Mailer<'a>,
    orders: &'a Orders,
    outcomes: Outcomes<'a>,
    /// What is left of the plan.
    wanted: HashMap<Place, DeadLetterId>,
    /// Where the executions of the plan lie.
    planned: HashMap<ExecutionId, Place>,
    batch: Vec<(Place, DeadLetterId, Mail)>,
    batch_bytes: usize,
    /// What was being written when it became uncertain.
    in_doubt: Vec<(Place, DeadLetterId, Started)>,
    /// The dead letters of sub-workflows, by their parents.
    children: HashMap<ExecutionId, Vec<OfChild>>,
    /// Reads those of them that come back with their parents; None until one does.
    of_children: Option<RecordReader>,
    next_write: Instant,
    is_canary_over: bool,
    left_out: BTreeMap<String, LeftOut>,
    summary: Summary,
    told: &'a mut dyn FnMut(&Summary),
}

/// Brings back what a plan says. `told` hears how far it is. What it says of its end is in the summary; after an error, too, everything that
/// was brought back stays so, and applying the plan again does the rest.
pub fn apply(
    desk: &Desk,
    installed: &Installed,
    plan: &Plan,
    pace: Pace,
    told: &mut dyn FnMut(&Summary),
) -> Result<Summary, ReplayError> {
    check(desk, plan)?;
    let ids = plan.items.iter().filter_map(|it| Some(((it.partition, it.offset), DeadLetterId::parse(&it.id)?)));
    let mut applying = Applying {
        desk,
        pace,
        mailer: Mailer::new(desk, installed, &plan.orders),
        orders: &plan.orders,
        // Opened before anything is written, so that nothing that comes of it is missed.
        outcomes: Outcomes::open(desk, plan.items.iter().any(|item| item.execution.is_none()))?,
        wanted: ids.collect(),
        planned: plan.items.iter().filter_map(of_execution).collect(),
        batch: Vec::new(),
        batch_bytes: 0,
        in_doubt: Vec::new(),
        children: HashMap::new(),
        of_children: None,
        next_write: Instant::now(),
        is_canary_over: false,
        left_out: BTreeMap::new(),
        summary: Summary { planned: plan.items.len(), ..Summary::default() },
        told,
    };
    for tried in 1.. {
        match applying.session() {
            Ok(()) => break,
            Err(Halt::Stop(why)) => {
                applying.summary.stopped = Some(why);
                break;
            }
            Err(Halt::Again(why)) if tried < TRIES => tracing::warn!(cause = why, "beginning again"),
            Err(Halt::Again(why)) => return Err(ReplayError::NotWritten(why)),
            Err(Halt::Failed(error)) => return Err(error),
        }
    }
    applying.wait_at_the_end()?;
    let mut summary = applying.summary;
    summary.left_out = applying.left_out.into_values().collect();
    Ok(summary)
}

/// The execution of an item of a plan, and where its dead letter lies.
fn of_execution(item: &Item) -> Option<(ExecutionId, Place)> {
    Some((ExecutionId::parse(item.execution.as_deref()?)?, (item.partition, item.offset)))
}

/// Refuses a plan that is for something else.
pub(super) fn check(desk: &Desk, plan: &Plan) -> Result<(), ReplayError> {
    let other = |what: &str, of: &str, here: &str| {
        ReplayError::OtherPlace(format!("the plan is for the {what} {of}, and these settings are for {here}"))
    };
    if plan.environment != desk.environment {
        return Err(other("environment", &plan.environment, &desk.environment));
    }
    if plan.dead_letters != *desk.dead_letters.name {
        return Err(other("topic", &plan.dead_letters, &desk.dead_letters.name));
    }
    Ok(())
}

impl Applying<'_> {
    /// Takes over, looks what is left, and brings it back.
    fn session(&mut self) -> Result<(), Halt> {
        let id = format!("tidegate-replay-{}", self.desk.environment);
        let mut writer = Writer::take_over(&self.desk.clients, &id)?.map_err(|error| self.halt(error))?;
        // Read after the takeover: what an earlier tool had open is decided now.
        self.look_what_is_left()?;
        // Sub-workflows come after their parents, with which they may come back, wherever they lie.
        loop {
            let before = self.wanted.len();
            let is_left = self.pass(&mut writer, true)?;
            if is_left && self.wanted.len() == before {
                self.pass(&mut writer, false)?;
            }
            if !is_left || self.wanted.len() == before {
                break;
            }
        }
        // What was compacted away since it was looked for was resolved by somebody who does not use this tool.
        self.summary.gone += std::mem::take(&mut self.wanted).len();
        Ok(())
    }

    /// Reads what is wanted, and brings it back. True if some of it was left for later.
    fn pass(&mut self, writer: &mut Writer, may_wait: bool) -> Result<bool, Halt> {
        let mut reader = TopicReader::open(&self.desk.clients, &self.desk.dead_letters.name)?;
        let mut first: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, offset) in self.wanted.keys() {
            let known = first.entry(*partition).or_insert(*offset);
            *known = (*known).min(*offset);
        }
        for (partition, offset) in first {
            reader.add(partition, From::Offset(offset))?;
        }
        let mut is_left = false;
        while !self.wanted.is_empty() {
            match reader.poll(POLL)? {
                Some(record) => is_left |= !self.take(writer, &record, may_wait)?,
                None if reader.has_caught_up() => break,
                None => {}
            }
        }
        self.write(writer)?;
        Ok(is_left)
    }

    fn look_what_is_left(&mut self) -> Result<(), Halt> {
        let wanted: HashSet<DeadLetterId> = self.wanted.values().copied().collect();
        let in_doubt = std::mem::take(&mut self.in_doubt);
        self.wanted.extend(in_doubt.iter().map(|(place, id, _)| (*place, *id)));
        let doubted: HashSet<DeadLetterId> = in_doubt.iter().map(|(_, id, _)| *id).collect();
        let is_ours = |id: &DeadLetterId| wanted.contains(id) || doubted.contains(id);
        let of_child = |letter: DeadLetter| {
            let execution = letter.execution?;
            let parent = execution.parent?;
            Some((parent.execution, parent.step.clone(), parent.run, execution.id))
        };
        let keep = |read: ReadLetter| {
            let (is_ours, child) = (is_ours(&read.letter.id), of_child(read.letter));
            (is_ours || child.is_some()).then_some(child)
        };
        let Letters { live, .. } = letters::scan(self.desk, keep, |_| ())?;
        let is_there = |place: &Place, id: &DeadLetterId| {
            live.get(id).is_some_and(|found| (found.partition, found.offset) == *place)
        };
        for (place, id, started) in in_doubt {
            if !is_there(&place, &id) {
                self.wanted.remove(&place);
                self.brought_back(started);
            }
        }
        let before = self.wanted.len();
        self.wanted.retain(|place, id| is_there(place, id));
        self.summary.gone += before - self.wanted.len();
        self.children.clear();
        for (id, letters::Found { partition, offset, kept }) in live {
            if let Some((parent, step, run, execution)) = kept {
                let child = OfChild { place: (partition, offset), id, step, run, execution };
                self.children.entry(parent).or_default().push(child);
            }
        }
        Ok(())
    }

    /// Brings back what lies there, if it is wanted. False if that is left for later: it may come back with its parent.
    fn take(&mut self, writer: &mut Writer, record: &LogRecord, may_wait: bool) -> Result<bool, Halt> {
        let place = (record.partition, record.offset);
        // It stays wanted until it is in a batch: what is to be written before it may not go through.
        let Some(id) = self.wanted.get(&place).copied() else { return Ok(true) };
        let mail = match letters::read(record) {
            Ok(read) => {
                let parent = read.letter.execution.as_ref().and_then(|it| Some(it.parent.as_ref()?.execution));
                if may_wait && parent.is_some_and(|parent| self.is_to_come(parent)) {
                    return Ok(false);
                }
                let orders = self.orders;
                self.mail(read, orders, (0, None)).inspect(|_| self.comes_alone(parent, id))
            }
            Err(why) => Err(No::LeftOut(format!("it cannot be read: {why}"))),
        };
        let mail = match mail {
            Ok(mail) => mail,
            Err(No::LeftOut(reason)) => {
                self.wanted.remove(&place);
                leave_out(&mut self.left_out, reason, id.to_string());
                return Ok(true);
            }
            Err(No::Halt(halt)) => return Err(halt),
        };
        let bytes = mail.bytes();
        if !self.batch.is_empty() && self.batch_bytes + bytes > BATCH_BYTES {
            self.write(writer)?;
        }
        self.heed_canary(writer)?;
        self.make_room(writer)?;
        self.wanted.remove(&place);
        self.batch.push((place, id, mail));
        self.batch_bytes += bytes;
        if self.batch.len() >= self.pace.batch(BATCH_LETTERS) {
            self.write(writer)?;
        }
        Ok(true)
    }

    /// Once so many have come back, waits how they end before another does.
    fn heed_canary(&mut self, writer: &mut Writer) -> Result<(), Halt> {
        let Some(canary) = self.pace.canary.filter(|_| !self.is_canary_over) else { return Ok(()) };
        if self.summary.brought_back + self.batch.len() >= canary {
            self.write(writer)?;
            self.listen_until(|it| it.outcomes.pending() == 0)?;
            self.outcomes.settle()?;
            self.judge()?;
            self.is_canary_over = true;
        }
        Ok(())
    }

    /// Waits until another execution may be under way.
    fn make_room(&mut self, writer: &mut Writer) -> Result<(), Halt> {
        let Some(most) = self.pace.concurrency else { return Ok(()) };
        let most = most.max(1);
        if self.outcomes.pending() + self.batch.len() < most {
            return Ok(());
        }
        self.write(writer)?;
        self.listen_until(|it| it.outcomes.pending() < most)
    }

    fn listen_until(&mut self, is_over: impl Fn(&Self) -> bool) -> Result<(), Halt> {
        let since = Instant::now();
        while !is_over(self) {
            self.listen(POLL)?;
            if self.outcomes.silence().min(since.elapsed()) > self.pace.patience {
                let (left, seconds) = (self.outcomes.pending(), self.pace.patience.as_secs());
                return Err(Halt::Stop(format!(
                    "nothing was heard of {left} executions for {seconds} s: do instances run, or do they wait for something that takes \
                     longer than --patience? They go on by themselves"
                )));
            }
        }
        self.judge()
    }

    fn listen(&mut self, timeout: Duration) -> Result<(), ReplayError> {
        self.outcomes.listen(timeout)?;
        if self.outcomes.is_to_settle() {
            self.outcomes.settle()?;
        }
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        self.summary.ended = self.outcomes.ended;
        self.summary.under_way = self.outcomes.pending();
        (self.told)(&self.summary);
    }

    /// Stops if too many have failed again, or were cancelled.
    fn judge(&self) -> Result<(), Halt> {
        let (incomplete, ended) = (self.outcomes.ended.incomplete(), self.outcomes.ended.all());
        if self.pace.is_too_much(incomplete, ended) {
            return Err(Halt::Stop(format!(
                "{incomplete} of {ended} that have ended failed again or were cancelled, more than {} %",
                self.pace.stop_above * 100.0
            )));
        }
        Ok(())
    }

    /// Writes what brings the batch back together with what resolves it.
    fn write(&mut self, writer: &mut Writer) -> Result<(), Halt> {
        while !self.batch.is_empty() && Instant::now() < self.next_write {
            self.listen(POLL.min(self.next_write.saturating_duration_since(Instant::now())))?;
        }
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let (journal, now_ms) = (&self.desk.journal.name, (self.desk.now_ms)());
        let (mut records, mut written) = (Vec::with_capacity(2 * batch.len()), Vec::with_capacity(batch.len()));
        for (place, id, mail) in batch {
            records.push(self.tombstone(place.0, id, "replayed"));
            for (place, child) in self.over_with((mail.started.execution, &mail.finished), &mail.children) {
                let comes_back = mail.children.iter().any(|it| it.id == child);
                records.push(self.tombstone(place.0, child, if comes_back { "replayed" } else { "superseded" }));
                self.summary.gone += usize::from(self.wanted.remove(&place).is_some());
            }
            // What is waited for comes first: where both stand in one line, it would wait for its parent's end, and that one for its end.
            records.extend(mail.children.into_iter().map(|child| child.post.record(journal, now_ms)));
            records.push(mail.post.record(journal, now_ms));
            written.push((place, id, mail.started));
        }
        let count = written.len();
        if let Err(error) = writer.write(&records) {
            self.in_doubt = written;
            return Err(self.halt(error));
        }
        written.into_iter().for_each(|(_, _, started)| self.brought_back(started));
        self.next_write = Instant::now() + self.pace.pause(count);
        self.listen(Duration::ZERO)?;
        self.judge()
    }

    fn brought_back(&mut self, started: Started) {
        self.summary.brought_back += 1;
        self.outcomes.expect(started);
    }

    fn tombstone(&self, partition: i32, id: DeadLetterId, resolution: &'static str) -> WireRecord {
        WireRecord {
            topic: self.desk.dead_letters.name.clone(),
            partition: Some(partition),
            key: Some(id.to_string().into()),
            value: None,
            headers: [("tidegate-dlq-resolution", Some(resolution))].into_iter().collect(),
            step: None,
        }
    }

    fn halt(&self, error: WriteError) -> Halt {
        match error {
            WriteError::Fenced => Halt::Failed(ReplayError::Fenced),
            WriteError::NotWritten { message, is_refused: true } => Halt::Failed(ReplayError::NotWritten(message)),
            WriteError::NotWritten { message, .. } | WriteError::Uncertain { message } => Halt::Again(message),
        }
    }

    fn wait_at_the_end(&mut self) -> Result<(), ReplayError> {
        let until = Instant::now() + self.pace.wait;
        self.listen(Duration::ZERO)?;
        while self.outcomes.pending() > 0 && Instant::now() < until {
            self.listen(POLL)?;
        }
        self.outcomes.settle()?;
        self.tell();
        Ok(())
    }
}
