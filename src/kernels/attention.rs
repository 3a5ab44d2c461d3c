//! Softmax attention on `[B, N, heads * d]` without moving heads about; only one number a row is kept for backward.
//!
//! Scores of a tile of query rows are made, used and forgotten; a tile fits the L2 cache.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{Level, dispatch, level};
use super::math::{dot, exp, fma, max, sum};
use super::matmul::{Matrix, product_here};
use super::parallel::for_each;
use std::cell::RefCell;

/// Sizes and mask of an attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape<'a> {
    /// Samples.
    pub batch: usize,
    /// Queries a sample.
    pub n_q: usize,
    /// Keys a sample.
    pub n_k: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub d: usize,
    /// Query `i` sees keys up to `i + n_k - n_q`.
    pub causal: bool,
    /// Valid keys of each sample.
    pub lengths: Option<&'a [usize]>,
}

impl AttentionShape<'_> {
    /// Keys that query `i` of `sample` sees: the first so many.
    fn visible(&self, sample: usize, i: usize) -> usize {
        let valid = self.lengths.map_or(self.n_k, |l| l[sample].min(self.n_k));
        if self.causal { valid.min((i + self.n_k + 1).saturating_sub(self.n_q)) } else { valid }
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.d as f64).sqrt()) as f32
    }

    /// Query rows of a tile: about 64 K scores.
    fn tile(&self) -> usize {
        (65_536 / self.n_k.max(1)).max(32).min(self.n_q.max(1))
    }

    fn check(&self, q: &[f32], k: &[f32], v: &[f32]) {
        let (n_q, n_k) = (self.batch * self.n_q * self.heads * self.d, self.batch * self.n_k * self.kv_heads * self.d);
        assert!(q.len() == n_q && k.len() == n_k && v.len() == n_k, "attention {self:?}");
        assert!(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads) && self.d > 0, "attention {self:?}");
        assert!(self.lengths.is_none_or(|l| l.len() == self.batch), "attention {self:?}");
    }
}

/// One head of one sample: views of its rows.
#[derive(Clone, Copy)]
struct Head<'a> {
    data: &'a [f32],
    start: usize,
    stride: usize,
    d: usize,
}

impl<'a> Head<'a> {
    fn new(data: &'a [f32], sample: usize, n: usize, heads: usize, head: usize, d: usize) -> Self {
        Self { data, start: sample * n * heads * d + head * d, stride: heads * d, d }
    }

    fn rows(self, from: usize, count: usize) -> Matrix<'a> {
        if count == 0 {
            return Matrix::new(&[], 0, self.d);
        }
        Matrix::strided(&self.data[self.start + from * self.stride..], count, self.d, self.stride)
    }

    fn row(self, i: usize) -> &'a [f32] {
        let at = self.start + i * self.stride;
        &self.data[at..at + self.d]
    }

    fn offset(self, i: usize) -> usize {
        self.start + i * self.stride
    }
}

/// Replaces a row of scores by `e^(scale (s - max))`, zeros past `seen`; returns `(max, sum)`.
#[inline(always)]
fn softmax_body<const FMA: bool>(row: &mut [f32], seen: usize, scale: f32) -> (f32, f32) {
    let (scores, hidden) = row.split_at_mut(seen);
    hidden.fill(0.0);
    let top = max(scores);
    let shift = -top * scale;
    for s in scores.iter_mut() {
        *s = exp::<FMA>(fma::<FMA>(*s, scale, shift));
    }
    (top, sum(scores))
}

/// Probabilities again, from the scores and the row's log-sum-exp.
#[inline(always)]
fn again_body<const FMA: bool>(row: &mut [f32], seen: usize, scale: f32, lse: f32) {
    let (scores, hidden) = row.split_at_mut(seen);
    hidden.fill(0.0);
    for s in scores {
        *s = exp::<FMA>(fma::<FMA>(*s, scale, -lse));
    }
}

/// `dp <- p (dp - delta) scale`.
#[inline(always)]
fn scores_body<const FMA: bool>(p: &[f32], dp: &mut [f32], delta: f32, scale: f32) {
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = p * (*dp - delta) * scale;
    }
}

