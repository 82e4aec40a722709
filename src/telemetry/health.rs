//! Health: what lanes and the composition report, and whether that adds up to an instance that is alive and ready.
//!
//! ```text
//!             joined ── caught up ── committing          alive: every lane's loop turns
//!  lane 0        ✓          –            ✓
//!  lane 1        ✓          –            ✓      ──▶      ready: definitions are read, every lane has joined,
//!  definitions              ✓                            and no commit is overdue
//! ```
//!
//! Time is an argument, so that its passing is tested without waiting.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A commit that takes longer than this is overdue: longer than a rebalance or the restart of a broker takes, and shorter than a
/// transaction's time-out.
pub const COMMIT_OVERDUE: Duration = Duration::from_secs(30);
/// A lane whose loop has not turned for so long hangs; all its calls are bounded by a few seconds.
pub const LANE_HANGS: Duration = Duration::from_secs(120);
/// The most problems that are kept; further ones are only logged.
const PROBLEMS: usize = 256;
/// The longest message of a problem that is kept, in characters.
const MESSAGE_CHARACTERS: usize = 1024;

/// The health of one instance. Cheap to clone; clones are the same health.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    definitions_caught_up: bool,
    stopping: bool,
    problems: BTreeMap<(&'static str, String), Problem>,
    listener: Option<Listener>,
}

/// Who is told of problems that begin and end.
struct Listener(Box<dyn Fn(&Change) + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Listener")
    }
}

/// A problem that began or ended. Told once for each, however often it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What kind of problem.
    pub kind: &'static str,
    /// What it is about.
    pub subject: String,
    /// What is or was wrong and how to mend it.
    pub message: String,
    /// Whether it began; else it ended.
    pub raised: bool,
    /// When.
    pub at: SystemTime,
    /// The records that were lost, where that is the problem.
    pub lost: Option<LostOffsets>,
    /// How a circuit breaker has turned, if it is about that.
    pub turn: Option<Turn>,
}

/// The state that a circuit breaker had, and the one that it has since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Before.
    pub from: &'static str,
    /// Since.
    pub to: &'static str,
}

/// Records of one partition that were deleted before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOffsets {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The first offset that was lost.
    pub first: i64,
    /// The last offset that was lost.
    pub last: i64,
}

#[derive(Clone, Debug)]
struct Lane {
    joined: bool,
    /// Since when there is something to commit that is not committed.
    uncommitted_since: Option<Instant>,
    turned: Instant,
}

/// Something that an operator should look at. It does not make the instance unready by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem, one of few words.
    pub kind: &'static str,
    /// What it is about: a topic, an instance.
    pub subject: String,
    /// What is wrong and how to mend it.
    pub message: String,
    /// When it was first seen.
    pub since: SystemTime,
}

/// Whether an instance does its work, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not, in sentences without a full stop; empty if it is.
    pub reasons: Vec<String>,
    /// What an operator should look at, ready or not.
    pub problems: Vec<Problem>,
}

impl Problem {
    fn change(&self, raised: bool, at: SystemTime) -> Change {
        let Problem { kind, subject, message, since: _ } = self.clone();
        Change { kind, subject, message, raised, at, lost: None, turn: None }
    }
}

impl State {
    fn tell(&self, change: &Change) {
        if let Some(Listener(listener)) = &self.listener {
            listener(change);
        }
    }
}

impl Health {
    /// The health of an instance that has just started.
    pub fn new(lanes: usize, now: Instant) -> Health {
        let lane = Lane { joined: false, uncommitted_since: None, turned: now };
        let lanes = vec![lane; lanes];
        let problems = BTreeMap::new();
        let state = State { lanes, definitions_caught_up: false, stopping: false, problems, listener: None };
        Health(Arc::new(Mutex::new(state)))
    }

    /// Has `listener` told of every problem there is, and of every one that begins or ends from now on, in order. It is called while
    /// the state is locked: it must not block, and not ask this health.
    pub fn listen(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        let mut state = self.state();
        state.problems.values().for_each(|problem| listener(&problem.change(true, problem.since)));
        state.listener = Some(Listener(Box::new(listener)));
    }

    /// Whether a lane is a member of its group and has been told its partitions.
    pub fn set_joined(&self, lane: usize, joined: bool) {
        self.with_lane(lane, |lane| lane.joined = joined);
    }

    /// A lane's loop has turned.
    pub fn lane_turned(&self, lane: usize, now: Instant) {
        self.with_lane(lane, |lane| lane.turned = now);
    }

    /// A lane has something to commit. Said again, it does not start again.
    pub fn commit_wanted(&self, lane: usize, now: Instant) {
        self.with_lane(lane, |lane| lane.uncommitted_since = lane.uncommitted_since.or(Some(now)));
    }

    /// A lane has committed; `more` if there is already something else to commit.
    pub fn committed(&self, lane: usize, now: Instant, more: bool) {
        self.with_lane(lane, |lane| lane.uncommitted_since = more.then_some(now));
    }

    /// A lane starts again from nothing: it has joined nothing. What it has not committed stays overdue until it commits.
    pub fn lane_restarted(&self, lane: usize, now: Instant) {
        self.with_lane(lane, |lane| {
            lane.joined = false;
            lane.turned = now;
        });
    }

    /// Whether the definitions are read to their end.
    pub fn set_definitions_caught_up(&self, caught_up: bool) {
        self.state().definitions_caught_up = caught_up;
    }

    /// The instance stops: nobody should send it anything new.
    pub fn stop(&self) {
        self.state().stopping = true;
    }

