//! Cross-entropy with an ignore index.

use super::call::{Call, THREADS, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use candle_core::{DType, Result, Tensor};

pub(super) static SOURCE: Source = source!("cross_entropy");

/// Losses of the rows of `logits [R, V]` and their log-sum-exps, both float32 `[R]`. `targets`: int32 `[R]`, negative where
/// a row carries no loss, else below `V`, which the caller has checked.
pub fn cross_entropy(engine: &Engine, logits: &Tensor, targets: &Tensor) -> Result<[Tensor; 2]> {
    let ((rows, v), dtype) = (logits.dims2()?, logits.dtype());
    let (mut losses, mut lse) = (Fresh::new(engine, DType::F32, rows)?, Fresh::new(engine, DType::F32, rows)?);
    let lent = (Lent::of(logits)?, Lent::of(targets)?);
    Call::new(engine, &SOURCE, typed("cross_entropy_forward", dtype)?)
        .input(&lent.0, dtype, rows * v)?
        .input(&lent.1, DType::I32, rows)?
        .output(&mut losses, DType::F32, rows)?
        .output(&mut lse, DType::F32, rows)?
        .int(v)?
        .run([rows as u32, 1, 1], THREADS, 0)?;
    Ok([losses.into_tensor(&[rows])?, lse.into_tensor(&[rows])?])
}

/// Gradient of `logits`, `scale` (float32, one number, where the logits lie) being that of the sum of the losses.
pub fn cross_entropy_backward(
    engine: &Engine,
    logits: &Tensor,
    targets: &Tensor,
    lse: &Tensor,
    scale: &Tensor,
) -> Result<Tensor> {
    let ((rows, v), dtype) = (logits.dims2()?, logits.dtype());
    let mut d = Fresh::new(engine, dtype, rows * v)?;
    let lent = (Lent::of(logits)?, Lent::of(targets)?, Lent::of(lse)?, Lent::of(scale)?);
    Call::new(engine, &SOURCE, typed("cross_entropy_backward", dtype)?)
        .input(&lent.0, dtype, rows * v)?
        .input(&lent.1, DType::I32, rows)?
        .input(&lent.2, DType::F32, rows)?
        .input(&lent.3, DType::F32, 1)?
        .output(&mut d, dtype, rows * v)?
        .int(v)?
        .run([rows as u32, 1, 1], THREADS, 0)?;
    d.into_tensor(&[rows, v])
}
