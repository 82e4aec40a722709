//! Ids are addresses: whoever has the id of an execution knows which journal partition its mail goes to.
//!
//! Every id is a hash of what it identifies, so that the same event makes the same ids wherever and however often it is
//! read. The hash is the first 128 bits of SHA-256 (FIPS 180-4): ids live for ever in topics and are made of names that users
//! choose, so collisions must be out of reach for someone who tries, and the function must never change under us. Every
//! input is length-prefixed and starts with what kind of id it is, so that no two different inputs are the same bytes.

use std::fmt;

use sha2::{Digest, Sha256};

use super::event::Origin;

/// `<journal partition, 4 hex digits>-<128-bit hash, 32 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId {
    /// The journal partition that the execution's mail goes to.
    pub journal_partition: u16,
    hash: [u8; 16],
}

/// Where an execution came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionOrigin<'a> {
    /// An event, by where it lies.
    Event(&'a Origin),
    /// A step of a parent.
    Parent {
        /// The parent.
        execution: ExecutionId,
        /// The parent's step.
        step: &'a str,
        /// The parent's run.
        run: u32,
    },
    /// A call to the API.
    Call {
        /// The caller's idempotency key.
        idempotency_key: &'a str,
    },
}

/// What chooses an execution's journal partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxKey<'a> {
    /// The workflow limits its concurrency: one owner for all its executions.
    Workflow,
    /// The workflow is ordered by key: one owner for all executions of that key.
    EventKey(&'a [u8]),
    /// Neither: wherever the execution's own hash leads.
    Hash,
}

impl MailboxKey<'_> {
    /// What chooses the partition; None if the execution's own hash does.
    fn hash(self, workflow: &str) -> Option<[u8; 16]> {
        match self {
            MailboxKey::Hash => None,
            MailboxKey::Workflow => Some(Parts::of("mailbox").with(workflow.as_bytes()).hash()),
            MailboxKey::EventKey(key) => Some(Parts::of("mailbox").with(workflow.as_bytes()).with(key).hash()),
        }
    }
}

/// A hash over parts that cannot run into each other.
struct Parts(Sha256);

impl Parts {
    fn of(kind: &str) -> Parts {
        Parts(Sha256::new()).with(b"tidegate").with(kind.as_bytes())
    }

    fn with(mut self, part: &[u8]) -> Parts {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    fn hash(self) -> [u8; 16] {
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.0.finalize()[..16]);
        hash
    }
}

impl ExecutionId {
    /// The id of what `workflow` does for `origin` in an environment whose journal has so many partitions.
    pub fn new(
        environment: &str,
        workflow: &str,
        origin: ExecutionOrigin<'_>,
        mailbox: MailboxKey<'_>,
        journal_partitions: u16,
    ) -> ExecutionId {
        let parts = Parts::of("execution").with(environment.as_bytes()).with(workflow.as_bytes());
        let hash = match origin {
            ExecutionOrigin::Event(Origin { topic, partition, offset }) => {
                parts.with(b"event").with(&topic.id).with(&partition.to_be_bytes()).with(&offset.to_be_bytes())
            }
            ExecutionOrigin::Parent { execution, step, run } => {
                parts.with(b"parent").with(&execution.hash).with(step.as_bytes()).with(&run.to_be_bytes())
            }
            ExecutionOrigin::Call { idempotency_key } => parts.with(b"call").with(idempotency_key.as_bytes()),
        }
        .hash();
        let mailbox = mailbox.hash(workflow).unwrap_or(hash);
        ExecutionId { journal_partition: partition_of(mailbox, journal_partitions), hash }
    }

    /// Whether the owner of its journal partition is the one that keeps the limits and the order of what `workflow` does in a mailbox.
    pub fn lies_in(self, workflow: &str, mailbox: MailboxKey<'_>, journal_partitions: u16) -> bool {
        mailbox.hash(workflow).is_none_or(|it| partition_of(it, journal_partitions) == self.journal_partition)
    }

    /// By what the journal knows a record that is read again: no execution, but with an address like one.
    pub fn of_dead_letter(DeadLetterId(hash): DeadLetterId, journal_partitions: u16) -> ExecutionId {
        let hash = Parts::of("redrive").with(&hash).hash();
        ExecutionId { journal_partition: partition_of(hash, journal_partitions), hash }
    }

    /// The id that is the key of a record, if it is one.
    pub fn of_key(key: Option<&[u8]>) -> Option<ExecutionId> {
        std::str::from_utf8(key?).ok().and_then(ExecutionId::parse)
    }

