//! What a lane's reader does for executions that wait, between two looks at its sources.

use std::time::{Duration, Instant};

use super::clock;
use super::reader::{CHUNK_BYTES, Chunk, Reader};
use super::waiting::{Damaged, Tender};
use crate::engine::batch::SourcePartition;
use crate::engine::commit::RestartReason;
use crate::engine::event::Undecodable;
use crate::engine::execution::Subject;
use crate::engine::owner;

/// How long a revoke waits for the calls of what is taken away, before what is in flight is committed.
const CALLS_WAIT: Duration = Duration::from_millis(1_500);
/// How often it looks whether they have ended.
const CALLS_LOOK: Duration = Duration::from_millis(5);

impl Reader {
    /// Goes on with what waits: what has come for it, what is due, what may be called. True if anything of it is to be committed.
    pub(super) fn tend(&self) -> Result<bool, RestartReason> {
        let mut state = self.state();
        let Some(tender) = &mut state.tender else { return Ok(false) };
        let mut chunk = Chunk::empty();
        let now_ms = clock::now_ms();
        for damaged in tender.take_events() {
            self.add_damaged(&mut chunk, tender, damaged, now_ms);
        }
        let mut handed_on = Ok(());
        let went_on = tender.parts(&self.context, |emitted| {
            self.push_emitted(&mut chunk, emitted);
            if chunk.bytes >= CHUNK_BYTES && handed_on.is_ok() {
                handed_on = self.hand_on(&mut chunk);
            }
        });
        handed_on?;
        tender.read_again();
        for (partition, assignment, position) in tender.renewals() {
            chunk.batch.push(&partition, assignment, position, None);
        }
        tender.start_calls(&self.context);
        self.hand_on(&mut chunk)?;
        Ok(went_on > 0)
    }

    /// Lets calls come to an end whose partitions are let go, for a while; no other starts meanwhile, and none after that: then the
    /// partitions are released.
    pub(super) fn finish_calls(&self, partitions: &[SourcePartition]) -> Result<(), RestartReason> {
        let until = Instant::now() + CALLS_WAIT;
        loop {
            let mut state = self.state();
            let Some(tender) = &mut state.tender else { return Ok(()) };
            let mut chunk = Chunk::empty();
            for damaged in tender.take_events() {
                self.add_damaged(&mut chunk, tender, damaged, clock::now_ms());
            }
            tender.parts(&self.context, |emitted| self.push_emitted(&mut chunk, emitted));
            tender.read_again();
            let is_busy = tender.is_busy_with(partitions);
            let is_over = !is_busy || Instant::now() >= until;
            if is_over {
                for (partition, assignment, position) in tender.release(partitions) {
                    chunk.batch.push(&partition, assignment, position, None);
                }
            }
            drop(state);
            let left = until.saturating_duration_since(Instant::now());
            self.hand_on_within(&mut chunk, left.max(CALLS_LOOK))?;
            if is_over {
                return Ok(());
            }
            self.pipeline.source_is_idle();
            clock::pause(CALLS_LOOK);
        }
    }

    /// A record of the journal that cannot be understood is put aside, and its partition goes on.
    fn add_damaged(&self, chunk: &mut Chunk, tender: &Tender, damaged: Damaged, now_ms: i64) {
        let Damaged { assignment, record, why } = damaged;
        let (partition, offset) = (record.origin.partition, record.origin.offset);
        tracing::error!(partition, offset, cause = %why, "a record of the journal cannot be understood");
        self.context.observer.damaged(partition, offset, &why);
        let Some(position) = tender.position(partition) else { return };
        let partition = SourcePartition { topic: record.origin.topic.clone(), partition };
        let subject = Subject::undecodable((record, Undecodable { message: why }), now_ms);
        let left = subject.leave(now_ms);
        self.push(chunk, (partition, assignment, position, Some((subject, left, 0))));
    }

    /// Adds a part of an execution that waits to a chunk.
    fn push_emitted(&self, chunk: &mut Chunk, emitted: owner::Emitted) {
        let owner::Emitted { partition, assignment, position, subject, left, sequence } = emitted;
        self.push(chunk, (partition, assignment, position, Some((subject, left, sequence))));
    }
}
