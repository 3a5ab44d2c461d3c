//! Silhouettes (Rousseeuw 1987): how much nearer samples lie to their own cluster than to the next.

use crate::linalg::{Real, Rows, mean, products};
use crate::stats::{Stream, Undefined};
use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

/// A mean silhouette, and what it was measured on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Silhouette {
    /// Mean over the samples, -1 to 1.
    pub mean: f64,
    /// Samples that it is over; fewer than there are where a sample of them was drawn.
    pub samples: usize,
    /// Samples that there are.
    pub of: usize,
}

/// Mean silhouette of the rows of `x` under `labels`, by Euclidean distances; over `most` samples drawn with `seed` (without
/// replacement) where there are more.
///
/// # Errors
/// Fewer than [`LEAST`](crate::stats::LEAST) samples, one cluster, or as many clusters as samples.
///
/// # Panics
/// `labels` has another length than `x` has rows.
pub fn silhouette<T: Real>(
    x: ArrayView2<'_, T>,
    labels: &[usize],
    most: usize,
    seed: u64,
) -> Result<Silhouette, Undefined> {
    assert_eq!(x.nrows(), labels.len(), "a label a sample");
    let drawn = Stream::new(seed).choose(labels.len(), most);
    let labels: Vec<usize> = drawn.iter().map(|i| labels[*i]).collect();
    let count = labels.iter().max().map_or(0, |m| m + 1);
    let mut sizes = vec![0_usize; count];
    labels.iter().for_each(|l| sizes[*l] += 1);
    let clusters = sizes.iter().filter(|s| **s > 0).count();
    Undefined::unless_enough(labels.len())?;
    if clusters < 2 {
        return Err(Undefined::One("cluster"));
    }
    if clusters == labels.len() {
        return Err(Undefined::Apart);
    }
    let chosen = x.select(Axis(0), &drawn);
    let rows = Rows::centred(chosen.view(), mean(chosen.view()).view());
    let one = |i: usize, dots: &[f32]| {
        let mut sums = vec![0.0; count];
        for (j, (dot, label)) in dots.iter().zip(&labels).enumerate() {
            let apart = f64::from(rows.norms()[i]) + f64::from(rows.norms()[j]) - 2.0 * f64::from(*dot);
            sums[*label] += if i == j { 0.0 } else { apart.max(0.0).sqrt() };
        }
        let own = labels[i];
        if sizes[own] == 1 {
            return 0.0;
        }
        let within = sums[own] / (sizes[own] - 1) as f64;
        let others = (0..count).filter(|c| *c != own && sizes[*c] > 0).map(|c| sums[c] / sizes[c] as f64);
        let next = others.fold(f64::INFINITY, f64::min);
        if within.max(next) > 0.0 { (next - within) / within.max(next) } else { 0.0 }
    };
    let groups: Vec<Vec<usize>> = (0..rows.len()).collect::<Vec<_>>().chunks(16).map(<[usize]>::to_vec).collect();
    let sums: Vec<f64> = groups
        .par_iter()
        .map(|group| {
            let own: Vec<&[f32]> = group.iter().map(|i| rows.row(*i)).collect();
            let mut dots = vec![0.0; own.len() * rows.len()];
            products(&own, &rows, &mut dots);
            group.iter().zip(dots.chunks_exact(rows.len())).map(|(i, dots)| one(*i, dots)).sum()
        })
        .collect();
    let mean = sums.iter().sum::<f64>() / labels.len() as f64;
    Ok(Silhouette { mean, samples: labels.len(), of: x.nrows() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn by_hand() {
        // Ten samples at 0, 1 and 10; those of one place are 0 apart.
        let x = array![[0.0_f64], [0.0], [0.0], [0.0], [1.0], [1.0], [1.0], [1.0], [10.0], [10.0]];
        let labels = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        // Within: 4/7 for both places of the first cluster; to the second 10 and 9; the second's own are 0 apart.
        let expected = (4.0 * (1.0 - 4.0 / 70.0) + 4.0 * (1.0 - 4.0 / 63.0) + 2.0) / 10.0;
        let found = silhouette(x.view(), &labels, 10, 0).unwrap();
        assert!((found.mean - expected).abs() < 1e-6, "{found:?}");
        assert_eq!((found.samples, found.of), (10, 10));
        assert_eq!(silhouette(x.view(), &[0; 10], 10, 0), Err(Undefined::One("cluster")));
        let apart: Vec<usize> = (0..10).collect();
        assert_eq!(silhouette(x.view(), &apart, 10, 0), Err(Undefined::Apart));
        let few = silhouette(x.view(), &labels, 9, 0).unwrap_err().to_string();
        assert_eq!(few, "9 samples, 10 are needed");
    }
}
