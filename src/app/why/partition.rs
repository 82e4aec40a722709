//! A partition of the journal, read to its end for one execution: where that stands, and who stands in line before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::checkpoint::{Checkpoint, Content};
use crate::engine::ids::ExecutionId;
use crate::engine::journal::{Entry, Log, Mail, Record};
use crate::engine::signal::Signal;
use crate::engine::workflow::WorkflowId;

/// What was read of a partition so far. Of other executions it keeps who they are in their line, and nothing of what they hold.
pub struct Partition {
    execution: ExecutionId,
    log: Log<Kept>,
    /// The workflows, each once: many executions have few of them.
    workflows: BTreeSet<WorkflowId>,
}

/// What is kept of a record.
enum Kept {
    /// All of it, and when it was sent: it is of the execution that is asked about.
    Whole(Content, i64),
    /// Who stands in line.
    InLine(InLine),
    /// Nothing.
    Nothing,
}

struct InLine {
    workflow: WorkflowId,
    key: Option<Box<[u8]>>,
    has_begun: bool,
}

/// Where an execution stands that has not ended.
#[derive(Debug)]
pub struct Standing {
    /// The execution.
    pub execution: ExecutionId,
    /// Its run, from 1.
    pub run: u32,
    /// What was last written of it.
    pub checkpoint: Arc<Checkpoint>,
    /// Whether the run has begun; what has not queues, if its workflow lets its executions run in turns.
    pub has_begun: bool,
    /// Mail that was not heeded so far.
    pub mail: Vec<Letter>,
    /// Others of its workflow.
    pub of_workflow: Ahead,
    /// Others of its workflow whose events have the same key.
    pub of_key: Ahead,
}

/// Executions that stand in line before another one, in its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Those that have begun.
    pub running: u64,
    /// Those that queue and came before it.
    pub queued: u64,
}

/// Mail that was not heeded so far.
#[derive(Clone, Debug)]
pub enum Letter {
    /// It is to end.
    Cancel {
        /// When it was sent, milliseconds since the Unix epoch.
        sent_ms: i64,
    },
    /// One of its steps is told something.
    Signal {
        /// When it was sent, milliseconds since the Unix epoch.
        sent_ms: i64,
        /// What.
        signal: Arc<Signal>,
    },
}

impl Partition {
    /// A partition that is read from this offset on, for an execution.
    pub fn starting_at(offset: i64, execution: ExecutionId) -> Partition {
        Partition { execution, log: Log::starting_at(offset), workflows: BTreeSet::new() }
    }

    /// Takes note of the next record, and when it was sent.
    pub fn take(&mut self, record: Record<Content>, sent_ms: i64) {
        let Record { offset, bytes, execution, run, entry, content } = record;
        let content = match content {
            content if execution == self.execution => Kept::Whole(content, sent_ms),
            Content::Checkpoint(checkpoint) => Kept::InLine(self.in_line(&checkpoint, entry)),
            Content::None | Content::Signal(_) | Content::Redrive(_) => Kept::Nothing,
        };
        self.log.apply(Record { offset, bytes, execution, run, entry, content });
    }

    fn in_line(&mut self, checkpoint: &Checkpoint, entry: Entry) -> InLine {
        let workflow = match self.workflows.get(&checkpoint.workflow) {
            Some(known) => known.clone(),
            None => {
                self.workflows.insert(checkpoint.workflow.clone());
                checkpoint.workflow.clone()
            }
        };
        let has_begun = checkpoint.has_begun() && entry != Entry::Mail(Mail::Resume);
        InLine { workflow, key: checkpoint.record.key().map(Box::from), has_begun }
    }

    /// Where the execution stands, now that all is read; None if it is not alive.
    pub fn standing(mut self) -> Option<Standing> {
        self.log.restored();
        let live = self.log.live(self.execution)?;
        // A record that is read again is no execution.
        let Kept::Whole(Content::Checkpoint(checkpoint), _) = &live.first().content else { return None };
        let letter = |(mail, content): (Mail, &Kept)| match (mail, content) {
            (Mail::Cancel, Kept::Whole(_, sent_ms)) => Some(Letter::Cancel { sent_ms: *sent_ms }),
            (Mail::Signal, Kept::Whole(Content::Signal(signal), sent_ms)) => {
                Some(Letter::Signal { sent_ms: *sent_ms, signal: signal.clone() })
            }
            // What it begins with is no news.
            _ => None,
        };
        let mail = live.mail().filter_map(|(mail, kept)| letter((mail, &kept.content))).collect();
        let (of_workflow, of_key) = self.ahead(live.place, checkpoint);
        Some(Standing {
            execution: self.execution,
            run: live.run(),
            checkpoint: checkpoint.clone(),
            has_begun: checkpoint.has_begun() && !live.is_brought_back(),
            mail,
            of_workflow,
            of_key,
        })
    }

    /// The others of its workflow, and those of them with the same key, that stand before it.
    fn ahead(&self, place: i64, checkpoint: &Checkpoint) -> (Ahead, Ahead) {
        let (mut of_workflow, mut of_key) = (Ahead::default(), Ahead::default());
        let key = checkpoint.record.key();
        for (_, other) in self.log.all_live() {
            let Kept::InLine(in_line) = &other.first().content else { continue };
            let is_before = in_line.has_begun || other.place < place;
            if in_line.workflow != checkpoint.workflow || !is_before {
                continue;
            }
            of_workflow.add(in_line);
            if in_line.key.as_deref() == key {
                of_key.add(in_line);
            }
        }
        (of_workflow, of_key)
    }
}

impl Ahead {
    fn add(&mut self, other: &InLine) {
        if other.has_begun {
            self.running += 1;
        } else {
            self.queued += 1;
        }
    }
}
