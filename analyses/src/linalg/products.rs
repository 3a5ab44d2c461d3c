//! Inner products of rows with rows, blocked for registers: every number is summed in an order of its own that does not
//! depend on its neighbours in the block.

use super::{Compute, Level, Rows, dispatch};

/// `out[r * to.len() + c]` = inner product of `rows[r]` (all as long as the rows of `to`) and row `c` of `to`.
pub(crate) fn products(rows: &[&[f32]], to: &Rows, out: &mut [f32]) {
    assert_eq!(out.len(), rows.len() * to.len(), "place for the products");
    assert!(rows.iter().all(|r| r.len() == to.stride()), "rows of one length");
    dispatch(Products { rows, to, out });
}

struct Products<'a> {
    rows: &'a [&'a [f32]],
    to: &'a Rows,
    out: &'a mut [f32],
}

impl Compute for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self, level: Level) {
        match level {
            Level::Wide => blocks::<8, 2>(self.rows, self.to, self.out),
            Level::Least => blocks::<4, 2>(self.rows, self.to, self.out),
        }
    }
}

#[inline(always)]
fn blocks<const L: usize, const C: usize>(rows: &[&[f32]], to: &Rows, out: &mut [f32]) {
    let k = to.len();
    let mut r = 0;
    while r + 4 <= rows.len() {
        let four = [rows[r], rows[r + 1], rows[r + 2], rows[r + 3]];
        strip::<L, 4, C>(&four, to, &mut out[r * k..(r + 4) * k]);
        r += 4;
    }
    while r < rows.len() {
        strip::<L, 1, C>(&[rows[r]], to, &mut out[r * k..(r + 1) * k]);
        r += 1;
    }
}

#[inline(always)]
fn strip<const L: usize, const R: usize, const C: usize>(rows: &[&[f32]; R], to: &Rows, out: &mut [f32]) {
    let k = to.len();
    let mut c = 0;
    while c + C <= k {
        block::<L, R, C>(rows, to, c, k, out);
        c += C;
    }
    while c + 2 <= k {
        block::<L, R, 2>(rows, to, c, k, out);
        c += 2;
    }
    if c < k {
        block::<L, R, 1>(rows, to, c, k, out);
    }
}

#[inline(always)]
fn block<const L: usize, const R: usize, const C: usize>(
    rows: &[&[f32]; R],
    to: &Rows,
    first: usize,
    k: usize,
    out: &mut [f32],
) {
    let mut sums = [[[0.0_f32; L]; C]; R];
    let width = to.stride();
    let others: [&[f32]; C] = std::array::from_fn(|c| &to.row(first + c)[..width]);
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r][..width]);
    for at in (0..width / L).map(|i| i * L) {
        let b: [&[f32]; C] = std::array::from_fn(|c| &others[c][at..at + L]);
        for r in 0..R {
            let a = &rows[r][at..at + L];
            for c in 0..C {
                for l in 0..L {
                    // Without the instruction, a fused product is a slow call.
                    let sum = sums[r][c][l];
                    sums[r][c][l] = if L == 8 { a[l].mul_add(b[c][l], sum) } else { a[l] * b[c][l] + sum };
                }
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            out[r * k + first + c] = fold(sums[r][c]);
        }
    }
}

/// The sum, halving again and again.
#[inline(always)]
fn fold<const L: usize>(mut lanes: [f32; L]) -> f32 {
    let mut half = L / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Squared distance of each of `rows` to row `labels[i]` of `to`, by differences.
pub(crate) fn distance2_rows(rows: &[&[f32]], labels: &[u32], to: &Rows, out: &mut [f32]) {
    dispatch(Distances { rows, labels, to, out });
}

struct Distances<'a> {
    rows: &'a [&'a [f32]],
    labels: &'a [u32],
    to: &'a Rows,
    out: &'a mut [f32],
}

impl Compute for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self, _: Level) {
        for ((row, label), out) in self.rows.iter().zip(self.labels).zip(self.out) {
            let mut sums = [0.0_f32; 16];
            let other = self.to.row(*label as usize);
            for (a, b) in row.chunks_exact(16).zip(other.chunks_exact(16)) {
                for l in 0..16 {
                    let difference = a[l] - b[l];
                    sums[l] += difference * difference;
                }
            }
            *out = fold(sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array2};

    #[test]
    fn products_and_distances_are_those_of_plain_loops() {
        let number = |i: usize, j: usize| ((i * 37 + j * 11) as f64 * 0.77).sin();
        for (n, k, d) in [(1, 1, 1), (9, 7, 33), (6, 5, 16), (4, 12, 50)] {
            let x = Array2::from_shape_fn((n, d), |(i, j)| number(i, j));
            let y = Array2::from_shape_fn((k, d), |(i, j)| number(i + 50, j));
            let origin = Array1::from_elem(d, 0.25);
            let (a, b) = (Rows::centred(x.view(), origin.view()), Rows::centred(y.view(), origin.view()));
            let rows: Vec<&[f32]> = (0..n).map(|i| a.row(i)).collect();
            let mut out = vec![f32::NAN; n * k];
            products(&rows, &b, &mut out);
            let expected = (&x - &origin).dot(&(&y - &origin).t());
            assert!(out.iter().zip(&expected).all(|(o, e)| (f64::from(*o) - e).abs() < 1e-5), "{n} {k} {d}");
            let labels: Vec<u32> = (0..n).map(|i| (i % k) as u32).collect();
            let mut out = vec![f32::NAN; n];
            distance2_rows(&rows, &labels, &b, &mut out);
            for (i, found) in out.iter().enumerate() {
                let expected = (&x.row(i) - &y.row(i % k)).mapv(|v| v * v).sum();
                assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.max(1.0));
            }
        }
    }
}
