//! A transactional log and a consumer group, small enough to be obviously right: what Kafka promises, and no more.
//!
//! Fencing is by producer epoch and by group generation, as in Kafka's classic protocol: offsets are accepted for any
//! partition as long as the generation is the current one. That is the trap that the engine's batches must not fall into.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tidegate::engine::ids::{DeadLetterId, ExecutionId};
use tidegate::engine::journal::{Entry, Mail};
use tidegate::engine::record::{DeadLetter, JournalRecord};

/// What a transaction writes: one line per record, and the execution it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// `execution`, `step-result`, `dead-letter` or a user's topic.
    pub topic: String,
    /// Identifies the record.
    pub key: String,
}

/// What is written of a group of a batch.
#[derive(Clone, Debug)]
pub enum Wrote {
    /// Something that the world sees.
    Line(Line),
    /// A record of the journal.
    Journal(JournalRecord),
    /// A dead letter, or that it is resolved.
    Letter(DeadLetterId, Option<Box<DeadLetter>>),
}

/// A place in a partition of the journal.
#[derive(Clone, Debug)]
struct Slot {
    /// None is the marker of an end.
    record: Option<JournalRecord>,
    transaction: u64,
    /// Who wrote it.
    by: String,
    fate: Fate,
    /// Rises with every transaction that comes to an end.
    order: u64,
}

/// A committed record of the journal.
pub struct Decided<'a> {
    /// Where it lies.
    pub offset: i64,
    /// The same for all that was committed at once, and greater for what was committed later.
    pub order: u64,
    /// Whose transaction it was.
    pub id: &'a str,
    /// What it says.
    pub record: &'a JournalRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

/// A committed offset with its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset.
    pub offset: i64,
    /// What was committed beside it.
    pub metadata: String,
}

/// Why the log refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The producer's epoch is not the current one.
    Fenced,
    /// The member's generation is not the current one.
    StaleGeneration,
    /// The group does not know the member.
    UnknownMember,
    /// The record is refused for what it is.
    Refused,
    /// There is no open transaction.
    NoTransaction,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    open: Option<Transaction>,
}

#[derive(Debug, Default)]
struct Transaction {
    id: u64,
    lines: Vec<Line>,
    letters: Vec<(DeadLetterId, Option<Box<DeadLetter>>)>,
    journal: BTreeSet<u16>,
    offsets: BTreeMap<i32, CommittedOffset>,
    started_ms: i64,
}

#[derive(Debug)]
struct Member {
    partitions: BTreeSet<i32>,
    /// What it must let go before anyone else gets it.
    to_revoke: BTreeSet<i32>,
    seen_ms: i64,
    told: u32,
    id: u32,
}

/// What a member learns when it polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// The generation from now on.
    pub generation: u32,
    /// Which of the members of that name it is: one that was put out comes back as another.
    pub member_id: u32,
    /// What the member must let go.
    pub revoked: BTreeSet<i32>,
    /// What the member holds in this generation, without what it must let go.
    pub held: BTreeSet<i32>,
}

/// The log and the group.
#[derive(Debug)]
pub struct FakeLog {
    partitions: Vec<i32>,
    journal: BTreeMap<u16, Vec<Slot>>,
    /// Where partitions of the journal begin for whoever reads them. What lies before that stays here: checks look at all that was ever written.
    starts: BTreeMap<u16, i64>,
    transactions_ever: u64,
    decided_ever: u64,
    /// The last committed record of the journal of every execution that has one, without what it was told: that it is cancelled, or that a
    /// step may go on.
    pub stands: HashMap<ExecutionId, JournalRecord>,
    producers: HashMap<String, Producer>,
    members: BTreeMap<String, Member>,
    members_ever: u32,
    generation: u32,
    /// Every committed line, in order.
    pub committed: Vec<Line>,
    /// The same, to look things up.
    pub seen: HashSet<Line>,
    /// The group's committed offsets.
    pub offsets: BTreeMap<i32, CommittedOffset>,
    /// The last committed dead letter of every id; None if it is resolved.
    pub letters: BTreeMap<DeadLetterId, Option<DeadLetter>>,
}

