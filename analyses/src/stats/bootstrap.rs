//! Bootstrap intervals from a seeded stream of our own.

use super::stream::Stream;
use super::{pearson, quantiles};
use rayon::prelude::*;

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

/// Pearson's correlation over pairs of samples (`ends`, indices below `samples`) with a 95 % percentile bootstrap interval
/// that resamples the *samples*: in each of `resamples` draws a pair weighs as often as its two samples were drawn, multiplied.
/// Pairs that share a sample are not independent, so that resampling pairs would give an interval that is too narrow.
/// `None` where the correlation is undefined.
///
/// # Panics
/// The slices differ in length, or an index is too large.
#[must_use]
pub fn weighted_pearson_interval(
    a: &[f64],
    b: &[f64],
    ends: &[(usize, usize)],
    samples: usize,
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    assert!(a.len() == b.len() && a.len() == ends.len(), "two ends a pair");
    let estimate = pearson(a, b)?;
    let mut stream = Stream::new(seed);
    let seeds: Vec<u64> = (0..resamples).map(|_| stream.next()).collect();
    let one = |seed: &u64| {
        let mut stream = Stream::new(*seed);
        let mut drawn = vec![0_u32; samples];
        (0..samples).for_each(|_| drawn[stream.below(samples)] += 1);
        let weights: Vec<f64> = ends.iter().map(|(i, j)| f64::from(drawn[*i]) * f64::from(drawn[*j])).collect();
        weighted_pearson(a, b, &weights)
    };
    let drawn: Vec<Option<f64>> = seeds.par_iter().map(one).collect();
    let ends = quantiles(&drawn.into_iter().flatten().collect::<Vec<_>>(), &[0.025, 0.975])?;
    Some(Interval { estimate, low: ends[0], high: ends[1] })
}

/// Pearson's correlation of weighted pairs; `None` where a side is constant.
fn weighted_pearson(a: &[f64], b: &[f64], weights: &[f64]) -> Option<f64> {
    let total: f64 = weights.iter().sum();
    let mean = |x: &[f64]| x.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() / total;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for ((a, b), w) in a.iter().zip(b).zip(weights) {
        let (a, b) = (a - mean_a, b - mean_b);
        aa += w * a * a;
        bb += w * b * b;
        ab += w * a * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
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

    #[test]
    fn pairs_of_few_samples_are_less_sure_than_their_number_says() {
        let mut stream = Stream::new(5);
        let place: Vec<f64> = (0..30).map(|_| stream.unit()).collect();
        let other: Vec<f64> = place.iter().map(|p| p + stream.unit()).collect();
        let ends: Vec<(usize, usize)> = (0..30).flat_map(|i| (i + 1..30).map(move |j| (i, j))).collect();
        let apart = |x: &[f64]| ends.iter().map(|(i, j)| (x[*i] - x[*j]).abs()).collect::<Vec<_>>();
        let (a, b) = (apart(&place), apart(&other));
        let pairs = pearson_interval(&a, &b, 300, 1).unwrap();
        let samples = weighted_pearson_interval(&a, &b, &ends, 30, 300, 1).unwrap();
        assert_eq!(pairs.estimate, samples.estimate);
        assert!(samples.high - samples.low > 1.5 * (pairs.high - pairs.low), "{samples:?} {pairs:?}");
        assert!(samples.low < samples.estimate && samples.estimate < samples.high);
        assert_eq!(samples, weighted_pearson_interval(&a, &b, &ends, 30, 300, 1).unwrap());
        let same: Vec<f64> = weighted_pearson(&a, &b, &vec![2.0; a.len()]).into_iter().collect();
        assert!((same[0] - pairs.estimate).abs() < 1e-12);
    }
}
