//! Kronecker sketches of the samples' gradients of a linear layer: `S_i = sum_t (Q d_it)(P a_it)^T`, in two halves.

use super::dispatch::{Level, dispatch, level};
use super::math::fma;
use super::parallel::{map, part};

/// Projections that are computed together: one AVX-512 register.
pub const SKETCH_LANES: usize = 16;
/// Rows that are projected together.
const ROWS: usize = 8;
/// Rows of one task, about: samples of few tokens are sketched several at a time.
const TASK_ROWS: usize = 64;

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

/// `out[row][at..at + 16] = x[row] . p`, `x [rows, d]`, `p [d, 16]`, rows of `out` `stride` apart.
#[inline(always)]
fn project_body<const FMA: bool>(x: &[f32], p: &[f32], out: &mut [f32], stride: usize, at: usize) {
    let (p, _) = p.as_chunks::<SKETCH_LANES>();
    let d = p.len();
    let count = x.len() / d;
    for first in (0..count).step_by(ROWS) {
        // A last block of fewer rows computes its last row again. Slices of one length need no bounds checks below.
        let rows: [&[f32]; ROWS] = std::array::from_fn(|r| &x[(first + r).min(count - 1) * d..][..d]);
        let mut sums = [[0.0f32; SKETCH_LANES]; ROWS];
        for (j, p) in p.iter().enumerate() {
            for (sums, x) in sums.iter_mut().zip(&rows) {
                let x = x[j];
                for (s, p) in sums.iter_mut().zip(p) {
                    *s = fma::<FMA>(x, *p, *s);
                }
            }
        }
        for (row, sums) in (first..count).zip(&sums) {
            out[row * stride + at..][..SKETCH_LANES].copy_from_slice(sums);
        }
    }
}

#[inline(always)]
fn outer<const FMA: bool, const H: usize>(p: &[f32], q: &[f32], sums: &mut [f32]) {
    let (sums, _) = sums.as_chunks_mut::<H>();
    let ((p, _), (q, _)) = (p.as_chunks::<H>(), q.as_chunks::<H>());
    // Rows of `p` and `q` alternate between the halves.
    for (row, (p, q)) in p.iter().zip(q).enumerate() {
        for (sums, q) in sums[row % 2 * H..][..H].iter_mut().zip(q) {
            for (s, p) in sums.iter_mut().zip(p) {
                *s = fma::<FMA>(*q, *p, *s);
            }
        }
    }
}

/// `sums[half] += sum over rows of q[half] p[half]^T`, `p`, `q [rows, 2, k / 2]`, `sums [2, k / 2, k / 2]`.
#[inline(always)]
fn outer_body<const FMA: bool>(p: &[f32], q: &[f32], sums: &mut [f32], k: usize) {
    match k {
        16 => outer::<FMA, 8>(p, q, sums),
        32 => outer::<FMA, 16>(p, q, sums),
        _ => outer::<FMA, 32>(p, q, sums),
    }
}

dispatch! { fn project(x: &[f32], p: &[f32], out: &mut [f32], stride: usize, at: usize) = project_body }
dispatch! { fn outer_products(p: &[f32], q: &[f32], sums: &mut [f32], k: usize) = outer_body }

fn projected(level: Level, x: &[f32], p: &[f32], d: usize, k: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / d * k];
    for (group, p) in p.chunks_exact(d * SKETCH_LANES).enumerate() {
        project(level, x, p, &mut out, k, group * SKETCH_LANES);
    }
    out
}

/// Sketches `[samples, 2, k / 2, k / 2]` of `input [rows, d_in]` and `output_grad [rows, d_out]`, whose rows are the
/// samples' one after the other. `p [k / 16, d_in, 16]` and `q [k / 16, d_out, 16]` hold the projections, those of the
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
        let p = projected(level, part(input, task, together * rows * d_in), p, d_in, k);
        let q = projected(level, part(output_grad, task, together * rows * d_out), q, d_out, k);
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

    /// Projection `c` of `x`, by the layout.
    fn dot(x: &[f32], p: &[f32], c: usize) -> f64 {
        let d = x.len();
        let lane = |j: usize| p[(c / SKETCH_LANES * d + j) * SKETCH_LANES + c % SKETCH_LANES];
        x.iter().enumerate().map(|(j, x)| f64::from(*x) * f64::from(lane(j))).sum()
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
