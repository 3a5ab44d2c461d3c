//! k-means behind linfa's traits: greedy k-means++ beginnings, exact iterations (or mini-batches), the best of several
//! restarts.
//!
//! linfa-clustering's own is several times slower on 50,000 x 768 numbers; it is the cross-check in the tests.

use super::lloyd::{self, chunk_rows};
use super::{minibatch, seeding};
use crate::linalg::{Real, Rows, distance2_rows, mean};
use crate::stats::Stream;
use linfa::DatasetBase;
use linfa::traits::{Fit, Predict, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Data, Ix2};
use rayon::prelude::*;

/// Samples from which on mini-batches are used unless the caller chooses.
const MANY: usize = 400_000;
/// Samples a mini-batch, and batches.
const BATCH: usize = 4096;
const BATCHES: u64 = 100;

/// Why no clusters were found.
#[derive(Debug, thiserror::Error)]
pub enum KMeansError {
    /// More clusters than samples, or none.
    #[error("{clusters} clusters were asked for, of {samples} samples; ask for 1 to {samples}")]
    Clusters {
        /// Asked for.
        clusters: usize,
        /// Samples.
        samples: usize,
    },
    /// Numbers that are not finite.
    #[error("the data hold numbers that are not finite; leave those samples out")]
    NotFinite,
    /// From linfa.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// How the iterations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KMeansMethod {
    /// Whole passes over the data (Lloyd's, with Hamerly's bounds).
    Exact,
    /// Mini-batches of 4,096 samples, 100 of them, then one exact labelling.
    MiniBatch,
}

impl KMeansMethod {
    /// Exact below 400,000 samples.
    #[must_use]
    pub fn for_samples(samples: usize) -> Self {
        if samples < MANY { Self::Exact } else { Self::MiniBatch }
    }

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::MiniBatch => "mini-batch",
        }
    }
}

/// How clusters are sought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMeansParams {
    clusters: usize,
    restarts: usize,
    seed: u64,
    iterations: u64,
    tolerance: f64,
    method: Option<KMeansMethod>,
}

impl KMeansParams {
    /// `clusters` clusters, or fewer where the samples differ too little for so many: 10 restarts, seed 0, at most 300 iterations each; an iteration that moves the centroids by
    /// less than 1e-4 of the mean variance (squared, all together) is the last.
    #[must_use]
    pub fn new(clusters: usize) -> Self {
        Self { clusters, restarts: 10, seed: 0, iterations: 300, tolerance: 1e-4, method: None }
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

    /// The same with another limit of iterations (at least one).
    #[must_use]
    pub fn iterations(self, iterations: u64) -> Self {
        Self { iterations: iterations.max(1), ..self }
    }

    /// The same with another tolerance; 0 iterates until no label changes.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// The same with a chosen method instead of the one that suits the number of samples.
    #[must_use]
    pub fn method(self, method: KMeansMethod) -> Self {
        Self { method: Some(method), ..self }
    }
}

/// Clusters of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    centroids: Array2<f64>,
    labels: Array1<usize>,
    inertia: f64,
    iterations: u64,
    method: KMeansMethod,
    /// What was subtracted before distances were taken in float32.
    origin: Array1<f64>,
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

    /// Iterations of the best restart.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// How the iterations went.
    #[must_use]
    pub fn method(&self) -> KMeansMethod {
        self.method
    }

    /// Samples of each cluster `[K]`.
    #[must_use]
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.centroids.nrows()];
        self.labels.iter().for_each(|l| sizes[*l] += 1);
        sizes
    }

    /// The same clusters under other numbers: cluster `c` becomes `to[c]` (a permutation).
    #[must_use]
    pub fn renumbered(mut self, to: &[usize]) -> Self {
        let from: Vec<usize> = (0..to.len()).map(|new| to.iter().position(|t| *t == new).unwrap_or(new)).collect();
        self.centroids = self.centroids.select(Axis(0), &from);
        self.labels.mapv_inplace(|l| to[l]);
        self
    }

    /// The same clusters without those that have no sample: there are fewer different samples than clusters.
    fn without_empty(mut self) -> Self {
        let kept: Vec<usize> = self.sizes().iter().enumerate().filter(|(_, n)| **n > 0).map(|(c, _)| c).collect();
        let to = |l: usize| kept.binary_search(&l).unwrap_or(0);
        self.centroids = self.centroids.select(Axis(0), &kept);
        self.labels.mapv_inplace(to);
        self
    }

    /// The same clusters with other samples `[N, D]`: each belongs to its nearest centroid.
    #[must_use]
    pub fn labelling<T: Real>(mut self, x: ArrayView2<'_, T>) -> Self {
        self.labels = self.predict(&x);
        self
    }

    /// Distance of each sample to the centroid of its label, in float64 `[N]`.
    #[must_use]
    pub fn distances<T: Real>(&self, x: ArrayView2<'_, T>) -> Vec<f64> {
        let one = |(row, label): (ndarray::ArrayView1<'_, T>, &usize)| {
            let squares = row.iter().zip(self.centroids.row(*label)).map(|(v, c)| (v.wide() - c).powi(2));
            squares.sum::<f64>().sqrt()
        };
        x.rows().into_iter().zip(&self.labels).map(one).collect()
    }
}

/// Sum of squared distances; chunks are added in their order.
fn inertia(x: &Rows, labels: &[u32], centroids: &Rows) -> f64 {
    let rows = chunk_rows(x.len());
    let parts: Vec<f64> = labels
        .par_chunks(rows)
        .enumerate()
        .map(|(c, labels)| {
            let own: Vec<&[f32]> = (c * rows..c * rows + labels.len()).map(|i| x.row(i)).collect();
            let mut out = vec![0.0; own.len()];
            distance2_rows(&own, labels, centroids, &mut out);
            out.iter().map(|v| f64::from(*v)).sum()
        })
        .collect();
    parts.iter().sum()
}

