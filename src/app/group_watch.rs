//! Looks now and then whether every partition is held by some member of the group, and makes the members join again if not: a member that
//! restarts at the wrong moment leaves partitions with nobody (see [`crate::kafka::group`]), whose events would wait until somebody
//! happened to join or leave.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::problems::PARTITIONS_UNASSIGNED;
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::client::ClientSettings;
use crate::kafka::group::{self, Holdings};
use crate::lane::StopSignal;
use crate::telemetry::health::Health;

/// How often it looks, at least: a question to every broker and two to one. Each look is up to [`SPREAD`] later, so that instances do not act
/// as one.
const LOOK_EVERY: Duration = Duration::from_secs(4);
const SPREAD: Duration = Duration::from_secs(2);
/// How long partitions must be with nobody, while nothing changes, before something is done: longer than members take to let go of what they
/// must, or to start.
const LASTS: Duration = Duration::from_secs(10);
/// How long it waits at most before it tries again what did not help, for each member of the group: any of them may have a watch.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Tries without effect after which an operator should know.
const TRIES_UNTOLD: u32 = 2;
/// Partitions that a message names.
const NAMED: usize = 3;

/// What the watch needs.
pub struct WatchedGroup {
    /// The Kafka clients' settings.
    pub clients: ClientSettings,
    /// The group.
    pub group: String,
    /// Topics of which all partitions are to be held: names, and regular expressions that start with `^`. Of topics that match one of
    /// these it knows those of which somebody holds something.
    pub topics: Vec<String>,
    /// A topic of which the members of the group want nothing.
    pub other_topic: String,
    /// Who is told.
    pub health: Health,
}

/// Looks until it is told to stop.
pub struct GroupWatch {
    thread: Option<JoinHandle<()>>,
}

impl GroupWatch {
    /// Starts looking, where members share partitions out cooperatively. Elsewhere the coordinator does, or every assignment is whole.
    pub fn start(watched: WatchedGroup, stop: Arc<StopSignal>) -> std::io::Result<GroupWatch> {
        if !watched.clients.members_share() {
            return Ok(GroupWatch { thread: None });
        }
        let thread = std::thread::Builder::new().name("group".into()).spawn(move || {
            let (mut gap, mut admin, mut is_told) = (Gap::default(), None, false);
            while !stop.wait(LOOK_EVERY + spread()) {
                let looked = watched.look(&mut admin, &mut gap, &stop);
                if let Err(error) = &looked {
                    // The next look has a client of its own.
                    admin = None;
                    if !is_told {
                        tracing::warn!(cause = %error, "whether all partitions are held cannot be asked; trying again");
                    }
                }
                is_told = looked.is_err();
            }
        })?;
        Ok(GroupWatch { thread: Some(thread) })
    }

    /// Waits for its end, after the signal was set.
    pub fn join(self) {
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches the group panicked");
        }
    }
}

/// Any part of [`SPREAD`].
fn spread() -> Duration {
    SPREAD.mul_f64((RandomState::new().hash_one(()) % 1_000) as f64 / 1_000.0)
}

impl WatchedGroup {
    fn look(&self, admin: &mut Option<Admin>, gap: &mut Gap, stop: &StopSignal) -> Result<(), AdminError> {
        let admin = match admin {
            Some(admin) => admin,
            None => admin.insert(Admin::new(&self.clients)?),
        };
        let Some(holdings) = admin.group_holdings(&self.group)? else {
            gap.seen = None;
            return Ok(());
        };
        let names = self.topics.iter().map(String::as_str).filter(|name| !name.starts_with('^'));
        let mut names: Vec<&str> = names.chain(holdings.topics()).collect();
        names.sort_unstable();
        names.dedup();
        let free = holdings.held_by_nobody(&admin.partition_counts(&names)?);
        if free.is_empty() {
            *gap = Gap::default();
            self.health.clear(PARTITIONS_UNASSIGNED, &self.group, SystemTime::now());
        } else if gap.is_to_be_closed(holdings, Instant::now()) {
            self.close(&free, gap.tries, stop)?;
        }
        Ok(())
    }

    fn close(&self, free: &[(String, i32)], tries: u32, stop: &StopSignal) -> Result<(), AdminError> {
        let named: Vec<_> = free.iter().take(NAMED).map(|(topic, partition)| format!("{topic}-{partition}")).collect();
        let (count, named) = (free.len(), named.join(", "));
        if tries > TRIES_UNTOLD {
            let message = format!(
                "{count} partitions are held by no member of the group, {named} among them, although the members were made to join again: \
                 what is in them waits; look at the members with `kafka-consumer-groups --describe --members`, and start those again that \
                 hang"
            );
            self.health.raise(PARTITIONS_UNASSIGNED, &self.group, &message, SystemTime::now());
        }
        tracing::warn!(
            group = self.group,
            count,
            named,
            "no member holds these partitions; all are made to join again"
        );
        let place = (&*self.group, &*self.other_topic);
        if !group::make_members_join(&self.clients, place, || stop.is_set())? && !stop.is_set() {
            tracing::warn!(group = self.group, "the group let nobody in; trying again");
        }
        Ok(())
    }
}

/// What is known of partitions that nobody holds.
#[derive(Default)]
struct Gap {
    /// What members held when it was seen last, and since when they do.
    seen: Option<(Holdings, Instant)>,
    /// How often members were made to join again.
    tries: u32,
    not_before: Option<Instant>,
}

impl Gap {
    /// Whether something is to be done about it: it lasts, as it does not while members are about to join again.
    fn is_to_be_closed(&mut self, holdings: Holdings, now: Instant) -> bool {
        let members = u32::try_from(holdings.members()).unwrap_or(u32::MAX).max(1);
        let since = self.seen.take().filter(|(seen, _)| *seen == holdings).map_or(now, |(_, since)| since);
        self.seen = Some((holdings, since));
        if now < since + LASTS || self.not_before.is_some_and(|bound| now < bound) {
            return false;
        }
        self.tries += 1;
        let pause = LOOK_EVERY.saturating_mul(2u32.saturating_pow(self.tries)).min(PAUSE_MAX);
        self.not_before = Some(now + pause.saturating_mul(members));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_closed_when_it_lasts_and_less_and_less_often_if_that_does_not_help() {
        let (mut gap, start) = (Gap::default(), Instant::now());
        let mut tried_at = Vec::new();
        for second in (0..2_000).step_by(5) {
            if gap.is_to_be_closed(Holdings::default(), start + Duration::from_secs(second)) {
                tried_at.push(second);
            }
        }
        assert_eq!(tried_at, [10, 20, 40, 75, 140, 270, 530, 830, 1130, 1430, 1730]);
    }
}
