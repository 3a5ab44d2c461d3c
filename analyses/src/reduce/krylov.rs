//! A few leading eigenvalues of a large symmetric matrix: block Krylov subspaces with every block kept orthogonal to all
//! before it, and Rayleigh's quotients in them (Golub and Van Loan, Matrix Computations, 10.3.6; Musco and Musco 2015). What
//! comes out has residuals of rounding's size, or nothing comes out.

use crate::linalg::product;
use crate::stats::Stream;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, s};

/// Directions beyond those asked for: equal eigenvalues, and those that stand close, come together.
const MORE: usize = 8;
/// Blocks before the first look at what was found.
const FIRST: usize = 4;
/// Largest residual, as a share of the largest eigenvalue.
const RESIDUAL: f64 = 1e-11;

/// The `keep` largest eigenvalues of `matrix`, largest first, and their eigenvectors as rows; reads the lower triangle. `None`
/// where the matrix is small for the purpose or they have not settled in half of its dimensions: a direct method is then as
/// quick. A fixed seed.
pub(super) fn largest(matrix: &Array2<f64>, keep: usize) -> Option<(Array1<f64>, Array2<f64>)> {
    let (n, block) = (matrix.nrows(), keep + MORE);
    let most = n / 2 / block * block;
    if most < FIRST * block {
        return None;
    }
    let mut whole = matrix.clone();
    for i in 0..n {
        for j in i + 1..n {
            whole[[i, j]] = whole[[j, i]];
        }
    }
    // Rows are directions, and what the matrix makes of them.
    let (mut basis, mut image) = (Array2::<f64>::zeros((most, n)), Array2::<f64>::zeros((most, n)));
    let mut stream = Stream::new(0);
    let mut next = Array2::from_shape_fn((block, n), |_| stream.unit() - 0.5);
    let mut look = FIRST;
    for (number, from) in (0..most).step_by(block).enumerate() {
        let to = from + block;
        let (before, mut own) = basis.view_mut().split_at(Axis(0), from);
        own.slice_mut(s![..block, ..]).assign(&next);
        if !orthonormal(before.view(), own.slice_mut(s![..block, ..]), &mut stream) {
            return None;
        }
        next = product(basis.slice(s![from..to, ..]), whole.view());
        image.slice_mut(s![from..to, ..]).assign(&next);
        if number + 1 < look && to < most {
            continue;
        }
        look += (look / 3).max(1);
        let (basis, image) = (basis.slice(s![..to, ..]), image.slice(s![..to, ..]));
        let (values, weights) = super::eigen::direct(&product(image, basis.t()), keep)?;
        let vectors = product(weights.view(), basis);
        let residuals = product(weights.view(), image) - &vectors * &values.view().insert_axis(Axis(1));
        let largest = values[0].abs();
        if residuals.rows().into_iter().all(|r| r.dot(&r).sqrt() <= RESIDUAL * largest) {
            return Some((values, vectors));
        }
    }
    None
}

/// Makes the rows of `own` orthonormal and orthogonal to those `before`, twice because once leaves what rounding made. A row
/// in the others' span gives way to a random one; false if even that fails.
fn orthonormal(before: ArrayView2<'_, f64>, mut own: ArrayViewMut2<'_, f64>, stream: &mut Stream) -> bool {
    for _ in 0..2 {
        let lengths: Vec<f64> = own.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
        clear(before, &mut own);
        for (i, mut length) in lengths.into_iter().enumerate() {
            let mut attempts = 0;
            loop {
                let (first, mut rest) = own.view_mut().split_at(Axis(0), i);
                let mut row = rest.row_mut(0);
                clear_row(first.view(), &mut row);
                let left = row.dot(&row).sqrt();
                if left > 1e-8 * length {
                    row /= left;
                    break;
                }
                if attempts == 3 {
                    return false;
                }
                attempts += 1;
                row.mapv_inplace(|_| stream.unit() - 0.5);
                length = row.dot(&row).sqrt();
                clear(before, &mut own.slice_mut(s![i..=i, ..]));
            }
        }
    }
    true
}

/// Takes from the rows of `own` what lies along those `before`.
fn clear(before: ArrayView2<'_, f64>, own: &mut ArrayViewMut2<'_, f64>) {
    let along = product(own.view(), before.t());
    *own -= &product(along.view(), before);
}

/// The same of one row, one after the other.
pub(super) fn clear_row(before: ArrayView2<'_, f64>, row: &mut ArrayViewMut1<'_, f64>) {
    for other in before.rows() {
        let along = other.dot(row);
        row.scaled_add(-along, &other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduce::eigen;

    /// `Q' D Q` for reflections Q and eigenvalues D.
    fn made(values: &[f64]) -> Array2<f64> {
        let n = values.len();
        let mut matrix = Array2::from_diag(&Array1::from_vec(values.to_vec()));
        let mut stream = Stream::new(7);
        for _ in 0..3 {
            let v = Array1::from_shape_fn(n, |_| stream.unit() - 0.5);
            let v = &v / v.dot(&v).sqrt();
            let reflect =
                Array2::<f64>::eye(n) - 2.0 * v.view().insert_axis(Axis(1)).dot(&v.view().insert_axis(Axis(0)));
            matrix = reflect.dot(&matrix).dot(&reflect);
        }
        matrix
    }

    #[test]
    fn agrees_with_the_direct_method() {
        let n = 300;
        let bulk = |i: usize| 1.0 - i as f64 / n as f64;
        // Apart; three of them equal; and the whole rank no more than is asked for.
        let apart: Vec<f64> = (0..n).map(|i| if i < 9 { 20.0 - i as f64 } else { bulk(i) }).collect();
        let equal: Vec<f64> = (0..n).map(|i| if i < 7 { 9.0 - (i / 3) as f64 } else { bulk(i) }).collect();
        let short: Vec<f64> = (0..n).map(|i| if i < 5 { 5.0 - i as f64 } else { 0.0 }).collect();
        for (name, made_of) in [("apart", apart), ("equal", equal), ("short", short)] {
            let matrix = made(&made_of);
            let (values, vectors) = largest(&matrix, 6).expect(name);
            let (direct, _) = eigen::direct(&matrix, 6).unwrap();
            assert!((&values - &direct).iter().all(|d| d.abs() < 1e-11 * direct[0]), "{values} {direct}");
            let off = vectors.dot(&vectors.t()) - Array2::<f64>::eye(6);
            assert!(off.iter().all(|v| v.abs() < 1e-12));
            let residual = vectors.dot(&matrix) - &vectors * &values.view().insert_axis(Axis(1));
            assert!(residual.iter().all(|v| v.abs() < 2e-11 * direct[0]));
        }
    }

    #[test]
    fn says_when_it_is_not_the_way() {
        assert!(largest(&Array2::<f64>::eye(60), 6).is_none(), "too small");
        let n = 300;
        let close: Vec<f64> = (0..n).map(|i| 1.0 - (i as f64) * 1e-4).collect();
        let matrix = made(&close);
        assert!(largest(&matrix, 6).is_none(), "too close");
        let (values, _) = eigen::largest(&matrix, 6).unwrap();
        assert!(values.iter().zip(&close).all(|(v, c)| (v - c).abs() < 1e-12), "{values}");
    }
}
