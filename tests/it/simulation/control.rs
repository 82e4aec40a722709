//! What operators want of circuit breakers, in a part of the seeds: the topic on which they say it, and the instances that follow it.
//!
//! An instance reads the whole topic before a lane of it starts, and reads on when it comes to it. All of it is drawn from a generator of its own, so
//! that the other seeds are the runs that they were.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::bench::workload::Random;
use tidegate::engine::breaker::Override;

use super::broken::Broken;
use super::cluster::Shared;
use super::gates::Instance;
use super::lane::Lane;
use super::outages::NAMES;

/// One seed of so many is one in which operators want something, and which.
const ONE_OF: u64 = 7;
const WHICH: u64 = 3;
/// One step of so many says something.
const EVERY: usize = 100;
/// What nobody has said an end of is ended in one step of so many.
const ENDS: usize = 150;
/// One step of so many lets an instance read on.
const READS: usize = 12;

/// What is wanted until a moment, which may be [`NEVER`]; None: nothing any more.
pub type Wish = Option<(Override, i64)>;
/// The moment at which a wish ends whose end somebody has to say.
const NEVER: i64 = i64::MAX;

/// What operators want in one seed.
pub struct Control {
    broken: Broken,
    drawn: RefCell<Drawn>,
    /// How often what was said, and how often an instance that starts has read something that holds.
    pub counts: RefCell<BTreeMap<&'static str, u32>>,
}

struct Drawn {
    random: Random,
    /// What was said, in order.
    records: Vec<(Arc<str>, Wish)>,
    /// How much of it the instances that live have read.
    read: BTreeMap<usize, usize>,
}

/// Whether operators want something in a seed.
pub fn is_of(seed: &u64) -> bool {
    seed % ONE_OF == WHICH
}

impl Control {
    /// That of a seed, if it is one of those.
    pub fn of(seed: u64, broken: Broken) -> Option<Control> {
        if !is_of(&seed) {
            return None;
        }
        let random = Random::new(seed ^ 0xD6E8_FEB8_6659_FD93);
        let drawn = Drawn { random, records: Vec::new(), read: BTreeMap::new() };
        Some(Control { broken, drawn: RefCell::new(drawn), counts: RefCell::default() })
    }

    /// A lane of an instance starts. If it is the first one, the instance reads what is there.
    pub fn starts(&self, instance: &Instance, shared: &Shared, now_ms: i64) {
        let Drawn { records, read, .. } = &mut *self.drawn.borrow_mut();
        if read.contains_key(&instance.number) {
            return;
        }
        read.insert(instance.number, records.len());
        let last: BTreeMap<&Arc<str>, Wish> = records.iter().map(|(connector, wish)| (connector, *wish)).collect();
        for (connector, wish) in last {
            if wish.is_some_and(|(_, until_ms)| now_ms < until_ms) {
                self.count("read of a breaker at the start");
            }
            shared.target.forced((instance.number, connector), wish, now_ms);
            if self.broken != Broken::OverridesUnread {
                instance.force(connector, wish, now_ms);
            }
        }
    }

    /// An instance was killed.
    pub fn killed(&self, instance: usize) {
        self.drawn.borrow_mut().read.remove(&instance);
    }

    /// One small step. `calm`: what is wanted ends.
    pub fn step(&self, lanes: &[Lane], shared: &Shared, calm: bool, now_ms: i64) {
        self.say(calm, now_ms);
        let Drawn { random, records, read } = &mut *self.drawn.borrow_mut();
        let lane = &lanes[random.below(lanes.len())];
        let Some(read) = read.get_mut(&lane.instance.number).filter(|_| now_ms >= lane.stopped_until_ms) else {
            return;
        };
        if random.below(READS) > 0 {
            return;
        }
        for (connector, wish) in &records[*read..] {
            shared.target.forced((lane.instance.number, connector), *wish, now_ms);
            lane.instance.force(connector, *wish, now_ms);
        }
        *read = records.len();
        shared.target.lapse(lane.instance.number, now_ms);
        lane.instance.lapse(now_ms);
    }

    /// An operator says something, or ends what has no end.
    fn say(&self, calm: bool, now_ms: i64) {
        let Drawn { random, records, .. } = &mut *self.drawn.borrow_mut();
        let connector: Arc<str> = NAMES[random.below(NAMES.len())].into();
        let last = records.iter().rev().find(|(it, _)| *it == connector).and_then(|(_, wish)| *wish);
        let is_endless = last.is_some_and(|(_, until_ms)| until_ms == NEVER);
        if is_endless && (calm || random.below(ENDS) == 0) {
            self.count("ended over a breaker");
            records.push((connector, None));
        } else if !calm && random.below(EVERY) == 0 {
            let (wish, what) = match random.below(2) {
                0 => (Override::Open, "wanted of a breaker: open"),
                _ => (Override::Close, "wanted of a breaker: closed"),
            };
            let until_ms = if random.below(4) == 0 { NEVER } else { now_ms + random.below(300) as i64 };
            self.count(what);
            records.push((connector, Some((wish, until_ms))));
        }
    }

    fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }
}
