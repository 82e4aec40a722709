//! The rules that can be broken on purpose.

/// A rule that the lane breaks on purpose, to show that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Every rule is kept.
    Nothing,
    /// Batches are committed for partitions that are gone, under the newest generation.
    Tenure,
    /// A member that was put out and is another one now goes on with what it held.
    MemberId,
    /// The committed position forgets which workflow was the last one done.
    PositionInsideEvent,
    /// A producer goes on after a commit in doubt.
    ProducerInDoubt,
    /// A restart goes on from where the lane was, not from the committed offsets.
    RestartFromMemory,
    /// A refused execution is left out instead of being failed.
    DropRefused,
    /// A partition of the journal counts as read at its last stable offset.
    RestoreToStable,
    /// The journal is deleted up to a position that is written and not known to be committed.
    PurgesWritten,
    /// The journal is deleted up to its end.
    PurgesAll,
    /// Calls start for what is written and not committed.
    EffectsBeforeCommit,
    /// Calls start without a recent commit.
    NoLease,
    /// Who takes a partition up does not wait until the lease of the owner before is over.
    WaitsForNoLease,
    /// Who gives a partition up says that nobody calls for it any more, though it has not waited for the owner before.
    ReleasedTooSoon,
    /// A commit counts for the leases of all partitions that its batch depends on, also of those that it did not move.
    LeaseOfWhatStays,
    /// Calls go on for a partition that was released.
    CallsAfterRelease,
    /// The owner is not told that something was written otherwise than it said.
    ReplacedUnsaid,
    /// What is read again of an execution is not the last that was written of it.
    OldCheckpoint,
    /// Executions that are ordered by key begin as they come.
    AnyOrder,
    /// Who replays goes on with what was there before, and does not look again.
    ReplayFromMemory,
    /// What was replayed is resolved in a transaction of its own.
    ReplayThenResolve,
    /// The permit of a call that is broken off is not given back.
    PermitIsLost,
    /// The answer to a call of an earlier generation of its breaker decides whether it closes.
    LateAnswerDecides,
    /// A breaker that has opened does not wait until its time is over.
    NoRecovery,
    /// What the target asked for with `Retry-After` is forgotten.
    NoRetryAfter,
    /// Calls start as fast as they come, whatever the rate of their connector.
    NoRate,
    /// A breaker that looks at the calls of some seconds looks at those of one.
    WindowForgets,
    /// A breaker that looks at the calls of some seconds forgets none of them.
    WindowKeeps,
    /// A breaker does not open because an operator wants it to.
    NotForcedOpen,
    /// A breaker opens though an operator wants it to be closed.
    NotForcedClosed,
    /// What an operator wants does not lapse.
    NoLapse,
    /// An instance that starts does not read what operators want.
    OverridesUnread,
    /// The lanes of an instance share no gates.
    GatesOfEachLane,
    /// Lanes that are parked are not told that a call has ended.
    NobodyIsWoken,
    /// A lane that has nothing to call any more keeps its place before a gate.
    SlotIsKept,
    /// Timers go off too early, those of retries among them.
    NoBackoff,
    /// Some attempts are not counted that asked nothing of their connector.
    OnceTooFew,
    /// Attempts count that asked whether their connector works again.
    ProbesCount,
    /// What is cancelled while its owner cannot go on with it is not.
    CancelIsForgotten,
    /// A child that has not ended in time is not cancelled.
    ChildIsLeft,
    /// A call that is about to start is not told that its execution has ended.
    CallsForTheEnded,
}