    /// Reads an id as it is written.
    pub fn parse(text: &str) -> Option<ExecutionId> {
        let (partition, hash) = text.split_once('-')?;
        let [high, low] = from_hex::<2>(partition)?;
        Some(ExecutionId { journal_partition: u16::from_be_bytes([high, low]), hash: from_hex(hash)? })
    }

    /// The id as text, without an allocation.
    pub fn to_text(&self) -> IdText<37> {
        let mut text = [b'-'; 37];
        hex(&self.journal_partition.to_be_bytes(), &mut text[..4]);
        hex(&self.hash, &mut text[5..]);
        IdText(text)
    }

    /// The key that every attempt, restart and replay of one edition of a step's call carries, 32 hex digits.
    pub fn idempotency_key(&self, step: &str, edition: u32) -> String {
        let parts = Parts::of("idempotency-key").with(&self.hash).with(step.as_bytes());
        hash_text(&parts.with(&edition.to_be_bytes()).hash()).to_string()
    }

    /// The trace of an execution whose event belongs to none, 32 hex digits: the end of its own id, so that who has one has the other.
    pub fn trace_id(&self) -> IdText<32> {
        hash_text(&not_zero(self.hash))
    }

    /// What stands for a step in that trace, 16 hex digits: the same for every attempt, restart and replay.
    pub fn trace_parent_id(&self, step: &str) -> IdText<16> {
        let hash = Parts::of("trace-parent").with(&self.hash).with(step.as_bytes()).hash();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        let mut text = [0; 16];
        hex(&not_zero(id), &mut text);
        IdText(text)
    }
}

/// W3C Trace Context knows no ids that are all zero.
fn not_zero<const LENGTH: usize>(mut id: [u8; LENGTH]) -> [u8; LENGTH] {
    if id == [0; LENGTH] {
        id[LENGTH - 1] = 1;
    }
    id
}

fn partition_of([a, b, c, d, e, f, g, h, ..]: [u8; 16], journal_partitions: u16) -> u16 {
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    (number % u64::from(journal_partitions.max(1))) as u16
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.to_text().as_str())
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The id of a dead letter: 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId([u8; 16]);

impl DeadLetterId {
    /// Of an execution's run that failed at a step; no step if it failed before its first.
    pub fn of_execution(execution: ExecutionId, run: u32, step: Option<&str>) -> DeadLetterId {
        let parts = Parts::of("dead-letter").with(b"execution").with(&execution.hash).with(&run.to_be_bytes());
        DeadLetterId(parts.with(step.unwrap_or_default().as_bytes()).hash())
    }

    /// Of a record that was never an execution.
    pub fn of_record(Origin { topic, partition, offset }: &Origin) -> DeadLetterId {
        let parts = Parts::of("dead-letter").with(b"record").with(&topic.id);
        DeadLetterId(parts.with(&partition.to_be_bytes()).with(&offset.to_be_bytes()).hash())
    }

    /// The id that is the key of a record, if it is one.
    pub fn of_key(key: Option<&[u8]>) -> Option<DeadLetterId> {
        std::str::from_utf8(key?).ok().and_then(DeadLetterId::parse)
    }

    /// Reads an id as it is written.
    pub fn parse(text: &str) -> Option<DeadLetterId> {
        from_hex(text).map(DeadLetterId)
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(hash_text(&self.0).as_str())
    }
}

impl fmt::Debug for DeadLetterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An id as ASCII text of `LENGTH` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdText<const LENGTH: usize>([u8; LENGTH]);

