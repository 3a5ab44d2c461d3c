//! Sums, and small in-place changes. Sums are taken in float64, piece by piece, and added in the order of the pieces.

use super::dispatch::{Level, dispatch, level};
use super::parallel::{PIECE, map, part, rows_per_piece};

/// Partial sums of a loop: two AVX-512 registers of float64.
const WIDE: usize = 16;

macro_rules! reduction {
    ($body:ident, $piece:ident, |$a:ident, $b:ident| $term:expr) => {
        #[inline(always)]
        fn $body<const FMA: bool>(x: &[f32], y: &[f32]) -> f64 {
            let mut acc = [0.0f64; WIDE];
            let ((xs, x_tail), (ys, y_tail)) = (x.as_chunks::<WIDE>(), y.as_chunks::<WIDE>());
            for (x, y) in xs.iter().zip(ys) {
                for i in 0..WIDE {
                    let ($a, $b) = (f64::from(x[i]), f64::from(y[i]));
                    acc[i] += $term;
                }
            }
            for (s, (x, y)) in acc.iter_mut().zip(x_tail.iter().zip(y_tail)) {
                let ($a, $b) = (f64::from(*x), f64::from(*y));
                *s += $term;
            }
            acc.iter().sum()
        }
        dispatch! { fn $piece(x: &[f32], y: &[f32]) -> f64 = $body }
    };
}

reduction!(dot_body, dot_piece, |a, b| a * b);
reduction!(distance_body, distance_piece, |a, b| (a - b) * (a - b));

/// `sum x y`, accumulated in float64.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len(), "dot product");
    let level = level();
    map(x.len().div_ceil(PIECE), |p| dot_piece(level, part(x, p, PIECE), part(y, p, PIECE))).iter().sum()
}

/// The same numbers, on this thread.
pub(super) fn dot_here(level: Level, x: &[f32], y: &[f32]) -> f64 {
    x.chunks(PIECE).zip(y.chunks(PIECE)).map(|(x, y)| dot_piece(level, x, y)).sum()
}

/// `sum x^2`, accumulated in float64.
#[must_use]
pub fn squared_norm(x: &[f32]) -> f64 {
    dot(x, x)
}

/// `sum (x - y)^2`, accumulated in float64.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len(), "distance");
    let level = level();
    map(x.len().div_ceil(PIECE), |p| distance_piece(level, part(x, p, PIECE), part(y, p, PIECE))).iter().sum()
}

#[inline(always)]
fn finite_body<const FMA: bool>(x: &[f32]) -> bool {
    // A number is finite exactly when its exponent bits are not all ones.
    let mut worst = 0u32;
    for v in x {
        worst = worst.max(v.to_bits() & 0x7F80_0000);
    }
    worst != 0x7F80_0000
}

dispatch! { fn finite_piece(x: &[f32]) -> bool = finite_body }

/// Whether no element is NaN or infinite.
#[must_use]
pub fn all_finite(x: &[f32]) -> bool {
    let level = level();
    map(x.len().div_ceil(PIECE), |p| finite_piece(level, part(x, p, PIECE))).into_iter().all(|finite| finite)
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &mut [f32], factor: f32) {
    for v in x {
        *v *= factor;
    }
}

#[inline(always)]
fn accumulate_body<const FMA: bool>(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

dispatch! { fn scale_piece(x: &mut [f32], factor: f32) = scale_body }
dispatch! { fn accumulate_piece(x: &mut [f32], y: &[f32]) = accumulate_body }

/// `x *= factor`.
pub fn scale_in_place(x: &mut [f32], factor: f32) {
    let level = level();
    on_pieces(x, |_, x| scale_piece(level, x, factor));
}

/// `x = value`.
pub fn fill(x: &mut [f32], value: f32) {
    on_pieces(x, |_, x| x.fill(value));
}

/// `x += y` if `add`, else `x = y`.
///
/// # Panics
/// If the lengths differ.
pub fn accumulate(x: &mut [f32], y: &[f32], add: bool) {
    assert_eq!(x.len(), y.len(), "accumulation");
    let level = level();
    on_pieces(x, |p, x| {
        let y = part(y, p, PIECE);
        if add {
            accumulate_piece(level, x, y);
        } else {
            x.copy_from_slice(y);
        }
    });
}

fn on_pieces(x: &mut [f32], f: impl Fn(usize, &mut [f32]) + Send + Sync) {
    use rayon::prelude::*;
    if x.len() <= PIECE {
        f(0, x);
    } else {
        x.par_chunks_mut(PIECE).enumerate().for_each(|(p, x)| f(p, x));
    }
}

#[inline(always)]
fn columns_body<const FMA: bool>(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (s, v) in sums.iter_mut().zip(row) {
            *s += v;
        }
    }
}

