//! Schemas that were looked up, as a codec has compiled them, and look-ups of those that were not.
//!
//! A look never blocks and asks nobody: it answers from memory, and starts a look-up on a runtime where one is due. What time it is, is
//! handed in. What look-ups bring is taken in by the next call that hands in a time, so that every period is measured by one clock.

mod flight;
mod flood;
mod pause;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::client::RegistryClient;
use super::schema::RegisteredSchema;
use crate::codec::avro::SchemaKey;
use flight::Flight;
use state::{Due, State};

/// The most look-ups under way at once, those of a warm start aside, which are made one after another. A registry is a small service
/// that many share.
pub const LOOK_UPS: usize = 8;
/// How long it is believed that a schema is unknown.
pub const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// The period of [`UNKNOWN_PER_WINDOW`].
pub const UNKNOWN_WINDOW: Duration = Duration::from_secs(60);
/// The most look-ups of one asker within [`UNKNOWN_WINDOW`] that may find a schema unknown. Keys are chosen by whoever writes records: more than these
/// are no schemas that are late, but a flood, which must not reach the registry. Each of them asks twice: see [`CacheLimits::ask_again`].
pub const UNKNOWN_PER_WINDOW: usize = 10;
/// The most askers. Others count as the last one.
pub const ASKERS: usize = 1_000;
/// The most keys that [`SchemaCache::seen`] tells and [`SchemaCache::warm`] takes: they are written down and asked for one by one.
pub const SEEN: usize = 256;

/// What a codec makes of a schema; the error says why it cannot be used. It runs on the runtime of the look-ups, so it must not block.
pub type Compile<T> = Arc<dyn Fn(&RegisteredSchema) -> Result<T, String> + Send + Sync>;

/// How much a cache keeps. Of what is above, those go first that were used least recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Schemas, with those that cannot be used.
    pub schemas: usize,
    /// Bytes of their texts. What a codec makes of them is some times that.
    pub bytes: usize,
    /// After how long the registry is asked once more for a schema that it did not know, before that is believed: it may be registered a moment
    /// after the first record that names it, and not every member of a registry knows at once what another one does.
    pub ask_again: Duration,
}

impl Default for CacheLimits {
    /// 1000 schemas, which is what clients of registries commonly keep, with 16 MiB of text: 16 KiB each.
    fn default() -> CacheLimits {
        CacheLimits { schemas: 1_000, bytes: 16 * 1024 * 1024, ask_again: Duration::from_secs(1) }
    }
}

/// What is known of a schema.
#[derive(Clone, Debug)]
pub enum Look<T> {
    /// It is there, compiled.
    Known(Arc<T>),
    /// It is there, and nobody here can use it; why.
    Refused(Arc<str>),
    /// The registry did not know it within the last [`UNKNOWN_FOR`]; where that was, and what would be right.
    Unknown(Arc<str>),
    /// Nobody asks for it, because too many schemas were unknown of late. It counts as unknown until a moment, and is asked for if looked
    /// at after that.
    Flooded {
        /// When it may be asked for.
        until: Instant,
        /// What is wrong, and what would be right.
        message: Arc<str>,
    },
    /// It is not known yet. With a moment, the registry is out, and the next attempt is made by a look at or after that; without one, a
    /// look-up is under way, and `on_settled` is called when it, or one that stands before it, ends.
    Pending {
        /// When to look again, if nothing settles before.
        until: Option<Instant>,
    },
}

/// A registry that gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What was asked, where, what went wrong last, and what would be right.
    pub message: Arc<str>,
    /// Since when no look-up has got an answer.
    pub since: Instant,
}

/// A cache of schemas; cheap to clone, all clones are one. What it has of a schema is kept until it is pushed out: keys are never reused.
pub struct SchemaCache<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    client: Arc<RegistryClient>,
    runtime: Handle,
    compile: Compile<T>,
    on_settled: Arc<dyn Fn() + Send + Sync>,
    ask_again: Duration,
    state: Mutex<State<T>>,
}

impl<T: Send + Sync + 'static> SchemaCache<T> {
    /// An empty cache. Look-ups run on `runtime`, which needs I/O and time. `on_settled` is called from there after each of them, and must
    /// not block.
    pub fn new(
        client: Arc<RegistryClient>,
        runtime: Handle,
        limits: CacheLimits,
        compile: Compile<T>,
        on_settled: Arc<dyn Fn() + Send + Sync>,
    ) -> SchemaCache<T> {
        let (state, ask_again) = (Mutex::new(State::new(limits)), limits.ask_again);
        SchemaCache { shared: Arc::new(Shared { client, runtime, compile, on_settled, ask_again, state }) }
    }

    /// What is known of a schema. It starts a look-up if one is due, and never waits for it. Each asker, a source say, has a number of its own,
    /// from 0 and less than [`ASKERS`]: what one has asked for that is unknown does not keep others from asking.
    pub fn look(&self, key: SchemaKey, asker: usize, now: Instant) -> Look<T> {
        let (look, due) = self.shared.lock().look(key, asker, now);
        if let Some(due) = due {
            let flight = Flight::new(self.shared.clone(), due);
            self.shared.runtime.spawn(flight.made());
        }
        look
    }

    /// Since when and why the registry gives no answer; None if the last look-up that ended got one.
    pub fn outage(&self, now: Instant) -> Option<Outage> {
        let mut state = self.shared.lock();
        state.take_in(now);
        state.outage()
    }

    /// Asks whether an outage is over that no look finds out about: nobody may need another schema.
    pub async fn probe(&self, now: Instant) {
        let is_forgotten = self.shared.lock().is_forgotten(now);
        if is_forgotten && self.shared.client.answers().await {
            self.shared.lock().answered();
        }
    }

    /// The schemas that were used last, most recently used first, at most [`SEEN`].
    pub fn seen(&self) -> Vec<SchemaKey> {
        self.shared.lock().seen()
    }

    /// Looks schemas up before records need them, at most [`SEEN`], one after another in their order. It returns at once, and ends early
    /// at an outage or when one is unknown, as those of another registry are: it saves time where it can, and nothing depends on it.
    pub fn warm(&self, keys: Vec<SchemaKey>) {
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            for key in keys.into_iter().take(SEEN) {
                let due = shared.lock().warm(key);
                match due {
                    Due::Start(start) => Flight::new(shared.clone(), start).made().await,
                    Due::Needless => {}
                    Due::Ended => return,
                }
            }
        });
    }
}

impl<T> Clone for SchemaCache<T> {
    fn clone(&self) -> SchemaCache<T> {
        SchemaCache { shared: self.shared.clone() }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