    /// Something is wrong with `subject`. Said again, only the message is renewed.
    pub fn raise(&self, kind: &'static str, subject: &str, message: &str, now: SystemTime) {
        let message: String = message.chars().take(MESSAGE_CHARACTERS).collect();
        // Logged before the lock is taken: a slow terminal must not hold up whoever asks for health.
        if !self.state().problems.contains_key(&(kind, subject.to_owned())) {
            tracing::warn!(kind, subject, error = message, "a problem needs attention");
        }
        let mut state = self.state();
        let has_room = state.problems.len() < PROBLEMS;
        match state.problems.entry((kind, subject.to_owned())) {
            Entry::Occupied(mut known) => known.get_mut().message = message,
            Entry::Vacant(place) if has_room => {
                let change = place.insert(Problem { kind, subject: subject.to_owned(), message, since: now });
                let change = change.change(true, now);
                state.tell(&change);
            }
            Entry::Vacant(_) => {}
        }
    }

    /// Records were lost: something that happened and cannot be mended, so every time is told, and the newest is kept.
    pub fn records_lost(&self, kind: &'static str, subject: &str, message: &str, lost: LostOffsets, now: SystemTime) {
        let message: String = message.chars().take(MESSAGE_CHARACTERS).collect();
        let problem = Problem { kind, subject: subject.to_owned(), message, since: now };
        let mut state = self.state();
        state.tell(&Change { lost: Some(lost), ..problem.change(true, now) });
        let key = (kind, subject.to_owned());
        if state.problems.len() < PROBLEMS || state.problems.contains_key(&key) {
            state.problems.insert(key, problem);
        }
    }

    /// A circuit breaker has turned. Every turn is told; `wrong` says what is wrong since, or that it says so no more.
    pub fn turned(
        &self,
        kind: &'static str,
        subject: &str,
        (wrong, message): (bool, &str),
        turn: Turn,
        now: SystemTime,
    ) {
        let problem = Problem { kind, subject: subject.to_owned(), message: message.to_owned(), since: now };
        let key = (kind, subject.to_owned());
        let mut state = self.state();
        let (was_wrong, has_room) = (state.problems.contains_key(&key), state.problems.len() < PROBLEMS);
        match state.problems.entry(key) {
            Entry::Occupied(mut known) if wrong => known.get_mut().message.clone_from(&problem.message),
            Entry::Occupied(known) => drop(known.remove()),
            Entry::Vacant(place) if wrong && has_room => drop(place.insert(problem.clone())),
            Entry::Vacant(_) => {}
        }
        state.tell(&Change { turn: Some(turn), ..problem.change(wrong, now) });
        drop(state);
        match (was_wrong, wrong) {
            (false, true) => tracing::warn!(kind, subject, error = message, "a problem needs attention"),
            (true, false) => tracing::info!(kind, subject, "a problem is mended"),
            (true, true) | (false, false) => {}
        }
    }

    /// It is mended.
    pub fn clear(&self, kind: &'static str, subject: &str, now: SystemTime) {
        let mut state = self.state();
        let Some(mended) = state.problems.remove(&(kind, subject.to_owned())) else { return };
        state.tell(&mended.change(false, now));
        drop(state);
        tracing::info!(kind, subject, "a problem is mended");
    }

    /// An operator settled it: told as ended even if it was another process, before this one, in which it began.
    pub fn settle(&self, kind: &'static str, subject: &str, message: &str, now: SystemTime) {
        let mut state = self.state();
        state.problems.remove(&(kind, subject.to_owned()));
        let problem = Problem { kind, subject: subject.to_owned(), message: message.to_owned(), since: now };
        state.tell(&problem.change(false, now));
    }

    /// The lanes that hang. An instance with one should be killed and started again; it loses nothing.
    pub fn hanging_lanes(&self, now: Instant) -> Vec<usize> {
        let state = self.state();
        let hangs = |lane: &Lane| now.saturating_duration_since(lane.turned) > LANE_HANGS;
        state.lanes.iter().enumerate().filter(|(_, lane)| hangs(lane)).map(|(index, _)| index).collect()
    }

    /// Whether the instance does its work, and why not.
    pub fn readiness(&self, now: Instant) -> Readiness {
        let state = self.state();
        let mut reasons = Vec::new();
        if state.stopping {
            reasons.push("the instance is stopping".to_owned());
        }
        if !state.definitions_caught_up {
            reasons.push("the definitions are not yet read to their end".to_owned());
        }
        let lanes_where = |what: &str, found: &dyn Fn(&Lane) -> bool| {
            let found: Vec<_> = (0..).zip(&state.lanes).filter(|(_, lane)| found(lane)).collect();
            let indexes: Vec<_> = found.iter().map(|(index, _): &(usize, _)| index.to_string()).collect();
            (!indexes.is_empty()).then(|| format!("lanes {what}: {}", indexes.join(", ")))
        };
        let overdue = |since: Instant| now.saturating_duration_since(since) > COMMIT_OVERDUE;
        reasons.extend(lanes_where("that have not joined the group", &|lane| !lane.joined));
        reasons.extend(lanes_where("whose commit is overdue", &|lane| lane.uncommitted_since.is_some_and(overdue)));
        let problems = state.problems.values().cloned().collect();
        Readiness { ready: reasons.is_empty(), reasons, problems }
    }

    fn with_lane(&self, lane: usize, change: impl FnOnce(&mut Lane)) {
        let mut state = self.state();
        debug_assert!(lane < state.lanes.len(), "there is no lane {lane}");
        if let Some(lane) = state.lanes.get_mut(lane) {
            change(lane);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves the state half done, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
