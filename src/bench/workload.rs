//! The events and the workflows of the reference jobs.
//!
//! An event is a CloudEvent in binary mode with a JSON body of 1 024 ± 8 bytes: 24 leaf fields, depth 3, an array of six, a
//! string of 300 characters with escapes and non-ASCII, four numbers. Types follow a Zipf distribution over 200, keys one over
//! 10 000 accounts. Everything follows from a seed, so that every job and every round sees the same events.

use std::fmt::Write as _;

/// How many event types there are.
pub const TYPES: usize = 200;
/// How many accounts (record keys) there are.
pub const ACCOUNTS: usize = 10_000;
/// The size of an event's body in bytes, unless a job varies it.
pub const BODY_BYTES: usize = 1024;

/// A small, fast generator of numbers that look random (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that follows from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// The next number from 0 up to, not including, 1.
    pub fn next_unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_unit() * bound as f64) as usize
    }
}

/// A Zipf distribution over `0..n`: rank k has a weight of 1 / (k + 1)^s.
#[derive(Clone, Debug)]
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// The distribution over `n` ranks with exponent `s`.
    pub fn new(n: usize, s: f64) -> Zipf {
        let mut sum = 0.0;
        let cumulative = (1..=n)
            .map(|rank| {
                sum += (rank as f64).powf(-s);
                sum
            })
            .collect();
        Zipf { cumulative }
    }

    /// Draws a rank.
    pub fn draw(&self, random: &mut Random) -> usize {
        let at = random.next_unit() * self.cumulative.last().copied().unwrap_or(0.0);
        self.cumulative.partition_point(|sum| *sum <= at).min(self.cumulative.len().saturating_sub(1))
    }
}

/// One event of the reference jobs.
#[derive(Clone, Debug)]
pub struct LoadEvent {
    /// The record's key: the account.
    pub key: String,
    /// The event's type, `shop.area-N.thing-M`.
    pub kind: String,
    /// The event's id.
    pub id: String,
    /// A valid `traceparent`.
    pub traceparent: String,
    /// The JSON body.
    pub body: String,
}

/// Makes the events of the reference jobs, one after the other.
#[derive(Clone, Debug)]
pub struct Workload {
    random: Random,
    types: Zipf,
    accounts: Zipf,
    next: u64,
    body_bytes: usize,
}

impl Workload {
    /// The events that follow from a seed, with bodies of about so many bytes.
    pub fn new(seed: u64, body_bytes: usize) -> Workload {
        Workload {
            random: Random::new(seed),
            types: Zipf::new(TYPES, 1.0),
            accounts: Zipf::new(ACCOUNTS, 0.99),
            next: 0,
            body_bytes,
        }
    }

    /// The next event.
    pub fn next_event(&mut self) -> LoadEvent {
        let number = self.next;
        self.next += 1;
        let kind = type_name(self.types.draw(&mut self.random));
        let account = self.accounts.draw(&mut self.random);
        let body = self.body(number, account);
        let (high, low) = (self.random.next_u64() | 1, self.random.next_u64());
        LoadEvent {
            key: format!("account-{account}"),
            kind,
            id: format!("event-{number}"),
            traceparent: format!("00-{high:016x}{low:016x}-{high:016x}-01"),
            body,
        }
    }

    fn body(&mut self, number: u64, account: usize) -> String {
        let random = &mut self.random;
        // One event in five is below the condition's bound.
        let amount = if random.below(5) == 0 { random.below(100) } else { 100 + random.below(10_000) };
        let country = ["DE", "FR", "US", "JP", "BR", "IN"][random.below(6)];
        let mut body = String::with_capacity(self.body_bytes + 16);
        let _ = write!(
            body,
            "{{\"id\":\"order-{number}\",\"account\":\"account-{account}\",\"amount\":{amount},\"tax\":{}.{:02},\
             \"quantity\":{},\"currency\":\"EUR\",\"country\":\"{country}\",\"paid\":true,\"channel\":\"web\",\"coupon\":null,\
             \"customer\":{{\"name\":\"Ada Lovelace\",\"email\":\"ada@example.com\",\"tier\":\"gold\",\
             \"address\":{{\"street\":\"12 St James's Square\",\"city\":\"London\",\"zip\":\"SW1Y\"}}}},\
             \"shipping\":{{\"carrier\":\"post\",\"express\":false,\"weight\":{}}},\
             \"items\":[\"a-1\",\"b-22\",\"c-333\",\"d-4\",\"e-55\",\"f-666\"],\"note\":\"",
            random.below(90),
            random.below(100),
            1 + random.below(9),
            100 + random.below(900),
        );
        for index in 0..300 {
            match index % 50 {
                20 => body.push_str("\\n"),
                30 => body.push('ü'),
                40 => body.push_str("\\\""),
                _ => body.push(char::from(b'a' + random.below(26) as u8)),
            }
        }
        body.push_str("\",\"padding\":\"");
        while body.len() + 2 < self.body_bytes {
            body.push(char::from(b'a' + random.below(26) as u8));
        }
        body.push_str("\"}");
        body
    }
}

/// The name of a type by rank: three segments, so that prefixes and wildcards have something to hold.
pub fn type_name(rank: usize) -> String {
    format!("shop.area-{}.thing-{rank}", rank % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_size_and_shape_of_the_reference() {
        let mut workload = Workload::new(7, BODY_BYTES);
        for _ in 0..500 {
            let event = workload.next_event();
            let parsed: serde_json::Value = serde_json::from_str(&event.body).unwrap();
            assert!(event.body.len().abs_diff(BODY_BYTES) <= 8, "{}", event.body.len());
            assert_eq!((leaves(&parsed), parsed["items"].as_array().unwrap().len()), (24 + 5 - 2, 6));
            assert_eq!(event.traceparent.len(), 55);
        }
    }

    fn leaves(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Object(fields) => fields.values().map(leaves).sum(),
            serde_json::Value::Array(items) => items.len(),
            _ => 1,
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_events() {
        let (mut one, mut two) = (Workload::new(3, BODY_BYTES), Workload::new(3, BODY_BYTES));
        assert!((0..100).all(|_| one.next_event().body == two.next_event().body));
    }

    #[test]
    fn zipf_prefers_the_first_ranks() {
        let (zipf, mut random) = (Zipf::new(200, 1.0), Random::new(1));
        let mut counts = [0_u32; 200];
        (0..100_000).for_each(|_| counts[zipf.draw(&mut random)] += 1);
        // The first rank has 1 / H(200) = 17 % of the weight.
        assert!((16_000..18_500).contains(&counts[0]), "{}", counts[0]);
        assert!(counts[0] > counts[1] && counts[1] > counts[9] && counts[9] > counts[150]);
    }
}