/// A member that is silent for longer is put out of the group.
pub const SESSION_TIMEOUT_MS: i64 = 150;
/// A transaction that is open for longer is aborted, and its producer fenced.
pub const TRANSACTION_TIMEOUT_MS: i64 = 200;

impl FakeLog {
    /// A log whose group shares these partitions.
    pub fn new(partitions: Vec<i32>) -> FakeLog {
        FakeLog {
            partitions,
            journal: BTreeMap::new(),
            starts: BTreeMap::new(),
            transactions_ever: 0,
            decided_ever: 0,
            stands: HashMap::new(),
            producers: HashMap::new(),
            members: BTreeMap::new(),
            members_ever: 0,
            generation: 0,
            committed: Vec::new(),
            seen: HashSet::new(),
            offsets: BTreeMap::new(),
            letters: BTreeMap::new(),
        }
    }

    /// Takes over a transactional id: aborts what is open, fences whoever had it.
    pub fn init_producer(&mut self, id: &str) -> u32 {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        let (epoch, open) = (producer.epoch, producer.open.take());
        self.decide(open.as_ref(), Fate::Aborted);
        epoch
    }

    /// A transaction has come to an end: so has what it wrote to the journal.
    fn decide(&mut self, transaction: Option<&Transaction>, fate: Fate) {
        if let Some(Transaction { id, journal, .. }) = transaction {
            self.decided_ever += 1;
            let order = self.decided_ever;
            for partition in journal {
                let slots = self.journal.entry(*partition).or_default();
                for slot in slots.iter_mut().filter(|slot| slot.transaction == *id) {
                    (slot.fate, slot.order) = (fate, order);
                    let is_told = |it: &&JournalRecord| matches!(it.entry, Entry::Mail(Mail::Cancel | Mail::Signal));
                    let record = slot.record.as_ref().filter(|_| fate == Fate::Committed);
                    if let Some(record) = record.filter(|it| !is_told(it)) {
                        self.stands.insert(record.execution, record.clone());
                    }
                }
                slots.push(Slot { record: None, transaction: *id, by: String::new(), fate, order });
            }
        }
    }

    /// The offset after the last record of a partition of the journal, whatever becomes of it.
    pub fn high_watermark(&self, partition: u16) -> i64 {
        self.journal.get(&partition).map_or(0, |slots| slots.len() as i64)
    }

    /// The offset before which every record of a partition of the journal is decided.
    pub fn last_stable(&self, partition: u16) -> i64 {
        let slots = self.journal.get(&partition).map_or(&[][..], |slots| slots);
        slots.iter().position(|slot| slot.fate == Fate::Open).unwrap_or(slots.len()) as i64
    }

    /// Deletes what lies before an offset of a partition of the journal. Whether that is more than was deleted before: nothing comes back, and
    /// beyond the end nothing is deleted.
    pub fn delete_before(&mut self, partition: u16, offset: i64) -> bool {
        let (end, start) = (self.high_watermark(partition), self.starts.entry(partition).or_default());
        let is_more = (*start + 1..=end).contains(&offset);
        if is_more {
            *start = offset;
        }
        is_more
    }

    /// The offset at which a partition of the journal begins.
    pub fn start(&self, partition: u16) -> i64 {
        self.starts.get(&partition).copied().unwrap_or_default()
    }

    /// The next committed record of a partition of the journal from an offset on, and how far that leads. As with the client's `earliest`, whoever
    /// asks for what is deleted goes on with what is left.
    pub fn read_journal(&self, partition: u16, from: i64) -> (i64, Option<(i64, JournalRecord)>) {
        let from = from.max(self.start(partition));
        let stable = self.last_stable(partition);
        let Some(slots) = self.journal.get(&partition) else { return (from, None) };
        for offset in from..stable {
            let slot = &slots[offset as usize];
            if let Some(record) = slot.record.as_ref().filter(|_| slot.fate == Fate::Committed) {
                return (offset + 1, Some((offset, record.clone())));
            }
        }
        (stable.max(from), None)
    }

