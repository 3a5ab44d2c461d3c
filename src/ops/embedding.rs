//! Token embedding: rows of a table.

use super::ctx::Ctx;
use super::weight::Weight;
use candle_core::{Result, Tensor};

/// `ids [B, T]` (u32), `table [V, D]`; returns `[B, T, D]`.
pub fn embedding(ctx: &Ctx, ids: &Tensor, table: &Weight) -> Result<Tensor> {
    composed(ctx, ids, table)
}

/// The same in plain tensor operations.
pub fn composed(ctx: &Ctx, ids: &Tensor, table: &Weight) -> Result<Tensor> {
    let (b, t) = ids.dims2()?;
    ctx.operand(table)?.index_select(&ids.flatten_all()?, 0)?.reshape((b, t, table.dims()[1]))
}
