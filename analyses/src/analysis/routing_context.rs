//! Are samples with similar contexts routed alike? Pearson's r between the cosine of two context vectors and the cosine of
//! their routing weights, over random pairs of samples.

use super::data::ContextData;
use crate::stats::{Interval, Stream, Undefined, weighted_pearson_interval};
use ndarray::{Array2, ArrayView1};
use std::collections::BTreeSet;

/// Two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoutingPair {
    /// Index of the first sample.
    pub a: usize,
    /// Index of the second.
    pub b: usize,
    /// Cosine of the context vectors.
    pub context: f64,
    /// Cosine of the routing weights.
    pub routing: f64,
}

/// Routing similarity against context similarity in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingContext {
    /// The pairs.
    pub pairs: Vec<RoutingPair>,
    /// Samples that they are drawn from.
    pub samples: usize,
    /// Pearson's r with its 95 % interval over resampled *samples* (pairs that share a sample are not independent), or why
    /// it is undefined.
    pub r: Result<Interval, Undefined>,
    /// The same within pairs of samples that share a task, and of samples that do not.
    pub within_tasks: Result<Interval, Undefined>,
    /// See `within_tasks`.
    pub between_tasks: Result<Interval, Undefined>,
    /// Samples that no pair is drawn from.
    pub left_out: LeftOut,
}

/// Samples without a similarity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Their routing was not logged.
    pub without_routing: usize,
    /// Their routing weights are not finite.
    pub not_finite: usize,
    /// Their context vector or their routing weights are all zero, and have no cosine.
    pub zero: usize,
}

impl LeftOut {
    /// In words; nothing where there is none.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let of = |n: usize, why: &str| (n > 0).then(|| format!("{n} {why}"));
        let all = [
            of(self.without_routing, "without routing weights"),
            of(self.not_finite, "whose routing weights are not finite"),
            of(self.zero, "whose vector is zero and has no cosine"),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| format!("samples left out: {}", all.join(", ")))
    }
}

/// Which samples have a similarity of both kinds, in order, and those that have not.
fn usable(data: &ContextData, weights: &Array2<f32>) -> (Vec<usize>, LeftOut) {
    let mut left = LeftOut::default();
    let zero = |row: ArrayView1<'_, f32>| row.iter().all(|v| *v == 0.0);
    let mut usable = Vec::with_capacity(data.samples.len());
    for i in 0..data.samples.len() {
        if data.without_routing.contains(&i) {
            left.without_routing += 1;
        } else if !weights.row(i).iter().chain(data.vectors.row(i)).all(|v| v.is_finite()) {
            left.not_finite += 1;
        } else if zero(weights.row(i)) || zero(data.vectors.row(i)) {
            left.zero += 1;
        } else {
            usable.push(i);
        }
    }
    (usable, left)
}

/// Compares at most `pairs` different pairs of samples of `data`, drawn with `seed`; `None` without any routing weights.
/// `resamples` bootstrap resamples give the intervals.
#[must_use]
pub fn routing_context(data: &ContextData, pairs: usize, resamples: usize, seed: u64) -> Option<RoutingContext> {
    let weights = data.weights.as_ref()?;
    let (usable, left_out) = usable(data, weights);
    let n = usable.len();
    let wide = |row: ArrayView1<'_, f32>| row.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let similar = |a: ArrayView1<'_, f32>, b| crate::stats::cosine(&wide(a), &wide(b));
    let one = |(a, b): (usize, usize)| {
        let (a, b) = (usable[a], usable[b]);
        let context = similar(data.vectors.row(a), data.vectors.row(b))?;
        Some(RoutingPair { a, b, context, routing: similar(weights.row(a), weights.row(b))? })
    };
    let pairs: Vec<RoutingPair> = draw(n, pairs, seed).into_iter().filter_map(one).collect();
    let interval = |keep: &dyn Fn(&RoutingPair) -> bool| {
        let kept: Vec<&RoutingPair> = pairs.iter().filter(|p| keep(p)).collect();
        let at = |i: usize| usable.binary_search(&i).unwrap_or(0);
        let ends: Vec<(usize, usize)> = kept.iter().map(|p| (at(p.a), at(p.b))).collect();
        let context: Vec<f64> = kept.iter().map(|p| p.context).collect();
        let routing: Vec<f64> = kept.iter().map(|p| p.routing).collect();
        weighted_pearson_interval(&context, &routing, &ends, n, resamples, seed)
    };
    let same = |p: &RoutingPair| data.samples[p.a].task == data.samples[p.b].task;
    let (r, within_tasks, between_tasks) = (interval(&|_| true), interval(&same), interval(&|p| !same(p)));
    Some(RoutingContext { samples: n, r, within_tasks, between_tasks, left_out, pairs })
}

/// Different pairs `a < b` of `n` samples in rising order: all of them where there are no more than `most`.
fn draw(n: usize, most: usize, seed: u64) -> Vec<(usize, usize)> {
    let all = n * n.saturating_sub(1) / 2;
    if all <= most {
        return (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect();
    }
    let mut stream = Stream::new(seed);
    let mut drawn = BTreeSet::new();
    while drawn.len() < most {
        let (a, b) = (stream.below(n), stream.below(n));
        if a != b {
            drawn.insert((a.min(b), a.max(b)));
        }
    }
    drawn.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_different_and_repeat() {
        assert_eq!(draw(3, 10, 0), [(0, 1), (0, 2), (1, 2)]);
        let drawn = draw(100, 500, 1);
        assert!(drawn.len() == 500 && drawn.iter().all(|(a, b)| a < b && *b < 100));
        assert_eq!(drawn, draw(100, 500, 1));
        assert_ne!(drawn, draw(100, 500, 2));
    }
}
