//! Bootstrap intervals from a seeded stream of our own.

use super::stream::Stream;
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

/// Pearson's correlation with its 95 % percentile bootstrap interval over `resamples` draws of pairs with replacement.
/// Draws with a constant side say nothing and are left out. `None` where the correlation itself is undefined.
#[must_use]
pub fn pearson_interval(a: &[f64], b: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let estimate = pearson(a, b)?;
    let mut stream = Stream::new(seed);
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
        let mut stream = Stream::new(3);
        let mut normal = || (0..12).map(|_| stream.unit()).sum::<f64>() - 6.0;
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