dispatch! { fn columns_piece(x: &[f32], sums: &mut [f32]) = columns_body }

/// Sums over the rows of `x [rows, d]` into `sums [d]`, added to what is there if `add`.
///
/// # Panics
/// If the lengths do not fit.
pub fn column_sums_into(sums: &mut [f32], x: &[f32], add: bool) {
    let d = sums.len();
    assert!(d > 0 && x.len().is_multiple_of(d), "{} numbers in rows of {d}", x.len());
    let level = level();
    let size = rows_per_piece(d) * d;
    let parts = map(x.len().div_ceil(size), |p| {
        let mut part_sums = vec![0.0; d];
        columns_piece(level, part(x, p, size), &mut part_sums);
        part_sums
    });
    if !add {
        sums.fill(0.0);
    }
    for part_sums in &parts {
        accumulate_piece(level, sums, part_sums);
    }
}

/// Sums over each sample's rows of `x` (`samples` blocks of rows of width `d`): `[samples, d]`.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn sample_sums(x: &[f32], samples: usize, d: usize) -> Vec<f32> {
    assert!(samples > 0 && d > 0 && x.len().is_multiple_of(samples * d), "{} numbers of {samples} samples", x.len());
    let (level, size) = (level(), x.len() / samples);
    let sums = map(samples, |sample| {
        let mut sums = vec![0.0; d];
        columns_piece(level, part(x, sample, size), &mut sums);
        sums
    });
    sums.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{available_levels, with_level};

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * seed).sin()).collect()
    }

    #[test]
    fn reductions_equal_naive_sums_at_every_level_and_thread_count() {
        let (x, y) = (numbers(70_001, 0.37), numbers(70_001, 0.11));
        let naive: f64 = x.iter().zip(&y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let far: f64 = x.iter().zip(&y).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        for level in available_levels() {
            let results: Vec<_> = [1, 2, 3]
                .iter()
                .map(|threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(*threads).build().unwrap();
                    pool.install(|| with_level(level, || (dot(&x, &y), squared_distance(&x, &y))))
                })
                .collect();
            assert!((results[0].0 - naive).abs() < 1e-8 && (results[0].1 / far - 1.0).abs() < 1e-12);
            assert!(results.iter().all(|r| *r == results[0]), "threads change the sum at {level:?}");
        }
    }

    #[test]
    fn finds_what_is_not_finite() {
        let mut x = numbers(40_000, 0.1);
        assert!(all_finite(&x));
        x[39_999] = f32::NAN;
        assert!(!all_finite(&x));
        x[39_999] = f32::NEG_INFINITY;
        assert!(!all_finite(&x));
        x[39_999] = f32::MAX;
        assert!(all_finite(&x));
    }

    #[test]
    fn changes_every_element() {
        let (x, y) = (numbers(40_000, 0.3), numbers(40_000, 0.7));
        let mut z = x.clone();
        scale_in_place(&mut z, 2.0);
        accumulate(&mut z, &y, true);
        assert!(z.iter().zip(x.iter().zip(&y)).all(|(z, (x, y))| *z == x * 2.0 + y));
        accumulate(&mut z, &y, false);
        assert_eq!(z, y);
        fill(&mut z, 3.0);
        assert!(z.iter().all(|v| *v == 3.0));
    }

    #[test]
    fn sums_columns() {
        let x: Vec<f32> = (0..30_000).map(|i| (i % 7) as f32).collect();
        let mut sums = vec![1.0; 3];
        column_sums_into(&mut sums, &x, true);
        for (c, s) in sums.iter().enumerate() {
            assert_eq!(*s, 1.0 + x.iter().skip(c).step_by(3).sum::<f32>());
        }
    }
}