#[inline(always)]
fn scale_body<const FMA: bool>(row: &mut [f32], factor: f32) {
    for v in row {
        *v *= factor;
    }
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    dot::<FMA>(a, b)
}

dispatch! { pub(super) fn softmax_row(row: &mut [f32], seen: usize, scale: f32) -> (f32, f32) = softmax_body }
dispatch! { fn again_row(row: &mut [f32], seen: usize, scale: f32, lse: f32) = again_body }
dispatch! { pub(super) fn scores_row(p: &[f32], dp: &mut [f32], delta: f32, scale: f32) = scores_body }
dispatch! { pub(super) fn scale_row(row: &mut [f32], factor: f32) = scale_body }
dispatch! { pub(super) fn dot_row(a: &[f32], b: &[f32]) -> f32 = dot_body }

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Lends two scratch rows of `n` numbers, kept by the thread.
fn with_scratch(n: usize, f: impl FnOnce(&mut [f32], &mut [f32])) {
    SCRATCH.with_borrow_mut(|[a, b]| {
        for buffer in [&mut *a, &mut *b] {
            if buffer.len() < n {
                buffer.resize(n, 0.0);
            }
        }
        f(&mut a[..n], &mut b[..n]);
    });
}

/// `q [B, n_q, heads * d]`, `k, v [B, n_k, kv_heads * d]`; returns the output, shaped as `q`, and the log-sum-exp of each
/// row `[B, heads, n_q]`. A row that sees no key is zero.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: &AttentionShape<'_>) -> (Vec<f32>, Vec<f32>) {
    shape.check(q, k, v);
    let level = level();
    let mut lse = Vec::new();
    // SAFETY: a task writes the rows of its own head, and all of them.
    let out = unsafe {
        build(q.len(), |out| {
            let out = Shared::new(out);
            lse = build(shape.batch * shape.heads * shape.n_q, |lse| {
                let lse = Shared::new(lse);
                for_each(shape.batch * shape.heads, |task| {
                    let lse = lse.region(task * shape.n_q, shape.n_q);
                    forward_head(level, q, k, v, shape, (task / shape.heads, task % shape.heads), out, lse);
                });
            });
        })
    };
    (out, lse)
}

/// # Safety
/// Nobody else touches this head's rows of `out`.
unsafe fn forward_head(
    level: Level,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: &AttentionShape<'_>,
    (sample, head): (usize, usize),
    out: Shared,
    lse: &mut Fresh,
) {
    let (tile, scale, kv_head) = (shape.tile(), shape.scale(), head * shape.kv_heads / shape.heads);
    let q = Head::new(q, sample, shape.n_q, shape.heads, head, shape.d);
    let k = Head::new(k, sample, shape.n_k, shape.kv_heads, kv_head, shape.d);
    let v = Head::new(v, sample, shape.n_k, shape.kv_heads, kv_head, shape.d);
    with_scratch(tile * shape.n_k, |scores, sums| {
        for from in (0..shape.n_q).step_by(tile) {
            let count = tile.min(shape.n_q - from);
            let keys = shape.visible(sample, from + count - 1);
            // SAFETY: the scratch holds `count * keys` numbers; the head's rows of `out` belong to this task.
            unsafe {
                product_here(scores.as_mut_ptr(), keys, q.rows(from, count), k.rows(0, keys).t(), false, 1.0);
                for i in 0..count {
                    let seen = shape.visible(sample, from + i);
                    let (top, total) = softmax_row(level, &mut scores[i * keys..(i + 1) * keys], seen, scale);
                    lse[from + i].write(top * scale + total.ln());
                    sums[i] = if seen == 0 { 0.0 } else { 1.0 / total };
                }
                let p = Matrix::new(&scores[..count * keys], count, keys);
                product_here(out.at(q.offset(from)), q.stride, p, v.rows(0, keys), false, 1.0);
                for (i, &sum) in sums[..count].iter().enumerate() {
                    let row = std::slice::from_raw_parts_mut(out.at(q.offset(from + i)), shape.d);
                    scale_row(level, row, sum);
                }
            }
        }
    });
}

