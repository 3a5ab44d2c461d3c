//! Bootstrap intervals from a seeded stream of our own.

use super::{pearson, quantiles};

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Over the data as they are.
    pub estimate: f64,
    /// 2.5 % quantile of the resamples.
    pub low: f64,
    /// 97.5 % quantile.
    pub high: f64,
}

/// `SplitMix64`: a counter, hashed.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An index below `n`; the bias is below n / 2^64.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// Pearson's correlation with its 95 % percentile bootstrap interval over `resamples` draws of pairs with replacement.
/// Draws with a constant side say nothing and are left out. `None` where the correlation itself is undefined.
#[must_use]
pub fn pearson_interval(a: &[f64], b: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let estimate = pearson(a, b)?;
    let mut stream = Stream(seed);
    let mut drawn = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let chosen: Vec<usize> = (0..a.len()).map(|_| stream.below(a.len())).collect();
        let pick = |from: &[f64]| chosen.iter().map(|i| from[*i]).collect::<Vec<_>>();
        drawn.extend(pearson(&pick(a), &pick(b)));
    }
    let ends = quantiles(&drawn, &[0.025, 0.975])?;
    Some(Interval { estimate, low: ends[0], high: ends[1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_truth_and_repeats() {
        let mut stream = Stream(3);
        let mut normal = || (0..12).map(|_| stream.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        let a: Vec<f64> = (0..400).map(|_| normal()).collect();
        let b: Vec<f64> = a.iter().map(|x| x + normal()).collect();
        let interval = pearson_interval(&a, &b, 500, 7).unwrap();
        // The true correlation is 1 / sqrt(2); Fisher's interval at n = 400 is about +- 0.05.
        assert!(interval.low < 0.707 && 0.707 < interval.high, "{interval:?}");
        assert!((0.06..0.16).contains(&(interval.high - interval.low)), "{interval:?}");
        assert_eq!(pearson_interval(&a, &b, 500, 7).unwrap(), interval);
        assert_ne!(pearson_interval(&a, &b, 500, 8).unwrap(), interval);
    }
}
