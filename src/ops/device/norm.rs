//! Layer norm and RMS norm.

use super::super::ctx::Ctx;
use super::super::graph::{self, anchored};
use super::super::segment::is_tracked;
use super::super::weight::Weight;
use super::whole;
use crate::kernels::cuda::{self, Engine};
use candle_core::{D, Result, Tensor, bail};

/// `x [.., D]`; with a `shift` a layer norm.
pub(in super::super) fn norm(
    engine: Engine,
    ctx: &Ctx,
    x: &Tensor,
    w: &Weight,
    shift: Option<&Weight>,
    eps: f64,
) -> Result<Tensor> {
    let d = x.dim(D::Minus1)?;
    if w.dims() != [d] || shift.is_some_and(|b| b.dims() != [d]) {
        bail!("norm: {} {:?} does not scale rows of width {d}", w.name(), w.dims());
    }
    let x = whole(x)?;
    let (kept, tracked, centres) = (x.detach(), is_tracked(&x), shift.is_some());
    let slots = [ctx.slot(w).cloned(), shift.and_then(|b| ctx.slot(b)).cloned()];
    let scale = w.tensor().clone();
    let (y, stats) = cuda::norm(&engine, &kept, &scale, shift.map(Weight::tensor), eps as f32)?;
    let input = anchored(ctx, &x, slots.iter().any(Option::is_some))?;
    graph::record("norm-kernel", [&input], y, x.dims(), move |_, grad| {
        let wanted = slots.each_ref().map(Option::is_some);
        if wanted.contains(&true) {
            let sums = cuda::norm_weights(&engine, &kept, grad, &stats, wanted)?;
            for (slot, sums) in slots.iter().zip(&sums) {
                if let (Some(slot), Some(sums)) = (slot, sums) {
                    slot.accumulate(sums)?;
                }
            }
        }
        let dx = tracked.then(|| cuda::norm_backward(&engine, &kept, &scale, grad, &stats, centres)).transpose()?;
        Ok([dx])
    })
}
