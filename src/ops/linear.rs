//! `y = x W^T + b`.

use super::ctx::Ctx;
use super::weight::Weight;
use candle_core::{D, Result, Tensor};

/// `x [.., d_in]`, `weight [d_out, ..]` whose trailing dimensions multiply to `d_in`, `bias [d_out]`; returns `[.., d_out]`.
///
/// Backward: `dx = dy W`, `dW += dy^T x`, `db += sum_rows dy`, each only where it is wanted.
pub fn linear(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>) -> Result<Tensor> {
    composed(ctx, x, weight, bias)
}

/// The same in plain tensor operations.
pub fn composed(ctx: &Ctx, x: &Tensor, weight: &Weight, bias: Option<&Weight>) -> Result<Tensor> {
    let d_in = x.dim(D::Minus1)?;
    let d_out = weight.dims()[0];
    let mut dims = x.dims().to_vec();
    let rows = x.elem_count() / d_in;
    let w = ctx.operand(weight)?.reshape((d_out, d_in))?;
    let y = x.reshape((rows, d_in))?.matmul(&w.t()?)?;
    let y = match bias {
        Some(b) => y.broadcast_add(&ctx.operand(b)?)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = d_out;
    }
    y.reshape(dims)
}
