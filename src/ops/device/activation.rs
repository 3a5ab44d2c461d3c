//! Elementwise activations.

use super::super::graph;
use super::whole;
use crate::kernels::Pointwise;
use crate::kernels::cuda::{self, Engine};
use candle_core::{Result, Tensor, bail};

pub(in super::super) fn activate(engine: Engine, kind: Pointwise, x: &Tensor) -> Result<Tensor> {
    let x = whole(x)?;
    let kept = x.detach();
    let y = cuda::activate(&engine, kind, &kept)?;
    graph::record("activation-kernel", [&x], y, x.dims(), move |_, grad| {
        Ok([Some(cuda::activate_backward(&engine, kind, &kept, grad)?)])
    })
}

pub(in super::super) fn silu_mul(engine: Engine, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        bail!("silu_mul: a gate of shape {:?} for values of shape {:?}", gate.dims(), up.dims());
    }
    let (gate, up) = (whole(gate)?, whole(up)?);
    let kept = [gate.detach(), up.detach()];
    let y = cuda::silu_mul(&engine, &kept[0], &kept[1])?;
    graph::record("silu-mul-kernel", [&gate, &up], y, gate.dims(), move |_, grad| {
        let [gate, up] = cuda::silu_mul_backward(&engine, &kept[0], &kept[1], grad)?;
        Ok([Some(gate), Some(up)])
    })
}
