//! Are samples with similar contexts routed alike? Pearson's r between the cosine of two context vectors and the cosine of
//! their routing weights, over random pairs of samples.

use super::data::ContextData;
use crate::stats::{Interval, Stream, weighted_pearson_interval};
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
    /// Pearson's r with its 95 % interval over resampled *samples* (pairs that share a sample are not independent);
    /// `None` where one of the similarities is constant.
    pub r: Option<Interval>,
    /// The same within pairs of samples that share a task, and of samples that do not.
    pub within_tasks: Option<Interval>,
    /// See `within_tasks`.
    pub between_tasks: Option<Interval>,
}

/// Compares at most `pairs` different pairs of samples of `data`, drawn with `seed`; `None` without routing weights.
/// `resamples` bootstrap resamples give the intervals.
#[must_use]
pub fn routing_context(data: &ContextData, pairs: usize, resamples: usize, seed: u64) -> Option<RoutingContext> {
    let weights = data.weights.as_ref()?;
    let n = data.samples.len();
    let wide = |row: ndarray::ArrayView1<'_, f32>| row.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let similar = |a: ndarray::ArrayView1<'_, f32>, b| crate::stats::cosine(&wide(a), &wide(b));
    let one = |(a, b): (usize, usize)| {
        let context = similar(data.vectors.row(a), data.vectors.row(b))?;
        Some(RoutingPair { a, b, context, routing: similar(weights.row(a), weights.row(b))? })
    };
    let pairs: Vec<RoutingPair> = draw(n, pairs, seed).into_iter().filter_map(one).collect();
    let interval = |keep: &dyn Fn(&RoutingPair) -> bool| {
        let kept: Vec<&RoutingPair> = pairs.iter().filter(|p| keep(p)).collect();
        let ends: Vec<(usize, usize)> = kept.iter().map(|p| (p.a, p.b)).collect();
        let context: Vec<f64> = kept.iter().map(|p| p.context).collect();
        let routing: Vec<f64> = kept.iter().map(|p| p.routing).collect();
        weighted_pearson_interval(&context, &routing, &ends, n, resamples, seed)
    };
    let same = |p: &RoutingPair| data.samples[p.a].task == data.samples[p.b].task;
    let (r, within_tasks, between_tasks) = (interval(&|_| true), interval(&same), interval(&|p| !same(p)));
    Some(RoutingContext { samples: n, r, within_tasks, between_tasks, pairs })
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
