//! Layer norm and RMS norm over the last dimension.

use super::ctx::Ctx;
use super::device;
use super::graph::{self, anchored, fits, host};
use super::precision::wide;
use super::segment::is_tracked;
use super::watch::{self, Watch};
use super::weight::{Weight, read_all_f32};
use crate::kernels::{self, NormKind};
use candle_core::{D, Result, Tensor, bail};

/// `(x - mean) / sqrt(var + eps) * w + b`, `x [.., D]`, `w, b [D]`.
///
/// Backward, with `h = (x - mean) / sqrt(var + eps)` computed again and `s = dy w`:
/// `dx = (s - mean(s) - h mean(s h)) / sqrt(var + eps)`, `dw += sum_rows dy h`, `db += sum_rows dy`.
pub fn layer_norm(ctx: &Ctx, x: &Tensor, w: &Weight, b: &Weight, eps: f64) -> Result<Tensor> {
    if let Some(engine) = device::fits(&[x], &[w.tensor(), b.tensor()]) {
        return watched(ctx, x, (w, Some(b)), eps, device::norm::norm(engine, ctx, x, w, Some(b), eps)?);
    }
    if !fits(&[x, w.tensor(), b.tensor()]) || x.elem_count() == 0 {
        return watched(ctx, x, (w, Some(b)), eps, composed_layer_norm(ctx, x, w, b, eps)?);
    }
    fused(ctx, x, w, Some(b), eps)
}

/// `x / sqrt(mean(x^2) + eps) * w`, `x [.., D]`, `w [D]`.
///
/// Backward, with `h = x / sqrt(mean(x^2) + eps)` and `s = dy w`: `dx = (s - h mean(s h)) / sqrt(mean(x^2) + eps)`,
/// `dw += sum_rows dy h`.
pub fn rms_norm(ctx: &Ctx, x: &Tensor, w: &Weight, eps: f64) -> Result<Tensor> {
    if let Some(engine) = device::fits(&[x], &[w.tensor()]) {
        return watched(ctx, x, (w, None), eps, device::norm::norm(engine, ctx, x, w, None, eps)?);
    }
    if !fits(&[x, w.tensor()]) || x.elem_count() == 0 {
        return watched(ctx, x, (w, None), eps, composed_rms_norm(ctx, x, w, eps)?);
    }
    fused(ctx, x, w, None, eps)
}

fn fused(ctx: &Ctx, x: &Tensor, w: &Weight, shift: Option<&Weight>, eps: f64) -> Result<Tensor> {
    let d = x.dim(D::Minus1)?;
    if w.dims() != [d] || shift.is_some_and(|b| b.dims() != [d]) {
        bail!("norm: {} {:?} does not scale rows of width {d}", w.name(), w.dims());
    }
    let x = x.contiguous()?;
    let eps = eps as f32;
    let (kept, tracked) = (x.detach(), is_tracked(&x));
    let (w_slot, b_slot) = (ctx.slot(w).cloned(), shift.and_then(|b| ctx.slot(b)).cloned());
    let seen = Seen::of(ctx, x.dims(), (w, shift), eps);
    let weights: Vec<Tensor> = std::iter::once(w).chain(shift).map(|w| w.tensor().clone()).collect();
    let y = {
        let operands: Vec<&Tensor> = std::iter::once(&kept).chain(&weights).collect();
        read_all_f32(&operands, |of| kernels::norm(of[0], of[1], kind(of.get(2)), eps))?
    };
    let input = anchored(ctx, &x, w_slot.is_some() || b_slot.is_some() || seen.is_some())?;
    graph::record("norm", [&input], y, x.dims(), move |_, grad| {
        let operands: Vec<&Tensor> = [grad, &kept].into_iter().chain(&weights).collect();
        if let Some(seen) = &seen {
            read_all_f32(&operands, |of| seen.show(of[1], of[2], of[0]))?;
        }
        let (dx, dw, db) =
            read_all_f32(&operands, |of| kernels::norm_backward(of[1], of[2], of[0], kind(of.get(3)), eps, tracked))?;
        for (slot, sums) in [(&w_slot, &dw), (&b_slot, &db)] {
            if let Some(slot) = slot {
                slot.accumulate_host(sums.len(), |buffer, add| kernels::accumulate(buffer, sums, add));
            }
        }
        Ok([if tracked { Some(host(dx, kept.dims())?) } else { None }])
    })
}

