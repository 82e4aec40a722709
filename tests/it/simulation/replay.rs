//! Those who replay in the simulated cluster, and what must come of it.

use tidegate::bench::workload::Random;
use tidegate::engine::record::{DeadLetter, JournalRecord};
use tidegate::engine::replay::{self, Repair};

use super::broken::Broken;
use super::cluster::{JOURNAL, Shared};
use super::log::{FakeLog, Line, Wrote};
use super::waiting;

/// The one id of all who replay.
const ID: &str = "replay";

/// Somebody who replays: everything that has failed once, and nothing twice.
pub struct Operator {
    epoch: Option<u32>,
    /// What is left of what was there when the topic was read.
    letters: Vec<DeadLetter>,
    idle_until_ms: i64,
    broken: Broken,
    /// How many letters were brought back by transactions that are known to be committed.
    pub brought_back: u32,
}

/// The mail for a dead letter.
fn mail(letter: &DeadLetter, now_ms: i64) -> JournalRecord {
    replay::resume(letter.clone(), &Repair::default(), JOURNAL, now_ms)
}

/// Whether a dead letter is brought back: what comes back once is not brought back again.
pub fn comes_back(letter: &DeadLetter) -> bool {
    letter.returns == 0
}

impl Operator {
    /// One who has not begun.
    pub fn new(broken: Broken) -> Operator {
        Operator { epoch: None, letters: Vec::new(), idle_until_ms: 0, broken, brought_back: 0 }
    }

    /// Everything it knew is gone.
    fn stop(&mut self, now_ms: i64, random: &mut Random) {
        self.epoch = None;
        self.idle_until_ms = now_ms + random.below(200) as i64;
        if self.broken != Broken::ReplayFromMemory {
            self.letters.clear();
        }
    }

    /// One small step.
    pub fn step(&mut self, shared: &Shared, log: &mut FakeLog, random: &mut Random, now_ms: i64) {
        if now_ms < self.idle_until_ms {
            return;
        }
        let Some(epoch) = self.epoch else {
            self.epoch = Some(log.init_producer(ID));
            if self.broken != Broken::ReplayFromMemory || self.letters.is_empty() {
                self.letters = log.letters.values().flatten().filter(|letter| comes_back(letter)).cloned().collect();
            }
            return;
        };
        if self.letters.is_empty() || random.below(20) == 0 {
            return self.stop(now_ms, random);
        }
        let count = (1 + random.below(4)).min(self.letters.len());
        let batch = self.letters.split_off(self.letters.len() - count);
        let mails = batch.iter().map(|letter| Wrote::Journal(mail(letter, now_ms)));
        let resolved = batch.iter().map(|letter| Wrote::Letter(letter.id, None));
        let written = if self.broken == Broken::ReplayThenResolve {
            let written =
                log.write(ID, epoch, &mails.collect::<Vec<_>>(), now_ms).and_then(|()| log.end(ID, epoch, true));
            if random.below(10) == 0 {
                return self.stop(now_ms, random);
            }
            written.and_then(|()| log.write(ID, epoch, &resolved.collect::<Vec<_>>(), now_ms))
        } else {
            log.write(ID, epoch, &mails.chain(resolved).collect::<Vec<_>>(), now_ms)
        };
        let ended = match random.below(10) {
            // It is killed, or the answer does not come: it was committed, or not, or will be, late.
            0 => None,
            1 => {
                shared.late.borrow_mut().push((ID.to_owned(), epoch));
                None
            }
            2 => {
                let _ = log.end(ID, epoch, true);
                None
            }
            _ => written.and_then(|()| log.end(ID, epoch, true)).ok(),
        };
        match ended {
            Some(()) => self.brought_back += count as u32,
            None => {
                if self.broken == Broken::ReplayFromMemory {
                    self.letters.extend(batch);
                }
                self.stop(now_ms, random);
            }
        }
    }
}

/// What must be written for dead letters that come back, and for those that come of it.
pub fn expected(shared: &Shared, mut letters: Vec<DeadLetter>) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Some(letter) = letters.pop() {
        if comes_back(&letter) {
            waiting::finish_alone(shared, mail(&letter, 0), &mut lines, &mut letters);
        }
    }
    lines
}

/// Whether everything has come back that must.
pub fn is_done(log: &FakeLog) -> bool {
    !log.letters.values().flatten().any(comes_back)
}
