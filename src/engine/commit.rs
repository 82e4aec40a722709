//! What follows a commit that did not go through.
//!
//! ```text
//!              ┌────────── retriable: the same call again ─────────┐
//!              ▼                                                    │
//!   writing ──▶ committing ──▶ committed                            │
//!      ▲            │ failed ────────────────────────────────────────┘
//!      │            ├─ aborted, everything still held under the same assignment ──▶ written again from memory
//!      │            ├─ refused for what a record is ──▶ its execution fails, the batch is written without it
//!      │            ├─ refused, culprit unknown ──▶ the first half is written alone
//!      └────────────┘
//!                   └─ fenced, uncertain, fatal, assignment gone, too many tries ──▶ the lane restarts from nothing
//! ```
//!
//! The order of the questions is that of librdkafka's transactional errors: must abort, may retry, else fatal. Nothing is ever
//! concluded from an error but that the batch is not known to be committed; a restart reads the committed offsets again.

/// How often one batch is written again before the lane restarts from nothing: a rebalance or a broker that moves takes a
/// few tries, and a lane that needs more is better off with a new producer and a new assignment.
pub const REWRITES_PER_BATCH: u32 = 8;
/// How often one call of the protocol is repeated as it was; each such call waits up to the call's own time-out.
pub const RETRIES_PER_CALL: u32 = 10;
/// The first pause before a batch is written again, milliseconds; it doubles with every try.
pub const REWRITE_BACKOFF_MS: u64 = 20;
/// The longest pause before a batch is written again, milliseconds; far below the transaction time-out.
pub const REWRITE_BACKOFF_MAX_MS: u64 = 1_000;

/// How writing or committing a batch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The call may be repeated with the same arguments.
    Retriable,
    /// The transaction must be aborted; its records may be fine.
    Abortable,
    /// Records were refused for what they are or where they go, and it is known which.
    RefusedRecords,
    /// Something was refused for good, and it is not known which record is to blame.
    RefusedUnknown,
    /// A system topic refused a record: no execution's fault, and nothing can be written until it is mended.
    SystemTopicRefused,
    /// The group has gone on to another generation. What this member still holds may be committed under the new one.
    StaleGeneration,
    /// The group does not know this member or instance any more: the partitions may be someone else's.
    NotTheOwner,
    /// Another producer has this transactional id, or the transaction timed out in the broker.
    Fenced,
    /// Whether it was committed is not known.
    Uncertain,
    /// The producer cannot go on.
    Fatal,
}

/// What is known of the batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How often this batch was written before; 0 the first time.
    pub rewrites: u32,
    /// How often the call that failed was repeated; 0 the first time.
    pub retries: u32,
    /// How many executions and dead letters the batch holds.
    pub groups: usize,
    /// Whether every partition that the batch depends on is still held under the assignment under which it was read.
    pub still_held: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Repeat the call.
    Retry,
    /// Abort, wait so many milliseconds, and write the batch again from memory.
    Rewrite {
        /// The pause.
        backoff_ms: u64,
    },
    /// Abort, turn the executions whose records were refused into failures, and write the batch again.
    FailRefused,
    /// Abort, and write the first half of the batch alone; the rest follows as a batch of its own.
    Halve,
    /// Abort, turn the one execution of the batch into a failure, and write it again.
    FailOnly,
    /// Start again from nothing: new producer, new assignment, positions as committed.
    Restart(RestartReason),
}

/// Why a lane starts again from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartReason {
    /// Another producer or member took over, or the transaction timed out.
    Fenced,
    /// It was not known whether a commit went through.
    Uncertain,
    /// Partitions went away before what was read from them was committed.
    AssignmentLost,
    /// A revoke could not be answered in time.
    RevokeTimeout,
    /// The client library gave up.
    Fatal,
    /// The same batch failed too often.
    TooManyRewrites,
    /// A system topic does not take our records.
    SystemTopicRefused,
    /// Nothing was committed for too long although there was work.
    Stalled,
    /// A topic that is held was deleted and created again.
    TopicRecreated,
    /// The start failed: no broker, no right, settings that cannot work.
    StartFailed,
}

impl RestartReason {
    /// The name used as a label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            RestartReason::Fenced => "fenced",
            RestartReason::Uncertain => "uncertain",
            RestartReason::AssignmentLost => "assignment_lost",
            RestartReason::RevokeTimeout => "revoke_timeout",
            RestartReason::Fatal => "fatal",
            RestartReason::TooManyRewrites => "too_many_rewrites",
            RestartReason::SystemTopicRefused => "system_topic_refused",
            RestartReason::Stalled => "stalled",
            RestartReason::TopicRecreated => "topic_recreated",
            RestartReason::StartFailed => "start_failed",
        }
    }
}

