//! Exact nearest neighbours in the original space.

use crate::linalg::{Real, Rows, mean, products};
use ndarray::{Array1, ArrayView2};
use rayon::prelude::*;

/// What "near" means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// 1 - cosine of the angle; a vector of zeros is at distance 1 from everything.
    #[default]
    Cosine,
    /// Euclidean distance.
    Euclidean,
}

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// Index of the sample.
    pub index: usize,
    /// Its distance.
    pub distance: f64,
}

/// Samples that neighbours are looked up among, by comparison with all of them.
#[derive(Clone, Debug)]
pub struct Neighbors {
    rows: Rows,
    metric: Metric,
}

impl Neighbors {
    /// Over the rows of `x`.
    #[must_use]
    pub fn new<T: Real>(x: ArrayView2<'_, T>, metric: Metric) -> Self {
        let rows = match metric {
            Metric::Cosine => Rows::centred(x, Array1::zeros(x.ncols()).view()).normalised(),
            Metric::Euclidean => Rows::centred(x, mean(x).view()),
        };
        Self { rows, metric }
    }

    /// The `k` samples nearest to sample `index`, nearest first, itself left out; of equally near ones the first. Fewer
    /// where there are fewer.
    ///
    /// # Panics
    /// There is no such sample.
    #[must_use]
    pub fn nearest(&self, index: usize, k: usize) -> Vec<Neighbor> {
        let rows = &self.rows;
        let to = rows.select(&[index]);
        let chunks: Vec<usize> = (0..rows.len()).step_by(1024).collect();
        let mut found: Vec<Neighbor> = chunks
            .par_iter()
            .flat_map_iter(|first| {
                let own: Vec<&[f32]> = (*first..(first + 1024).min(rows.len())).map(|i| rows.row(i)).collect();
                let mut dots = vec![0.0; own.len()];
                products(&own, &to, &mut dots);
                let one = |(i, dot): (usize, &f32)| Neighbor {
                    index: first + i,
                    distance: self.distance(first + i, index, *dot),
                };
                let mut near: Vec<Neighbor> = dots.iter().enumerate().map(one).filter(|n| n.index != index).collect();
                keep_nearest(&mut near, k);
                near
            })
            .collect();
        keep_nearest(&mut found, k);
        if self.metric == Metric::Euclidean {
            // Differences of large numbers lose digits; the few that are kept are measured again.
            let exact = |n: &Neighbor| {
                let squares =
                    rows.row(n.index).iter().zip(rows.row(index)).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
                Neighbor { index: n.index, distance: squares.sum::<f64>().sqrt() }
            };
            found = found.iter().map(exact).collect();
            keep_nearest(&mut found, k);
        }
        found
    }

    /// The `k` nearest of every sample.
    #[must_use]
    pub fn all(&self, k: usize) -> Vec<Vec<Neighbor>> {
        (0..self.rows.len()).map(|i| self.nearest(i, k)).collect()
    }

    fn distance(&self, a: usize, b: usize, dot: f32) -> f64 {
        match self.metric {
            Metric::Cosine => 1.0 - f64::from(dot),
            Metric::Euclidean => {
                let norms = f64::from(self.rows.norms()[a]) + f64::from(self.rows.norms()[b]);
                (norms - 2.0 * f64::from(dot)).max(0.0).sqrt()
            }
        }
    }
}

fn keep_nearest(found: &mut Vec<Neighbor>, k: usize) {
    let order = |a: &Neighbor, b: &Neighbor| a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index));
    if found.len() > k && k > 0 {
        found.select_nth_unstable_by(k - 1, order);
    }
    found.truncate(k);
    found.sort_by(order);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn all_pairs_agree_with_plain_loops() {
        let x = Array2::from_shape_fn((60, 7), |(i, j)| ((i * 31 + j * 17) as f64 * 0.37).sin() + j as f64);
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let found = Neighbors::new(x.view(), metric).all(5);
            for (i, near) in found.iter().enumerate() {
                let distance = |j: usize| match metric {
                    Metric::Cosine => {
                        let (a, b) = (x.row(i), x.row(j));
                        1.0 - a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
                    }
                    Metric::Euclidean => (&x.row(i) - &x.row(j)).mapv(|v| v * v).sum().sqrt(),
                };
                let mut all: Vec<f64> = (0..60).filter(|j| *j != i).map(distance).collect();
                all.sort_by(f64::total_cmp);
                assert_eq!(near.len(), 5);
                for (n, expected) in near.iter().zip(&all) {
                    assert!(n.index != i && (n.distance - expected).abs() < 1e-6, "{metric:?} {n:?} {expected}");
                }
            }
        }
        assert_eq!(Neighbors::new(x.view(), Metric::Cosine).nearest(3, 100).len(), 59);
    }
}
