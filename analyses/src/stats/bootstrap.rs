//! Bootstrap intervals from a seeded stream of our own.

use super::stream::Stream;
use super::{Undefined, alike, pearson, quantiles};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Over the data as they are.
    pub estimate: f64,
    /// 2.5 % and 97.5 % quantile of the resamples, or why there is no interval.
    pub ends: Result<(f64, f64), Undefined>,
}

/// Pairs that a correlation needs: of two it is 1 or -1 whatever they are.
const PAIRS: usize = 3;

fn estimate(a: &[f64], b: &[f64]) -> Result<f64, Undefined> {
    if a.len() < PAIRS {
        return Err(Undefined::TooFew { what: "pairs", found: a.len(), needed: PAIRS });
    }
    pearson(a, b).ok_or(Undefined::Alike("the values of one side"))
}

/// The interval of the resamples that say something; none where it would have no width.
fn ends(drawn: &[Option<f64>]) -> Result<(f64, f64), Undefined> {
    let known: Vec<f64> = drawn.iter().copied().flatten().collect();
    if 2 * known.len() < drawn.len() {
        return Err(Undefined::Alike("the values of one side in most resamples"));
    }
    match quantiles(&known, &[0.025, 0.975]).as_deref() {
        Some([low, high]) if high - low > 1e-12 => Ok((*low, *high)),
        _ => Err(Undefined::Alike("the resamples")),
    }
}

/// Pearson's correlation with its 95 % percentile bootstrap interval over `resamples` draws of pairs with replacement.
/// Draws with a constant side say nothing and are left out; of fewer than [`LEAST`](super::LEAST) pairs there is no interval.
///
/// # Errors
/// The correlation is undefined: fewer than three pairs, a constant side, a number that is not finite.
pub fn pearson_interval(a: &[f64], b: &[f64], resamples: usize, seed: u64) -> Result<Interval, Undefined> {
    let estimate = estimate(a, b)?;
    let mut stream = Stream::new(seed);
    let mut one = |_| {
        let chosen: Vec<usize> = (0..a.len()).map(|_| stream.below(a.len())).collect();
        let pick = |from: &[f64]| chosen.iter().map(|i| from[*i]).collect::<Vec<_>>();
        pearson(&pick(a), &pick(b))
    };
    let enough = Undefined::unless_enough(a.len());
    let ends = enough.and_then(|()| ends(&(0..resamples).map(&mut one).collect::<Vec<_>>()));
    Ok(Interval { estimate, ends })
}

/// Pearson's correlation over pairs of samples (`of`, indices below `samples`) with a 95 % percentile bootstrap interval
/// that resamples the *samples*: in each of `resamples` draws a pair weighs as often as its two samples were drawn, multiplied.
/// Pairs that share a sample are not independent, so that resampling pairs would give an interval that is too narrow.
/// Of fewer than [`LEAST`](super::LEAST) samples in the pairs there is no interval.
///
/// # Errors
/// The correlation is undefined: fewer than three pairs, a constant side, a number that is not finite.
///
/// # Panics
/// The slices differ in length, or an index is too large.
pub fn weighted_pearson_interval(
    a: &[f64],
    b: &[f64],
    of: &[(usize, usize)],
    samples: usize,
    resamples: usize,
    seed: u64,
) -> Result<Interval, Undefined> {
    assert!(a.len() == b.len() && a.len() == of.len(), "two ends a pair");
    let estimate = estimate(a, b)?;
    let mut stream = Stream::new(seed);
    let seeds: Vec<u64> = (0..resamples).map(|_| stream.next()).collect();
    let one = |seed: &u64| {
        let mut stream = Stream::new(*seed);
        let mut drawn = vec![0_u32; samples];
        (0..samples).for_each(|_| drawn[stream.below(samples)] += 1);
        let weights: Vec<f64> = of.iter().map(|(i, j)| f64::from(drawn[*i]) * f64::from(drawn[*j])).collect();
        weighted_pearson(a, b, &weights)
    };
    let own: BTreeSet<usize> = of.iter().flat_map(|(i, j)| [*i, *j]).collect();
    let enough = Undefined::unless_enough(own.len());
    let ends = enough.and_then(|()| ends(&seeds.par_iter().map(one).collect::<Vec<_>>()));
    Ok(Interval { estimate, ends })
}

/// Pearson's correlation of weighted pairs; `None` where a side is constant.
fn weighted_pearson(a: &[f64], b: &[f64], weights: &[f64]) -> Option<f64> {
    let drawn = |x: &[f64]| x.iter().zip(weights).filter(|(_, w)| **w > 0.0).map(|(x, _)| *x).collect::<Vec<_>>();
    if alike(&drawn(a)) || alike(&drawn(b)) {
        return None;
    }
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
        let (low, high) = interval.ends.unwrap();
        assert!(low < 0.707 && 0.707 < high, "{interval:?}");
        assert!((0.06..0.16).contains(&(high - low)), "{interval:?}");
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
        let ((low, high), (inner, outer)) = (samples.ends.unwrap(), pairs.ends.unwrap());
        assert!(high - low > 1.5 * (outer - inner), "{samples:?} {pairs:?}");
        assert!(low < samples.estimate && samples.estimate < high);
        assert_eq!(samples, weighted_pearson_interval(&a, &b, &ends, 30, 300, 1).unwrap());
        let same: Vec<f64> = weighted_pearson(&a, &b, &vec![2.0; a.len()]).into_iter().collect();
        assert!((same[0] - pairs.estimate).abs() < 1e-12);
    }
    #[test]
    fn few_samples_and_sides_without_differences_have_a_reason_and_no_interval() {
        let pairs =
            |n: usize| -> Vec<(usize, usize)> { (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect() };
        let some = |n: usize, by: f64| (0..n).map(|i| (i as f64 * by).sin()).collect::<Vec<f64>>();
        let of = |n: usize| {
            let ends = pairs(n);
            weighted_pearson_interval(&some(ends.len(), 1.0), &some(ends.len(), 1.3), &ends, n, 200, 0)
        };
        assert_eq!(of(2).unwrap_err(), Undefined::TooFew { what: "pairs", found: 1, needed: 3 });
        // Three samples have three pairs and ten resamples: an estimate, but nothing is known of how sure it is.
        assert_eq!(of(3).unwrap().ends, Err(Undefined::TooFew { what: "samples", found: 3, needed: 10 }));
        assert!(of(9).unwrap().ends.is_err() && of(10).unwrap().ends.is_ok());
        let same = pearson_interval(&[0.1; 20], &some(20, 1.0), 100, 0);
        assert_eq!(same.unwrap_err().to_string(), "the values of one side are all alike");
        let a = some(20, 1.0);
        // All resamples of a straight line give 1.
        assert!(pearson_interval(&a, &a, 100, 0).unwrap().ends.is_err());
        assert!(pearson_interval(&[1.0, 2.0, f64::NAN], &[1.0, 2.0, 3.0], 100, 0).is_err());
    }
}
