//! Sums, and sums of a row to every row.

use super::call::{Call, THREADS, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent, change};
use candle_core::{D, DType, Result, Tensor};

pub(super) static SOURCE: Source = source!("reduce");

/// Rows of a matrix in pieces that are summed apart, for 32 columns a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    /// Rows of a piece.
    pub rows: usize,
    /// Pieces.
    pub count: usize,
    columns: usize,
}

impl Pieces {
    /// The shapes alone say how: at most 64 pieces, of at least 64 rows.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let size = rows.div_ceil(64).max(64);
        Self { rows: size, count: rows.div_ceil(size), columns }
    }

    pub(super) fn blocks(self) -> [u32; 3] {
        [self.columns.div_ceil(32) as u32, self.count as u32, 1]
    }
}

/// Column sums of `x [rows, d]`, float32: `[d]`. Any shape whose last dimension is `d` will do.
pub fn column_sums(engine: &Engine, x: &Tensor) -> Result<Tensor> {
    let (d, n, dtype) = (x.dim(D::Minus1)?, x.elem_count(), x.dtype());
    let rows = n / d;
    let pieces = Pieces::new(rows, d);
    let mut sums = Fresh::new(engine, DType::F32, pieces.count * d)?;
    let lent = Lent::of(x)?;
    Call::new(engine, &SOURCE, typed("column_sums", dtype)?)
        .input(&lent, dtype, n)?
        .output(&mut sums, DType::F32, pieces.count * d)?
        .int(rows)?
        .int(d)?
        .int(pieces.rows)?
        .run(pieces.blocks(), THREADS, 0)?;
    add_pieces(engine, sums, pieces.count, d)
}

/// The sum of `count` rows of sums: `[d]`.
pub(super) fn add_pieces(engine: &Engine, sums: Fresh, count: usize, d: usize) -> Result<Tensor> {
    if count == 1 {
        return sums.into_tensor(&[d]);
    }
    let parts = sums.into_tensor(&[count, d])?;
    let mut whole = Fresh::new(engine, DType::F32, d)?;
    let lent = Lent::of(&parts)?;
    Call::new(engine, &SOURCE, "column_sums_f32".into())
        .input(&lent, DType::F32, count * d)?
        .output(&mut whole, DType::F32, d)?
        .int(count)?
        .int(d)?
        .int(count)?
        .run([d.div_ceil(32) as u32, 1, 1], THREADS, 0)?;
    whole.into_tensor(&[d])
}

/// Numbers of which the squares are summed by one block.
const SQUARES: usize = 1 << 16;

/// Sums of squares of the pieces of every tensor, float64 (squares of float32 numbers do not overflow it), one tensor's after
/// the other's; and how many each has. The norm is the root of their sum.
pub fn squared_norms(engine: &Engine, tensors: &[&Tensor]) -> Result<(Tensor, Vec<usize>)> {
    let counts: Vec<usize> = tensors.iter().map(|x| x.elem_count().div_ceil(SQUARES)).collect();
    let total = counts.iter().sum();
    let mut sums = Fresh::new(engine, DType::F64, total)?;
    let whole = sums.span()?;
    let mut first = 0;
    for (x, count) in tensors.iter().zip(&counts) {
        let (n, dtype, lent) = (x.elem_count(), x.dtype(), Lent::of(x)?);
        Call::new(engine, &SOURCE, typed("squared_norm", dtype)?)
            .input(&lent, dtype, n)?
            .changed(whole.part(first, *count), DType::F64, *count)?
            .long(n)
            .int(SQUARES)?
            .run([*count as u32, 1, 1], THREADS, 0)?;
        first += count;
    }
    Ok((sums.into_tensor(&[total])?, counts))
}

/// Adds `x` (float32 or bfloat16) to `sum` (float32, of the same size) in place.
pub fn accumulate(engine: &Engine, sum: &Tensor, x: &Tensor) -> Result<()> {
    let (n, dtype, lent) = (sum.elem_count(), x.dtype(), Lent::of(x)?);
    change(&[sum], &mut |spans| {
        Call::new(engine, &SOURCE, typed("accumulate", dtype)?)
            .changed(spans[0], DType::F32, n)?
            .input(&lent, dtype, n)?
            .long(n)
            .run_over(n)
    })
}

/// The sum of the float32 numbers `x`, a scalar.
pub fn sum(engine: &Engine, x: &Tensor) -> Result<Fresh> {
    let n = x.elem_count();
    let mut total = Fresh::new(engine, DType::F32, 1)?;
    let lent = Lent::of(x)?;
    Call::new(engine, &SOURCE, "sum_f32".into())
        .input(&lent, DType::F32, n)?
        .output(&mut total, DType::F32, 1)?
        .int(n)?
        .run([1, 1, 1], 1024, 0)?;
    Ok(total)
}

/// Adds `bias [d]` (float32) and `residual` (of `y`'s type and size) to the rows of `y`, rounding once.
pub fn add_bias(
    engine: &Engine,
    y: &mut Fresh,
    dtype: DType,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    d: usize,
) -> Result<()> {
    let n = y.len();
    let (bias, residual) = (bias.map(Lent::of).transpose()?, residual.map(Lent::of).transpose()?);
    Call::new(engine, &SOURCE, typed("add_bias", dtype)?)
        .output(y, dtype, n)?
        .input_or_none(bias.as_ref(), DType::F32, d)?
        .input_or_none(residual.as_ref(), dtype, n)?
        .long(n)
        .int(d)?
        .run_over(n)
}
