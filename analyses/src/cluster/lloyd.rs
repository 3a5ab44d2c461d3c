//! Lloyd's iterations with Hamerly's bounds (2010): a sample is looked at again only where the centroids have moved
//! enough for its label to change. Labels are those of plain iterations; bounds are widened by the rounding error of
//! float32 products.

use crate::linalg::{Rows, products};
use rayon::prelude::*;

/// Share of `|x|^2 + |c|^2` that a squared distance from float32 products may be wrong by.
const ROUNDING: f32 = 4e-6;
/// Chunks that a data set is cut into at most, whatever the number of threads.
const CHUNKS: usize = 64;

/// Sums and counts of the samples of each cluster: `[K, stride]`, `[K]`.
struct Sums {
    sums: Vec<f64>,
    counts: Vec<i64>,
}

impl Sums {
    fn new(clusters: usize, stride: usize) -> Self {
        Self { sums: vec![0.0; clusters * stride], counts: vec![0; clusters] }
    }

    fn add(&mut self, cluster: usize, row: &[f32], sign: i64) {
        let factor = sign as f64;
        let sum = &mut self.sums[cluster * row.len()..(cluster + 1) * row.len()];
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += factor * f64::from(*v));
        self.counts[cluster] += sign;
    }

    fn merge(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(s, o)| *s += o);
        self.counts.iter_mut().zip(&other.counts).for_each(|(s, o)| *s += o);
    }
}

/// What is known of one sample.
#[derive(Clone, Copy)]
struct Bound {
    label: u32,
    /// Not nearer than this to its own centroid's distance.
    upper: f32,
    /// No other centroid is nearer than this.
    lower: f32,
}

/// How the iterations ended.
pub(super) struct Ended {
    pub labels: Vec<u32>,
    /// `[K]` rows.
    pub centroids: Rows,
    pub iterations: u64,
    /// No label changed in the last iteration, so that every centroid is the mean of its samples.
    pub settled: bool,
}

/// Rows of a chunk; depends on the data alone.
pub(super) fn chunk_rows(samples: usize) -> usize {
    samples.div_ceil(CHUNKS).max(256)
}

/// Label of the nearest centroid of each sample (the first of equals), its squared distance and the next one's.
pub(super) fn nearest(x: &Rows, which: &[usize], centroids: &Rows, mut take: impl FnMut(usize, u32, f32, f32)) {
    let k = centroids.len();
    let mut out = Vec::new();
    for group in which.chunks(64) {
        let rows: Vec<&[f32]> = group.iter().map(|i| x.row(*i)).collect();
        out.resize(rows.len() * k, 0.0);
        products(&rows, centroids, &mut out);
        for (i, dots) in group.iter().zip(out.chunks_exact(k)) {
            let (mut best, mut first, mut second) = (0, f32::INFINITY, f32::INFINITY);
            for (c, (dot, norm)) in dots.iter().zip(centroids.norms()).enumerate() {
                let score = norm - 2.0 * dot;
                if score < first {
                    (best, second, first) = (c, first, score);
                } else if score < second {
                    second = score;
                }
            }
            let norm = x.norms()[*i];
            take(*i, best as u32, first + norm, second + norm);
        }
    }
}

/// One chunk's pass: labels and bounds brought up to date, and how the sums of the clusters change by it.
fn pass(x: &Rows, from: usize, bounds: &mut [Bound], centroids: &Rows, near: Option<&[f32]>) -> (Sums, u64) {
    let open = |(i, b): (usize, &Bound)| {
        let sure = near.is_some_and(|near| b.upper < b.lower.max(near[b.label as usize]));
        (!sure).then_some(from + i)
    };
    let open: Vec<usize> = bounds.iter().enumerate().filter_map(open).collect();
    let largest = centroids.norms().iter().copied().fold(0.0_f32, f32::max);
    let mut sums = Sums::new(centroids.len(), x.stride());
    let mut moved = 0;
    nearest(x, &open, centroids, |i, label, first, second| {
        let bound = &mut bounds[i - from];
        let doubt = ROUNDING * (x.norms()[i] + largest);
        let (old, new) = (
            bound.label,
            Bound { label, upper: (first + doubt).max(0.0).sqrt(), lower: (second - doubt).max(0.0).sqrt() },
        );
        *bound = new;
        if near.is_none() || old != label {
            moved += 1;
            sums.add(label as usize, x.row(i), 1);
            if near.is_some() {
                sums.add(old as usize, x.row(i), -1);
            }
        }
    });
    (sums, moved)
}

