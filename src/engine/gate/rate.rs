//! How fast calls of a connector may start.

/// Calls a second of one connector and instance: at least, and at most. The slowest leaves a quarter of an hour between two calls.
pub const RATE: (f64, f64) = (0.001, 100_000.0);
/// How much may be taken at once, in nanoseconds of the rate.
const BURST_NS: u64 = 100_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// How fast calls may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The share of a second that each call takes, in nanoseconds.
    share_ns: u64,
}

impl Rate {
    /// So many calls a second, also less than one; None outside of [`RATE`].
    pub fn per_second(calls: f64) -> Option<Rate> {
        let (slowest, fastest) = RATE;
        (slowest..=fastest).contains(&calls).then(|| Rate { share_ns: (1e9 / calls).round() as u64 })
    }
}

/// Calls that have started, spread over time: one takes a place for the length of its share of a second (the generic cell rate algorithm,
/// ITU-T I.371, with a burst of a tenth of a second).
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When everything that was taken is paid for, in nanoseconds.
    paid_ns: u64,
}

impl Bucket {
    /// When there is room for one more after so many others, in milliseconds, rounded up; None if there is.
    pub(super) fn full_until_ms(&self, rate: Option<Rate>, others: u32, now_ms: u64) -> Option<u64> {
        let Rate { share_ns } = rate?;
        let wanted_ns = share_ns.saturating_mul(u64::from(others) + 1);
        let room_ns = self.paid_ns.saturating_add(wanted_ns).saturating_sub(BURST_NS.max(share_ns));
        (room_ns > now_ms.saturating_mul(NS_PER_MS)).then(|| room_ns.div_ceil(NS_PER_MS))
    }

    pub(super) fn take(&mut self, rate: Option<Rate>, now_ms: u64) {
        if let Some(Rate { share_ns }) = rate {
            self.paid_ns = self.paid_ns.max(now_ms.saturating_mul(NS_PER_MS)).saturating_add(share_ns);
        }
    }
}
