//! Elementwise activations.

use super::super::Pointwise;
use super::call::{Call, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use candle_core::{Result, Tensor};

pub(super) static SOURCE: Source = source!("activation");

const fn number(kind: Pointwise) -> usize {
    match kind {
        Pointwise::QuickGelu => 0,
        Pointwise::GeluErf => 1,
        Pointwise::GeluTanh => 2,
    }
}

/// The activation of every element.
pub fn activate(engine: &Engine, kind: Pointwise, x: &Tensor) -> Result<Fresh> {
    let (n, dtype) = (x.elem_count(), x.dtype());
    let mut y = Fresh::new(engine, dtype, n)?;
    let x = Lent::of(x)?;
    Call::new(engine, &SOURCE, typed("activation_forward", dtype)?)
        .input(&x, dtype, n)?
        .output(&mut y, dtype, n)?
        .long(n)
        .int(number(kind))?
        .run_over(n)?;
    Ok(y)
}

/// Gradient of `x`.
pub fn activate_backward(engine: &Engine, kind: Pointwise, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (n, dtype) = (x.elem_count(), x.dtype());
    let mut dx = Fresh::new(engine, dtype, n)?;
    let lent = (Lent::of(x)?, Lent::of(grad)?);
    Call::new(engine, &SOURCE, typed("activation_backward", dtype)?)
        .input(&lent.0, dtype, n)?
        .input(&lent.1, dtype, n)?
        .output(&mut dx, dtype, n)?
        .long(n)
        .int(number(kind))?
        .run_over(n)?;
    dx.into_tensor(x.dims())
}

/// `silu(gate) * up`.
pub fn silu_mul(engine: &Engine, gate: &Tensor, up: &Tensor) -> Result<Fresh> {
    let (n, dtype) = (gate.elem_count(), gate.dtype());
    let mut y = Fresh::new(engine, dtype, n)?;
    let lent = (Lent::of(gate)?, Lent::of(up)?);
    Call::new(engine, &SOURCE, typed("silu_mul_forward", dtype)?)
        .input(&lent.0, dtype, n)?
        .input(&lent.1, dtype, n)?
        .output(&mut y, dtype, n)?
        .long(n)
        .run_over(n)?;
    Ok(y)
}

/// Gradients of gate and up.
pub fn silu_mul_backward(engine: &Engine, gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let (n, dtype) = (gate.elem_count(), gate.dtype());
    let (mut d_gate, mut d_up) = (Fresh::new(engine, dtype, n)?, Fresh::new(engine, dtype, n)?);
    let lent = (Lent::of(gate)?, Lent::of(up)?, Lent::of(grad)?);
    Call::new(engine, &SOURCE, typed("silu_mul_backward", dtype)?)
        .input(&lent.0, dtype, n)?
        .input(&lent.1, dtype, n)?
        .input(&lent.2, dtype, n)?
        .output(&mut d_gate, dtype, n)?
        .output(&mut d_up, dtype, n)?
        .long(n)
        .run_over(n)?;
    Ok([d_gate.into_tensor(gate.dims())?, d_up.into_tensor(gate.dims())?])
}
