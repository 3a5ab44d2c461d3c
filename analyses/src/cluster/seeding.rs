//! Greedy k-means++ (Arthur and Vassilvitskii 2007, section 7): of several samples drawn with a chance that grows with their squared
//! distance to the centroids so far, the one that leaves the least inertia becomes the next.

use super::lloyd::chunk_rows;
use crate::linalg::{Rows, products};
use crate::stats::Stream;
use rayon::prelude::*;

/// Indices of `clusters` samples to begin from.
pub(super) fn begin(x: &Rows, clusters: usize, stream: &mut Stream) -> Vec<usize> {
    let tries = 2 + (clusters as f64).ln() as usize;
    let mut chosen = vec![stream.below(x.len())];
    let mut far = vec![f32::INFINITY; x.len()];
    let (nearer, _) = distances(x, &chosen, &far).swap_remove(0);
    far = nearer;
    while chosen.len() < clusters {
        let cumulative = running_sum(&far);
        let total = cumulative.last().copied().unwrap_or(0.0);
        let candidates: Vec<usize> = if total > 0.0 {
            (0..tries).map(|_| draw(&cumulative, stream.unit() * total)).collect()
        } else {
            // Fewer different samples than clusters: take any that is not taken.
            vec![(0..x.len()).find(|i| !chosen.contains(i)).unwrap_or(0)]
        };
        let found = distances(x, &candidates, &far);
        let best = (0..found.len()).reduce(|best, c| if found[c].1 < found[best].1 { c } else { best }).unwrap_or(0);
        far.clone_from(&found[best].0);
        chosen.push(candidates[best]);
    }
    chosen
}

fn running_sum(values: &[f32]) -> Vec<f64> {
    values
        .iter()
        .scan(0.0, |sum, v| {
            *sum += f64::from(*v);
            Some(*sum)
        })
        .collect()
}

/// The sample in whose share `at` falls; never one with an empty share.
fn draw(cumulative: &[f64], at: f64) -> usize {
    cumulative.partition_point(|c| *c <= at).min(cumulative.len() - 1)
}

/// For each candidate: the squared distance of every sample to the nearest centroid if it became one, and their sum.
fn distances(x: &Rows, candidates: &[usize], far: &[f32]) -> Vec<(Vec<f32>, f64)> {
    let to = x.select(candidates);
    let k = candidates.len();
    let rows = chunk_rows(x.len());
    let chunks: Vec<Vec<f32>> = far
        .par_chunks(rows)
        .enumerate()
        .map(|(c, far)| {
            let mut out = vec![0.0; far.len() * k];
            let mut own: Vec<&[f32]> = Vec::with_capacity(64);
            for (group, (far, out)) in far.chunks(64).zip(out.chunks_mut(64 * k)).enumerate() {
                let first = c * rows + group * 64;
                own.clear();
                own.extend((first..first + far.len()).map(|i| x.row(i)));
                products(&own, &to, out);
                for (i, (far, dots)) in far.iter().zip(out.chunks_exact_mut(k)).enumerate() {
                    for (o, dot) in dots.iter_mut().enumerate() {
                        let apart = (x.norms()[first + i] + to.norms()[o] - 2.0 * *dot).max(0.0);
                        *dot = if first + i == candidates[o] { 0.0 } else { apart.min(*far) };
                    }
                }
            }
            out
        })
        .collect();
    let of = |o: usize| {
        let nearer: Vec<f32> = chunks.iter().flat_map(|c| c.iter().skip(o).step_by(k)).copied().collect();
        let sum = nearer.iter().map(|v| f64::from(*v)).sum();
        (nearer, sum)
    };
    (0..k).map(of).collect()
}
