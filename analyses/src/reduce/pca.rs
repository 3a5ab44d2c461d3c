//! Exact principal components behind linfa's traits.
//!
//! linfa-reduction's own reports ratios over the *kept* components and divides by their number; here a ratio is the share
//! of the total variance, and a variance divides by samples less one.

use super::covariance::scatter;
use super::{eigen, randomised};
use crate::linalg::{self, Real};
use linfa::DatasetBase;
use linfa::traits::{Fit, PredictInplace, Transformer};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Data, Ix2};
use rayon::prelude::*;

/// Why no components were found.
#[derive(Debug, thiserror::Error)]
pub enum PcaError {
    /// More components than the data can have, or none.
    #[error("{asked} components were asked for; {samples} samples of {width} numbers have 1 to {most}")]
    Components {
        /// Asked for.
        asked: usize,
        /// Samples.
        samples: usize,
        /// Numbers a sample.
        width: usize,
        /// Most that are possible.
        most: usize,
    },
    /// Numbers that are not finite.
    #[error("the data hold numbers that are not finite")]
    NotFinite,
    /// From linfa.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// Number of components to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcaParams {
    components: usize,
}

/// Principal components of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    mean: Array1<f64>,
    components: Array2<f64>,
    variance: Array1<f64>,
    total_variance: f64,
}

impl Pca {
    /// Parameters for `components` components.
    #[must_use]
    pub fn params(components: usize) -> PcaParams {
        PcaParams { components }
    }

    /// Mean of the samples `[D]`.
    #[must_use]
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// Loadings `[K, D]`: orthonormal rows, the largest entry (by size) of each positive.
    #[must_use]
    pub fn components(&self) -> &Array2<f64> {
        &self.components
    }

    /// Variance along each component `[K]`, over samples less one.
    #[must_use]
    pub fn variance(&self) -> &Array1<f64> {
        &self.variance
    }

    /// Share of the total variance of each component `[K]`; zero for data without any.
    #[must_use]
    pub fn variance_ratio(&self) -> Array1<f64> {
        if self.total_variance > 0.0 { &self.variance / self.total_variance } else { self.variance.clone() * 0.0 }
    }

    /// Coordinates `[N, K]` of samples `[N, D]`.
    ///
    /// # Panics
    /// `x` has another width than the data that were fitted.
    #[must_use]
    pub fn transform<T: Real>(&self, x: ArrayView2<'_, T>) -> Array2<f64> {
        let mut y = Array2::zeros((x.nrows(), self.components.nrows()));
        let chunks = x.axis_chunks_iter(Axis(0), 256).into_par_iter();
        chunks.zip(y.axis_chunks_iter_mut(Axis(0), 256)).for_each(|(x, mut y)| {
            let centred = &x.mapv(Real::wide) - &self.mean;
            y.assign(&centred.dot(&self.components.t()));
        });
        y
    }
}

/// Widths up to which the decomposition is exact.
const EXACT: usize = 4096;

/// Largest variances and their directions as rows.
type Leading = (Array1<f64>, Array2<f64>);

/// Sum of the squares of the centred data; chunks of rows are added in order.
fn total_square<T: Real>(x: ArrayView2<'_, T>, mean: &Array1<f64>) -> f64 {
    let chunks: Vec<ArrayView2<'_, T>> = x.axis_chunks_iter(Axis(0), 1024).collect();
    let one = |chunk: ArrayView2<'_, T>| {
        let rows = chunk.rows().into_iter();
        rows.map(|row| row.iter().zip(mean).map(|(v, m)| (v.wide() - m).powi(2)).sum::<f64>()).sum::<f64>()
    };
    chunks.into_par_iter().map(one).collect::<Vec<f64>>().iter().sum()
}

/// By the Gram matrix, in float64: fewer samples than dimensions.
fn by_gram<T: Real>(x: ArrayView2<'_, T>, mean: &Array1<f64>, keep: usize) -> Option<Leading> {
    let centred = &x.mapv(Real::wide) - mean;
    let (values, vectors) = eigen::largest(&centred.dot(&centred.t()), keep)?;
    Some((values, vectors.dot(&centred)))
}

impl<T: Real, D: Data<Elem = T>, Y> Fit<ArrayBase<D, Ix2>, Y, PcaError> for PcaParams {
    type Object = Pca;

    /// By the covariance up to 4,096 dimensions, by the Gram matrix where there are fewer samples than dimensions (and no
    /// more than 4,096), else by a randomised decomposition with power iterations.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, Y>) -> Result<Pca, PcaError> {
        let x = dataset.records().view();
        let (samples, width) = x.dim();
        let most = samples.saturating_sub(1).min(width);
        if self.components == 0 || self.components > most {
            return Err(PcaError::Components { asked: self.components, samples, width, most });
        }
        let mean = linalg::mean(x);
        let (total, leading) = if samples < width && samples <= EXACT {
            (total_square(x, &mean), by_gram(x, &mean, self.components))
        } else if width <= EXACT {
            let scatter = scatter(x, &mean);
            (scatter.diag().sum(), eigen::largest(&scatter, self.components))
        } else {
            (total_square(x, &mean), randomised::leading(x, &mean, self.components))
        };
        let (values, mut components) = leading.ok_or(PcaError::NotFinite)?;
        for mut row in components.rows_mut() {
            let norm = row.dot(&row).sqrt();
            let largest = row.iter().copied().fold(0.0_f64, |a, v| if v.abs() > a.abs() { v } else { a });
            if norm > 0.0 {
                row /= norm.copysign(largest);
            }
        }
        let less_one = (samples - 1) as f64;
        let variance = values.mapv(|v| v.max(0.0) / less_one);
        Ok(Pca { mean, components, variance, total_variance: total / less_one })
    }
}

