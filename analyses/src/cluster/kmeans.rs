//! k-means: our own seeded k-means++ beginnings, linfa's iterations, the best of several restarts.

use crate::stats::Stream;
use linfa::DatasetBase;
use linfa::traits::{Fit, PredictInplace};
use linfa_clustering::{KMeans, KMeansInit, KMeansParams as Linfa};
use ndarray::{Array1, Array2, ArrayBase, ArrayView1, ArrayView2, Axis, Data, Ix2};

/// Why no clusters were found.
#[derive(Debug, thiserror::Error)]
pub enum KMeansError {
    /// More clusters than samples, or none.
    #[error("{clusters} clusters were asked for, of {samples} samples")]
    Clusters {
        /// Asked for.
        clusters: usize,
        /// Samples.
        samples: usize,
    },
    /// Numbers that are not finite.
    #[error("the data hold numbers that are not finite")]
    NotFinite,
    /// From linfa's iterations.
    #[error(transparent)]
    Iterations(#[from] linfa_clustering::KMeansError),
    /// From linfa.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// How clusters are sought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMeansParams {
    clusters: usize,
    restarts: usize,
    seed: u64,
    iterations: u64,
}

impl KMeansParams {
    /// `clusters` clusters: 10 restarts, seed 0, at most 300 iterations each.
    #[must_use]
    pub fn new(clusters: usize) -> Self {
        Self { clusters, restarts: 10, seed: 0, iterations: 300 }
    }

    /// The same with another number of restarts (at least one).
    #[must_use]
    pub fn restarts(self, restarts: usize) -> Self {
        Self { restarts: restarts.max(1), ..self }
    }

    /// The same with another seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// Clusters of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    centroids: Array2<f64>,
    labels: Array1<usize>,
    inertia: f64,
}

impl Clusters {
    /// Centroids `[K, D]`.
    #[must_use]
    pub fn centroids(&self) -> &Array2<f64> {
        &self.centroids
    }

    /// Cluster of each fitted sample `[N]`.
    #[must_use]
    pub fn labels(&self) -> &Array1<usize> {
        &self.labels
    }

