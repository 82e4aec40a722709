//! Deletes what of the journal is of no use any more: it is kept without a limit of time or size, because what waits must not be forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::client::ClientSettings;
use crate::lane::StopSignal;

/// How often it is deleted: each time costs one request, and what is left until then a little room.
const PURGE_EVERY: Duration = Duration::from_secs(10);

/// Up to where partitions of the journal are done, as their owners have committed it.
#[derive(Debug, Default)]
pub struct Done(Mutex<BTreeMap<i32, i64>>);

impl Done {
    /// What lies before an offset is of no use any more.
    pub fn before(&self, partition: i32, offset: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(partition).or_default();
        *known = offset.max(*known);
    }

    fn beyond(&self, purged: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |(partition, offset): &(&i32, &i64)| purged.get(partition).copied().unwrap_or_default() < **offset;
        all.iter().filter(is_new).map(|(partition, offset)| (*partition, *offset)).collect()
    }
}

/// The thread that deletes.
pub struct Purge(JoinHandle<()>);

impl Purge {
    /// Starts it.
    pub fn start(
        clients: ClientSettings,
        topic: Arc<str>,
        done: Arc<Done>,
        stop: Arc<StopSignal>,
    ) -> std::io::Result<Purge> {
        let thread = std::thread::Builder::new().name("purge".into()).spawn(move || {
            let mut purged = BTreeMap::new();
            while !stop.wait(PURGE_EVERY) {
                if let Err(error) = purge(&clients, &topic, &done, &mut purged) {
                    tracing::warn!(topic = &*topic, cause = %error, "what is done cannot be deleted from the journal; trying again");
                }
            }
        })?;
        Ok(Purge(thread))
    }

    /// Waits for its end, after the signal was set.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that purges the journal panicked");
        }
    }
}

fn purge(
    clients: &ClientSettings,
    topic: &str,
    done: &Done,
    purged: &mut BTreeMap<i32, i64>,
) -> Result<(), AdminError> {
    let before = done.beyond(purged);
    if before.is_empty() {
        return Ok(());
    }
    Admin::new(clients)?.delete_records(topic, &before)?;
    purged.extend(before);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_purged_is_not_purged_again_and_nothing_goes_back() {
        let done = Done::default();
        done.before(0, 5);
        done.before(1, 0);
        done.before(0, 3);
        let mut purged = done.beyond(&BTreeMap::new());
        assert_eq!(purged, BTreeMap::from([(0, 5)]));
        assert!(done.beyond(&purged).is_empty());
        done.before(1, 9);
        purged.extend(done.beyond(&purged));
        assert_eq!(purged, BTreeMap::from([(0, 5), (1, 9)]));
    }
}