impl<T: Real, D: Data<Elem = T>> PredictInplace<ArrayBase<D, Ix2>, Array2<f64>> for Pca {
    fn predict_inplace<'a>(&'a self, x: &'a ArrayBase<D, Ix2>, y: &mut Array2<f64>) {
        y.assign(&self.transform(x.view()));
    }

    fn default_target(&self, x: &ArrayBase<D, Ix2>) -> Array2<f64> {
        Array2::zeros((x.nrows(), self.components.nrows()))
    }
}

impl<T: Real, D: Data<Elem = T>, Y> Transformer<DatasetBase<ArrayBase<D, Ix2>, Y>, DatasetBase<Array2<f64>, Y>>
    for Pca
{
    /// Coordinates in place of the records; targets stay.
    fn transform(&self, dataset: DatasetBase<ArrayBase<D, Ix2>, Y>) -> DatasetBase<Array2<f64>, Y> {
        let coordinates = Self::transform(self, dataset.records().view());
        DatasetBase::new(coordinates, dataset.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::traits::Predict;

    /// Three directions of very different spread, mixed.
    fn data(samples: usize, width: usize, rest: f64) -> Array2<f64> {
        let noise = |i: usize, k: usize| ((i * 7919 + k * 104_729) as f64 * 12.9898).sin() * 43_758.545 % 1.0;
        Array2::from_shape_fn((samples, width), |(i, j)| {
            let part = |k: usize, spread: f64| spread * noise(i, k) * ((j * (k + 1)) as f64 * 0.7 + k as f64).cos();
            part(0, 9.0) + part(1, 4.0) + part(2, 1.5) + rest * noise(i, j + 10) + j as f64
        })
    }

    fn fit(x: &Array2<f64>, k: usize) -> Pca {
        Pca::params(k).fit(&DatasetBase::from(x.clone())).unwrap()
    }

    #[test]
    fn all_components_hold_all_the_variance() {
        for (samples, width) in [(60, 8), (7, 20)] {
            let x = data(samples, width, 0.05);
            let most = width.min(samples - 1);
            let pca = fit(&x, most);
            assert!((pca.variance_ratio().sum() - 1.0).abs() < 1e-10);
            assert!(fit(&x, 1).variance_ratio()[0] < 0.999, "one component is not everything");
            let y = pca.predict(&x);
            let back = y.dot(pca.components()) + pca.mean();
            assert!((&back - &x).iter().all(|v| v.abs() < 1e-9));
            // Coordinates are uncorrelated, and their variances are the ones told.
            let cov = y.t().dot(&y) / (samples - 1) as f64;
            let expected = Array2::from_diag(pca.variance());
            assert!((&cov - &expected).iter().all(|v| v.abs() < 1e-9 * pca.variance()[0]));
            let positive = |row: ndarray::ArrayView1<'_, f64>| {
                row.iter().copied().fold(0.0_f64, |a, v| if v.abs() > a.abs() { v } else { a }) > 0.0
            };
            assert!(pca.components().rows().into_iter().all(positive));
        }
    }

    #[test]
    fn linfa_finds_the_same_directions() {
        // Enough noise, or linfa's LOBPCG meets a singular block and panics.
        let x = data(200, 40, 2.0);
        let ours = fit(&x, 2);
        let theirs = linfa_reduction::Pca::params(2).fit(&DatasetBase::from(x.clone())).unwrap();
        for k in 0..2 {
            let cosine = ours.components().row(k).dot(&theirs.components().row(k)).abs();
            assert!((cosine - 1.0).abs() < 1e-4, "component {k}: {cosine}");
            let variance = theirs.singular_values()[k].powi(2) / 199.0;
            assert!((variance / ours.variance()[k] - 1.0).abs() < 1e-4, "{variance} {}", ours.variance()[k]);
        }
    }

    #[test]
    fn refusals() {
        let fit = |x: Array2<f64>, k| Pca::params(k).fit(&DatasetBase::from(x)).unwrap_err().to_string();
        assert!(fit(data(5, 9, 0.05), 5).contains("1 to 4"));
        assert!(fit(data(5, 9, 0.05), 0).contains("0 components"));
        let mut x = data(5, 3, 0.05);
        x[[1, 1]] = f64::INFINITY;
        assert!(fit(x, 1).contains("not finite"));
    }
}
