//! Tenure: what a lane holds right now, and as whom.
//!
//! The broker checks a transaction's offsets only against the group's generation; it would take fresh metadata with
//! somebody else's partitions. So the partitions held and the group metadata are kept together, changed together (inside
//! the rebalance callbacks), and read together: whoever commits asks for the metadata *for* the partitions of a batch.
//!
//! **A new member id is a new member.** A group that lost a member gives it another id when it comes back, and may have
//! given its partitions away in between. librdkafka does not say so where it learns it from the answer to a join: with
//! cooperative assignment it joins again and goes on as the owner of what it had. So what was held under one id is not
//! held under another.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::batch::{AssignmentId, Dependency, SourcePartition};
use crate::kafka::native::GroupMetadata;

/// Whom a group knows.
pub trait Identified {
    /// The id that the group gave to the member when it joined.
    fn member_id(&self) -> &str;
}

impl Identified for GroupMetadata {
    fn member_id(&self) -> &str {
        GroupMetadata::member_id(self)
    }
}

/// Shared by a lane's reader, which changes it, and its committer, which asks it. `M` is the group metadata of the client.
#[derive(Debug)]
pub struct Tenure<M> {
    state: Mutex<State<M>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<M> {
    held: HashMap<SourcePartition, AssignmentId>,
    membership: Option<Arc<M>>,
    epoch: u64,
}

/// The group metadata under which a batch may be committed.
#[derive(Debug)]
pub struct Membership<M> {
    /// The client's metadata: generation and member id.
    pub metadata: Arc<M>,
    /// Rises with every change of the membership.
    pub epoch: u64,
}

impl<M> Clone for Membership<M> {
    fn clone(&self) -> Self {
        Membership { metadata: self.metadata.clone(), epoch: self.epoch }
    }
}

impl<M> Default for Tenure<M> {
    fn default() -> Self {
        let state = State { held: HashMap::new(), membership: None, epoch: 0 };
        Tenure { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<M: Identified> Tenure<M> {
    /// Takes up partitions under the membership that assigned them. False if what was held before is lost: the group knows
    /// the member under another id.
    #[must_use]
    pub fn take_up(&self, partitions: &[(SourcePartition, AssignmentId)], metadata: M) -> bool {
        let mut state = self.lock();
        let kept = self.renew_locked(&mut state, metadata);
        state.held.extend(partitions.iter().cloned());
        kept
    }

    /// The membership changed, the partitions did not. False if what was held is lost, as in [`Tenure::take_up`].
    #[must_use]
    pub fn renew(&self, metadata: M) -> bool {
        self.renew_locked(&mut self.lock(), metadata)
    }

    fn renew_locked(&self, state: &mut State<M>, metadata: M) -> bool {
        let known = state.membership.as_ref().is_some_and(|before| before.member_id() == metadata.member_id());
        let kept = known || state.held.is_empty();
        if !kept {
            state.held.clear();
        }
        state.membership = Some(Arc::new(metadata));
        state.epoch += 1;
        self.changed.notify_all();
        kept
    }
}

impl<M> Tenure<M> {
    /// Lets partitions go: from here on no batch that depends on them can be committed.
    pub fn let_go(&self, partitions: &[SourcePartition]) {
        let mut state = self.lock();
        state.held.retain(|held, _| !partitions.contains(held));
        self.changed.notify_all();
    }

    /// Lets everything go, the membership too.
    pub fn let_all_go(&self) {
        let mut state = self.lock();
        state.held.clear();
        state.membership = None;
        state.epoch += 1;
        self.changed.notify_all();
    }

    /// Whether every dependency is still held under the same assignment.
    pub fn still_holds(&self, dependencies: &[Dependency]) -> bool {
        self.lock().holds(dependencies)
    }

    /// The membership to commit with, if every dependency is still held.
    pub fn membership_for(&self, dependencies: &[Dependency]) -> Option<Membership<M>> {
        let state = self.lock();
        let metadata = state.membership.clone().filter(|_| state.holds(dependencies))?;
        Some(Membership { metadata, epoch: state.epoch })
    }

    /// Waits until the membership is another one than that of `epoch`. False if it still is after `timeout`.
    pub fn wait_for_renewal(&self, epoch: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while state.epoch == epoch {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // Every change is complete before the lock is let go, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> State<M> {
    fn holds(&self, dependencies: &[Dependency]) -> bool {
        dependencies.iter().all(|it| self.held.get(&it.partition) == Some(&it.assignment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Topic;

    fn partition(number: i32) -> SourcePartition {
        SourcePartition { topic: Arc::new(Topic { name: "events".into(), id: [0; 16] }), partition: number }
    }

    fn depends(number: i32, assignment: u64) -> Dependency {
        Dependency { partition: partition(number), assignment: AssignmentId(assignment) }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Member(&'static str, i32);

    impl Identified for Member {
        fn member_id(&self) -> &str {
            self.0
        }
    }

    #[track_caller]
    fn check(tenure: &Tenure<Member>, dependency: Dependency, expected: Option<Member>) {
        assert_eq!(tenure.membership_for(&[dependency]).map(|it| *it.metadata), expected);
    }

    #[test]
    fn a_batch_is_committed_only_under_the_assignment_it_was_read_under() {
        let tenure = Tenure::default();
        assert!(tenure.membership_for(&[]).is_none());
        assert!(tenure.take_up(&[(partition(0), AssignmentId(1)), (partition(1), AssignmentId(2))], Member("a", 1)));
        check(&tenure, depends(0, 1), Some(Member("a", 1)));
        tenure.let_go(&[partition(0)]);
        check(&tenure, depends(0, 1), None);
        assert!(tenure.still_holds(&[depends(1, 2)]));
        assert!(tenure.take_up(&[(partition(0), AssignmentId(3))], Member("a", 2)));
        check(&tenure, depends(0, 1), None);
        check(&tenure, depends(0, 3), Some(Member("a", 2)));
        check(&tenure, depends(1, 2), Some(Member("a", 2)));
        tenure.let_all_go();
        assert!(tenure.membership_for(&[]).is_none());
    }

    #[test]
    fn what_was_held_under_one_member_id_is_not_held_under_another() {
        let tenure = Tenure::default();
        assert!(tenure.take_up(&[(partition(0), AssignmentId(1))], Member("a", 1)));
        assert!(!tenure.renew(Member("b", 2)));
        check(&tenure, depends(0, 1), None);
        assert!(tenure.renew(Member("c", 3)), "nothing was held");
        assert!(tenure.take_up(&[(partition(0), AssignmentId(2))], Member("c", 3)));
        assert!(!tenure.take_up(&[(partition(1), AssignmentId(3))], Member("d", 4)));
        check(&tenure, depends(0, 2), None);
        check(&tenure, depends(1, 3), Some(Member("d", 4)));
        tenure.let_all_go();
        assert!(tenure.take_up(&[(partition(0), AssignmentId(4))], Member("e", 5)), "nothing was held");
    }

    #[test]
    fn a_renewal_is_waited_for_no_longer_than_asked() {
        let tenure = Tenure::default();
        assert!(tenure.renew(Member("a", 1)));
        let first = tenure.membership_for(&[]).unwrap();
        assert!(!tenure.wait_for_renewal(first.epoch, Duration::from_millis(5)));
        assert!(tenure.renew(Member("a", 2)));
        assert!(tenure.wait_for_renewal(first.epoch, Duration::ZERO));
    }
}
