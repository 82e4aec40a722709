//! Medians, spreads and quantiles.

use serde::Serialize;

/// A median with what it lies between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// Latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of values; None if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] };
        Some(Spread { median, min, max })
    }
}

impl Quantiles {
    /// The quantiles of latencies in microseconds, by nearest rank; None if there are none.
    pub fn of(mut micros: Vec<u64>) -> Option<Quantiles> {
        micros.sort_unstable();
        let last = micros.len().checked_sub(1)?;
        let at = |share: f64| {
            let rank = (share * micros.len() as f64).ceil() as usize;
            micros[rank.saturating_sub(1).min(last)] as f64 / 1_000.0
        };
        Some(Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        assert_eq!(Quantiles::of(Vec::new()), None);
        let quantiles = Quantiles::of((1..=1_000).rev().map(|it| it * 1_000).collect()).unwrap();
        assert_eq!((quantiles.p50, quantiles.p90, quantiles.p99), (500.0, 900.0, 990.0));
        assert_eq!((quantiles.p999, quantiles.max), (999.0, 1_000.0));
        assert_eq!(Quantiles::of(vec![7]).unwrap().p50, 0.007);
    }
}
