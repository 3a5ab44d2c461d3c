//! `y = x W^T + b (+ residual)`: the library's products, our own sums.

use super::super::ctx::Ctx;
use super::super::graph::{self, anchored};
use super::super::precision::matmul;
use super::super::segment::is_tracked;
use super::super::weight::{GradSlot, Weight};
use super::whole;
use crate::kernels::cuda::{self, Engine, Fresh};
use candle_core::backend::BackendStorage;
use candle_core::{D, Result, Storage, Tensor, bail};
use std::sync::Arc;

/// What the backward pass needs. Weights are float32; of those that products in bfloat16 want a copy is kept.
struct Back {
    engine: Engine,
    /// `[rows, d_in]`.
    x: Tensor,
    dims: Vec<usize>,
    tracked: bool,
    weight: Weight,
    weight_slot: Option<Arc<GradSlot>>,
    bias_slot: Option<Arc<GradSlot>>,
}

pub(in super::super) fn linear(
    engine: Engine,
    ctx: &Ctx,
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Weight>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let d_in = x.dim(D::Minus1)?;
    let d_out = weight.dims().first().copied().unwrap_or(0);
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = d_out;
    }
    let fits = weight.tensor().elem_count() == d_out * d_in && bias.is_none_or(|b| b.dims() == [d_out]);
    if !fits || residual.is_some_and(|r| r.dims() != dims) {
        let (bias, residual) = (bias.map(Weight::dims), residual.map(Tensor::dims));
        bail!(
            "linear: {} {:?}, bias {bias:?}, residual {residual:?} for an input of width {d_in}",
            weight.name(),
            weight.dims()
        );
    }
    let x = whole(x)?;
    let back = Back {
        engine,
        x: x.detach().reshape((x.elem_count() / d_in, d_in))?,
        dims: x.dims().to_vec(),
        tracked: is_tracked(&x),
        weight: weight.clone(),
        weight_slot: ctx.slot(weight).cloned(),
        bias_slot: bias.and_then(|b| ctx.slot(b)).cloned(),
    };
    let residual = residual.map(whole).transpose()?;
    let mut y = product(&back.x, &back.operand()?.t()?)?;
    if bias.is_some() || residual.is_some() {
        let residual = residual.as_ref().map(Tensor::detach);
        cuda::add_bias(&back.engine, &mut y, x.dtype(), bias.map(Weight::tensor), residual.as_ref(), d_out)?;
    }
    let input = anchored(ctx, &x, back.weight_slot.is_some() || back.bias_slot.is_some())?;
    match residual {
        None => graph::record("linear-kernel", [&input], y, &dims, move |_, grad| Ok([back.run(grad)?])),
        Some(residual) => graph::record("linear-add-kernel", [&input, &residual], y, &dims, move |_, grad| {
            Ok([back.run(grad)?, Some(grad.clone())])
        }),
    }
}

impl Back {
    /// The weight `[d_out, d_in]` in the type of the activations.
    fn operand(&self) -> Result<Tensor> {
        let d_in = self.x.dim(1)?;
        self.weight.value_in(self.x.dtype())?.reshape(((), d_in))
    }

    fn run(&self, grad: &Tensor) -> Result<Option<Tensor>> {
        let rows = grad.reshape((self.x.dim(0)?, ()))?;
        if let Some(slot) = &self.weight_slot {
            slot.accumulate(&matmul(&rows.t()?, &self.x)?.reshape(self.weight.dims())?)?;
        }
        if let Some(slot) = &self.bias_slot {
            slot.accumulate(&cuda::column_sums(&self.engine, &rows)?)?;
        }
        self.tracked.then(|| matmul(&rows, &self.operand()?)?.reshape(self.dims.as_slice())).transpose()
    }
}

/// `a b`, both `[.., ..]`, as storage that a node takes without a copy.
fn product(a: &Tensor, b: &Tensor) -> Result<Fresh> {
    let ((m, k), (_, n)) = (a.dims2()?, b.dims2()?);
    {
        let ((a, a_layout), (b, b_layout)) = (a.storage_and_layout(), b.storage_and_layout());
        if let (Storage::Cuda(a), Storage::Cuda(b)) = (&*a, &*b) {
            let c = a.matmul(b, (1, m, n, k), a_layout, b_layout)?;
            return Ok(Fresh::from_storage(Storage::Cuda(c), m * n));
        }
    }
    Fresh::copy_of(&matmul(a, b)?)
}
