//! Eigenvalues and eigenvectors of symmetric matrices: Householder reflections to tridiagonal form, then implicit QL
//! (Golub and Van Loan, Matrix Computations, 8.3).

use ndarray::{Array1, Array2, ArrayViewMut1, Axis, Zip, s};

/// Iterations that one eigenvalue may take; two are usual.
const PATIENCE: usize = 60;

/// Eigenvalues, largest first, and the eigenvectors as rows in the same order; `None` if the matrix holds a number that
/// is not finite (nothing then converges).
pub(super) fn symmetric(matrix: Array2<f64>) -> Option<(Array1<f64>, Array2<f64>)> {
    if !matrix.iter().all(|v| v.is_finite()) {
        return None;
    }
    let (mut diagonal, mut off, mut vectors) = tridiagonal(matrix);
    implicit_ql(&mut diagonal, &mut off, &mut vectors)?;
    let mut order: Vec<usize> = (0..diagonal.len()).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
    let values = order.iter().map(|i| diagonal[*i]).collect();
    Some((values, vectors.select(Axis(0), &order)))
}

/// `A = Q T Q^T`: the diagonal of T, its off-diagonal (one more entry, 0), and `Q^T`.
fn tridiagonal(mut a: Array2<f64>) -> (Vec<f64>, Vec<f64>, Array2<f64>) {
    let n = a.nrows();
    let mut vectors = Array2::eye(n);
    for k in 0..n.saturating_sub(2) {
        let mut v = a.slice(s![k + 1.., k]).to_owned();
        let norm = v.dot(&v).sqrt();
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= alpha;
        let length = v.dot(&v).sqrt();
        if length == 0.0 {
            continue;
        }
        v /= length;
        let mut rest = a.slice_mut(s![k + 1.., k + 1..]);
        let p = rest.dot(&v);
        let w = &p * 2.0 - &v * (2.0 * v.dot(&p));
        for (i, mut row) in rest.rows_mut().into_iter().enumerate() {
            row.scaled_add(-v[i], &w);
            row.scaled_add(-w[i], &v);
        }
        a[[k + 1, k]] = alpha;
        let mut below = vectors.slice_mut(s![k + 1.., ..]);
        let u = v.dot(&below) * 2.0;
        for (i, mut row) in below.rows_mut().into_iter().enumerate() {
            row.scaled_add(-v[i], &u);
        }
    }
    let off = (1..n).map(|i| a[[i, i - 1]]).chain([0.0]).collect();
    (a.diag().to_vec(), off, vectors)
}

fn implicit_ql(d: &mut [f64], e: &mut [f64], vectors: &mut Array2<f64>) -> Option<()> {
    for first in 0..d.len() {
        for tries in 0.. {
            let small = |i: usize| e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs());
            let end = (first..d.len() - 1).find(|i| small(*i)).unwrap_or(d.len() - 1);
            if end == first {
                break;
            }
            if tries == PATIENCE {
                return None;
            }
            sweep(d, e, vectors, first, end);
        }
    }
    Some(())
}

/// One QL sweep over the unreduced block `first..=end`, shifted by the eigenvalue of its leading 2 x 2 block.
fn sweep(d: &mut [f64], e: &mut [f64], vectors: &mut Array2<f64>, first: usize, end: usize) {
    let half = (d[first + 1] - d[first]) / (2.0 * e[first]);
    let mut g = d[end] - d[first] + e[first] / (half + half.hypot(1.0).copysign(half));
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for i in (first..end).rev() {
        let (f, b) = (sine * e[i], cosine * e[i]);
        let radius = f.hypot(g);
        e[i + 1] = radius;
        if radius == 0.0 {
            // The block splits here; the next sweep goes on with its parts.
            d[i + 1] -= shift;
            e[end] = 0.0;
            return;
        }
        (sine, cosine) = (f / radius, g / radius);
        let gap = d[i + 1] - shift;
        let turned = (d[i] - gap).mul_add(sine, 2.0 * cosine * b);
        shift = sine * turned;
        d[i + 1] = gap + shift;
        g = cosine.mul_add(turned, -b);
        let (mut low, mut high) = vectors.multi_slice_mut((s![i, ..], s![i + 1, ..]));
        rotate(&mut low, &mut high, sine, cosine);
    }
    d[first] -= shift;
    e[first] = g;
    e[end] = 0.0;
}

fn rotate(low: &mut ArrayViewMut1<'_, f64>, high: &mut ArrayViewMut1<'_, f64>, sine: f64, cosine: f64) {
    Zip::from(low).and(high).for_each(|l, h| {
        let old = *h;
        *h = sine.mul_add(*l, cosine * old);
        *l = cosine.mul_add(*l, -(sine * old));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        let (values, vectors) = symmetric(array![[2.0, 1.0], [1.0, 2.0]]).unwrap();
        assert!((values[0] - 3.0).abs() < 1e-15 && (values[1] - 1.0).abs() < 1e-15);
        assert!((vectors[[0, 0]] - vectors[[0, 1]]).abs() < 1e-15);
        let (values, _) = symmetric(Array2::eye(5) * 4.0).unwrap();
        assert_eq!(values.to_vec(), [4.0; 5]);
        assert_eq!(symmetric(Array2::from_elem((1, 1), -2.0)).unwrap().0[0], -2.0);
        assert!(symmetric(array![[f64::NAN]]).is_none());
    }

    proptest! {
        #[test]
        fn they_are_orthonormal_and_make_the_matrix_again(n in 1_usize..24, seed in any::<u32>()) {
            let number = |i: usize, j: usize| f64::from(seed % 997 + 1).mul_add((i * 31 + j * 17) as f64, 1.0).sin();
            let half = Array2::from_shape_fn((n, n), |(i, j)| number(i, j));
            // Rank n / 2: many eigenvalues are zero.
            let a = half.slice(s![.., ..n.div_ceil(2)]).to_owned();
            let a = a.dot(&a.t());
            let (values, q) = symmetric(a.clone()).unwrap();
            let off = (&q.dot(&q.t()) - &Array2::<f64>::eye(n)).mapv(f64::abs);
            prop_assert!(off.iter().all(|v| *v < 1e-12));
            let again = q.t().dot(&Array2::from_diag(&values)).dot(&q);
            let scale = a.iter().fold(1e-300, |m: f64, v| m.max(v.abs()));
            prop_assert!((&again - &a).iter().all(|v| v.abs() < 1e-12 * scale * n as f64));
            prop_assert!(values.windows(2).into_iter().all(|w| w[0] >= w[1]));
        }
    }
}
