//! Rotary embedding.

use super::call::{Call, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use candle_core::{DType, Result, Tensor, bail};

pub(super) static SOURCE: Source = source!("rope");

/// Turns every head of `x [B, N, heads * 2 half]` by the angles whose cosines and sines `[N, half]` (float32) are given, or
/// back by them.
pub fn rotate(engine: &Engine, x: &Tensor, cos: &Tensor, sin: &Tensor, back: bool) -> Result<Fresh> {
    let ((b, n, width), (tokens, half), dtype) = (x.dims3()?, cos.dims2()?, x.dtype());
    if tokens != n || width % (2 * half) != 0 {
        bail!("rope: angles {:?} for an input of shape {:?}", cos.dims(), x.dims());
    }
    let (count, pairs) = (b * n * width, b * n * width / 2);
    let mut y = Fresh::new(engine, dtype, count)?;
    let lent = (Lent::of(x)?, Lent::of(cos)?, Lent::of(sin)?);
    Call::new(engine, &SOURCE, typed("rope", dtype)?)
        .input(&lent.0, dtype, count)?
        .input(&lent.1, DType::F32, n * half)?
        .input(&lent.2, DType::F32, n * half)?
        .output(&mut y, dtype, count)?
        .long(pairs)
        .int(n)?
        .int(width / (2 * half))?
        .int(half)?
        .float(if back { -1.0 } else { 1.0 })
        .run_over(pairs)?;
    Ok(y)
}