/// Mean of the samples of each cluster in float64; a cluster without samples keeps `old`.
fn means<T: Real>(x: ArrayView2<'_, T>, labels: &[u32], old: &Array2<f64>) -> Array2<f64> {
    let rows = chunk_rows(x.nrows());
    let chunks: Vec<_> = x.axis_chunks_iter(Axis(0), rows).zip(labels.chunks(rows)).collect();
    let parts: Vec<(Array2<f64>, Vec<u64>)> = chunks
        .into_par_iter()
        .map(|(x, labels)| {
            let (mut sums, mut counts) = (Array2::zeros(old.dim()), vec![0; old.nrows()]);
            for (row, label) in x.rows().into_iter().zip(labels) {
                counts[*label as usize] += 1;
                sums.row_mut(*label as usize).iter_mut().zip(row).for_each(|(s, v)| *s += v.wide());
            }
            (sums, counts)
        })
        .collect();
    let (mut total, mut count) = (Array2::<f64>::zeros(old.dim()), vec![0; old.nrows()]);
    for (sums, counts) in parts {
        total += &sums;
        count.iter_mut().zip(counts).for_each(|(c, n): (&mut u64, u64)| *c += n);
    }
    for (c, n) in count.iter().enumerate() {
        if *n > 0 {
            total.row_mut(c).mapv_inplace(|v| v / *n as f64);
        } else {
            total.row_mut(c).assign(&old.row(c));
        }
    }
    total
}

impl KMeansParams {
    /// One beginning and its iterations.
    fn once(&self, x: &Rows, method: KMeansMethod, tolerance: f64, stream: &mut Stream) -> lloyd::Ended {
        let begun = x.select(&seeding::begin(x, self.clusters, stream));
        match method {
            KMeansMethod::Exact => lloyd::lloyd(x, begun, tolerance, self.iterations),
            KMeansMethod::MiniBatch => {
                let centroids = minibatch::minibatch(x, &begun, BATCH, BATCHES, stream);
                lloyd::Ended { labels: lloyd::label(x, &centroids), centroids, iterations: BATCHES, settled: false }
            }
        }
    }
}

impl<T: Real, D: Data<Elem = T>, Y> Fit<ArrayBase<D, Ix2>, Y, KMeansError> for KMeansParams {
    type Object = Clusters;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, Y>) -> Result<Clusters, KMeansError> {
        let x = dataset.records().view();
        if self.clusters == 0 || self.clusters > x.nrows() {
            return Err(KMeansError::Clusters { clusters: self.clusters, samples: x.nrows() });
        }
        let origin = mean(x);
        let rows = Rows::centred(x, origin.view());
        // One sum tells: a number that is not finite makes its row's squared length so.
        let spread: f64 = rows.norms().iter().map(|n| f64::from(*n)).sum();
        if !spread.is_finite() {
            return Err(KMeansError::NotFinite);
        }
        let method = self.method.unwrap_or_else(|| KMeansMethod::for_samples(x.nrows()));
        let tolerance = self.tolerance * spread / (x.nrows() * x.ncols().max(1)) as f64;
        let mut stream = Stream::new(self.seed);
        let mut best: Option<(f64, lloyd::Ended)> = None;
        for _ in 0..self.restarts.max(1) {
            let ended = self.once(&rows, method, tolerance, &mut stream);
            let inertia = inertia(&rows, &ended.labels, &ended.centroids);
            if best.as_ref().is_none_or(|b| inertia < b.0) {
                best = Some((inertia, ended));
            }
        }
        let (inertia, ended) = best.ok_or(KMeansError::NotFinite)?;
        let width = x.ncols();
        let mut centroids =
            Array2::from_shape_fn((self.clusters, width), |(c, j)| f64::from(ended.centroids.row(c)[j]) + origin[j]);
        if ended.settled {
            centroids = means(x, &ended.labels, &centroids);
        }
        let labels = ended.labels.iter().map(|l| *l as usize).collect();
        Ok(Clusters { centroids, labels, inertia, iterations: ended.iterations, method, origin }.without_empty())
    }
}

impl<T: Real, D: Data<Elem = T>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for Clusters {
    fn predict_inplace<'a>(&'a self, x: &'a ArrayBase<D, Ix2>, y: &mut Array1<usize>) {
        let rows = Rows::centred(x.view(), self.origin.view());
        let centroids = Rows::centred(self.centroids.view(), self.origin.view());
        y.iter_mut().zip(lloyd::label(&rows, &centroids)).for_each(|(y, label)| *y = label as usize);
    }

    fn default_target(&self, x: &ArrayBase<D, Ix2>) -> Array1<usize> {
        Array1::zeros(x.nrows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::ArrayView1;

    fn distance2(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
        (&a - &b).mapv(|v| v * v).sum()
    }

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
        assert!((inertia / clusters.inertia() - 1.0).abs() < 1e-6 && inertia < 200.0);
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
        let one = fit(&same, KMeansParams::new(3));
        assert_eq!((one.inertia(), one.sizes()), (0.0, vec![3]), "no cluster is empty");
        let wrong = |k| KMeansParams::new(k).fit(&DatasetBase::from(same.clone())).unwrap_err().to_string();
        assert_eq!(wrong(4), "4 clusters were asked for, of 3 samples; ask for 1 to 3");
        assert!(wrong(0).contains("0 clusters"));
        let bad = Array2::from_elem((3, 2), f64::NAN);
        assert!(KMeansParams::new(1).fit(&DatasetBase::from(bad)).is_err());
    }
}
