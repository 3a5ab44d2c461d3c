//! Covariance of many samples: products of float32 data in float32 over 512 rows, added up in float64; of float64 data in
//! float64 throughout. The order of the sums does not depend on the number of threads.

use crate::linalg::{Product, Real, product_into};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

/// Rows whose products are summed before they are added to the total.
const ROWS: usize = 512;
/// Rows that are centred at a time.
const SLAB: usize = 2 * ROWS;
/// Columns of a block; the blocks on and below the diagonal are computed.
const BLOCK: usize = 192;

/// Sum over the samples of `(x - mean)(x - mean)'`, lower triangle `[D, D]`.
pub(super) fn scatter<T: Real>(x: ArrayView2<'_, T>, mean: &Array1<f64>) -> Array2<f64> {
    if size_of::<T>() == size_of::<f32>() { by_blocks::<T, f32>(x, mean) } else { by_blocks::<T, f64>(x, mean) }
}

fn by_blocks<T: Real, U: Real + Product>(x: ArrayView2<'_, T>, mean: &Array1<f64>) -> Array2<f64> {
    let width = x.ncols();
    let blocks = width.div_ceil(BLOCK);
    let columns = |b: usize| b * BLOCK..((b + 1) * BLOCK).min(width);
    let mut parts: Vec<(usize, usize, Array2<f64>)> = (0..blocks)
        .flat_map(|i| (0..=i).map(move |j| (i, j)))
        .map(|(i, j)| (i, j, Array2::zeros((columns(i).len(), columns(j).len()))))
        .collect();
    for slab in x.axis_chunks_iter(Axis(0), SLAB) {
        let mut centred = Array2::from_elem(slab.dim(), U::default());
        centred.axis_chunks_iter_mut(Axis(0), 64).into_par_iter().enumerate().for_each(|(c, mut rows)| {
            for (r, mut row) in rows.rows_mut().into_iter().enumerate() {
                let from = slab.row(c * 64 + r);
                row.iter_mut().zip(from).zip(mean).for_each(|((to, v), m)| *to = U::narrow(v.wide() - m));
            }
        });
        parts.par_iter_mut().for_each(|(i, j, total)| {
            let mut product = Array2::from_elem(total.dim(), U::default());
            for rows in centred.axis_chunks_iter(Axis(0), ROWS) {
                let (a, b) = (rows.slice(s![.., columns(*i)]), rows.slice(s![.., columns(*j)]));
                product_into(a.t(), b, &mut product);
                total.zip_mut_with(&product, |t, p| *t += p.wide());
            }
        });
    }
    let mut whole = Array2::zeros((width, width));
    for (i, j, part) in parts {
        whole.slice_mut(s![columns(i), columns(j)]).assign(&part);
    }
    whole
}
