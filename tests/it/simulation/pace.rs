//! How fast calls of a connector have started, as it sees that.

/// What may start at once: as much as in so long, and one call in any case.
const BURST_MS: f64 = 100.0;
/// What arithmetic may be wrong by, in calls.
const SLACK: f64 = 1e-3;

/// Calls that have started, and how many may in a second.
pub struct Pace {
    per_second: f64,
    started_ms: Vec<i64>,
}

impl Pace {
    /// That of one that was not called so far.
    pub fn new(per_second: f64) -> Pace {
        Pace { per_second, started_ms: Vec::new() }
    }

    /// A call starts. What is wrong with that: of any length of time back from now no more calls may have started in it than the rate allows, and
    /// what may start at once.
    pub fn started(&mut self, now_ms: i64) -> Option<String> {
        self.started_ms.push(now_ms);
        let at_once = (self.per_second * BURST_MS / 1_000.0).max(1.0);
        let is_too_much = |(count, since_ms): &(usize, i64)| {
            let allowed = at_once + self.per_second * (now_ms - since_ms) as f64 / 1_000.0;
            *count as f64 > allowed + SLACK
        };
        let (count, since_ms) = (1..).zip(self.started_ms.iter().rev().copied()).find(is_too_much)?;
        Some(format!("{count} calls have started since {since_ms}, of {} a second", self.per_second))
    }
}
