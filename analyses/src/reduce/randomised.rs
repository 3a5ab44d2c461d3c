//! Leading components of data that are too wide and too many for an exact decomposition: a random subspace, refined by power
//! iterations (Halko, Martinsson and Tropp 2011, algorithm 4.4).

use crate::linalg::Real;
use crate::stats::Stream;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Directions beyond those asked for.
const MORE: usize = 10;
/// Power iterations.
const POWERS: usize = 8;
/// Rows a chunk of the products.
const ROWS: usize = 1024;

/// `X'(X Q)` for the centred X, chunks of rows added in order. `q` is `[D, L]`.
fn scattered<T: Real>(x: ArrayView2<'_, T>, mean: &Array1<f64>, q: &Array2<f64>) -> Array2<f64> {
    let chunks: Vec<ArrayView2<'_, T>> = x.axis_chunks_iter(Axis(0), ROWS).collect();
    let mut total = Array2::zeros(q.dim());
    for group in chunks.chunks(16) {
        let parts: Vec<Array2<f64>> = group
            .par_iter()
            .map(|chunk| {
                let centred = &chunk.mapv(Real::wide) - mean;
                centred.t().dot(&centred.dot(q))
            })
            .collect();
        parts.iter().for_each(|p| total += p);
    }
    total
}

/// Orthonormal columns of the same span (Gram-Schmidt, twice).
fn orthonormal(q: &mut Array2<f64>) {
    for j in 0..q.ncols() {
        for _ in 0..2 {
            let (before, mut rest) = q.view_mut().split_at(Axis(1), j);
            let mut own = rest.column_mut(0);
            super::krylov::clear_row(before.t(), &mut own);
            let length = own.dot(&own).sqrt();
            if length > 0.0 {
                own /= length;
            }
        }
    }
}

/// The `keep` leading eigenvalues of the centred scatter matrix, largest first, and their directions as rows; `None` where
/// numbers are not finite. A fixed seed.
pub(super) fn leading<T: Real>(
    x: ArrayView2<'_, T>,
    mean: &Array1<f64>,
    keep: usize,
) -> Option<(Array1<f64>, Array2<f64>)> {
    let width = (keep + MORE).min(x.ncols()).min(x.nrows());
    let mut stream = Stream::new(0);
    let mut q = Array2::from_shape_fn((x.ncols(), width), |_| stream.unit() - 0.5);
    orthonormal(&mut q);
    for _ in 0..POWERS {
        q = scattered(x, mean, &q);
        orthonormal(&mut q);
    }
    let small = q.t().dot(&scattered(x, mean, &q));
    let (values, vectors) = super::eigen::largest(&small, keep)?;
    Some((values, vectors.dot(&q.t())))
}