/// Decides what follows a failure.
pub fn react(failure: Failure, attempt: Attempt) -> Reaction {
    match failure {
        Failure::Fenced => Reaction::Restart(RestartReason::Fenced),
        Failure::Uncertain => Reaction::Restart(RestartReason::Uncertain),
        Failure::Fatal => Reaction::Restart(RestartReason::Fatal),
        Failure::NotTheOwner => Reaction::Restart(RestartReason::AssignmentLost),
        Failure::SystemTopicRefused => Reaction::Restart(RestartReason::SystemTopicRefused),
        Failure::Retriable if attempt.retries < RETRIES_PER_CALL => Reaction::Retry,
        // A call that never gets through leaves the transaction in an unknown state.
        Failure::Retriable => Reaction::Restart(RestartReason::Uncertain),
        Failure::Abortable | Failure::StaleGeneration | Failure::RefusedRecords | Failure::RefusedUnknown
            if !attempt.still_held =>
        {
            Reaction::Restart(RestartReason::AssignmentLost)
        }
        Failure::Abortable | Failure::StaleGeneration if attempt.rewrites >= REWRITES_PER_BATCH => {
            Reaction::Restart(RestartReason::TooManyRewrites)
        }
        Failure::Abortable | Failure::StaleGeneration => Reaction::Rewrite { backoff_ms: backoff_ms(attempt.rewrites) },
        Failure::RefusedRecords => Reaction::FailRefused,
        Failure::RefusedUnknown if attempt.groups > 1 => Reaction::Halve,
        Failure::RefusedUnknown if attempt.groups == 1 => Reaction::FailOnly,
        // Nothing but offsets was written, so no execution can be to blame.
        Failure::RefusedUnknown => Reaction::Restart(RestartReason::Fatal),
    }
}

fn backoff_ms(rewrites: u32) -> u64 {
    REWRITE_BACKOFF_MS.saturating_mul(1 << rewrites.min(16)).min(REWRITE_BACKOFF_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Attempt = Attempt { rewrites: 0, retries: 0, groups: 3, still_held: true };

    #[track_caller]
    fn check(failure: Failure, attempt: Attempt, expected: Reaction) {
        assert_eq!(react(failure, attempt), expected, "{failure:?} at {attempt:?}");
    }

    #[test]
    fn a_call_is_repeated_a_bounded_number_of_times() {
        check(Failure::Retriable, FIRST, Reaction::Retry);
        let last = Attempt { retries: RETRIES_PER_CALL, ..FIRST };
        check(Failure::Retriable, last, Reaction::Restart(RestartReason::Uncertain));
    }

    #[test]
    fn an_aborted_batch_is_written_again_with_growing_pauses() {
        check(Failure::Abortable, FIRST, Reaction::Rewrite { backoff_ms: 20 });
        check(Failure::Abortable, Attempt { rewrites: 1, ..FIRST }, Reaction::Rewrite { backoff_ms: 40 });
        check(Failure::Abortable, Attempt { rewrites: 7, ..FIRST }, Reaction::Rewrite { backoff_ms: 1_000 });
        let last = Attempt { rewrites: REWRITES_PER_BATCH, ..FIRST };
        check(Failure::Abortable, last, Reaction::Restart(RestartReason::TooManyRewrites));
    }

    #[test]
    fn nothing_is_written_again_for_partitions_that_are_gone() {
        let gone = Attempt { still_held: false, ..FIRST };
        let failures = [Failure::Abortable, Failure::StaleGeneration, Failure::RefusedRecords, Failure::RefusedUnknown];
        for failure in failures.into_iter().chain([Failure::NotTheOwner]) {
            check(failure, gone, Reaction::Restart(RestartReason::AssignmentLost));
        }
    }

    #[test]
    fn a_refusal_fails_the_culprit_and_halves_when_there_is_none() {
        check(Failure::RefusedRecords, FIRST, Reaction::FailRefused);
        check(Failure::RefusedUnknown, FIRST, Reaction::Halve);
        check(Failure::RefusedUnknown, Attempt { groups: 1, ..FIRST }, Reaction::FailOnly);
        check(Failure::RefusedUnknown, Attempt { groups: 0, ..FIRST }, Reaction::Restart(RestartReason::Fatal));
        check(Failure::SystemTopicRefused, FIRST, Reaction::Restart(RestartReason::SystemTopicRefused));
    }

    #[test]
    fn whoever_was_replaced_or_is_in_doubt_restarts() {
        check(Failure::Fenced, FIRST, Reaction::Restart(RestartReason::Fenced));
        check(Failure::Uncertain, FIRST, Reaction::Restart(RestartReason::Uncertain));
        check(Failure::Fatal, FIRST, Reaction::Restart(RestartReason::Fatal));
    }
}
