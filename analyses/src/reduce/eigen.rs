//! Largest eigenvalues and their eigenvectors of symmetric matrices: by Krylov subspaces where they settle, else Householder reflections to tridiagonal form, bisection
//! by Sturm counts, inverse iteration (Golub and Van Loan, Matrix Computations, 8.3 to 8.5). Only the reductions cost
//! O(n^3), and they touch half the matrix, once a step.

use crate::linalg::{Compute, Level, dispatch};
use crate::stats::Stream;
use ndarray::{Array1, Array2, ArrayViewMut1, Axis};

/// The `keep` largest eigenvalues, largest first, and their eigenvectors as rows in the same order; `None` if the matrix
/// holds a number that is not finite. Reads the lower triangle.
pub(super) fn largest(matrix: &Array2<f64>, keep: usize) -> Option<(Array1<f64>, Array2<f64>)> {
    super::krylov::largest(matrix, keep).or_else(|| direct(matrix, keep))
}

/// The same by reduction to tridiagonal form.
pub(super) fn direct(matrix: &Array2<f64>, keep: usize) -> Option<(Array1<f64>, Array2<f64>)> {
    if !matrix.iter().all(|v| v.is_finite()) {
        return None;
    }
    let n = matrix.nrows();
    let mut a = matrix.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
    let mut reduced = Tridiagonal { diagonal: vec![0.0; n], off: vec![0.0; n], scale: vec![0.0; n] };
    dispatch(Reduce { a: &mut a, n, to: &mut reduced });
    let values: Vec<f64> = (0..keep).map(|i| reduced.eigenvalue(i)).collect();
    let mut vectors = Array2::zeros((keep, n));
    for i in 0..keep {
        let (mut before, mut rest) = vectors.view_mut().split_at(Axis(0), i);
        reduced.inverse_iteration(
            &values,
            i,
            &mut before.rows_mut().into_iter().collect::<Vec<_>>(),
            &mut rest.row_mut(0),
        );
    }
    for mut vector in vectors.rows_mut() {
        // The reflections in the reverse of the order they were made in.
        for i in 2..n {
            let (row, h) = (&a[i * n..i * n + i], reduced.scale[i]);
            if h > 0.0 {
                let dot: f64 = row.iter().zip(&vector).map(|(v, x)| v * x).sum();
                vector.iter_mut().zip(row).for_each(|(x, v)| *x -= dot / h * v);
            }
        }
    }
    Some((values.into(), vectors))
}

/// `T`: its diagonal, `off[i]` between `i - 1` and `i`; and what each reflection divides by (0 = there was none).
struct Tridiagonal {
    diagonal: Vec<f64>,
    off: Vec<f64>,
    scale: Vec<f64>,
}

struct Reduce<'a> {
    /// Row after row; the lower triangle is used, and holds the reflections' vectors in the end.
    a: &'a mut [f64],
    n: usize,
    to: &'a mut Tridiagonal,
}

impl Compute for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self, level: Level) {
        match level {
            Level::Wide => reduce::<16>(self.a, self.n, self.to),
            Level::Least => reduce::<8>(self.a, self.n, self.to),
        }
    }
}

#[inline(always)]
fn reduce<const L: usize>(a: &mut [f64], n: usize, to: &mut Tridiagonal) {
    // `A -= v q' + q v'` of the reflection before, which is carried out as the next one reads the matrix.
    let (mut v, mut q) = (vec![0.0; n], vec![0.0; n]);
    for i in (0..n).rev() {
        let row = &mut a[(i * n)..=(i * n + i)];
        update(row, v[i], q[i], &v, &q);
        to.diagonal[i] = row[i];
        if i == 0 {
            break;
        }
        let row = &mut row[..i];
        let largest = row.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let rest: f64 = row[..i - 1].iter().map(|x| (x / largest.max(f64::MIN_POSITIVE)).powi(2)).sum();
        if rest == 0.0 {
            // Nothing to reflect; what is pending still has to be carried out.
            to.off[i] = row[i - 1];
            for r in 0..i {
                update(&mut a[(r * n)..=(r * n + r)], v[r], q[r], &v, &q);
            }
            v.iter_mut().chain(&mut q).for_each(|x| *x = 0.0);
            continue;
        }
        let last = row[i - 1];
        let norm = (rest + (last / largest).powi(2)).sqrt() * largest;
        let alpha = if last > 0.0 { -norm } else { norm };
        row[i - 1] -= alpha;
        let h = norm * norm - last * alpha;
        (to.off[i], to.scale[i]) = (alpha, h);
        let next: Vec<f64> = row.to_vec();
        let mut y = vec![0.0; i];
        for r in 0..i {
            let row = &mut a[(r * n)..=(r * n + r)];
            update(row, v[r], q[r], &v, &q);
            let dot = symmetric_product::<L>(&row[..r], &next[..r], next[r], &mut y[..r]);
            y[r] += dot + row[r] * next[r];
        }
        let vy: f64 = next.iter().zip(&y).map(|(v, y)| v * y).sum::<f64>() / h;
        v[..i].copy_from_slice(&next);
        for ((q, y), v) in q.iter_mut().zip(&y).zip(&next) {
            *q = y / h - vy / (2.0 * h) * v;
        }
    }
}