impl<const LENGTH: usize> IdText<LENGTH> {
    /// The text.
    pub fn as_str(&self) -> &str {
        // Digits and a dash are always UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<const LENGTH: usize> fmt::Display for IdText<LENGTH> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

fn hash_text(hash: &[u8; 16]) -> IdText<32> {
    let mut text = [0; 32];
    hex(hash, &mut text);
    IdText(text)
}

/// Writes two digits a byte.
fn hex(bytes: &[u8], into: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, digits) in bytes.iter().zip(into.as_chunks_mut::<2>().0) {
        *digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

/// Reads exactly `N` bytes in lower-case digits: an id has one spelling only.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Topic;
    use std::sync::Arc;

    fn origin(offset: i64) -> Origin {
        Origin { topic: Arc::new(Topic { name: "webhooks".into(), id: [7; 16] }), partition: 3, offset }
    }

    fn id(workflow: &str, offset: i64, mailbox: MailboxKey<'_>) -> ExecutionId {
        ExecutionId::new("prod", workflow, ExecutionOrigin::Event(&origin(offset)), mailbox, 48)
    }

    /// The expected ids were computed with another implementation, from the description at the top of this file. Ids live
    /// for ever in topics: whoever has to change a line here has broken every id that exists.
    #[test]
    fn ids_never_change() {
        let execution = id("order-paid", 42, MailboxKey::Hash);
        assert_eq!(execution.to_string(), "0016-a074b0612f0f43d69031c66883d76382");
        let of = |mailbox| id("order-paid", 42, mailbox).to_string();
        assert_eq!(of(MailboxKey::Workflow), "0022-a074b0612f0f43d69031c66883d76382");
        assert_eq!(of(MailboxKey::EventKey(b"account-1")), "0010-a074b0612f0f43d69031c66883d76382");

        let other = |workflow, origin| ExecutionId::new("prod", workflow, origin, MailboxKey::Hash, 48).to_string();
        let child = other("child", ExecutionOrigin::Parent { execution, step: "charge", run: 2 });
        assert_eq!(child, "0013-b6ab947ed52f5e7300feaf34e93e1b96");
        let call = other("order-paid", ExecutionOrigin::Call { idempotency_key: "request-1" });
        assert_eq!(call, "001c-71724a17d21f582cb2a08f71867ef4b1");

        assert_eq!(DeadLetterId::of_record(&origin(42)).to_string(), "a2f46a6c9d81a97a554c4b549de49e7b");
        let letter = |step| DeadLetterId::of_execution(execution, 1, step).to_string();
        assert_eq!(letter(Some("charge")), "6ae045cceab6bf380448abc6d0ba6841");
        assert_eq!(letter(None), "34346871a3d21df545d6a108d17ee969");
        assert_eq!(execution.idempotency_key("charge", 1), "c9d6b38c89f9c4e97848f2611ed829c4");
        assert_eq!(execution.trace_id().as_str(), "a074b0612f0f43d69031c66883d76382");
        let parents = ["charge", "notify"].map(|step| execution.trace_parent_id(step).to_string());
        assert_eq!(parents, ["1482beb0969842f5", "d7908f7f72cb1f3a"]);
    }

    #[test]
    fn no_id_of_a_trace_is_zero() {
        let zero = ExecutionId::parse("0007-00000000000000000000000000000000").unwrap();
        assert_eq!(zero.trace_id().as_str(), "00000000000000000000000000000001");
        assert_eq!((not_zero([0; 8]), not_zero([0, 2])), ([0, 0, 0, 0, 0, 0, 0, 1], [0, 2]));
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is() {
        let execution = id("order-paid", 42, MailboxKey::Hash);
        assert_eq!(ExecutionId::parse(&execution.to_string()), Some(execution));
        let letter = DeadLetterId::of_record(&origin(42));
        assert_eq!(DeadLetterId::parse(&letter.to_string()), Some(letter));
        let good = execution.to_string();
        let (upper, long, short) = (good.to_uppercase(), format!("{good}0"), &good[..good.len() - 1]);
        let signed = good.replacen('a', "+", 1);
        for wrong in ["", "-", "0001", "0001-", "1-00", "é001-00", &upper, &long, short, &signed, &letter.to_string()]
        {
            assert_eq!(ExecutionId::parse(wrong), None, "{wrong}");
        }
        for wrong in ["", "a2", &letter.to_string().to_uppercase(), &good] {
            assert_eq!(DeadLetterId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_mailbox_chooses_the_partition_and_not_the_hash() {
        let by_key = |offset| id("order-paid", offset, MailboxKey::EventKey(b"account-1"));
        assert_eq!(by_key(1).journal_partition, by_key(2).journal_partition);
        assert_ne!(by_key(1).hash, by_key(2).hash);
        assert_eq!(by_key(1).hash, id("order-paid", 1, MailboxKey::Workflow).hash);
        let partitions: std::collections::HashSet<u16> =
            (0..1000).map(|offset| id("order-paid", offset, MailboxKey::Hash).journal_partition).collect();
        assert_eq!(partitions.len(), 48);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let call = |environment, workflow, idempotency_key| {
            let origin = ExecutionOrigin::Call { idempotency_key };
            ExecutionId::new(environment, workflow, origin, MailboxKey::Hash, 1)
        };
        assert_ne!(call("a", "bc", "d"), call("ab", "c", "d"));
        assert_ne!(call("a", "b", "cd"), call("a", "bc", "d"));
    }
}
