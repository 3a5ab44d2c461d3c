//! `out[b] = sum_e g[b, e] y_e[b]`.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::math::fma;
use super::parallel::{PIECE, for_each, map, part};
use super::reduce::dot_here;

#[inline(always)]
fn mix_body<const FMA: bool>(parts: &[&[f32]], weights: &[f32], base: Option<&[f32]>, out: &mut Fresh) {
    // A block at a time stays in the L1 cache while the experts are added to it.
    const BLOCK: usize = 256;
    let n = out.len();
    let mut from = 0;
    while from < n {
        let len = BLOCK.min(n - from);
        let mut acc = [0.0; BLOCK];
        if let Some(base) = base {
            acc[..len].copy_from_slice(&base[from..from + len]);
        }
        for (y, w) in parts.iter().zip(weights) {
            for (a, y) in acc[..len].iter_mut().zip(&y[from..from + len]) {
                *a = fma::<FMA>(*w, *y, *a);
            }
        }
        for (o, a) in out[from..from + len].iter_mut().zip(&acc) {
            o.write(*a);
        }
        from += len;
    }
}

dispatch! { fn mix(parts: &[&[f32]], weights: &[f32], base: Option<&[f32]>, out: &mut Fresh) = mix_body }

/// `experts`: E of them, `[B, n]` each; `weights [B, E]`; returns `[B, n]`, plus `base [B, n]` if there is one.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn mixture(experts: &[&[f32]], weights: &[f32], base: Option<&[f32]>, batch: usize) -> Vec<f32> {
    let total = experts.first().map_or(0, |y| y.len());
    assert!(batch > 0 && total.is_multiple_of(batch) && weights.len() == batch * experts.len(), "mixture");
    assert!(experts.iter().all(|y| y.len() == total) && base.is_none_or(|b| b.len() == total), "mixture");
    let (level, n) = (level(), total / batch);
    let pieces = n.div_ceil(PIECE);
    // SAFETY: the pieces of the samples cover the vector and do not overlap; the kernel fills them.
    unsafe {
        build(total, |out| {
            let shared = Shared::new(out);
            for_each(batch * pieces, |task| {
                let (sample, piece) = (task / pieces, task % pieces);
                let from = sample * n + piece * PIECE;
                let to = (from + PIECE).min((sample + 1) * n);
                let parts: Vec<&[f32]> = experts.iter().map(|y| &y[from..to]).collect();
                let weights = part(weights, sample, experts.len());
                mix(level, &parts, weights, base.map(|b| &b[from..to]), shared.region(from, to - from));
            });
        })
    }
}

/// `x[b] * weights[b * stride + at]` for every sample: an expert's gradient.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn scale_samples(x: &[f32], weights: &[f32], stride: usize, at: usize, batch: usize) -> Vec<f32> {
    assert!(weights.len() == batch * stride && at < stride, "a weight for each sample");
    let own: Vec<f32> = weights.iter().skip(at).step_by(stride).copied().collect();
    mixture(&[x], &own, None, batch)
}

/// `<y_e[b], grad[b]>`: the gradient `[B, E]` of the weights.
///
/// # Panics
/// If the lengths do not fit.
#[must_use]
pub fn mixture_backward_weights(experts: &[&[f32]], grad: &[f32], batch: usize) -> Vec<f32> {
    assert!(batch > 0 && grad.len().is_multiple_of(batch), "mixture");
    assert!(experts.iter().all(|y| y.len() == grad.len()), "mixture");
    let (level, n, e) = (level(), grad.len() / batch, experts.len());
    map(batch * e, |task| dot_here(level, part(experts[task % e], task / e, n), part(grad, task / e, n)) as f32)
}
