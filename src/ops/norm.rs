//! Layer norm and RMS norm over the last dimension.

use super::ctx::Ctx;
use super::weight::Weight;
use candle_core::{D, Result, Tensor};

/// `(x - mean) / sqrt(var + eps) * w + b`, `x [.., D]`, `w, b [D]`.
pub fn layer_norm(ctx: &Ctx, x: &Tensor, w: &Weight, b: &Weight, eps: f64) -> Result<Tensor> {
    composed_layer_norm(ctx, x, w, b, eps)
}

/// `x / sqrt(mean(x^2) + eps) * w`, `x [.., D]`, `w [D]`.
pub fn rms_norm(ctx: &Ctx, x: &Tensor, w: &Weight, eps: f64) -> Result<Tensor> {
    composed_rms_norm(ctx, x, w, eps)
}

/// Layer norm in plain tensor operations.
pub fn composed_layer_norm(ctx: &Ctx, x: &Tensor, w: &Weight, b: &Weight, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(&ctx.operand(w)?)?.broadcast_add(&ctx.operand(b)?)
}

/// RMS norm in plain tensor operations.
pub fn composed_rms_norm(ctx: &Ctx, x: &Tensor, w: &Weight, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(&ctx.operand(w)?)
}