/// Shows an observer of a composed form what that of a fused one sees.
fn watched(ctx: &Ctx, x: &Tensor, weights: (&Weight, Option<&Weight>), eps: f64, y: Tensor) -> Result<Tensor> {
    let Some(seen) = Seen::of(ctx, x.dims(), weights, eps as f32) else { return Ok(y) };
    let x = x.detach();
    watch::shown_there(ctx, y, move |grad| seen.show_there(&x, grad))
}

/// Scale and shift that an observer wants to see.
struct Seen {
    scale: Option<Watch>,
    shift: Option<Watch>,
    centres: bool,
    eps: f32,
    samples: usize,
}

impl Seen {
    fn of(ctx: &Ctx, dims: &[usize], (scale, shift): (&Weight, Option<&Weight>), eps: f32) -> Option<Self> {
        let samples = if dims.len() > 1 { dims[0] } else { 1 };
        let centres = shift.is_some();
        let (scale, shift) = (Watch::of(ctx, scale), shift.and_then(|shift| Watch::of(ctx, shift)));
        (scale.is_some() || shift.is_some()).then_some(Self { scale, shift, centres, eps, samples })
    }

    /// The same in plain tensor operations, in float32, wherever `x` and `grad` lie.
    fn show_there(&self, x: &Tensor, grad: &Tensor) -> Result<()> {
        let (x, grad) = (wide(x)?, wide(grad)?);
        if let Some(watch) = &self.scale {
            let x = if self.centres { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x };
            let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.eps))?.sqrt()?;
            let slopes = (x.broadcast_div(&deviation)? * &grad)?;
            watch.vector_tensors(0, &watch::sample_sums(&slopes, self.samples)?, self.samples)?;
        }
        if let Some(watch) = &self.shift {
            watch.vector_tensors(0, &watch::sample_sums(&grad, self.samples)?, self.samples)?;
        }
        Ok(())
    }

    /// `x`, `grad [rows, d]`, `w [d]`.
    fn show(&self, x: &[f32], w: &[f32], grad: &[f32]) {
        let (dw, db) = kernels::norm_backward_samples(x, w, grad, self.centres, self.eps, self.samples);
        for (watch, gradients) in [(&self.scale, &dw), (&self.shift, &db)] {
            if let Some(watch) = watch {
                watch.vectors(0, gradients, self.samples);
            }
        }
    }
}

fn kind<'a>(shift: Option<&&'a [f32]>) -> NormKind<'a> {
    shift.map_or(NormKind::Rms, |shift| NormKind::Layer { shift })
}

/// Layer norm in plain tensor operations.
pub(crate) fn composed_layer_norm(ctx: &Ctx, x: &Tensor, w: &Weight, b: &Weight, eps: f64) -> Result<Tensor> {
    let (dtype, x) = (x.dtype(), wide(x)?);
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(&ctx.master(w)?)?.broadcast_add(&ctx.master(b)?)?.to_dtype(dtype)
}

/// RMS norm in plain tensor operations.
pub(crate) fn composed_rms_norm(ctx: &Ctx, x: &Tensor, w: &Weight, eps: f64) -> Result<Tensor> {
    let (dtype, x) = (x.dtype(), wide(x)?);
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(&ctx.master(w)?)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Case;
    use super::*;

    fn layer(rows: usize, d: usize) -> Case {
        Case {
            inputs: vec![vec![2, rows, d]],
            weights: vec![vec![d], vec![d]],
            fused: |ctx, x, w| layer_norm(ctx, &x[0], &w[0], &w[1], 1e-5),
            composed: |ctx, x, w| composed_layer_norm(ctx, &x[0], &w[0], &w[1], 1e-5),
        }
    }

    fn rms(rows: usize, d: usize) -> Case {
        Case {
            inputs: vec![vec![2, rows, d]],
            weights: vec![vec![d]],
            fused: |ctx, x, w| rms_norm(ctx, &x[0], &w[0], 1e-5),
            composed: |ctx, x, w| composed_rms_norm(ctx, &x[0], &w[0], 1e-5),
        }
    }

    #[test]
    fn layer_norm_small() {
        layer(3, 7).check();
        layer(1, 35).check();
    }

    #[test]
    fn layer_norm_large() {
        layer(130, 100).check_large();
    }

    #[test]
    fn rms_norm_small() {
        rms(3, 7).check();
        rms(1, 35).check();
    }

    #[test]
    fn rms_norm_large() {
        rms(130, 100).check_large();
    }
}