/// Half the distance of each centroid to the nearest other.
fn half_gaps(centroids: &Rows) -> Vec<f32> {
    let gap = |c: usize| {
        let others = (0..centroids.len()).filter(|o| *o != c).map(|o| distance(centroids.row(c), centroids.row(o)));
        // Rounded down: the bound has to hold.
        (others.fold(f64::INFINITY, f64::min) * 0.5 * (1.0 - 1e-6)) as f32
    };
    (0..centroids.len()).map(gap).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

/// Iterates from `centroids` until no label changes, the centroids together move less than `tolerance` (squared), or
/// `most` iterations are done.
pub(super) fn lloyd(x: &Rows, mut centroids: Rows, tolerance: f64, most: u64) -> Ended {
    let (k, stride, rows) = (centroids.len(), x.stride(), chunk_rows(x.len()));
    let mut bounds = vec![Bound { label: 0, upper: 0.0, lower: 0.0 }; x.len()];
    let mut sums = Sums::new(k, stride);
    let mut near: Option<Vec<f32>> = None;
    for iteration in 1..=most.max(1) {
        let parts: Vec<(Sums, u64)> = bounds
            .par_chunks_mut(rows)
            .enumerate()
            .map(|(c, bounds)| pass(x, c * rows, bounds, &centroids, near.as_deref()))
            .collect();
        let moved: u64 = parts.iter().map(|p| p.1).sum();
        if moved == 0 {
            return Ended {
                labels: bounds.iter().map(|b| b.label).collect(),
                centroids,
                iterations: iteration,
                settled: true,
            };
        }
        for (part, _) in &parts {
            sums.merge(part);
        }
        refill(x, &mut bounds, &mut sums);
        let next = means(&sums, stride);
        let drift: Vec<f64> = (0..k).map(|c| distance(centroids.row(c), next.row(c))).collect();
        centroids = next;
        let shift: f64 = drift.iter().map(|d| d * d).sum();
        if shift <= tolerance || iteration == most {
            return Ended { labels: label(x, &centroids), centroids, iterations: iteration, settled: false };
        }
        loosen(&mut bounds, &drift);
        near = Some(half_gaps(&centroids));
    }
    Ended { labels: label(x, &centroids), centroids, iterations: most, settled: false }
}

/// Labels of all samples.
pub(super) fn label(x: &Rows, centroids: &Rows) -> Vec<u32> {
    let rows = chunk_rows(x.len());
    let mut labels = vec![0; x.len()];
    labels.par_chunks_mut(rows).enumerate().for_each(|(c, labels)| {
        let which: Vec<usize> = (c * rows..c * rows + labels.len()).collect();
        nearest(x, &which, centroids, |i, label, _, _| labels[i - c * rows] = label);
    });
    labels
}

fn means(sums: &Sums, stride: usize) -> Rows {
    let mut means = sums.sums.clone();
    for (mean, count) in means.chunks_exact_mut(stride).zip(&sums.counts) {
        let count = (*count).max(1) as f64;
        mean.iter_mut().for_each(|v| *v /= count);
    }
    Rows::from_sums(&means, stride)
}

/// Centroids have moved by `drift`: how near each sample may still be.
fn loosen(bounds: &mut [Bound], drift: &[f64]) {
    // Rounded up, for the bounds to hold.
    let drift: Vec<f32> = drift.iter().map(|d| (*d * (1.0 + 1e-6)) as f32).collect();
    let far =
        |except: usize| drift.iter().enumerate().filter(|(c, _)| *c != except).map(|(_, d)| *d).fold(0.0_f32, f32::max);
    let others: Vec<f32> = (0..drift.len()).map(far).collect();
    bounds.par_iter_mut().for_each(|bound| {
        let own = bound.label as usize;
        bound.upper += drift[own];
        bound.lower -= others[own];
    });
}

/// A cluster without samples takes the sample that lies farthest from its own centroid.
fn refill(x: &Rows, bounds: &mut [Bound], sums: &mut Sums) {
    for cluster in 0..sums.counts.len() {
        if sums.counts[cluster] > 0 {
            continue;
        }
        let far = bounds.iter().enumerate().filter(|(_, b)| sums.counts[b.label as usize] > 1);
        let far = far.reduce(|best, next| if next.1.upper > best.1.upper { next } else { best });
        let Some((i, _)) = far else { return };
        let bound = &mut bounds[i];
        sums.add(bound.label as usize, x.row(i), -1);
        sums.add(cluster, x.row(i), 1);
        *bound = Bound { label: cluster as u32, upper: f32::INFINITY, lower: 0.0 };
    }
}
