//! Activation checkpointing: keep a block's input, run the block again in the backward pass.

use super::ctx::Ctx;
use super::device::engine_of;
use super::graph::{self, fits};
use super::segment::{self, is_tracked};
use crate::kernels::cuda::Fresh;
use candle_core::{Result, Tensor, Var};
use std::sync::Arc;

/// A block as a function of its input.
pub type Block<A> = dyn Fn(&Ctx, &Tensor) -> Result<(Tensor, A)> + Send + Sync;

/// Runs `block` on `x` without recording and returns its output and by-product; the backward pass runs it once more.
/// Gradients of weights go to their slots, the gradient of `x` flows on. Same numbers as calling `block` directly.
///
/// The by-product `A` (contexts, routing) comes from the first run and carries no gradient.
pub fn checkpoint<A: 'static>(ctx: &Ctx, x: &Tensor, block: Arc<Block<A>>) -> Result<(Tensor, A)> {
    let Some(anchor) = ctx.anchor() else { return block(ctx, x) };
    segment::check(x)?;
    let (y, by_product) = segment::outside(|| block(&ctx.without_recording(), &x.detach()))?;
    let ctx = ctx.clone();
    let (kept, flows) = (x.detach(), is_tracked(x));
    // An untracked input (the first block of a tower) still has weights to train: the anchor carries the node.
    let input = if flows { x } else { anchor };
    let y = graph::carry("checkpoint", input, y, move |grad| {
        let input = Var::from_tensor(&kept)?;
        let (y, _) = block(&ctx, input.as_tensor())?;
        let inner = seeded(&y, grad)?.backward()?;
        if !flows {
            return Ok(None);
        }
        Ok(Some(match inner.get(input.as_tensor()) {
            Some(g) => g.detach(),
            None => input.zeros_like()?,
        }))
    })?;
    Ok((y, by_product))
}

/// A scalar whose gradient with respect to `y` is `grad`.
pub(super) fn seeded(y: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let grad = grad.detach();
    if !y.track_op() {
        return (y * grad)?.sum_all();
    }
    if engine_of(y).is_some() {
        let zero = Fresh::copy_of(&Tensor::zeros(1, y.dtype(), y.device())?)?;
        return graph::record("seed-kernel", [y], zero, &[], move |_, _| Ok([Some(grad.clone())]));
    }
    if !fits(&[y, &grad]) {
        return (y * grad)?.sum_all();
    }
    graph::record("seed", [y], vec![0.0], &[], move |_, _| Ok([Some(grad.clone())]))
}
