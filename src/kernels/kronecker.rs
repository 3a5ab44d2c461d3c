//! Kronecker sketches of the samples' gradients of a linear layer: `S_i = sum_t (Q d_it)(P a_it)^T`, in two halves.

use super::dispatch::{Level, dispatch, level};
use super::math::fma;
use super::matmul::{Matrix, matmul_strided};
use super::parallel::{map, part};

/// Rows of one task, about: samples of few tokens are sketched several at a time.
const TASK_ROWS: usize = 64;
/// Half of the smallest sketch.
const SMALL: usize = 8;

/// Sizes of a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SketchShape {
    /// Samples; each has equally many rows.
    pub samples: usize,
    /// Input width.
    pub d_in: usize,
    /// Output width.
    pub d_out: usize,
    /// Rows of `P` and of `Q`, both halves together: 16, 32 or 64.
    pub k: usize,
}

/// `sums[half] += sum over rows of q[half] p[half]^T` of a sketch of 16: its sums fit into registers, and a product of the
/// library takes longer to begin.
#[inline(always)]
fn small_body<const FMA: bool>(p: &[f32], q: &[f32], sums: &mut [f32]) {
    let (sums, _) = sums.as_chunks_mut::<SMALL>();
    let ((p, _), (q, _)) = (p.as_chunks::<SMALL>(), q.as_chunks::<SMALL>());
    for (half, sums) in sums.chunks_exact_mut(SMALL).enumerate() {
        let mut held = [[0.0f32; SMALL]; SMALL];
        // Rows of `p` and `q` alternate between the halves.
        for row in (half..p.len()).step_by(2) {
            let (p, q) = (&p[row], &q[row]);
            for (held, q) in held.iter_mut().zip(q) {
                for (s, p) in held.iter_mut().zip(p) {
                    *s = fma::<FMA>(*q, *p, *s);
                }
            }
        }
        sums.copy_from_slice(&held);
    }
}

dispatch! { fn small(p: &[f32], q: &[f32], sums: &mut [f32]) = small_body }

/// `sums[half] = sum over rows of q[half] p[half]^T`, `p`, `q [rows, 2, k / 2]`, `sums [2, k / 2, k / 2]`.
fn outer_products(level: Level, p: &[f32], q: &[f32], sums: &mut [f32], k: usize) {
    let (half, rows) = (k / 2, p.len() / k);
    if half == SMALL {
        return small(level, p, q, sums);
    }
    for (number, sums) in sums.chunks_exact_mut(half * half).enumerate() {
        let [p, q] = [p, q].map(|x| Matrix::strided(&x[number * half..], rows, half, k));
        matmul_strided(sums, half, q.t(), p, false);
    }
}

/// `x p`, `x [rows, d]`, `p [d, k]`.
fn projected(x: &[f32], p: &[f32], d: usize, k: usize) -> Vec<f32> {
    let rows = x.len() / d;
    let mut out = vec![0.0; rows * k];
    matmul_strided(&mut out, k, Matrix::new(x, rows, d), Matrix::new(p, d, k), false);
    out
}

/// Sketches `[samples, 2, k / 2, k / 2]` of `input [rows, d_in]` and `output_grad [rows, d_out]`, whose rows are the
/// samples' one after the other. `p [d_in, k]` and `q [d_out, k]` hold the projections in their columns, those of the
/// first half first; `q` numbers a sketch's rows. A sample is computed by one thread.
///
/// # Panics
/// If the lengths do not fit or `k` is another number.
#[must_use]
pub fn kronecker_sketch(input: &[f32], output_grad: &[f32], p: &[f32], q: &[f32], shape: SketchShape) -> Vec<f32> {
    let SketchShape { samples, d_in, d_out, k } = shape;
    let rows = input.len() / d_in;
    assert!([16, 32, 64].contains(&k) && p.len() == k * d_in && q.len() == k * d_out, "sketch {shape:?}");
    assert!(input.len() == rows * d_in && output_grad.len() == rows * d_out, "sketch {shape:?}");
    assert!(samples > 0 && rows.is_multiple_of(samples), "{rows} rows of {samples} samples");
    let (level, rows) = (level(), rows / samples);
    let together = TASK_ROWS.div_ceil(rows.max(1)).min(samples);
    let sketches = map(samples.div_ceil(together), |task| {
        let p = projected(part(input, task, together * rows * d_in), p, d_in, k);
        let q = projected(part(output_grad, task, together * rows * d_out), q, d_out, k);
        let of_task = together.min(samples - task * together);
        let mut sums = vec![0.0; of_task * k * k / 2];
        for (sample, sums) in sums.chunks_exact_mut(k * k / 2).enumerate() {
            outer_products(level, part(&p, sample, rows * k), part(&q, sample, rows * k), sums, k);
        }
        sums
    });
    sketches.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{available_levels, with_level};

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * seed).sin()).collect()
    }

    /// Projection `c` of `x`.
    fn dot(x: &[f32], p: &[f32], c: usize) -> f64 {
        let k = p.len() / x.len();
        x.iter().enumerate().map(|(j, x)| f64::from(*x) * f64::from(p[j * k + c])).sum()
    }

    #[test]
    fn equals_the_definition_at_every_level_and_thread_count() {
        for (k, tokens, d_in, d_out) in [(16, 9, 5, 19), (32, 1, 3, 4), (64, 17, 33, 2)] {
            let shape = SketchShape { samples: 3, d_in, d_out, k };
            let (a, d) = (numbers(3 * tokens * d_in, 0.3), numbers(3 * tokens * d_out, 0.7));
            let (p, q) = (numbers(k * d_in, 1.1), numbers(k * d_out, 1.7));
            let mut first: Option<Vec<f32>> = None;
            for level in available_levels() {
                let of = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| with_level(level, || kronecker_sketch(&a, &d, &p, &q, shape)))
                };
                let got = of(1);
                assert!(of(2) == got && of(3) == got);
                assert_eq!(got.len(), 3 * k * k / 2);
                let h = k / 2;
                for (at, got) in got.iter().enumerate() {
                    let (sample, half, u, v) = (at / (2 * h * h), at / (h * h) % 2, at / h % h, at % h);
                    let row = |x: &[f32], t: usize, d: usize| x[(sample * tokens + t) * d..][..d].to_vec();
                    let want: f64 = (0..tokens)
                        .map(|t| dot(&row(&d, t, d_out), &q, half * h + u) * dot(&row(&a, t, d_in), &p, half * h + v))
                        .sum();
                    assert!((f64::from(*got) - want).abs() < 1e-3, "{k} {at}: {got} {want}");
                }
                first.get_or_insert(got);
            }
        }
    }
}