/// `row -= v_i q + q_i v`
#[inline(always)]
fn update(row: &mut [f64], v_i: f64, q_i: f64, v: &[f64], q: &[f64]) {
    for ((x, v), q) in row.iter_mut().zip(v).zip(q) {
        *x -= v_i * q + q_i * v;
    }
}

/// Adds `by * row` to `y` and returns the inner product of `row` and `with`.
#[inline(always)]
fn symmetric_product<const L: usize>(row: &[f64], with: &[f64], by: f64, y: &mut [f64]) -> f64 {
    let mut sums = [0.0; L];
    let whole = row.len() / L * L;
    for at in (0..whole).step_by(L) {
        let (row, with, y) = (&row[at..at + L], &with[at..at + L], &mut y[at..at + L]);
        for l in 0..L {
            sums[l] += row[l] * with[l];
            y[l] += by * row[l];
        }
    }
    let mut sum: f64 = sums.iter().sum();
    for at in whole..row.len() {
        sum += row[at] * with[at];
        y[at] += by * row[at];
    }
    sum
}

impl Tridiagonal {
    fn norm(&self) -> f64 {
        let n = self.diagonal.len();
        let row = |i: usize| self.diagonal[i].abs() + self.off[i].abs() + self.off.get(i + 1).map_or(0.0, |o| o.abs());
        (0..n).map(row).fold(f64::MIN_POSITIVE, f64::max)
    }

    /// Eigenvalues above `x` (Sturm's sequence).
    fn above(&self, x: f64) -> usize {
        let mut count = 0;
        let mut pivot = 1.0_f64;
        for (i, d) in self.diagonal.iter().enumerate() {
            let off = if i == 0 { 0.0 } else { self.off[i] };
            pivot = d - x - off * off / pivot;
            if pivot == 0.0 {
                pivot = -f64::MIN_POSITIVE.sqrt();
            }
            count += usize::from(pivot > 0.0);
        }
        count
    }

    /// The eigenvalue that `index` others are larger than or equal to.
    fn eigenvalue(&self, index: usize) -> f64 {
        let norm = self.norm();
        let (mut low, mut high) = (-norm, norm);
        // Halves until no number lies between.
        loop {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high || high - low <= f64::EPSILON * 0.5 * low.abs().max(high.abs()) {
                return middle;
            }
            if self.above(middle) > index {
                low = middle;
            } else {
                high = middle;
            }
            if high - low < f64::MIN_POSITIVE.max(norm * 1e-18) {
                return f64::midpoint(low, high);
            }
        }
    }

    /// The unit eigenvector of `values[i]`, orthogonal to those `before`.
    fn inverse_iteration(
        &self,
        values: &[f64],
        i: usize,
        before: &mut [ArrayViewMut1<'_, f64>],
        to: &mut ArrayViewMut1<'_, f64>,
    ) {
        // Equal eigenvalues get different neighbours of theirs, in order.
        let shift = values[i] - i as f64 * f64::EPSILON * self.norm();
        let solver = Solver::new(self, shift);
        let mut stream = Stream::new(i as u64);
        let mut x: Vec<f64> = self.diagonal.iter().map(|_| stream.unit() - 0.5).collect();
        for _ in 0..4 {
            solver.solve(&mut x);
            normalise(&mut x);
            for _ in 0..2 {
                for other in before.iter() {
                    let dot: f64 = other.iter().zip(&x).map(|(o, x)| o * x).sum();
                    x.iter_mut().zip(other).for_each(|(x, o)| *x -= dot * o);
                }
                normalise(&mut x);
            }
        }
        to.iter_mut().zip(x).for_each(|(to, x)| *to = x);
    }
}

fn normalise(x: &mut [f64]) {
    let largest = x.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    if largest > 0.0 {
        x.iter_mut().for_each(|v| *v /= largest);
        let length = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        x.iter_mut().for_each(|v| *v /= length);
    }
}

/// `T - shift`, factored with row exchanges: row i of U has `u[i], first[i], second[i]`.
struct Solver {
    u: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    factor: Vec<f64>,
    exchanged: Vec<bool>,
}

impl Solver {
    fn new(t: &Tridiagonal, shift: f64) -> Self {
        let n = t.diagonal.len();
        let tiny = f64::EPSILON * t.norm();
        let mut s = Self {
            u: vec![0.0; n],
            first: vec![0.0; n],
            second: vec![0.0; n],
            factor: vec![0.0; n],
            exchanged: vec![false; n],
        };
        let off = |i: usize| t.off.get(i).copied().unwrap_or(0.0);
        let (mut here, mut next) = (t.diagonal.first().copied().unwrap_or(0.0) - shift, off(1));
        for i in 0..n {
            if i + 1 == n {
                s.u[i] = here;
            } else {
                let (below, diagonal, after) = (off(i + 1), t.diagonal[i + 1] - shift, off(i + 2));
                if below.abs() > here.abs() {
                    s.exchanged[i] = true;
                    (s.u[i], s.first[i], s.second[i]) = (below, diagonal, after);
                    s.factor[i] = here / below;
                    (here, next) = (next - s.factor[i] * diagonal, -s.factor[i] * after);
                } else {
                    (s.u[i], s.first[i]) = (here, next);
                    s.factor[i] = if here == 0.0 { 0.0 } else { below / here };
                    (here, next) = (diagonal - s.factor[i] * next, after);
                }
            }
            if s.u[i].abs() < tiny {
                s.u[i] = tiny;
            }
        }
        s
    }