    /// A committed record of a partition of the journal that is not deleted.
    pub fn journal_record(&self, partition: u16, offset: i64) -> Option<&JournalRecord> {
        if offset < self.start(partition) {
            return None;
        }
        let slot = self.journal.get(&partition)?.get(offset as usize)?;
        slot.record.as_ref().filter(|_| slot.fate == Fate::Committed)
    }

    /// All records of a partition of the journal that were ever committed, in order.
    pub fn decided(&self, partition: u16) -> impl Iterator<Item = Decided<'_>> {
        let slots = self.journal.get(&partition).map_or(&[][..], |slots| slots);
        slots.iter().enumerate().filter(|(_, slot)| slot.fate == Fate::Committed).filter_map(|(offset, slot)| {
            let (offset, order, id) = (offset as i64, slot.order, &*slot.by);
            Some(Decided { offset, order, id, record: slot.record.as_ref()? })
        })
    }

    /// Writes lines into the open transaction, and opens one if there is none.
    pub fn write(&mut self, id: &str, epoch: u32, wrote: &[Wrote], now_ms: i64) -> Result<(), LogError> {
        if wrote.iter().any(|it| matches!(it, Wrote::Line(line) if line.topic == "refuses")) {
            return Err(LogError::Refused);
        }
        let transaction = self.transaction(id, epoch, now_ms)?;
        let number = transaction.id;
        let mut slots = Vec::new();
        for wrote in wrote {
            match wrote {
                Wrote::Line(line) => transaction.lines.push(line.clone()),
                Wrote::Letter(letter_id, letter) => transaction.letters.push((*letter_id, letter.clone())),
                Wrote::Journal(record) => {
                    let partition = record.execution.journal_partition;
                    transaction.journal.insert(partition);
                    let (record, by) = (Some(record.clone()), id.to_owned());
                    let slot = Slot { record, transaction: number, by, fate: Fate::Open, order: 0 };
                    slots.push((partition, slot));
                }
            }
        }
        slots.into_iter().for_each(|(partition, slot)| self.journal.entry(partition).or_default().push(slot));
        Ok(())
    }

    /// Adds offsets to the open transaction. Like a broker of the classic protocol it asks for the generation only.
    pub fn send_offsets(
        &mut self,
        id: &str,
        epoch: u32,
        (member, generation): (&str, u32),
        offsets: BTreeMap<i32, CommittedOffset>,
        now_ms: i64,
    ) -> Result<(), LogError> {
        if !self.members.contains_key(member) {
            return Err(LogError::UnknownMember);
        }
        if generation != self.generation {
            return Err(LogError::StaleGeneration);
        }
        self.transaction(id, epoch, now_ms)?.offsets.extend(offsets);
        Ok(())
    }

    fn transaction(&mut self, id: &str, epoch: u32, now_ms: i64) -> Result<&mut Transaction, LogError> {
        let producer = self.producers.get_mut(id).filter(|it| it.epoch == epoch).ok_or(LogError::Fenced)?;
        Ok(producer.open.get_or_insert_with(|| {
            self.transactions_ever += 1;
            Transaction { id: self.transactions_ever, started_ms: now_ms, ..Transaction::default() }
        }))
    }

    /// Ends the open transaction, whichever it is: an old client's late request can end a newer transaction.
    pub fn end(&mut self, id: &str, epoch: u32, commit: bool) -> Result<(), LogError> {
        let producer = self.producers.get_mut(id).filter(|it| it.epoch == epoch).ok_or(LogError::Fenced)?;
        let transaction = producer.open.take().ok_or(LogError::NoTransaction)?;
        self.decide(Some(&transaction), if commit { Fate::Committed } else { Fate::Aborted });
        if commit {
            self.seen.extend(transaction.lines.iter().cloned());
            self.committed.extend(transaction.lines);
            self.offsets.extend(transaction.offsets);
            let letters = transaction.letters.into_iter();
            self.letters.extend(letters.map(|(id, letter)| (id, letter.map(|it| *it))));
        }
        Ok(())
    }

    /// The committed offset, unless an open transaction may still move it.
    pub fn stable_offset(&self, partition: i32) -> Option<CommittedOffset> {
        let mut open = self.producers.values().filter_map(|it| it.open.as_ref());
        let pending = open.any(|it| it.offsets.contains_key(&partition));
        (!pending).then(|| self.offsets.get(&partition).cloned().unwrap_or_default())
    }

    /// Joins the group, or comes back to it as the same static member.
    pub fn join(&mut self, member: &str, now_ms: i64) {
        if let Some(known) = self.members.get_mut(member) {
            known.seen_ms = now_ms;
            known.told = 0;
            return;
        }
        self.members_ever += 1;
        let (partitions, to_revoke) = (BTreeSet::new(), BTreeSet::new());
        let fresh = Member { partitions, to_revoke, seen_ms: now_ms, told: 0, id: self.members_ever };
        self.members.insert(member.to_owned(), fresh);
        self.rebalance();
    }

    /// A member's poll: keeps it in the group, and tells it of a rebalance it does not know of.
    pub fn poll(&mut self, member: &str, now_ms: i64) -> Result<Option<Rebalance>, LogError> {
        let generation = self.generation;
        let known = self.members.get_mut(member).ok_or(LogError::UnknownMember)?;
        known.seen_ms = now_ms;
        if known.told == generation {
            return Ok(None);
        }
        known.told = generation;
        let held = known.partitions.difference(&known.to_revoke).copied().collect();
        Ok(Some(Rebalance { generation, member_id: known.id, revoked: known.to_revoke.clone(), held }))
    }

    /// Whether a member has been silent for so long that it is put out soon.
    pub fn is_silent(&self, member: &str, now_ms: i64) -> bool {
        self.members.get(member).is_some_and(|it| now_ms - it.seen_ms > SESSION_TIMEOUT_MS / 2)
    }

    /// The member has let go what it had to; when all have, the partitions are given out.
    pub fn revoked(&mut self, member: &str) {
        if let Some(known) = self.members.get_mut(member) {
            let gone = std::mem::take(&mut known.to_revoke);
            if gone.is_empty() {
                return;
            }
            known.partitions.retain(|it| !gone.contains(it));
            self.rebalance();
        }
    }

    /// Puts out silent members and aborts stale transactions.
    pub fn tick(&mut self, now_ms: i64) {
        let before = self.members.len();
        self.members.retain(|_, member| now_ms - member.seen_ms <= SESSION_TIMEOUT_MS);
        if self.members.len() != before {
            self.rebalance();
        }
        let mut aborted = Vec::new();
        for producer in self.producers.values_mut() {
            if producer.open.as_ref().is_some_and(|it| now_ms - it.started_ms > TRANSACTION_TIMEOUT_MS) {
                aborted.extend(producer.open.take());
                producer.epoch += 1;
            }
        }
        aborted.iter().for_each(|transaction| self.decide(Some(transaction), Fate::Aborted));
    }

    /// A new generation: a fair share for everyone; what one has too much must be let go first, what is free is given.
    fn rebalance(&mut self) {
        self.generation += 1;
        let count = self.members.len();
        if count == 0 {
            return;
        }
        let share = self.partitions.len().div_ceil(count);
        for member in self.members.values_mut() {
            member.to_revoke = member.partitions.iter().copied().skip(share).collect();
        }
        let owned: BTreeSet<i32> = self.members.values().flat_map(|it| it.partitions.iter().copied()).collect();
        let mut free: Vec<i32> = self.partitions.iter().copied().filter(|it| !owned.contains(it)).collect();
        while let Some(partition) = free.pop() {
            if let Some(poorest) = self.members.values_mut().min_by_key(|it| it.partitions.len()) {
                poorest.partitions.insert(partition);
            }
        }
    }

    /// The group's generation.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}
