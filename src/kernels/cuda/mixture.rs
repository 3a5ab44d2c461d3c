//! The dense mixture of CoMoE.

use super::call::{Call, THREADS, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use super::reduce::add_pieces;
use candle_core::{DType, Result, Tensor, bail};

pub(super) static SOURCE: Source = source!("mixture");

/// Experts that the kernels take.
pub const MAX_EXPERTS: usize = 8;

/// Numbers of a sample that one block sums over.
const PIECE: usize = 1 << 14;

/// `sum_e weights[b, e] y_e[b]`: the experts' outputs of one shape and type, `weights [B, E]` float32.
pub fn mixture(engine: &Engine, experts: &[&Tensor], weights: &Tensor) -> Result<Fresh> {
    let (n, dtype) = (experts[0].elem_count(), experts[0].dtype());
    let (b, count) = checked(experts.len(), weights, n)?;
    let mut out = Fresh::new(engine, dtype, n)?;
    let lent: Vec<Lent<'_>> = experts.iter().map(|y| Lent::of(y)).collect::<Result<_>>()?;
    let weights = Lent::of(weights)?;
    let call = Call::new(engine, &SOURCE, typed("mixture_forward", dtype)?);
    with_experts(call, &lent, dtype, n)?
        .input(&weights, DType::F32, b * count)?
        .output(&mut out, dtype, n)?
        .long(n)
        .long(n / b)
        .int(count)?
        .run_over(n)?;
    Ok(out)
}

/// Gradient of expert `e`'s output.
pub fn mixture_expert(engine: &Engine, grad: &Tensor, weights: &Tensor, e: usize) -> Result<Tensor> {
    let (n, dtype) = (grad.elem_count(), grad.dtype());
    let (b, count) = checked(weights.dim(1)?, weights, n)?;
    let mut dy = Fresh::new(engine, dtype, n)?;
    let lent = (Lent::of(grad)?, Lent::of(weights)?);
    Call::new(engine, &SOURCE, typed("mixture_expert", dtype)?)
        .input(&lent.0, dtype, n)?
        .input(&lent.1, DType::F32, b * count)?
        .output(&mut dy, dtype, n)?
        .long(n)
        .long(n / b)
        .int(count)?
        .int(e)?
        .run_over(n)?;
    dy.into_tensor(grad.dims())
}

/// Gradient of the weights `[b, E]`, float32.
pub fn mixture_weights(engine: &Engine, experts: &[&Tensor], grad: &Tensor, b: usize) -> Result<Tensor> {
    let (n, dtype, count) = (grad.elem_count(), grad.dtype(), experts.len());
    let each = n / b;
    let pieces = each.div_ceil(PIECE);
    let mut parts = Fresh::new(engine, DType::F32, pieces * b * count)?;
    let lent: Vec<Lent<'_>> = experts.iter().map(|y| Lent::of(y)).collect::<Result<_>>()?;
    let grad = Lent::of(grad)?;
    let call = Call::new(engine, &SOURCE, typed("mixture_weights", dtype)?);
    with_experts(call, &lent, dtype, n)?
        .input(&grad, dtype, n)?
        .output(&mut parts, DType::F32, pieces * b * count)?
        .long(each)
        .int(count)?
        .int(PIECE)?
        .run([pieces as u32, b as u32, 1], THREADS, 0)?;
    add_pieces(engine, parts, pieces, b * count)?.reshape((b, count))
}

fn checked(experts: usize, weights: &Tensor, n: usize) -> Result<(usize, usize)> {
    let (b, count) = weights.dims2()?;
    if count != experts || count > MAX_EXPERTS || b == 0 || !n.is_multiple_of(b) {
        bail!("mixture: weights {:?} for {experts} experts of {n} numbers", weights.dims());
    }
    Ok((b, count))
}

/// Eight addresses, the first one again where there are fewer experts.
fn with_experts<'c>(mut call: Call<'c>, experts: &'c [Lent<'_>], dtype: DType, n: usize) -> Result<Call<'c>> {
    for e in 0..MAX_EXPERTS {
        call = call.input(experts.get(e).unwrap_or(&experts[0]), dtype, n)?;
    }
    Ok(call)
}