/// Gradients of `q`, `k` and `v`, from the forward pass's output and log-sum-exps.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn attention_backward(
    [q, k, v]: [&[f32]; 3],
    out: &[f32],
    lse: &[f32],
    grad: &[f32],
    shape: &AttentionShape<'_>,
) -> [Vec<f32>; 3] {
    shape.check(q, k, v);
    assert!(out.len() == q.len() && grad.len() == q.len(), "attention {shape:?}");
    assert_eq!(lse.len(), shape.batch * shape.heads * shape.n_q, "attention {shape:?}");
    let level = level();
    let (mut dk, mut dv) = (Vec::new(), Vec::new());
    // SAFETY: a task writes the rows of its own key/value head and of the query heads served by it, and all of them.
    let dq = unsafe {
        build(q.len(), |dq| {
            let dq = Shared::new(dq);
            dk = build(k.len(), |dk| {
                let dk = Shared::new(dk);
                dv = build(v.len(), |dv| {
                    let to = [dq, dk, Shared::new(dv)];
                    for_each(shape.batch * shape.kv_heads, |task| {
                        let at = (task / shape.kv_heads, task % shape.kv_heads);
                        backward_head(level, [q, k, v, out, grad], lse, shape, at, to);
                    });
                });
            });
        })
    };
    [dq, dk, dv]
}

/// # Safety
/// Nobody else touches the rows of this key/value head and of its query heads in `to`.
unsafe fn backward_head(
    level: Level,
    [q, k, v, out, grad]: [&[f32]; 5],
    lse: &[f32],
    shape: &AttentionShape<'_>,
    (sample, kv_head): (usize, usize),
    [dq, dk, dv]: [Shared; 3],
) {
    let (tile, scale, group) = (shape.tile(), shape.scale(), shape.heads / shape.kv_heads);
    let k = Head::new(k, sample, shape.n_k, shape.kv_heads, kv_head, shape.d);
    let v = Head::new(v, sample, shape.n_k, shape.kv_heads, kv_head, shape.d);
    let last_keys = if shape.n_q == 0 { 0 } else { shape.visible(sample, shape.n_q - 1) };
    for j in last_keys..shape.n_k {
        // SAFETY: rows of this task. Keys that nobody sees.
        unsafe {
            std::slice::from_raw_parts_mut(dk.at(k.offset(j)), shape.d).fill(0.0);
            std::slice::from_raw_parts_mut(dv.at(k.offset(j)), shape.d).fill(0.0);
        }
    }
    with_scratch(tile * shape.n_k, |p, dp| {
        let mut add = false;
        for head in kv_head * group..(kv_head + 1) * group {
            let of = |data| Head::new(data, sample, shape.n_q, shape.heads, head, shape.d);
            let (q, out, grad) = (of(q), of(out), of(grad));
            let lse = &lse[(sample * shape.heads + head) * shape.n_q..][..shape.n_q];
            // Last tile first: under a causal mask it sees the most keys, so the first product writes every row that
            // later ones add to.
            for from in (0..shape.n_q).step_by(tile).rev() {
                let count = tile.min(shape.n_q - from);
                let keys = shape.visible(sample, from + count - 1);
                let (queries, grads) = (q.rows(from, count), grad.rows(from, count));
                // SAFETY: the scratch holds `count * keys` numbers; the rows written belong to this task.
                unsafe {
                    product_here(p.as_mut_ptr(), keys, queries, k.rows(0, keys).t(), false, 1.0);
                    product_here(dp.as_mut_ptr(), keys, grads, v.rows(0, keys).t(), false, 1.0);
                    for i in 0..count {
                        let seen = shape.visible(sample, from + i);
                        let (p, dp) = (&mut p[i * keys..(i + 1) * keys], &mut dp[i * keys..(i + 1) * keys]);
                        again_row(level, p, seen, scale, lse[from + i]);
                        let delta = dot_row(level, out.row(from + i), grad.row(from + i));
                        scores_row(level, p, dp, delta, scale);
                    }
                    let p = Matrix::new(&p[..count * keys], count, keys);
                    let dp = Matrix::new(&dp[..count * keys], count, keys);
                    product_here(dv.at(v.offset(0)), v.stride, p.t(), grads, add, 1.0);
                    product_here(dk.at(k.offset(0)), k.stride, dp.t(), queries, add, 1.0);
                    product_here(dq.at(q.offset(from)), q.stride, dp, k.rows(0, keys), false, 1.0);
                }
                add = true;
            }
        }
    });
}