    fn solve(&self, x: &mut [f64]) {
        let n = x.len();
        for i in 0..n.saturating_sub(1) {
            if self.exchanged[i] {
                x.swap(i, i + 1);
            }
            x[i + 1] -= self.factor[i] * x[i];
        }
        for i in (0..n).rev() {
            let first = x.get(i + 1).map_or(0.0, |next| self.first[i] * next);
            let second = x.get(i + 2).map_or(0.0, |next| self.second[i] * next);
            x[i] = (x[i] - first - second) / self.u[i];
            // Far past the largest number only the direction counts.
            if x[i].abs() > 1e150 {
                x.iter_mut().for_each(|v| *v *= 1e-150);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{array, s};
    use proptest::prelude::*;

    fn symmetric(matrix: &Array2<f64>) -> Option<(Array1<f64>, Array2<f64>)> {
        let n = matrix.nrows();
        direct(matrix, n)
    }

    #[test]
    fn known_values() {
        let (values, vectors) = symmetric(&array![[2.0, 1.0], [1.0, 2.0]]).unwrap();
        assert!((values[0] - 3.0).abs() < 1e-15 && (values[1] - 1.0).abs() < 1e-15, "{values}");
        assert!((vectors[[0, 0]] - vectors[[0, 1]]).abs() < 1e-15);
        let (values, _) = symmetric(&(Array2::eye(5) * 4.0)).unwrap();
        assert!(values.iter().all(|v| (v - 4.0).abs() < 1e-14), "{values}");
        assert_eq!(symmetric(&Array2::from_elem((1, 1), -2.0)).unwrap().0[0], -2.0);
        assert!(symmetric(&array![[f64::NAN]]).is_none());
        let (values, q) = symmetric(&Array2::zeros((4, 4))).unwrap();
        assert!(values.iter().all(|v| v.abs() < 1e-300));
        assert!((&q.dot(&q.t()) - &Array2::<f64>::eye(4)).iter().all(|v| v.abs() < 1e-12));
    }

    proptest! {
        #[test]
        fn they_are_orthonormal_and_make_the_matrix_again(n in 1_usize..24, seed in any::<u32>()) {
            let number = |i: usize, j: usize| f64::from(seed % 997 + 1).mul_add((i * 31 + j * 17) as f64, 1.0).sin();
            let half = Array2::from_shape_fn((n, n), |(i, j)| number(i, j));
            // Rank n / 2: many eigenvalues are zero.
            let a = half.slice(s![.., ..n.div_ceil(2)]).to_owned();
            let a = a.dot(&a.t());
            let (values, q) = symmetric(&a).unwrap();
            let off = (&q.dot(&q.t()) - &Array2::<f64>::eye(n)).mapv(f64::abs);
            prop_assert!(off.iter().all(|v| *v < 1e-12));
            let again = q.t().dot(&Array2::from_diag(&values)).dot(&q);
            let scale = a.iter().fold(1e-300, |m: f64, v| m.max(v.abs()));
            prop_assert!((&again - &a).iter().all(|v| v.abs() < 1e-12 * scale * n as f64));
            prop_assert!(values.windows(2).into_iter().all(|w| w[0] >= w[1] - 1e-15 * scale));
        }
    }
}
