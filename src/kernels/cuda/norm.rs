//! Layer norm and RMS norm.

use super::call::{Call, THREADS, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use super::reduce::{Pieces, add_pieces};
use candle_core::{D, DType, Result, Tensor};

pub(super) static SOURCE: Source = source!("norm");

/// `y` of `x [.., D]`, and the rows' means and reciprocal deviations `[rows, 2]`. `shift` makes it a layer norm; weights are
/// float32.
pub fn norm(engine: &Engine, x: &Tensor, scale: &Tensor, shift: Option<&Tensor>, eps: f32) -> Result<(Fresh, Tensor)> {
    let (d, n, dtype) = (x.dim(D::Minus1)?, x.elem_count(), x.dtype());
    let rows = n / d;
    let (mut y, mut stats) = (Fresh::new(engine, dtype, n)?, Fresh::new(engine, DType::F32, 2 * rows)?);
    let (x, scale, shift) = (Lent::of(x)?, Lent::of(scale)?, shift.map(Lent::of).transpose()?);
    Call::new(engine, &SOURCE, typed("norm_forward", dtype)?)
        .input(&x, dtype, n)?
        .input(&scale, DType::F32, d)?
        .input_or_none(shift.as_ref(), DType::F32, d)?
        .output(&mut y, dtype, n)?
        .output(&mut stats, DType::F32, 2 * rows)?
        .int(d)?
        .float(eps)
        .int(usize::from(shift.is_some()))?
        .run([rows as u32, 1, 1], threads(d), 0)?;
    Ok((y, stats.into_tensor(&[rows, 2])?))
}

/// Few threads for narrow rows.
fn threads(d: usize) -> u32 {
    (d.div_ceil(32) * 32).clamp(32, THREADS as usize) as u32
}

/// Gradient of `x` from that of `y`.
pub fn norm_backward(
    engine: &Engine,
    x: &Tensor,
    scale: &Tensor,
    grad: &Tensor,
    stats: &Tensor,
    centres: bool,
) -> Result<Tensor> {
    let (d, n, dtype) = (x.dim(D::Minus1)?, x.elem_count(), x.dtype());
    let rows = n / d;
    let mut dx = Fresh::new(engine, dtype, n)?;
    let lent = (Lent::of(x)?, Lent::of(scale)?, Lent::of(grad)?, Lent::of(stats)?);
    Call::new(engine, &SOURCE, typed("norm_backward", dtype)?)
        .input(&lent.0, dtype, n)?
        .input(&lent.1, DType::F32, d)?
        .input(&lent.2, dtype, n)?
        .input(&lent.3, DType::F32, 2 * rows)?
        .output(&mut dx, dtype, n)?
        .int(d)?
        .int(usize::from(centres))?
        .run([rows as u32, 1, 1], threads(d), 0)?;
    dx.into_tensor(x.dims())
}

/// Gradients of scale and shift, each float32 and only if it is wanted.
pub fn norm_weights(
    engine: &Engine,
    x: &Tensor,
    grad: &Tensor,
    stats: &Tensor,
    wanted: [bool; 2],
) -> Result<[Option<Tensor>; 2]> {
    let (d, n, dtype) = (x.dim(D::Minus1)?, x.elem_count(), x.dtype());
    let rows = n / d;
    let pieces = Pieces::new(rows, d);
    let room = |wanted: bool| wanted.then(|| Fresh::new(engine, DType::F32, pieces.count * d)).transpose();
    let (mut scale, mut shift) = (room(wanted[0])?, room(wanted[1])?);
    let lent = (Lent::of(x)?, Lent::of(grad)?, Lent::of(stats)?);
    Call::new(engine, &SOURCE, typed("norm_weights", dtype)?)
        .input(&lent.0, dtype, n)?
        .input(&lent.1, dtype, n)?
        .input(&lent.2, DType::F32, 2 * rows)?
        .output_or_none(scale.as_mut(), DType::F32, pieces.count * d)?
        .output_or_none(shift.as_mut(), DType::F32, pieces.count * d)?
        .int(rows)?
        .int(d)?
        .int(pieces.rows)?
        .run(pieces.blocks(), THREADS, 0)?;
    let whole = |sums: Option<Fresh>| sums.map(|sums| add_pieces(engine, sums, pieces.count, d)).transpose();
    Ok([whole(scale)?, whole(shift)?])
}