    /// Sum of the squared distances to the nearest centroid.
    #[must_use]
    pub fn inertia(&self) -> f64 {
        self.inertia
    }
}

fn distance2(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Nearest centroid (the first of equals) and its squared distance.
fn nearest(centroids: &Array2<f64>, sample: ArrayView1<'_, f64>) -> (usize, f64) {
    let distances = centroids.rows().into_iter().map(|c| distance2(c, sample)).enumerate();
    distances.reduce(|best, next| if next.1 < best.1 { next } else { best }).unwrap_or((0, 0.0))
}

/// k-means++: each further centroid is a sample drawn with a chance that grows with its squared distance to the others.
fn begin(x: ArrayView2<'_, f64>, clusters: usize, stream: &mut Stream) -> Array2<f64> {
    let mut chosen = vec![stream.below(x.nrows())];
    let mut far: Vec<f64> = x.rows().into_iter().map(|row| distance2(row, x.row(chosen[0]))).collect();
    while chosen.len() < clusters {
        let total: f64 = far.iter().sum();
        let mut left = stream.unit() * total;
        let mut next = far.iter().position(|d| {
            left -= d;
            left < 0.0
        });
        if total == 0.0 {
            // Fewer different samples than clusters: take any that is not taken.
            next = (0..x.nrows()).find(|i| !chosen.contains(i));
        }
        let next = next.unwrap_or(x.nrows() - 1);
        for (d, row) in far.iter_mut().zip(x.rows()) {
            *d = d.min(distance2(row, x.row(next)));
        }
        chosen.push(next);
    }
    x.select(Axis(0), &chosen)
}

impl<D: Data<Elem = f64>, T> Fit<ArrayBase<D, Ix2>, T, KMeansError> for KMeansParams {
    type Object = Clusters;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Clusters, KMeansError> {
        let x = dataset.records().view();
        if self.clusters == 0 || self.clusters > x.nrows() {
            return Err(KMeansError::Clusters { clusters: self.clusters, samples: x.nrows() });
        }
        if !x.iter().all(|v| v.is_finite()) {
            return Err(KMeansError::NotFinite);
        }
        let mut stream = Stream::new(self.seed);
        let records = DatasetBase::from(x);
        let mut best: Option<Clusters> = None;
        for _ in 0..self.restarts.max(1) {
            let begun = KMeansInit::Precomputed(begin(x, self.clusters, &mut stream));
            let params: Linfa<f64, _, _> = KMeans::params(self.clusters);
            let params = params.init_method(begun).n_runs(1).max_n_iterations(self.iterations).tolerance(1e-9);
            let fitted =
                Fit::fit(&linfa::ParamGuard::check(params).map_err(linfa_clustering::KMeansError::from)?, &records)?;
            let centroids = fitted.centroids().clone();
            let assigned: Vec<(usize, f64)> = x.rows().into_iter().map(|row| nearest(&centroids, row)).collect();
            let inertia = assigned.iter().map(|a| a.1).sum();
            if best.as_ref().is_none_or(|b| inertia < b.inertia) {
                best = Some(Clusters { centroids, labels: assigned.iter().map(|a| a.0).collect(), inertia });
            }
        }
        best.ok_or(KMeansError::NotFinite)
    }
}

impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for Clusters {
    fn predict_inplace<'a>(&'a self, x: &'a ArrayBase<D, Ix2>, y: &mut Array1<usize>) {
        y.iter_mut().zip(x.rows()).for_each(|(y, row)| *y = nearest(&self.centroids, row).0);
    }

    fn default_target(&self, x: &ArrayBase<D, Ix2>) -> Array1<usize> {
        Array1::zeros(x.nrows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::traits::Predict;

    /// Samples around four corners of a square.
    fn blobs() -> Array2<f64> {
        Array2::from_shape_fn((80, 2), |(i, j)| {
            let corner = if (i % 4) >> j & 1 == 1 { 10.0 } else { 0.0 };
            corner + ((i * 13 + j * 7) as f64 * 1.7).sin()
        })
    }

    fn fit(x: &Array2<f64>, params: KMeansParams) -> Clusters {
        params.fit(&DatasetBase::from(x.clone())).unwrap()
    }

    #[test]
    fn four_blobs_are_four_clusters() {
        let x = blobs();
        let clusters = fit(&x, KMeansParams::new(4));
        for i in 0..80 {
            assert_eq!(clusters.labels()[i], clusters.labels()[i % 4]);
        }
        let centroid = |c: usize| {
            let own: Vec<usize> = (0..80).filter(|i| clusters.labels()[*i] == c).collect();
            x.select(Axis(0), &own).mean_axis(Axis(0)).unwrap()
        };
        let mut inertia = 0.0;
        for c in 0..4 {
            assert!(distance2(centroid(c).view(), clusters.centroids().row(c)) < 1e-18);
        }
        for (row, label) in x.rows().into_iter().zip(clusters.labels()) {
            inertia += distance2(row, clusters.centroids().row(*label));
        }
        assert!((inertia - clusters.inertia()).abs() < 1e-9 && inertia < 200.0);
        assert_eq!(clusters.predict(&x), *clusters.labels());
    }

    #[test]
    fn seeds_repeat_and_restarts_only_help() {
        let x = blobs();
        let with = |restarts, seed| fit(&x, KMeansParams::new(7).restarts(restarts).seed(seed));
        assert_eq!(with(3, 5), with(3, 5));
        assert!((0..20).any(|seed| with(1, seed).inertia() > with(8, seed).inertia() * 1.001));
        assert!((0..20).all(|seed| with(1, seed).inertia() >= with(8, seed).inertia()));
    }

    #[test]
    fn edges() {
        let same = Array2::from_elem((3, 2), 1.0);
        assert_eq!(fit(&same, KMeansParams::new(3)).inertia(), 0.0);
        let wrong = |k| KMeansParams::new(k).fit(&DatasetBase::from(same.clone())).unwrap_err().to_string();
        assert_eq!(wrong(4), "4 clusters were asked for, of 3 samples");
        assert!(wrong(0).contains("0 clusters"));
        let bad = Array2::from_elem((3, 2), f64::NAN);
        assert!(KMeansParams::new(1).fit(&DatasetBase::from(bad)).is_err());
    }
}
